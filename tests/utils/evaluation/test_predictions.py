"""predictions.csv: a row per sample whose columns give result.txt's numbers again, for every task and loss."""

import csv
import os
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from eval import Evaluator
from loss import select_loss
from metrics import select_metrics
from options import prepare_test_args
from utils.base.csv_text import escape_cell, unescape_cell
from utils.evaluation import predictions as module
from utils.evaluation.predictions import predictions_file
from utils.runs.checkpoint import load_checkpoint
from utils.training.engine import Engine

CPU = torch.device('cpu')
CLASSES = {'num_classes': 4, 'class_names': ['tree', '猫, "cat"', '=1+1', 'sky']}


class Ready(Engine):
    """Takes batches that are (predictions, targets) already."""

    def step(self, batch):
        return batch[0], *batch


class Contrast(nn.Module):
    """A loss that compares the samples of a batch."""

    def forward(self, predictions, targets):
        return (predictions - predictions.mean(0)).square().mean()


class Cubic(nn.Module):
    """A loss of the project's own, without `each` and count, that looks at values where it is asked to."""

    def __init__(self, looking):
        super().__init__()
        self.looking = looking

    def forward(self, predictions, targets):
        if self.looking and predictions.sum().item() > 1e6:
            raise ValueError('diverged')
        return (predictions - targets).abs().pow(3).mean()


class Refusing(nn.Module):
    """A loss that takes no batch of one."""

    def forward(self, predictions, targets):
        if len(predictions) < 2:
            raise ValueError('two or more, please')
        return predictions.var()


def options(task, **given):
    """Return the options that losses, metrics and columns look at."""
    known = {
        'task': task, 'loss': None, 'loss_args': None, 'ignore_index': None, 'label_smoothing': 0.0,
        'class_weights': None, 'metrics': None, 'num_classes': None, 'class_names': None, 'num_targets': None,
        'target_columns': None, 'image_size': [16, 20], 'mean': [0.0], 'std': [1.0], 'print_freq': 100, **given,
    }  # fmt: skip
    return SimpleNamespace(**known)


def samples(task, count, seed=0):
    """Return random predictions and targets of a task with 4 classes."""
    random = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(shape, generator=random)

    if task == 'classification':
        return uniform(count, 4) * 4, torch.randint(0, 4, (count,), generator=random)
    if task == 'multilabel':
        return uniform(count, 4) * 60 - 30, (uniform(count, 4) > 0.5).float()
    if task == 'segmentation':
        return uniform(count, 4, 16, 20) * 4, torch.randint(0, 4, (count, 4, 5), generator=random).repeat(1, 4, 4)
    if task == 'regression':
        return uniform(count, 2), uniform(count, 2) * 3
    return uniform(count, 3, 16, 20) * 1.2, uniform(count, 3, 16, 20)


def written(path, args, predictions, targets, engine=Ready, loss=None):
    """Return the results of an evaluation, and the predictions.csv that it wrote, read by pandas."""
    engine = engine(args, nn.Identity(), select_loss(args) if loss is None else loss, CPU)
    batches = list(zip(predictions.split(5), targets.split(5), strict=True))
    with predictions_file(path, engine, str) as rows:
        results, _ = engine.evaluate(batches, select_metrics(args), lambda first, _, *batch: rows.add(first, *batch))
    return results, pd.read_csv(path, dtype={'name': str}, float_precision='round_trip') if path.exists() else None


def mean_of(table, part):
    """Return the value that result.txt has for a loss."""
    weights = table.get(f'{part}_weight', pd.Series(np.ones(len(table))))
    counted = weights > 0
    return np.average(table[part][counted], weights=weights[counted])


# --- the columns give the results again

