"""The command that predicts images without labels, for error messages. Imports no torch."""

import shlex
from contextlib import contextmanager
from pathlib import Path

from utils.base.errors import DanluError
from utils.base.registry import PROJECT


class UnlabelledError(DanluError):
    """Data without targets; `pictures` (Path) is one of the images, or a pattern such as new/*.png."""

    def __init__(self, message, pictures):
        super().__init__(message)
        self.pictures = Path(pictures)


def how_to_predict(checkpoint, paths):
    """Return the end of a message (str): the command that predicts `paths`, a directory, a file or a list."""
    command = shlex.join(
        ['python', 'eval.py', '--load_model_path', str(checkpoint), '--predict', str(Path(paths).absolute())]
    )
    return f'to predict images without labels: cd {shlex.quote(str(PROJECT))} && {command}'


@contextmanager
def hint_to_predict(checkpoint, paths):
    """Add to an UnlabelledError of the `with` body the command that predicts `paths` by `checkpoint`."""
    try:
        yield
    except UnlabelledError as error:
        raise DanluError(f'{error}; {how_to_predict(checkpoint, paths)}') from None
