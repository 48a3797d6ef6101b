"""Weights that other trainers saved: which set of a file is taken, and what their names are in the model."""

import argparse

import pytest
import torch
from torch import nn

import eval as eval_py
import train
from options import parse_test_args, parse_train_args, train_args
from utils.base.errors import DanluError
from utils.runs.checkpoint import load_checkpoint, load_weights, save_checkpoint
from utils.runs.state_dicts import select_state_dict


class Net(nn.Module):
    """A network with a batch norm: eight entries in its state dict beside the counter."""

    def __init__(self, classes=3):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, classes)


def weights(seed=1, **options):
    torch.manual_seed(seed)
    return Net(**options).state_dict()


def prefixed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# --- sets of weights


@pytest.mark.parametrize(
    'key',
    [
        *('model', 'state_dict', 'net', 'network', 'model_state_dict', 'model_state', 'weights', 'params', 'module'),
        *('my_own_name', 'checkpoint.model', 'state.model_state_dict', 'ema.model'),
    ],
)
def test_weights_under_any_key_are_found(key):
    """`model_state_dict` is what torch's own tutorial saves."""
    wanted = loaded = weights()
    for name in reversed(key.split('.')):
        loaded = {name: loaded}
    optimizer = torch.optim.Adam(Net().parameters())
    loaded |= {
        'epoch': 3,
        'loss': torch.tensor(0.5),
        'optimizer_state_dict': optimizer.state_dict(),
        'rng': {'a': torch.zeros(9)},
    }
    found, note = select_state_dict(loaded, 'x.pth')
    assert same(found, wanted)
    assert note == ''


TWO_SETS = {  # forms of two sets -> which is taken, and the key of the other
    'timm': (lambda w, e: {'arch': 'resnet18', 'state_dict': w, 'state_dict_ema': e}, 'w', 'state_dict_ema'),
    'torchvision': (
        lambda w, e: {'model': w, 'model_ema': {'n_averaged': torch.tensor(5), **prefixed(e, 'module.')}},
        *('w', 'model_ema'),
    ),
    'BasicSR': (lambda w, e: {'params': w, 'params_ema': e}, 'w', 'params_ema'),
    'RT-DETR': (lambda w, e: {'model': w, 'ema': {'module': e, 'updates': 9}}, 'w', 'ema'),
    'of Danlu': (
        lambda w, e: {'format': 1, 'model': w, 'ema': {'model': e, 'steps': 9}, 'rng': {'torch': torch.ones(9)}},
        *('e', 'model'),
    ),
}  # fmt: skip


@pytest.mark.parametrize('form', TWO_SETS)
def test_which_of_two_sets_was_taken_is_said_and_the_other_can_be_chosen(form):
    make, taken, other = TWO_SETS[form]
    sets = {'w': weights(1), 'e': weights(2)}
    loaded = make(**sets)
    found, note = select_state_dict(loaded, 'x.pth')
    net = Net()
    load_weights(net, found, 'x.pth')
    assert same(net.state_dict(), sets[taken])
    assert f'--load_key {other}' in note
    found, _ = select_state_dict(loaded, 'x.pth', other)
    load_weights(net, found, 'x.pth')
    assert same(net.state_dict(), sets['e' if taken == 'w' else 'w'])


def test_several_networks_have_to_be_chosen_from():
    loaded = {'generator': weights(1), 'discriminator': weights(2)}
    with pytest.raises(DanluError, match=r'choose by --load_key generator or --load_key discriminator$'):
        select_state_dict(loaded, 'x.pth')
    assert same(select_state_dict(loaded, 'x.pth', 'discriminator')[0], weights(2))


def test_a_key_that_is_not_there_names_those_that_are():
    with pytest.raises(DanluError, match=r'--load_key modle: x\.pth holds weights under model, model_ema'):
        select_state_dict({'model': weights(), 'model_ema': weights()}, 'x.pth', 'modle')
    with pytest.raises(DanluError, match='leave out --load_key'):
        select_state_dict(weights(), 'x.pth', 'model')


