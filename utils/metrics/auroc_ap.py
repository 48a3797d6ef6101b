"""AUROC and average precision of each class, by torchmetrics (imported on use, as the import takes seconds)."""

import torch


def auroc_by_class(scores, truth):
    """Return the area under the ROC curve of each class, (K,) float64, on the CPU; nan if all samples have it, or none.

    Args:
        scores: (N, K), float64, 0..1, higher where the class is more likely.
        truth: (N, K), bool.
    """
    from torchmetrics.functional.classification import binary_auroc

    counts = truth.sum(0).tolist()
    return by_present_class(binary_auroc, scores, truth, [0 < count < len(truth) for count in counts])


def average_precision_by_class(scores, truth):
    """Return the average precision of each class, (K,) float64, on the CPU; nan if no sample has the class.

    Args:
        scores, truth: as in `auroc_by_class`.
    """
    from torchmetrics.functional.classification import binary_average_precision

    return by_present_class(binary_average_precision, scores, truth, [count > 0 for count in truth.sum(0).tolist()])


def by_present_class(measure, scores, truth, there):
    """Return measure(scores, truth) of each class with a value, nan for the others, (K,) float64."""
    values = torch.full((len(there),), torch.nan, dtype=torch.float64)
    for index in (index for index, is_there in enumerate(there) if is_there):
        # validate_args=False: the checks would read every value once more.
        values[index] = measure(scores[:, index], truth[:, index].long(), validate_args=False)
    return values
