"""Numbers of a record with another optimizer, and the log line about them."""

import pytest

from options import parse_train_args, prepare_train_args


@pytest.fixture
def record(tmp_path):
    """Return the words '@.../args.txt' of a run of sgd whose learning rate was chosen."""
    words = ['--checkpoints_dir', str(tmp_path), '--optimizer', 'sgd', '--lr', '0.05']
    return f'@{prepare_train_args(words).model_dir}/args.txt'


def said(args):
    return [line for line in args.past if line.startswith('--lr ')]


def test_a_chosen_number_of_a_record_stays_and_is_logged(record):
    args = parse_train_args([record, '--optimizer', 'adam'])
    assert args.lr == 0.05
    assert said(args) == [
        '--lr is 0.05, of the record, where it was given for --optimizer sgd; the default of adam is 0.001'
    ]


@pytest.mark.parametrize('words', [['--optimizer', 'adam', '--lr', '0.05'], ['--optimizer', 'sgd'], []])
def test_typed_numbers_and_the_same_optimizer_are_not_logged(record, words):
    args = parse_train_args([record, *words])
    assert args.lr == 0.05
    assert not said(args)
