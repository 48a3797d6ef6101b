"""What several losses need: sums in float32, checked class weights."""

import math

import torch

from utils.base.errors import DanluError


def at_least_float32(predictions):
    """Return predictions in float32 where they are of half precision: sums over many pixels need it."""
    return predictions.float() if predictions.dtype in (torch.float16, torch.bfloat16) else predictions


def checked_weights(class_weights, num_classes):
    """Return the class weights as a float32 tensor (K,), or None where there are none.

    Raises:
        DanluError: there are not K of them, one is negative or not finite, or all are 0.
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
