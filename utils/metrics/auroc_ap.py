"""How well scores put the samples of a class before the others, class by class; by torchmetrics, which takes seconds
to import and is imported where it is used only.
"""

import torch


def auroc_by_class(scores, truth):
    """Return the area under each class's ROC curve, (K,) float64, on the CPU.

    Args:
        scores: (N, K), float64, 0..1, higher where the class is more likely.
        truth: (N, K), bool.

    Returns:
        nan for a class that all samples have, or none.
    """
    from torchmetrics.functional.classification import binary_auroc

    counts = truth.sum(0).tolist()
    return by_present_class(binary_auroc, scores, truth, [0 < count < len(truth) for count in counts])


def average_precision_by_class(scores, truth):
    """Return each class's average precision, (K,) float64, on the CPU; arguments as for auroc_by_class.

    Returns:
        nan for a class that no sample has.
    """
    from torchmetrics.functional.classification import binary_average_precision

    return by_present_class(binary_average_precision, scores, truth, [count > 0 for count in truth.sum(0).tolist()])


def by_present_class(measure, scores, truth, there):
    """Return measure(scores, truth) of each class that is there, and nan for the others, (K,) float64."""
    values = torch.full((len(there),), torch.nan, dtype=torch.float64)
    for index in (index for index, is_there in enumerate(there) if is_there):
        # Its checks would look at every value once more.
        values[index] = measure(scores[:, index], truth[:, index].long(), validate_args=False)
    return values
