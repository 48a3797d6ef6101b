"""scripts/start_tensorboard.py: TensorBoard gets all runs, or links to the newest of many."""

import os
import sys
from pathlib import Path

import pytest

from scripts import start_tensorboard

# Stands for TensorBoard: begins a run, waits until the directory of --logdir has it, and lists the links.
PROGRAM = """
import os, sys, time
logdir, new = sys.argv[2], {new!r}
os.mkdir(new)
open(os.path.join(new, 'events.out.tfevents.1'), 'w').close()
while not os.path.exists(os.path.join(logdir, os.path.basename(new))):
    time.sleep(0.01)
for folder, names, _ in os.walk(logdir):
    for path in [os.path.join(folder, name) for name in names]:
        if os.path.islink(path):
            print(os.path.relpath(path, logdir))
"""


@pytest.fixture
def checkpoints(tmp_path):
    """Return a directory of 45 runs, half of them in a folder of their own."""
    for number in range(45):
        run = tmp_path / 'checkpoints' / ('sweep' if number % 2 else '.') / f'run {number}'
        for folder in (run, run / 'steps'):
            folder.mkdir(parents=True)
            (folder / 'events.out.tfevents.1').touch()
            os.utime(folder / 'events.out.tfevents.1', (number, number))
    return tmp_path / 'checkpoints'


def test_tensorboard_shows_the_newest_runs_of_many_and_those_that_begin_later(checkpoints, monkeypatch, capfd):
    program = PROGRAM.format(new=str(checkpoints / 'begun later'))
    monkeypatch.setattr(start_tensorboard, 'COMMAND', (sys.executable, '-c', program))
    monkeypatch.setattr(start_tensorboard, 'LINK_SECONDS', 0.1)
    assert start_tensorboard.main([], checkpoints) == 0
    first, *links = capfd.readouterr().out.splitlines()
    assert first.startswith('the newest 40 of 45 runs')
    newest = {f'sweep/run {number}' if number % 2 else f'run {number}' for number in range(6, 45)}
    assert {Path(link).as_posix() for link in links} == {'begun later', *newest}, 'always 40'


@pytest.mark.parametrize(
    ('words', 'given'),
    [
        (['--port', '6007'], ['--logdir', '{}', '--port', '6007']),
        (['--logdir', 'checkpoints'], ['--logdir', 'checkpoints']),
        (['--logdir=runs'], ['--logdir=runs']),
    ],
)
def test_tensorboard_gets_the_directory_of_few_runs_or_the_one_that_is_given(words, given, tmp_path, monkeypatch):
    monkeypatch.setattr(start_tensorboard, 'serve', lambda words: words)
    assert start_tensorboard.main(words, tmp_path) == [word.format(tmp_path) for word in given]


def test_without_links_tensorboard_gets_all_runs(checkpoints, monkeypatch, capsys):
    def refuse(*_):
        raise OSError('a required privilege is not held')

    monkeypatch.setattr(start_tensorboard, 'link_newest', refuse)
    monkeypatch.setattr(start_tensorboard, 'serve', lambda words: words)
    assert start_tensorboard.main([], checkpoints) == ['--logdir', str(checkpoints)]
    assert 'all 45 runs, as links' in capsys.readouterr().out


def test_an_error_is_the_exit_status(monkeypatch):
    monkeypatch.setattr(start_tensorboard, 'COMMAND', (sys.executable, '-c', 'raise SystemExit(3)'))
    assert start_tensorboard.serve([]) == 3
