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


def how_to_predict(checkpoint, pictures):
    """Return the end of a message (str): the command that predicts `pictures` (Path, whose name may contain *)."""
    pictures = Path(pictures).absolute()
    code = (
        'from pathlib import Path; from eval import load_predictor; '
        f'print(load_predictor({str(checkpoint)!r}).predict(sorted(Path({str(pictures.parent)!r}).glob('
        f'{pictures.name!r}))))'
    )
    return f'to predict images without labels: cd {shlex.quote(str(PROJECT))} && python -c {shlex.quote(code)}'


@contextmanager
def hint_to_predict(checkpoint):
    """Add to an UnlabelledError of the `with` body the command that predicts its images by `checkpoint`."""
    try:
        yield
    except UnlabelledError as error:
        raise DanluError(f'{error}; {how_to_predict(checkpoint, error.pictures)}') from None
