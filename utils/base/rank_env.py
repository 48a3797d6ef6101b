"""Rank and number of the processes of a run, from the environment that torchrun sets. Imports no torch."""

import os
from typing import NamedTuple

RANK_VARIABLES = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')


class RankInfo(NamedTuple):
    """The rank of this process among `count` processes (from 0), and its rank `local` on its machine."""

    rank: int = 0
    count: int = 1
    local: int = 0


def rank_info_of(environ):
    """Return the RankInfo of an environment (dict of str); without torchrun that of a single process."""
    if not all(environ.get(name) for name in RANK_VARIABLES):
        return RankInfo()
    return RankInfo(int(environ['RANK']), int(environ['WORLD_SIZE']), int(environ['LOCAL_RANK']))


def starter():
    """Return the beginning of a command (str), before `train.py`, that starts as many processes as now."""
    count = rank_info().count
    if count == 1:
        return 'python'
    each = int(os.environ.get('LOCAL_WORLD_SIZE', count))
    machines = f'--nnodes {count // each} ' if count > each else ''
    return f'torchrun {machines}--nproc_per_node {each}'


def rank_info():
    """Return the RankInfo of this process."""
    return rank_info_of(os.environ)
