"""Checks that a model's parameters fit into memory, before any memory is allocated."""

import contextlib
import io
import itertools
import warnings

import torch
from torch.nn.modules.module import register_module_parameter_registration_hook

from utils.base.errors import DanluError
from utils.base.machine import memory
from utils.base.registry import read_registry
from utils.base.seeding import get_rng_state, set_rng_state
from utils.base.text_table import size_text
from utils.options.arguments import shorten_text
from utils.options.model_source import SOURCE

# Models of Danlu, torchvision and timm fit up to these sizes; their parameters are not counted.
MAX_WEIGHTS = 20_000  # tensors; the largest networks of torchvision and timm have fewer than 3,000
USUAL_OUTPUTS, USUAL_SIDE, USUAL_CHANNELS = 2**14, 2**10, 2**10


def refuse_too_large(build, args, outputs):
    """Raise DanluError if the parameters of a network do not fit into this machine's memory.

    The network is built on the meta device, which allocates no memory. This check is skipped for usual sizes and for
    --pretrained. If the constructor fails on the meta device, the network is built without the check.

    Args:
        build: function() -> nn.Module, called at most once; its output is hidden and random generators are restored.
        args: options; uses model_type, model_args, image_size, channels and pretrained.
        outputs: number of outputs of the network (int).
    """
    sizes = (outputs, USUAL_OUTPUTS), (max([1, *args.image_size]), USUAL_SIDE), (args.channels, USUAL_CHANNELS)
    if args.pretrained or not (args.model_args or any(size > usual for size, usual in sizes)):
        return
    parameters, size = _count_parameters(
        build, of_library=':' in args.model_type and not args.model_type.startswith(SOURCE)
    )
    copies = _state_copies(args)
    if parameters is not None and not 0 < memory() < size * copies:
        return
    counted = 'more layers or parameters than can be trained' if parameters is None else f'{parameters:,} parameters'
    needed = ''
    if parameters is not None:
        with_state = f'; {size_text(size * copies)} with gradients and optimizer' * (copies > 1)
        needed = f' ({size_text(size)}{with_state})'
    raise DanluError(
        f'{size_options_text(args)}: model {args.model_type!r} would have {counted}{needed}, and this machine has '
        f'{size_text(memory())} of memory; make it smaller'
    )


def size_options_text(args):
    """Return the options (str) that determine the size of a model."""
    if args.model_args:
        return f'--model_args {shorten_text(" ".join(args.model_args))}'
    return '--image_size, --channels or --num_classes'


def _state_copies(args):
    """Return the minimum number of tensors of the size of the weights (int): weights, gradients, optimizer state."""
    if not hasattr(args, 'optimizer') or args.freeze:  # a test, or frozen parameters
        return 1
    return (
        2 + bool(args.momentum) + ('beta' in read_registry('utils.training.optim', 'DEFAULTS').get(args.optimizer, ()))
    )


class TooManyWeightsError(Exception):
    """A network has more weight tensors than MAX_WEIGHTS."""


def _count_parameters(build, of_library):
    """Return the number of parameters of a network and its size in bytes (int); (0, 0) if it cannot be built on meta.

    (None, None): too large for torch, or more than MAX_WEIGHTS tensors, which would take minutes to build.

    Args:
        build: as for `refuse_too_large`.
        of_library: whether the constructor supports the meta device (bool); then its errors are raised.
    """
    state, numbers = get_rng_state(), itertools.count(1)

    def count(*registered):
        if next(numbers) > MAX_WEIGHTS:
            raise TooManyWeightsError

    hook = register_module_parameter_registration_hook(count)
    try:
        with torch.device('meta'), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action='ignore'):
            net = build()
        tensors = [*net.parameters(), *net.buffers()]
        return sum(p.numel() for p in net.parameters()), sum(t.numel() * t.element_size() for t in tensors)
    except Exception as error:  # constructors may raise anything on the meta device
        if isinstance(error, OverflowError | TooManyWeightsError) or 'overflow' in str(error):
            return None, None
        if of_library and not isinstance(error, RuntimeError):  # NotImplementedError is one
            raise
        return 0, 0
    finally:
        hook.remove()
        set_rng_state(state)
