"""The tasks, and what follows from a task and other options. Imports no torch.

To add a task, write a file with a Task, add a line to TASKS, and name its metrics in METRICS (metrics.py).
"""

import re

from utils.base.errors import DanluError
from utils.tasks import classification, multilabel, regression, restoration, segmentation
from utils.tasks.loss_terms import parse_terms

TASKS = {
    'classification': classification.TASK,
    'segmentation': segmentation.TASK,
    'multilabel': multilabel.TASK,
    'regression': regression.TASK,
    'restoration': restoration.TASK,
}


def task_of(args):
    """Return the Task of the options: see `task_named`."""
    return task_named(args.task)


def task_named(name):
    """Return the Task of a name (str); a task that a project adds to METRICS only has labels, like classification."""
    return TASKS.get(name, TASKS['classification'])


def values_of(task):
    """Return the metric values of a task (dict, see Task.values); {} for a task that TASKS does not have."""
    return TASKS[task].values if task in TASKS else {}


def losses_of(task):
    """Return the names of the losses that fit a task (tuple of str); () for a task that TASKS does not have."""
    return TASKS[task].losses if task in TASKS else ()


def two_class_losses(task):
    """Return the names of the losses of a task for two classes and one output (tuple of str)."""
    return TASKS[task].two_class_losses if task in TASKS else ()


def mode_of(name, values):
    """Return 'max' or 'min': whether higher or lower values of a metric are better; None if unknown.

    Args:
        name: of the value, such as acc, loss, or loss_ce, a term of a sum of losses.
        values: dict from a name to 'max' or 'min', as `values_of` returns it.
    """
    return 'min' if is_loss(name) else values.get(name)


def is_loss(name):
    """Return whether a value of this name is a loss, or loss_ce, a term of a sum of losses (bool)."""
    return name.partition('_')[0] == 'loss'


def is_proportion(name):
    """Return whether a value, such as 'val/acc' or 'test miou', is a proportion or a mean of proportions (bool)."""
    bounded = {value for task in TASKS for value, mode in values_of(task).items() if mode == 'max'} - {'r2', 'psnr'}
    return not bounded.isdisjoint(re.split('[ /]', name))


def has_one_logit(args):
    """Return whether the options give a model one output for two classes (bool), as --loss bce does."""
    loss = getattr(args, 'loss', None)
    terms = () if loss is None else parse_terms(loss)
    return args.num_classes == 2 and any(name in two_class_losses(args.task) for name in terms)


def outputs_of(args):
    """Return the number of outputs of a model (int), per sample or per pixel; models get it as `num_classes`."""
    if has_one_logit(args):
        return 1
    return getattr(args, task_of(args).outputs)


def has_pictures(args):
    """Return whether samples are images (bool); the image_size of feature vectors is empty."""
    return args.image_size != []


def entry_names(num_classes, class_names):
    """Return the names of the values per class (list of str): class names, or indices without names.

    Raises:
        DanluError: there are not num_classes names.
    """
    names = [str(index) for index in range(num_classes)] if class_names is None else list(class_names)
    if len(names) != num_classes:
        raise DanluError(f'{len(names)} class names for {num_classes} classes: give one name for each class')
    return [f'{index}:{name}' for index, name in enumerate(names)] if len(set(names)) < len(names) else names


def target_names(args):
    """Return the names of the targets of a regression (list of T str), or None unless each target has a name."""
    names = getattr(args, 'target_names', None) or args.target_columns or []
    return names if len(names) == args.num_targets else None  # an array of an .npz may hold several


def describe_outputs(args):
    """Return a line (str) that describes the outputs of the model."""
    task = task_of(args)
    if task.has_classes:
        names = args.class_names or []
        shown = (f': {", ".join(names[:20])}' + ' ...' * (len(names) > 20)) if names else ''
        return f'classes: {args.num_classes}{shown}'
    if task.target == 'numbers':
        names = target_names(args)
        return f'targets: {args.num_targets} per sample' + (f': {", ".join(names[:20])}' if names else '')
    return f'targets: images of {args.channels} channel' + 's' * (args.channels > 1)
