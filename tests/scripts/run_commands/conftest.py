"""Directories of runs as train.py and eval.py leave them, and the commands of scripts/runs.py, in this process."""

import contextlib
import io
from types import SimpleNamespace

import pytest

from scripts import runs
from scripts.dev.measure_runs import Maker
from utils.base.errors import DanluError


@pytest.fixture
def maker(tmp_path):
    """Return a Maker of runs in an empty directory."""
    return Maker(tmp_path / 'runs')


@pytest.fixture
def call(maker):
    """Return a function: words of a command -> its exit status, what it printed, and its lines.

    A DanluError is status 2 and its message in `error`, as the command line has it.
    """

    def run(command, *words):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            try:
                status, error = runs.main([command, '--checkpoints_dir', maker.root, *words]), None
            except DanluError as raised:
                status, error = 2, str(raised)
        text = printed.getvalue()
        return SimpleNamespace(status=status, text=text, lines=text.splitlines(), error=error)

    return run
