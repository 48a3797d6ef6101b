"""predictions.csv: what a test made of each sample, one row per sample in the order of the test set.

Columns, by task:

    all             name: of the sample in its data set, or its number
                    loss: what the run's loss gives for this sample alone
    classification  target, prediction: classes, by name where they have names; correct: 1 or 0; confidence: probability
                    of the predicted class; target_probability: that of the true one
    multilabel      target, prediction: the classes' names, joined by |; correct: 1 where all classes are right;
                    score/<class>: probability of each class
    segmentation    pixel_acc; miou: mean over the classes in this picture's truth or prediction; pixels: those that are
                    not ignored; intersection/<class>, union/<class>, truth/<class>: pixels, of which the
                    set's values are made: those predicted are union + intersection - truth
    regression      target, prediction, error (prediction - target); with several targets target/<name> and so on
    restoration     psnr, ssim, mae, as in result.txt

The mean of a column is the value in result.txt: of correct it is acc or exact_match, of psnr psnr, of loss loss. Where
samples do not count alike in the loss, by class weights or ignored pixels, there is a column loss_weight, and the mean
weighted by it is the value; a sum of losses has such columns for each of its losses, loss_ce and loss_ce_weight. The
miou of a set is no mean of its pictures' but made of sums: of intersection/<class> over those of union/<class>. A cell
is empty where there is nothing to say: the loss of a sample that is ignored. loss is left out, with a line that says
so, where the samples' losses do not add up to the batch's, as in one that compares the samples of a batch.

The file is UTF-8 with a byte order mark, without which Excel misreads all but ASCII: pandas.read_csv(path) needs
nothing else, Python's csv encoding='utf-8-sig'.
"""

import csv
import warnings
from contextlib import contextmanager

import numpy as np
import torch

from utils.base.atomic_write import atomic_writer
from utils.base.csv_text import escape_cell
from utils.base.write_errors import wrap_write_errors
from utils.metrics.ssim import image_quality
from utils.tasks.one_logit import as_classes
from utils.tasks.tasks import entry_names, target_names, task_of
from utils.training.engine import Engine
from utils.training.precision import first_line

NAME = 'predictions.csv'
NUMBERS = 2**20  # numbers that the network gave and that wait to be looked at together
ROWS = 2**11  # and samples: writing more at once would let a GPU run out of work
NONE = -1  # in a column of counts: there is nothing to say
DIMS = {'label': 2, 'labels': 2, 'mask': 4, 'numbers': 2, 'picture': 4}  # of predictions, by the task's target


@contextmanager
def predictions_file(path, engine, name_of):
    """Give Rows to add batches to in the body of the `with`; the file is there when all of it is.

    Args:
        path: Path of the file.
        engine: utils.training.engine.Engine whose task and loss it is.
        name_of: function(number of a sample) -> its name (str).
    """
    with atomic_writer(path) as file:
        file.write('\ufeff')
        rows = Rows(file, engine, name_of, path)
        yield rows
        rows.finish()
    if rows.fault:
        path.unlink()
        print(f'{path.name} is left out: {rows.fault}')
    elif rows.no_loss:
        print(f'{path.name} has no column loss: {rows.no_loss}')


