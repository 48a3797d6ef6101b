"""predictions.csv: the predictions of a test, one row per sample in the order of the test set.

Columns, by task:

    all             name: name of the sample in its data set, or its index
                    loss: loss of this sample alone
    classification  target, prediction: class names or indices; correct: 1 or 0; confidence: probability of the
                    predicted class; target_probability: probability of the true class
    multilabel      target, prediction: class names, joined by |; correct: 1 if all classes are right;
                    score/<class>: probability of each class
    segmentation    pixel_acc; miou: mean over the classes in the truth or prediction of this image; pixels: number of
                    pixels that are not ignored; intersection/<class>, union/<class>, truth/<class>: numbers of pixels
                    (predicted pixels are union + intersection - truth)
    regression      target, prediction, error (prediction - target); with several targets target/<name> and so on
    restoration     psnr, ssim, mae, as in result.txt

The mean of a column is a metric in result.txt: acc or exact_match for correct, psnr for psnr, loss for loss. If samples
have different weights in the loss (class weights, ignored pixels), the metric is the mean weighted by the column
loss_weight; a sum of losses has such columns for each loss, loss_ce and loss_ce_weight. The miou of a test set is
computed from the sums of intersection/<class> and union/<class>, not from the column miou. A cell is empty if its value
is undefined, such as the loss of an ignored sample. The column loss is left out, with a message, if the losses of the
samples do not add up to the loss of the batch, as for contrastive losses.

The file is UTF-8 with a byte order mark, which Excel needs. pandas.read_csv(path) reads it directly, Python's csv with
encoding='utf-8-sig'.
"""

import csv
import warnings
from contextlib import contextmanager

import numpy as np
import torch

from utils.base.atomic_write import atomic_writer
from utils.base.csv_text import escape_cell
from utils.base.errors import first_line
from utils.base.registry import load_entry
from utils.base.write_errors import wrap_write_errors
from utils.evaluation.columns import UNDEFINED, class_names
from utils.tasks.one_logit import as_classes
from utils.tasks.tasks import task_of
from utils.training.engine import Engine

PREDICTIONS = 'predictions.csv'
MAX_BUFFERED_NUMBERS = 2**20  # outputs of the network that are buffered and processed as one batch
MAX_BUFFERED_ROWS = 2**11  # writing more rows at once would let a GPU idle


@contextmanager
def predictions_file(path, engine, name_of):
    """Yield a PredictionWriter to add batches to; the file is moved to `path` when it is complete.

    Args:
        path: Path of the file.
        engine: utils.training.engine.Engine with the task and the loss.
        name_of: function(index of a sample) -> its name (str).
    """
    with atomic_writer(path) as file:
        file.write('\ufeff')
        writer = PredictionWriter(file, engine, name_of, path)
        yield writer
        writer.finish()
    if writer.fault:
        path.unlink()
        print(f'{path.name} is not written: {writer.fault}')
    elif writer.no_loss:
        print(f'{path.name} has no column loss: {writer.no_loss}')


class PredictionWriter:
    """Writes batches as rows, several small batches at once, without synchronising the device for each batch."""

    def __init__(self, file, engine, name_of, path=PREDICTIONS):
        self.path = path  # for error messages
        self.writer, self.engine, self.name_of = csv.writer(file), engine, name_of
        self.task, self.header = task_of(engine.args), None
        self.columns_of = load_entry({engine.args.task: self.task.columns}, engine.args.task, 'columns of task')
        self.buffer, self.names, self.buffered_numbers = [], [], 0
        self.copied = None  # names, columns that are being copied to the CPU, and the CUDA event of the copy
        self.fault = self.no_loss = self.loss_columns = None

    def add(self, first, predictions, targets):
        """Add a batch, as Engine.step returns it, whose first sample has the index `first`."""
        args = self.engine.args
        self.fault = self.fault or _shape_fault(self.task, args, *as_classes(args, predictions, targets))
        if self.fault:
            return
        if self.buffer and self.buffer[0][0].shape[1:] != predictions.shape[1:]:
            self._compute_columns()
        self.buffer.append((predictions.detach(), targets))
        self.names += [self.name_of(index) for index in range(first, first + len(targets))]
        self.buffered_numbers += predictions.numel()
        if self.buffered_numbers >= MAX_BUFFERED_NUMBERS or len(self.names) >= MAX_BUFFERED_ROWS:
            self._compute_columns()

    def finish(self):
        """Write the rest."""
        if not self.fault:
            self._compute_columns()
            self._write()

    def _compute_columns(self):
        """Compute the columns of the buffered batches, and write the previous columns meanwhile."""
        if not self.buffer:
            return
        buffered = zip(*self.buffer, strict=True)
        predictions, targets = (tensors[0] if len(tensors) == 1 else torch.cat(tensors) for tensors in buffered)
        args = self.engine.args
        columns = self.columns_of(args, *as_classes(args, predictions, targets))
        columns |= self._losses(predictions, targets)
        copied = torch.cuda.Event() if predictions.is_cuda else None
        copies = {name: column.to('cpu', non_blocking=True) for name, column in columns.items()}
        if copied is not None:
            copied.record(torch.cuda.current_stream(predictions.device))  # the default is the stream of GPU 0
        self._write()
        self.copied = self.names, copies, copied
        self.buffer, self.names, self.buffered_numbers = [], [], 0

    def _write(self):
        """Write the columns that were copied to the CPU."""
        if self.copied is None:
            return
        (names, columns, copied), self.copied = self.copied, None
        if copied is not None:
            copied.synchronize()
        classes = class_names(self.engine.args) if self.task.has_class_names else None
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
        """Return the columns of the losses; none if the losses of the first samples do not add up to the batch's."""
        if self.loss_columns == []:
            return {}
        try:
            parts = losses_of(self.engine, predictions, targets)
            if self.loss_columns is None and not _add_up(parts, self.engine.compute_loss(predictions, targets)):
                self.no_loss = 'the losses of single samples do not add up to the loss of the batch'
        except Exception as error:  # any exception of a custom loss that takes whole batches only
            self.no_loss = f'the loss cannot be computed for single samples: {first_line(error)}'
        if self.no_loss:
            nothing = torch.full((len(targets),), torch.nan)
            self.loss_columns = self.loss_columns or []
            return dict.fromkeys(self.loss_columns, nothing)
        columns = _loss_columns(parts)
        self.loss_columns = list(columns)
        return columns


