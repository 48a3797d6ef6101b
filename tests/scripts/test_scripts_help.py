"""The help of scripts fits 80 columns and has an example of each command, unbroken."""

import pytest

from scripts import look, runs

COLUMNS = 80


@pytest.fixture
def help_of(monkeypatch, capsys):
    """Return a function: main of a script, words -> the lines that `--help` prints on a terminal of COLUMNS columns."""
    monkeypatch.setenv('COLUMNS', str(COLUMNS))

    def lines(main, *words):
        with pytest.raises(SystemExit):
            main([*words, '--help'])
        return capsys.readouterr().out.splitlines()

    return lines


@pytest.mark.parametrize('command', runs.COMMANDS)
def test_each_command_of_runs_has_an_example_on_a_line_of_its_own(help_of, command):
    lines = help_of(runs.main, command)
    assert lines[-1].startswith(f'example: python scripts/runs.py {command}')
    assert max(map(len, lines)) <= COLUMNS
    assert not any('-dir ' in line for line in lines), 'the second spelling of --checkpoints_dir is shown'


def test_look_has_examples_of_its_own(help_of):
    lines = help_of(look.main)
    assert max(map(len, lines)) <= COLUMNS
    assert sum(line.startswith('  python scripts/look.py ') for line in lines) == 2
