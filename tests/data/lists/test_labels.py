"""What labels are: how many classes they make, what is ignored, and what is refused as it is no label."""

import numpy as np
import pytest
import torch

from data.checks.class_balance import balance, notes_of_classes, notes_of_ignored
from data.data_entry import complete_args, select_train_loader
from data.list_dataset import ListDataset
from data.lists.labels import count_classes, folder_names, label_names, parse_labels
from data.lists.list_file import ErrorCollector, read_list
from data.lists.targets import label_set_names
from data.stream import Stream
from utils.base.errors import DanluError, message_of


@pytest.fixture
def listing(write):
    """Return a function: targets (list) -> the Listing of a list file with one sample each."""

    def listing(targets):
        return read_list(write('list.txt', ''.join(f'{n}.png\t{target}\n' for n, target in enumerate(targets))))

    return listing


def classes_of(listing, targets, given=None, ignore_index=None):
    found = listing(targets)
    return count_classes(found, label_names(found, ignore_index), given, ignore_index)


def refused(listing, targets):
    with pytest.raises(DanluError) as error:
        classes_of(listing, targets)
    return message_of(error.value)


def test_labels_with_gaps_have_an_output_each(listing):
    assert classes_of(listing, [1, 2, 3] * 4) == 4
    assert classes_of(listing, [0, 5, 9] * 4) == 10


@pytest.mark.parametrize(
    ('targets', 'part'),
    [
        ([20230101, 20230102, 20230103] * 4, 'would need 20,230,104 classes'),
        ([0, 5, 4000] * 4, '--class_names 0 5 4000'),
        ([0, 5, 4000] * 2000, '3 different labels from 0 to 4000 in 6,000 samples would need 4,001 classes'),
        ([351000 + 17 * n for n in range(30)], 'to predict numbers add --task regression'),
        ([f'2023-01-{n:02}' for n in range(1, 20)], 'dates or times such as 2023-01-01'),
        ([f'12:{n:02}' for n in range(20)], 'dates or times such as 12:00'),
        ([f'{n}.95' for n in range(20)], 'to predict numbers add --task regression'),
        ([f'{n % 8 + 3}.95' for n in range(32)], 'to predict numbers add --task regression'),
        ([f'2023-01-{n % 8 + 1:02}' for n in range(32)], 'dates or times such as 2023-01-01'),
        ([f'${n},000.50' for n in range(1, 20)], 'to predict numbers add --task regression'),
        ([f'person_{n}' for n in range(30)], '--num_classes 30'),
    ],
)
def test_numbers_dates_and_large_gaps_are_no_classes(listing, targets, part):
    assert part in refused(listing, targets)


def test_who_gives_the_number_of_classes_insists(listing):
    assert classes_of(listing, [0, 5, 4000], 4001) == 4001
    assert classes_of(listing, [f'2023-01-{n:02}' for n in range(1, 20)], 19) == 19
    assert classes_of(listing, [f'person_{n}' for n in range(30)], 30) == 30


@pytest.mark.parametrize(
    'targets',
    [['0.0', '1.0'] * 2, ['1.5', '2.5'] * 5, ['cat', 'dog'], ['cat', 'dog', 'bird', 'cat'], [0, 1], [1, 0, 2]],
)
def test_few_samples_with_few_classes_are_right(listing, targets):
    assert classes_of(listing, targets) == len(set(targets))


@pytest.mark.parametrize('ignored', [255, -1, -100])
def test_the_ignore_index_is_no_class(listing, ignored):
    targets = [0, 1, ignored, 2]
    assert classes_of(listing, targets, None, ignored) == 3
    faults = ErrorCollector('list.txt')
    labels = parse_labels(listing(targets), 3, None, faults, ignored)
    assert (labels.tolist(), faults.count) == (targets, 0)


def test_the_ignore_index_among_class_names(listing):
    found = listing(['cat', '255', 'dog'])
    assert label_names(found, 255) == ['cat', 'dog']
    assert parse_labels(found, 2, ['cat', 'dog'], ErrorCollector('list.txt'), 255).tolist() == [0, 255, 1]


def test_directories_with_numbers_for_names(listing):
    assert folder_names(listing(['10', '9', '255']), 255) == ['9', '10']
    assert folder_names(listing(['0', '1', '2']), 1) == ['0', '1', '2']  # class 1 is there, and ignored


def test_all_samples_ignored(listing):
    with pytest.raises(DanluError, match=r'all samples have the ignored label 7'):
        classes_of(listing, [7, 7], None, 7)


def test_an_ignored_label_that_pandas_wrote_as_a_float_is_no_class(listing):
    targets = ['0.0', '-1.0', '1.0'] * 3
    assert label_names(listing(targets), -1) == ['0.0', '1.0']
    faults = ErrorCollector('list.txt')
    labels = parse_labels(listing(targets), 2, ['0.0', '1.0'], faults, -1)
    assert (labels.tolist(), faults.count) == ([0, -1, 1] * 3, 0)


