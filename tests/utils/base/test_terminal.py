"""Whether output is watched, and styles."""

import contextlib
import io

import pytest

from utils.base.terminal import is_watched, styled


@contextlib.contextmanager
def stdout(terminal=True):
    """Replace stdout by a file, perhaps one that claims to be a terminal, and return it."""
    file = io.StringIO()
    file.isatty = lambda: terminal
    with contextlib.redirect_stdout(file):
        yield file


@pytest.fixture(autouse=True)
def shell(monkeypatch):
    """Set the variables of an interactive shell."""
    for name in ('CI', 'JPY_PARENT_PID', 'MPLBACKEND', 'NO_COLOR'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('TERM', 'xterm-256color')


def test_a_terminal_shows_styles():
    with stdout():
        assert styled('best', 'bold', 'green') == '\x1b[1;32mbest\x1b[0m'


@pytest.mark.parametrize(
    ('name', 'value', 'styles'),
    [
        ('NO_COLOR', '1', False),
        ('NO_COLOR', '0', False),
        ('NO_COLOR', '', True),
        ('CI', 'true', False),
        ('CI', 'false', True),
        ('TERM', 'dumb', False),
        ('JPY_PARENT_PID', '12', False),
        ('MPLBACKEND', 'module://matplotlib_inline.backend_inline', False),
        ('MPLBACKEND', 'agg', True),
        ('FORCE_COLOR', '1', True),
    ],
)
def test_variables_turn_styles_off(name, value, styles, monkeypatch):
    monkeypatch.setenv(name, value)
    with stdout():
        assert ('\x1b' in styled('best', 'bold')) == styles


def test_a_pipe_has_no_styles(monkeypatch):
    monkeypatch.setenv('FORCE_COLOR', '1')  # which notebooks set for all that they start
    with stdout(terminal=False) as file:
        assert styled('best', 'bold') == 'best'
    assert not is_watched(file)
