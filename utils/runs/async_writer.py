"""Writes checkpoints while training goes on: from a snapshot, one after the other, never half of one."""

from concurrent.futures import ThreadPoolExecutor, wait

import torch

from utils.runs.checkpoint import save_checkpoint


class CheckpointWriter:
    """Writes checkpoint files in a thread of its own, in the order in which they were given.

    What went wrong is raised by the next call.
    """

    def __init__(self):
        self.pool, self.pending = ThreadPoolExecutor(1, thread_name_prefix='checkpoints'), []

    def write(self, paths_to_states):
        """Write states (dict path -> dict) as they are now; what they hold may change as soon as this returns.

        Raises:
            DanluError: an earlier file could not be written.
        """
        self.finish()
        copies = {}  # of tensors that several of the states hold
        for path, state in paths_to_states.items():
            self.pending.append(self.pool.submit(save_checkpoint, path, snapshot(state, copies)))

    def finish(self):
        """Wait until everything is written.

        Raises:
            DanluError: a file could not be written; the others are written all the same.
        """
        pending, self.pending = self.pending, []
        wait(pending)
        for future in pending:
            future.result()


def snapshot(value, copies):
    """Return nested dicts, lists and plain values with copies of their tensors on the CPU.

    Args:
        copies: dict, filled here: the same memory is copied once.
    """
    if torch.is_tensor(value):
        key = value.data_ptr(), value.dtype, value.shape, value.stride(), value.device
        if key not in copies:
            copies[key] = value.detach().to('cpu', copy=True)
        return copies[key]
    if isinstance(value, dict):
        return {key: snapshot(item, copies) for key, item in value.items()}
    return [snapshot(item, copies) for item in value] if isinstance(value, list | tuple) else value
