"""Compares an exported file with its checkpoint: outputs for real samples, metrics of a test, size and latency."""

import statistics
import time
from typing import NamedTuple

import torch
from torch import nn

from data.checks.dataset_fingerprint import dataset_of
from loss import select_loss
from metrics import select_metrics
from utils.base.batches import images_and_targets
from utils.base.errors import DanluError
from utils.base.progress import Progress
from utils.training.batch_transform import BatchTransform
from utils.training.engine import Engine

MAX_TIMED_SECONDS, MAX_TIMED_ROUNDS = 2.0, 50


def first_samples(loader, count):
    """Return the first `count` samples of a loader as it gives them before normalisation: a tensor (n, ...).

    Raises:
        DanluError: the loader is empty.
    """
    found, seen = [], 0
    for batch in loader:
        images, _ = images_and_targets(batch)
        found.append(images[: count - seen])
        seen += len(found[-1])
        if seen >= count:
            break
    if not found:
        raise DanluError('there is no sample to verify the file with: the list is empty')
    return torch.cat(found)


def photos_of(loader, samples, channels):
    """Return the images of the first samples at their original size: list of uint8 tensors (1, H, W, C).

    Samples that are no files are returned at the size of the network.
    """
    dataset = dataset_of(loader)
    listing = getattr(dataset, 'listing', None)
    if listing is None:
        return [sample.movedim(0, -1)[None].contiguous() for sample in samples]
    from data.lists.pictures import read_picture

    paths = [listing.image_path(index) for index in range(len(samples))]
    return [read_picture(path, channels, bits=None).movedim(0, -1)[None].contiguous() for path in paths]


class Difference(NamedTuple):
    """How far the outputs of a file are from those of its checkpoint.

    Attributes:
        largest: largest absolute difference (float).
        scale: largest absolute output of the checkpoint (float).
        samples: number of samples (int).
    """

    largest: float
    scale: float
    samples: int

    @property
    def relative(self):
        """The largest difference, divided by the largest output if that is above 1."""
        return self.largest / max(1.0, self.scale)


def difference(outputs, expected):
    """Return the Difference of outputs, tensors or lists of tensors of the same shapes.

    Raises:
        DanluError: shapes differ, or an output is not finite where the expected one is.
    """
    pairs = list(zip(outputs, expected, strict=True))
    for one, other in pairs:
        if one.shape != other.shape:
            raise DanluError(f'the file gives outputs of shape {tuple(one.shape)} instead of {tuple(other.shape)}')
        if not torch.equal(one.isfinite(), other.isfinite()):
            raise DanluError('the file gives outputs that are not finite (nan or inf), unlike the checkpoint')
    gaps = [float((one.double() - other.double()).nan_to_num(0).abs().max()) for one, other in pairs]
    return Difference(max(gaps), max(float(other.nan_to_num(0, 0, 0).abs().max()) for _, other in pairs), len(pairs))


class ExportedNetwork(nn.Module):
    """Runs an exported file in the place of the network, on what the file takes.

    Args:
        run: function(tensor) -> tensor.
        kind: key of scripts.exporting.metadata.KINDS.
        batch: number of samples that the file takes at once, or None: any.
    """

    def __init__(self, run, kind, batch):
        super().__init__()
        self.run, self.kind, self.batch = run, kind, batch

    def forward(self, images):
        """Return the outputs for images as the loader gives them: uint8 (N, C, H, W), or floats."""
        if self.kind == 'photos':
            images = images.movedim(1, -1).contiguous()
        if self.batch is None:
            return self.run(images)
        missing = -len(images) % self.batch  # the last batch is filled up
        filled = torch.cat([images, images[:1].expand(missing, *images.shape[1:])]) if missing else images
        return torch.cat([self.run(part.contiguous()) for part in filled.split(self.batch)])[: len(images)]


class RawTransform(BatchTransform):
    """As BatchTransform, without normalisation, which the exported file contains."""

    def __init__(self, args, kind):
        super().__init__(args, torch.device('cpu'))
        self.kind = kind

    def __call__(self, images, targets, key=None):
        """Return images as the file takes them, and targets as the metrics take them."""
        images, targets = super().__call__(images, targets, key)
        return (raw_features(images, self.mean, self.std) if self.kind == 'features' else images), targets

    def normalised(self, images):
        """Return the images unchanged."""
        return images


def raw_features(features, mean, std):
    """Return standardised features, float (N, F), in their units; `mean`, `std`: 255 times those of the options."""
    return (features.double() * (std.flatten().double() / 255) + mean.flatten().double() / 255).float()


def evaluate(args, loader, network, kind=None):
    """Return the metrics (dict) of a test, as eval.py computes them.

    Args:
        args: options; loader: of the test data.
        network: the checkpoint's network, or an ExportedNetwork.
        kind: of the ExportedNetwork; None for the checkpoint's network.
    """
    engine = Engine(args, network, select_loss(args), torch.device('cpu'))
    if kind is not None:
        engine.prepare = RawTransform(args, kind)
    engine.bind_transforms(loader)
    label = 'test of the checkpoint' if kind is None else 'test of the file'
    return engine.evaluate(Progress(loader, label, print), select_metrics(args))[0]


def latency(run, inputs):
    """Return the median time of a call in milliseconds (float)."""
    run(inputs)  # to warm up
    times, started = [], time.perf_counter()
    while len(times) < 3 or (len(times) < MAX_TIMED_ROUNDS and time.perf_counter() - started < MAX_TIMED_SECONDS):
        before = time.perf_counter()
        run(inputs)
        times.append(time.perf_counter() - before)
    return 1000 * statistics.median(times)