def test_the_sets_of_a_file_with_options_can_be_chosen_from_too(tmp_path):
    """The references of torchvision save their options as an argparse.Namespace."""
    torch.save(
        {'model': weights(1), 'model_ema': prefixed(weights(2), 'module.'), 'args': argparse.Namespace(lr=1)},
        tmp_path / 'x.pth',
    )
    loaded = load_checkpoint(tmp_path / 'x.pth')
    assert same(select_state_dict(loaded, 'x.pth')[0], weights(1))
    assert same(select_state_dict(loaded, 'x.pth', 'model_ema')[0], prefixed(weights(2), 'module.'))


# --- names


@pytest.mark.parametrize(
    'prefix',
    ['model.', 'backbone.', 'encoder.', 'net.', 'module.model.', 'model._orig_mod.', 'module.encoder_q.', 'a.b.c.'],
)
def test_a_prefix_of_all_names_is_removed_and_said(prefix):
    net = Net()
    [line] = load_weights(net, prefixed(weights(), prefix), 'x.pth')
    assert same(net.state_dict(), weights())
    assert line.startswith('weights: 9 of 9 loaded from x.pth, without the prefix')
    assert prefix.removeprefix('module.') in line


def test_a_backbone_without_head_is_named_with_its_prefix():
    given = {name: value for name, value in prefixed(weights(), 'backbone.').items() if '.fc.' not in name}
    with pytest.raises(
        DanluError, match=r"2 missing in the file: fc\.weight, fc\.bias \(without the prefix 'backbone\.'"
    ):
        load_weights(Net(), given, 'x.pth')
    net = Net()
    lines = load_weights(net, given, 'x.pth', strict=False)
    assert lines[0] == "weights: 7 of 9 loaded from x.pth, without the prefix 'backbone.' of their names"
    assert torch.equal(net.stem.weight, given['backbone.stem.weight'])


def test_a_prefix_that_only_the_model_has_is_added():
    """As that of a network that wraps another one."""
    net = nn.ModuleDict({'network': Net()})
    [line] = load_weights(net, weights(), 'x.pth')
    assert line.endswith("with 'network.' before their names")
    assert same(net['network'].state_dict(), weights())


def test_of_two_encoders_none_is_guessed():
    given = {**prefixed(weights(1), 'encoder_q.'), **prefixed(weights(2), 'encoder_k.')}
    with pytest.raises(DanluError, match=r'names match with --load_prefix encoder_\w\. or --load_prefix encoder_\w\.'):
        load_weights(Net(), given, 'x.pth')
    net = Net()
    [line] = load_weights(net, given, 'x.pth', prefix='encoder_k')
    assert same(net.state_dict(), weights(2))
    assert line.endswith("without the prefix 'encoder_k.' of their names; 9 with other prefixes are skipped")


def test_names_that_fit_already_stay():
    """A model with a part that is a copy of its own layers."""
    net = nn.Module()
    net.fc, net.model = nn.Linear(2, 2), nn.Module()
    net.model.fc = nn.Linear(2, 2)
    given = {name: torch.rand_like(value) for name, value in net.state_dict().items()}
    assert load_weights(net, given, 'x.pth') == ['weights: 4 of 4 loaded from x.pth']
    assert same(net.state_dict(), given)


def test_a_prefix_that_no_name_has_is_refused():
    with pytest.raises(
        DanluError, match=r'--load_prefix modle\.: no name in x\.pth has this prefix; the prefixes are: model\.$'
    ):
        load_weights(Net(), prefixed(weights(), 'model.'), 'x.pth', prefix='modle')


# --- values


def test_batch_norms_from_before_they_counted_load():
    """Strict loading by torch takes them, as the resnet18 of 2017."""
    given = {name: value for name, value in weights().items() if 'num_batches' not in name}
    net = Net()
    net.load_state_dict(given)
    net = Net()
    [line] = load_weights(net, given, 'x.pth')
    assert line.startswith('weights: 8 of 9 loaded from x.pth; the file has no num_batches_tracked (1 batch norms)')
    assert all(torch.equal(net.state_dict()[name], value) for name, value in given.items())