class Rows:
    """Turns batches into rows, many small batches at once, and lets the device run ahead of the file."""

    def __init__(self, file, engine, name_of, path=NAME):
        self.path = path  # of the file, for messages
        self.writer, self.engine, self.name_of = csv.writer(file), engine, name_of
        self.kind, self.header = task_of(engine.args).target, None
        self.waiting, self.names, self.numbers = [], [], 0
        self.copied = None  # names, columns on their way to the CPU, and what says that they are there
        self.fault = self.no_loss = self.loss_columns = None

    def add(self, first, predictions, targets):
        """Take a batch, as Engine.step returns it, whose first sample has this number; does not wait for the device."""
        args = self.engine.args
        self.fault = self.fault or _unfit(self.kind, args, *as_classes(args, predictions, targets))
        if self.fault:
            return
        if self.waiting and self.waiting[0][0].shape[1:] != predictions.shape[1:]:
            self._work_out()
        self.waiting.append((predictions.detach(), targets))
        self.names += [self.name_of(index) for index in range(first, first + len(targets))]
        self.numbers += predictions.numel()
        if self.numbers >= NUMBERS or len(self.names) >= ROWS:
            self._work_out()

    def finish(self):
        """Write what waits."""
        if not self.fault:
            self._work_out()
            self._write()

    def _work_out(self):
        """Work out the columns of the batches that wait, and write those before them meanwhile."""
        if not self.waiting:
            return
        waiting = zip(*self.waiting, strict=True)
        predictions, targets = (parts[0] if len(parts) == 1 else torch.cat(parts) for parts in waiting)
        args = self.engine.args
        columns = COLUMNS[self.kind](args, *as_classes(args, predictions, targets))
        columns |= self._losses(predictions, targets)
        there = torch.cuda.Event() if predictions.is_cuda else None
        copies = {name: column.to('cpu', non_blocking=True) for name, column in columns.items()}
        if there is not None:
            there.record(torch.cuda.current_stream(predictions.device))  # not that of GPU 0
        self._write()
        self.copied = self.names, copies, there
        self.waiting, self.names, self.numbers = [], [], 0

    def _write(self):
        """Write the columns that were copied."""
        if self.copied is None:
            return
        (names, columns, there), self.copied = self.copied, None
        if there is not None:
            there.synchronize()
        classes = _class_names(self.engine.args) if self.kind in ('label', 'labels') else None
        header, texts = ['name'], [list(map(escape_cell, names))]
        for name, column in columns.items():
            header += [name] if isinstance(name, str) else name
            texts += _texts(column.numpy(), classes if name in ('target', 'prediction') else None)
        with wrap_write_errors(self.path):
            if self.header is None:
                self.header = header
                self.writer.writerow(header)
            self.writer.writerows(zip(*texts, strict=True))

    def _losses(self, predictions, targets):
        """Return the columns of the losses; none if the first samples show that there can be none."""
        if self.loss_columns == []:
            return {}
        try:
            parts = losses_of(self.engine, predictions, targets)
            if self.loss_columns is None and not _add_up(parts, self.engine.compute_loss(predictions, targets)):
                self.no_loss = 'the losses of the samples by themselves do not add up to that of a batch'
        except Exception as error:  # of a loss of the project's own, which may take batches only: all differ
            self.no_loss = f'the loss cannot be worked out for single samples: {first_line(error)}'
        if self.no_loss:
            nothing = torch.full((len(targets),), torch.nan)
            self.loss_columns = self.loss_columns or []
            return dict.fromkeys(self.loss_columns, nothing)
        columns = _loss_columns(parts)
        self.loss_columns = list(columns)
        return columns


def losses_of(engine, predictions, targets):
    """Return the losses of samples by themselves.

    Args:
        engine: utils.training.engine.Engine; where it has a compute_loss of its own, that is the loss.
        predictions, targets: (N, ...), as its `step` returns them.

    Returns:
        dict from the name of a part of a sum ('' where there is one loss only) to (weight, values, counts): a number,
        (N,) floating point, nan where nothing counts, and (N,) or None where all samples count alike.
    """
    if type(engine).compute_loss is not Engine.compute_loss:
        return {'': (1, *one_by_one(engine.compute_loss, None, predictions, targets))}
    predictions, targets = engine.loss_inputs(predictions, targets)
    parts = engine.loss.parts() if hasattr(engine.loss, 'parts') else {'': (1, engine.loss)}
    return {name: (weight, *_each(loss, predictions, targets)) for name, (weight, loss) in parts.items()}


def _each(loss, predictions, targets):
    """Return the values and counts of `losses_of` for one loss."""
    if not hasattr(loss, 'each'):
        return one_by_one(loss, getattr(loss, 'count', None), predictions, targets)
    values, counts = loss.each(predictions, targets)
    return values if counts is None else torch.where(counts > 0, values, torch.nan), counts


