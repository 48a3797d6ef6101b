"""What has to be settled before torch is imported. Imports nothing else."""

import os


def share_busy_cores():
    """Let idle threads sleep when the machine is busy already; returns whether it is (bool).

    A thread that waits for the next operation spins for a while, which is fastest on free cores. On cores that another
    run shares, the spinning takes time from the very thread that is waited for: measured on two cores with two busy
    processes beside it, LeNet trained 5 to 30 times as fast with sleeping threads. The results are the same bits.
    An OMP_WAIT_POLICY that is set is left alone.
    """
    busy = hasattr(os, 'getloadavg') and os.getloadavg()[0] > 0.5 * (os.cpu_count() or 1)
    if busy:
        os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')  # libgomp reads it when torch loads it
    return busy
