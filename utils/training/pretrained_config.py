"""The preprocessing of pretrained weights, as timm and torchvision state it for each of their weights."""

import importlib.util

from utils.options.fit import numbers_text
from utils.tasks.tasks import task_named

MIN_CROP_SHARE = 0.01  # lower bound for timm's crop_pct


def pretrained_config_of(args):
    """Return how the weights of --pretrained were evaluated: dict, {} without such weights or if it is not known.

    Args:
        args: options; pretrained, model_type and task are used.

    Returns:
        mean, std (lists of float), interpolation (str), crop_share (float: side of the centre crop as a share of the
        shorter side), image_size ([height, width]), crop_mode (str); torchvision states no crop for segmentation.
    """
    if not getattr(args, 'pretrained', False):
        return {}
    library, _, name = args.model_type.partition(':')
    if library == 'timm' and importlib.util.find_spec('timm'):
        return _timm_config(name)
    return _torchvision_config(name, args.task) if library == 'torchvision' else {}


def _timm_config(name):
    import timm

    architecture, _, tag = name.partition('.')
    if not timm.is_model(architecture) or (tag and name not in timm.list_pretrained(f'{architecture}.*')):
        return {}  # building the model raises the error
    config = timm.get_pretrained_cfg(name, allow_unregistered=False)
    if config is None or not config.has_weights:
        return {}
    share = config.crop_pct or 1.0
    return {
        'mean': list(config.mean),
        'std': list(config.std),
        'interpolation': config.interpolation if config.interpolation != 'random' else 'bilinear',
        'crop_share': min(1.0, max(MIN_CROP_SHARE, share)),
        'image_size': list(config.input_size[1:]),
        'crop_mode': config.crop_mode,
    }


def _torchvision_config(name, task):
    from torchvision import models

    has_masks = task_named(task).target == 'mask'
    if name not in models.list_models(models.segmentation if has_masks else models):
        return {}
    transforms = models.get_model_weights(name).DEFAULT.transforms()
    found = {'mean': list(transforms.mean), 'std': list(transforms.std), 'crop_mode': 'center'}
    found['interpolation'] = transforms.interpolation.value
    if not has_masks:
        [cropped], [resized] = transforms.crop_size, transforms.resize_size
        found |= {'crop_share': round(cropped / resized, 4), 'image_size': [cropped, cropped]}
    return found


def pretrained_notes(args):
    """Return a line (list of str) on the preprocessing of the pretrained weights, and where the options differ."""
    config = pretrained_config_of(args)
    if not config:
        return []
    names = [name for name in ('mean', 'std', 'interpolation', 'crop_share', 'image_size') if name in config]
    line = f'pretrained weights of {args.model_type} were evaluated with ' + ', '.join(
        f'--{name} {_shown(config[name])}' for name in names
    )
    if config['crop_mode'] == 'squash':
        line += ', --fit stretch'
    other = [
        f'--{name} {_shown(value)}'
        for name in names
        if (value := getattr(args, name)) is not None and _shown(value) != _shown(config[name])
    ]
    return [line + (f'; here: {", ".join(other)}' if other else '')]


def _shown(value):
    return numbers_text(value) if isinstance(value, list) else str(value)
