"""Writes checkpoints in the background, from a snapshot of the state."""

from concurrent.futures import ThreadPoolExecutor, wait

import torch

from utils.base.nested import map_nested
from utils.runs.checkpoint import save_checkpoint


class CheckpointWriter:
    """Writes checkpoint files in a thread, in order. Errors are raised by the next call."""

    def __init__(self):
        self.pool, self.pending = ThreadPoolExecutor(1, thread_name_prefix='checkpoints'), []

    def write(self, paths_to_states):
        """Write states (dict from a path to a dict); they may change after the call.

        Raises:
            DanluError: an earlier file could not be written.
        """
        self.finish()
        copies = {}  # shared by the states
        for path, state in paths_to_states.items():
            self.pending.append(self.pool.submit(save_checkpoint, path, snapshot(state, copies)))

    def finish(self):
        """Wait until all files are written.

        Raises:
            DanluError: a file could not be written; the others are complete.
        """
        pending, self.pending = self.pending, []
        wait(pending)
        for future in pending:
            future.result()


def snapshot(value, copies):
    """Return a copy of nested dicts, lists and plain values with all tensors on the CPU.

    Args:
        copies: cache of copied tensors (dict), so that shared memory is copied once.
    """

    def copy_once(leaf):
        if not torch.is_tensor(leaf):
            return leaf
        key = leaf.data_ptr(), leaf.dtype, leaf.shape, leaf.stride(), leaf.device
        if key not in copies:
            copies[key] = leaf.detach().to('cpu', copy=True)
        return copies[key]

    return map_nested(copy_once, value)
