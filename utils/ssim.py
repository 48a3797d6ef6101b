"""Structural similarity of pictures, by torchmetrics (Wang et al. 2004, Image Quality Assessment)."""

from contextlib import contextmanager

import torch

WINDOW = 11  # pixels, of the Gaussian of deviation 1.5 that torchmetrics and the paper use


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
