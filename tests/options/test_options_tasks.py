"""Losses and metrics of a task, as options."""

import sys
from argparse import Namespace
from pathlib import Path

import pytest

from options import (
    changed_options,
    parse_test_args,
    parse_train_args,
    save_args,
)
from tests.options.helpers import SEGMENTATION, train_args, trained


@pytest.mark.parametrize(('task', 'loss'), [('classification', 'ce'), ('segmentation', 'ce')])
def test_each_task_has_a_default_loss(place, task, loss):
    words = [*SEGMENTATION, '--num_classes', '3'] if task == 'segmentation' else []
    args = train_args(*words)
    assert args.loss == loss
    assert not [option for option in changed_options(args) if option.startswith('loss')]
    save_args(args, place)
    assert f'\n--loss={loss}\n' in Path('args.txt').read_text()


def test_a_loss_that_is_not_the_default_is_marked(place):
    args = train_args('--loss', 'ce + .5*focal')
    assert args.loss == 'ce+.5*focal'
    assert 'loss=ce+.5*focal' in changed_options(args)
    save_args(args, place)
    assert '\n--loss=ce+.5*focal  # default: ce\n' in Path('args.txt').read_text()


def test_options_that_one_of_several_losses_uses_are_taken():
    args = parse_train_args(['--loss', 'ce+focal', '--label_smoothing', '0.1', '--loss_args', 'gamma=1'])
    assert (args.label_smoothing, args.loss_args) == (0.1, ['gamma=1'])
    assert parse_train_args(['--metrics', 'acc_top5']).metrics == ['acc_top5']  # the data says how many classes
    args = parse_train_args(['--metrics', 'auroc', '--monitor', 'auroc'])
    assert (args.metrics, args.monitor) == (['auroc'], 'val/auroc')


def test_a_test_takes_loss_and_metrics_from_the_checkpoint():
    recorded = trained('--loss', 'ce+focal', '--loss_args', 'gamma=1', '--label_smoothing', '0.1', '--metrics', 'auroc')
    args = parse_test_args(['--load_model_path', 'model.pth'], recorded)
    assert (args.loss, args.loss_args, args.label_smoothing) == ('ce+focal', ['gamma=1'], 0.1)
    assert args.metrics == ['auroc']
    args = parse_test_args(['--load_model_path', 'model.pth', '--loss', 'focal'], recorded)
    assert (args.loss, args.loss_args, args.label_smoothing, args.metrics) == ('focal', None, 0.0, ['auroc'])


def test_a_checkpoint_from_before_these_options_still_tests():
    recorded = trained()
    for name in ('loss_args', 'metrics'):
        del recorded[name]
    args = parse_test_args(['--load_model_path', 'model.pth'], recorded)
    assert (args.loss, args.loss_args, args.metrics) == ('ce', None, None)


def test_options_of_an_unlisted_loss_are_not_checked(monkeypatch):
    monkeypatch.setitem(sys.modules, 'loss', Namespace(
        LOSSES={'ce': 'loss.CrossEntropy', 'own': 'mine.Own'}, LOSS_OPTIONS={'ce': ()}))  # fmt: skip
    args = parse_train_args(['--loss', 'own', '--class_weights', '1', '2', '--loss_args', 'depth=3'])
    assert (args.loss, args.class_weights, args.loss_args) == ('own', [1.0, 2.0], ['depth=3'])
