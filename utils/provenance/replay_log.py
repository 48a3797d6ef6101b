"""What a run's first steps were, so that `python scripts/runs.py replay` can tell whether they still are the same."""

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
REPLAY_STEPS = 20  # steps that are noted
MAX_VALUES_PER_TENSOR = (
    2**16
)  # of each tensor that count: sums of all of them would take longer than the step of a large network


class ReplayLog:
    """Notes what the first steps of a new run have seen: one line of JSON for each.

    The line before them says on what the run was: threads, device, and whether its parts were built by their names.

    Args:
        directory: of the run.
        count: steps to note (int), 0 of a run that goes on.
    """

    def __init__(self, directory, count=REPLAY_STEPS):
        self.path, self.left, self.weights, self.done = Path(directory) / REPLAY_FILE, count, None, 0

    def before_step(self, trainer):
        """Take note of the weights with which a step begins."""
        if self.left:
            weights = unwrap_model(trainer.net).state_dict().values()
            self.weights = checksum(map(subsample, iterate_tensors(weights)))

    def after_step(self, trainer, images, targets):
        """Write down the step that was just done."""
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
    """Return what the bits of a run depend on besides its options, code and data (dict of plain values)."""
    return {
        'threads': torch.get_num_threads(),
        'processes': processes.count(),
        'device': trainer.device.type,
        'torch': str(torch.__version__),
        'ready_made': trainer.is_customised,
    }


def read_replay_log(directory):
    """Return the conditions (dict) and the steps (list of dict) that a run has noted; a line cut off is left out.

    Raises:
        FileNotFoundError: the run has none.
        ValueError: the file is not one that a run has written.
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
    """Return up to VALUES values of a tensor (1-d), evenly spaced."""
    flat = tensor.detach().reshape(-1)
    return flat[:: -(-len(flat) // MAX_VALUES_PER_TENSOR) or 1]
