"""How scores spread over right and wrong, counted while a test runs: ROC and precision-recall in bounded memory.

Fawcett 2006, An introduction to ROC analysis; Davis and Goadrich 2006, The relationship between precision-recall and
ROC curves.
"""

import numpy as np
import torch

SPAN = 20.0  # log-odds: a probability of 1 - 2e-9
BINS = 1000
NONE = np.empty(0)


class ScoreCounts:
    """Histograms of the log-odds of each class, of samples that have it and that have it not.

    Args:
        target: 'label' (one class per sample) or 'labels' (each class by itself): utils.tasks.tasks.Task.target.
        num_classes: K.
        ignore_index: label of samples that do not count, or None.
    """

    def __init__(self, target, num_classes, ignore_index=None):
        self.target, self.num_classes, self.ignore_index = target, num_classes, ignore_index
        self.counts = None

    def add(self, predictions, targets):
        """Count a batch, as Engine.step returns it, if it is what the task has; does not wait for the device."""
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
        bins = ((_log_odds(self.target, logits) + SPAN) * (BINS / (2 * SPAN))).long().clamp_(0, BINS - 1)
        cells = bins + BINS * (torch.arange(self.num_classes, device=bins.device) + self.num_classes * truth)
        if self.counts is None:
            self.counts = torch.zeros(2 * self.num_classes * BINS, dtype=torch.int64, device=bins.device)
        self.counts.index_add_(0, cells.flatten(), counted[:, None].expand_as(cells).flatten().long())

    def histograms(self):
        """Return the counts (2, K, BINS), int64 array: of samples without and with the class; None if there is none."""
        return None if self.counts is None else self.counts.cpu().numpy().reshape(2, self.num_classes, BINS)


def _truth(target, targets, num_classes):
    """Return whether each sample has each class, int64 (N, K)."""
    if target == 'labels':
        return (targets == 1).long()
    labels = targets.argmax(1) if targets.is_floating_point() else targets
    return (labels[:, None] == torch.arange(num_classes, device=labels.device)).long()


def _log_odds(target, logits):
    """Return log(p / (1 - p)) of each class, float (N, K); what is no number counts as the least."""
    if target == 'label':
        others = torch.full_like(logits, -torch.inf)
        if logits.shape[1] > 1:
            top = logits.topk(2, dim=1).values
            # The sum over the other classes: of all but the largest it is exact, as nothing large is taken off.
            shifted = (logits - top[:, :1]).exp()
            rest = shifted.sum(1, keepdim=True) - shifted
            first = logits == top[:, :1]
            without_first = torch.where(first, 0.0, shifted).sum(1, keepdim=True) + (first.sum(1, keepdim=True) - 1)
            others = torch.where(first, without_first, rest).log() + top[:, :1]
        logits = logits - others
    return logits.float().nan_to_num(-SPAN, SPAN, -SPAN).clamp(-SPAN, SPAN)


def curves(without, having):
    """Return the ROC and the precision-recall curve of a class.

    Args:
        without, having: (BINS,) int, counts of samples by score, lowest first.

    Returns:
        dict: false_positive_rate, true_positive_rate (from 0 to 1); precision, recall; auroc, ap (float, nan where
        a curve has no meaning).
    """
    false, true = (np.concatenate([[0], part[::-1].cumsum()]) for part in (without, having))
    said = true + false
    keep = np.concatenate([[True], np.diff(said) > 0])
    true, false = true[keep].astype(float), false[keep].astype(float)
    if not true[-1]:
        return {'false_positive_rate': NONE, 'true_positive_rate': NONE, 'precision': NONE, 'recall': NONE,
                'auroc': np.nan, 'ap': np.nan}  # fmt: skip
    recall = true / true[-1]
    precision = true[1:] / (true[1:] + false[1:])
    fall_out = false / false[-1] if false[-1] else NONE
    return {
        'false_positive_rate': fall_out,
        'true_positive_rate': recall if len(fall_out) else NONE,
        'precision': precision,
        'recall': recall[1:],
        'auroc': float(np.trapezoid(recall, fall_out)) if len(fall_out) else np.nan,
        'ap': float((np.diff(recall) * precision).sum()),
    }


def best_threshold(without, having):
    """Return the probability at or above which a class is best said to be there by F1, and that F1 (floats or nan)."""
    true, false = having[::-1].cumsum()[::-1], without[::-1].cumsum()[::-1]
    if not having.sum():
        return np.nan, np.nan
    f1 = 2 * true / (true + false + having.sum())
    best = int(np.flatnonzero(f1 == f1.max())[-1])
    return float(1 / (1 + np.exp(SPAN - best * 2 * SPAN / BINS))), float(f1[best])
