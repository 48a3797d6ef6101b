"""Options without effect beside the others are refused: every option of both parsers that has `needs`."""

import argparse

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import options
from options import parse_test_args, parse_train_args, prepare_train_args, train_args, train_parser
from train import Trainer
from utils.base.errors import DanluError
from utils.options.args_file import options_of

TORCHRUN = {'RANK': '0', 'LOCAL_RANK': '0', 'WORLD_SIZE': '2', 'MASTER_ADDR': 'localhost', 'MASTER_PORT': '29500'}
PARSERS = {'train.py': (train_parser, parse_train_args), 'eval.py': (options.test_parser, parse_test_args)}
NEEDING = [
    pytest.param(program, action.dest, id=f'{program} --{action.dest}')
    for program, (parser, _) in PARSERS.items()
    for action in options_of(parser())
    if action.needs
]
VALUES = ('0.5', '3', 'fsdp', 'none')  # one of these is a value that an option takes
OWN_VALUES = {
    'palette': '#000000 #ffffff',
    'lr_min': '1e-5',
    'track_args': 'project=birds',
    'pretrained_dir': '.',
}  # where it has to be more than a value of the type
LISTS = '--data_type list --train_list LIST --val_list LIST'
# Refused by other checks: words, and the option that the message names.
REFUSED = [
    ('--as copy', 'as'),
    ('--model_source FILE', 'model_source'),
    ('--balance --task multilabel --data_type list --train_list LIST --val_list LIST', 'balance'),
    ('--cache_dir DIR', 'cache_dir'),
    (
        '--class_weights 1 2 --loss mse --task regression --data_type list --train_list LIST --val_list LIST',
        'class_weights',
    ),
    ('--cutmix 1 --task regression --data_type list --train_list LIST --val_list LIST', 'cutmix'),
    ('--data_root DIR', 'data_root'),
    ('--download', 'download'),
    ('--ignore_index 3 --task regression --data_type list --train_list LIST --val_list LIST', 'ignore_index'),
    ('--label_smoothing 0.1 --loss focal', 'label_smoothing'),
    ('--load_exclude fc', 'load_exclude'),
    ('--loss_args gamma=1', 'loss_args'),
    ('--lr_steps 20 --schedule step', 'lr_steps'),
    ('--lr_steps 3 10 --schedule multistep', 'lr_steps'),
    ('--min_epochs 3', 'min_epochs'),
    ('--mixup 1 --task segmentation --num_classes 2 --data_type list --train_list LIST --val_list LIST', 'mixup'),
    ('--num_targets 2', 'num_targets'),
    ('--shuffle_buffer 5', 'shuffle_buffer'),
    ('--skip_bad', 'skip_bad'),
    ('--strict_record', 'strict_record'),
    ('--target_columns x', 'target_columns'),
    (f'--target_mean 1 --target_scale none --task regression {LISTS}', 'target_mean'),
    (f'--target_std 1 --target_scale none --task regression {LISTS}', 'target_std'),
    ('--train_length 5', 'train_length'),
    ('--val_split 0.2', 'val_split'),
    ('--trust_checkpoint', 'trust_checkpoint'),
    ('--warmup_epochs 1 --schedule onecycle', 'warmup_epochs'),
    ('--nesterov --optimizer sgd --momentum 0', 'nesterov'),
    ('--weight_decay 0.1 --optimizer rprop', 'weight_decay'),
    *((f'--momentum 0.5 --optimizer {name}', 'momentum') for name in 'adagrad adadelta asgd rprop adafactor'.split()),
    *((f'--beta 0.5 --optimizer {name}', 'beta') for name in 'sgd adagrad adadelta asgd rprop adafactor'.split()),
]


@pytest.fixture
def words_of(tmp_path):
    """Return a function: a text -> the words of a command line, with files where it names them."""
    for name in ('LIST', 'FILE'):
        (tmp_path / name).touch()

    def words(text):
        places = {name: str(tmp_path / name) for name in ('LIST', 'FILE', 'DIR')}
        return [places.get(word, word) for word in text.split()]

    (tmp_path / 'DIR').mkdir()
    return words


