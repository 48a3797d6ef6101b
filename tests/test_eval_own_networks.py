"""Evaluator and load_predictor with a network of one's own, plain loaders, ready-made losses and metrics."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from eval import Evaluator, load_predictor
from options import test_args as args_of_test
from tests.networks import Dropping
from tests.train.helpers import loader, notebook_trainer, samples
from utils.base.errors import DanluError
from utils.runs.checkpoint import load_checkpoint


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Return the Trainer of a run with a network and loaders of one's own, and its best.pth."""
    folder = tmp_path_factory.mktemp('own_networks')
    trainer = notebook_trainer(folder, '--epochs', 2, '--lr', 0.01, '--mean', 0.0, '--std', 1.0)
    trainer.train()
    return trainer, str(folder / 'lenet_exp' / 'best.pth')


@pytest.mark.slow_after(2, 'a run and a test each')
@pytest.mark.parametrize(
    'data',
    [
        lambda: loader(21, 1),
        lambda: samples(21, 1),
        lambda: list(loader(21, 1)),
        lambda: lambda: iter(loader(21, 1)),
    ],
    ids=['loader', 'data set', 'list', 'function'],
)
def test_a_test_gives_the_values_of_validation(run, data, tmp_path):
    _, best = run
    args = args_of_test(best, device='cpu', result_dir=f'{best[:-4]}/{tmp_path.name}', report=True)
    values = Evaluator(args, net=Dropping(), loader=data(), say=lambda line: None).eval()
    row = load_checkpoint(best)['metrics']
    assert values['acc'] == row['val/acc'] and values['loss'] == pytest.approx(row['val/loss'], rel=1e-6)
    with open(f'{args.result_dir}/predictions.csv', newline='', encoding='utf-8-sig') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 21
    assert sum(row['correct'] == '1' for row in rows) / 21 == pytest.approx(values['acc'])
    page = Path(args.result_dir, 'report.html').read_text(encoding='utf-8')
    assert page.count('<svg') > 3 and 'AttributeError' not in page


def test_the_result_names_the_data_that_was_tested_on(run):
    _, best = run
    args = args_of_test(best, device='cpu', save_prefix='named')
    Evaluator(args, net=Dropping(), loader=loader(21, 1)).eval()
    assert Path(args.result_dir).name == 'val_loader_named'
    text = Path(args.result_dir, 'result.txt').read_text(encoding='utf-8')
    assert '# list: ready-made: DataLoader of TensorDataset' in text


def test_pictures_are_saved_of_plain_loaders(run):
    _, best = run
    args = args_of_test(best, device='cpu', save_viz=True, viz_freq=10, result_dir=f'{best[:-4]}/pictures')
    Evaluator(args, net=Dropping(), loader=loader(21, 1)).eval()
    assert [path.name[:6] for path in sorted(Path(args.result_dir, 'viz').iterdir())] == ['000000', '000010', '000020']


def test_a_loader_that_shuffles_is_refused(run):
    _, best = run
    with pytest.raises(DanluError, match='the loader shuffles'):
        Evaluator(args_of_test(best, device='cpu'), net=Dropping(), loader=DataLoader(samples(21, 1), shuffle=True))


def test_ready_made_losses_and_metrics_are_used(run, capsys):
    def half(predictions, targets):
        return (predictions.argmax(1) == targets).double().mean() / 2

    _, best = run
    args = args_of_test(best, device='cpu', result_dir=f'{best[:-4]}/ready')
    evaluator = Evaluator(
        args, net=Dropping(), loader=loader(21, 1), loss=nn.CrossEntropyLoss(), metrics={'half': half}
    )
    values = evaluator.eval()
    row = load_checkpoint(best)['metrics']
    assert set(values) == {'loss', 'half'} and values['half'] == pytest.approx(row['val/acc'] / 2)
    assert evaluator.evaluate(loader(21, 1)) == values


def test_a_missing_loss_of_the_run_is_said(tmp_path, capsys):
    trainer = notebook_trainer(tmp_path, '--epochs', 1, loss=nn.functional.cross_entropy)
    trainer.train()
    args = args_of_test(str(tmp_path / 'lenet_exp' / 'best.pth'), device='cpu')
    Evaluator(args, net=Dropping(), loader=loader(21, 1))
    assert 'ready-made loss of the run, function cross_entropy' in capsys.readouterr().out


def test_without_the_network_it_is_asked_for(run):
    _, best = run
    with pytest.raises(DanluError, match=r'load_predictor\(path, net=\.\.\.\)'):
        load_predictor(best)
    with pytest.raises(DanluError, match=r'does not fit Linear'):
        load_predictor(best, net=nn.Linear(2, 2))


def test_a_predictor_of_ones_own_network(run):
    trainer, best = run
    predictor = load_predictor(best, net=Dropping(), device='cpu')
    images, _ = samples(21, 1).tensors
    assert torch.equal(predictor.predict(images), trainer.predict(images))
    pixels = [np.full((4, 4, 3), 100, np.uint8)]
    assert predictor.predict(pixels).shape == (1, 3)


def test_sizes_that_nobody_told_are_asked_for(tmp_path):
    trainer = notebook_trainer(tmp_path, '--epochs', 1)
    trainer.train()
    best = str(tmp_path / 'lenet_exp' / 'best.pth')
    with pytest.raises(DanluError, match='how images were normalised is not known'):
        load_predictor(best, net=Dropping(), device='cpu').predict([np.zeros((2, 2, 3), np.uint8)])
    predictor = load_predictor(best, net=Dropping(), device='cpu', mean=[0.0], std=[1.0])
    assert predictor.predict([np.zeros((2, 2, 3), np.uint8)]).shape == (1, 3)
