"""What an exported file says about itself: inputs, outputs, classes, and the run that it is from."""

import json
from pathlib import Path

from utils.base.record_schema import recorded_args
from utils.provenance.checkpoint_check import record_of
from utils.runs.checkpoint import file_hash
from utils.tasks.one_logit import BINARY_CLASSES
from utils.tasks.tasks import target_names, task_of

KINDS = {
    'photos': 'uint8 ({n}, H, W, {channels}), {colours} pixels 0..255 of any size, the same for all images of a batch',
    'pixels': 'uint8 ({n}, {channels}, {height}, {width}), {colours} pixels 0..255, already resized',
    'features': 'float32 ({n}, {channels}), features in their own units',
    'inputs': 'float32 ({n}, ...), as the data set gives them',
}
OUTPUTS = {
    'label': 'logits ({n}, {outputs}) float32; their softmax gives probabilities',
    'labels': 'logits ({n}, {outputs}) float32; their sigmoid gives the probability of each class',
    'mask': 'logits ({n}, {outputs}, {height}, {width}) float32; the largest over axis 1 is the class of a pixel',
    'numbers': 'numbers ({n}, {outputs}) float32, in the units of the targets',
    'picture': 'pixels ({n}, {outputs}, {height}, {width}) float32, 0..1',
}
ONE_LOGIT = 'logits ({n}, 1) float32; their sigmoid gives the probability of class 1'


def describe_input(args, kind, batch):
    """Return what the input is (str); `batch`: number of samples (int), or None if any number is allowed."""
    height, width = args.image_size or (0, 0)
    colours = {1: 'grey', 3: 'RGB'}.get(args.channels, '')
    return KINDS[kind].format(n=batch or 'N', channels=args.channels, height=height, width=width, colours=colours)


def describe_output(args, batch, count):
    """Return what the output is (str); `count`: number of outputs (int) of the network."""
    height, width = args.image_size or (0, 0)
    text = OUTPUTS[task_of(args).target]
    if task_of(args).target == 'label' and count == 1 and args.num_classes == BINARY_CLASSES:
        text = ONE_LOGIT
    return text.format(n=batch or 'N', outputs=count, height=height, width=width)


def metadata_of(args, checkpoint, kind, batch, count):
    """Return the metadata of an exported file: dict from a name to a text; lists are JSON.

    Args:
        args: options of the network, complete.
        checkpoint: what utils.runs.checkpoint.load_checkpoint returned for args.load_model_path.
        kind: key of KINDS; batch: number of samples or None; count: number of outputs.
    """
    names = args.class_names if task_of(args).has_classes else target_names(args)
    path, record = Path(args.load_model_path), record_of(checkpoint)
    values = {
        'program': 'danlu',
        'task': args.task,
        'model_type': args.model_type,
        'model_args': args.model_args or [],
        'input': describe_input(args, kind, batch),
        'output': describe_output(args, batch, count),
        'names': [] if names is None else list(names),
        'image_size': list(args.image_size or []),
        'channels': args.channels,
        'mean': args.mean,
        'std': args.std,
        'fit': args.fit,
        'interpolation': args.interpolation or 'bilinear',
        'crop_share': args.crop_share or 1.0,
        'run': path.absolute().parent.name,
        'epoch': checkpoint.get('epoch'),
        'checkpoint_sha256': file_hash(path),
        'experiment': record.get('experiment'),
        'metrics': checkpoint.get('metrics') if recorded_args(checkpoint) else None,
    }
    return {name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for name, value in values.items() if value is not None}  # fmt: skip