def test_a_batch_norm_without_its_statistics_does_not_load():
    given = {name: value for name, value in weights().items() if not name.startswith('norm.')}
    with pytest.raises(DanluError, match='5 missing in the file'):
        load_weights(Net(), given, 'x.pth')


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_load_into_that_of_the_model(dtype):
    given = {name: value.to(dtype) if value.is_floating_point() else value for name, value in weights().items()}
    net = Net()
    load_weights(net, given, 'x.pth')
    assert net.stem.weight.dtype == torch.float32
    assert torch.equal(net.stem.weight, given['stem.weight'].float())


def test_a_head_of_another_size_is_named_with_what_leaves_it_new():
    with pytest.raises(DanluError, match=r'2 of another shape: fc\.weight .*by --load_exclude fc$'):
        load_weights(Net(), weights(classes=1000), 'x.pth')


# --- train.py and eval.py


@pytest.fixture
def file_of_two(digits_run, tmp_path):
    """Return a file with two sets of a LeNet's weights, with prefixes, and both sets."""
    own = load_checkpoint(digits_run.directory / 'best.pth')['model']
    other = {name: value + 1 for name, value in own.items()}
    path = tmp_path / 'two.pth'
    torch.save({'state_dict': prefixed(own, 'model.'), 'state_dict_ema': prefixed(other, 'model.')}, path)
    return path, own, other


@pytest.mark.parametrize('words', [[], ['--load_key', 'state_dict_ema'], ['--load_prefix', 'model']])
def test_training_and_predicting_start_from_the_same_weights(words, file_of_two, tmp_path, capsys):
    path, own, other = file_of_two
    wanted = other if '--load_key' in words else own
    given = ['--load_model_path', str(path), '--device', 'cpu', *words]
    trainer = train.Trainer(parse_train_args([*given, '--checkpoints_dir', str(tmp_path / 'runs')]))
    trainer.close()
    assert same(trainer.net.state_dict(), wanted)
    said = capsys.readouterr().out
    assert "without the prefix 'model.'" in said
    assert ('--load_key state_dict loads that' if '--load_key' in words else '--load_key state_dict_ema') in said
    args = parse_test_args(
        [*given, '--num_classes', '10', '--image_size', '28', '--channels', '1', '--mean', '0', '--std', '1']
    )
    predictor = eval_py.Predictor(args, load_checkpoint(path))
    assert same(predictor.model.state_dict(), wanted)


@pytest.mark.slow('a run and two tests in new processes')
def test_of_a_run_with_an_average_both_can_be_tested(tmp_path, train_here, eval_here):
    run = train_here(
        '--model_type', 'mlp', '--ema', 0.9, '--epochs', 1, '--checkpoints_dir', tmp_path, '--max_steps', 9
    )
    last = load_checkpoint(run.directory / 'last.pth')
    average = eval_here('--load_model_path', run.directory / 'last.pth')
    assert (
        "under 'ema.model', averaged weights; the file also holds 'model': --load_key model loads that"
        in average.stdout
    )
    assert average.head['outputs for the probe'].startswith('as when saved (2 inputs of noise')
    trained = eval_here('--load_model_path', run.directory / 'last.pth', '--load_key', 'model')
    assert trained.head['outputs for the probe'].startswith('not compared: --load_key')
    bare = tmp_path / 'bare.pth'
    save_checkpoint(bare, {**last, 'ema': None})
    assert trained.values == eval_here('--load_model_path', bare).values != average.values


@pytest.mark.parametrize('option', ['load_key', 'load_prefix'])
def test_what_there_is_nothing_to_choose_for_is_refused(option):
    with pytest.raises(DanluError, match=f'argument --{option}: requires --load_model_path'):
        train_args(**{option: 'model'})