LOSSES = [
    ('classification', {'loss': 'ce'}),
    ('classification', {'loss': 'ce', 'label_smoothing': 0.1, 'class_weights': [1.0, 2.0, 3.5, 0.5]}),
    ('classification', {'loss': 'focal', 'class_weights': [1.0, 2.0, 0.0, 0.5], 'ignore_index': 3}),
    ('classification', {'loss': 'ce', 'ignore_index': 3}),
    ('multilabel', {'loss': 'bce', 'class_weights': [1.0, 2.0, 0.0, 0.5]}),
    ('multilabel', {'loss': 'focal'}),
    ('segmentation', {'loss': 'ce', 'ignore_index': 3}),
    ('segmentation', {'loss': 'focal'}),
    ('segmentation', {'loss': 'dice', 'ignore_index': 3}),
    ('segmentation', {'loss': 'ce+0.5*tversky', 'ignore_index': 3, 'class_weights': [1.0, 2.0, 3.0, 0.5]}),
    ('regression', {'loss': 'mse'}),
    ('regression', {'loss': 'l1+2*huber', 'loss_args': ['delta=0.3']}),
    ('restoration', {'loss': 'charbonnier+0.2*ssim'}),
    ('restoration', {'loss': 'mse'}),
]


@pytest.mark.parametrize(('task', 'given'), LOSSES)
def test_the_losses_of_the_samples_make_up_the_loss_of_the_set(task, given, tmp_path):
    classes = CLASSES if task in ('classification', 'multilabel', 'segmentation') else {'num_targets': 2}
    predictions, targets = samples(task, 23)
    if task == 'segmentation':
        targets[7] = 3  # a picture without a pixel that counts, where 3 is ignored
    results, table = written(tmp_path / 'p.csv', options(task, **classes, **given), predictions, targets)
    parts = [name for name in results if name == 'loss' or name.startswith('loss_')]
    terms = given['loss'].split('+')
    assert len(parts) == (1 if len(terms) == 1 else 1 + len(terms))
    if len(terms) == 1 or 'ignore_index' not in given:
        assert mean_of(table, 'loss') == pytest.approx(results['loss'], rel=1e-5)
    for part in parts[1:] or parts:
        assert mean_of(table, part) == pytest.approx(results[part], rel=1e-5)
    loss = select_loss(options(task, **classes, **given))
    for index in (0, 7, 22):
        alone = loss(predictions[index : index + 1], targets[index : index + 1]).item()
        counted = not np.isnan(table['loss'][index])
        assert table['loss'][index] == pytest.approx(alone, rel=1e-4) if counted else alone == 0
    assert ('loss_weight' in table) == (len(terms) == 1 and loss.each(predictions, targets)[1] is not None)


def test_the_metrics_of_a_classification_are_in_its_columns(tmp_path):
    predictions, targets = samples('classification', 60)
    args = options('classification', loss='ce', ignore_index=3, **CLASSES)
    results, table = written(tmp_path / 'p.csv', args, predictions, targets)
    assert list(table) == [
        *('name', 'target', 'prediction', 'correct', 'confidence', 'target_probability', 'loss', 'loss_weight'),
    ]
    assert table['correct'].mean() == results['acc']
    names, counted = CLASSES['class_names'], targets != 3
    assert table['name'].tolist() == [str(index) for index in range(60)]
    cells = [escape_cell(name) for name in names]  # as a spreadsheet shows =1+1 for text
    assert table['target'].tolist() == [cells[label] for label in targets]
    assert table['prediction'].tolist() == [cells[label] for label in predictions.argmax(1)]
    assert table['correct'].notna().tolist() == counted.tolist()
    probabilities = predictions.softmax(1)
    assert table['confidence'].to_numpy(np.float32).tolist() == probabilities.amax(1).tolist(), 'to the last digit'
    of_target = probabilities.gather(1, targets[:, None])[:, 0]
    assert table['target_probability'][counted.numpy()].to_numpy(np.float32).tolist() == of_target[counted].tolist()
    assert table['loss'].notna().tolist() == counted.tolist()


def test_the_metrics_of_a_segmentation_are_in_its_columns(tmp_path):
    predictions, targets = samples('segmentation', 12)
    targets[4] = 2
    args = options('segmentation', loss='ce', ignore_index=2, **CLASSES)
    results, table = written(tmp_path / 'p.csv', args, predictions, targets)
    names = [name for index, name in enumerate(CLASSES['class_names']) if index != 2]
    ious = {name: table[f'intersection/{name}'].sum() / table[f'union/{name}'].sum() for name in names}
    assert 'union/=1+1' not in table, 'an ignored class has no IoU'
    assert [table[f'truth/{name}'].sum() for name in names] == [(targets == index).sum() for index in (0, 1, 3)]
    for name, value in ious.items():
        assert value == results[f'iou/{name}']
    assert np.mean(list(ious.values())) == pytest.approx(results['miou'], rel=1e-12)
    assert np.average(table['pixel_acc'].fillna(0), weights=table['pixels']) == pytest.approx(results['pixel_acc'])
    assert table['pixels'].tolist() == (targets != 2).flatten(1).sum(1).tolist()
    for index in range(12):  # each picture as a set of its own
        if index == 4:
            assert table.loc[4, ['miou', 'pixel_acc', 'loss']].isna().all()
            continue
        metrics = select_metrics(args)
        metrics.update(predictions[index : index + 1], targets[index : index + 1])
        values = metrics.compute()
        assert table['miou'][index] == pytest.approx(values['miou'], rel=1e-6)
        assert table['pixel_acc'][index] == pytest.approx(values['pixel_acc'], rel=1e-6)


