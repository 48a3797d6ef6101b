"""Which of the processes of a run this one is, by what torchrun puts into its environment. Imports no torch."""

import os
from typing import NamedTuple

RANK_VARIABLES = (
    'RANK',
    'LOCAL_RANK',
    'WORLD_SIZE',
    'MASTER_ADDR',
    'MASTER_PORT',
)  # all of them, and torchrun has set them


class RankInfo(NamedTuple):
    """One of `count` processes: number `rank` of them from 0 on, number `local` of those on its machine."""

    rank: int = 0
    count: int = 1
    local: int = 0


def rank_info_of(environ):
    """Return the Place that an environment (dict of str) gives a process; without torchrun it is alone."""
    if not all(environ.get(name) for name in RANK_VARIABLES):
        return RankInfo()
    return RankInfo(int(environ['RANK']), int(environ['WORLD_SIZE']), int(environ['LOCAL_RANK']))


def starter():
    """Return what stands before `train.py` in a command that starts as many processes as there are here (str)."""
    count = rank_info().count
    if count == 1:
        return 'python'
    each = int(os.environ.get('LOCAL_WORLD_SIZE', count))
    machines = f'--nnodes {count // each} ' if count > each else ''
    return f'torchrun {machines}--nproc_per_node {each}'


def rank_info():
    """Return the Place of this process."""
    return rank_info_of(os.environ)
