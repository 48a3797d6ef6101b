"""Checks that a resumed run repeats the interrupted one: compares the first step after each checkpoint."""

import json
import zlib
from pathlib import Path

import torch

from utils.base.record_schema import NOTED_STEP, fault_of
from utils.base.regular_files import open_regular, read_regular_text
from utils.base.text_table import number_text
from utils.base.write_errors import wrap_write_errors
from utils.distributed import processes
from utils.distributed.fsdp import local_shard
from utils.runs.checkpoint import unwrap_model

WITNESS_FILE = 'witness.jsonl'
CONSEQUENCE = 'the run continues, but its results may differ from an uninterrupted run'
LOSS_TOLERANCE = 1e-5  # relative; a GPU or another number of threads rounds differently


class ResumeCheck:
    """Records the first step after each last.pth in witness.jsonl, and compares the first step of a resumed run.

    Args:
        directory: run directory.
        resumed: whether the run is resumed (bool), so that its first step is compared.

    Attributes:
        is_pending: whether the next step is recorded (bool); the Trainer sets it after saving.
    """

    def __init__(self, directory, resumed):
        self.path, self.resumed, self.is_pending = Path(directory) / WITNESS_FILE, resumed, resumed
        self.weights = None

    def before_step(self, trainer):
        """Store the checksum of the weights before a step that is recorded."""
        if self.is_pending:
            self.weights = checksum(unwrap_model(trainer.net).state_dict().values())

    def after_step(self, trainer, images, targets):
        """Record the step that was just done, if one is pending.

        Returns:
            The result of the comparison (str), a line for the log, or None if nothing was compared.
        """
        if not self.is_pending:
            return None
        self.is_pending = False
        seen = {
            'processes': processes.count(),
            'epoch': trainer.epoch + 1,
            'batch': trainer.batch,
            'weights': self.weights,
            'data': checksum([images, targets]),
            'loss': float(trainer.logger.recorder.latest['train/loss']),
        }
        line = self._compare_step(seen) if self.resumed else None
        self.resumed = False
        with wrap_write_errors(self.path), open_regular(self.path, 'a', encoding='utf-8') as file:
            file.write(json.dumps(seen) + '\n')
        return line

    def _compare_step(self, seen):
        """Return the result (str) of comparing a step (dict) with the recorded step of the interrupted run."""
        step = f'batch {seen["batch"]} of epoch {seen["epoch"]}'
        for noted in reversed(self._read_noted_steps()):
            if (noted['epoch'], noted['batch']) == (seen['epoch'], seen['batch']):
                break
        else:
            return f'resume not verified: {step} did not run before, so there is nothing to compare'
        then = noted.get('processes', 1)
        if then != seen['processes']:
            return f'resume not verified: {step} ran on {then} processes before, on {seen["processes"]} now'
        for what in ('weights', 'data'):
            if noted.get(what) != seen[what]:
                return f'resume differs: the {what} of {step} are not those of the interrupted run; {CONSEQUENCE}'
        if noted['loss'] == seen['loss']:
            return f'resume verified: weights, data and loss of {step} are those of the interrupted run'
        apart = abs(noted['loss'] - seen['loss'])
        if apart <= LOSS_TOLERANCE * abs(noted['loss']):
            same = f'weights and data of {step} are those of the interrupted run'
            return f'resume verified: {same}, and the loss differs by {number_text(apart)}'
        losses = f'{seen["loss"]!r} instead of {noted["loss"]!r}'
        return f'resume differs: the loss of {step} is {losses}, from the same weights and data; {CONSEQUENCE}'

    def _read_noted_steps(self):
        """Return the recorded steps (list of dict), without invalid lines such as one cut off by a kill."""
        if not self.path.exists():
            return []
        noted = []
        for line in read_regular_text(self.path, errors='replace').splitlines():
            try:
                noted.append(json.loads(line))
            except (ValueError, RecursionError):
                continue
        return [line for line in noted if isinstance(line, dict) and fault_of(line, NOTED_STEP) is None]


def checksum(parts):
    """Return the CRC-32 (int) of the bytes of tensors, nested as for `iterate_tensors`; waits for their device."""
    value = 0
    for tensor in iterate_tensors(parts):
        value = zlib.crc32(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy(), value)
    return value


def iterate_tensors(parts):
    """Yield the tensors in an iterable of tensors, lists, tuples and dicts; other values are skipped."""
    for part in parts:
        if torch.is_tensor(part):
            yield local_shard(part)
        elif isinstance(part, list | tuple | dict):
            yield from iterate_tensors(part.values() if isinstance(part, dict) else part)
