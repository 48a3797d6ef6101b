"""Several processes of one training, started as torchrun does, without the seconds that it needs itself."""

import os
from types import SimpleNamespace

from torch.distributed import TCPStore

from tests.program_server import Program


def meeting_point():
    """Return a store that processes find each other by: a port that was free a moment ago may be taken by now."""
    return TCPStore('localhost', 0, is_master=True, wait_for_workers=False)


def start_processes(script, *words, count=2, fault='none 0 0', restarts=0):
    """Start as many processes as torchrun would, `restarts` times again (list of Program)."""
    store = meeting_point()
    common = {**os.environ, 'FAULT': fault, 'MASTER_ADDR': 'localhost', 'MASTER_PORT': str(store.port),
              'WORLD_SIZE': str(count), 'LOCAL_WORLD_SIZE': str(count), 'TORCHELASTIC_USE_AGENT_STORE': 'True',
              'TORCHELASTIC_RESTART_COUNT': str(restarts)}  # fmt: skip
    processes = [
        Program(script, [*words, '--no_report'], env={**common, 'RANK': str(rank), 'LOCAL_RANK': str(rank)})
        for rank in range(count)
    ]
    processes[0].store = store  # it goes with the processes
    return processes


def ended(processes):
    """Wait for the end of all processes -> codes (list), stdout and stderr (of all of them, one after the other)."""
    try:
        told = [process.communicate(timeout=900) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return SimpleNamespace(
        codes=[process.returncode for process in processes],
        stdout=''.join(out for out, _ in told),
        stderr=''.join(err for _, err in told),
    )


def together(*words, **given):
    """Run processes to their end: as `start_processes` -> as `ended`."""
    return ended(start_processes(*words, **given))
