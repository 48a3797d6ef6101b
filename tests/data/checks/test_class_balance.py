"""Class-balanced sampling, and what is said of classes that the validation lacks."""

import numpy as np
import pytest
import torch

from data.checks.class_balance import balance, note_of_missing
from data.data_entry import select_eval_loader, select_train_loader
from data.samplers import EpochBatches
from utils.base.errors import DanluError


class Labelled:
    """As much of a data set as balance() takes."""

    def __init__(self, labels, dtype=torch.int64):
        self.labels = torch.tensor(labels, dtype=dtype)

    def __len__(self):
        return len(self.labels)


@pytest.fixture
def uneven(save, list_args):
    """Return a function: options for 40 images, of which 34 are of class 0, 5 of class 2 and 1 of class 1."""

    def uneven(*words, kind='list'):
        labels = [0] * 34 + [2] * 5 + [1]
        lines = [f'{save(f"{n}.png", np.full((4, 4, 3), n, dtype=np.uint8)).name} {k}' for n, k in enumerate(labels)]
        return list_args('\n'.join(lines), *words, kind=kind)

    return uneven


def drawn(loader, epoch):
    loader.batch_sampler.set_epoch(epoch)
    return torch.cat([images[:, 0, 0, 0].long() for images, *_ in loader]).tolist()


@pytest.mark.parametrize('kind', ['list', 'mem_list'])
def test_each_class_comes_equally_often_on_average(uneven, kind):
    args = uneven('--balance', '--batch_size', 16, '--num_classes', 4, kind=kind)
    loader = select_train_loader(args)
    epochs = [drawn(loader, epoch) for epoch in range(1, 76)]
    assert {len(epoch) for epoch in epochs} == {40}
    counts = np.bincount(np.concatenate(epochs), minlength=40)
    classes = np.array([counts[:34].sum(), counts[39], counts[34:39].sum()])
    assert abs(classes / 3000 - 1 / 3).max() < 0.03  # 3.5 standard deviations
    assert counts.min() > 0
    assert counts[34:39].max() < 1.3 * counts[34:39].min()
    assert drawn(select_train_loader(args), 3) == epochs[2] != epochs[3]
    assert loader.dataset.dataset.notes == [
        'balance: each of 3 classes equally often, with replacement; in the data class 1 has 1 sample, class 0 34'
    ]


def test_only_training_is_balanced(uneven):
    args = uneven('--balance')
    assert drawn(select_eval_loader(args), 1) == list(range(40))
    args.balance = False
    assert sorted(drawn(select_train_loader(args), 1)) == list(range(40))


def test_data_in_memory_knows_its_labels(make_args):
    loader = select_train_loader(make_args('--balance', '--batch_size', 500))
    labels = torch.cat([labels for _, labels in loader])
    assert abs(torch.bincount(labels) / 5000 - 0.1).max() < 0.02
    assert loader.dataset.dataset.notes[0].endswith('in the data each has 500 samples already')


def test_ignored_samples_stay_away(make_args):
    args = make_args('--ignore_index', 2, '--num_classes', 3)
    assert balance(Labelled([0, 0, 1, 2, 2]), args).tolist() == [0.5, 0.5, 1.0, 0.0, 0.0]
    assert not set(EpochBatches(5, 2, True, 0, balance(Labelled([0, 0, 1, 2, 2]), args)).order()) & {3, 4}


@pytest.mark.parametrize('dataset', [Labelled([[0, 1], [1, 0]]), Labelled([0.5, 1.0], torch.float32), [1, 2]])
def test_data_without_labels_is_refused(make_args, dataset):
    with pytest.raises(DanluError, match='--balance: digits has no labels'):
        balance(dataset, make_args())


def test_a_single_class_cannot_be_balanced(make_args):
    with pytest.raises(DanluError, match='--balance: the training data has 1 of 3 classes; leave it out'):
        balance(Labelled([1, 1]), make_args('--num_classes', 3))


@pytest.mark.parametrize(
    ('train', 'val', 'names', 'notes'),
    [
        ([0, 1, 2], [2, 1, 0, 0], None, []),
        ([0, 1, 2], [1], None, ['no sample to validate of: 0, 2']),
        ([0, 1, 2], [0, 1], ['cat', 'dog', 'rat'], ['no sample to validate of: rat']),
        (list(range(15)), [0], None, [f'no sample to validate of: {", ".join(map(str, range(1, 11)))} and 4 more']),
        ([0, 1], [0, 1, 2], None, []),
    ],
)
def test_classes_that_the_validation_lacks_are_named(train, val, names, notes):
    assert note_of_missing(Labelled(train), Labelled(val), names) == notes


def test_of_data_without_labels_nothing_is_said(uneven):
    for other in (None, object(), Labelled([0.5, 1.5], torch.float32), Labelled([[0, 1]])):
        assert note_of_missing(Labelled([0, 1, 2]), other, None) == note_of_missing(other, Labelled([0]), None) == []
    loader = select_train_loader(uneven())
    assert note_of_missing(loader.dataset.dataset, Labelled([0, 1]), ['a', 'b', 'c']) == ['no sample to validate of: c']


def test_labels_that_do_not_count_are_not_missed():
    train, val = Labelled([0, 1, 2, 255, -100, 7]), Labelled([0, 1])
    assert note_of_missing(train, val, ['a', 'b', 'c'], 255) == ['no sample to validate of: c, 7']
