"""The tasks: what their targets and outputs are. Imports no torch."""

from typing import NamedTuple

from utils.base.errors import DanluError
from utils.tasks.loss_terms import parse_terms


class Task(NamedTuple):
    """One task.

    Args:
        target: the kind of a sample's target. In a batch that the network gets:

            label     int64 (N,), a class
            labels    float32 (N, K), 1 for each class of the sample, else 0
            mask      int64 (N, H, W), a class per pixel, from uint8 masks
            numbers   float32 (N, T)
            picture   float32 (N, C, H, W) in 0..1, from uint8 images

        outputs: the option with the number of outputs of a model, per sample or per pixel.
        target_noun: the word for targets in messages.
    """

    target: str
    outputs: str
    target_noun: str

    @property
    def by_pixel(self):
        """Whether targets have the size of the images, so that geometric augmentation transforms them too."""
        return self.target in ('mask', 'picture')

    @property
    def has_classes(self):
        """Whether outputs stand for classes."""
        return self.outputs == 'num_classes'


TASKS = {
    'classification': Task('label', 'num_classes', 'labels'),
    'segmentation': Task('mask', 'num_classes', 'masks'),
    'multilabel': Task('labels', 'num_classes', 'sets of labels'),
    'regression': Task('numbers', 'num_targets', 'numbers'),
    'restoration': Task('picture', 'channels', 'target pictures'),
}


def task_of(args):
    """Return the Task of the options; a task that a project adds to METRICS only has labels, like classification."""
    return TASKS.get(args.task, TASKS['classification'])


def has_one_logit(args):
    """Return whether the options give a model one output for two classes (bool): classification with --loss bce."""
    loss = getattr(args, 'loss', None)
    return args.task == 'classification' and args.num_classes == 2 and loss is not None and 'bce' in parse_terms(loss)


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
    return f'targets: pictures of {args.channels} channel' + 's' * (args.channels > 1)
