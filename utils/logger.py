"""What a run leaves behind while it goes on: log.txt, history.csv, curves.png, TensorBoard events, checkpoints."""

import csv
import math
import sys
import time
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

import torch
from tqdm import tqdm

from utils.base.atomic_write import replacing
from utils.base.errors import DanluError
from utils.base.progress import Progress
from utils.base.regular_files import open_regular
from utils.base.write_errors import writing
from utils.distributed import processes
from utils.drawing.curves import draw_run, panels_of
from utils.runs.async_writer import CheckpointWriter
from utils.runs.checkpoint import unwrapped
from utils.runs.event_files import continue_events, event_sizes


class Recorder:
    """Exact means over any number of batches: values stay tensors on their device until `mean` or `summary`."""

    WAITING = 64  # values that are summed together: one operation for all costs as much as for one

    def __init__(self):
        self.sums, self.counts, self.waiting, self.marks, self.totals = {}, {}, {}, {}, {}
        self.latest = {}  # the last value of each name, as it was recorded

    def record(self, name, value, count=1):
        """Add a batch's mean.

        Args:
            name: of the value, for example 'train/loss'.
            value: 0-d tensor or number, the mean over the batch.
            count: what the mean was taken over: number or 0-d tensor. The result is sum(value*count) / sum(count).
        """
        value = value.detach() if torch.is_tensor(value) else value
        self.latest[name] = value
        waiting = self.waiting.setdefault(name, [])
        waiting.append((value, count))
        if len(waiting) >= self.WAITING:
            self._add_waiting(name)

    def record_sum(self, name, parts):
        """Add a batch's weighted sum of means that were taken over different things.

        Args:
            name: of the sum, for example 'train/loss'; its result is the sum of weight * result of the part.
            parts: dict from a name, which is recorded too, to (weight, value, count).
        """
        self.totals[name] = {part: weight for part, (weight, _, _) in parts.items()}
        parts = {part: (weight, value.detach() if torch.is_tensor(value) else value, count)
                 for part, (weight, value, count) in parts.items()}  # fmt: skip
        self.latest[name] = sum(weight * value for weight, value, _ in parts.values())
        for part, (_, value, count) in parts.items():
            self.record(part, value, count)

    def mean(self, name):
        """Return the mean so far (float; nan when nothing was counted). Waits for the device."""
        if name in self.totals:
            return sum(weight * self.mean(part) for part, weight in self.totals[name].items())
        self._add_waiting(name)
        count = float(self.counts[name])
        return float(self.sums[name]) / count if count else math.nan

    def recent(self, name):
        """Return the mean since the last call for this name (float; nan when nothing was counted since)."""
        if name in self.totals:
            return sum(weight * self._recent(part, (name, part)) for part, weight in self.totals[name].items())
        return self._recent(name, name)

    def _recent(self, name, mark):
        """Return the mean of `name` since the last call with this mark."""
        self._add_waiting(name)
        now = float(self.sums[name]), float(self.counts[name])
        before, self.marks[mark] = self.marks.get(mark, (0.0, 0.0)), now
        count = now[1] - before[1]
        return (now[0] - before[0]) / count if count else math.nan

    def merge(self, states):
        """Add what other Recorders have come to: list of what their `state_dict` returned."""
        for state in states:
            self.totals |= state['totals']
            for name in state['waiting']:
                pairs = [(state['sums'].get(name, 0.0), state['counts'].get(name, 0.0)),
                         *((value * count, count) for value, count in state['waiting'][name])]  # fmt: skip
                self.waiting.setdefault(name, [])
                self.sums[name] = self.sums.get(name, 0.0) + sum(total for total, _ in pairs)
                self.counts[name] = self.counts.get(name, 0) + sum(count for _, count in pairs)

    def state_dict(self):
        """Return the sums so far as plain values; those that wait stay apart, so that nothing is rounded otherwise."""
        waiting = {
            name: [[float(value), float(count)] for value, count in pairs] for name, pairs in self.waiting.items()
        }
        sums, counts = ({name: float(n) for name, n in of.items()} for of in (self.sums, self.counts))
        marks = [[mark, *before] for mark, before in self.marks.items()]
        return {'sums': sums, 'counts': counts, 'waiting': waiting, 'marks': marks, 'totals': self.totals}

    def load_state_dict(self, state):
        """Go on where `state_dict` was taken."""
        self.sums, self.counts, self.totals = dict(state['sums']), dict(state['counts']), dict(state['totals'])
        self.waiting = {name: [tuple(pair) for pair in pairs] for name, pairs in state['waiting'].items()}
        self.marks = {tuple(mark) if isinstance(mark, list) else mark: (a, b) for mark, a, b in state['marks']}

    def summary(self):
        """Return all means (dict name -> float) and start anew."""
        means = {name: self.mean(name) for name in (*self.totals, *self.waiting)}
        self.sums, self.counts, self.waiting, self.marks, self.totals = {}, {}, {}, {}, {}
        return means

    def _add_waiting(self, name):
        if self.waiting[name]:
            values, counts = zip(*self.waiting[name], strict=True)
            # Plain numbers follow the tensors to their device.
            device = next((number.device for number in (*values, *counts) if torch.is_tensor(number)), 'cpu')
            values, counts = _as_tensor(values, device), _as_tensor(counts, device)
            self.sums[name] = self.sums.get(name, 0.0) + (values * counts).sum()
            self.counts[name] = self.counts.get(name, 0) + counts.sum()
            self.waiting[name] = []


