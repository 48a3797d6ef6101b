"""Whole models that torch.save wrote of classes in a user's own model.py: --trust_checkpoint --model_source."""

import sys

import pytest
import torch
from torch import nn

from eval import load_predictor
from options import parse_train_args, test_args
from tests.train.helpers import bits
from utils.base.errors import DanluError
from utils.runs.checkpoint import load_checkpoint

OLD = """
import torch
from torch import nn
from layers import Scaled


class Tudui(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.Flatten(), Scaled(2.0), nn.LazyLinear(3))
        self(torch.zeros(1, 3, 20, 16))

    def forward(self, x):
        return self.model(x)
"""
NAMES = ['ant', 'cat', 'yak']
LAYERS = """
from torch import nn


class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor
"""


@pytest.fixture(scope='module')
def old(tmp_path_factory):
    """Return a directory with model.py, layers.py, and what a tutorial saved: tudui_0.pth, a whole model."""
    folder = tmp_path_factory.mktemp('old')
    (folder / 'model.py').write_text(OLD)
    (folder / 'layers.py').write_text(LAYERS)
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition('.')[0] in ('model', 'layers')}
    sys.path.insert(0, str(folder))
    try:
        torch.manual_seed(0)
        from model import Tudui

        net = Tudui()
        for name in ('tudui_0.pth', 'old_style.pth'):
            torch.save(net, folder / name, _use_new_zipfile_serialization=name == 'tudui_0.pth')
        torch.save(nn.DataParallel(net), folder / 'parallel.pth')
        torch.save(net.state_dict(), folder / 'weights.pth')
    finally:
        sys.path.remove(str(folder))
        for name in ('model', 'layers'):
            sys.modules.pop(name, None)
        sys.modules.update(kept)
    return folder


@pytest.fixture
def trusted(old):
    return ['--trust_checkpoint', '--model_source', old / 'model.py']


@pytest.fixture
def data(list_data):
    """Return the options of `list_data` for a test."""
    return ['--data_type', 'list', '--val_list', list_data[5], '--image_size', 20, 16, '--num_workers', 0]


@pytest.mark.parametrize('name', ['tudui_0.pth', 'old_style.pth', 'parallel.pth'])
def test_the_classes_are_found(old, name):
    loaded = load_checkpoint(old / name, trust=True, model_source=old / 'model.py')
    assert bits(dict(loaded['model'])) == bits(dict(torch.load(old / 'weights.pth')))
    assert loaded.model_type == 'source:Tudui'


def test_without_it_the_message_says_so(old):
    with pytest.raises(DanluError, match=r'use --trust_checkpoint.*--model_source FILE'):
        load_checkpoint(old / 'tudui_0.pth')
    with pytest.raises(DanluError, match=r'needs the code of its model .*--model_source path/to/model\.py'):
        load_checkpoint(old / 'tudui_0.pth', trust=True)


def test_an_old_model_is_tested_as_it_is(old, trusted, data, eval_here, tmp_path):
    words = [*trusted, *data, '--class_names', *NAMES]
    test = eval_here('--load_model_path', old / 'tudui_0.pth', *words, '--result_dir', old / 'a_test')
    plain = eval_here('--load_model_path', old / 'weights.pth', *words, '--result_dir', old / 'another')
    assert test.values == plain.values and 0 <= float(test.values['acc']) <= 1


