"""Targets of regression are standardised inside: networks learn them in any units, and everything shows the units."""

import csv
from argparse import Namespace

import numpy as np
import pytest
import torch
from torch import nn

from data.data_entry import select_train_loader
from eval import load_predictor
from options import parse_train_args
from train import Trainer
from utils.runs.checkpoint import load_checkpoint
from utils.tasks.target_scale import TargetScale, measure_targets, scale_of, scale_outputs

CENTRE, SPREAD = 200_000.0, 54_000.0


def table(path, count, seed, scale=SPREAD, centre=CENTRE, more=()):
    """Write a .csv of three features and the price, which is a smooth function of them; `more`: functions of it."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, 3))
    price = features @ [0.7, -0.5, 0.3] + 0.3 * np.tanh(features[:, 0] * features[:, 1])
    price = price * scale + centre
    with open(path, 'w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['rooms', 'age', 'size', 'price', *(f'more{n}' for n in range(len(more)))])
        writer.writerows([*row, y, *(extra(y) for extra in more)] for row, y in zip(features, price, strict=True))
    return path


@pytest.fixture(scope='module')
def houses(tmp_path_factory):
    """Return the directory of train.csv and val.csv."""
    folder = tmp_path_factory.mktemp('houses')
    table(folder / 'train.csv', 600, 0)
    table(folder / 'val.csv', 200, 1)
    return folder


def words_of(folder, *more):
    words = ['--task', 'regression', '--data_type', 'array', '--train_list', folder / 'train.csv']
    words += ['--val_list', folder / 'val.csv', '--model_type', 'mlp', '--lr', '0.01', '--batch_size', '32']
    return [*map(str, [*words, '--seed', 0, *more])]


@pytest.fixture(scope='module')
def run(houses, train_here, tmp_path_factory):
    """Return a run on the house prices."""
    folder = tmp_path_factory.mktemp('runs')
    return train_here(*words_of(houses, '--epochs', 12, '--save_prefix', 'houses', '--checkpoints_dir', folder))


def history(run):
    with open(run.directory / 'history.csv', newline='') as file:
        return list(csv.DictReader(file))


def test_house_prices_are_learned_in_their_units(run):
    last = history(run)[-1]
    assert float(last['val/r2']) > 0.985
    assert float(last['val/rmse']) == pytest.approx(SPREAD * np.sqrt(1 - float(last['val/r2'])), rel=0.3)
    assert float(last['val/loss']) < 0.03  # on the standardised scale


def test_the_scale_is_recorded_and_said(run, houses):
    prices = np.genfromtxt(houses / 'train.csv', delimiter=',', names=True)['price'].astype(np.float32)
    args = load_checkpoint(run.directory / 'best.pth')['args']
    assert args['target_mean'] == [pytest.approx(prices.astype(float).mean())]
    assert args['target_std'] == [pytest.approx(prices.astype(float).std())]
    assert (args['target_scale'], args['target_names']) == ('standard', ['price'])
    assert 'targets are standardised: mean ' in run.stdout
    assert '--target_scale=standard' in (run.directory / 'args.txt').read_text()


def test_a_test_gives_the_values_of_training_and_predictions_in_units(run, eval_here, houses):
    test = eval_here('--load_model_path', run.directory / 'best.pth', '--report')
    best = min(history(run), key=lambda row: float(row['val/rmse']))
    assert float(test.values['rmse']) == pytest.approx(float(best['val/rmse']), rel=1e-6)
    assert float(test.values['loss']) == pytest.approx(float(best['val/loss']), rel=1e-5)
    with open(test.directory / 'predictions.csv', encoding='utf-8-sig', newline='') as file:
        rows = list(csv.DictReader(file))
    prices = np.genfromtxt(houses / 'val.csv', delimiter=',', names=True)['price']
    predicted = np.array([float(row['prediction']) for row in rows])
    assert np.allclose([float(row['target']) for row in rows], prices)
    assert np.sqrt(np.mean((predicted - prices) ** 2)) == pytest.approx(float(test.values['rmse']), rel=1e-4)
    assert np.mean([float(row['loss']) for row in rows]) == pytest.approx(float(test.values['loss']), rel=1e-4)
    page = (test.directory / 'report.html').read_text(encoding='utf-8')
    assert 'target price' in page

    features = np.genfromtxt(houses / 'val.csv', delimiter=',', skip_header=1)[:, :3]
    from_python = load_predictor(run.directory / 'best.pth', device='cpu').predict(features)
    assert np.allclose(from_python[:, 0].numpy(), predicted, rtol=1e-5)


def test_another_scale_for_a_test_is_named_as_the_reason_for_other_outputs(run, eval_here):
    test = eval_here('--load_model_path', run.directory / 'best.pth', '--target_scale', 'none')
    assert '--target_scale: standard -> none' in test.stdout
    assert 'same code, options and versions' not in test.stdout


def test_the_units_do_not_change_what_is_learned(houses, run, tmp_path, train_here):
    table(tmp_path / 'train.csv', 600, 0, scale=1.0, centre=0.0)
    table(tmp_path / 'val.csv', 200, 1, scale=1.0, centre=0.0)
    small = train_here(*words_of(tmp_path, '--epochs', 12, '--checkpoints_dir', tmp_path / 'runs'))
    for large, row in zip(history(run), history(small), strict=True):
        assert float(large['val/r2']) == pytest.approx(float(row['val/r2']), abs=2e-3)


@pytest.mark.slow('three runs')
def test_a_resumed_run_keeps_its_scale(run, houses, tmp_path, train_here):
    words = words_of(houses, '--save_prefix', 'resumed', '--checkpoints_dir', tmp_path)
    begun = train_here(*words, '--epochs', 11)
    resumed = train_here('--resume', str(begun.directory), '--epochs', '12')
    assert history(resumed)[-1]['val/rmse'] == history(run)[-1]['val/rmse']


def test_none_leaves_targets_and_outputs_as_they_are(houses, tmp_path):
    args = parse_train_args(words_of(houses, '--checkpoints_dir', tmp_path, '--target_scale', 'none'))
    select_train_loader(args)
    assert (args.target_mean, scale_of(args)) == (None, None)
    pair = torch.ones(2, 1), torch.zeros(2, 1)
    assert TargetScale(args, torch.device('cpu'))(*pair) is not None
    assert all(a is b for a, b in zip(TargetScale(args, 'cpu')(*pair), pair, strict=True))


def test_given_numbers_are_taken(houses, tmp_path):
    words = ['--target_mean', '1000', '--target_std', '10', '--target_names', 'euros']
    args = parse_train_args([*words_of(houses, '--checkpoints_dir', tmp_path), *words])
    select_train_loader(args)
    assert scale_of(args) == ([1000.0], [10.0])
    assert args.target_names == ['euros']


def test_several_targets_have_a_scale_and_a_name_each(tmp_path, train_here, eval_here):
    for name, count, seed in (('train', 200, 0), ('val', 60, 1)):
        table(tmp_path / f'{name}.csv', count, seed, more=(lambda price: price / 1e9, lambda price: 7.0))
    words = words_of(tmp_path, '--target_columns', 'price', 'more0', 'more1', '--epochs', 3)
    run = train_here(*words, '--checkpoints_dir', tmp_path / 'runs')
    args = load_checkpoint(run.directory / 'best.pth')['args']
    assert args['target_std'][2] == 1.0
    assert args['target_mean'][2] == 7.0
    assert 'targets that are the same in all training samples: more1' in run.stdout
    test = eval_here('--load_model_path', run.directory / 'best.pth')
    assert {'rmse/price', 'rmse/more0', 'rmse/more1'} <= set(test.values)
    assert float(test.values['rmse/more0']) < 1e-4 * 1e9
    with open(test.directory / 'predictions.csv', encoding='utf-8-sig', newline='') as file:
        assert {'target/price', 'prediction/more0'} <= set(next(csv.reader(file)))


def test_lists_are_standardised_and_ready_made_loaders_are_not(tmp_path, train_here):
    from PIL import Image

    random = np.random.default_rng(0)
    lines = ['path,year']
    for number in range(12):
        Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(tmp_path / f'{number}.png')
        lines.append(f'{number}.png,{1900 + number}')
    (tmp_path / 'train.csv').write_text('\n'.join(lines))
    words = ['--task', 'regression', '--data_type', 'list', '--train_list', tmp_path / 'train.csv', '--model_type']
    words += ['cifar_cnn', '--val_list', tmp_path / 'train.csv', '--epochs', 1, '--checkpoints_dir', tmp_path / 'runs']
    run = train_here(*map(str, words))
    args = load_checkpoint(run.directory / 'best.pth')['args']
    assert args['target_mean'] == [1905.5]
    assert args['target_std'] == [pytest.approx(np.arange(12).std())]
    assert args['target_names'] == ['year']

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(8, 3), torch.randn(8, 1)), 4)
    own = parse_train_args([*map(str, words), '--device', 'cpu', '--num_targets', '1'])
    trainer = Trainer(own, model=nn.Linear(3, 1), train_loader=data, val_loader=data)
    trainer.close()
    assert own.target_scale == 'none'
    assert trainer.target_scale.scale is None


@pytest.mark.parametrize(
    ('targets', 'said'),
    [
        ([1.7e9, 1.7e9 + 300], 'numbers as large as 1.7e+09 are rounded to multiples of 128'),
        ([1.7e9, 1.7e9], 'numbers as large as 1.7e+09 are rounded to multiples of 128'),
        ([1e9, 2e9], None),
        ([200_000, 300_000], None),
        ([5, 5], None),
    ],
)
def test_targets_that_float32_rounds_much_are_said(targets, said):
    given = {'target_mean': None, 'target_std': None, 'target_scale': 'standard', 'target_names': ['when']}
    args = Namespace(task='regression', data_type='list', from_data=[], **given)
    notes = measure_targets(args, Namespace(labels=torch.tensor(targets, dtype=torch.float32)[:, None]))
    found = [note for note in notes if 'float32' in note]
    assert bool(found) is (said is not None)
    assert said is None or found[0].startswith(f'target when: {said}')


def test_a_model_that_is_used_again_is_scaled_once():
    args = Namespace(task='regression', target_scale='standard', target_mean=[10.0], target_std=[2.0], num_targets=1)
    model = nn.Linear(1, 1)
    plain = model(torch.ones(1, 1))
    for _ in range(3):
        scale_outputs(model, args)
    assert torch.allclose(model(torch.ones(1, 1)), plain * 2 + 10)
    assert set(model.state_dict()) == {'weight', 'bias'}
    args.target_scale = 'none'
    assert torch.equal(scale_outputs(model, args)(torch.ones(1, 1)), plain)


def test_half_precision_keeps_large_units():
    args = Namespace(task='regression', target_scale='standard', target_mean=[2e5], target_std=[5e4], num_targets=1)
    model = scale_outputs(nn.Linear(1, 1), args)
    with torch.autocast('cpu', torch.bfloat16):
        found = model(torch.ones(1, 1))
    assert found.dtype == torch.float32
    assert found.isfinite().all()


def test_other_weights_scale_is_said(run, houses, tmp_path, train_here):
    words = words_of(houses, '--load_model_path', run.directory / 'best.pth', '--epochs', 1, '--target_scale', 'none')
    other = train_here(*words, '--checkpoints_dir', tmp_path)
    assert 'the loaded weights predict on another scale: --target_mean ' in other.stdout
