"""MODELS, the registry of models, and building the model for --model_type.

To add a model, write an nn.Module class (or a function that returns one) in a file in model/ and add a line to MODELS.
The constructor takes any of `num_classes`, `in_channels` (1 or 3), `image_size` (height, width), `pretrained` and
`task`, by name. A parameter named `args` or `opt` gets all options (Namespace), as in torch_base. The model takes
images (N, in_channels, H, W) as float32 and returns logits: (N, num_classes) for classification, (N, num_classes, H, W)
for segmentation; num_classes is 1 for two classes with --loss bce. For other tasks, num_classes is the number of
outputs (utils/tasks/tasks.py): numbers for regression, channels for restoration. Other constructor arguments with
defaults are set by `--model_args width=32 depth=3`. Two attributes declare the supported tasks and data
(model/fitting.py).

Models of torchvision need no line: `--model_type torchvision:resnet18`; nor do those of timm, if installed:
`--model_type timm:convnext_tiny`. For a class in a file of your own, needed by old checkpoints, use
`--trust_checkpoint --model_source FILE --model_type source:<class>`.
"""

import inspect
from contextlib import contextmanager
from types import SimpleNamespace

import torch
from torch import nn

from model.argument_ranges import ArgumentError
from model.fitting import refuse_unfitting
from model.parameter_memory import refuse_too_large, size_options_text
from model.pretrained import pretrained_directory, timm_weights_option
from utils.base.errors import DanluError
from utils.base.machine import select_gpus
from utils.base.registry import load_entry
from utils.distributed import processes
from utils.distributed.fsdp import shard
from utils.options.arguments import keyword_values, shorten_text
from utils.options.model_source import SOURCE, class_of_source
from utils.tasks.target_scale import scale_outputs
from utils.tasks.tasks import outputs_of

# Must stay a literal, as options.py reads it from the source text.
MODELS = {
    'lenet': 'model.lenet.LeNet',
    'cifar_cnn': 'model.cifar_cnn.CifarCNN',
    'mlp': 'model.mlp.MLP',
    'resnet50_fcn': 'model.fcn.resnet50_fcn',
    'resnet101_fcn': 'model.fcn.resnet101_fcn',
    'deeplabv3_fcn': 'model.fcn.deeplabv3_fcn',
    'mobilenetv3_fcn': 'model.fcn.mobilenetv3_fcn',
    'unet': 'model.unet.UNet',
}

# Libraries of models by prefix: functions of (name, task, **arguments).
LIBRARIES = {
    'torchvision:': 'model.torchvision_models.torchvision_model',
    'timm:': 'model.timm_models.timm_model',
}
ALL_OPTIONS = ('args', 'opt')  # constructor parameters that get all options
BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
# Constructor parameters that are set by options other than --model_args.
OPTION_OF = {
    **{'num_classes': '--num_classes', 'in_channels': '--channels', 'image_size': '--image_size'},
    **{'pretrained': '--pretrained', 'task': '--task'},
}


def select_model(args):
    """Return the model for `args.model_type`, on the CPU.

    Args:
        args: Namespace with model_type, model_args, task, the task's number of outputs (num_classes, num_targets),
            channels, image_size [height, width], or [] for feature vectors, and pretrained.

    Returns:
        nn.Module: takes float32 images (N, channels, H, W), or features (N, channels), and returns logits or numbers,
        (N, outputs), or for segmentation and restoration (N, outputs, H, W).

    Raises:
        DanluError: the name is unknown, or the model cannot be built with these options.
    """
    size, outputs = tuple(args.image_size), outputs_of(args)
    offered = {'num_classes': outputs, 'in_channels': args.channels, 'image_size': size, 'pretrained': args.pretrained}
    given = keyword_values(args.model_args or [])
    for name in given:
        if name in OPTION_OF:
            raise DanluError(f'--model_args {name}: that is {OPTION_OF[name]}')
    library, colon, name = args.model_type.partition(':')
    by_source = args.model_type.startswith(SOURCE)
    if colon and args.model_type not in MODELS and not by_source:
        entry = load_entry(LIBRARIES, library + colon, 'library of models')
        refuse_unfitting(args.model_type, entry, args, MODELS)
        if library == 'timm' and args.pretrained and getattr(args, 'pretrained_dir', None):
            given |= timm_weights_option(args.pretrained_dir, name)
        return scale_outputs(_build_checked(lambda: entry(name, args.task, **offered, **given), args, outputs), args)
    if by_source:
        entry = class_of_source(args.model_type, args.model_source)
    else:
        entry = load_entry(MODELS, args.model_type, 'model')
    if args.pretrained and not _takes(entry, 'pretrained'):
        raise DanluError(
            f'model {args.model_type!r} has no pretrained weights: leave out --pretrained, or choose '
            'torchvision:<name>, timm:<name> or one of the fcn models'
        )
    named = inspect.signature(entry).parameters  # not through **kwargs
    offered |= {name: value for name, value in {'task': args.task, **dict.fromkeys(ALL_OPTIONS, args)}.items()
                if name in named and named[name].kind in BY_NAME and name not in given}  # fmt: skip
    _check_given(args.model_type, entry, given)
    _check_required(args.model_type, entry, offered | given)
    if inspect.isclass(entry) or hasattr(entry, 'tasks'):
        refuse_unfitting(args.model_type, entry, args, MODELS)
    taken = {name: value for name, value in offered.items() if _takes(entry, name)} | given
    model = _build_checked(lambda: entry(**taken), args, outputs)
    refuse_unfitting(args.model_type, model, args, MODELS)  # for functions without the attribute `tasks`
    return scale_outputs(model, args)


