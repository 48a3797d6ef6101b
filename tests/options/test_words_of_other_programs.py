"""Hints for options of other programs."""

import pytest

from options import parse_train_args


@pytest.mark.parametrize(
    ('given', 'meant'),
    [
        *(('--continue_train', '--resume'), ('--niter', '--epochs'), ('--display_freq', '--print_freq')),
        *(('--save_epoch_freq', '--save_freq'), ('--seed_everything', '--seed'), ('--b1', '--momentum')),
        *(('--b2', '--beta'), ('--lr_decay_rate', '--gamma')),
    ],
)
def test_options_of_other_programs_are_understood(capsys, given, meant):
    with pytest.raises(SystemExit, match='2'):
        parse_train_args([given, '3'])
    assert f'unknown option {given}; did you mean {meant}?' in capsys.readouterr().err


def test_crop_share_is_refused_for_features(capsys, tmp_path):
    table = tmp_path / 'table.csv'
    table.write_text('a,label\n1,0\n2,1\n')
    lists = ['--train_list', str(table), '--val_list', str(table)]
    with pytest.raises(SystemExit, match='2'):
        parse_train_args(['--data_type', 'array', *lists, '--crop_share', '0.5'])
    assert 'argument --crop_share: array reads no image files' in capsys.readouterr().err
