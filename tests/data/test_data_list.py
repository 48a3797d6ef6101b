"""Data sets of one's own pictures: list, mem_list and folder."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from data.data_entry import complete_args, select_eval_loader, select_train_loader
from data.folder import Folder
from data.list_dataset import ListDataset
from data.lists.pictures import read_mask, read_picture
from data.mem_list import MemList
from options import parse_test_args
from utils.base.errors import DanluError
from utils.options.fit import Fit

KINDS = ['list', 'mem_list']
CLASSES = {'list': ListDataset, 'mem_list': MemList, 'folder': Folder}


def build(args, split='train'):
    complete_args(args)
    return CLASSES[args.data_type](args, split)


def faults_of(args, split='train'):
    """Return the lines of the error that building the data set ends with."""
    with pytest.raises(DanluError) as error:
        build(args, split)
    return str(error.value).splitlines()


@pytest.mark.parametrize('kind', KINDS)
def test_samples_are_what_the_files_hold(labelled, files, kind):
    data = build(labelled(kind=kind))
    assert len(data) == 7
    for index, (image, label) in enumerate(data):
        assert torch.equal(image, read_picture(files / f'{index}.png', 3))
        assert (image.dtype, image.shape) == (torch.uint8, (3, 10, 12))
        assert (int(label), label.dtype) == (index % 3, torch.int64)
        assert data.name(index) == f'{index}.png'


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('channels', [1, 3])
def test_a_picture_to_be_classified_is_cropped_to_image_size(labelled, files, kind, channels):
    data = build(labelled('--image_size', 6, 6, '--channels', channels, kind=kind))
    for index in range(7):
        assert torch.equal(data[index][0], read_picture(files / f'{index}.png', channels, (6, 6), fit=Fit('crop')))
    assert not torch.equal(data[0][0], read_picture(files / '0.png', channels, (6, 6)))


@pytest.mark.parametrize('kind', KINDS)
def test_a_picture_with_a_mask_is_stretched_to_image_size(masked, files, kind):
    data = build(masked('--image_size', 13, 17, kind=kind))
    for index, (image, mask) in enumerate(data):
        assert torch.equal(image, read_picture(files / f'{index}.png', 3, (13, 17)))
        assert torch.equal(mask, read_mask(files / f'{index}_mask.png', (13, 17)))
        assert (mask.dtype, mask.shape) == (torch.uint8, (13, 17))
        assert set(mask.unique().tolist()) <= {0, 1, 2}


@pytest.mark.parametrize('words', [(), ('--image_size', 7, 9), ('--channels', 1)])
def test_mem_list_is_list_pixel_for_pixel(masked, labelled, words):
    for make in (masked, labelled):
        listed, held = build(make(*words)), build(make(*words, kind='mem_list'))
        for first, second in zip(listed, held, strict=True):
            assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(first, second, strict=True))
        assert listed.content_hash() == held.content_hash()


def test_mem_list_gives_whole_batches(labelled, masked, monkeypatch):
    def refuse(self, index):
        raise AssertionError('a sample was asked for by itself')

    monkeypatch.setattr(MemList, '__getitem__', refuse)
    monkeypatch.setattr('data.tensor_dataset.InMemory.__getitem__', refuse)
    for make in (labelled, masked):
        args = make('--batch_size', 3, kind='mem_list')
        for loader in (select_train_loader(args), select_eval_loader(args)):
            sizes = [(len(images), len(targets)) for images, targets in loader]
            assert sum(size for size, _ in sizes) == len(loader.dataset)
            assert all(images == targets for images, targets in sizes)


def test_options_left_open_are_taken_from_the_data(labelled):
    args = labelled()
    complete_args(args)
    assert (args.num_classes, args.class_names, args.image_size, args.channels) == (3, None, [10, 12], 3)
    assert (args.mean, args.std) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def test_class_names_are_taken_from_the_training_list(save, list_args):
    save('a.png')
    args = list_args('a.png 狗\na.png cat\na.png dog', val='a.png dog')
    data = build(args, 'val')
    assert (args.num_classes, args.class_names) == (3, ['cat', 'dog', '狗'])
    assert data.labels.tolist() == [1]


def test_num_classes_beside_names(save, list_args):
    save('a.png')
    args = list_args('a.png dog\na.png cat', '--num_classes', 2)
    assert build(args).labels.tolist() == [1, 0]
    assert args.class_names == ['cat', 'dog']
    (line,) = faults_of(list_args('a.png dog\na.png cat', '--num_classes', 3))
    assert re.fullmatch(
        r'--num_classes 3: \S+train\.txt names 2 \(cat, dog\); leave it out, or give --class_names', line
    )


def test_class_names_of_the_user_decide_the_labels(save, list_args):
    save('a.png')
    args = list_args('a.png dog\na.png cat\na.png 2', '--class_names', 'dog', 'bird', 'cat')
    assert build(args).labels.tolist() == [0, 2, 2]


def test_one_class_is_refused_unless_num_classes_says_there_are_more(save, list_args):
    save('a.png')
    (line,) = faults_of(list_args('a.png cat\na.png cat'))
    assert line.endswith('train.txt: all samples are of one class, cat: training takes two or more')
    assert build(list_args('a.png 1', '--num_classes', 10)).labels.tolist() == [1]


def test_a_test_list_does_not_decide_the_order_of_the_classes(save, write):
    save('a.png')
    words = ['--load_model_path', write('best.pth', ''), '--data_type', 'list', '--device', 'cpu']
    words += ['--val_list', write('test.txt', 'a.png dog\na.png cat'), '--num_workers', '0']
    with pytest.raises(DanluError) as error:
        select_eval_loader(parse_test_args(words, {'num_classes': 2, 'image_size': [6, 8]}))
    assert "test.txt:1: unknown class 'dog' (known: integers, 0..1; names need --class_names)" in str(error.value)
    trained = {'num_classes': 2, 'image_size': [6, 8], 'class_names': ['dog', 'cat']}
    ((images, labels),) = select_eval_loader(parse_test_args(words, trained))
    assert (images.shape, labels.tolist()) == ((2, 3, 6, 8), [0, 1])


def test_image_size_is_that_of_the_first_picture_upright(save, list_args):
    exif = Image.Exif()
    exif[0x0112] = 6
    save('a.jpg', size=(30, 20), exif=exif)
    args = list_args('a.jpg 0\na.jpg 1')
    assert build(args)[0][0].shape == (3, 30, 20)
    assert args.image_size == [30, 20]


def test_a_large_first_picture_asks_for_image_size(save, list_args):
    path = save('a.png', size=(600, 20))
    (line,) = faults_of(list_args('a.png 0\na.png 1'))
    assert line == (
        f'the first image, {path}, is 600x20: give the training size, --image_size 224 or --image_size 20 600 '
        '(height width)'
    )
    assert build(list_args('a.png 0\na.png 1', '--image_size', 32))[0][0].shape == (3, 32, 32)


def test_data_root(save, write, make_args):
    save('pictures/a.png')
    path = write('lists/train.txt', 'a.png 0\na.png 1')
    words = ['--data_type', 'list', '--train_list', path, '--val_list', path]
    assert len(build(make_args(*words, '--data_root', path.parent.parent / 'pictures'))) == 2
    assert faults_of(make_args(*words))[0] == f'{path} has 2 invalid entries; fix or remove them, or add --skip_bad:'


def torn(path):
    path.write_bytes(path.read_bytes()[:-30])
    return path


@pytest.mark.parametrize('kind', KINDS)
def test_all_faults_of_a_list_are_reported_at_once(save, write, list_args, files, kind):
    save('good.png')
    torn(save('torn.png', size=(50, 50)))
    torn(save('torn.jpg', size=(50, 50)))
    write('empty.png', '')
    write('notes.png', 'this is text')
    lines = ['missing.png 0', 'good.png 0', 'good.png', 'torn.png 0', '# a comment', 'torn.jpg 1', 'empty.png 1']
    lines += ['notes.png 1', 'good.png 2', 'good.png -1', 'good.png cat', 'good.png 1 1', 'good.png 1']
    first, *faults = faults_of(list_args('\n'.join(lines), '--num_classes', 2, kind=kind))
    path = files / 'train.txt'
    assert first == f'{path} has 10 invalid entries; fix or remove them, or add --skip_bad:'
    expected = {
        1: f'{files}/missing.png: no such file',
        3: '1 column instead of image and target',
        4: f'{files}/torn.png: damaged: ',
        6: f'{files}/torn.jpg: damaged: ',
        7: f'{files}/empty.png: not an image in a format that Pillow knows',
        8: f'{files}/notes.png: not an image in a format that Pillow knows',
        9: 'label 2 is outside 0..1, which are 2 classes; labels count from 0; --ignore_index 2 leaves it out',
        10: 'label -1 is negative, and labels count from 0; --ignore_index -1 leaves it out',
        11: "unknown class 'cat' (known: integers, 0..1; names need --class_names)",
        12: '3 columns instead of image and target',
    }
    for number, text in expected.items():
        assert sum(fault.startswith(f'  {path}:{number}: {text}') for fault in faults) == 1, (number, faults)
    assert len(faults) == 10


@pytest.mark.parametrize('kind', KINDS)
def test_all_faults_of_masks_are_reported_at_once(save, list_args, files, kind):
    mask = np.zeros((6, 8), np.uint8)
    save('image.png')
    save('good.png', mask)
    save('classes.png', mask + np.arange(8, dtype=np.uint8))
    save('ignored.png', mask + 255)
    save('size.png', mask[:, :6])
    save('colour.png', np.stack([mask, mask, mask + 1], -1))
    torn(save('torn.png', np.arange(48, dtype=np.uint8).reshape(6, 8)))
    names = ['good', 'classes', 'ignored', 'size', 'colour', 'torn', 'missing']
    args = list_args(
        '\n'.join(f'image.png {name}.png' for name in names), '--task', 'segmentation', '--num_classes', 3, kind=kind
    )
    path = files / 'train.txt'
    first, *faults = faults_of(args)
    assert first == f'{path} has 5 invalid entries; fix or remove them, or add --skip_bad:'
    assert faults[:3] == [
        f'  {path}:2: {files}/classes.png: mask values [3, 4, 5, 6, 7] are neither 0..2 (--num_classes) nor 255 '
        '(--ignore_index): 3 at x 3, y 0',
        f'  {path}:4: the mask is 6x6, its image 8x6 (width x height)',
        f'  {path}:5: {files}/colour.png: a mask holds one label of 0..255 per pixel (mode L or P), this one is RGB, '
        'with the colour #000001 at x 0, y 0; a mask coded by colour is read with --palette',
    ]
    assert faults[3].startswith(f'  {path}:6: {files}/torn.png: damaged')
    assert faults[4] == f'  {path}:7: {files}/missing.png: no such file'


@pytest.mark.parametrize('image_size', [(), ('--image_size', 8)])
def test_a_wrong_data_root_shows_twenty_faults_and_the_count(list_args, files, image_size):
    first, *faults, last = faults_of(list_args('\n'.join(f'{n}.png {n % 2}' for n in range(57)), *image_size))
    assert first == f'{files / "train.txt"} has 57 invalid entries; fix or remove them, or add --skip_bad:'
    assert len(faults) == 20
    assert faults[19] == f'  {files / "train.txt"}:20: {files}/19.png: no such file'
    assert last == '  ... and 37 more'


def test_many_more_samples_than_one_block_of_checks(save, list_args, monkeypatch, files):
    monkeypatch.setattr('data.list_dataset.SAMPLES_PER_BLOCK', 4)
    save('a.png')
    lines = [f'{"missing" if n in (3, 4, 10) else "a"}.png {n % 2}' for n in range(11)]
    _, *faults = faults_of(list_args('\n'.join(lines)))
    assert faults == [f'  {files}/train.txt:{n}: {files}/missing.png: no such file' for n in (4, 5, 11)]


def test_the_validation_list_is_checked_too(save, list_args):
    save('a.png')
    args = list_args('a.png cat\na.png dog', val='a.png bird\na.png cat')
    assert len(build(args)) == 2
    first, fault = faults_of(args, 'val')
    assert first.endswith('val.txt has 1 invalid entry; fix or remove it:')
    assert fault.endswith("val.txt:1: unknown class 'bird' (known: cat, dog)")


def test_a_missing_sample_of_a_training_that_runs_is_named(labelled, masked, files):
    data = build(labelled())
    (files / '2.png').unlink()
    with pytest.raises(DanluError) as error:
        data[2]
    assert str(error.value) == f'{files}/train.txt:3: {files}/2.png: no such file; fix or remove it'
    data = build(masked())
    (files / '1_mask.png').unlink()
    with pytest.raises(DanluError) as error:
        data[1]
    assert str(error.value) == f'{files}/train.txt:2: {files}/1_mask.png: no such file; fix or remove it'


def folder_args(make_args, files, *words):
    paths = ['--data_type', 'folder', '--train_list', files / 'train', '--val_list', files / 'val']
    return make_args(*paths, *words)


def test_a_folder_names_its_classes(save, make_args, files):
    for name in ('train/dog/1.png', 'train/cat/more/2.png', 'train/cat/1.png', 'val/dog/9.png'):
        save(name)
    args = folder_args(make_args, files)
    data = build(args)
    assert (args.num_classes, args.class_names) == (2, ['cat', 'dog'])
    assert data.labels.tolist() == [0, 0, 1]
    assert [data.name(index) for index in range(3)] == ['cat/1.png', 'cat/more/2.png', 'dog/1.png']
    assert build(args, 'val').labels.tolist() == [1]
    assert build(folder_args(make_args, files, '--num_classes', 2)).labels.tolist() == [0, 0, 1]


def test_a_folders_numbers_are_names_in_the_order_of_their_values(save, make_args, files):
    for name in ('10', '9', '1998'):
        save(f'train/{name}/1.png')
        save(f'val/{name}/1.png')
    args = folder_args(make_args, files)
    assert build(args).labels.tolist() == [1, 2, 0]  # the files are read in the order 10, 1998, 9
    assert (args.num_classes, args.class_names) == (3, ['9', '10', '1998'])
    save('val/1/1.png')
    _, fault = faults_of(args, 'val')
    assert fault == f"  {files}/val/1/1.png: unknown class '1' (known: 9, 10, 1998)"


def test_a_folders_digits_are_their_labels(save, make_args, files):
    for name in range(12):
        save(f'train/{name}/1.png')
        save(f'val/{name}/1.png')
    data = build(folder_args(make_args, files))
    assert [(data.name(index), int(data.labels[index])) for index in (0, 2, 11)] == [
        ('0/1.png', 0),
        ('10/1.png', 10),
        ('9/1.png', 9),
    ]


def test_faults_of_a_folder_name_the_file_once(save, make_args, files):
    save('train/cat/1.png')
    torn(save('train/dog/2.png', size=(50, 50)))
    save('val/bird/1.png')
    args = folder_args(make_args, files)
    first, fault = faults_of(args)
    assert first == f'{files}/train has 1 invalid entry; fix or remove it, or add --skip_bad:'
    assert fault.startswith(f'  {files}/train/dog/2.png: damaged: ')
    _, fault = faults_of(args, 'val')
    assert fault == f"  {files}/val/bird/1.png: unknown class 'bird' (known: cat, dog)"
