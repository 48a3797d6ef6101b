"""Which models serve which task and data; a model that does not is refused with those that do."""

from utils.base.errors import DanluError
from utils.base.registry import load_entry


def refuse_unfitting(model_type, entry, args, models):
    """Raise DanluError unless a model serves args.task and the data's samples.

    A class or function says what it is for by two attributes: `tasks`, a tuple of names (without it any task), and
    `vectors = True` if it takes features (N, F) as well as pictures.

    Args:
        model_type: its name; entry: a class, a function or a built model.
        args: options; task and image_size (empty for features) count.
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
            f'model {model_type!r} takes pictures, and the data has vectors of features; for --task {args.task} give '
            f'--model_type {" or ".join(fitting)} (a class of your own says by vectors = True that it takes them)'
        )
    raise DanluError(
        f'model {model_type!r} is for {", ".join(entry.tasks)}, not for --task {args.task} (models for it: '
        f'{", ".join(fitting) or "none"})'
    )
