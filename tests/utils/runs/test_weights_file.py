"""Weights as safetensors: those of timm and torchvision are loaded, those of a run written and tested as best.pth."""

import json

import pytest
import torch

from utils.base.errors import DanluError
from utils.options import checks
from utils.runs.checkpoint import load_checkpoint
from utils.runs.weights_file import read_metadata, write_weights_file

safetensors = pytest.importorskip('safetensors.torch', reason='safetensors is not installed')


@pytest.fixture(scope='module')
def run(train_here, list_data, tmp_path_factory):
    """Return a run that wrote best.safetensors."""
    words = ['--model_type', 'cifar_cnn', '--image_size', 16, '--epochs', 2, '--ema', 0.5, '--save_safetensors']
    return train_here(*list_data, *words, '--checkpoints_dir', tmp_path_factory.mktemp('runs'))


def test_the_file_has_the_weights_of_best_pth_and_tests_alone_with_the_same_values(run, eval_here):
    best, path = run.directory / 'best.pth', run.directory / 'best.safetensors'
    weights = torch.load(best, weights_only=True)['model']
    found = safetensors.load_file(path)
    assert {*found} == {*weights}
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert f'weights: {path}' in run.stdout.splitlines()
    assert [file.name for file in run.directory.glob('*.partial')] == []
    tests = [eval_here('--load_model_path', each) for each in (best, path)]
    assert tests[0].values == tests[1].values


def test_training_starts_from_it(run, train_here, list_data, tmp_path):
    words = ['--model_type', 'cifar_cnn', '--image_size', 16, '--epochs', 1, '--lr', 1e-9, '--no_report']
    new = train_here(*list_data, *words, '--load_model_path', run.directory / 'best.safetensors', '--checkpoints_dir',
                     tmp_path / 'new')  # fmt: skip
    assert 'loaded from' in new.stdout
    weights, then = (torch.load(each.directory / 'best.pth', weights_only=True)['model'] for each in (new, run))
    name = next(name for name, value in weights.items() if value.dim() > 1)
    torch.testing.assert_close(weights[name], then[name], rtol=0, atol=1e-5)


@pytest.mark.slow('trains networks of two libraries')
@pytest.mark.parametrize('library', ['torchvision', 'timm'])
def test_weights_of_libraries_are_loaded_but_for_the_head(library, train_here, list_data, tmp_path):
    if library == 'timm':
        network = pytest.importorskip('timm').create_model('test_resnet', num_classes=7)
        model, head = 'timm:test_resnet', network.default_cfg['classifier']
    else:
        from torchvision.models import squeezenet1_1

        network, model, head = squeezenet1_1(num_classes=7), 'torchvision:squeezenet1_1', 'classifier.1'
    path = tmp_path / 'model.safetensors'
    safetensors.save_file(network.state_dict(), path, metadata={'format': 'pt'})  # as these libraries write it
    words = ['--model_type', model, '--image_size', 64, '--epochs', 1, '--lr', 1e-9, '--no_report']
    run = train_here(
        *list_data, *words, '--load_model_path', path, '--load_exclude', head, '--checkpoints_dir', tmp_path
    )
    weights = torch.load(run.directory / 'best.pth', weights_only=True)['model']
    name, value = next((n, v) for n, v in network.state_dict().items() if v.dim() == 4)
    torch.testing.assert_close(weights[name], value, rtol=0, atol=1e-5)


def test_tied_weights_are_written_twice(tmp_path):
    shared = torch.arange(6.0).view(2, 3)
    write_weights_file(tmp_path / 'x.safetensors', {'a': shared, 'b': shared, 'c': shared.T}, {})
    found = safetensors.load_file(tmp_path / 'x.safetensors')
    assert torch.equal(found['a'], shared) and torch.equal(found['b'], shared) and torch.equal(found['c'], shared.T)
    assert read_metadata(tmp_path / 'x.safetensors') == {}


@pytest.mark.parametrize(
    ('kept', 'message'),
    [
        ('[1]', "its metadata holds a list under 'danlu'"),
        ('{', 'its metadata cannot be read'),
        (json.dumps({'format': 1, 'args': 3}), 'damaged or was changed'),
        (json.dumps({'format': 99, 'args': {}}), 'format 99'),
    ],
)
def test_damaged_metadata_is_refused(tmp_path, kept, message):
    path = tmp_path / 'x.safetensors'
    safetensors.save_file({'a': torch.zeros(2)}, path, metadata={'danlu': kept})
    with pytest.raises(DanluError, match=message):
        load_checkpoint(path)


def test_the_option_needs_the_package(monkeypatch, capsys):
    from options import parse_train_args

    monkeypatch.setattr(checks.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(SystemExit, match='2'):
        parse_train_args(['--save_safetensors'])
    assert 'needs the package safetensors: pip install safetensors' in capsys.readouterr().err
