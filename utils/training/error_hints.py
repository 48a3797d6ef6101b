"""Turns errors of the machine (memory, killed workers, missing kernels) into messages that say what to do."""

import re
import traceback
from contextlib import contextmanager

import torch

from utils.base.errors import DanluError
from utils.options.arguments import shorten_text
from utils.options.model_source import SOURCE

WORKER_KILLED_PATTERN = re.compile(
    r'DataLoader worker \(pid\(?s?\)?:? ?[\d, ]+\) (?:is killed by signal: (\w[\w ]*)|exited unexpectedly)'
)


@contextmanager
def explain_machine_errors(args):
    """Return a context that turns such errors into a DanluError with a hint; `args` as for `machine_error_hint`."""
    try:
        yield
    except Exception as error:
        if why := machine_error_hint(error, args):
            raise DanluError(why) from error
        raise


def machine_error_hint(error, args):
    """Return what an exception means and what to do (str), or None if it is not an error of the machine.

    Args:
        error: the exception.
        args: options of the run or test.
    """
    text = str(error)
    of_gpu = isinstance(error, torch.OutOfMemoryError) or 'MPS backend out of memory' in text
    if of_gpu or isinstance(error, MemoryError) or "can't allocate memory" in text:
        where = 'the GPU has' if of_gpu else 'there is'
        size = f'--batch_size {args.batch_size} ({_requested_memory(text)})'
        return f'{where} too little memory for {size}: {_memory_remedy(args)}'
    if 'does not have a deterministic implementation' in text or _lacks_mps(error):
        return _operation_hint(text)
    if 'Expected to have finished reduction in the prior iteration' in text:
        return (
            'the network has weights that take no part in its loss, with which several processes cannot train: leave '
            'them out of the network, or --freeze them'
        )
    if _is_library_model(args) and _raised_in_network(error) and not isinstance(error, DanluError):
        words = shorten_text(' '.join(args.model_args))
        return (
            f'--model_args {words}: model {args.model_type!r} is built so, but fails on a batch '
            f'({type(error).__name__}: {shorten_text(" ".join(text.split()))})'
        )
    killed = WORKER_KILLED_PATTERN.search(text) if isinstance(error, RuntimeError) else None
    if killed or (isinstance(error, ConnectionError | EOFError) and args.num_workers != 0):
        how = (
            f'was ended by the signal {killed[1].strip()}'
            if killed and killed[1]
            else 'exited without an error message'
        )
        return (
            f'a process that decodes images {how}, usually because memory ran out (in a container also shared '
            f'memory, --shm-size): give fewer than --num_workers {args.num_workers or "(as many as there are cores)"}, '
            'or a smaller --batch_size'
        )
    return None


def _lacks_mps(error):
    """Return whether an exception says that MPS lacks an operation (bool)."""
    return isinstance(error, NotImplementedError) and 'MPS' in str(error)


def _operation_hint(text):
    """Return what to do (str) about an operation that is not deterministic, or that MPS lacks, by torch's message."""
    if 'MPS' not in text:
        return f'--deterministic: {text.partition(", but")[0]}; leave it out'
    return (
        f'--device mps: {shorten_text(text.splitlines()[0])}: set the environment variable '
        'PYTORCH_ENABLE_MPS_FALLBACK=1, which computes this operation on the CPU, or give --device cpu'
    )


def _is_library_model(args):
    """Return whether --model_args are arguments of a library's model, whose code the user does not debug (bool)."""
    return bool(args.model_args) and ':' in args.model_type and not args.model_type.startswith(SOURCE)


def _raised_in_network(error):
    """Return whether an exception was raised within an nn.Module's forward (bool)."""
    frames = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(code.co_name == '_call_impl' and code.co_filename == torch.nn.modules.module.__file__ for code in frames)


def _requested_memory(text):
    """Return how much memory was requested (str), from torch's message."""
    found = re.search(r'[Tt]ried to allocate ([\d.,]+ ?\w+)', text)
    return f'{found[1]} requested' if found else 'the requested amount is not known'


def _memory_remedy(args):
    half = max(1, args.batch_size // 2)
    keeping = (
        f', and --accumulate {args.batch_size // half} keeps the step as it is' if hasattr(args, 'accumulate') else ''
    )
    return f'give --batch_size {half}{keeping}; a smaller --image_size or --amp bf16 help too'