def one_by_one(loss, count, predictions, targets):
    """Return what a loss gives for each sample as a batch of one, (N,), and its counts, (N,), or None: all alike.

    Args:
        loss: function(predictions, targets) -> 0-d tensor; all samples at once by torch.func.vmap where that can
            follow it, else one after the other.
        count: function(predictions, targets) -> number or 0-d tensor, what the loss is a mean over, or None.
        predictions, targets: (N, ...).
    """
    counts_differ = count is not None and torch.is_tensor(count(predictions[:1], targets[:1]))

    def of_one(prediction, target):
        batch = prediction[None], target[None]
        return torch.stack([loss(*batch).double(), count(*batch).double()]) if counts_differ else loss(*batch)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # that an operation has no batched form yet, and is done one by one
            found = torch.func.vmap(of_one, randomness='different')(predictions, targets)
    except (RuntimeError, ValueError):  # it looks at values: .item(), `if`
        found = torch.stack([of_one(*sample) for sample in zip(predictions, targets, strict=True)])
    if not counts_differ:
        return found, None
    values, counts = found.unbind(1)
    return torch.where(counts > 0, values, torch.nan), counts


def _add_up(parts, loss):
    """Return whether the losses of samples (see losses_of) make up the loss of their batch, a 0-d tensor; waits."""
    total = 0.0
    for weight, values, counts in parts.values():
        counts = torch.ones_like(values) if counts is None else counts
        total += weight * float((values * counts).double().nansum() / counts.double().sum().clamp(min=1e-12))
    loss = float(loss)
    return not np.isfinite(loss) or bool(np.isclose(total, loss, rtol=1e-3, atol=1e-6))


def _loss_columns(parts):
    """Return the columns (dict) of losses_of's parts."""
    columns = {'loss': sum(weight * values for weight, values, _ in parts.values()).float()}
    for part, (_, values, counts) in parts.items():
        name = f'loss_{part}' if part else 'loss'
        columns[name] = values.float()
        if counts is not None:
            columns[f'{name}_weight'] = counts.int() if counts.dtype == torch.bool else counts
    return columns


def _unfit(kind, args, predictions, targets):
    """Return why a batch is not what tasks with this kind of target have (str), or None; looks at no value."""
    if not (torch.is_tensor(predictions) and torch.is_tensor(targets)):
        wrong = targets if torch.is_tensor(predictions) else predictions
        return f'a batch of task {args.task} holds a {type(wrong).__name__} where a tensor is expected'
    shape, like = tuple(predictions.shape), tuple(targets.shape)
    by_class = (*shape[:1], *shape[2:])
    wanted = [by_class] if kind == 'mask' else [by_class, shape] if kind == 'label' else [shape]
    known = {'labels': args.num_classes, 'mask': args.num_classes, 'numbers': args.num_targets}.get(kind)
    floating = targets.is_floating_point() == (kind not in ('label', 'mask') or (kind == 'label' and like == shape))
    if (
        len(shape) == DIMS[kind]
        and predictions.is_floating_point()
        and like in wanted
        and floating
        and known in (None, shape[1])
    ):
        return None
    return (
        f'predictions of shape {shape} and {predictions.dtype} for targets of shape {like} and {targets.dtype} are '
        f'not what task {args.task} has'
    )


def _class_names(args):
    """Return the names of the classes (list of str), of which none is twice."""
    return entry_names(args.num_classes, args.class_names)


def _of_label(args, logits, targets):
    if targets.is_floating_point():  # class probabilities: the class with the largest share
        targets = targets.argmax(1)
    probabilities, predicted = logits.softmax(1), logits.max(1).indices
    counted = (targets >= 0) & (targets < logits.shape[1])
    if args.ignore_index is not None:
        counted &= targets != args.ignore_index
    of_target = probabilities.gather(1, torch.where(counted, targets, 0)[:, None])[:, 0]
    return {
        'target': targets,
        'prediction': predicted,
        'correct': torch.where(counted, (predicted == targets).int(), NONE),
        'confidence': probabilities.gather(1, predicted[:, None])[:, 0],
        'target_probability': torch.where(counted, of_target, torch.nan),
    }


