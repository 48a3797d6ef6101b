"""Recorder (exact means over batches) and Logger (log.txt, history.csv, curves.png, TensorBoard, checkpoints)."""

import csv
import math
import sys
import time
from contextlib import ExitStack, contextmanager
from functools import cached_property, wraps
from pathlib import Path

import torch
from tqdm import tqdm

from utils.base.atomic_write import atomic_writer
from utils.base.errors import DanluError
from utils.base.progress import Progress
from utils.base.regular_files import open_regular
from utils.base.text_table import terminal_width, wrap_lines
from utils.base.write_errors import wrap_write_errors
from utils.distributed import processes
from utils.drawing.curves import draw_run, panels_of
from utils.runs.async_writer import CheckpointWriter
from utils.runs.checkpoint import unwrap_model
from utils.runs.event_files import continue_events, event_sizes

SYSTEM_VALUES = ('images_per_second', 'data_wait', 'gpu_memory_gib', 'seconds')
# TensorBoard's names of values that would be a group each. It opens the first two groups: best/ and lr.
TAGS = {name: f'system/{name}' for name in SYSTEM_VALUES}


class Recorder:
    """Computes exact means over any number of batches; values stay on their device until `mean` or `summary`."""

    WAITING = 64  # values per summation: one operation on all costs as much as one operation on a single value

    def __init__(self):
        self.sums, self.counts, self.waiting, self.marks, self.totals = {}, {}, {}, {}, {}
        self.latest = {}  # the last recorded value of each name

    def record(self, name, value, count=1):
        """Add the mean of a batch.

        Args:
            name: name of the value, for example 'train/loss'.
            value: mean over the batch (0-d tensor or number).
            count: number of elements in the mean (number or 0-d tensor). The result is sum(value*count) / sum(count).
        """
        value = value.detach() if torch.is_tensor(value) else value
        self.latest[name] = value
        waiting = self.waiting.setdefault(name, [])
        waiting.append((value, count))
        if len(waiting) >= self.WAITING:
            self._add_waiting(name)

    def record_sum(self, name, parts):
        """Add the weighted sum of means that have different counts.

        Args:
            name: name of the sum, for example 'train/loss'. The result is the sum of weight * result of the part.
            parts: dict from the name of a part to (weight, value, count); each part is recorded too.
        """
        self.totals[name] = {part: weight for part, (weight, _, _) in parts.items()}
        parts = {part: (weight, value.detach() if torch.is_tensor(value) else value, count)
                 for part, (weight, value, count) in parts.items()}  # fmt: skip
        self.latest[name] = sum(weight * value for weight, value, _ in parts.values())
        for part, (_, value, count) in parts.items():
            self.record(part, value, count)

    def mean(self, name):
        """Return the mean so far (float; nan if the count is 0). Waits for the device."""
        if name in self.totals:
            return sum(weight * self.mean(part) for part, weight in self.totals[name].items())
        self._add_waiting(name)
        count = float(self.counts[name])
        return float(self.sums[name]) / count if count else math.nan

    def recent(self, name):
        """Return the mean since the last call for this name (float; nan if the count since then is 0)."""
        if name in self.totals:
            return sum(weight * self._recent(part, (name, part)) for part, weight in self.totals[name].items())
        return self._recent(name, name)

    def _recent(self, name, mark):
        """Return the mean of `name` since the last call with this `mark`."""
        self._add_waiting(name)
        now = float(self.sums[name]), float(self.counts[name])
        before, self.marks[mark] = self.marks.get(mark, (0.0, 0.0)), now
        count = now[1] - before[1]
        return (now[0] - before[0]) / count if count else math.nan

    def merge(self, states):
        """Add the values of other Recorders, given as a list of their state dicts."""
        for state in states:
            self.totals |= state['totals']
            for name in state['waiting']:
                pairs = [(state['sums'].get(name, 0.0), state['counts'].get(name, 0.0)),
                         *((value * count, count) for value, count in state['waiting'][name])]  # fmt: skip
                self.waiting.setdefault(name, [])
                self.sums[name] = self.sums.get(name, 0.0) + sum(total for total, _ in pairs)
                self.counts[name] = self.counts.get(name, 0) + sum(count for _, count in pairs)

    def state_dict(self):
        """Return the state as plain values; unsummed values stay separate, so that the rounding does not change."""
        waiting = {
            name: [[float(value), float(count)] for value, count in pairs] for name, pairs in self.waiting.items()
        }
        sums, counts = ({name: float(n) for name, n in of.items()} for of in (self.sums, self.counts))
        marks = [[mark, *before] for mark, before in self.marks.items()]
        return {'sums': sums, 'counts': counts, 'waiting': waiting, 'marks': marks, 'totals': self.totals}

    def load_state_dict(self, state):
        """Restore what `state_dict` returned."""
        self.sums, self.counts, self.totals = dict(state['sums']), dict(state['counts']), dict(state['totals'])
        self.waiting = {name: [tuple(pair) for pair in pairs] for name, pairs in state['waiting'].items()}
        self.marks = {tuple(mark) if isinstance(mark, list) else mark: (a, b) for mark, a, b in state['marks']}

    def summary(self):
        """Return all means (dict from name to float) and clear them."""
        means = {name: self.mean(name) for name in (*self.totals, *self.waiting)}
        self.sums, self.counts, self.waiting, self.marks, self.totals = {}, {}, {}, {}, {}
        return means

    def _add_waiting(self, name):
        if self.waiting[name]:
            values, counts = zip(*self.waiting[name], strict=True)
            # Plain numbers are moved to the device of the tensors.
            device = next((number.device for number in (*values, *counts) if torch.is_tensor(number)), 'cpu')
            values, counts = _as_tensor(values, device), _as_tensor(counts, device)
            self.sums[name] = self.sums.get(name, 0.0) + (values * counts).sum()
            self.counts[name] = self.counts.get(name, 0) + counts.sum()
            self.waiting[name] = []