@pytest.mark.parametrize('labels', [[1, 2, 3], [-1, 1], [10, 20, 30]])
def test_as_many_labels_as_classes_may_be_the_classes(listing, labels):
    faults = ErrorCollector('list.txt')
    parse_labels(listing(labels * 3), len(labels), None, faults)
    with pytest.raises(DanluError) as error:
        faults.stop_if_any()
    expected = f'if the {len(labels)} labels that occur are the classes: --class_names {" ".join(map(str, labels))}'
    assert expected in message_of(error.value)


def test_a_negative_label_blames_no_option_that_was_not_given(listing):
    assert classes_of(listing, [0, -1, 0]) == 1
    parse_labels(listing([0, -1, 0]), 1, None, faults := ErrorCollector('list.txt'))
    assert 'label -1 is negative, and labels count from 0; --ignore_index -1 leaves it out' in faults.shown[0]
    assert '--num_classes' not in faults.shown[0]


@pytest.mark.parametrize('kind', ['list', 'mem_list'])
def test_ignored_labels_reach_the_loss_as_they_are(save, list_args, kind):
    lines = [f'{save(f"{n}.png", seed=n).name} {label}' for n, label in enumerate([0, 1, 255, 1])]
    args = list_args('\n'.join(lines), '--ignore_index', 255, '--image_size', 8, kind=kind)
    loader = select_train_loader(args)
    assert args.num_classes == 2
    assert sorted(label for batch in loader for label in batch[1].tolist()) == [0, 1, 1, 255]


def test_ignored_labels_of_a_stream(save, write, make_args):
    save('a.png')
    path = write('train.csv', 'image,label\na.png,-100\na.png,1\n')
    words = ['--data_type', 'stream', '--train_list', path, '--val_list', path, '--num_classes', 2]
    args = make_args(*words, '--image_size', 8, '--ignore_index', -100)
    complete_args(args)
    stream = Stream(args, 'val')
    assert [stream.load(place)[1].item() for place in stream.order(1)] == [-100, 1]


def test_ignored_labels_of_a_table(write, make_args):
    path = write('train.csv', 'a,b,label\n' + '1,2,0\n3,4,1\n5,6,255\n' * 3)
    args = make_args('--data_type', 'array', '--train_list', path, '--val_list', path, '--ignore_index', 255)
    complete_args(args)
    assert args.num_classes == 2


def test_classes_without_a_sample_are_said(save, list_args):
    lines = [f'{save(f"{n}.png", seed=n).name} {label}' for n, label in enumerate([1, 2, 3, -1, 3])]
    args = list_args('\n'.join(lines), '--ignore_index', -1, '--image_size', 8)
    complete_args(args)
    assert notes_of_classes(ListDataset(args, 'train'), args) == [
        'ignored training samples, by --ignore_index -1: 1 (20.0%)',
        'classes without a training sample, 1 of 4: 0; labels count from 0, and the smallest here is 1',
    ]


@pytest.mark.parametrize('ignored', [-100, 255])
def test_balance_never_draws_an_ignored_sample(make_args, ignored):
    dataset = torch.utils.data.TensorDataset(torch.zeros(5, 1))
    dataset.labels = torch.tensor([0, 0, 1, ignored, ignored])
    args = make_args('--num_classes', 2, '--ignore_index', ignored)
    assert np.array_equal(balance(dataset, args), [0.5, 0.5, 1, 0, 0])


def test_ignored_samples_to_validate_are_counted_and_all_of_them_refused(save, list_args):
    for n in range(4):
        save(f'{n}.png')
    text = ''.join(f'{n}.png\t{n % 2}\n' for n in range(4))
    args = list_args(text, '--ignore_index', -1, val='0.png\t-1\n1.png\t0\n')
    complete_args(args)
    notes = notes_of_ignored(ListDataset(args, 'val'), args, 'validation')
    assert notes == ['ignored validation samples, by --ignore_index -1: 1 (50.0%)']
    args = list_args(text, '--ignore_index', -1, val='0.png\t-1\n1.png\t-1\n')
    complete_args(args)
    with pytest.raises(DanluError, match='all validation samples have the ignored label -1'):
        notes_of_ignored(ListDataset(args, 'val'), args, 'validation')


@pytest.mark.parametrize('sign', [';', '|'])
def test_sets_of_labels_with_other_signs_than_commas_are_refused(listing, sign):
    with pytest.raises(DanluError, match='use commas: cat,dog'):
        label_set_names(listing([f'cat{sign}dog', 'dog', 'bird']))
    assert label_set_names(listing([f'cat{sign}dog', 'bird'])) == ['bird', f'cat{sign}dog']
