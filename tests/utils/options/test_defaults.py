"""Defaults that depend on the optimizer and the schedule: their values, their records, and that they learn."""

from pathlib import Path

import pytest
import torch

from options import parse_train_args, prepare_train_args, train_args, trained_options
from scripts.sweeping.space import check_parameters, parse_parameter
from train import Trainer
from utils.base.errors import DanluError
from utils.options.args_file import args_lines
from utils.options.defaults import optimizer_line
from utils.training.optim import DEFAULTS, OPTIMIZERS, select_optimizer

# Written out here again: torch's own, but for sgd (0.1 with momentum), rmsprop, asgd and adafactor.
EXPECTED = {
    'sgd': (0.1, 0.9, None, 0.0),
    'adam': (1e-3, 0.9, 0.999, 0.0),
    'adamw': (1e-3, 0.9, 0.999, 0.01),
    'rmsprop': (1e-3, 0.0, 0.99, 0.0),
    'nadam': (2e-3, 0.9, 0.999, 0.0),
    'radam': (1e-3, 0.9, 0.999, 0.0),
    'adamax': (2e-3, 0.9, 0.999, 0.0),
    'adagrad': (1e-2, None, None, 0.0),
    'adadelta': (1.0, None, None, 0.0),
    'asgd': (0.1, None, None, 0.0),
    'rprop': (1e-2, None, None, None),
    'adafactor': (3e-2, None, None, 0.0),
}
OTHER_THAN_TORCH = {'sgd': {'lr', 'momentum'}, 'rmsprop': {'lr'}, 'asgd': {'lr'}, 'adafactor': {'lr'}}


def four(args):
    return args.lr, args.momentum, args.beta, args.weight_decay


def new_run(folder, *words):
    return prepare_train_args(['--checkpoints_dir', str(folder), *map(str, words)])


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_each_optimizer_has_its_own_defaults(name):
    assert four(parse_train_args(['--optimizer', name])) == EXPECTED[name]
    assert four(train_args(optimizer=name)) == EXPECTED[name]
    optimizer = select_optimizer(torch.nn.Linear(2, 2), parse_train_args(['--optimizer', name]))
    own = type(optimizer)(torch.nn.Linear(2, 2).parameters(), **({'lr': 1e-3} if name == 'sgd' else {}))
    same = {'lr', 'momentum', 'betas', 'alpha', 'weight_decay', 'rho', 'etas', 'lambd'} - OTHER_THAN_TORCH.get(
        name, set()
    )
    assert {key: optimizer.defaults[key] for key in same & set(own.defaults)} == {
        key: own.defaults[key] for key in same & set(own.defaults)
    }


@pytest.mark.parametrize(
    ('schedule', 'gamma'), [('step', 0.1), ('multistep', 0.1), ('exponential', 0.95), ('plateau', 0.1)]
)
def test_each_schedule_has_its_own_gamma(schedule, gamma):
    steps = ['--lr_steps', '3'] if 'step' in schedule else []
    assert parse_train_args(['--schedule', schedule, *steps]).gamma == gamma
    assert parse_train_args(['--schedule', schedule, *steps, '--gamma', '0.5']).gamma == 0.5
    assert parse_train_args(['--schedule', 'cosine']).gamma is None


def test_given_options_replace_single_defaults():
    args = parse_train_args('--optimizer sgd --momentum 0 --weight_decay 1e-4'.split())
    assert four(args) == (0.1, 0.0, None, 1e-4)


def test_args_txt_has_the_numbers_and_repeats_them(tmp_path, monkeypatch):
    args = new_run(tmp_path, '--optimizer', 'sgd', '--schedule', 'exponential')
    record = Path(args.model_dir, 'args.txt')
    lines = record.read_text().splitlines()
    assert {'--lr=0.1', '--momentum=0.9', '--weight_decay=0.0', '--gamma=0.95', '# --beta (not set)'} <= set(lines)
    monkeypatch.setitem(DEFAULTS, 'sgd', {'lr': 7.0, 'momentum': 0.1, 'weight_decay': 0.5})  # of a later version
    again = parse_train_args([f'@{record}'])
    assert (*four(again), again.gamma) == (0.1, 0.9, None, 0.0, 0.95)
    assert again.past == []


def test_a_record_with_another_optimizer_gets_its_defaults_and_says_so(tmp_path):
    record = f'@{new_run(tmp_path, "--optimizer", "adam").model_dir}/args.txt'
    args = parse_train_args([record, '--optimizer', 'sgd'])
    assert four(args) == (0.1, 0.9, None, 0.0)
    assert args.past == [
        '--lr is 0.1, the default of --optimizer sgd; the record has 0.001, the default of --optimizer adam'
    ]
    assert four(parse_train_args([record, '--optimizer', 'sgd', '--lr', '0.001'])) == (0.001, 0.9, None, 0.0)
    record = f'@{new_run(tmp_path, "--lr", "0.003").model_dir}/args.txt'
    assert parse_train_args([record, '--optimizer', 'sgd']).lr == 0.003


