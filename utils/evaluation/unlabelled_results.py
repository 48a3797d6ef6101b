"""The predictions of a batch without targets, by task: columns of predictions.csv, lines of text, numbers to sort by.

Columns of predictions.csv besides `name`:

    classification  prediction, confidence: class name and probability; prediction_2, confidence_2 ... of up to
                    TOP_CLASSES classes
    multilabel      prediction: class names, joined by |; score/<class>: probability of each class
    segmentation    share/<class>: fraction of the pixels, without the margins of --fit pad
    regression      prediction, or prediction/<name> with several targets
    restoration     none

With --save_outputs there is a column `output`: the file of the mask or the restored image, below outputs/.
"""

import numpy as np
import torch

from utils.base.csv_text import escape_cell
from utils.base.errors import DanluError
from utils.base.language import deferred, translate
from utils.base.registry import load_entry
from utils.base.text_table import number_text
from utils.tasks.tasks import entry_names, target_names, task_of

TOP_CLASSES = 5
CLASS_SHARE = deferred('share of {name}')  # of the pixels, a name of a value
TEXT_ENTRIES = 3  # classes or numbers in a line of text


class Results:
    """The predictions of a batch.

    Args:
        args: options.
        arrays: dict of arrays (B, ...), the tensors of `tensors_of` on the CPU.
    """

    def __init__(self, args, arrays):
        self.args, self.arrays = args, arrays
        self.classes = entry_names(args.num_classes, args.class_names) if task_of(args).has_classes else []

    @staticmethod
    def tensors_of(args, outputs, inside):
        """Return what is kept of the outputs of a network: dict of tensors (B, ...); does not synchronise the device.

        Args:
            args: options.
            outputs: (B, ...) as the network returns them, of one logit as two classes.
            inside: bool (B, H, W), false in the margins of --fit pad; None: no margins. Used for masks.
        """
        return {}

    def columns(self):
        """Return the columns of predictions.csv (dict from a name to a list of B values)."""
        return {}

    def text(self, index):
        """Return the prediction of sample `index` of the batch as one line (str)."""
        return ''

    def groups(self, index):
        """Return (name, confidence) of what sample `index` is counted under in the summary (list)."""
        return []

    def numbers(self, index):
        """Return the numbers of sample `index` that the gallery sorts by (dict from a name to a float).

        The names are in the current language.
        """
        return {}

    def confidence(self, index):
        """Return the confidence of the prediction (float), or None for tasks without one."""
        return

    def measured(self):
        """Return the values whose range the summary shows (dict from a name to an array (B,))."""
        return {}

    @staticmethod
    def title_of(name):
        """Return a name of `measured` in the current language (str)."""
        return name


class LabelResults(Results):
    """Classification."""

    @staticmethod
    def tensors_of(args, outputs, inside):
        values, classes = outputs.float().softmax(1).topk(min(TOP_CLASSES, outputs.shape[1]), 1)
        return {'values': values, 'classes': classes}

    def columns(self):
        names, found = list(map(escape_cell, self.classes)), {}
        for place in range(self.arrays['values'].shape[1]):
            end = f'_{place + 1}' * (place > 0)
            found[f'prediction{end}'] = [names[k] for k in self.arrays['classes'][:, place].tolist()]
            found[f'confidence{end}'] = _texts(self.arrays['values'][:, place])
        return found

    def text(self, index):
        top = zip(self.arrays['classes'][index].tolist(), self.arrays['values'][index].tolist(), strict=True)
        return ', '.join(f'{self.classes[k]} {value:.1%}' for k, value in list(top)[:TEXT_ENTRIES])

    def groups(self, index):
        return [(self.classes[self.arrays['classes'][index, 0]], self.confidence(index))]

    def numbers(self, index):
        return {translate('confidence'): self.confidence(index)}

    def confidence(self, index):
        return float(self.arrays['values'][index, 0])


