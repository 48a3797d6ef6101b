"""The values that can choose checkpoints, and the imports of losses and metrics."""

import subprocess
import sys

import pytest

from utils.base.registry import PROJECT
from utils.options.metric_options import directions_of, metric_names


def test_directions_by_task():
    assert directions_of('regression') == {'rmse': 'min', 'mae': 'min', 'r2': 'max', 'loss': 'min'}
    assert directions_of('restoration') == {'psnr': 'max', 'ssim': 'max', 'mae': 'min', 'loss': 'min'}
    assert 'auroc' not in directions_of('classification')
    assert {'acc', 'acc_top5'} < set(directions_of('classification'))
    assert directions_of('classification', ['auroc'])['auroc'] == 'max'
    assert directions_of('detection') == {'loss': 'min'}
    assert len(metric_names()) == len(set(metric_names()))


def test_the_names_need_no_torch():
    code = """
import sys
from utils.options.loss_options import fault_of_loss
from utils.options.metric_options import directions_of
assert directions_of('classification')
assert not {'torch', 'loss', 'metrics'} & set(sys.modules)
"""
    subprocess.run([sys.executable, '-c', code], check=True, cwd=PROJECT)


@pytest.mark.slow('a new interpreter')
def test_classification_and_segmentation_import_no_torchmetrics_unless_asked():
    code = """
import sys
from argparse import Namespace
import torch
from loss import select_loss
from metrics import select_metrics

args = Namespace(num_classes=3, ignore_index=None, class_names=None, label_smoothing=0.0, class_weights=None)
for args.task, args.loss, size in (('classification', 'ce+focal', ()), ('segmentation', 'ce+tversky', (5, 5))):
    metrics, outputs = select_metrics(args), torch.rand(4, 3, *size)
    select_loss(args)(outputs, outputs.argmax(1))
    metrics.update(outputs, outputs.argmax(1))
    metrics.compute()
assert not {'torchmetrics', 'torchvision'} & set(sys.modules)
args.task, args.metrics = 'classification', ['auroc']
metrics = select_metrics(args)
metrics.update(torch.eye(3), torch.arange(3))
assert metrics.compute()['auroc'] == 1
assert 'torchmetrics' in sys.modules
"""
    subprocess.run([sys.executable, '-c', code], check=True, cwd=PROJECT)
