"""Binary classification with one logit per sample: a network with one output and BCEWithLogitsLoss.

A logit z of class 1 is equivalent to the logits (0, z) of two classes: their softmax is the sigmoid of z, and their
cross entropy is the binary cross entropy. Metrics, predictions.csv, the report, images and the predictor get that form;
the loss gets the logit. The shape of the outputs decides: (N, 1) or (N,) with two classes.
"""

import torch
from torch import nn

from utils.base.errors import DanluError
from utils.tasks.tasks import task_of

BINARY_CLASSES = 2


def is_one_logit(args, predictions):
    """Return whether predictions are one logit per sample of two classes (bool): floating point (N, 1) or (N,).

    Args:
        args: options; uses task and num_classes.
        predictions: the value that the network returned.
    """
    return (
        task_of(args).target == 'label'
        and args.num_classes == BINARY_CLASSES
        and torch.is_tensor(predictions)
        and predictions.is_floating_point()
        and (predictions.dim() == 1 or predictions.shape[1:] == (1,))
    )


def as_classes(args, predictions, targets):
    """Return predictions as logits of two classes, (N, 2), and targets as classes, int64 (N,).

    Other predictions and their targets are returned unchanged. A target that is neither 0 nor 1 becomes -1, which the
    metrics refuse. Does not synchronise the device.

    Args:
        args: options.
        predictions: (N, 1) or (N,), floating point.
        targets: 0 or 1, (N,) or (N, 1), of any dtype; class probabilities (N, 2) are returned unchanged.
    """
    if not is_one_logit(args, predictions):
        return predictions, targets
    logits = predictions.reshape(-1)
    return torch.stack([torch.zeros_like(logits), logits], 1), class_targets(predictions, targets)


def class_targets(predictions, targets):
    """Return 0/1 targets (N,) or (N, 1) of any dtype as int64 (N,), other values as -1, other shapes unchanged."""
    if not torch.is_tensor(targets) or targets.numel() != len(predictions):
        return targets
    targets = targets.reshape(-1)
    if targets.is_floating_point():
        return torch.where((targets == 0) | (targets == 1), targets, -1).long()
    return targets.long()


def flatten_one_logit(args, predictions, targets):
    """Return one logit per sample and its targets as (N,) and int64 (N,), for torchmetrics; others unchanged."""
    if not is_one_logit(args, predictions):
        return predictions, targets
    return predictions.reshape(-1), class_targets(predictions, targets)


def targets_like(args, predictions, targets):
    """Return the targets of one logit per sample in the shape of the predictions, which prevents broadcasting."""
    if not is_one_logit(args, predictions) or not torch.is_tensor(targets) or targets.numel() != predictions.numel():
        return targets
    return targets.reshape(predictions.shape)


def for_loss(args, loss, predictions, targets):
    """Return predictions and targets in the form that the loss takes; unchanged unless there is one logit per sample.

    A loss of class indices, such as cross entropy, gets the logits of two classes and int64 targets. Other losses get
    the logits and floating-point targets of the same shape, as torch.nn.BCEWithLogitsLoss takes them.
    """
    if not is_one_logit(args, predictions):
        return predictions, targets
    if takes_classes(loss):
        return as_classes(args, predictions, targets)
    if not torch.is_tensor(targets) or targets.numel() != predictions.numel():
        return predictions, targets
    return predictions, targets.to(predictions.dtype).reshape(predictions.shape)


def takes_classes(loss):
    """Return whether a loss (nn.Module) takes one logit per class and class indices (bool)."""
    if hasattr(loss, 'parts'):
        return all(takes_classes(part) for _, part in loss.parts().values())
    return isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss) or getattr(loss, 'takes_classes', False)


def check_ready_loss(loss):
    """Raise DanluError for a ready-made loss of probabilities, as metrics and predictions take outputs as logits."""
    if isinstance(loss, nn.BCELoss):
        raise DanluError(
            'BCELoss takes probabilities, and metrics and predictions take the outputs for logits: leave out the '
            "network's last sigmoid and give torch.nn.BCEWithLogitsLoss"
        )
