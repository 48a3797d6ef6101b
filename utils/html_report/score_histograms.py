"""ROC and precision-recall curves in bounded memory, from histograms of scores that are counted during a test.

Fawcett 2006, An introduction to ROC analysis; Davis and Goadrich 2006, The relationship between precision-recall and
ROC curves.
"""

import numpy as np
import torch

MAX_LOG_ODDS = 20.0  # a probability of 1 - 2e-9
BINS = 1000
EMPTY = np.empty(0)


class ScoreHistograms:
    """Histograms of the log-odds of each class, over positive and negative samples.

    Args:
        target: 'label' (one class per sample) or 'labels' (multilabel): utils.tasks.tasks.Task.target.
        num_classes: K.
        ignore_index: label of ignored samples, or None.
    """

    def __init__(self, target, num_classes, ignore_index=None):
        self.target, self.num_classes, self.ignore_index = target, num_classes, ignore_index
        self.counts = None

    def add(self, predictions, targets):
        """Count a batch, as Engine.step returns it; other shapes are ignored. Does not synchronise the device."""
        if not torch.is_tensor(predictions) or predictions.shape != (len(targets), self.num_classes):
            return
        logits = predictions.detach()
        truth = _truth(self.target, targets, self.num_classes)
        counted = torch.ones_like(truth[:, 0])
        if self.target == 'label':
            labels = targets.argmax(1) if targets.is_floating_point() else targets
            counted = (labels >= 0) & (labels < self.num_classes)
            if self.ignore_index is not None:
                counted &= labels != self.ignore_index
        bins = (_log_odds(self.target, logits) + MAX_LOG_ODDS) * (BINS / (2 * MAX_LOG_ODDS))
        bins = bins.long().clamp_(0, BINS - 1)
        cells = bins + BINS * (torch.arange(self.num_classes, device=bins.device) + self.num_classes * truth)
        if self.counts is None:
            self.counts = torch.zeros(2 * self.num_classes * BINS, dtype=torch.int64, device=bins.device)
        self.counts.index_add_(0, cells.flatten(), counted[:, None].expand_as(cells).flatten().long())

    def histograms(self):
        """Return the counts (2, K, BINS), int64 array, of negative and positive samples; None without samples."""
        return None if self.counts is None else self.counts.cpu().numpy().reshape(2, self.num_classes, BINS)


def _truth(target, targets, num_classes):
    """Return whether each sample has each class, int64 (N, K)."""
    if target == 'labels':
        return (targets == 1).long()
    labels = targets.argmax(1) if targets.is_floating_point() else targets
    return (labels[:, None] == torch.arange(num_classes, device=labels.device)).long()


def _log_odds(target, logits):
    """Return log(p / (1 - p)) of each class, float (N, K), within +-MAX_LOG_ODDS; the lowest value for nan."""
    if target == 'label':
        others = torch.full_like(logits, -torch.inf)
        if logits.shape[1] > 1:
            top = logits.topk(2, dim=1).values
            # Sum over the other classes. For the largest logit, leave it out of the sum: subtracting it is inexact.
            shifted = (logits - top[:, :1]).exp()
            rest = shifted.sum(1, keepdim=True) - shifted
            first = logits == top[:, :1]
            without_first = torch.where(first, 0.0, shifted).sum(1, keepdim=True) + (first.sum(1, keepdim=True) - 1)
            others = torch.where(first, without_first, rest).log() + top[:, :1]
        logits = logits - others
    return logits.float().nan_to_num(-MAX_LOG_ODDS, MAX_LOG_ODDS, -MAX_LOG_ODDS).clamp(-MAX_LOG_ODDS, MAX_LOG_ODDS)


def roc_pr_curves(negatives, positives):
    """Return the ROC and the precision-recall curve of a class.

    Args:
        negatives, positives: (BINS,) int, numbers of samples by score, lowest score first.

    Returns:
        dict: false_positive_rate, true_positive_rate (from 0 to 1); precision, recall; auroc, ap (float, nan if
        undefined).
    """
    false, true = (np.concatenate([[0], counts[::-1].cumsum()]) for counts in (negatives, positives))
    predicted = true + false
    keep = np.concatenate([[True], np.diff(predicted) > 0])
    true, false = true[keep].astype(float), false[keep].astype(float)
    if not true[-1]:
        return {'false_positive_rate': EMPTY, 'true_positive_rate': EMPTY, 'precision': EMPTY, 'recall': EMPTY,
                'auroc': np.nan, 'ap': np.nan}  # fmt: skip
    recall = true / true[-1]
    precision = true[1:] / (true[1:] + false[1:])
    false_positive_rate = false / false[-1] if false[-1] else EMPTY
    return {
        'false_positive_rate': false_positive_rate,
        'true_positive_rate': recall if len(false_positive_rate) else EMPTY,
        'precision': precision,
        'recall': recall[1:],
        'auroc': float(np.trapezoid(recall, false_positive_rate)) if len(false_positive_rate) else np.nan,
        'ap': float((np.diff(recall) * precision).sum()),
    }


def best_threshold(negatives, positives):
    """Return the probability threshold with the highest F1, and that F1 (floats or nan)."""
    true, false = positives[::-1].cumsum()[::-1], negatives[::-1].cumsum()[::-1]
    if not positives.sum():
        return np.nan, np.nan
    f1 = 2 * true / (true + false + positives.sum())
    best = int(np.flatnonzero(f1 == f1.max())[-1])
    return float(1 / (1 + np.exp(MAX_LOG_ODDS - best * 2 * MAX_LOG_ODDS / BINS))), float(f1[best])
