"""Binary classification with one logit per sample, by --loss bce and by ready-made parts."""

import csv
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from eval import load_predictor
from loss import select_loss
from options import parse_train_args, train_args
from tests.train.helpers import computed
from train import Trainer
from utils.base.errors import DanluError
from utils.runs.checkpoint import load_checkpoint

COUNT = 45  # of each split; batches of 8 leave one of 5


def numbers(seed):
    """Return features (N, 4) and classes 0/1 (N,), one in eight of them wrong."""
    generator = np.random.default_rng(seed)
    classes = generator.integers(0, 2, COUNT)
    features = generator.normal(size=(COUNT, 4)) + classes[:, None]
    return features.astype(np.float32), np.where(generator.random(COUNT) < 0.125, 1 - classes, classes)


@pytest.fixture(scope='module')
def tables(tmp_path_factory):
    """Return the options (list of str) of a table with two classes, cat and dog."""
    folder = tmp_path_factory.mktemp('tables')
    for seed, split in enumerate(('train', 'val')):
        features, classes = numbers(seed)
        with open(folder / f'{split}.csv', 'w', newline='') as file:
            writer = csv.writer(file)
            writer.writerow(['a', 'b', 'c', 'd', 'kind'])
            writer.writerows([*row, ['cat', 'dog'][k]] for row, k in zip(features.tolist(), classes, strict=True))
    return [
        *('--data_type', 'array', '--train_list', folder / 'train.csv', '--val_list', folder / 'val.csv'),
        *('--model_type', 'mlp', '--model_args', 'hidden=8', '--batch_size', 8, '--lr', 0.02, '--epochs', 2),
    ]


@pytest.fixture(scope='module')
def run(tables, train_here, tmp_path_factory):
    folder = tmp_path_factory.mktemp('one_logit')
    return train_here(*tables, '--loss', 'bce', '--metrics', 'auroc', '--checkpoints_dir', folder)


def test_the_network_has_one_output_and_everything_of_a_test_is_there(run, eval_here, history_of):
    checkpoint = load_checkpoint(run.directory / 'best.pth')
    assert list(checkpoint['model'].values())[-1].shape == (1,)
    assert checkpoint['args']['num_classes'] == 2
    test = eval_here('--load_model_path', run.directory / 'best.pth', '--report')
    best = max(history_of(run), key=lambda row: float(row['val/acc']))
    for name in ('loss', 'acc', 'f1_macro', 'auroc'):
        assert float(test.values[name]) == float(best[f'val/{name}'])
    assert (test.directory / 'report.html').is_file()
    with open(test.directory / 'predictions.csv', newline='', encoding='utf-8-sig') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == COUNT and {row['prediction'] for row in rows} <= {'cat', 'dog'}
    assert np.mean([row['correct'] == '1' for row in rows]) == pytest.approx(float(test.values['acc']))
    assert np.mean([float(row['loss']) for row in rows]) == pytest.approx(float(test.values['loss']), rel=1e-5)
    for row in rows:  # the loss is that of the probability of the truth
        assert float(row['loss']) == pytest.approx(-np.log(float(row['target_probability'])), rel=1e-4)
    with open(test.directory / 'confusion_matrix.csv', newline='') as file:
        table = [[int(cell) for cell in row[1:]] for row in list(csv.reader(file))[1:]]
    truth, said = ([row[name] == 'dog' for row in rows] for name in ('target', 'prediction'))
    assert table == [[sum(t == i and s == j for t, s in zip(truth, said, strict=True)) for j in (0, 1)] for i in (0, 1)]


def test_the_predictor_gives_the_probabilities_of_both_classes(run):
    predictor = load_predictor(str(run.directory / 'best.pth'), device='cpu')
    features, classes = numbers(1)
    found = predictor.predict(features)
    assert found.shape == (COUNT, 2) and torch.allclose(found.sum(1), torch.ones(COUNT))
    share = (found.argmax(1).numpy() == classes).mean()
    assert share == pytest.approx(load_checkpoint(run.directory / 'best.pth')['metrics']['val/acc'])


def test_num_classes_1_says_the_same(run, tables, train_here, tmp_path, history_of):
    words = ['--loss', 'bce', '--num_classes', 1, '--metrics', 'auroc', '--checkpoints_dir', tmp_path]
    same = train_here(*tables, *words)
    assert computed(history_of(same)) == computed(history_of(run))


def test_balanced_weights_count(tables, train_here, tmp_path, history_of):
    words = ['--loss', 'bce', '--class_weights', 'balanced', '--checkpoints_dir', tmp_path]
    rows = history_of(train_here(*tables, *words))
    assert float(rows[-1]['val/acc']) > 0.6


def test_the_loss_is_the_cross_entropy_of_two_classes():
    args = SimpleNamespace(loss='bce', task='classification', num_classes=2, ignore_index=None, label_smoothing=0.0,
                           class_weights=[0.5, 2.0], loss_args=None)  # fmt: skip
    logits, targets = torch.randn(9, 1), torch.randint(0, 2, (9,))
    two = torch.cat([torch.zeros(9, 1), logits], 1)
    loss, floats = select_loss(args), targets.float().view(9, 1)
    wanted = functional.cross_entropy(two, targets, weight=torch.tensor([0.5, 2.0]))
    assert loss(logits, floats).item() == pytest.approx(wanted.item())
    values, counts = loss.each(logits, floats)
    assert counts.sum().item() == pytest.approx(loss.count(logits, floats).item())
    assert ((values * counts).sum() / counts.sum()).item() == pytest.approx(wanted.item())


