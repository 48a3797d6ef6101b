"""TensorBoard: opening a writer, hyperparameters, chart layout, graph and histograms."""

import copy
import importlib
import re
import threading
import time
import warnings
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import custom_scalars, hparams

from utils.base.errors import first_line
from utils.runs.checkpoint import unwrap_model


def open_writer(directory, purge_step=None):
    """Return a SummaryWriter whose event file TensorBoard reads after the existing ones.

    TensorBoard reads event files in the order of their names, which begin with the second of creation. If the newest
    file is from this second, wait for the next one.

    Args:
        directory: directory of the event files (str or Path); created if missing, but not its parents.
        purge_step: first step whose earlier events TensorBoard drops (int), or None.
    """
    found = [re.match(r'events\.out\.tfevents\.(\d+)\.', path.name) for path in Path(directory).glob('events.out.*')]
    newest = max((int(match[1]) for match in found if match), default=0)
    while int(now := time.time()) == newest:
        time.sleep(newest + 1 - now)
    _silence_event_thread()
    Path(directory).mkdir(exist_ok=True)  # no parents: a removed run directory is not created again
    return SummaryWriter(str(directory), purge_step=purge_step)


def _silence_event_thread():
    """Print no traceback for an OSError in the event thread: the next flush raises the error."""
    hook = threading.excepthook
    if getattr(hook, 'without_events', False):
        return

    def without_events(told):
        if not (issubclass(told.exc_type, OSError) and type(told.thread).__module__.startswith('tensorboard.')):
            hook(told)

    without_events.without_events = True
    threading.excepthook = without_events


def add_hparams(writer, options, metrics):
    """Add the options and scalars of a run to the HPARAMS tab.

    SummaryWriter.add_hparams would create a separate run in a subdirectory.

    Args:
        writer: SummaryWriter of the run.
        options: dict from a name to a plain value.
        metrics: names of scalars (list of str).
    """
    shown = {}
    for name, value in options.items():
        if isinstance(value, list | tuple):
            value = ' '.join(map(str, value))
        shown[name] = value if isinstance(value, bool | int | float | str) else 'not set'
    for summary in hparams(shown, dict.fromkeys(metrics, 0.0)):
        writer.file_writer.add_summary(summary)


def add_charts(writer, titles, tags):
    """Add charts to the CUSTOM SCALARS tab: training, validation and best value in one chart, and the learning rate.

    Args:
        writer: SummaryWriter of the run.
        titles: titles of the charts (list of str): 'loss' for train/loss and val/loss.
        tags: names of the scalars of the run (list of str).
    """
    charts = {
        title: [tag for tag in (f'train/{title}', f'val/{title}', f'best/{title}') if tag in tags] for title in titles
    }
    if 'lr' in tags:
        charts['learning rate'] = ['lr']
    # TensorBoard matches tags as patterns at the beginning of a name.
    layout = {title: ['Multiline', [f'^{re.escape(tag)}$' for tag in shown]] for title, shown in charts.items()}
    writer.file_writer.add_summary(custom_scalars({'training and validation': layout}))


def add_graph(writer, net, images):
    """Add the graph of a network; return the error (str) if tracing fails, else None.

    Args:
        writer: SummaryWriter of the run.
        net: nn.Module; a copy in eval mode is traced.
        images: float32 (B, C, H, W) on the device of the network; the first image is used.
    """
    importlib.import_module('torch._dynamo').config  # noqa: B018 (the real module, and not from within an import of it)
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # tracing does not support the fused attention of eval mode
    try:
        with warnings.catch_warnings():
            for kind in (FutureWarning, torch.jit.TracerWarning):  # from torch.jit in SummaryWriter
                warnings.simplefilter('ignore', kind)
            writer.add_graph(copy.deepcopy(unwrap_model(net)).eval(), images[:1])
    except Exception as error:  # tracing a user's network may raise anything
        return first_line(error)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    return None


def add_histograms(writer, net, epoch):
    """Add histograms of the weights and of the gradients of the last step, without non-finite values."""
    for name, parameter in unwrap_model(net).named_parameters():
        for kind, values in (('weights', parameter.detach()), ('gradients', parameter.grad)):
            finite = None if values is None else values[torch.isfinite(values)]
            if finite is not None and len(finite):
                writer.add_histogram(f'{kind}/{name}', finite, epoch)