class SetResults(Results):
    """Multilabel classification."""

    @staticmethod
    def tensors_of(args, outputs, inside):
        return {'scores': outputs.double().sigmoid(), 'chosen': outputs > 0}

    def columns(self):
        found = {'prediction': [escape_cell('|'.join(self._chosen(i))) for i in range(len(self.arrays['chosen']))]}
        scores = zip(self.classes, self.arrays['scores'].T, strict=True)
        return found | {f'score/{name}': _texts(column) for name, column in scores}

    def text(self, index):
        return ', '.join(self._chosen(index)) or 'none'

    def groups(self, index):
        scores = dict(zip(self.classes, self.arrays['scores'][index].tolist(), strict=True))
        chosen = [(name, scores[name]) for name in self._chosen(index)]
        return chosen or [('none', 1 - max(scores.values()))]

    def numbers(self, index):
        scores = zip(self.classes, self.arrays['scores'][index].tolist(), strict=True)
        named = {translate('score of {name}', name=name): value for name, value in scores}
        return {translate('confidence'): self.confidence(index)} | named

    def confidence(self, index):
        return float(np.maximum(self.arrays['scores'][index], 1 - self.arrays['scores'][index]).min())

    def _chosen(self, index):
        return [self.classes[k] for k in self.arrays['chosen'][index].nonzero()[0]]


class NumberResults(Results):
    """Regression."""

    @staticmethod
    def tensors_of(args, outputs, inside):
        return {'numbers': outputs}

    def columns(self):
        names = self._names()
        ends = [f'/{name}' for name in names] if len(names) > 1 else ['']
        return {f'prediction{end}': _texts(column) for end, column in zip(ends, self.arrays['numbers'].T, strict=True)}

    def text(self, index):
        return ', '.join(f'{name} {number_text(value)}' for name, value in self.numbers(index).items())

    def numbers(self, index):
        return dict(zip(self._names(), self.arrays['numbers'][index].tolist(), strict=True))

    def measured(self):
        return dict(zip(self._names(), self.arrays['numbers'].T, strict=True))

    def _names(self):
        count = self.arrays['numbers'].shape[1]
        return target_names(self.args) or ([str(k) for k in range(count)] if count > 1 else ['prediction'])


class MaskResults(Results):
    """Segmentation."""

    @staticmethod
    def tensors_of(args, outputs, inside):
        count, classes = outputs.shape[:2]
        labels = outputs.max(1).indices
        if inside is not None:
            labels = torch.where(inside.to(labels.device), labels, classes)
        cells = labels + torch.arange(count, device=labels.device).view(-1, 1, 1) * (classes + 1)
        pixels = torch.zeros(count * (classes + 1), dtype=torch.int64, device=labels.device)  # float32 ends at 2**24
        pixels.index_add_(0, cells.flatten(), pixels.new_ones(()).expand(cells.numel()))
        pixels = pixels.view(count, classes + 1)[:, :classes]
        return {'shares': pixels / pixels.sum(1, keepdim=True).clamp(min=1)}

    def columns(self):
        shares = zip(self.classes, self.arrays['shares'].T, strict=True)
        return {f'share/{name}': _texts(column) for name, column in shares}

    def text(self, index):
        shares = self.arrays['shares'][index]
        top = [k for k in np.argsort(-shares, kind='stable')[:TEXT_ENTRIES].tolist() if shares[k] > 0]
        return ', '.join(f'{self.classes[k]} {shares[k]:.1%}' for k in top)

    def numbers(self, index):
        shares = zip(self.classes, self.arrays['shares'][index].tolist(), strict=True)
        return {translate(CLASS_SHARE, name=name): value for name, value in shares}

    def measured(self):
        return {
            CLASS_SHARE.format(name=name): column
            for name, column in zip(self.classes, self.arrays['shares'].T, strict=True)
        }

    @staticmethod
    def title_of(name):
        return translate(CLASS_SHARE, name=name.removeprefix(CLASS_SHARE.format(name='')))


def results_of(args):
    """Return the class of the results of a task (a subclass of Results)."""
    return load_entry({args.task: task_of(args).unlabelled}, args.task, 'results of task')


def check_outputs(args, outputs):
    """Raise DanluError unless a network returned outputs (B, ...) that suit the task.

    Args:
        args: options.
        outputs: what the network returned, of one logit as two classes.
    """
    task = task_of(args)
    wanted = getattr(args, task.outputs)
    shape = tuple(outputs.shape) if torch.is_tensor(outputs) else type(outputs).__name__
    if torch.is_tensor(outputs) and outputs.dim() == task.output_dimensions and outputs.shape[1] == wanted:
        return
    raise DanluError(
        f'--predict: the network returned {shape} for a batch, and task {args.task} needs a tensor of '
        f'{task.output_dimensions} dimensions, the second of size {wanted}'
    )


def _texts(column):
    """Return numbers (B,) as texts (list of str) with the fewest digits that round-trip."""
    return column.astype(str).tolist()
