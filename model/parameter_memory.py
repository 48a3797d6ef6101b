"""Refusing a network whose parameters would not fit into memory, before any of it is taken."""

import contextlib
import io
import warnings

import torch

from utils.errors import DanluError
from utils.machine import memory
from utils.seeding import get_rng_state, set_rng_state

# Up to these sizes the networks of Danlu, torchvision and timm fit, and are not counted first.
USUAL_OUTPUTS, USUAL_SIDE, USUAL_CHANNELS = 2**14, 2**10, 2**10


def refuse_too_large(build, args, outputs):
    """Raise DanluError if the parameters of a network would not fit into this machine's memory.

    The network is built on the meta device, which has shapes but no numbers. That is left out where the options leave
    its size as it is, and for --pretrained. A constructor that fails there is left to fail, or not, by itself.

    Args:
        build: function() -> nn.Module; called once or not at all. What it prints and draws at random has no effect.
        args: options; model_type, model_args, image_size, channels and pretrained count.
        outputs: of the network (int).
    """
    sizes = (outputs, USUAL_OUTPUTS), (max([1, *args.image_size]), USUAL_SIDE), (args.channels, USUAL_CHANNELS)
    if args.pretrained or not (args.model_args or any(size > usual for size, usual in sizes)):
        return
    parameters, size = _counted(build)
    if parameters is not None and not 0 < memory() < size:
        return
    counted = 'more parameters than can be counted' if parameters is None else f'{parameters:,} parameters'
    needed = '' if parameters is None else f' ({size / 2**30:,.1f} GiB)'
    raise DanluError(
        f'{described(args)}: model {args.model_type!r} would have {counted}{needed}, and this machine has '
        f'{memory() / 2**30:,.1f} GiB of memory; make it smaller'
    )


def described(args):
    """Return the options (str) that set the size of a model."""
    if args.model_args:
        return f'--model_args {" ".join(args.model_args)}'
    return '--image_size, --channels or --num_classes'


def _counted(build):
    """Return the number of parameters of a network and its bytes (int), (0, 0) where it cannot be built without memory.

    (None, None): more than torch can count.
    """
    state = get_rng_state()
    try:
        with torch.device('meta'), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action='ignore'):
            net = build()
        tensors = [*net.parameters(), *net.buffers()]
        return sum(p.numel() for p in net.parameters()), sum(t.numel() * t.element_size() for t in tensors)
    except Exception as error:  # of any constructor, which may not be made for the meta device: all differ
        too_many = isinstance(error, OverflowError) or 'overflow' in str(error)
        return (None, None) if too_many else (0, 0)
    finally:
        set_rng_state(state)