def _of_labels(args, logits, targets):
    truth, said = targets == 1, logits > 0
    scores = logits.double().sigmoid()  # in float32, what is certain would be one tie at 1
    columns = {'target': truth, 'prediction': said, 'correct': (truth == said).all(1).int()}
    return columns | {tuple(f'score/{name}' for name in _class_names(args)): scores}


def _of_mask(args, logits, targets):
    count, classes, ignored = len(logits), logits.shape[1], args.ignore_index
    counted = (targets >= 0) & (targets < classes)
    if ignored is not None:
        counted &= targets != ignored
    # A table per picture: truth, with a row more for what does not count, by prediction.
    rows = torch.where(counted, targets, classes)
    rows += torch.arange(count, device=rows.device).view(-1, 1, 1) * (classes + 1)
    cells = rows.mul_(classes).add_(logits.max(1).indices).flatten()
    table = torch.zeros(count * (classes + 1) * classes, dtype=torch.int64, device=cells.device)
    table.index_add_(0, cells, cells.new_ones(()).expand(cells.shape))
    table = table.view(count, classes + 1, classes)[:, :classes]
    hits = table.diagonal(dim1=1, dim2=2)
    unions, pixels = table.sum(1) + table.sum(2) - hits, table.sum((1, 2))
    kept = [index for index in range(classes) if index != ignored]
    names = [_class_names(args)[index] for index in kept]
    of_kept = hits[:, kept], unions[:, kept], table.sum(2)[:, kept]
    return {
        'pixel_acc': (hits.sum(1) / pixels).float(),
        'miou': (of_kept[0] / of_kept[1]).nanmean(1).float(),
        'pixels': pixels,
        tuple(f'intersection/{name}' for name in names): of_kept[0],
        tuple(f'union/{name}' for name in names): of_kept[1],
        tuple(f'truth/{name}' for name in names): of_kept[2],
    }


def _of_numbers(args, predictions, targets):
    names = target_names(args) or [str(index) for index in range(targets.shape[1])]
    parts = {'target': targets, 'prediction': predictions, 'error': predictions.to(targets.dtype) - targets}
    ends = [f'/{name}' for name in names] if len(names) > 1 else ['']
    return {tuple(f'{part}{end}' for end in ends): values for part, values in parts.items()}


def _of_picture(args, predictions, targets):
    psnr, ssim, mae = image_quality(predictions, targets).float()
    return {'psnr': psnr, 'ssim': ssim, 'mae': mae}


# Function(args, predictions, targets) -> dict from a column's name to (N,), or from names to (N, how many), by kind of
# target; nothing in them waits for the device.
COLUMNS = {
    'label': _of_label,
    'labels': _of_labels,
    'mask': _of_mask,
    'numbers': _of_numbers,
    'picture': _of_picture,
}


def _texts(values, classes):
    """Return columns of texts (list of lists of str) for an array, (N,) or (N, columns); or for classes, by name."""
    if classes is not None:
        names = dict(enumerate(map(escape_cell, classes)))  # an ignored label may have none
        return [_joined(values, classes) if values.dtype == bool else [names.get(v, v) for v in values.tolist()]]
    columns = values[None] if values.ndim == 1 else values.T
    if np.issubdtype(values.dtype, np.floating):  # the fewest digits that give the same number again
        return [np.where(np.isnan(column), '', column.astype(str)).tolist() for column in columns]
    return [['' if value == NONE else value for value in column.tolist()] for column in columns]


def _joined(chosen, classes):
    """Return the names of the classes chosen in each row of a bool array (N, K), joined."""
    return [escape_cell('|'.join(classes[index] for index in row.nonzero()[0])) for row in chosen]