def test_the_metrics_of_multilabel_are_in_its_columns(tmp_path):
    """The average precision too, from scores of which many are close to 0 and 1."""
    predictions, targets = samples('multilabel', 40)
    targets[3] = 0
    args = options('multilabel', loss='bce', **CLASSES)
    results, table = written(tmp_path / 'p.csv', args, predictions, targets)
    assert table['correct'].mean() == results['exact_match']
    names = CLASSES['class_names']
    truth = pd.Series(table['target'].fillna('')).map(unescape_cell).str.get_dummies('|')[names].to_numpy()
    assert truth.tolist() == targets.int().tolist()
    assert table['target'].isna()[3]
    scores = table[[f'score/{name}' for name in names]].to_numpy()
    metrics = select_metrics(args)
    metrics.update(torch.from_numpy(scores).logit().float(), targets)
    again = metrics.compute()
    assert again['f1_macro'] == results['f1_macro']
    assert again['map'] == pytest.approx(results['map'], rel=1e-12)
    assert scores.tolist() == predictions.double().sigmoid().tolist()


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_the_metrics_of_a_regression_are_in_its_columns(tmp_path, dtype):
    predictions, targets = samples('regression', 30)
    targets = targets.to(dtype) + (1e-12 if dtype == torch.float64 else 0)
    args = options('regression', loss='mse', num_targets=2, target_columns=['x', 'y'])
    results, table = written(tmp_path / 'p.csv', args, predictions, targets)
    assert list(table) == [
        *('name', 'target/x', 'target/y', 'prediction/x', 'prediction/y', 'error/x', 'error/y', 'loss'),
    ]
    for index, name in enumerate('xy'):
        assert np.sqrt(table[f'error/{name}'].pow(2).mean()) == pytest.approx(results[f'rmse/{index}'], rel=1e-6)
        assert table[f'target/{name}'].to_numpy(targets.numpy().dtype).tolist() == targets[:, index].tolist()
        assert table[f'prediction/{name}'].to_numpy(np.float32).tolist() == predictions[:, index].tolist()
    args = options('regression', loss='mse', num_targets=1)
    _, table = written(tmp_path / 'one.csv', args, predictions[:, :1], targets[:, :1])
    assert list(table) == ['name', 'target', 'prediction', 'error', 'loss']


def test_the_metrics_of_a_restoration_are_in_its_columns(tmp_path):
    args = options('restoration', loss='l1')
    results, table = written(tmp_path / 'p.csv', args, *samples('restoration', 9))
    assert list(table) == ['name', 'psnr', 'ssim', 'mae', 'loss']
    for name in ('psnr', 'ssim', 'mae'):
        assert table[name].mean() == pytest.approx(results[name], rel=1e-6)
    assert table['psnr'].std() > 0


def test_class_probabilities_are_targets_too(tmp_path):
    predictions, targets = samples('classification', 20)
    soft = 0.9 * nn.functional.one_hot(targets, 4) + 0.025
    results, table = written(tmp_path / 'p.csv', options('classification', loss='ce', **CLASSES), predictions, soft)
    assert table['correct'].mean() == results['acc']
    assert table['loss'].mean() == pytest.approx(results['loss'], rel=1e-6)


# --- losses and tasks of a project's own


