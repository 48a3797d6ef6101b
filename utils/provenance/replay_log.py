"""Log of the first steps of a run, and of some after checkpoints, for `python scripts/runs.py replay`."""

import json
import time
from pathlib import Path

import torch

from utils.base.record_schema import CONDITIONS, FIRST_STEP, LATE_STEP, Needed, fault_of
from utils.base.regular_files import open_regular, read_regular_text
from utils.base.write_errors import wrap_write_errors
from utils.distributed import processes
from utils.logger import TimeBudget
from utils.provenance.resume_check import checksum, iterate_tensors
from utils.runs.checkpoint import unwrap_model

REPLAY_FILE, LATE_FILE = 'first_steps.jsonl', 'late_steps.jsonl'
REPLAY_STEPS, LATE_STEPS = 20, 3
LATE_SHARE = 0.003  # of the CPU time of the run
MAX_VALUES_PER_TENSOR = 2**16  # checksums of all values would take longer than a step of a large network


class ReplayLog:
    """Records the first steps of a new run in first_steps.jsonl: a line of conditions, then a line for each step.

    The steps after a checkpoint are recorded in late_steps.jsonl, as far as they cost at most LATE_SHARE of the time;
    `step` counts from 1 after each checkpoint.

    Args:
        directory: run directory.
        count: number of first steps (int); 0 for a resumed run.
        late: number of steps after each checkpoint (int).
    """

    def __init__(self, directory, count=REPLAY_STEPS, late=LATE_STEPS):
        self.directory, self.left, self.late, self.done, self.before = Path(directory), count, late, 0, {}
        self.file, self.budget, self.spent = REPLAY_FILE, TimeBudget(LATE_SHARE), 0.0

    def after_save(self):
        """Record the next steps, as a checkpoint was saved from which they can be repeated."""
        if not self.left and self.late and self.budget.due():
            self.file, self.left, self.done, self.spent = LATE_FILE, self.late, 0, 0.0

    def before_step(self, trainer):
        """Store the checksums of the state before a step."""
        if self.left:
            started = time.process_time()
            self.before = state_checksums(trainer)
            self.spent += time.process_time() - started

    def after_step(self, trainer, images, targets):
        """Record the step that was just done."""
        if not self.left:
            return
        started = time.process_time()
        self.left -= 1
        self.done += 1
        lines = [run_conditions(trainer)] if self.file == REPLAY_FILE and self.done == 1 else []
        loss = float(trainer.logger.recorder.latest['train/loss'])
        lines.append({'step': self.done, 'epoch': trainer.epoch + 1, 'batch': trainer.batch,
                      'data': checksum(map(subsample, iterate_tensors([images, targets]))),
                      **self.before, 'loss': loss})  # fmt: skip
        path = self.directory / self.file
        with wrap_write_errors(path), open_regular(path, 'a', encoding='utf-8') as file:
            file.writelines(json.dumps(line) + '\n' for line in lines)
        self.spent += time.process_time() - started
        if not self.left and self.file == LATE_FILE:
            self.budget.spent(self.spent)


def state_checksums(trainer):
    """Return the checksums (dict of int) of weights, optimizer and EMA of a train.Trainer, and the learning rates.

    `ema` is None without --ema; `lr` has the learning rate of each parameter group (list of float).
    """
    ema, optimizer = trainer.update.ema, trainer.optimizer
    return {
        'weights': _checksum(unwrap_model(trainer.net).state_dict()),
        'optimizer': _checksum(optimizer.state_dict()['state']),
        'ema': None if ema is None else _checksum(ema.state_dict()),
        'lr': [float(group['lr']) for group in optimizer.param_groups],
    }


def _checksum(state):
    return checksum(map(subsample, iterate_tensors(state.values())))


def run_conditions(trainer):
    """Return the conditions, besides options, code and data, for bit-identical results (dict of plain values)."""
    return {
        'threads': torch.get_num_threads(),
        'processes': processes.count(),
        'device': trainer.device.type,
        'torch': str(torch.__version__),
        'ready_made': trainer.is_customised,
    }


def read_replay_log(directory):
    """Return the recorded conditions (dict) and first steps (list of dict) of a run; an incomplete line ends them.

    Raises:
        FileNotFoundError: the run has no first_steps.jsonl.
        ValueError: the file is damaged.
    """
    lines = _lines_of(Path(directory) / REPLAY_FILE)
    first, steps = next(iter(lines), None), lines[1:]
    fault = fault_of(first, Needed(CONDITIONS), 'the first line') or fault_of(steps, [Needed(FIRST_STEP)], 'steps')
    if fault:
        raise ValueError(f'{Path(directory) / REPLAY_FILE} is damaged: {fault}')
    return lines[0], lines[1:]


def read_late_steps(directory):
    """Return the steps (list of dict) that were recorded after checkpoints of a run, [] if there are none.

    Raises:
        ValueError: the file is damaged.
    """
    path = Path(directory) / LATE_FILE
    try:
        steps = _lines_of(path)
    except FileNotFoundError:
        return []
    if fault := fault_of(steps, [Needed(LATE_STEP)], 'steps'):
        raise ValueError(f'{path} is damaged: {fault}')
    return steps


def _lines_of(path):
    lines = []
    for line in read_regular_text(path, errors='replace').splitlines():
        try:
            lines.append(json.loads(line))
        except (ValueError, RecursionError):
            break
    return lines


def subsample(tensor):
    """Return up to MAX_VALUES_PER_TENSOR evenly spaced values of a tensor (1-d)."""
    flat = tensor.detach().reshape(-1)
    return flat[:: -(-len(flat) // MAX_VALUES_PER_TENSOR) or 1]
