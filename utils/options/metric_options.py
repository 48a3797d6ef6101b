"""What --metrics may say, and which values each task has to choose checkpoints by.

Both stand in the dictionaries of metrics.py, which are read without running that file: imports no torch.
"""

from utils.tasks.metric_values import EXTRA_METRICS, VALUES_OF


def metric_names():
    """Return the names of the metrics of all tasks (list of str), each once."""
    return list(dict.fromkeys(name for values in VALUES_OF.values() for name in values))


def directions_of(task, further=()):
    """Return which values a task has and which way is better: dict from a name, 'loss' too, to 'max' or 'min'.

    Args:
        task: name; one that VALUES_OF lacks has {'loss': 'min'} alone.
        further: what --metrics names (list of str or None); those that are not named are left out, but acc_top5, which
            is there above five classes.
    """
    values = VALUES_OF.get(task, {})
    extra = set(EXTRA_METRICS.get(task, ())) - {'acc_top5', *(further or ())}
    return {name: way for name, way in values.items() if name not in extra} | {'loss': 'min'}


def unnamed_metrics(args):
    """Return the values of args.task (set of str) that are there only when --metrics names them, and are not named."""
    values = VALUES_OF.get(args.task, {})
    return set(values) - set(directions_of(args.task, args.metrics))


def fault_of_metrics(args):
    """Return what is wrong with args.metrics for args.task and args.num_classes (str), or None."""
    names = getattr(args, 'metrics', None) or []
    values = VALUES_OF.get(args.task, {})
    extra = EXTRA_METRICS.get(args.task, ())
    for name in names:
        if name in values and name not in extra:
            return f'{name} is always there with task {args.task}; --metrics names further ones'
        if name not in extra:
            return f'{name} is not for task {args.task} (further metrics for it: {", ".join(extra) or "none"})'
    if len(set(names)) < len(names):
        return f'{" ".join(names)}: a name is there twice'
    return top5_fault(args.num_classes) if 'acc_top5' in names else None


def top5_fault(num_classes):
    """Return why there is no acc_top5 of this many classes (str), or None; num_classes is None where not known yet."""
    if num_classes is None or num_classes > 5:
        return None
    return f'acc_top5 needs 6 classes or more, and there are {num_classes}; with so few, acc says more'