def _layout(name, picture):
    """Return the order of a picture's dimensions (str), as SummaryWriter.add_image takes it."""
    shape = tuple(picture.shape)
    if len(shape) == 3 and torch.is_tensor(picture) and shape[0] in (1, 3):
        return 'CHW'
    if len(shape) == 3 and shape[2] in (1, 3):
        return 'HWC'
    if len(shape) == 2:
        return 'HW'
    raise DanluError(f'picture {name!r} has the shape {shape}: give an array (H, W, 3) or a tensor (1 or 3, H, W)')


Recoder = Recorder  # as torch_base spells it


def _as_tensor(numbers, device):
    """Return numbers and 0-d tensors of `device` as a float64 tensor (N,) there, without waiting for it."""
    if not any(torch.is_tensor(number) for number in numbers):
        on_gpu = torch.device(device).type == 'cuda'
        return torch.tensor(numbers, dtype=torch.float64, pin_memory=on_gpu).to(device, non_blocking=True)
    full = {'dtype': torch.float64, 'device': device}
    return torch.stack([n if torch.is_tensor(n) else torch.full((), n, **full) for n in numbers]).double()


class TimeBudget:
    """Says when something slow may be done again, so that it takes a small share of the process's time.

    Measured by the process's own time, not a day's: a process that waits for its turn would do it far too often.

    Args:
        share: of the time, for example 0.01.
        cost: seconds that it is thought to take until it was done once.
        state: of a resumed run, what `state_dict` returned (dict); None: it begins.
    """

    def __init__(self, share, cost=0.0, state=None):
        state = state or {}
        self.share, self.cost = share, state.get('cost') or cost
        self.done = time.process_time() - (state.get('since') or 0.0)

    def state_dict(self):
        """Return what a resumed run goes on with (dict): the cost, and the seconds since it was done."""
        return {'cost': self.cost, 'since': time.process_time() - self.done}

    def due(self):
        """Return whether it may be done (bool)."""
        return (time.process_time() - self.done) * self.share >= self.cost

    @contextmanager
    def spending(self):
        """Measure what it takes: the body of the `with` does it."""
        started = time.process_time()
        yield
        self.done = time.process_time()
        self.cost = self.done - started