def _image_layout(name, image):
    """Return the order of the dimensions of an image (str) for SummaryWriter.add_image."""
    shape = tuple(image.shape)
    if len(shape) == 3 and torch.is_tensor(image) and shape[0] in (1, 3):
        return 'CHW'
    if len(shape) == 3 and shape[2] in (1, 3):
        return 'HWC'
    if len(shape) == 2:
        return 'HW'
    raise DanluError(f'image {name!r} has the shape {shape}: give an array (H, W, 3) or a tensor (1 or 3, H, W)')


Recoder = Recorder  # the spelling of torch_base


def _as_tensor(numbers, device):
    """Return numbers and 0-d tensors on `device` as a float64 tensor (N,) on `device`, without waiting for it."""
    if not any(torch.is_tensor(number) for number in numbers):
        on_gpu = torch.device(device).type == 'cuda'
        return torch.tensor(numbers, dtype=torch.float64, pin_memory=on_gpu).to(device, non_blocking=True)
    full = {'dtype': torch.float64, 'device': device}
    return torch.stack([n if torch.is_tensor(n) else torch.full((), n, **full) for n in numbers]).double()


class TimeBudget:
    """Limits a slow action to a share of the CPU time of the process.

    Wall time is not used: a process that waits for a core would repeat the action far too often.

    Args:
        share: share of the CPU time, for example 0.01.
        cost: expected seconds of the first action; later actions are measured.
        state: state dict of the interrupted run, or None for a new run.
    """

    def __init__(self, share, cost=0.0, state=None):
        state = state or {}
        self.share, self.cost = share, state.get('cost') or cost
        self.done = time.process_time() - (state.get('since') or 0.0)

    def state_dict(self):
        """Return the cost of the last action and the seconds since then (dict)."""
        return {'cost': self.cost, 'since': time.process_time() - self.done}

    def due(self):
        """Return whether the action fits into the budget now (bool)."""
        return (time.process_time() - self.done) * self.share >= self.cost

    @contextmanager
    def spending(self):
        """Measure the action, which is the body of the `with`."""
        started = time.process_time()
        yield
        self.spent(time.process_time() - started)

    def spent(self, seconds):
        """Note that the action was done, and how long (float, seconds) it took."""
        self.done, self.cost = time.process_time(), seconds


class _NullWriter:
    """A SummaryWriter that writes nothing."""

    def __getattr__(self, name):
        return lambda *args, **kwargs: None


def _if_enabled(method):
    """Return a method that does nothing and returns None if its Logger is off."""

    @wraps(method)
    def wrapper(self, *args, **kwargs):
        return method(self, *args, **kwargs) if self.enabled else None

    return wrapper