def losses_of(engine, predictions, targets):
    """Return the loss of each sample.

    Args:
        engine: utils.training.engine.Engine; its compute_loss is used if a subclass overrides it.
        predictions, targets: (N, ...), as its `step` returns them.

    Returns:
        dict from the name of a term of a sum ('' for a single loss) to (weight, values, counts): a number; (N,) float,
        nan for ignored samples; (N,) weights of the samples, or None if they are equal.
    """
    if type(engine).compute_loss is not Engine.compute_loss:
        return {'': (1, *one_by_one(engine.compute_loss, None, predictions, targets))}
    predictions, targets = engine.loss_inputs(predictions, targets)
    parts = engine.loss.parts() if hasattr(engine.loss, 'parts') else {'': (1, engine.loss)}
    return {name: (weight, *_each(loss, predictions, targets)) for name, (weight, loss) in parts.items()}


def _each(loss, predictions, targets):
    """Return values and counts of one loss, as in `losses_of`."""
    if not hasattr(loss, 'each'):
        return one_by_one(loss, getattr(loss, 'count', None), predictions, targets)
    values, counts = loss.each(predictions, targets)
    return values if counts is None else torch.where(counts > 0, values, torch.nan), counts


def one_by_one(loss, count, predictions, targets):
    """Return the loss of each sample as a batch of one, (N,), and the counts, (N,) or None if they are equal.

    Args:
        loss: function(predictions, targets) -> 0-d tensor; evaluated by torch.func.vmap if possible, else in a loop.
        count: function(predictions, targets) -> number or 0-d tensor, the number that the loss is a mean over, or None.
        predictions, targets: (N, ...).
    """
    counts_differ = count is not None and torch.is_tensor(count(predictions[:1], targets[:1]))

    def of_one(prediction, target):
        batch = prediction[None], target[None]
        return torch.stack([loss(*batch).double(), count(*batch).double()]) if counts_differ else loss(*batch)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # about operations that vmap evaluates in a loop
            found = torch.func.vmap(of_one, randomness='different')(predictions, targets)
    except (RuntimeError, ValueError):  # vmap does not support .item() and `if`
        found = torch.stack([of_one(*sample) for sample in zip(predictions, targets, strict=True)])
    if not counts_differ:
        return found, None
    values, counts = found.unbind(1)
    return torch.where(counts > 0, values, torch.nan), counts


def _add_up(parts, loss):
    """Return whether losses of samples (see losses_of) add up to the loss of the batch, a 0-d tensor; synchronises."""
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


def _shape_fault(task, args, predictions, targets):
    """Return why the shapes or dtypes of a batch do not suit a Task (str), or None; no synchronisation."""
    kind = task.target
    if not (torch.is_tensor(predictions) and torch.is_tensor(targets)):
        wrong = targets if torch.is_tensor(predictions) else predictions
        return f'a batch of task {args.task} has a {type(wrong).__name__} instead of a tensor'
    shape, like = tuple(predictions.shape), tuple(targets.shape)
    by_class = (*shape[:1], *shape[2:])
    wanted = [by_class] if kind == 'mask' else [by_class, shape] if kind == 'label' else [shape]
    known = {'labels': args.num_classes, 'mask': args.num_classes, 'numbers': args.num_targets}.get(kind)
    floating = targets.is_floating_point() == (kind not in ('label', 'mask') or (kind == 'label' and like == shape))
    if (
        len(shape) == task.output_dimensions
        and predictions.is_floating_point()
        and like in wanted
        and floating
        and known in (None, shape[1])
    ):
        return None
    return (
        f'predictions of shape {shape} and {predictions.dtype} with targets of shape {like} and {targets.dtype} do '
        f'not suit task {args.task}'
    )


def _texts(values, classes):
    """Return columns of cells (list of lists of str) for an array, (N,) or (N, columns); `classes`: class names."""
    if classes is not None:
        names = dict(enumerate(map(escape_cell, classes)))  # an ignored label may have no name
        return [_joined(values, classes) if values.dtype == bool else [names.get(v, v) for v in values.tolist()]]
    columns = values[None] if values.ndim == 1 else values.T
    if np.issubdtype(values.dtype, np.floating):  # str gives the fewest digits that round-trip
        return [np.where(np.isnan(column), '', column.astype(str)).tolist() for column in columns]
    return [['' if value == UNDEFINED else value for value in column.tolist()] for column in columns]


def _joined(chosen, classes):
    """Return the names of the classes chosen in each row of a bool array (N, K), joined."""
    return [escape_cell('|'.join(classes[index] for index in row.nonzero()[0])) for row in chosen]
