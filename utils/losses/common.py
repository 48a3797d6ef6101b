"""Helpers shared by several losses: sums in float32, checked class weights."""

import math

import torch

from utils.base.errors import DanluError


def at_least_float32(predictions):
    """Return predictions, half precision as float32: sums over many pixels need its precision."""
    return predictions.float() if predictions.dtype in (torch.float16, torch.bfloat16) else predictions


def checked_weights(class_weights, num_classes):
    """Return class weights as a float32 tensor (K,), or None.

    Raises:
        DanluError: there are not K weights, a weight is negative or not finite, or all weights are 0.
    """
    if class_weights is None:
        return None
    if len(class_weights) != num_classes:
        raise DanluError(
            f'--class_weights has {len(class_weights)} values for {num_classes} classes: give one for each'
        )
    if not all(math.isfinite(weight) and weight >= 0 for weight in class_weights) or not any(class_weights):
        raise DanluError(f'--class_weights must be finite, at least 0 and not all 0, not {list(class_weights)}')
    return torch.tensor(class_weights, dtype=torch.float32)