class Logger:
    """Writes the files of one run and prints messages.

    Args:
        directory: run directory, which exists, or options (Namespace) with a `model_dir`.
        history: rows of earlier epochs (list of dict) if the run is resumed; history.csv is rewritten with them.
        step: optimizer steps in those epochs.
        events: sizes of the event files at the time of the checkpoint (dict from utils.runs.event_files.event_sizes),
            or None for a new run or a checkpoint of an older version.
        options: main options of the run (dict of plain values) for TensorBoard's HPARAMS tab, or None.
        selection: utils.training.checkpoint_selector.CheckpointSelector, which marks the best epoch, or None.
        enabled: False on ranks above 0: the Logger computes means and keeps the history, but prints and writes nothing.
    """

    def __init__(self, directory, history=(), step=0, events=None, options=None, selection=None, enabled=True):
        self.directory, self.enabled = Path(getattr(directory, 'model_dir', directory)), enabled
        self.options, self.selection = options, selection
        self.history = [dict(row) for row in history]
        self.stdout_is_closed = False
        self.resumed_from = {'epoch': self.history[-1]['epoch'] if self.history else 0, 'step': step}
        self.continued = enabled and continue_events(self.directory, events)
        self.has_described_run = False  # to TensorBoard
        self.recorder, self.checkpoints = Recorder(), CheckpointWriter()
        self._drawing = TimeBudget(0.01, cost=1.0)
        self.log = None
        if enabled:
            self.log = open_regular(self.directory / 'log.txt', 'a', encoding='utf-8')  # closed by `close`
            self._write_history()

    @cached_property
    def writer(self):
        """The SummaryWriter for values per epoch, opened on first use because its import takes seconds."""
        return self._open_writer(self.directory, 'epoch')

    @cached_property
    def step_writer(self):
        """The SummaryWriter for values per step: `writer`, or that of steps/ in a run of an earlier version."""
        steps = self.directory / 'steps'
        return self._open_writer(steps, 'step') if steps.is_dir() else self.writer

    def _open_writer(self, directory, unit):
        if not self.enabled:
            return _NullWriter()
        from utils.runs.tensorboard import open_writer

        return open_writer(directory, self._purge_step(unit))

    def _purge_step(self, unit):
        """Return the step from which TensorBoard drops older events of a resumed run, or None.

        Needed for runs of older versions, whose event files cannot be truncated.
        """
        if self.continued or not (self.history or self.resumed_from['step']):
            return None
        return self.resumed_from[unit] + 1

    @_if_enabled
    def print(self, text, shown=None):
        """Print lines of text above the progress bar and append them to log.txt.

        Args:
            text: str; log.txt gets the full form of an AbbreviatedText.
            shown: text for the terminal with styled parts (utils.base.terminal.styled), or None to print `text`.
        """
        tqdm.write(wrap_lines(text, terminal_width()) if shown is None else shown, file=sys.stdout)
        sys.stdout.flush()
        self.write(getattr(text, 'full', text))
        if (error := getattr(sys.stdout, 'error', None)) and not self.stdout_is_closed:
            self.stdout_is_closed = True
            self.write(f'stdout is closed ({error}); the run continues and logs to log.txt only')

    def write(self, text):
        """Append lines of text to log.txt; if the Logger is off, print them to stderr, the log of the rank."""
        if not self.enabled:
            print(text, file=sys.stderr)
            return
        with wrap_write_errors(self.directory / 'log.txt'):
            self.log.write(f'{text}\n')
            self.log.flush()

    def progress(self, loader, title):
        """Return an iterable over the batches of a loader that shows the progress."""
        return Progress(loader, title, self.print, shown=self.enabled, times=processes.count() if self.enabled else 1)

    def record(self, name, value, count=1):
        """Add the mean of a batch: see Recorder.record."""
        self.recorder.record(name, value, count)

    record_scalar = record  # the name in torch_base

    def record_sum(self, name, parts):
        """Add the weighted sum of means of a batch: see Recorder.record_sum."""
        self.recorder.record_sum(name, parts)

    def save_curves(self, epoch):
        """End an epoch: write its means to TensorBoard and history.csv, and from time to time draw curves.png.

        Returns:
            The row of the epoch: dict with 'epoch' (int) and the name of each value (float).
        """
        row = {'epoch': epoch, **self.recorder.summary()}
        if self.enabled:
            self._add_scalars(row)
        self.history.append(row)
        if self.enabled:
            self._add_best(epoch)
            self._flush_events()
            self._write_history()
            if self._drawing.due():  # drawing takes as long as a short epoch
                self.draw()
        return row

    def _add_scalars(self, row):
        if not self.has_described_run:
            self._describe_run(row)
        for name, value in row.items():
            if name != 'epoch':
                self.writer.add_scalar(TAGS.get(name, name), value, row['epoch'])

    def _add_best(self, epoch):
        if best := self.best():
            name, best_epoch = best
            self.writer.add_scalar('best/epoch', best_epoch, epoch)
            value = next(row[name] for row in self.history if row['epoch'] == best_epoch)
            self.writer.add_scalar(f'best/{name.partition("/")[2]}', value, epoch)

    @_if_enabled
    def save_steps(self, step, lr):
        """Write the mean training loss since the last call and the learning rate to TensorBoard.

        Args:
            step: optimizer steps since the run began (int).
            lr: learning rate (float).
        """
        loss = self.recorder.recent('train/loss')
        self.step_writer.add_scalar('step/loss', loss, step)
        self.step_writer.add_scalar('step/lr', lr, step)

    @_if_enabled
    def save_imgs(self, names2imgs, epoch):
        """Write images to TensorBoard.

        Args:
            names2imgs: dict from a tag to an image, uint8 (0 to 255) or float (0 to 1): an array (H, W, 3) or, as in
                torch_base, a tensor (C, H, W) with one or three channels.
            epoch: number (int).

        Raises:
            DanluError: an image has another shape.
        """
        for name, image in names2imgs.items():
            self.writer.add_image(name, image, epoch, dataformats=_image_layout(name, image))

    @_if_enabled
    def save_histograms(self, net, epoch):
        """Write histograms of the weights and gradients of a network to TensorBoard."""
        from utils.runs.tensorboard import add_histograms

        add_histograms(self.writer, net, epoch)

    @_if_enabled
    def save_graph(self, net, images):
        """Write the graph of a network for images (B, C, H, W) to TensorBoard, or print why tracing failed."""
        from utils.runs.tensorboard import add_graph

        if why := add_graph(self.writer, net, images):
            self.print(f'--add_graph: no graph, because the network cannot be traced: {why}')

    @_if_enabled
    def save_check_points(self, states):
        """Write checkpoint files atomically in the background.

        Args:
            states: dict from a name such as 'best.pth' to the state (dict), which may change after the call.

        Raises:
            DanluError: an earlier checkpoint could not be written.
        """
        self.checkpoints.write({self.directory / name: state for name, state in states.items()})

    @_if_enabled
    def save_check_point(self, model, epoch, step=0):
        """Write the state dict of a network to <epoch>_<step>.pth, such as 01_000000.pth, as torch_base does.

        The file holds the weights only, without options or training state. It is complete when the call returns.

        Args:
            model: nn.Module, wrapped for several GPUs or not.
            epoch, step: int, for the name.
        """
        self.save_check_points({f'{epoch:02d}_{step:06d}.pth': dict(unwrap_model(model).state_dict())})
        self.checkpoints.finish()

    @_if_enabled
    def flush(self):
        """Flush the event files to the operating system, so that they survive if the process is killed.

        Returns:
            The sizes of the event files (dict) for the next checkpoint.
        """
        self._flush_events()
        return event_sizes(self.directory)

    def best(self):
        """Return (name of the monitored value, best epoch so far), or None."""
        return None if self.selection is None else self.selection.best_epoch_of(self.history)

    @_if_enabled
    def draw(self):
        """Draw curves.png from the history."""
        with self._drawing.spending():
            draw_run(self.directory, self.history, self.selection)

    @_if_enabled
    def close(self):
        """Draw the curves and close all files, even if one of them cannot be written."""
        with ExitStack() as closing:
            closing.callback(self.log.close)
            for writer in self._writers():
                closing.callback(writer.close)
            closing.callback(self.checkpoints.finish)
            closing.callback(self._flush_events)  # raises write errors of the event thread, which `close` hides
            if self.history:
                closing.callback(self.draw)

    def _writers(self):
        """Return the SummaryWriters that are open (list)."""
        opened = [vars(self)[name] for name in ('writer', 'step_writer') if name in vars(self)]
        return opened[:1] if len(opened) > 1 and opened[0] is opened[1] else opened

    def _flush_events(self):
        for writer in self._writers():
            with wrap_write_errors(writer.log_dir):
                writer.flush()

    def _describe_run(self, row):
        """Write to TensorBoard: the options, the layout of the charts, and where the run was resumed.

        Args:
            row: values of an epoch (dict); all epochs have the same names.
        """
        from utils.runs.tensorboard import add_charts, add_hparams

        if not (self.continued and self.resumed_from['epoch']):  # else the continued event files hold them already
            best = [f'best/{self.selection.monitor.partition("/")[2]}'] if self.selection else []
            if self.options is not None:
                ends = [name for split in ('val/', 'train/') for name in row if name.startswith(split)]
                add_hparams(self.writer, self.options, [*best, *ends])
            add_charts(self.writer, panels_of([row]), [*(TAGS.get(name, name) for name in row), *best])
        if self.history or self.resumed_from['step']:
            after = f'resumed after epoch {self.resumed_from["epoch"]}, step {self.resumed_from["step"]}'
            self.writer.add_text('resumed', after, self.resumed_from['epoch'] + 1)
        self.has_described_run = True

    def _write_history(self):
        """Write history.csv atomically, with a column for each value of any epoch."""
        path = self.directory / 'history.csv'
        if not self.history:
            path.unlink(missing_ok=True)  # a resumed run repeats the only epoch
            return
        with wrap_write_errors(path), atomic_writer(path) as file:
            writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(name for row in self.history for name in row)))
            writer.writeheader()
            writer.writerows(self.history)
