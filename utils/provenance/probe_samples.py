"""A few inputs of the validation, stored with 8 bits per value, as a probe beside noise.

Inputs of the validation reach what noise does not: activations in the range of a trained network, clipped values.
"""

import torch

MAX_SAMPLES = 4
MAX_SAMPLE_BYTES = 2**16  # of all samples; a run has them in best.pth, last.pth and last.prev.pth
MAX_REDUCTION = 16  # of the height and the width of images
LEVELS = 255


def select_samples(inputs):
    """Return what a checkpoint holds of a batch of network inputs (dict), or None if they are too large or no floats.

    Args:
        inputs: float (B, C, H, W) or (B, F), on any device.

    Returns:
        dict: pixels, uint8 (n, C, h, w) or (n, F); low and high, float32 (C,) or (F,), the values of 0 and 255; size,
        [H, W] or []. Of large images every second, third ... row and column is stored.
    """
    if not (torch.is_tensor(inputs) and inputs.is_floating_point() and inputs.dim() in (2, 4) and len(inputs)):
        return None
    count = min(MAX_SAMPLES, len(inputs))
    chosen = [index * (len(inputs) - 1) // max(count - 1, 1) for index in range(count)]
    samples = inputs[chosen].to('cpu', torch.float32)
    samples = next((part for part in _reduced(samples) if part.numel() <= MAX_SAMPLE_BYTES), None)
    if samples is None or not samples.isfinite().all():
        return None
    others = [0, *range(2, samples.dim())]
    low, high = samples.amin(others), samples.amax(others)
    scale = (high - low).clamp(min=torch.finfo(torch.float32).tiny)
    shape = [1, -1] + [1] * (samples.dim() - 2)
    pixels = ((samples - low.view(shape)) / scale.view(shape) * LEVELS).round().to(torch.uint8)
    return {'pixels': pixels.clone(), 'low': low.clone(), 'high': high.clone(), 'size': list(inputs.shape[2:])}


def _reduced(samples):
    """Yield samples and, if they are images, smaller ones."""
    for step in range(1, MAX_REDUCTION + 1 if samples.dim() == 4 else 2):
        yield samples[..., ::step, ::step] if samples.dim() == 4 else samples


def restore_samples(stored):
    """Return the inputs, float32 (n, C, H, W) or (n, F), of what `select_samples` returned."""
    pixels, size = stored['pixels'], stored['size']
    shape = [1, -1] + [1] * (pixels.dim() - 2)
    low, high = stored['low'].view(shape), stored['high'].view(shape)
    samples = low + (high - low) * pixels.float() / LEVELS
    if size:
        rows, columns = (torch.arange(n) * pixels.shape[2 + k] // n for k, n in enumerate(size))
        samples = samples[:, :, rows][:, :, :, columns]
    return samples
