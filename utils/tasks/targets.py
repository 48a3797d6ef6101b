"""Checks and conversions of targets, with the error messages of losses and metrics.

Types and shapes are checked for every batch, which costs nothing; values only after something has failed.
"""

import torch

from utils.base.errors import DanluError


def shaped_targets(targets, kind):
    """Return targets in the shape and dtype of the task, if they only lack an axis or are integers.

    Labels (N, 1) become (N,), masks (N, 1, H, W) become (N, H, W), both int64; numbers (N,) become (N, 1); integer
    numbers and label sets become float32. All else is unchanged and left for the loss to check.

    Args:
        targets: tensor (N, ...) from a loader; values of other types are returned unchanged.
        kind: the kind of targets (str, see utils.tasks.tasks.Task.target).
    """
    if not torch.is_tensor(targets):
        return targets
    whole = not (targets.is_floating_point() or targets.is_complex())
    if kind in ('label', 'mask') and whole:
        own = {'label': 1, 'mask': 3}[kind]
        return (targets.squeeze(1) if targets.dim() == own + 1 and targets.shape[1] == 1 else targets).long()
    if kind == 'numbers':
        targets = targets.unsqueeze(1) if targets.dim() == 1 else targets
    return targets.float() if kind in ('numbers', 'labels') and whole else targets


def with_axis(kind, *values):
    """Return the values, predictions or targets, with one number per sample, (N,), as (N, 1).

    (N,) predictions and (N, 1) targets would broadcast to all pairs.

    Args:
        kind: the kind of targets (str, see utils.tasks.tasks.Task.target).
        values: tensors. Other types and the tensors of other tasks are returned unchanged.
    """
    if kind != 'numbers':
        return values
    return tuple(each.unsqueeze(1) if torch.is_tensor(each) and each.dim() == 1 else each for each in values)


def check_outputs(who, predictions):
    """Raise DanluError unless a network returned a tensor; `who` begins the message: 'the loss' ..."""
    if not torch.is_tensor(predictions):
        raise DanluError(
            f'{who} got predictions of type {type(predictions).__name__}; expected a tensor: let the network return '
            'a tensor, or override step() and take it out there'
        )


def check_same_shape(predictions, targets):
    """Raise DanluError if an elementwise loss would broadcast predictions and targets (tensors) to all pairs."""
    if torch.is_tensor(targets) and predictions.shape != targets.shape:
        raise DanluError(
            f'the loss got predictions of shape {tuple(predictions.shape)} and targets of shape '
            f'{tuple(targets.shape)}, which it would broadcast to all pairs; both need the same shape'
        )


def check_classes(who, predictions, targets):
    """Raise DanluError unless targets are int64 class indices shaped like predictions without the class axis.

    Args:
        who: the beginning of the message, 'the loss' or 'the metrics'.
        predictions: (N, K) or (N, K, H, W).
        targets: expected as (N,) or (N, H, W).
    """
    check_outputs(who, predictions)
    _check(who, predictions, targets, (*predictions.shape[:1], *predictions.shape[2:]), torch.int64)


def check_float_targets(who, predictions, targets, dims=None):
    """Raise DanluError unless targets are float32 (or float64) in the shape of the predictions.

    Args:
        who: the beginning of the message, 'the loss' or 'the metrics'.
        predictions: (N, ...).
        targets: expected in the same shape.
        dims: the number of dimensions of both (int), or None for any.
    """
    check_outputs(who, predictions)
    if dims is not None and predictions.dim() != dims:
        axes = {2: '(N, number of outputs)', 4: '(N, C, H, W)'}[dims]
        raise DanluError(f'{who} got predictions of shape {tuple(predictions.shape)}; expected {axes}')
    right = torch.is_tensor(targets) and targets.dtype == torch.float64
    _check(who, predictions, targets, tuple(predictions.shape), torch.float64 if right else torch.float32)


def _check(who, predictions, targets, shape, dtype):
    """Raise DanluError unless targets are a tensor of this shape and dtype."""
    if not torch.is_tensor(targets):
        raise DanluError(f'{who} got targets of type {type(targets).__name__}; expected a tensor of shape {shape}')
    got = tuple(targets.shape)
    if got == shape and targets.dtype == dtype:
        return
    if got[:1] != shape[:1]:
        where = f'{len(predictions)} predictions have {got[0] if got else "no"} targets'
    else:
        where = (
            f'each sample, from number 0 of the batch on, has a target of shape {got[1:]} and {targets.dtype}, where '
            f'{shape[1:]} and {dtype} are expected'
        )
    raise DanluError(
        f'{who} got targets of shape {got} and {targets.dtype}; predictions of shape {tuple(predictions.shape)} need '
        f'shape {shape} and {dtype}: {where}'
    )


def wrong_class(targets, num_classes, ignore_index):
    """Return an error message (str) for the first class index outside 0..K-1, or None.

    Args:
        targets: int64 (N, ...). On a GPU tensors cannot be read after a failure, so None is returned.
        num_classes: K.
        ignore_index: int or None.
    """
    if targets.device.type != 'cpu':
        return None
    wrong = (targets < 0) | (targets >= num_classes)
    if ignore_index is not None:
        wrong &= targets != ignore_index
    if not wrong.any():
        return None
    sample, *pixel = wrong.nonzero()[0].tolist()
    place = f'sample {sample} of the batch' + (f' (row {pixel[0]}, column {pixel[1]})' if len(pixel) == 2 else '')
    unless = '' if ignore_index is None else f' or be the ignore index {ignore_index}'
    return (
        f'the target of {place} is {targets[(sample, *pixel)]}; with {num_classes} classes it must lie in '
        f'0..{num_classes - 1}{unless}. Give the right --num_classes, or --ignore_index for what is not to count'
    )