class Logger:
    """Writes everything of one run into its directory and prints what a person wants to know.

    Args:
        directory: of the run; exists. Options (Namespace) stand for their model_dir.
        history: rows (list of dicts) of earlier epochs when a run is resumed; history.csv is rewritten to hold them.
        step: optimizer steps of those epochs.
        events: sizes of the event files when the run was saved (dict, as utils.runs.event_files.event_sizes returned
            them), or None: the run begins, or its checkpoint is of an older version.
        options: of the run (dict of plain values) for TensorBoard's HPARAMS tab, or None.
        selection: utils.training.checkpoint_selector.Selection that says which epoch is the best one, or None: none is
            marked.
    """

    def __init__(self, directory, history=(), step=0, events=None, options=None, selection=None):
        self.directory = Path(getattr(directory, 'model_dir', directory))
        self.options, self.selection = options, selection
        self.history = [dict(row) for row in history]
        self.is_alone = False  # as nobody sees what is printed any more
        self.begun = {'epoch': self.history[-1]['epoch'] if self.history else 0, 'step': step}
        self.continued = continue_events(self.directory, events)
        self.described = False  # in TensorBoard
        self.recorder = Recorder()
        self.log = open_regular(self.directory / 'log.txt', 'a', encoding='utf-8')  # closed by `close`
        self.checkpoints = CheckpointWriter()
        self._write_history()
        self._drawing = TimeBudget(0.01, cost=1.0)

    @cached_property
    def writer(self):
        """Return the SummaryWriter, opened when there is something to write: its import delays the first step."""
        from utils.runs.tensorboard import open_writer

        return open_writer(self.directory, self._purge_step('epoch'))

    @cached_property
    def step_writer(self):
        """Return the SummaryWriter of what is by steps, in steps/: `writer` would take its steps for epochs."""
        from utils.runs.tensorboard import open_writer

        return open_writer(self.directory / 'steps', self._purge_step('step'))

    def _purge_step(self, unit):
        """Return the step from which on TensorBoard is to forget what event files of a resumed run hold, or None.

        Needed where they could not be cut, as the run was saved by an older version.
        """
        if self.continued or not (self.history or self.begun['step']):
            return None
        return self.begun[unit] + 1

    def print(self, text, shown=None):
        """Print lines of text, past a progress bar if one is shown, and keep them in log.txt.

        Args:
            text: str.
            shown: the same for the eye: with utils.base.terminal.styled parts; or None: as it is.
        """
        tqdm.write(text if shown is None else shown, file=sys.stdout)
        sys.stdout.flush()
        self.write(text)
        if (error := getattr(sys.stdout, 'error', None)) and not self.is_alone:
            self.is_alone = True
            self.write(f'stdout is gone ({error}); the run goes on, and log.txt with it')

    def write(self, text):
        """Put lines of text into log.txt alone."""
        with writing(self.directory / 'log.txt'):
            self.log.write(f'{text}\n')
            self.log.flush()

    def progress(self, loader, title):
        """Return an iterable over the loader's batches that shows how far it is."""
        return Progress(loader, title, self.print, times=processes.count())

    def record(self, name, value, count=1):
        """Add a batch's mean to the epoch's: see Recorder.record."""
        self.recorder.record(name, value, count)

    record_scalar = record  # as torch_base calls it

    def record_sum(self, name, parts):
        """Add a batch's weighted sum of means to the epoch's: see Recorder.record_sum."""
        self.recorder.record_sum(name, parts)

    def save_curves(self, epoch):
        """End an epoch: its means go to TensorBoard and history.csv, and now and then into curves.png.

        Returns:
            The epoch's row: dict with 'epoch' (int) and the name of each value (float).
        """
        row = {'epoch': epoch, **self.recorder.summary()}
        if not self.described:
            self._describe(row)
        for name, value in row.items():
            if name != 'epoch':
                self.writer.add_scalar(name, value, epoch)
        self.history.append(row)
        if best := self.best():
            name, best_epoch = best
            self.writer.add_scalar('best/epoch', best_epoch, epoch)
            value = next(row[name] for row in self.history if row['epoch'] == best_epoch)
            self.writer.add_scalar(f'best/{name.partition("/")[2]}', value, epoch)
        self._flush_events()
        self._write_history()
        if self._drawing.due():  # it takes about as long as a short epoch
            self.draw()
        return row

    def save_steps(self, step, lr):
        """Show what goes on within an epoch in TensorBoard: the training loss since the last call, the learning rate.

        Args:
            step: optimizer steps since the run began (int).
            lr: the learning rate (float).
        """
        loss = self.recorder.recent('train/loss')
        self.step_writer.add_scalar('step/loss', loss, step)
        self.step_writer.add_scalar('step/lr', lr, step)

    def save_imgs(self, names2imgs, epoch):
        """Write pictures to TensorBoard.

        Args:
            names2imgs: dict from a tag to a picture: uint8 from 0 to 255 or floats from 0 to 1, an array (H, W, 3) or,
                as torch_base has it, a tensor (C, H, W) of one or three channels.
            epoch: number (int).

        Raises:
            DanluError: a picture has another shape.
        """
        for name, picture in names2imgs.items():
            self.writer.add_image(name, picture, epoch, dataformats=_layout(name, picture))

    def save_histograms(self, net, epoch):
        """Write histograms of a network's weights and of their gradients to TensorBoard."""
        from utils.runs.tensorboard import add_histograms

        add_histograms(self.writer, net, epoch)

    def save_graph(self, net, images):
        """Draw a network's graph for images (B, C, H, W) in TensorBoard; print why where that cannot be done."""
        from utils.runs.tensorboard import add_graph

        if why := add_graph(self.writer, net, images):
            self.print(f'--add_graph: left out, as this network cannot be traced: {why}')

    def save_check_points(self, states):
        """Write checkpoint files of the run, each whole or not at all, while training goes on.

        Args:
            states: dict from a name such as 'best.pth' to the state, a dict, which may change when this returns.

        Raises:
            DanluError: an earlier one could not be written.
        """
        self.checkpoints.write({self.directory / name: state for name, state in states.items()})

    def save_check_point(self, model, epoch, step=0):
        """Write a network's state dict to <epoch>_<step>.pth, such as 01_000000.pth, as torch_base does.

        best.pth and last.pth have the options and the state of the training besides; this file has the weights alone.
        It is written when this returns.

        Args:
            model: nn.Module, wrapped for several GPUs or not.
            epoch, step: int, for the name.
        """
        self.save_check_points({f'{epoch:02d}_{step:06d}.pth': dict(unwrapped(model).state_dict())})
        self.checkpoints.finish()

    def flush(self):
        """Hand what was written to the system, which keeps it when the process is killed.

        Returns:
            The sizes of the event files (dict), for the checkpoint that is about to be written.
        """
        self._flush_events()
        return event_sizes(self.directory)

    def best(self):
        """Return (name of the value, epoch) of the best epoch so far, or None: there is none."""
        return None if self.selection is None else self.selection.best_of(self.history)

    def draw(self):
        """Draw curves.png from the epochs so far."""
        with self._drawing.spending():
            draw_run(self.directory, self.history, self.selection)

    def close(self):
        """Draw the last curves and close the files, all of them, also where one cannot be written."""
        with ExitStack() as closing:
            closing.callback(self.log.close)
            for writer in self._writers():
                closing.callback(writer.close)
            closing.callback(self.checkpoints.finish)
            closing.callback(self._flush_events)  # what its thread could not write is said here, not by `close`
            if self.history:
                closing.callback(self.draw)

    def _writers(self):
        """Return the SummaryWriters that were opened (list)."""
        return [vars(self)[name] for name in ('writer', 'step_writer') if name in vars(self)]

    def _flush_events(self):
        for writer in self._writers():
            with writing(writer.log_dir):
                writer.flush()

    def _describe(self, row):
        """Tell TensorBoard what the run is: its options, what belongs into one chart, where it was resumed.

        Args:
            row: an epoch's values, the names of which are those of all epochs (dict).
        """
        from utils.runs.tensorboard import add_charts, add_hparams

        if not (self.continued and self.begun['epoch']):  # else the event files that go on hold it already
            if self.options is not None:
                add_hparams(self.writer, self.options, [name for name in row if name.startswith(('train/', 'val/'))])
            best = [f'best/{self.selection.monitor.partition("/")[2]}'] if self.selection else []
            add_charts(self.writer, panels_of([row]), [*row, *best])
        if self.history or self.begun['step']:
            after = f'resumed after epoch {self.begun["epoch"]}, step {self.begun["step"]}'
            self.writer.add_text('resumed', after, self.begun['epoch'] + 1)
        self.described = True

    def _write_history(self):
        """Write history.csv in one step, with a column for every value that any epoch has."""
        path = self.directory / 'history.csv'
        if not self.history:
            path.unlink(missing_ok=True)  # of an epoch that a resumed run does again
            return
        with writing(path), replacing(path) as file:
            writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(name for row in self.history for name in row)))
            writer.writeheader()
            writer.writerows(self.history)
