"""PSNR, mean absolute error and structural similarity (Wang et al. 2004) of images.

Structural similarity is computed by torchmetrics and averaged over the valid windows, those inside the image, as in
the paper's code and in scikit-image (gaussian_weights=True, sigma=1.5, use_sample_covariance=False). torchmetrics'
own mean also includes windows that reach into a reflected border.
"""

import math
from contextlib import contextmanager

import torch

WINDOW = 11  # pixels, of the Gaussian window with deviation 1.5, as in torchmetrics and the paper
BEST_PSNR = 100.0  # dB


def structural_similarity(predictions, targets):
    """Return the structural similarity of each image, the mean over its valid windows: (N,), float32, -1..1.

    Args:
        predictions, targets: (N, C, H, W), floating point, values in a range of 1; H and W at least WINDOW.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure  # takes seconds to import

    with _full_float32(predictions.device):
        _, of_windows = structural_similarity_index_measure(
            predictions.float(), targets.float(), data_range=1.0, reduction='none', return_full_image=True
        )
    border = WINDOW // 2  # windows around these pixels reach beyond the image
    return of_windows[..., border:-border, border:-border].flatten(1).mean(1)


def image_quality(predictions, targets):
    """Return PSNR in dB, structural similarity and mean absolute error of each image, (3, N), float64.

    Args:
        predictions, targets: (N, C, H, W), floating point; targets in 0..1, predictions are clamped to 0..1. The
            similarity of images smaller than WINDOW is nan.
    """
    predictions, targets = predictions.float().clamp(0, 1), targets.float()
    errors = (predictions - targets).flatten(1)
    psnr = -10 * errors.square().mean(1).double().clamp(min=10 ** (-BEST_PSNR / 10)).log10()
    large = min(targets.shape[2:]) >= WINDOW
    ssim = structural_similarity(predictions, targets) if large else torch.full_like(psnr, math.nan)
    return torch.stack([psnr, ssim.double(), errors.abs().mean(1).double()])


@contextmanager
def _full_float32(device):
    """Switch TF32 off for convolutions on a GPU: variances are small differences of large sums."""
    if device.type != 'cuda':
        yield
        return
    settings = torch.backends.cudnn.conv
    before, settings.fp32_precision = settings.fp32_precision, 'ieee'
    try:
        yield
    finally:
        settings.fp32_precision = before