@pytest.mark.parametrize('looking', [False, True])
def test_a_loss_of_the_projects_own_is_worked_out_sample_by_sample(tmp_path, looking):
    """One that torch.func.vmap can follow, and one that it cannot."""
    args, loss = options('regression', loss='mse', num_targets=2), Cubic(looking)
    predictions, targets = samples('regression', 17)
    results, table = written(tmp_path / 'p.csv', args, predictions, targets, loss=loss)
    alone = [loss(predictions[i : i + 1], targets[i : i + 1]).item() for i in range(17)]
    assert table['loss'].tolist() == pytest.approx(alone, rel=1e-5)
    assert table['loss'].mean() == pytest.approx(results['loss'], rel=1e-6)


class Counted(nn.Module):
    """A loss of the project's own with a count by sample, which looks at values."""

    def forward(self, predictions, targets):
        weights = self.weights(targets)
        return ((predictions - targets).square().mean(1) * weights).sum() / weights.sum()

    def weights(self, targets):
        return torch.tensor([float(row[0] > 1) + 0.5 for row in targets])

    def count(self, predictions, targets):
        return self.weights(targets).sum()


def test_a_loss_of_the_projects_own_with_a_count_has_weights(tmp_path):
    args = options('regression', loss='mse', num_targets=2)
    results, table = written(tmp_path / 'p.csv', args, *samples('regression', 17), loss=Counted())
    assert set(table['loss_weight']) == {0.5, 1.5}
    assert mean_of(table, 'loss') == pytest.approx(results['loss'], rel=1e-6)


@pytest.mark.parametrize(('loss', 'said'), [(Contrast(), 'do not add up'), (Refusing(), 'two or more, please')])
def test_a_loss_without_a_meaning_for_one_sample_has_no_column(tmp_path, capsys, loss, said):
    args = options('regression', loss='mse', num_targets=2)
    _, table = written(tmp_path / 'p.csv', args, *samples('regression', 17), loss=loss)
    assert list(table)[-1] == 'error/1'
    assert len(table) == 17
    out = capsys.readouterr().out
    assert out.startswith('p.csv has no column loss: ')
    assert said in out


class Doubling(Ready):
    """An engine with a loss of its own."""

    def compute_loss(self, predictions, targets):
        return 2 * self.loss(predictions, targets)


class Pairs(Ready):
    """An engine whose predictions are no tensor."""

    def step(self, batch):
        return batch[0], (batch[0], batch[0]), batch[1]

    def compute_loss(self, predictions, targets):
        return self.loss(predictions[0], targets)

    def compute_metrics(self, predictions, targets, metrics):
        metrics.update(predictions[0], targets)


def test_compute_loss_of_a_new_task_is_the_loss_of_the_samples(tmp_path):
    args = options('classification', loss='ce', **CLASSES)
    results, table = written(tmp_path / 'p.csv', args, *samples('classification', 17), engine=Doubling)
    assert table['loss'].mean() == pytest.approx(results['loss'], rel=1e-6)


def test_predictions_of_another_kind_are_left_out_in_one_line(tmp_path, capsys):
    args = options('classification', loss='ce', **CLASSES)
    results, table = written(tmp_path / 'p.csv', args, *samples('classification', 17), engine=Pairs)
    assert table is None
    assert 0 < results['acc'] < 1, 'the test goes on'
    assert list(tmp_path.iterdir()) == []
    said = 'p.csv is not written: a batch of task classification has a tuple instead of a tensor\n'
    assert capsys.readouterr().out == said


@pytest.mark.parametrize('task', ['classification', 'multilabel', 'segmentation', 'regression', 'restoration'])
def test_what_has_another_shape_is_left_out(task, tmp_path):
    """Each task's predictions with the targets of another one."""
    args = options(task, loss=None, num_targets=2, **CLASSES)
    engine = Ready(args, nn.Identity(), nn.Identity(), CPU)
    for other in ('classification', 'segmentation', 'regression', 'restoration'):
        with predictions_file(tmp_path / 'p.csv', engine, str) as rows:
            rows.add(0, samples(task, 5)[0], samples(other, 5)[1])
            assert bool(rows.fault) == (other != task), rows.fault


# --- the file


