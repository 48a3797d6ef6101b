"""--metrics, and the values of each task that can choose the best checkpoint. Imports no torch."""

from utils.tasks.tasks import TASKS, values_of


def metric_names():
    """Return the names of the metrics of all tasks (list of str), each once."""
    return list(dict.fromkeys(name for task in TASKS.values() for name in task.values))


def directions_of(task, further=()):
    """Return the values of a task and which of them is better: dict from a name, 'loss' too, to 'max' or 'min'.

    Args:
        task: name; a task that TASKS does not have has the loss alone.
        further: the metrics that --metrics names (list of str or None); other extra metrics are left out, except
            acc_top5, which is computed above five classes.
    """
    values = values_of(task)
    extra = set(extra_metrics(task)) - {'acc_top5', *(further or ())}
    return {name: way for name, way in values.items() if name not in extra} | {'loss': 'min'}


def extra_metrics(task):
    """Return the values that only --metrics adds to a task (tuple of str)."""
    return TASKS[task].extra_metrics if task in TASKS else ()


def extra_metrics_by_task():
    """Return the values that only --metrics adds to each task (str, for --help)."""
    return '; '.join(f'{name}: {", ".join(task.extra_metrics)}' for name, task in TASKS.items() if task.extra_metrics)


def unnamed_metrics(args):
    """Return the values of args.task (set of str) that --metrics does not name and that are therefore not computed."""
    values = values_of(args.task)
    return set(values) - set(directions_of(args.task, args.metrics))


def fault_of_metrics(args):
    """Return what is wrong with args.metrics for args.task and args.num_classes (str), or None."""
    names = getattr(args, 'metrics', None) or []
    values = values_of(args.task)
    extra = extra_metrics(args.task)
    for name in names:
        if name in values and name not in extra:
            return f'{name} is always computed for task {args.task}; --metrics names additional ones'
        if name not in extra:
            return f'{name} is not for task {args.task} (additional metrics for it: {", ".join(extra) or "none"})'
    if len(set(names)) < len(names):
        return f'{" ".join(names)}: a name is there twice'
    return top5_fault(args.num_classes) if 'acc_top5' in names else None


def top5_fault(num_classes):
    """Return why acc_top5 is not possible for this number of classes (str), or None; num_classes: None if unknown."""
    if num_classes is None or num_classes > 5:
        return None
    return f'acc_top5 needs 6 classes or more, and there are {num_classes}; with so few, acc says more'
