"""What one contestant is asked to do; made by the parent process, read by the contestant's own. Imports no torch."""

import os
from dataclasses import dataclass

CLASSES = 10
# Of the pictures of each kind of work: (height, width), and what normalisation takes off and divides by.
SIZES = {'small': (28, 28), 'compute': (64, 64), 'photos': (224, 224), 'masks': (360, 480), 'tiny': (32, 32)}
SIZES['cifar'] = (32, 32)
RESNETS = ('compute', 'cifar')  # ResNet-18 on pictures in memory
INPUT = ('photos', 'masks', 'tiny')  # work on input: nothing is validated
IMAGENET = {'mean': [0.485, 0.456, 0.406], 'std': [0.229, 0.224, 0.225]}
MNIST = {'mean': [0.1307], 'std': [0.3081]}
NORMALISATION = {'small': MNIST, **dict.fromkeys((*RESNETS, *INPUT), IMAGENET)}
CROP_SCALE = (0.25, 1.0)  # a random crop's share of the picture's area; Danlu's `--augment standard`


@dataclass
class Task:
    """One contestant with its settings.

    Attributes:
        peer: module in bench/peers.
        style: 'usual' (as its documentation shows it), 'best' (tuned to this machine) or what the peer defines.
        work: key of SIZES.
        data: directory of the data; scratch: a directory for what the run writes.
        samples: training pictures of one epoch.
        threads: of one operation; None: torch's own choice.
        workers: processes of a DataLoader; None: as many as the peer thinks right.
        extras: logger, progress bar, metrics and checkpoints, as a user has them.
        fused: torch's fused Adam, which few tutorials use.
        epochs: more than will be run, for programs that want to know.
    """

    peer: str
    style: str
    work: str
    data: str
    scratch: str = ''
    samples: int = 0
    batch_size: int = 32
    threads: int | None = None
    workers: int | None = 0
    extras: bool = True
    fused: bool = False
    epochs: int = 1
    device: str = 'cpu'

    @property
    def name(self):
        """Return what tables call it (str)."""
        return f'{self.peer} {self.style}'.strip()


def cpu_cores():
    """Return how many cores this process may use (int)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