def test_it_is_written_in_pieces_and_the_pieces_do_not_show(tmp_path, monkeypatch):
    """As one group, and as many; with batches of several sizes, whose pictures are of two sizes."""
    args = options('segmentation', loss='ce+dice', ignore_index=3, **CLASSES)
    engine = Ready(args, nn.Identity(), select_loss(args), CPU)
    (one, masks), texts = samples('segmentation', 12), []
    batches = [(one[:5], masks[:5]), (one[5:6, :, :8], masks[5:6, :8]), (one[6:7], masks[6:7]), (one[7:], masks[7:])]
    for numbers, rows in ((2**20, 2**11), (1, 2**11), (2**20, 2)):
        monkeypatch.setattr(module, 'MAX_BUFFERED_NUMBERS', numbers)
        monkeypatch.setattr(module, 'MAX_BUFFERED_ROWS', rows)
        with predictions_file(tmp_path / 'p.csv', engine, 'picture {}'.format) as file:
            first = 0
            for batch in batches:
                file.add(first, *batch)
                first += len(batch[0])
        texts.append((tmp_path / 'p.csv').read_bytes())
    assert texts[0] == texts[1] == texts[2]
    assert texts[0].count(b'\r\n') == 13


def test_a_test_that_fails_leaves_no_file(tmp_path):
    args = options('classification', loss='ce', **CLASSES)
    engine = Ready(args, nn.Identity(), select_loss(args), CPU)
    with pytest.raises(KeyboardInterrupt), predictions_file(tmp_path / 'p.csv', engine, str) as rows:
        rows.add(0, *samples('classification', 5))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope='module')
def short_run(train_here, list_data, tmp_path_factory):
    """Return a run of an epoch on `list_data`."""
    folder = tmp_path_factory.mktemp('short')
    return train_here(*list_data, '--epochs', 1, '--num_workers', 0, '--checkpoints_dir', folder)


def test_a_test_writes_it_beside_result_txt(short_run, eval_here):
    words = ['--load_model_path', short_run.directory / 'best.pth', '--batch_size', 4, '--num_workers', 0]
    test = eval_here(*words, '--save_viz')
    path = test.directory / 'predictions.csv'
    with open(path, newline='', encoding='utf-8-sig') as file:
        rows = list(csv.DictReader(file))
    assert path.read_bytes().startswith(b'\xef\xbb\xbf'), 'or Excel takes it for another encoding'
    listed = load_checkpoint(short_run.directory / 'best.pth')['args']['val_list']
    with open(listed, encoding='utf-8') as file:
        lines = [line.split() for line in file]
    assert [(row['name'], row['target']) for row in rows] == [tuple(line) for line in lines]
    assert np.mean([int(row['correct']) for row in rows]) == float(test.values['acc'])
    assert np.mean([float(row['loss']) for row in rows]) == pytest.approx(float(test.values['loss']), rel=1e-6)
    assert len(os.listdir(test.directory / 'viz')) == len(rows)


def test_a_mask_test_has_weights_and_its_own_names(mask_run, eval_here):
    test = eval_here('--load_model_path', mask_run.directory / 'best.pth')
    table = pd.read_csv(test.directory / 'predictions.csv')
    assert table['name'].tolist() == [f'val{index}.png' for index in range(5)]
    assert mean_of(table, 'loss') == pytest.approx(float(test.values['loss']), rel=1e-6)
    ious = [table[f'intersection/{k}'].sum() / table[f'union/{k}'].sum() for k in range(3)]
    assert np.nanmean(ious) == pytest.approx(float(test.values['miou']), rel=1e-12)


class Two(Evaluator):
    """A task of a project's own: two outputs."""

    def step(self, batch):
        images, predictions, targets = super().step(batch)
        return images, [predictions, predictions], targets

    def compute_loss(self, predictions, targets):
        return self.loss(predictions[0], targets)

    def compute_metrics(self, predictions, targets, metrics):
        metrics.update(predictions[1], targets)


def test_an_evaluator_of_a_projects_own_goes_on_without_it(short_run, capsys):
    path = short_run.directory / 'best.pth'
    words = ['--load_model_path', str(path), '--num_workers', '0', '--save_prefix', 'own']
    args = prepare_test_args(words, load_checkpoint(path)['args'])
    results = Two(args).eval()
    assert 'predictions.csv is not written: a batch of task classification has a list' in capsys.readouterr().out
    assert set(os.listdir(args.result_dir)) == {'args.txt', 'result.txt', 'confusion_matrix.csv', 'contents.bin'}
    assert 0 <= results['acc'] <= 1
