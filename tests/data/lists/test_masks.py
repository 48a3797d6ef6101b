"""How stored pixels become labels: values of binary masks, several modes, and what is said of classes at the start."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from data.checks.class_notes import class_notes
from data.checks.preview import find_mask_values
from data.checks.sample_facts import LabelsInMasks
from data.data_entry import complete_args, notes_of, select_eval_loader, select_train_loader
from data.list_dataset import ListDataset
from data.lists.masks import MaskCoding
from data.lists.pictures import read_mask
from scripts.measure_data import main as measure_data
from utils.base.errors import DanluError

LABELS = np.array([[0, 1, 1, 0], [1, 0, 0, 1], [1, 1, 0, 0]], np.uint8)


@pytest.fixture
def binary(save, list_args):
    """Return a function: options for a list of four pictures whose masks are LABELS, stored by `store(labels, n)`."""

    def binary(store, *words, kind='list', name='{}_mask.png', classes=2):
        lines = []
        for n in range(4):
            mask = store(np.roll(LABELS, n, axis=1), n)
            mask = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
            lines.append(f'{save(f"{n}.png", size=(4, 3), seed=n).name} {save(name.format(n), mask).name}')
        return list_args('\n'.join(lines), '--task', 'segmentation', '--num_classes', classes, *words, kind=kind)

    return binary


def masks_of(loader):
    return torch.cat([targets for _, targets, *_ in loader]).numpy()


def expected():
    return np.stack([np.roll(LABELS, n, axis=1) for n in range(4)])


STORES = {
    '255': lambda labels, n: labels * 255,
    '128': lambda labels, n: labels * 128,
    '1': lambda labels, n: labels,
    '1-bit': lambda labels, n: Image.fromarray(labels > 0),
    'palette': lambda labels, n: Image.fromarray(labels * 255).convert('P'),
    'grey and alpha': lambda labels, n: Image.fromarray(labels * 255).convert('LA'),
    'three equal channels': lambda labels, n: Image.fromarray(labels * 255).convert('RGB'),
    '16 bits': lambda labels, n: labels.astype(np.uint16) * 65535,
}


@pytest.mark.parametrize('store', STORES)
@pytest.mark.parametrize('kind', ['list', 'mem_list'])
def test_of_two_values_the_one_that_is_not_0_is_class_1(binary, store, kind):
    args = binary(STORES[store], kind=kind)
    train, val = select_train_loader(args), select_eval_loader(args)
    assert (masks_of(val) == expected()).all()
    assert sorted(map(bytes, masks_of(train))) == sorted(map(bytes, expected()))
    value = {'128': 128, '1': 1, '1-bit': 1, '16 bits': 65535}.get(store, 255)
    assert args.mask_values == (['stored'] if value == 1 else [0, value])
    said = [note for note in notes_of(train, val) if f'{value} is class 1 (--mask_values 0 {value})' in note]
    assert len(said) == (0 if value == 1 else 2), 'for each split'


def test_what_was_found_holds_for_other_masks_too(binary, save, write):
    args = binary(STORES['255'])
    complete_args(args)
    full = save('full_mask.png', np.full((3, 4), 255, np.uint8))
    args.val_list = str(write('full.txt', f'0.png {full.name}'))
    assert masks_of(select_eval_loader(args)).tolist() == [[[1] * 4] * 3]
    wrong = np.zeros((3, 4), np.uint8)
    wrong[2, 1] = 7
    save('wrong_mask.png', wrong)
    args.val_list = str(write('wrong.txt', '0.png wrong_mask.png'))
    args.ignore_index = 9
    with pytest.raises(
        DanluError, match=r'wrong_mask.png: value 7 at x 1, y 2 is neither one of --mask_values 0 255 nor 9'
    ):
        select_eval_loader(args)


def test_255_stays_ignored_where_there_are_other_classes(binary):
    def border(labels, n):
        return np.where(labels == 1, np.where(np.arange(4) < 2, 255, 1), 0).astype(np.uint8)

    args = binary(border)
    loader = select_train_loader(args)
    assert args.mask_values == ['stored']
    assert np.unique(masks_of(loader)).tolist() == [0, 1, 255]
    ignored = np.mean([border(np.roll(LABELS, n, axis=1), n) == 255 for n in range(4)])
    assert class_notes(loader.dataset.dataset, args, 'train') == [
        f'{args.train_list}: {ignored:.2%} of the pixels of the masks are ignored (--ignore_index 255)'
    ]


def test_values_of_more_classes_are_given(binary):
    args = binary(lambda labels, n: labels * 100 + (labels & (n == 0)) * 50, '--mask_values', 0, 100, 150, classes=3)
    assert (masks_of(select_eval_loader(args)) == expected() + np.stack([LABELS, *np.zeros((3, 3, 4), int)])).all()
    with pytest.raises(DanluError, match='if these values are the classes: --mask_values 0 100 150'):
        select_eval_loader(binary(lambda labels, n: np.array([[0, 100, 150, 0]] * 3, np.uint8), classes=3))


@pytest.mark.parametrize('kind', ['list', 'mem_list'])
def test_classes_without_a_pixel_are_named_and_the_share_that_is_ignored(binary, kind, tmp_path):
    words = ['--class_names', 'sky', 'road', 'car', 'tree'] + ['--cache_dir', tmp_path / 'c'] * (kind == 'mem_list')
    for _ in range(2):  # the second time from the cache
        args = binary(STORES['255'], *words, kind=kind, classes=4)
        dataset = select_train_loader(args).dataset.dataset
        assert class_notes(dataset, args, 'train') == [
            f'{args.train_list}: no pixel of road, car, tree (3 of 4 classes)',
            f'{args.train_list}: 50.00% of the pixels of the masks are ignored (--ignore_index 255); if 255 is class '
            '1: --num_classes 2 --mask_values 0 255',
        ]


def test_older_records_ignore_255_and_it_is_said(binary):
    args = binary(STORES['255'], '--mask_values', 'stored')
    dataset = select_train_loader(args).dataset.dataset
    assert dataset.notes == []
    first, second = class_notes(dataset, args, 'train')
    assert first.endswith('no pixel of class 1 (1 of 2 classes)')
    assert second.endswith('; if 255 is class 1: --mask_values 0 255')


def test_two_values_other_than_0_are_the_values_in_the_hint(binary):
    args = binary(lambda labels, n: np.where(labels == 1, 255, 1).astype(np.uint8))
    _, note = class_notes(select_train_loader(args).dataset.dataset, args, 'train')
    assert note.endswith('; if 1 and 255 are the two classes: --mask_values 1 255')


def test_the_hint_for_validation_masks_names_the_training_masks(binary):
    args = binary(STORES['1'])
    args.val_list = 'other.txt'
    masks = torch.tensor([[[0, 255]]], dtype=torch.uint8)
    dataset = SimpleNamespace(labels_in_masks=LabelsInMasks.in_tensor(masks, 255, 1))
    *_, note = class_notes(dataset, args, 'val')
    assert note.endswith(f'; if 255 is a class there, store the classes as the masks of {args.train_list} do')


def test_nothing_but_ignored_pixels_is_refused(binary):
    args = binary(lambda labels, n: np.full((3, 4), 255, np.uint8))
    dataset = select_train_loader(args).dataset.dataset
    with pytest.raises(DanluError, match='all pixels of the masks have the ignore index 255, so nothing can be learn'):
        class_notes(dataset, args, 'train')


def test_classes_of_no_set_of_labels_are_named(list_args, save):
    for n in range(2):
        save(f'{n}.png')
    args = list_args('0.png 0,2\n1.png -', '--task', 'multilabel', '--num_classes', '4')
    dataset = ListDataset(completed(args), 'train')
    assert class_notes(dataset, args, 'train') == [f'{args.train_list}: no sample of class 1, class 3 (2 of 4 classes)']


def completed(args):
    complete_args(args)
    return args


def test_masks_that_are_no_labels(save):
    wide = np.array([[0, 3, 300]], np.uint16)
    with pytest.raises(DanluError, match=r'value 300 at x 2, y 0 is outside of the labels 0..255'):
        read_mask(save('wide.png', Image.fromarray(wide)))
    assert read_mask(save('narrow.png', Image.fromarray(wide[:, :2]))).tolist() == [[0, 3]]
    with pytest.raises(DanluError, match='saved as JPEG: its compression changes the values'):
        read_mask(save('mask.jpg', LABELS))
    with pytest.raises(
        DanluError, match=r'RGB, with the colour #0a0000 at x 1, y 0; a mask coded by colour is read wi'
    ):
        read_mask(save('colour.png', np.array([[[0, 0, 0], [10, 0, 0]]], np.uint8)))
    with pytest.raises(DanluError, match='this one is CMYK'):
        read_mask(save('mask.tif', Image.fromarray(LABELS).convert('CMYK')))


def test_what_decides_on_the_values(save):
    def found(*masks, classes=2):
        paths = [save(f'{n}.png', np.array([mask], np.uint8)) for n, mask in enumerate(masks)]
        return find_mask_values(paths, classes)

    assert found([0, 0], [0, 255]) == [0, 255]
    assert found([0, 255], [0, 255], classes=3) == ['stored']
    assert found([0, 255], [0, 1, 255]) == ['stored']
    assert found([0, 255], [0, 254, 255]) == ['stored']
    assert found([255, 255], [255, 255]) == ['stored']
    assert found([0, 0]) == ['stored']
    assert find_mask_values([b'no image', save('7.png', np.array([[0, 7]], np.uint8))], 2) == [0, 7]


def test_the_place_of_a_wrong_value_is_upright(save):
    mask = np.zeros((2, 3), np.uint8)
    mask[0, 2] = 9
    exif = Image.Exif()
    exif[0x0112] = 6
    coding = MaskCoding(2, 255, values=(0, 255))
    with pytest.raises(DanluError, match='value 9 at x 1, y 2'):
        read_mask(save('turned.png', mask, exif=exif), coding=coding)


def test_measuring_says_what_training_does(binary, capsys):
    args = binary(STORES['255'])
    with pytest.raises(SystemExit) as end:
        measure_data([args.train_list])
    lines = capsys.readouterr().out.splitlines()
    assert end.value.code == 0
    assert '  255: 24 (50.00%, class 1)' in lines
    assert lines[-1].endswith('--num_classes 2 --mask_values 0 255')
    assert 'ignore' not in ''.join(lines)
    complete_args(args)
    assert args.mask_values == [0, 255]


def test_the_first_masks_of_a_stream_decide(binary, make_args, tmp_path, write):
    binary(STORES['255'])
    shard = write('shard.csv', 'image,target\n' + '\n'.join(f'{n}.png,{n}_mask.png' for n in range(4)))
    words = ['--task', 'segmentation', '--data_type', 'stream', '--train_list', shard, '--val_list', shard]
    args = make_args(*words, '--num_classes', 2)
    loader = select_eval_loader(args)
    assert args.mask_values == [0, 255]
    assert (masks_of(loader) == expected()).all()
    assert any('255 is class 1 (--mask_values 0 255)' in note for note in notes_of(loader))
    assert class_notes(loader.dataset.dataset, args, 'val') == []
    args = make_args(*words, '--num_classes', 3)
    source = f'{shard} (the first 4 masks of its shards)'
    assert class_notes(select_eval_loader(args).dataset.dataset, args, 'val') == [
        f'{source}: no pixel of class 1, class 2 (2 of 3 classes)',
        f'{source}: 50.00% of the pixels of the masks are ignored (--ignore_index 255); if 255 is class 1: '
        '--num_classes 2 --mask_values 0 255',
    ]
