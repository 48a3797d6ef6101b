"""A working directory with small files for each test of options."""

import sys
from pathlib import Path

import pytest

from tests.options.helpers import tree


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """Work in a directory with a few files; sys.argv is invalid, so that reading it instead of argv fails."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['pytest', '--no-such-option'])
    for name in ('train.txt', 'val.txt', 'model.pth'):
        Path(name).write_text('')
    Path('pictures').mkdir()
    Path('names.txt').write_text('cat\ndog\nred fox\n')
    Path('empty.txt').write_text('\n \n')
    Path('gbk.txt').write_bytes('猫\n狗\n'.encode('gbk'))
    return tmp_path


@pytest.fixture
def refusal(capsys):
    """Return a function that checks that a call ends with one error line and writes nothing; it returns the line."""

    def refused(function, argv, *more):
        before = tree()
        with pytest.raises(SystemExit) as stop:
            function(argv, *more)
        out, err = capsys.readouterr()
        assert stop.value.code == 2
        assert out == ''
        assert err.count('\n') == 1
        assert err.endswith('\n')
        assert tree() == before
        return err.rstrip('\n')

    return refused
