"""How alike pictures are: PSNR, mean absolute error, and structural similarity (Wang et al. 2004).

Structural similarity is computed by torchmetrics and averaged over the valid windows, those that lie within the
picture, as in the paper's own code and in scikit-image (gaussian_weights=True, sigma=1.5,
use_sample_covariance=False). torchmetrics itself also averages over windows that reach into a reflected border.
"""

import math
from contextlib import contextmanager

import torch

WINDOW = 11  # pixels, of the Gaussian of deviation 1.5 that torchmetrics and the paper use
BEST_PSNR = 100.0  # dB


def structural_similarity(predictions, targets):
    """Return each picture's structural similarity, the mean over its valid windows: (N,), float32, from -1 to 1.

    Args:
        predictions, targets: (N, C, H, W), floating point, values in a range of 1; H and W at least WINDOW.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure  # seconds, so not at the top

    with _full_float32(predictions.device):
        _, of_windows = structural_similarity_index_measure(
            predictions.float(), targets.float(), data_range=1.0, reduction='none', return_full_image=True
        )
    border = WINDOW // 2  # windows about these pixels reach beyond the picture
    return of_windows[..., border:-border, border:-border].flatten(1).mean(1)


def image_quality(predictions, targets):
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