def test_a_record_with_another_schedule_gets_its_gamma(tmp_path):
    record = f'@{new_run(tmp_path).model_dir}/args.txt'
    assert parse_train_args([record, '--schedule', 'exponential']).gamma == 0.95
    assert parse_train_args([record, '--schedule', 'step', '--lr_steps', '2']).gamma == 0.1


def test_older_records_keep_their_values(tmp_path):
    """Older records hold one number for all optimizers, even for those that do not use it."""
    record = tmp_path / 'args.txt'
    numbers = '--lr=0.001\n--momentum=0.9\n--beta=0.999\n--weight_decay=0.0\n--gamma=0.1\n'
    for name in OPTIMIZERS:
        record.write_text(f'# python train.py @{record}\n--optimizer={name}\n--schedule=exponential\n{numbers}')
        args = parse_train_args([f'@{record}'])
        assert (*four(args), args.gamma) == (0.001, 0.9, 0.999, 0.0, 0.1)
        select_optimizer(torch.nn.Linear(2, 2), args)
    record.write_text(
        f'# python train.py @{record}\n--optimizer=sgd\n--schedule=exponential\n'
    )  # of before there were these
    args = parse_train_args([f'@{record}'])
    assert (*four(args), args.gamma) == (0.001, 0.9, 0.999, 0.0, 0.1)


def test_listings_of_runs_show_what_differs_from_the_optimizers_defaults():
    sgd = vars(parse_train_args(['--optimizer', 'sgd']))
    assert trained_options(sgd) == {'optimizer': 'sgd'}
    assert trained_options(sgd | {'lr': 0.001, 'beta': 0.999}) == {'optimizer': 'sgd', 'lr': 0.001}  # of an older run


def test_a_sweep_over_optimizers_gives_each_its_own():
    searched = parse_parameter('optimizer=rmsprop,sgd')
    assert check_parameters([searched], ['--epochs', '1']).lr == 0.001
    assert [parse_train_args(searched.words(name)).lr for name in ('rmsprop', 'sgd')] == [0.001, 0.1]


def test_a_custom_optimizer_needs_a_learning_rate(monkeypatch, capsys):
    monkeypatch.setitem(OPTIMIZERS, 'mine', 'torch.optim.RMSprop')
    with pytest.raises(SystemExit):
        parse_train_args(['--optimizer', 'mine'])
    assert (
        'argument --lr: needed: DEFAULTS in utils/training/optim.py has no values for --optimizer mine'
        in capsys.readouterr().err
    )
    args = parse_train_args(['--optimizer', 'mine', '--lr', '0.1'])
    assert select_optimizer(torch.nn.Linear(2, 2), args).defaults['alpha'] == 0.99  # its constructor's own


@pytest.mark.parametrize(
    ('words', 'line'),
    [
        ('', 'optimizer: adam, lr 0.001, beta1 0.9, beta2 0.999, weight_decay 0'),
        ('--optimizer sgd --nesterov', 'optimizer: sgd, lr 0.1, momentum 0.9, weight_decay 0, nesterov'),
        ('--optimizer rprop --schedule exponential', 'optimizer: rprop, lr 0.01, schedule exponential, gamma 0.95'),
    ],
)
def test_the_log_has_the_settings_of_the_optimizer(words, line):
    assert optimizer_line(parse_train_args(words.split())) == line


def test_nesterov_is_torchs():
    args = parse_train_args('--optimizer sgd --nesterov'.split())
    net = torch.nn.Linear(2, 2)
    assert select_optimizer(net, args).defaults['nesterov'] is True
    assert not select_optimizer(net, parse_train_args('--optimizer sgd'.split())).defaults['nesterov']
    with pytest.raises(DanluError, match='--nesterov: has no effect with --momentum 0'):
        train_args(optimizer='sgd', momentum=0, nesterov=True)


def accuracy(folder, *words):
    """Train LeNet on the digits and return the accuracy of the last epoch."""
    args = parse_train_args(['--device', 'cpu', '--no_report', '--checkpoints_dir', str(folder), *words])
    return Trainer(args).train()[-1]['val/acc']


@pytest.mark.slow_after(1, 'trains on all digits each')
@pytest.mark.parametrize('name', ['sgd', 'rmsprop'])
def test_defaults_learn(name, tmp_path):
    """One number for all optimizers left sgd at 0.18 and rmsprop at 0.10 after two epochs."""
    assert accuracy(tmp_path, '--optimizer', name, '--epochs', '1', '--threads', '1') > 0.5


@pytest.mark.slow('ten trainings')
@pytest.mark.parametrize('name', [name for name in OPTIMIZERS if name not in ('sgd', 'rmsprop')])
def test_defaults_of_every_optimizer_learn(name, tmp_path):
    epochs = '2' if name in ('radam', 'asgd') else '1'
    assert accuracy(tmp_path, '--optimizer', name, '--epochs', epochs, '--threads', '1') > 0.5


def test_every_option_of_an_optimizer_is_in_its_args_txt():
    args = parse_train_args(['--optimizer', 'adamw', '--model_dir', 'x'])
    from options import train_parser

    assert '--weight_decay=0.01' in args_lines(train_parser(), args)
