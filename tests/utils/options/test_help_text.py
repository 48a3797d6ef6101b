"""The help of train.py and eval.py."""

import re

import pytest

from options import test_parser as parser_of_eval
from options import train_parser
from utils.options.help_text import help_text

PARSERS = {'train.py': train_parser, 'eval.py': parser_of_eval}


@pytest.fixture(autouse=True)
def columns(monkeypatch):
    """Print help as on a terminal of 80 columns."""
    monkeypatch.setenv('COLUMNS', '80')


@pytest.mark.parametrize('program', PARSERS)
def test_the_first_page_is_short_and_begins_with_examples(program):
    lines = help_text(PARSERS[program]()).splitlines()
    assert len(lines) <= 60 and max(map(len, lines)) <= 80
    assert lines[0] == f'usage: {program} [options]'
    assert sum(line.startswith(f'  python {program}') for line in lines) == 3
    assert lines.index('examples:') < lines.index('usual options:')
    shown = [line.split()[0] for line in lines if line.startswith('  --')]
    assert len(shown) == 15 if program == 'train.py' else 5 <= len(shown) < 15


def test_training_and_validation_data_stand_together():
    for word in ('', 'data', 'all'):
        names = [line.split()[0] for line in help_text(train_parser(), word).splitlines() if line.startswith('  --')]
        place = names.index('--train_list')
        assert names[place : place + 3] == ['--train_list', '--val_split', '--val_list'], word


@pytest.mark.parametrize('program', PARSERS)
def test_each_option_is_in_all_and_in_one_group(program):
    parser = PARSERS[program]()
    everything = help_text(parser, 'all')
    groups = {group.key: help_text(parser, group.key) for group in parser.groups()}
    for option in parser.options():
        heading = re.compile(rf'^  --{option.dest}(?!\w)', re.MULTILINE)
        assert heading.search(everything)
        assert sum(bool(heading.search(text)) for text in groups.values()) == 1
        assert heading.search(help_text(parser, option.dest))


def test_eval_shows_no_options_that_the_checkpoint_has():
    usual = help_text(parser_of_eval())
    assert '--val_list' in usual and '--model_type' not in usual


@pytest.mark.parametrize(
    ('word', 'says'),
    [
        ('learning_rate', "no option or group 'learning_rate'; did you mean lr?"),
        ('machin', 'did you mean machine?'),
        ('qqq', '(groups: all, model, loss, data,'),
    ],
)
def test_an_unknown_word_is_answered_with_those_that_are_known(word, says, capsys):
    with pytest.raises(SystemExit) as stop:
        train_parser().parse_args(['--help', word])
    assert stop.value.code == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize('words', [['--help'], ['-h'], ['--help', 'lr'], ['--help', 'lr_of'], ['--help=machine']])
def test_the_help_goes_to_stdout_and_ends_the_program(words, capsys):
    with pytest.raises(SystemExit) as stop:
        train_parser().parse_args(words)
    assert stop.value.code == 0
    assert '--' in capsys.readouterr().out
