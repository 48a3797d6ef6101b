"""Proof that a resumed run does what the run before it did: the step after each saving, as both of them saw it."""

import json
import zlib
from pathlib import Path

import torch

from utils.base.record_schema import NOTED_STEP, fault_of
from utils.base.regular_files import open_regular, read_regular_text
from utils.base.write_errors import wrap_write_errors
from utils.distributed import processes
from utils.distributed.fsdp import local_shard
from utils.runs.checkpoint import unwrap_model

WITNESS_FILE = 'witness.jsonl'
LOSS_TOLERANCE = 1e-5  # share by which a loss may differ where other arithmetic rounds otherwise: a GPU, more threads


class ResumeCheck:
    """Notes the first step after each saving of last.pth, and compares that of a resumed run with what was noted.

    Args:
        directory: of the run.
        resumed: whether the run goes on (bool), so that its first step is compared.
    """

    def __init__(self, directory, resumed):
        self.path, self.resumed, self.is_pending = Path(directory) / WITNESS_FILE, resumed, resumed
        self.weights = None

    def before_step(self, trainer):
        """Take note of the weights with which the next step begins, if that one counts."""
        if self.is_pending:
            self.weights = checksum(unwrap_model(trainer.net).state_dict().values())

    def after_step(self, trainer, images, targets):
        """Write down the step that was just done, if it counts.

        Returns:
            a line for the log (str) where a resumed run was compared, or None.
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
        """Return what differs first between a step and what was noted of it (str)."""
        step = f'batch {seen["batch"]} of epoch {seen["epoch"]}'
        for noted in reversed(self._read_noted_steps()):
            if (noted['epoch'], noted['batch']) == (seen['epoch'], seen['batch']):
                break
        else:
            return f'resume not verified: {step} has not run before, so there is nothing to compare it with'
        then = noted.get('processes', 1)
        if then != seen['processes']:
            return f'resume not verified: {step} was done by {then} processes and not by {seen["processes"]}'
        for what in ('weights', 'data'):
            if noted.get(what) != seen[what]:
                return f'resume differs: the {what} of {step} are not those that the run had'
        if noted['loss'] == seen['loss']:
            return f'resume verified: weights, data and loss of {step} are those that the run had'
        apart = abs(noted['loss'] - seen['loss'])
        if apart <= LOSS_TOLERANCE * abs(noted['loss']):
            return (
                f'resume verified: weights and data of {step} are those that the run had, its loss within {apart:.1g}'
            )
        return (
            f'resume differs: the loss of {step} is {seen["loss"]!r}, was {noted["loss"]!r}; weights and data are equal'
        )

    def _read_noted_steps(self):
        """Return what was written down (list of dict), without lines that are none, such as one that a kill cut off."""
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
    """Return the CRC-32 (int) of the bytes of tensors (iterable), one after the other; waits for their device.

    They may be in lists, tuples and dicts, see `tensors_in`.
    """
    value = 0
    for tensor in iterate_tensors(parts):
        value = zlib.crc32(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy(), value)
    return value


def iterate_tensors(parts):
    """Yield the tensors in an iterable of them or of lists, tuples and dicts, as a task of one's own may have targets.

    What else there is does not count.
    """
    for part in parts:
        if torch.is_tensor(part):
            yield local_shard(part)
        elif isinstance(part, list | tuple | dict):
            yield from iterate_tensors(part.values() if isinstance(part, dict) else part)
