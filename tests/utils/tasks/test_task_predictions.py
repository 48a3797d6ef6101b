"""Predictions of the tasks: what `predict` returns, and the fallback for a project's own task."""

import pytest
import torch

from utils.tasks.task_predictions import TASK_PREDICTIONS, predictions_of
from utils.tasks.tasks import TASKS

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
    assert torch.equal(TASK_PREDICTIONS[task].decode(OUTPUTS), DECODED[task])


def test_a_task_of_the_project_is_compared_as_classification():
    assert predictions_of('own') is TASK_PREDICTIONS['classification']
    assert list(TASK_PREDICTIONS) == list(TASKS)
