"""Checks that data sets and batches fit into memory, before any memory is allocated."""

import math

import torch

from utils.base.errors import DanluError
from utils.base.machine import memory
from utils.base.text_table import count_text, size_text
from utils.tasks.tasks import outputs_of, task_of

FLOAT32_BYTES = 4


def refuse_large_block(count, *shapes):
    """Raise DanluError if all images of a data set, as uint8, do not fit into this machine's memory.

    Args:
        count: number of samples.
        shapes: shape of an image, (C, H, W), and of its target where that consists of pixels.
    """
    size = count * sum(map(math.prod, shapes))
    if 0 < memory() < size:
        side = 'x'.join(map(str, shapes[0][-2:]))
        raise DanluError(
            f'--image_size: {count:,} images of {side} in memory would take {size_text(size)}, and this machine has '
            f'{size_text(memory())}; make them smaller, or read them from files: --data_type list or folder'
        )


def refuse_large_batch(args, count, training):
    """Raise DanluError if a batch and the network's outputs for it do not fit into this machine's memory.

    This is a lower bound: the images as uint8; on a CPU also the images as float32 and the outputs, in training with
    their gradient. Activations of inner layers are not counted.

    Args:
        args: options; uses batch_size, image_size, channels, device and those of the outputs.
        count: number of samples in the data set (int), or None if unknown.
        training: whether the batch is for training (bool).
    """
    samples = args.batch_size if count is None else min(args.batch_size, count)
    pixels, target = math.prod(args.image_size), task_of(args).target
    outputs = outputs_of(args) * (pixels if target in ('mask', 'picture') else 1)
    size = samples * args.channels * pixels
    if args.device == 'cpu' or not torch.cuda.is_available():
        size += samples * FLOAT32_BYTES * (args.channels * pixels + outputs * (2 if training else 1))
    if 0 < memory() < size:
        shape = ' '.join(map(str, args.image_size))
        options = [f'--image_size {shape}'] * bool(shape) + [f'--batch_size {args.batch_size}']
        options += [f'--num_classes {args.num_classes}'] * bool(args.num_classes)
        raise DanluError(
            f'{", ".join(options)}: a batch of {count_text(samples, "sample")} with its outputs would take '
            f'{size_text(size)} or more, and this machine has {size_text(memory())} of memory; make one of them smaller'
        )
