"""Log of the first steps of a run, with which `python scripts/runs.py replay` compares today's code."""

import json
from pathlib import Path

import torch

from utils.base.record_schema import CONDITIONS, FIRST_STEP, Needed, fault_of
from utils.base.regular_files import open_regular, read_regular_text
from utils.base.write_errors import wrap_write_errors
from utils.distributed import processes
from utils.provenance.resume_check import checksum, iterate_tensors
from utils.runs.checkpoint import unwrap_model

REPLAY_FILE = 'first_steps.jsonl'
REPLAY_STEPS = 20
MAX_VALUES_PER_TENSOR = 2**16  # checksums of all values would take longer than a step of a large network


class ReplayLog:
    """Records the first steps of a new run in first_steps.jsonl: a line of conditions, then a line for each step.

    Args:
        directory: run directory.
        count: number of steps (int); 0 for a resumed run.
    """

    def __init__(self, directory, count=REPLAY_STEPS):
        self.path, self.left, self.weights, self.done = Path(directory) / REPLAY_FILE, count, None, 0

    def before_step(self, trainer):
        """Store the checksum of the weights before a step."""
        if self.left:
            weights = unwrap_model(trainer.net).state_dict().values()
            self.weights = checksum(map(subsample, iterate_tensors(weights)))

    def after_step(self, trainer, images, targets):
        """Record the step that was just done."""
        if not self.left:
            return
        self.left -= 1
        self.done += 1
        lines = [] if self.done > 1 else [run_conditions(trainer)]
        loss = float(trainer.logger.recorder.latest['train/loss'])
        lines.append({'step': self.done, 'data': checksum(map(subsample, iterate_tensors([images, targets]))),
                      'weights': self.weights, 'loss': loss})  # fmt: skip
        with wrap_write_errors(self.path), open_regular(self.path, 'a', encoding='utf-8') as file:
            file.writelines(json.dumps(line) + '\n' for line in lines)


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
    """Return the recorded conditions (dict) and steps (list of dict) of a run; an incomplete last line is skipped.

    Raises:
        FileNotFoundError: the run has no first_steps.jsonl.
        ValueError: the file is damaged.
    """
    lines = []
    for line in read_regular_text(Path(directory) / REPLAY_FILE, errors='replace').splitlines():
        try:
            lines.append(json.loads(line))
        except (ValueError, RecursionError):
            break
    first, steps = next(iter(lines), None), lines[1:]
    fault = fault_of(first, Needed(CONDITIONS), 'the first line') or fault_of(steps, [Needed(FIRST_STEP)], 'steps')
    if fault:
        raise ValueError(f'{Path(directory) / REPLAY_FILE} is damaged: {fault}')
    return lines[0], lines[1:]


def subsample(tensor):
    """Return up to MAX_VALUES_PER_TENSOR evenly spaced values of a tensor (1-d)."""
    flat = tensor.detach().reshape(-1)
    return flat[:: -(-len(flat) // MAX_VALUES_PER_TENSOR) or 1]