@pytest.mark.parametrize(
    ('words', 'reason'),
    [
        (['--loss', 'bce', '--num_classes', 3], '--loss: bce takes one logit for two classes, not for 3'),
        (['--loss', 'ce+bce', '--num_classes', 2], r'--loss: ce\+bce: bce takes one logit for two classes'),
        (['--num_classes', 1], '--num_classes: must be at least 2 .* with one output give --loss bce too'),
        (['--loss', 'ce', '--num_classes', 1], '--num_classes: must be at least 2'),
        (['--task', 'multilabel', '--num_classes', 1], '--num_classes: must be at least 2'),
        (['--loss', 'bce', '--num_classes', 2, '--mixup', 0.2], '--mixup: mixed labels are class probabilities'),
        (['--loss', 'bce', '--num_classes', 2, '--label_smoothing', 0.1], '--label_smoothing: has no effect'),
    ],
)
def test_what_does_not_go_with_one_logit_is_refused(words, reason, capsys):
    with pytest.raises(SystemExit):
        parse_train_args(list(map(str, words)))
    error = ' '.join(capsys.readouterr().err.split())
    assert re.search(reason, error), error


def test_data_of_more_classes_is_refused(train_here, tmp_path):
    with pytest.raises(DanluError, match='--loss: bce takes one logit for two classes, not for 10: give --loss ce'):
        train_here('--loss', 'bce', '--checkpoints_dir', tmp_path)


class Net(nn.Module):
    """One logit per sample, (N, 1), or where it is flat (N,)."""

    def __init__(self, flat=False):
        super().__init__()
        self.layer, self.flat = nn.Linear(4, 1), flat

    def forward(self, features):
        logits = self.layer(features)
        return logits[:, 0] if self.flat else logits


def loader(seed, change=lambda targets: targets):
    features, classes = numbers(seed)
    data = TensorDataset(torch.from_numpy(features), change(torch.from_numpy(classes).long()))
    return DataLoader(data, batch_size=8, generator=torch.Generator())


def own_trainer(folder, flat=False, change=lambda targets: targets, **parts):
    torch.manual_seed(3)
    options = {'num_classes': 2, 'lr': 0.05, 'epochs': 1, 'checkpoints_dir': str(folder), 'device': 'cpu'}
    parts = {'train_loader': loader(0, change), 'val_loader': loader(1, change), **parts}
    return Trainer(train_args(**options), model=Net(flat), **parts)


TARGETS = {
    'int': lambda targets: targets,
    'float': lambda targets: targets.float(),
    'column of floats': lambda targets: targets.float()[:, None],
    'column of ints': lambda targets: targets[:, None],
    'bool': lambda targets: targets == 1,
}


@pytest.mark.slow_after(4, 'a run each')
@pytest.mark.parametrize('flat', [False, True])
@pytest.mark.parametrize('name', TARGETS)
def test_own_networks_with_any_targets(tmp_path, flat, name):
    trainer = own_trainer(tmp_path, flat, TARGETS[name], loss=nn.BCEWithLogitsLoss())
    (row,) = trainer.train()
    features, classes = (torch.from_numpy(part) for part in numbers(1))
    with torch.no_grad():
        logits = trainer.net(features).reshape(-1)
    wanted = functional.binary_cross_entropy_with_logits(logits, classes.float()).item()
    assert row['val/loss'] == pytest.approx(wanted, rel=1e-5)
    assert row['val/acc'] == pytest.approx(((logits > 0) == classes).float().mean().item())


@pytest.mark.parametrize(
    'loss',
    [None, nn.CrossEntropyLoss(), functional.binary_cross_entropy_with_logits],
    ids=['ce', 'torch ce', 'function'],
)
def test_losses_of_classes_and_of_logits_learn_the_same(tmp_path, loss):
    wanted = own_trainer(tmp_path, loss=nn.BCEWithLogitsLoss())
    found = own_trainer(tmp_path, **({} if loss is None else {'loss': loss}))
    rows = [trainer.train()[0] for trainer in (wanted, found)]
    assert rows[1]['val/loss'] == pytest.approx(rows[0]['val/loss'], rel=1e-4)
    assert torch.allclose(found.net.layer.weight, wanted.net.layer.weight, atol=1e-5)


def test_targets_that_are_no_classes_are_refused(tmp_path):
    trainer = own_trainer(tmp_path, change=lambda targets: targets * 0.5, loss=nn.BCEWithLogitsLoss())
    with pytest.raises(DanluError, match='targets are below 0'):
        trainer.train()


def test_metrics_of_ones_own_get_shapes_that_do_not_broadcast(tmp_path):
    from torchmetrics.classification import BinaryAccuracy

    def share(predictions, targets):
        assert predictions.shape == targets.shape == (len(predictions), 1)
        return ((predictions > 0) == (targets > 0)).float().mean()

    metrics = {'share': share, 'binary': BinaryAccuracy()}
    (row,) = own_trainer(tmp_path, loss=nn.BCEWithLogitsLoss(), metrics=metrics).train()
    (usual,) = own_trainer(tmp_path, loss=nn.BCEWithLogitsLoss()).train()
    assert row['val/share'] == pytest.approx(usual['val/acc'])
    assert row['val/binary'] == pytest.approx(usual['val/acc'])


def test_a_ready_made_loss_of_one_logit_gives_a_network_by_name_one_output(tables, tmp_path, eval_here):
    args = parse_train_args([str(word) for word in [*tables, '--checkpoints_dir', tmp_path, '--device', 'cpu']])
    trainer = Trainer(args, loss=nn.BCEWithLogitsLoss())
    rows = trainer.train()
    test = eval_here('--load_model_path', f'{args.model_dir}/best.pth')
    assert float(test.values['acc']) == max(row['val/acc'] for row in rows)
    assert list(trainer.net.parameters())[-1].shape == (1,)
