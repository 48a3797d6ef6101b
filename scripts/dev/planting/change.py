"""A change that is planted, and the edits of files that it consists of. Imports no torch."""

from typing import NamedTuple


class Edit(NamedTuple):
    """Text of a file of the project that is replaced once; without `old`, a new file or an appended text.

    Attributes:
        path: file, relative to the project.
        old: the text (str), which the file must hold; '' to append.
        new: the text (str) in its place.
    """

    path: str
    old: str
    new: str


class Change(NamedTuple):
    """A change that is planted between the training of a run and a test of its best.pth.

    Attributes:
        kind: for the summary (str), such as 'model'.
        name: what is changed (str).
        run: name of the run that is tested: see scripts.dev.planting.workshop.RUNS.
        edits: list of Edit.
        named: words (tuple of str), one of which names the change; () for a harmless one.
        act: function(Workshop, run directory) for what is no edit of the project's text; it may return words (list)
            and environment variables (dict of str) for eval.py.
        words: further words of eval.py (list of str).
        env: further environment variables (dict of str).
    """

    kind: str
    name: str
    run: str
    edits: list
    named: tuple = ()
    act: object = None
    words: tuple = ()
    env: dict = {}


def edited(text, edit):
    """Return the text (str) of a file with an edit.

    Raises:
        ValueError: the file does not hold the text.
    """
    if not edit.old:
        return text + edit.new
    if edit.old not in text:
        raise ValueError(f'{edit.path} no longer has the text {edit.old!r}: adapt the change in scripts/dev/planting')
    return text.replace(edit.old, edit.new, 1)
