"""What a model's constructor cannot take is one line that names the option."""

import pytest

from model.model_entry import select_model
from options import parse_train_args
from utils.base.errors import DanluError

UNET = ['--model_type', 'unet', '--task', 'restoration', '--data_type', 'noisy_digits']


@pytest.mark.parametrize(
    ('words', 'given'),
    [
        ([], 'padding=two'),
        ([], 'padding=1.5'),
        ([], 'padding=-3'),
        (UNET, 'width=0'),
        (['--model_type', 'mlp'], 'dropout=2'),
        (['--model_type', 'mlp'], 'dropout=high'),
        (UNET, 'width=x'),
    ],
)
def test_a_constructor_that_cannot_take_a_value_is_one_line(words, given):
    args = parse_train_args([*words, '--model_args', given, '--num_classes', '10'][: -2 if words is UNET else None])
    args.channels, args.image_size = 1, [28, 28]
    with pytest.raises(DanluError, match='--model_args') as error:
        select_model(args)
    assert given in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'words',
    [['--image_size', '2000000'], ['--num_classes', '1000000000000'], ['--ignore_index', '99999999999999999999']],
)
def test_numbers_that_nothing_can_hold_are_refused_by_the_option(words, capsys):
    with pytest.raises(SystemExit):
        parse_train_args(words)
    assert f'argument {words[0]}: must be' in capsys.readouterr().err
