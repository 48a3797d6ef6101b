"""Regression on standardised targets: minus the mean and divided by the standard deviation of the training targets.

The network learns numbers of mean 0 and deviation 1, whatever the units: house prices as well as fractions. A forward
hook converts its outputs back to the units, so predictions, metrics, images and files are in units; only the loss is
on the standardised scale. --target_scale none turns this off, as do records of earlier versions.
"""

import torch

from utils.base.errors import DanluError
from utils.base.text_table import number_text
from utils.tasks.tasks import task_of

STANDARD = 'standard'
MAX_ROUNDING = 0.01  # as a share of a target's standard deviation; larger rounding errors are reported


def scale_of(args):
    """Return the mean and the deviation (two lists of T float) of the targets, or None if they are not standardised.

    Raises:
        DanluError: the number of values is not the number of targets.
    """
    mean, std = getattr(args, 'target_mean', None), getattr(args, 'target_std', None)
    if task_of(args).target != 'numbers' or getattr(args, 'target_scale', None) != STANDARD or mean is None:
        return None
    for name, values in (('target_mean', mean), ('target_std', std)):
        if len(values) != args.num_targets:
            raise DanluError(f'--{name}: {len(values)} given for {args.num_targets} targets: give one number for each')
    return mean, std


def measure_targets(args, dataset):
    """Set args.target_mean and target_std from the training data, if they are needed and not given.

    Args:
        args: options; uses target_scale, target_mean, target_std and num_targets.
        dataset: has its targets as `labels` or `targets`, floating point (N, T).

    Returns:
        lines (list of str) to print at the start.
        lines (list of str) to print at the start.
    """
    wanted = [name for name in ('target_mean', 'target_std') if getattr(args, name) is None]
    if task_of(args).target != 'numbers' or args.target_scale != STANDARD or not wanted:
        return []
    found = (getattr(dataset, name, None) for name in ('labels', 'targets'))
    targets = next((each for each in found if torch.is_tensor(each) and each.is_floating_point()), None)
    if targets is None or targets.dim() != 2 or not targets.isfinite().all():
        return [f'targets are not standardised: {args.data_type} does not tell them before training']
    mean, std, constant = _measured(targets.double())
    for name in wanted:
        setattr(args, name, mean if name == 'target_mean' else std)
    args.from_data = sorted({*args.from_data, *wanted})
    names = args.target_names or [str(index) for index in range(len(constant))]
    same = [name for name, each in zip(names, constant, strict=False) if each]
    notes = [f'targets that are the same in all training samples: {", ".join(same)}'] if same else []
    return [*notes, *rounding_notes(targets, std, names)]


def rounding_notes(targets, deviations, names):
    """Return a line (list of str) for each target that float32 rounds too coarsely, such as dates in seconds."""
    largest = targets.abs().amax(0).float()
    steps = (largest.nextafter(torch.tensor(torch.inf)) - largest).tolist()
    return [
        f'target {name}: numbers as large as {largest[index]:g} are rounded to multiples of {step:g} (float32), which '
        f'is over {MAX_ROUNDING:.0%} of their standard deviation; subtract a constant from them in the file'
        for index, (name, step, deviation) in enumerate(zip(names, steps, deviations, strict=False))
        if step > MAX_ROUNDING * deviation
    ]


def _measured(targets):
    """Return mean and deviation (lists of float) of float64 targets (N, T), and which are constant (list of bool)."""
    constant = targets.amax(0) == targets.amin(0)  # whose deviation may be a rounding error
    mean = torch.where(constant, targets[0], targets.mean(0))
    std = torch.where(constant, 1.0, targets.std(0, correction=0))
    return mean.tolist(), torch.where(std > 0, std, 1.0).tolist(), constant.tolist()


def complete_target_scale(args):
    """Record that targets are not standardised if their mean is unknown: ready-made loaders, weights without a run."""
    known = [name for name in ('target_mean', 'target_std') if getattr(args, name) is not None]
    if task_of(args).target != 'numbers' or args.target_scale != STANDARD or len(known) == 2:
        return
    if known:
        raise DanluError(f'--{known[0]}: the data does not tell the other number: give --target_mean and --target_std')
    args.target_scale = 'none'


def describe_target_scale(args):
    """Return lines (list of str, at most one) that describe the scale of the targets."""
    scale = scale_of(args)
    if scale is None:
        return []
    mean, std = (' '.join(number_text(number, trimmed=True) for number in numbers[:10]) for numbers in scale)
    return [
        f'targets are standardised: mean {mean}, standard deviation {std}; the loss is on this scale, all else in the '
        'units of the data (--target_scale none turns this off)'
    ]


def loaded_scale_note(args, recorded):
    """Return lines (list of str) if the loaded weights were trained on another target scale than that of this run.

    Args:
        recorded: options of the run that the weights are from (dict); records of earlier versions lack the scale.
    """
    if task_of(args).target != 'numbers' or not recorded or recorded.get('task') != args.task:
        return []
    then = [recorded.get(name) for name in ('target_mean', 'target_std')]
    then = None if None in then or recorded.get('target_scale') != STANDARD else tuple(then)
    if then == scale_of(args):
        return []
    if then is None:
        return ['the loaded weights predict in units, without a scale: --target_scale none goes on with that']
    mean, std = (' '.join(map(repr, numbers)) for numbers in then)
    return [f'the loaded weights predict on another scale: --target_mean {mean} --target_std {std} goes on with theirs']


class OutputScale:
    """Forward hook that converts a network's outputs (N, T) to the units of the targets, in float32."""

    def __call__(self, module, inputs, outputs):
        if not torch.is_tensor(outputs):
            raise DanluError(
                f'--target_scale standard: the network returns a {type(outputs).__name__} where a tensor (N, targets) '
                'is expected; give --target_scale none'
            )
        return outputs.float() * module.target_deviation + module.target_centre


def scale_outputs(model, args):
    """Register the hook that converts a network's outputs to units, replacing an earlier one; return the network."""
    for key, hook in list(getattr(model, '_forward_hooks', {}).items()):
        if isinstance(hook, OutputScale):
            del model._forward_hooks[key]
    scale = scale_of(args)
    if scale is not None:
        # Buffers follow the network's device; they are not persistent, as the options hold the scale.
        for name, numbers in zip(('target_centre', 'target_deviation'), scale, strict=True):
            model.register_buffer(name, torch.tensor(numbers, dtype=torch.float32), persistent=False)
        model.register_forward_hook(OutputScale())
    return model


class TargetScale:
    """Converts predictions and targets from units to the standardised scale, for the loss.

    Args:
        args: options.
        device: torch.device of predictions and targets.
    """

    def __init__(self, args, device):
        scale = scale_of(args)
        self.scale = None if scale is None else tuple(torch.tensor(part, device=device) for part in scale)

    def __call__(self, *values):
        """Return the values, floating point (..., T), on the standardised scale, or unchanged without a scale."""
        if self.scale is None:
            return values
        mean, std = self.scale
        return tuple((value - mean) / std for value in values)
