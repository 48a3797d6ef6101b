"""Lists of numbers, sets of labels and target images: what they become, and what is wrong with them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data.data_entry import complete_args, select_eval_loader, select_train_loader
from data.list_dataset import ListDataset
from data.mem_list import MemList
from utils.base.errors import DanluError
from utils.training.batch_transform import BatchTransform

KINDS = {'list': ListDataset, 'mem_list': MemList}
REGRESSION = ('--task', 'regression')
MULTILABEL = ('--task', 'multilabel')
RESTORATION = ('--task', 'restoration')


def build(args, split='train'):
    complete_args(args)
    return KINDS.get(args.data_type, ListDataset)(args, split)


@pytest.fixture
def pairs(save, list_args):
    """Return a function: options for a list of pictures with targets of the same size that are their negatives."""

    def pairs(*words, kind='list', count=6):
        lines = []
        for n in range(count):
            pixels = np.random.default_rng(n).integers(0, 256, (4, 5, 3), dtype=np.uint8).repeat(6, 0).repeat(6, 1)
            lines.append(f'{save(f"{n}.png", pixels).name} {save(f"{n}_target.png", 255 - pixels).name}')
        return list_args('\n'.join(lines), *RESTORATION, *words, kind=kind)

    return pairs


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('line', ['{} {} {}', '{}\t{} {}', '{}\t{}\t{}', '"{}" {}  {}'])
def test_numbers_are_all_that_stands_behind_the_picture(save, list_args, kind, line):
    rows = [(save('a b.png' if '"' in line else 'a.png').name, '0.5', '-1e3'), (save('c.png').name, '7', '.25')]
    args = list_args('\n'.join(line.format(*row) for row in rows), *REGRESSION, kind=kind)
    data = build(args)
    assert (args.num_targets, args.num_classes, args.class_names) == (2, None, None)
    targets = torch.stack([target for _, target in data])
    assert targets.dtype == torch.float32
    assert targets.tolist() == [[0.5, -1000], [7, 0.25]]


def test_faults_of_numbers_are_told_line_by_line(save, list_args):
    name = save('a.png').name
    lines = [f'{name} 1 2', f'{name} 1', f'{name} 1 x', f'{name} 1 nan', f'{name} 1,5 2', f'{name} 1e39 2', name]
    with pytest.raises(DanluError) as error:
        build(list_args('\n'.join(lines), *REGRESSION))
    text = str(error.value)
    assert '6 invalid entries' in text
    for number, says in (
        (2, '1 number instead of 2 (--num_targets 2)'),
        (3, "'x' is not a number"),
        (4, 'nan is not a finite number'),
        (5, "'1,5' is not a number; blanks separate several"),
        (6, '1e39 is not a finite number of 32 bits'),
        (7, '1 column instead of image and target'),
    ):
        assert f'train.txt:{number}: {says}' in text


@pytest.mark.parametrize('words', [(), ('--task', 'classification')])
def test_numbers_that_are_taken_for_classes_are_told(save, list_args, words):
    text = '\n'.join(f'{save(f"{n}.png").name}\t{n}.5 {n}' for n in range(4))
    with pytest.raises(
        DanluError, match=r'4 classes for 4 samples, and all of them are numbers such as 0.5 0: .*regres'
    ):
        build(list_args(text, *words))


@pytest.mark.parametrize('words', [(), ('--num_classes', 3)])
def test_pictures_that_are_taken_for_classes_are_told(save, list_args, words):
    text = '\n'.join(f'{save(f"{n}.png").name} masks/{n}.PNG' for n in range(4))
    with pytest.raises(DanluError, match=r'the targets are images such as masks/0\.PNG: add --task segmentation'):
        build(list_args(text, *words))


def test_given_num_targets_are_held_to(save, list_args):
    with pytest.raises(DanluError, match=r'train.txt:1: 1 number instead of 3 \(--num_targets 3\)'):
        build(list_args(f'{save("a.png").name} 1', *REGRESSION, '--num_targets', 3))


@pytest.mark.parametrize('kind', KINDS)
def test_sets_of_labels_by_name(save, list_args, kind):
    names = [save(f'{n}.png').name for n in range(4)]
    text = f'{names[0]} dog,cat\n{names[1]} -\n{names[2]}\tcat, red fox\n{names[3]} dog'
    args = list_args(text, *MULTILABEL, kind=kind)
    data = build(args)
    assert args.class_names == ['cat', 'dog', 'red fox']
    assert args.num_classes == 3
    targets = torch.stack([target for _, target in data])
    assert targets.dtype == torch.float32
    assert targets.tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 1], [0, 1, 0]]


def test_sets_of_labels_by_number(save, list_args):
    name = save('a.png').name
    args = list_args(f'{name} 0,3\n{name} -\n{name} 1', *MULTILABEL)
    data = build(args)
    assert (args.num_classes, args.class_names) == (4, None)
    assert [target.nonzero().flatten().tolist() for _, target in data] == [[0, 3], [], [1]]


def test_faults_of_sets_of_labels_are_told_line_by_line(save, list_args):
    name = save('a.png').name
    lines = [f'{name} {text}' for text in ('cat', 'cat,cow', 'cat,,dog', 'dog,dog', 'dog')]
    with pytest.raises(DanluError) as error:
        build(list_args('\n'.join(lines), *MULTILABEL, '--class_names', 'cat', 'dog'))
    text = str(error.value)
    assert '3 invalid entries' in text
    assert "train.txt:2: unknown class 'cow' (known: cat, dog)" in text
    assert "train.txt:3: 'cat,,dog' has an empty label; commas separate several, - stands for none" in text
    assert "train.txt:4: 'dog,dog' has a label twice" in text


@pytest.mark.parametrize(('targets', 'says'), [(('-', '-'), 'no label'), (('cat', '-'), 'one label, cat')])
def test_sets_of_less_than_two_labels_are_refused(save, list_args, targets, says):
    name = save('a.png').name
    with pytest.raises(DanluError, match=f'the samples have {says}: multilabel takes two or more'):
        build(list_args('\n'.join(f'{name} {target}' for target in targets), *MULTILABEL))


@pytest.mark.parametrize('words', [(), ('--channels', 1), ('--image_size', 12, 15)])
@pytest.mark.parametrize('kind', ['list', 'mem_list', 'pairs'])
def test_target_pictures_are_read_as_their_pictures_are(pairs, kind, words):
    args = pairs(*words, kind=kind)
    data = build(args)
    assert args.image_size == ([12, 15] if '--image_size' in words else [24, 30])
    for image, target in data:
        assert image.dtype == target.dtype == torch.uint8
        assert image.shape == target.shape == (args.channels, *args.image_size)
        assert (image.int() + target - 255).abs().max() <= 2  # Pillow rounds each way


def test_target_pictures_of_another_size_are_faults(save, list_args):
    lines = [f'{save("a.png", size=(8, 6)).name} {save("b.png", size=(8, 7)).name}', 'a.png gone.png']
    with pytest.raises(DanluError) as error:
        build(list_args('\n'.join(lines), *RESTORATION))
    assert 'train.txt:1: the target is 8x7, its image 8x6 (width x height)' in str(error.value)
    assert 'gone.png: no such file' in str(error.value)


def test_restoration_takes_and_gives_pixels_as_they_are(pairs):
    args = pairs()
    complete_args(args)
    assert (args.mean, args.std) == ([0.0] * 3, [1.0] * 3)
    assert (args.num_classes, args.num_targets) == (None, None)


def lines_of(kind, save):
    """Return the text of a list for a task."""
    names = [save(f'{n}.png', size=(12, 10), seed=n).name for n in range(5)]
    targets = {'regression': ['1 2', '3 4', '5 6', '7 8', '9 0'], 'multilabel': ['0', '-', '0,1', '2', '1,2']}[kind]
    return '\n'.join(f'{name} {target}' for name, target in zip(names, targets, strict=True))


@pytest.mark.parametrize('task', ['regression', 'multilabel', 'restoration'])
def test_the_cache_gives_the_same_samples(pairs, save, list_args, files, task):
    def args_of(kind, *words):
        if task == 'restoration':
            return pairs(*words, kind=kind)
        return list_args(lines_of(task, save), '--task', task, *words, kind=kind)

    expected = list(build(args_of('list')))
    args = args_of('mem_list', '--cache_dir', files / 'cache')
    for start in ('decoded', 'cache: 6 images' if task == 'restoration' else 'cache: 5 images'):
        data = build(args)
        assert start in data.notes[0]
        assert 'with their targets' not in data.notes[0] or task == 'restoration'
        for sample, wanted in zip(data, expected, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(sample, wanted, strict=True))


def prepared(loader):
    """Return the batches (list) of a loader as the network gets them."""
    prepare = BatchTransform(SimpleNamespace(task='restoration', mean=[0.0], std=[1.0]), torch.device('cpu'))
    prepare.augment = loader.dataset.augment
    loader.bind_transform(torch.device('cpu'), prepare)
    return list(loader)


@pytest.mark.parametrize('name', ['flip', 'crop', 'affine', 'standard'])
@pytest.mark.parametrize('kind', ['list', 'mem_list'])
def test_target_pictures_move_exactly_with_their_pictures(pairs, kind, name):
    args = pairs('--augment', name, kind=kind)
    plain = torch.cat([images for images, _ in prepared(select_eval_loader(args))])
    changed = 0
    for images, targets in prepared(select_train_loader(args)):
        assert targets.dtype == torch.float32
        from_outside = (images == 0) & (targets == 0)
        # Both were rounded to whole steps of 255.
        assert ((images + targets - 1).abs() <= 2.01 / 255)[~from_outside].all()
        assert not from_outside.all()
        changed += sum(not any(torch.equal(image, other) for other in plain) for image in images)
    assert changed >= 2


def test_augmentations_that_change_colours_are_refused_for_target_pictures_before_any_is_read(list_args):
    args = list_args('gone.png gone.png', *RESTORATION, '--augment', 'strong', '--image_size', 8)
    with pytest.raises(DanluError, match='choose one of none, flip, crop, affine, standard'):
        select_train_loader(args)
