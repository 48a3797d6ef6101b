"""A name for one start of several processes, which all of them find out through a store that has seen earlier starts.

torchrun starts the processes of a run anew when one has failed (--max_restarts), or when a machine joins, and lets them
speak through the same store: what those before them have put there is still there, and was taken for an answer.
Counting starts does not tell them apart, as each machine counts for itself.
"""

import time
import uuid

from utils.base.errors import DanluError

TOKEN = 'attempt/token'
PAUSE_SECONDS = 0.02  # seconds between two looks


def rendezvous_id(store, rank, count, seconds):
    """Return the name (str) of this start; each of its processes calls this.

    The first one gives the name; each of the others answers with it and a word of its own, until it sees that word.

    Args:
        store: torch.distributed.Store that all of them share.
        rank, count: of this process, and how many there are.
        seconds: how long to wait for the others.

    Raises:
        DanluError: some have not come.
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
    """Return the word (str) with which a process has answered to a token."""
    key = f'attempt/answer/{rank}'
    while not store.check([key]) or not (answer := store.get(key).decode()).startswith(token):
        _wait(until)
    return answer.split()[1]


def _wait(until):
    if time.monotonic() > until:
        raise DanluError('the processes that torchrun has started do not find each other: some have not come')
    time.sleep(PAUSE_SECONDS)
