"""Cores, memory, threads and GPUs of this machine."""

import os
import platform
from pathlib import Path

import torch

from utils.base import rank_env
from utils.base.errors import DanluError
from utils.base.regular_files import read_regular_text
from utils.base.text_table import count_text

CONTAINER_LIMIT = Path('/sys/fs/cgroup/memory.max')  # bytes, or 'max'
MAX_PROCESSES, MAX_PROCESSES_PER_CORE = 128, 4  # or threads of one kind; the larger limit applies


def cpu_cores():
    """Return the number of cores that this process may use (int), also in a container or under taskset."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def memory():
    """Return the memory that this process may use (int, bytes; 0 if unknown)."""
    if not hasattr(os, 'sysconf'):
        return 0
    there = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    told = read_regular_text(CONTAINER_LIMIT).strip() if CONTAINER_LIMIT.is_file() else 'max'
    return there if told == 'max' else min(there, int(told))


def check_process_count(option, count):
    """Raise DanluError for more processes or threads than this machine can run.

    Slow numbers are allowed, as records of a larger machine are repeated on smaller ones.

    Args:
        option: that sets the number, without dashes (str).
        count: of processes or threads.
    """
    most = max(MAX_PROCESSES, MAX_PROCESSES_PER_CORE * cpu_cores())
    if count > most:
        raise DanluError(
            f'--{option} {count}: at most {most} on this machine, which has {count_text(cpu_cores(), "core")}'
        )


def set_threads(wanted, workers):
    """Set and return the number of threads (int) of one operation of this process.

    Args:
        wanted: --threads, or None for the cores that the workers leave: on two cores, two threads and two workers are
            slower than one thread and two workers. OMP_NUM_THREADS takes precedence.
        workers: the number of processes that decode images.
    """
    if wanted is not None:
        check_process_count('threads', wanted)
        torch.set_num_threads(wanted)
    elif 'OMP_NUM_THREADS' not in os.environ:
        torch.set_num_threads(max(1, cpu_cores() - workers))
    return torch.get_num_threads()


def select_gpus(args):
    """Return (device, gpus): the torch.device of the model's weights and the list of GPU indices that it runs on.

    Indices count the visible devices; CUDA_VISIBLE_DEVICES is respected and never set.

    Raises:
        DanluError: --device mps without an Apple GPU, --device cuda or --gpus without a GPU, or an index without a
            visible GPU.
    """
    if args.device == 'mps':
        if fault := _mps_fault():
            raise DanluError(f'--device mps: {fault}; use --device auto or cpu')
        return torch.device('mps'), []
    count = 0 if args.device == 'cpu' else torch.cuda.device_count()
    if args.device == 'cuda' and count == 0:
        raise DanluError(f'--device cuda: no GPU is visible {_visible()}; use --device auto or cpu')
    if count == 0 and args.gpus and args.device != 'cpu':
        given = ' '.join(map(str, args.gpus))
        raise DanluError(f'--gpus {given}: no GPU is visible {_visible()}; leave it out, or give --device cpu')
    if count == 0:
        return torch.device('cpu'), []
    if (place := rank_env.rank_info()).count > 1:
        if place.local >= count:
            raise DanluError(
                f'torchrun has started more processes on this machine than the {count} GPU(s) that are visible '
                f'{_visible()}: give --nproc_per_node {count}, or --device cpu'
            )
        torch.cuda.set_device(place.local)
        return torch.device('cuda', place.local), [place.local]
    gpus = args.gpus if args.gpus is not None else [0]
    for gpu in gpus:
        if gpu >= count:
            raise DanluError(f'--gpus {gpu}: only {count} GPU(s) are visible {_visible()}, so it takes 0..{count - 1}')
    if len(set(gpus)) != len(gpus):
        raise DanluError(f'--gpus {" ".join(map(str, gpus))}: an index is repeated')
    # Otherwise torch's defaults, such as for pinned memory, would be GPU 0 or that of an earlier call.
    if gpus[0] or torch.cuda.is_initialized():
        torch.cuda.set_device(gpus[0])
    return torch.device('cuda', gpus[0]), gpus


def _mps_fault():
    """Return why the network cannot run on an Apple GPU here (str), or None."""
    if rank_env.rank_info().count > 1:
        return 'only for one process, without torchrun'
    if not torch.backends.mps.is_built():
        return (
            f'PyTorch has it only for macOS on a Mac with an Apple chip, and this is {platform.system() or "unknown"}'
        )
    if not torch.backends.mps.is_available():
        return f'PyTorch finds no Apple GPU here, or macOS {platform.mac_ver()[0]} is too old (14 or newer is needed)'
    return None


def describe_device(gpus, device=None):
    """Return one line (str) that says where the model runs: on these GPUs (list of int), or on a torch.device."""
    if device is not None and device.type == 'mps':
        return 'Apple GPU (MPS); data, loss and metrics on the CPU'
    if gpus:
        return 'GPU ' + ', '.join(f'{gpu} ({torch.cuda.get_device_name(gpu)})' for gpu in gpus)
    return 'CPU'


def _visible():
    return f'(CUDA_VISIBLE_DEVICES={os.environ.get("CUDA_VISIBLE_DEVICES", "not set")})'
