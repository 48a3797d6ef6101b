"""Targets and outputs of each task."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from metrics import METRICS
from utils.base.registry import PROJECT, load_entry
from utils.tasks.tasks import TASKS, describe_outputs, mode_of, outputs_of, task_named, task_of, values_of


def test_every_task_that_can_be_chosen_is_known():
    assert set(METRICS) == set(TASKS)


@pytest.mark.parametrize(
    ('task', 'outputs', 'line'),
    [
        ('classification', 3, 'classes: 3: a, b, c'),
        ('segmentation', 3, 'classes: 3: a, b, c'),
        ('multilabel', 3, 'classes: 3: a, b, c'),
        ('regression', 2, 'targets: 2 per sample: price, area'),
        ('restoration', 1, 'targets: images of 1 channel'),
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


OUTPUTS = torch.tensor([[2.0, -1.0, 0.5]])
DECODED = {
    'classification': OUTPUTS.softmax(1),
    'multilabel': OUTPUTS.sigmoid(),
    'segmentation': torch.tensor([0]),
    'regression': OUTPUTS,
    'restoration': torch.tensor([[1.0, 0.0, 0.5]]),
}


@pytest.mark.parametrize('task', TASKS)
def test_outputs_are_decoded_by_task(task):
    assert torch.equal(TASKS[task].decode(OUTPUTS), DECODED[task])


@pytest.mark.parametrize('task', TASKS)
def test_what_a_task_names_exists(task):
    own = TASKS[task]
    for path in (own.columns, own.report):
        assert load_entry({task: path}, task, 'task') is not None
    assert set(own.extra_metrics) <= set(own.values)
    assert own.sum_metrics[0]
    assert (own.output_dimensions == 4) == own.by_pixel


def test_a_task_of_the_project_is_compared_as_classification_and_has_no_values():
    assert task_named('own') is TASKS['classification']
    assert values_of('own') == {}


@pytest.mark.parametrize(
    ('name', 'mode'), [('loss', 'min'), ('loss_ce', 'min'), ('rmse', 'min'), ('r2', 'max'), ('other', None)]
)
def test_lower_losses_and_errors_are_better(name, mode):
    assert mode_of(name, values_of('regression')) == mode