def _build_checked(build, args, outputs):
    """Return the model (nn.Module) from `build()`; errors that its arguments cause become a DanluError of one line."""
    with explain_construction_errors(args), pretrained_directory(getattr(args, 'pretrained_dir', None)):
        refuse_too_large(build, args, outputs)
        return build()


@contextmanager
def explain_construction_errors(args):
    """Convert errors of a model's constructor that its arguments cause to a DanluError that names --model_args.

    Without --model_args, the options are checked before, so other errors are bugs and keep their traceback, except for
    lack of memory and declared ranges (model/argument_ranges.py).
    """
    try:
        yield
    except ArgumentError as error:
        raise DanluError(_out_of_range(error, args)) from error
    except DanluError:
        raise
    except Exception as error:  # constructors may raise anything
        if isinstance(error, AttributeError) and error.obj is args:
            raise DanluError(
                f'model {args.model_type!r} reads args.{error.name}, and there is no option --{error.name} here: add '
                'it to add_common_args in options.py, which training and testing share'
            ) from error
        text = ' '.join(str(error).split()) or 'no reason is given'
        no_memory = isinstance(error, MemoryError) or "can't allocate memory" in text or 'Storage size' in text
        if not (args.model_args or no_memory):
            raise
        raise DanluError(
            f'{size_options_text(args)}: model {args.model_type!r} cannot be built '
            f'({type(error).__name__}: {text[:200]})'
        ) from error


def _out_of_range(error, args):
    """Return the message (str) for an ArgumentError: the option as given, and the model's range."""
    name = error.argument
    given = [word for word in args.model_args or [] if word.partition('=')[0] == name]
    option = f'--model_args {shorten_text(given[-1])}' if given else OPTION_OF.get(name, name)
    return f'{option}: model {args.model_type!r} takes for {name} {error.wanted}'


class Parallel(nn.DataParallel):
    """nn.DataParallel whose replicas use the requested autocast dtype; its threads would use float16."""

    def parallel_apply(self, replicas, inputs, kwargs):
        """Run each replica in its own thread, under autocast."""
        options = {'dtype': torch.get_autocast_dtype('cuda'), 'enabled': torch.is_autocast_enabled('cuda')}
        return super().parallel_apply([torch.autocast('cuda', **options)(r) for r in replicas], inputs, kwargs)


def equip_multi_gpu(model, gpus):
    """Move a model to its devices.

    Args:
        model: nn.Module.
        gpus: list of int, CUDA indices, not checked here; or, as in torch_base, the options (Namespace) with device and
            gpus.

    Returns:
        nn.Module: the model itself without GPUs; on its GPU if there is one; with several GPUs a Parallel, whose
        parameters are on the first GPU and which splits each batch.
    """
    if hasattr(gpus, 'gpus'):
        gpus = select_gpus(SimpleNamespace(device=getattr(gpus, 'device', 'auto'), gpus=gpus.gpus))[1]
    if not gpus:
        return model
    model = model.to(f'cuda:{gpus[0]}')
    return model if len(gpus) == 1 else Parallel(model, device_ids=gpus)


def spread(net, gpus, device, parallel):
    """Return the network wrapped for several GPUs or several processes; with one of each, the network itself.

    Args:
        net: nn.Module on its device.
        gpus: CUDA indices (list of int) of this process.
        device: torch.device of this process.
        parallel: as equip_processes has it.
    """
    return equip_multi_gpu(net, gpus) if processes.count() == 1 else equip_processes(net, device, parallel)


def equip_processes(model, device, parallel):
    """Wrap a model for training in several processes, which average their gradients.

    Args:
        model: nn.Module on its device.
        device: torch.device of this process.
        parallel: 'ddp', each process has the whole model, or 'fsdp', each has a shard: see utils/distributed/fsdp.py.

    Returns:
        nn.parallel.DistributedDataParallel, or the sharded model; a model without trainable parameters is returned as
        it is.
    """
    if parallel == 'fsdp':
        return shard(model, device)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        return model
    return nn.parallel.DistributedDataParallel(model, device_ids=[device.index] if device.type == 'cuda' else None)


def with_sync_bn(model, wanted):
    """Return a model whose batch norms, if `wanted` (bool), compute statistics over all processes.

    Raises:
        DanluError: the model is not on a GPU, as torch requires.
    """
    if not wanted:
        return model
    if next(model.parameters()).device.type != 'cuda':
        raise DanluError('--sync_bn: torch has synchronised batch norms for GPUs only; leave it out')
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)


def _takes(entry, name):
    """Return whether a class or function takes the keyword argument `name`, also through **kwargs."""
    parameters = inspect.signature(entry).parameters.values()
    return any(p.kind is p.VAR_KEYWORD or (p.name == name and p.kind is not p.VAR_POSITIONAL) for p in parameters)


def _check_given(model_type, entry, given):
    """Refuse --model_args that the constructor does not take."""
    known = [name for name in inspect.signature(entry).parameters if name not in OPTION_OF]
    for name in given:
        if not _takes(entry, name):
            raise DanluError(f'--model_args {name}: model {model_type!r} takes {", ".join(known) or "nothing further"}')


def _check_required(model_type, entry, offered):
    """Refuse constructors with other required arguments, as Python's TypeError would not explain the remedy."""
    for p in inspect.signature(entry).parameters.values():
        required = p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        if required and p.name not in offered:
            known = ', '.join(dict.fromkeys([*offered, 'task', *ALL_OPTIONS]))
            raise DanluError(
                f'model {model_type!r}: {entry.__name__} requires {p.name!r}, but a model is given only {known}: give '
                f'{p.name!r} a default value, or --model_args {p.name}=...'
            )