def said(capsys, parse, words):
    """Return the message (str) with which words are refused, or None if they are accepted."""
    try:
        parse(words)
    except SystemExit:
        return capsys.readouterr().err
    return None


def value_for(action):
    """Return words (list of str) that give an option a value which is not its default."""
    if action.nargs == 0:
        return [f'--{action.dest}']
    for text in [OWN_VALUES[action.dest]] if action.dest in OWN_VALUES else VALUES:
        try:
            found = [action.type(word) if action.type else word for word in text.split()]
        except (argparse.ArgumentTypeError, ValueError):
            continue
        if found[0] != action.default and (not action.choices or text in action.choices):
            return [f'--{action.dest}', *text.split()]
    raise AssertionError(f'VALUES has none for --{action.dest}: add one')


@pytest.mark.parametrize(('program', 'name'), NEEDING)
def test_an_option_is_refused_where_its_need_is_not_met_and_only_there(program, name, words_of, capsys, monkeypatch):
    parser, parse = PARSERS[program]
    action = next(action for action in options_of(parser()) if action.dest == name)
    need, value = action.needs, value_for(action)
    base = words_of('--load_model_path FILE') if program == 'eval.py' else []
    if program == 'eval.py' and not need.without and 'load_model_path' in (need.within or ''):
        pytest.skip('a test always has a checkpoint')
    without = words_of(need.without)
    message = said(capsys, parse, [*base, *without, *value])
    assert message is not None and f'argument --{name}: ' in message and 'leave it out' in message
    within = words_of(
        (need.within or '').replace('--train_list LIST', '' if program == 'eval.py' else '--train_list LIST')
    )
    if need.within is None:
        for key, number in TORCHRUN.items():
            monkeypatch.setenv(key, number)
    assert said(capsys, parse, [*base, *within, *value]) is None


@pytest.mark.parametrize(('words', 'name'), REFUSED)
def test_options_without_effect_are_refused(words, name, words_of, capsys):
    message = said(capsys, parse_train_args, words_of(words))
    assert message is not None and f'argument --{name}: ' in message


def test_options_of_a_record_are_not_refused(tmp_path, capsys):
    """A record has every option; only typed options are refused."""
    record = prepare_train_args(['--checkpoints_dir', str(tmp_path), '--schedule', 'cosine', '--lr_min', '1e-5'])
    words = [f'@{record.model_dir}/args.txt', '--schedule', 'none', '--optimizer', 'sgd', '--epochs', '1']
    args = parse_train_args(words)
    assert (args.lr_min, args.schedule, args.momentum) == (1e-5, 'none', 0.9)
    assert 'argument --lr_min: only for' in said(capsys, parse_train_args, [*words, '--lr_min', '1e-4'])
    (tmp_path / 'mine.txt').write_text('--lr_min 1e-4\n')  # typed, into a file
    assert 'argument --lr_min: only for' in said(capsys, parse_train_args, [f'@{tmp_path}/mine.txt'])


def test_options_that_do_not_fit_the_data_are_refused_before_the_first_step(tmp_path):
    data = TensorDataset(torch.zeros(8, 1, 12, 12), torch.zeros(8, dtype=torch.int64))
    loaders = {'train_loader': DataLoader(data, 4), 'val_loader': DataLoader(data, 4)}
    common = {'checkpoints_dir': tmp_path, 'device': 'cpu', 'num_classes': 2, 'image_size': 12, 'channels': 1}
    with pytest.raises(DanluError, match='--balance needs the loader that --data_type names: leave out train_loader'):
        Trainer(train_args(balance=True, **common), **loaders)
    with pytest.raises(DanluError, match='--max_steps 100000: the run ends before, after 2 steps'):
        Trainer(train_args(max_steps=100000, epochs=1, **common), **loaders)
    Trainer(train_args(max_steps=2, epochs=1, **common), **loaders).close()
