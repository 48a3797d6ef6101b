"""Losses and metrics that are chosen by name, through train.py and eval.py."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from options import train_args
from train import Trainer
from utils.base.errors import DanluError

CPU = {'CUDA_VISIBLE_DEVICES': ''}


def run_in(folder):
    """Return the only run in a folder: its directory."""
    (directory,) = folder.iterdir()
    return SimpleNamespace(directory=directory)


@pytest.fixture(scope='module')
def sum_run(run_program, mask_data, tmp_path_factory):
    """Return a run on `mask_data` by a sum of losses, two epochs."""
    folder = tmp_path_factory.mktemp('sum_run')
    words = ['--loss', 'ce + 0.5*dice', '--class_weights', 1, 2, 0.5, '--metrics', 'f1_macro', '--epochs', 2]
    done = run_program('train.py', *mask_data, *words, '--print_freq', 1, '--checkpoints_dir', folder, **CPU)
    assert done.code == 0, done.stderr
    return run_in(folder)


def test_every_part_of_a_sum_has_a_curve(sum_run, history_of, events_of):
    rows = history_of(sum_run)
    for row in rows:
        for split in ('train', 'val'):
            total, ce, dice = (float(row[f'{split}/{name}']) for name in ('loss', 'loss_ce', 'loss_dice'))
            assert total == pytest.approx(ce + 0.5 * dice, rel=1e-12)
            assert 0 < dice < 1
    assert float(rows[1]['train/loss']) < float(rows[0]['train/loss'])
    assert 'val/f1_macro' in rows[0]
    scalars = events_of(sum_run).scalars
    for name in ('loss', 'loss_ce', 'loss_dice'):
        assert [event.value for event in scalars[f'val/{name}']] == pytest.approx(
            [float(row[f'val/{name}']) for row in rows], rel=1e-6
        )


def test_a_test_gives_the_parts_that_training_gave_and_batches_do_not_matter(sum_run, history_of, eval_here):
    best = max(history_of(sum_run), key=lambda row: float(row['val/miou']))
    names = ['loss', 'loss_ce', 'loss_dice', 'miou', 'f1_macro']
    for size in (2, 3, 5):
        words = ['--load_model_path', sum_run.directory / 'best.pth', '--batch_size', size]
        test = eval_here(*words, '--save_prefix', f'by{size}')
        for name in names:
            same = best[f'val/{name}'] if size == 2 else pytest.approx(float(best[f'val/{name}']), rel=1e-4)
            assert (test.values[name] if size == 2 else float(test.values[name])) == same, name


def test_another_loss_at_the_test_leaves_behind_what_belongs_to_the_first(sum_run, eval_here):
    test = eval_here('--load_model_path', sum_run.directory / 'best.pth', '--loss', 'tversky', '--save_prefix', 'other')
    assert 'option changed since training: loss: ce+0.5*dice -> tversky' in test.stdout
    assert 'class_weights: [1.0, 2.0, 0.5] -> None' in test.stdout
    assert 0 < float(test.values['loss']) < 1
    assert 'loss_ce' not in test.values


@pytest.mark.slow('trains on all digits')
def test_focal_and_auroc_on_digits_test_as_they_trained(run_program, history_of, tmp_path):
    words = ['--loss', 'focal', '--loss_args', 'gamma=1.5', '--metrics', 'auroc', '--monitor', 'auroc', '--epochs', 1]
    done = run_program('train.py', *words, '--batch_size', 192, '--checkpoints_dir', tmp_path, **CPU)
    assert done.code == 0, done.stderr
    run = run_in(tmp_path)
    (row,) = history_of(run)
    assert float(row['val/auroc']) > 0.8
    assert f'best: val/auroc {float(row["val/auroc"]):#.4g} in epoch 1 of 1' in done.stdout
    done = run_program('eval.py', '--load_model_path', run.directory / 'best.pth', **CPU)
    assert done.code == 0, done.stderr
    assert 'option changed since training' not in done.stdout
    lines = (run.directory / 'best' / 'val_digits_exp' / 'result.txt').read_text().splitlines()
    values = dict(line.split(': ', 1) for line in lines if not line.startswith('#'))
    for name in ('loss', 'acc', 'auroc', 'precision_macro', 'recall_macro'):
        assert values[name] == row[f'val/{name}']
    assert math.isfinite(float(values['auroc/9']))


def test_a_loss_that_is_no_number_is_blamed_on_a_target_that_is_none(tmp_path):
    targets = torch.zeros(12, 1)
    targets[7] = math.nan
    batches = list(zip(torch.randn(12, 4).split(4), targets.split(4), strict=True))
    np.savez(tmp_path / 'table.npz', x=np.ones((2, 4), np.float32), y=np.ones((2, 1), np.float32))
    lists = dict.fromkeys(('train_list', 'val_list'), tmp_path / 'table.npz')
    args = train_args(checkpoints_dir=tmp_path, task='regression', data_type='array', num_targets=1, **lists)
    trainer = Trainer(args, model=torch.nn.Linear(4, 1), train_loader=batches, val_loader=batches[:1])
    with pytest.raises(DanluError, match=r'is nan; samples that are not finite themselves: 3 of batch 2\. '):
        trainer.train()
