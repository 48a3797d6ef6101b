"""What TensorBoard shows besides scalars and pictures: hyper-parameters, the network's graph, histograms of weights."""

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

from utils.runs.checkpoint import unwrap_model


def open_writer(directory, purge_step=None):
    """Return a SummaryWriter whose event file TensorBoard reads after those that the directory has already.

    TensorBoard reads event files in the order of their names. A name begins with the second in which the file was made,
    and within one second the order of the names is not that of the files: wait for the next second.

    Args:
        directory: of the event files (str or Path); made if missing, but not the one above it.
        purge_step: first step of which TensorBoard forgets what earlier files hold (int), or None.
    """
    found = [re.match(r'events\.out\.tfevents\.(\d+)\.', path.name) for path in Path(directory).glob('events.out.*')]
    newest = max((int(match[1]) for match in found if match), default=0)
    while int(now := time.time()) == newest:
        time.sleep(newest + 1 - now)
    _silence_event_thread()
    Path(directory).mkdir(exist_ok=True)  # not those above it: a run's directory that was removed stays away
    return SummaryWriter(str(directory), purge_step=purge_step)


def _silence_event_thread():
    """Print no traceback for an OSError in the thread that writes events: the next flush raises it."""
    hook = threading.excepthook
    if getattr(hook, 'without_events', False):
        return

    def without_events(told):
        if not (issubclass(told.exc_type, OSError) and type(told.thread).__module__.startswith('tensorboard.')):
            hook(told)

    without_events.without_events = True
    threading.excepthook = without_events


def add_hparams(writer, options, metrics):
    """Let the HPARAMS tab compare this run with others, by its options and by scalars that it writes anyway.

    SummaryWriter.add_hparams would make a run of its own in a directory below.

    Args:
        writer: SummaryWriter of the run.
        options: dict name -> any plain value; what TensorBoard has no type for becomes text.
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
    """Show each value of training, validation and the best epoch so far in one chart of the CUSTOM SCALARS tab.

    The learning rate has one too.

    Args:
        writer: SummaryWriter of the run.
        titles: of the charts (list of str): 'loss' for train/loss and val/loss.
        tags: names of the scalars that the run writes (list of str).
    """
    charts = {
        title: [tag for tag in (f'train/{title}', f'val/{title}', f'best/{title}') if tag in tags] for title in titles
    }
    if 'lr' in tags:
        charts['learning rate'] = ['lr']
    # A tag is taken for a pattern that the beginning of a name has to fit.
    layout = {title: ['Multiline', [f'^{re.escape(tag)}$' for tag in shown]] for title, shown in charts.items()}
    writer.file_writer.add_summary(custom_scalars({'training and validation': layout}))


def add_graph(writer, net, images):
    """Draw a network's graph; return why that is not possible (str), or None: it is there.

    Args:
        writer: SummaryWriter of the run.
        net: nn.Module; a copy of it is traced, in eval mode.
        images: float32 (B, C, H, W) on its device, of which one is used.
    """
    importlib.import_module('torch._dynamo').config  # noqa: B018 (the real module, and not from within an import of it)
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the tracer does not know the fused attention of eval mode
    try:
        with warnings.catch_warnings():
            for kind in (FutureWarning, torch.jit.TracerWarning):  # of torch.jit, which TensorBoard's writer uses
                warnings.simplefilter('ignore', kind)
            writer.add_graph(copy.deepcopy(unwrap_model(net)).eval(), images[:1])
    except Exception as error:  # whatever a network does that cannot be traced
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    return None


def add_histograms(writer, net, epoch):
    """Write histograms of the weights and of the gradients of the epoch's last step; what is not finite is left out."""
    for name, parameter in unwrap_model(net).named_parameters():
        for kind, values in (('weights', parameter.detach()), ('gradients', parameter.grad)):
            finite = None if values is None else values[torch.isfinite(values)]
            if finite is not None and len(finite):
                writer.add_histogram(f'{kind}/{name}', finite, epoch)
