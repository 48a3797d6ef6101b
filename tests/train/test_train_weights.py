"""Training that starts from weights."""

import shutil

import pytest
import torch

from model.lenet import LeNet
from options import parse_train_args, test_parser
from tests.train.helpers import bits
from train import Trainer
from utils.base.errors import DanluError
from utils.runs.checkpoint import load_checkpoint


@pytest.mark.parametrize('form', ['ours', 'state dict', 'module.', '_orig_mod.', 'state_dict'])
def test_training_starts_from_weights_of_every_form(digits_run, tmp_path, form, capsys):
    weights = load_checkpoint(digits_run.directory / 'best.pth')['model']
    path = tmp_path / 'w.pth'
    if form == 'ours':
        shutil.copy(digits_run.directory / 'last.pth', path)
    elif form == 'state_dict':
        torch.save({'state_dict': weights, 'epoch': 90}, path)
    else:
        prefix = '' if form == 'state dict' else form
        torch.save({prefix + name: value for name, value in weights.items()}, path)
    words = ['--load_model_path', path, '--checkpoints_dir', tmp_path / 'runs', '--device', 'cpu']
    trainer = Trainer(parse_train_args([str(word) for word in words]))
    trainer.logger.close()
    assert bits(trainer.net.state_dict()) == bits(weights)
    assert trainer.epoch == 0, 'a new run, not the old one going on'
    line = f'weights: 10 of 10 loaded from {path}'
    assert line in capsys.readouterr().out.splitlines()
    assert line in (tmp_path / 'runs' / 'lenet_exp' / 'log.txt').read_text().splitlines()


def test_other_classes_need_load_not_strict(digits_run, list_data, tmp_path, train_here):
    """Ten digits' weights for three classes of 28x28 grey pictures: all fit but the last layer."""
    words = [*list_data, '--num_workers', 0, '--channels', 1, '--image_size', 28, '--epochs', 1]
    words += ['--load_model_path', digits_run.directory / 'best.pth', '--checkpoints_dir', tmp_path]
    with pytest.raises(DanluError, match=r'does not fit LeNet: 2 of another shape: .*--load_not_strict'):
        train_here(*words)
    assert list(tmp_path.iterdir()) == [], 'the directory of a run that never began'
    run = train_here(*words, '--load_not_strict')
    assert 'weights: 8 of 10 loaded from' in run.stdout
    assert '2 of another shape: classifier.5.weight (10, 84) instead of (3, 84), classifier.5.bias' in run.stdout
    run = train_here(*words, '--load_exclude', 'classifier.5')
    assert 'weights: 8 of 10 loaded from' in run.stdout
    assert '2 excluded by --load_exclude: classifier.5.weight, classifier.5.bias' in run.stdout
    repeated = train_here(f'@{run.directory / "args.txt"}')
    assert bits(load_checkpoint(repeated.directory / 'last.pth')['model']) == bits(
        load_checkpoint(run.directory / 'last.pth')['model']
    )


def test_training_starts_from_a_whole_model_only_where_it_is_trusted(digits_run, tmp_path, train_here):
    net, path = LeNet(), tmp_path / 'whole.pth'
    net.load_state_dict(load_checkpoint(digits_run.directory / 'best.pth')['model'])
    torch.save(net, path)
    words = ['--load_model_path', path, '--checkpoints_dir', tmp_path / 'runs', '--epochs', 1]
    with pytest.raises(DanluError, match='--trust_checkpoint'):
        train_here(*words)
    run = train_here(*words, '--trust_checkpoint')
    assert f'weights: 10 of 10 loaded from {path}' in run.stdout
    assert 'trust_checkpoint' not in test_parser().names(from_checkpoint=True)  # each test decides whom it trusts
