"""What augmenting a batch takes.

python -m scripts.dev.bench.augment_worker <name> <numbers as JSON> <scratch> <result file>
"""

import itertools
import json
import os
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torchvision.transforms import v2

from data.augment import Affine, Augment, Erase, Flip, Jitter, RandomResizedCrop, Shift
from data.mixing import Mixing
from scripts.dev.bench.load import busy_seconds
from scripts.dev.bench.task import CLASSES
from utils.base.seeding import uniform_draws


def augmenting(numbers):
    """Return what each step takes (list of dict).

    Args:
        numbers: dict with 'shape' of the batch (B, C, H, W), 'rounds', the first of which is a warm-up, and 'seconds'
            of a turn.
    """
    torch.set_num_threads(1)
    pairs = contestants(numbers['shape'])
    found = {name: [] for name in pairs}
    for number in range(numbers['rounds']):
        for name, pair in pairs.items():
            found[name].append(turns(pair, number % 2, numbers['seconds']))
    return [row_of(name, rounds[1:]) for name, rounds in found.items()]


def contestants(shape):
    """Return what is timed: dict step -> (a call of Danlu's, a call of torchvision's), each for one batch."""
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    normalised, labels, indices = torch.randn(shape), torch.arange(shape[0]) % CLASSES, np.arange(shape[0])
    pictures, epochs, strong = list(images), itertools.count(1), Augment('strong', None, 0)
    steps = equal_steps(shape[-2:])
    pairs = {
        name: (
            lambda step=step: step(images, None, uniform_draws((0, next(epochs), 0), indices, step.draws), None),
            lambda transform=transform: torch.stack([transform(picture) for picture in pictures]),
        )
        for name, (step, transform) in steps.items()
    }
    theirs = v2.Compose([steps['part'][1], steps['flip'][1], v2.RandomAffine(15), steps['jitter'][1],
                         steps['erase'][1]])  # fmt: skip
    pairs['strong'] = (
        lambda: strong(images, labels, next(epochs), indices),
        lambda: torch.stack([theirs(picture) for picture in pictures]),
    )
    # torchvision's are for batches, too.
    for name, alphas, transform in (('mixup', (1.0, None), v2.MixUp), ('cutmix', (None, 1.0), v2.CutMix)):
        mixing, transform = Mixing(*alphas, CLASSES, 0), transform(num_classes=CLASSES)
        pairs[name] = (
            lambda mixing=mixing: mixing(normalised, labels, next(epochs), indices),
            lambda transform=transform: transform(normalised, labels),
        )
    return pairs


def equal_steps(size):
    """Return the steps of data/augment.py with what torchvision has for each: dict name -> (step, transform)."""
    height, width = size
    return {
        'flip': (Flip(), v2.RandomHorizontalFlip()),
        'shift': (Shift(1 / 8), v2.RandomCrop(size, padding=[width // 8, height // 8])),
        'part': (RandomResizedCrop(0.25, 1.0), v2.RandomResizedCrop(size, scale=(0.25, 1.0))),
        'affine': (Affine(10, (0.1, 0.1), (0.9, 1.1)), v2.RandomAffine(10, (0.1, 0.1), (0.9, 1.1))),
        'jitter': (Jitter(0.4, 0.4, 0.4), v2.ColorJitter(0.4, 0.4, 0.4)),
        'erase': (Erase(0.25), v2.RandomErasing(0.25)),
    }


def turns(pair, first, seconds):
    """Let both of a pair have their turn, `first` (0 or 1) before the other; return times and what others took."""
    before, started = busy_seconds(os.getsid(0)), time.perf_counter()
    times = {place: per_call(pair[place], seconds) for place in (first, 1 - first)}
    others = max(0.0, busy_seconds(os.getsid(0)) - before) / (time.perf_counter() - started)
    return times[0], times[1], others


def per_call(call, seconds):
    """Return the seconds that a call takes, by calling for `seconds`."""
    calls, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        call()
        calls += 1
    return elapsed / calls


def row_of(name, rounds):
    """Return a step's row (dict) from its (Danlu's time, torchvision's, others), one per round."""
    ours, theirs, others = zip(*rounds, strict=True)
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    ratio = {'median': median(ratios), 'min': min(ratios), 'max': max(ratios)}
    return {'step': name, 'danlu': median(ours), 'torchvision': median(theirs), 'ratio': ratio,
            'danlu_rounds': ours, 'torchvision_rounds': theirs, 'others': median(others)}  # fmt: skip


if __name__ == '__main__':
    Path(sys.argv[4]).write_text(json.dumps(augmenting(json.loads(sys.argv[2]))), encoding='utf-8')
