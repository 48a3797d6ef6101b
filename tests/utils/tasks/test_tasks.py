"""Targets and outputs of each task."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from metrics import METRICS
from utils.base.registry import PROJECT
from utils.tasks.tasks import TASKS, describe_outputs, outputs_of, task_of


def test_every_task_that_can_be_chosen_is_known():
    assert set(METRICS) == set(TASKS)


@pytest.mark.parametrize(
    ('task', 'outputs', 'line'),
    [
        ('classification', 3, 'classes: 3: a, b, c'),
        ('segmentation', 3, 'classes: 3: a, b, c'),
        ('multilabel', 3, 'classes: 3: a, b, c'),
        ('regression', 2, 'targets: 2 per sample: price, area'),
        ('restoration', 1, 'targets: pictures of 1 channel'),
        ('of my own', 3, 'classes: 3: a, b, c'),
    ],
)
def test_outputs(task, outputs, line):
    args = SimpleNamespace(task=task, num_classes=3, num_targets=2, channels=1, class_names=['a', 'b', 'c'])
    args.target_columns = ['price', 'area']
    assert outputs_of(args) == outputs
    assert describe_outputs(args) == line
    assert task_of(args).by_pixel == (task in ('segmentation', 'restoration'))


def test_names_are_left_out_where_they_are_not_one_per_number_or_too_many():
    args = SimpleNamespace(task='regression', num_targets=2, target_columns=['both'])
    assert describe_outputs(args) == 'targets: 2 per sample'
    args = SimpleNamespace(task='classification', num_classes=30, class_names=[f'c{n}' for n in range(30)])
    assert describe_outputs(args).endswith('c18, c19 ...')


def test_importing_pulls_in_no_torch():
    code = "import sys, utils.tasks.tasks; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, '-c', code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == 'False'
