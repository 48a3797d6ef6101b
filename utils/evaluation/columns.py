"""The columns of predictions.csv of each task; predictions.py describes them.

    columns = of_label(args, predictions, targets)

Each function returns a dict from a column's name to (N,) values, or from K names to (N, K) values, for a batch as
Engine.step returns it. It does not synchronise the device. Each task names its function (utils/tasks).
"""

import torch

from utils.metrics.ssim import image_quality
from utils.tasks.tasks import entry_names, target_names

UNDEFINED = -1  # in an integer column; the cell is empty


def class_names(args):
    """Return the unique names of the classes (list of str)."""
    return entry_names(args.num_classes, args.class_names)


def of_label(args, logits, targets):
    if targets.is_floating_point():  # class probabilities
        targets = targets.argmax(1)
    probabilities, predicted = logits.softmax(1), logits.max(1).indices
    counted = (targets >= 0) & (targets < logits.shape[1])
    if args.ignore_index is not None:
        counted &= targets != args.ignore_index
    of_target = probabilities.gather(1, torch.where(counted, targets, 0)[:, None])[:, 0]
    return {
        'target': targets,
        'prediction': predicted,
        'correct': torch.where(counted, (predicted == targets).int(), UNDEFINED),
        'confidence': probabilities.gather(1, predicted[:, None])[:, 0],
        'target_probability': torch.where(counted, of_target, torch.nan),
    }


def of_labels(args, logits, targets):
    truth, said = targets == 1, logits > 0
    scores = logits.double().sigmoid()  # in float32, confident scores would all round to 1
    columns = {'target': truth, 'prediction': said, 'correct': (truth == said).all(1).int()}
    return columns | {tuple(f'score/{name}' for name in class_names(args)): scores}


def of_mask(args, logits, targets):
    count, classes, ignored = len(logits), logits.shape[1], args.ignore_index
    counted = (targets >= 0) & (targets < classes)
    if ignored is not None:
        counted &= targets != ignored
    # A confusion matrix per image, with an extra row for ignored pixels.
    rows = torch.where(counted, targets, classes)
    rows += torch.arange(count, device=rows.device).view(-1, 1, 1) * (classes + 1)
    cells = rows.mul_(classes).add_(logits.max(1).indices).flatten()
    table = torch.zeros(count * (classes + 1) * classes, dtype=torch.int64, device=cells.device)
    table.index_add_(0, cells, cells.new_ones(()).expand(cells.shape))
    table = table.view(count, classes + 1, classes)[:, :classes]
    hits = table.diagonal(dim1=1, dim2=2)
    unions, pixels = table.sum(1) + table.sum(2) - hits, table.sum((1, 2))
    kept = [index for index in range(classes) if index != ignored]
    names = [class_names(args)[index] for index in kept]
    of_kept = hits[:, kept], unions[:, kept], table.sum(2)[:, kept]
    return {
        'pixel_acc': (hits.sum(1) / pixels).float(),
        'miou': (of_kept[0] / of_kept[1]).nanmean(1).float(),
        'pixels': pixels,
        tuple(f'intersection/{name}' for name in names): of_kept[0],
        tuple(f'union/{name}' for name in names): of_kept[1],
        tuple(f'truth/{name}' for name in names): of_kept[2],
    }


def of_numbers(args, predictions, targets):
    names = target_names(args) or [str(index) for index in range(targets.shape[1])]
    parts = {'target': targets, 'prediction': predictions, 'error': predictions.to(targets.dtype) - targets}
    ends = [f'/{name}' for name in names] if len(names) > 1 else ['']
    return {tuple(f'{part}{end}' for end in ends): values for part, values in parts.items()}


def of_picture(args, predictions, targets):
    psnr, ssim, mae = image_quality(predictions, targets).float()
    return {'psnr': psnr, 'ssim': ssim, 'mae': mae}
