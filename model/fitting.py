"""Checks that a model supports the task and the data; errors list the models that do."""

from utils.base.errors import DanluError
from utils.base.registry import load_entry


def refuse_unfitting(model_type, entry, args, models):
    """Raise DanluError unless a model supports args.task and the samples of the data.

    A class or function declares its support by two attributes: `tasks`, a tuple of names (default: any task), and
    `vectors = True` if it takes features (N, F) as well as images.

    Args:
        model_type: its name; entry: a class, function or model.
        args: options; uses task and image_size (empty for features).
        models: the registry.
    """
    vectors = not args.image_size
    if args.task in getattr(entry, 'tasks', (args.task,)) and (not vectors or getattr(entry, 'vectors', False)):
        return
    fitting = []
    for name in models:
        other = load_entry(models, name, 'model')
        if args.task in getattr(other, 'tasks', ()) and (not vectors or getattr(other, 'vectors', False)):
            fitting.append(name)
    if vectors:
        raise DanluError(
            f'model {model_type!r} takes images, and the data has vectors of features; for --task {args.task} give '
            f'--model_type {" or ".join(fitting)} (a class of your own that takes them sets vectors = True)'
        )
    raise DanluError(
        f'model {model_type!r} is for {", ".join(entry.tasks)}, not for --task {args.task} (models for it: '
        f'{", ".join(fitting) or "none"})'
    )
