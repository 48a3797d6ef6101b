"""scripts/dev/plant_changes.py: its changes fit the project, and a small case of it."""

import os

import pytest

from scripts.dev.plant_changes import (
    NAMED,
    NOT_NAMED,
    NUMBER,
    QUIET,
    REPORTED,
    WRONG,
    all_changes,
    outcome_of,
    plant_all,
    summary,
)
from scripts.dev.planting.change import edited
from scripts.dev.planting.workshop import RUNS, USER_FILES, EvalResult, Workshop
from tests.program_server import Program
from utils.base.registry import PROJECT


def start(script, words, directory, environment):
    """Start a program of a copy of the project, forked from the server of the tests."""
    env = {**os.environ, **{name: environment[name] for name in ('XDG_CACHE_HOME', 'XDG_STATE_HOME')}}
    process = Program(directory / script, words, env=env, cwd=directory)
    stdout, stderr = process.communicate(timeout=300)
    return process.returncode, stdout + stderr


def test_each_change_fits_the_project():
    changes = all_changes()
    for change in changes:
        assert change.run in RUNS
        for edit in change.edits:
            path = PROJECT / edit.path
            text = USER_FILES.get(edit.path) or (path.read_text(encoding='utf-8') if path.exists() else '')
            assert edited(text, edit) != text
    harmless = [change for change in changes if change.kind == 'harmless']
    assert len(harmless) >= 25 and len(changes) - len(harmless) >= 60
    assert all(change.named for change in changes if change.kind != 'harmless') and not any(
        each.named for each in harmless
    )
    assert len({(change.kind, change.name) for change in changes}) == len(changes)


@pytest.mark.slow('trains and tests in a copy of the project')
def test_a_change_is_planted_and_taken_back(tmp_path, capsys):
    names = ('Recorder.mean', 'blank lines')
    changes = [change for change in all_changes() if change.name in names]
    shop = Workshop(tmp_path, start)
    assert plant_all(changes, shop) == [NAMED, QUIET]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].endswith('recorder: Recorder.mean (other values)')
    assert printed[1].endswith('harmless: blank lines (the same values)')
    for change in changes:
        for edit in change.edits:
            assert (shop.project / edit.path).read_bytes() == (PROJECT / edit.path).read_bytes()
    head, *rows = summary(changes, [NAMED, QUIET])
    assert head.split()[:3] == ['kind', 'changes', 'named']
    assert [row.split()[:3] for row in rows] == [['recorder', '1', '1'], ['harmless', '1', '0'], ['all', '2', '1']]


def test_the_outcomes():
    planted = next(change for change in all_changes() if change.name == 'LeNet: ReLU6')
    harmless = next(change for change in all_changes() if change.kind == 'harmless')

    def outcome(change, text='', verdict='not compared', value='0.5', status=0):
        return outcome_of(change, EvalResult(status, text, {'verdict': verdict}, {'acc': value}), {'acc': '0.6'})

    assert outcome(planted, '  model/lenet/lenet.py: LeNet (model)', 'differs') == NAMED
    assert outcome(planted, 'acc 0.6 when saved, 0.5 now', 'differs') == NUMBER
    assert outcome(planted, 'this checkpoint no longer gives the outputs it was saved with') == NUMBER
    assert outcome(planted, 'results: model/lenet/lenet.py') == NOT_NAMED
    assert outcome(planted, '', 'equal') == WRONG
    assert outcome(planted, 'code changed since the run: model/lenet/lenet.py', 'equal', '0.6') == NAMED
    assert outcome(harmless, 'code changed since the run, values equal: x', 'equal', '0.6') == QUIET
    assert outcome(harmless, '', 'differs') == outcome(harmless, 'eval.py: error: x', status=2) == REPORTED
