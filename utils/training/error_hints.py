"""What torch says when something outside of the code gives out, and what to do about it."""

import re
import traceback
from contextlib import contextmanager

import torch

from utils.base.errors import DanluError
from utils.options.arguments import shorten_text
from utils.options.model_source import SOURCE

KILLED = re.compile(
    r'DataLoader worker \(pid\(?s?\)?:? ?[\d, ]+\) (?:is killed by signal: (\w[\w ]*)|exited unexpectedly)'
)


@contextmanager
def explained(args):
    """Turn an error of that kind into a DanluError that says what to do; `args` as for `explain`."""
    try:
        yield
    except Exception as error:
        if why := explain(error, args):
            raise DanluError(why) from error
        raise


def explain(error, args):
    """Return what an exception means and what to do next (str), or None: it is nothing of that kind.

    Args:
        error: what was raised.
        args: options of the run or test.
    """
    text = str(error)
    of_gpu = isinstance(error, torch.OutOfMemoryError)
    if of_gpu or isinstance(error, MemoryError) or "can't allocate memory" in text:
        where = 'the GPU has' if of_gpu else 'there is'
        return f'{where} too little memory for --batch_size {args.batch_size} ({_asked(text)}): {_remedy(args)}'
    if 'does not have a deterministic implementation' in text:
        return f'--deterministic: {text.partition(", but")[0]}; leave it out'
    if 'Expected to have finished reduction in the prior iteration' in text:
        return (
            'the network has weights that take no part in its loss, with which several processes cannot train: leave '
            'them out of the network, or --freeze them'
        )
    if _of_library(args) and _in_network(error) and not isinstance(error, DanluError):
        words = shorten_text(' '.join(args.model_args))
        return (
            f'--model_args {words}: model {args.model_type!r} is built so, but fails on a batch '
            f'({type(error).__name__}: {shorten_text(" ".join(text.split()))})'
        )
    killed = KILLED.search(text) if isinstance(error, RuntimeError) else None
    if killed or (isinstance(error, ConnectionError | EOFError) and args.num_workers != 0):
        how = f'was ended by the signal {killed[1].strip()}' if killed and killed[1] else 'ended without a word'
        return (
            f'a process that decodes pictures {how}, most often for want of memory (in a container also of shared '
            f'memory, --shm-size): give fewer than --num_workers {args.num_workers or "(as many as there are cores)"}, '
            'or a smaller --batch_size'
        )
    return None


def _of_library(args):
    """Return whether --model_args went to the constructor of a library, whose code the user does not debug (bool)."""
    return bool(args.model_args) and ':' in args.model_type and not args.model_type.startswith(SOURCE)


def _in_network(error):
    """Return whether an exception was raised by a network, and not around it (bool)."""
    frames = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(code.co_name == '_call_impl' and code.co_filename == torch.nn.modules.module.__file__ for code in frames)


def _asked(text):
    """Return how much was asked for, as torch's message has it (str)."""
    found = re.search(r'[Tt]ried to allocate ([\d.,]+ ?\w+)', text)
    return f'{found[1]} more were asked for' if found else 'nobody says how much was asked for'


def _remedy(args):
    half = max(1, args.batch_size // 2)
    keeping = (
        f', and --accumulate {args.batch_size // half} keeps the step as it is' if hasattr(args, 'accumulate') else ''
    )
    return f'give --batch_size {half}{keeping}; a smaller --image_size or --amp bf16 help too'
