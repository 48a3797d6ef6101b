"""A short form of scripts/dev/fuzz.py: random options, files and pictures end as promised."""

import pytest

from scripts.dev.fuzz import KINDS, main, run, within

CASES = {'options': 60, 'args_files': 50, 'lists': 60, 'tables': 50, 'pictures': 80, 'records': 80}


def check_promises(kind, cases, folder):
    outcomes = run(kind, cases, folder)
    assert outcomes.total() >= cases
    return outcomes


@pytest.mark.parametrize(
    'kind',
    [
        *(kind for kind in KINDS if kind != 'records'),
        pytest.param('records', marks=pytest.mark.slow('trains and tests two networks')),
    ],
)
def test_promises_are_kept_in_a_few_cases(kind, tmp_path):
    check_promises(kind, 8, tmp_path)


@pytest.mark.slow('380 random cases')
@pytest.mark.parametrize('kind', KINDS)
def test_promises_are_kept(kind, tmp_path):
    outcomes = check_promises(kind, CASES[kind], tmp_path)
    assert outcomes['accepted'] >= 5
    assert outcomes['refused'] >= 5


def test_a_broken_promise_is_shown_with_its_case(monkeypatch, capsys):
    def accept(path):
        raise RuntimeError('neither this nor that')

    monkeypatch.setattr('scripts.dev.fuzzing.picture_files.check_picture', accept)
    assert main(['--kinds', 'pictures', '--cases', '5', '--seed', '3']) == 1
    said = capsys.readouterr().out
    assert said.startswith('pictures: a guarantee is violated:\nTraceback')
    assert 'neither this nor that' in said
    assert 'case=' in said


def test_a_silent_success_is_a_broken_promise(monkeypatch, tmp_path):
    monkeypatch.setattr('scripts.dev.fuzzing.lists.plain', lambda task, target: 7)
    with pytest.raises(AssertionError, match='instead of'):
        run('lists', 50, tmp_path)


def test_a_summary_is_printed(capsys):
    assert main(['--kinds', 'args_files', '--cases', '30']) == 0
    assert capsys.readouterr().out.startswith('args_files: 30 cases: ')


def test_a_hang_is_an_error():
    with pytest.raises(TimeoutError, match='more than 1 s'), within(1):
        while True:
            pass