def test_a_run_starts_from_it_and_its_checkpoints_are_tested(old, trusted, list_data, train_here, eval_here, tmp_path):
    words = [*list_data, '--image_size', 20, 16, '--num_workers', 0, '--epochs', 1, '--checkpoints_dir', tmp_path]
    run = train_here('--load_model_path', old / 'tudui_0.pth', *trusted, *words)
    assert run.directory.name == 'source_Tudui_exp'
    options = (run.directory / 'args.txt').read_text().splitlines()
    assert any(line.startswith('--model_type=source:Tudui') for line in options)
    assert any(line.startswith('# --model_source=') for line in options)
    best = run.directory / 'best.pth'
    test = eval_here('--load_model_path', best, '--trust_checkpoint', '--model_source', old / 'model.py')
    assert float(test.values['loss']) == load_checkpoint(best)['metrics']['val/loss']
    with pytest.raises(DanluError, match=rf'--model_source {run.directory}/model_source\.py'):
        test_args(str(best))
    predictor = load_predictor(str(best), trust_checkpoint=True, model_source=str(old / 'model.py'), device='cpu')
    assert predictor.predict([torch.zeros(20, 16, 3, dtype=torch.uint8).numpy()]).shape == (1, 3)
    longer = train_here('--resume', run.directory, *trusted, '--epochs', 2)
    assert longer.directory == run.directory
    with pytest.raises(SystemExit):
        train_here('--resume', run.directory, '--epochs', 3)


@pytest.mark.slow('a run with a page')
def test_a_page_is_made_at_the_end_of_the_run(old, trusted, list_data, train_here, tmp_path):
    words = [*list_data, '--image_size', 20, 16, '--num_workers', 0, '--epochs', 1, '--checkpoints_dir', tmp_path]
    run = train_here('--load_model_path', old / 'tudui_0.pth', *trusted, *words, '--report')
    assert list(run.directory.glob('best/*/report.html')), run.stdout


@pytest.mark.parametrize(
    ('words', 'reason'),
    [
        (['--model_source', 'FILE', '--load_model_path', 'OLD'], '--model_source: the code in this file is run'),
        (['--model_type', 'source:Tudui'], 'source:Tudui is a class in your own file: give --trust_checkpoint'),
        (['--model_type', 'source:'], "unknown model 'source:'"),
        (
            ['--trust_checkpoint', '--model_source', 'LAYERS2', '--load_model_path', 'OLD'],
            '--model_type: needed with --model_source, the network to train: source:A, source:B, or the name',
        ),
    ],
)
def test_what_is_missing_is_asked_for(old, tmp_path, words, reason, capsys):
    (tmp_path / 'two.py').write_text('class A: pass\nclass B: pass\n')
    places = {'FILE': old / 'model.py', 'OLD': old / 'tudui_0.pth', 'LAYERS2': tmp_path / 'two.py'}
    with pytest.raises(SystemExit):
        parse_train_args([str(places.get(word, word)) for word in words])
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ('text', 'reason'),
    [('1 / 0', 'cannot be run: ZeroDivisionError'), ('import nowhere_at_all', 'cannot be run: ModuleNotFoundError')],
)
def test_a_file_that_fails_says_so(old, tmp_path, text, reason):
    (tmp_path / 'failing.py').write_text(text)
    with pytest.raises(DanluError, match=reason):
        load_checkpoint(old / 'tudui_0.pth', trust=True, model_source=tmp_path / 'failing.py')


def test_a_class_that_is_not_there_is_named(old, trusted, list_data, train_here, tmp_path):
    words = [*list_data, '--image_size', 20, 16, '--checkpoints_dir', tmp_path, '--model_type', 'source:Tudi']
    with pytest.raises(DanluError, match=r'has no class Tudi \(its classes: Tudui\)'):
        train_here('--load_model_path', old / 'tudui_0.pth', *trusted, *words)


def test_the_permission_is_not_taken_from_a_file(old, tmp_path, capsys):
    for line in (f'--model_source={old / "model.py"}', f'--model_source {old / "model.py"}'):
        (tmp_path / 'args.txt').write_text(f'{line}\n--epochs 3\n')
        args = parse_train_args([f'@{tmp_path / "args.txt"}'])
        assert args.model_source is None and args.epochs == 3
        (tmp_path / 'more.txt').write_text('--epochs 7\n')
        (tmp_path / 'args.txt').write_text(f'{line} @{tmp_path / "more.txt"}\n')
        assert parse_train_args([f'@{tmp_path / "args.txt"}']).epochs == 7
        assert any('--model_source is ignored: it counts on the command line only' in note for note in args.past)
