"""Predictions for samples outside of a data set: `predict` of a Trainer and of eval.Predictor."""

import os

import numpy as np
import torch
from torch.utils.data import Dataset

from data.lists.pictures import picture_from
from data.ready_made import as_loader
from utils.base.errors import DanluError
from utils.options.fit import Fit
from utils.tasks.one_logit import as_classes
from utils.tasks.tasks import TASKS


def predict(engine, samples):
    """Return a network's predictions for samples, on the CPU.

    Args:
        engine: utils.training.engine.Engine; its `step` is called in evaluation mode.
        samples: one of: list of paths, PIL images, or uint8 arrays (H, W) or (H, W, 3), which are resized and converted
            as in training; a batch, tensor (N, ...), uint8 to be normalised or of the dtype that the network takes;
            batches of (images, targets) or of images, as train.Trainer takes them: a DataLoader, data set, generator
            function or list of batches; for features, floats (N, F) as in the training file.

    Returns:
        classification: probabilities, float32 (N, K), with sum 1; multilabel: probabilities of each class, float32
        (N, K); segmentation: labels, int64 (N, H, W); regression: numbers, float32 (N, T); restoration: pixels in 0..1,
        float32 (N, C, H, W).

    Raises:
        DanluError: an image cannot be read, there are no samples, a single sample is not in a list, or the image size
            is not known.
    """
    task, results = engine.args.task, []
    decode = TASKS[task].decode if task in TASKS else torch.clone
    engine.model.eval()
    with torch.inference_mode():
        for batch in _batches_of(samples, engine.args):
            _, predictions, _ = engine.step(batch)
            predictions, _ = as_classes(engine.args, predictions, None)
            results.append(decode(predictions).cpu())
    if not results:
        raise DanluError('nothing to predict: the loader is empty')
    return torch.cat(results)


def _batches_of(samples, args):
    """Yield batches (images, targets) from the samples of `predict`; missing targets are zeros."""
    if _is_data(samples):
        for batch in as_loader(samples, args, training=False):
            alone = batch[0] if isinstance(batch, list | tuple) and len(batch) == 1 else batch
            yield alone if isinstance(alone, list | tuple) else _with_zeros(torch.as_tensor(alone))
        return
    if isinstance(samples, str) or not hasattr(samples, '__len__'):
        raise DanluError('predict takes a list of images, also for a single one: predict([image])')
    if len(samples) == 0:
        raise DanluError('nothing to predict: the list is empty')
    for start in range(0, len(samples), args.batch_size):
        yield _with_zeros(images_of(samples[start : start + args.batch_size], args))


def _is_data(samples):
    """Return whether the argument of `predict` yields batches (bool); otherwise it contains images or is one batch."""
    if isinstance(samples, list | tuple):
        return len(samples) > 0 and isinstance(samples[0], list | tuple)
    if isinstance(samples, str | os.PathLike | torch.Tensor | np.ndarray) or hasattr(samples, '__next__'):
        return False
    return isinstance(samples, Dataset) or callable(samples) or hasattr(samples, '__iter__')


def _with_zeros(images):
    return images, torch.zeros(len(images))


def images_of(samples, args):
    """Return samples of `predict` as a batch; uint8 images are not normalised yet."""
    given = getattr(args, 'given_parts', None) or getattr(args, 'recorded_parts', None) or {}
    if args.image_size == [] and args.mean is not None and 'train_loader' not in given:  # features of data.array
        mean, std = (torch.tensor(numbers, dtype=torch.float64) for numbers in (args.mean, args.std))
        return ((torch.as_tensor(samples, dtype=torch.float64) - mean) / std).float()
    if isinstance(samples, np.ndarray) and np.issubdtype(samples.dtype, np.floating):
        samples = torch.from_numpy(samples)
    if torch.is_tensor(samples) and samples.dtype != torch.uint8:
        return samples.float() if samples.is_floating_point() and samples.dtype != torch.float64 else samples
    if torch.is_tensor(samples) and args.image_size == []:
        return samples
    _check_normalised(args)
    if torch.is_tensor(samples) and samples.dtype == torch.uint8 and samples.dim() == 4 and samples.shape[1] in (1, 3):
        return samples
    if args.image_size is None or not args.channels:
        raise DanluError(
            'the size of the images is not known, as the data was ready-made: give image_size=[height, width] and '
            'channels=1 or 3 to train_args or load_predictor, or a tensor as the network takes it'
        )
    taken = args.channels, args.image_size, Fit.of(args), args.bits or 16
    return torch.stack([picture_from(picture, *taken) for picture in samples])


def _check_normalised(args):
    """Raise DanluError if the normalisation of images is not known."""
    if args.mean is None or args.std is None:
        raise DanluError(
            'how images were normalised is not known, as the data was ready-made: give mean=[...] and std=[...] to '
            'train_args or load_predictor (0 and 1: pixels in 0..1), or a floating-point tensor as the network takes it'
        )
