"""Danlu's options in a parser of another program, as with torch_base's options.py."""

import argparse

import pytest

from options import parse_common_args, parse_test_args, parse_train_args, train_parser


def parsed(add, *words):
    """Return the options (Namespace) that an ArgumentParser with the options of `add` parses from words."""
    parser = argparse.ArgumentParser(prog='mine.py')
    assert add(parser) is parser
    parser.add_argument('--mine', type=int, default=1)
    return parser.parse_args(words)


def test_options_are_added_to_the_parser_given():
    args = parsed(parse_common_args, '--mine', '7', '--image_size', '32', '--seed', '3')
    assert (args.mine, args.image_size, args.seed, args.model_type) == (7, [32, 32], 3, 'lenet')
    assert not hasattr(args, 'lr') and not {'typed', 'past'} & set(vars(args))


def test_options_of_training_and_testing_are_added(tmp_path):
    args = parsed(parse_train_args, '--wd', '0.1', '--epochs', '3')
    assert (args.weight_decay, args.epochs, args.lr) == (0.1, 3, 0.001)
    (tmp_path / 'best.pth').touch()
    args = parsed(parse_test_args, '--save_viz', '--load_model_path', str(tmp_path / 'best.pth'))
    assert args.save_viz and not hasattr(args, 'epochs')


@pytest.mark.parametrize(
    ('words', 'why'),
    [
        (['--power', '2'], 'argument --power: only for --schedule poly; leave it out'),
        (['--class_weights', '1', '2', '3', '--num_classes', '2'], 'argument --class_weights:'),
        (['--model_type', 'lenett'], "unknown model 'lenett'; did you mean lenet or unet?"),
    ],
)
def test_added_options_are_checked(words, why, capsys):
    with pytest.raises(SystemExit, match='2'):
        parsed(parse_train_args, *words)
    assert why in capsys.readouterr().err


def test_danlus_parser_takes_more_options():
    parser = train_parser()
    parser.add_argument('--mine', type=int, default=1)
    assert parser.parse_args(['--mine', '3', '--wd', '0.5']).weight_decay == 0.5


def test_words_are_parsed():
    assert parse_common_args(['--seed', '3']).seed == 3
