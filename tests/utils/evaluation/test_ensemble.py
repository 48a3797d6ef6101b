"""The network of an ensemble, and the table of several checkpoints."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from utils.base.errors import DanluError
from utils.evaluation.ensemble import SHARED_OPTIONS, CheckpointTest, Ensemble, best_of, check_alike, table_lines


def options(**given):
    plain = dict.fromkeys(SHARED_OPTIONS) | {
        'task': 'regression',
        'num_targets': 3,
        'mean': [0.0] * 3,
        'std': [1.0] * 3,
    }
    return SimpleNamespace(load_model_path='a.pth', **{**plain, **given})


def test_each_network_gets_images_in_its_own_normalisation():
    class Means(nn.Module):
        def forward(self, images):
            return images.flatten(2).mean(2)

    pixels = torch.rand(2, 3, 4, 5)
    first, other = options(), options(mean=[0.5, 0.2, 0.1], std=[0.1, 0.3, 2.0])
    inputs = [(pixels - torch.tensor(each.mean).view(3, 1, 1)) / torch.tensor(each.std).view(3, 1, 1)
              for each in (first, other)]  # fmt: skip
    expected = (Means()(inputs[0]) + Means()(inputs[1])) / 2
    torch.testing.assert_close(Ensemble([Means(), Means()], [first, other])(inputs[0]), expected)
    features = options(mean=[1.0, 2.0, 3.0]), options()
    outputs = Ensemble([nn.Identity(), nn.Identity()], features)(torch.zeros(1, 3))
    torch.testing.assert_close(outputs, torch.tensor([[0.5, 1.0, 1.5]]))


@pytest.mark.parametrize('name, value', [('image_size', [8, 8]), ('class_names', ['a']), ('fit', 'pad')])
def test_networks_with_other_inputs_or_outputs_are_refused(name, value):
    with pytest.raises(DanluError, match=f'differ in --{name}: not set, '):
        check_alike(options(), options(**{name: value}))


def of_test(name, data='x', **values):
    return CheckpointTest(name, Path(name), values, data, 'classification', 'acc')


def test_the_table_marks_the_best_and_refuses_to_compare_other_data():
    tests = [of_test('a', loss=0.5, acc=0.5), of_test('b', loss=0.7, acc=0.75, extra=1.0)]
    lines = table_lines(tests)
    assert lines[0].split() == ['checkpoint', 'acc', 'extra', 'loss']
    assert [line.split()[0] for line in lines[1:]] == ['a', '*']
    assert best_of(tests).name == 'b'
    assert best_of([test._replace(monitor='unknown') for test in tests]) is None
    lines = table_lines([*tests, of_test('c', data='y', acc=1.0)])
    assert '*' not in ''.join(lines)
    assert lines[-1].startswith('not comparable: ')
