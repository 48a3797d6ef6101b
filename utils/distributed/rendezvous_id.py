"""An identifier of one start of the processes of a run, agreed on in a store that may hold keys of earlier starts.

torchrun restarts the processes of a run if one fails (--max_restarts) or a machine joins, with the same store: without
an identifier, keys of earlier starts would be taken for answers. Counting restarts does not work, as each machine
counts for itself.
"""

import time
import uuid

from utils.base.errors import DanluError

TOKEN = 'attempt/token'
PAUSE_SECONDS = 0.02  # between two reads of the store


def rendezvous_id(store, rank, count, seconds):
    """Return the identifier (str) of this start; all processes call this.

    Rank 0 sets the identifier; each other process answers with it and an identifier of its own until rank 0 confirms.

    Args:
        store: torch.distributed.Store of all processes.
        rank, count: rank of this process, number of processes.
        seconds: how long to wait for the others.

    Raises:
        DanluError: a process is missing.
    """
    until, own = time.monotonic() + seconds, uuid.uuid4().hex
    if rank == 0:
        store.set(TOKEN, own)
        words = [_answer(store, own, other, until) for other in range(1, count)]
        for word in words:
            store.set(f'attempt/heard/{word}', own)
        return own
    while not store.check([f'attempt/heard/{own}']):
        if store.check([TOKEN]):
            store.set(f'attempt/answer/{rank}', f'{store.get(TOKEN).decode()} {own}')
        _wait(until)
    return store.get(f'attempt/heard/{own}').decode()


def _answer(store, token, rank, until):
    """Return the identifier (str) with which a process has answered to a token."""
    key = f'attempt/answer/{rank}'
    while not store.check([key]) or not (answer := store.get(key).decode()).startswith(token):
        _wait(until)
    return answer.split()[1]


def _wait(until):
    if time.monotonic() > until:
        raise DanluError('the processes that torchrun has started do not find each other: some have not come')
    time.sleep(PAUSE_SECONDS)
