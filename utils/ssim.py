"""How alike pictures are; structural similarity by torchmetrics (Wang et al. 2004, Image Quality Assessment)."""

import math
from contextlib import contextmanager

import torch

WINDOW = 11  # pixels, of the Gaussian of deviation 1.5 that torchmetrics and the paper use
BEST_PSNR = 100.0  # dB


def structural_similarity(predictions, targets):
    """Return each picture's mean structural similarity, (N,), float32, from -1 to 1.

    Args:
        predictions, targets: (N, C, H, W), floating point, values in a range of 1; H and W at least WINDOW.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure  # seconds, so not at the top

    with _full_float32(predictions.device):
        return structural_similarity_index_measure(
            predictions.float(), targets.float(), data_range=1.0, reduction='none'
        ).reshape(-1)  # of a single picture torchmetrics gives (1,) or ()


def picture_quality(predictions, targets):
    """Return each picture's psnr in dB, structural similarity and mean absolute error, (3, N), float64.

    Args:
        predictions, targets: (N, C, H, W), floating point; targets 0..1, predictions are clamped to that. Of pictures
            smaller than WINDOW the similarity is nan.
    """
    predictions, targets = predictions.float().clamp(0, 1), targets.float()
    errors = (predictions - targets).flatten(1)
    psnr = -10 * errors.square().mean(1).double().clamp(min=10 ** (-BEST_PSNR / 10)).log10()
    large = min(targets.shape[2:]) >= WINDOW
    ssim = structural_similarity(predictions, targets) if large else torch.full_like(psnr, math.nan)
    return torch.stack([psnr, ssim.double(), errors.abs().mean(1).double()])


@contextmanager
def _full_float32(device):
    """Keep a GPU's convolutions from rounding to 10 bits (TF32): variances are small differences of large sums."""
    if device.type != 'cuda':
        yield
        return
    settings = torch.backends.cudnn.conv
    before, settings.fp32_precision = settings.fp32_precision, 'ieee'
    try:
        yield
    finally:
        settings.fp32_precision = before
