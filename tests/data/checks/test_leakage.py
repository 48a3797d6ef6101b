"""Samples that are in two sets of data: by file and by content, in lists, directories, memory and shards."""

import os
import shutil
from argparse import Namespace

import numpy as np
import pytest
import torch

from data.checks import leakage
from data.checks.leakage import shared_samples
from data.data_entry import select_eval_loader, select_train_loader
from data.lists import list_file
from data.lists.list_file import read_folder, read_list
from data.tensor_dataset import InMemory


@pytest.fixture
def lists(write):
    """Return a function: pictures of val.txt and train.txt (lists of str) -> their Listings, with labels."""

    def lists(val, train):
        listings = []
        for name, pictures in (('val', val), ('train', train)):
            lines = ''.join(f'"{picture}" 0\n' for picture in pictures)
            listings.append(read_list(write(f'{name}.txt', f'# a comment\n{lines}')))
        return listings

    return lists


def test_different_pictures_are_no_news(save, lists):
    for n in range(6):
        save(f'{n}.png', seed=n)
        save(f'{n}.bmp', seed=10 + n)  # all of one size
    val, train = lists(['0.png', '1.bmp'], ['2.png', '3.bmp', '4.bmp', '5.png', 'gone.png'])
    assert shared_samples(val, train) == []


def test_the_same_file_by_whatever_name(save, lists, files):
    save('a.png', seed=1)
    save('deep/b.png', seed=2)
    save('c.png', seed=3)
    (files / 'link.png').symlink_to(files / 'deep' / 'b.png')
    (files / 'linked').symlink_to(files / 'deep')
    val, train = lists(['c.png', 'link.png', './deep/../a.png'], ['x.png', 'a.png', 'linked/b.png'])
    (line,) = shared_samples(val, train)
    assert line == (
        f'{files}/val.txt: 2 of 3 images are in {files}/train.txt too: 2 as the same file '
        f'(the first: link.png, {files}/val.txt:3 and linked/b.png, {files}/train.txt:4)'
    )


def test_the_same_content_under_another_name(save, lists, files):
    save('a.png', seed=1)
    save('b.png', seed=2)
    shutil.copy(files / 'b.png', files / 'copy of b.png')
    (line,) = shared_samples(*lists(['a.png', 'copy of b.png'], ['b.png']))
    assert line == (
        f'{files}/val.txt: 1 of 2 images is in {files}/train.txt too: 1 as the same content in another file '
        f'(copy of b.png, {files}/val.txt:3 and b.png, {files}/train.txt:2)'
    )


def test_both_at_once_are_counted_once(save, lists, files):
    save('a.png', seed=1)
    save('b.png', seed=2)
    for name in 'xyz':
        shutil.copy(files / 'b.png', files / f'{name}.png')
    (line,) = shared_samples(*lists(['x.png', 'a.png', 'y.png'], ['b.png', 'z.png', 'a.png', 'x.png']))
    assert ': 3 of 3 images are in ' in line
    assert f': 2 as the same file (the first: x.png, {files}/val.txt:2 and x.png, {files}/train.txt:5), ' in line
    assert f', 1 as the same content in another file (y.png, {files}/val.txt:4 and b.png, ' in line


@pytest.mark.parametrize('place', [0, 20_000, 39_999])
def test_files_that_differ_in_one_byte_anywhere_are_no_copies(write, lists, files, place):
    """In the middle, which is compared first, and far from it."""
    content = bytearray(np.random.default_rng(0).bytes(40_000))
    for name in ('a.png', 'same.png'):
        (files / name).write_bytes(content)
    content[place] ^= 1
    (files / 'b.png').write_bytes(content)
    assert shared_samples(*lists(['b.png'], ['a.png'])) == []
    (line,) = shared_samples(*lists(['b.png', 'same.png'], ['b2.png', 'a.png']))
    assert ': 1 of 2 images is in ' in line


def test_pipes_and_empty_files_are_not_read(lists, files):
    if not hasattr(os, 'mkfifo'):
        pytest.skip('this system has no named pipes')
    for name in ('a', 'b'):
        os.mkfifo(files / name)
        (files / f'{name}.png').touch()
    assert shared_samples(*lists(['a', 'a.png'], ['b', 'b.png'])) == []


def test_of_too_many_files_of_one_size_some_are_compared_and_that_is_said(save, lists, monkeypatch, files):
    monkeypatch.setattr(leakage, 'MAX_OPENED_FILES', 20)
    val, train = [f'v{n}.bmp' for n in range(15)], [f't{n}.bmp' for n in range(40)]
    for n, name in enumerate([*val, *train]):
        save(name, seed=n)
    listings = lists(val, train)
    (line,) = shared_samples(*listings)
    assert line == (
        f'{files}/val.txt: no image was found in {files}/train.txt, though of 55 files of equal sizes only 20, drawn '
        'at random, were compared'
    )
    for name in train:  # all are copies of one
        shutil.copy(files / 'v3.bmp', files / name)
    for name in val:
        shutil.copy(files / 'v3.bmp', files / f'x{name}')
    (line,) = shared_samples(*lists([f'x{name}' for name in val], train))
    assert ': 10 of 15 images are in ' in line
    assert line.endswith('; there may be more, as of 55 files of equal sizes only 20, drawn at random, were compared')
    assert shared_samples(*lists([f'x{name}' for name in val], train)) == [line], 'the same ones again'


def test_of_files_that_seem_equal_so_many_bytes_are_read(write, lists, monkeypatch, files):
    monkeypatch.setattr(leakage, 'MAX_READ_BYTES', 80_000)
    for name in 'abcdef':
        (files / name).write_bytes(bytes(10_000))
    val, train = lists(['a', 'b', 'c', 'd', 'e'], ['f'])
    (line,) = shared_samples(val, train)
    assert ': 4 of 5 images are in ' in line
    assert line.endswith('; there may be more, as of 6 files that seem equal only 5 were read')


def test_of_very_long_lists_names_and_drawn_files_are_compared(save, lists, files, monkeypatch):
    monkeypatch.setattr(list_file, 'MAX_CHECKED_SAMPLES', 5)
    monkeypatch.setattr(list_file, 'SAMPLED_CHECKS', 4)
    for n in range(9):
        save(f'{n}.png', seed=n)
        shutil.copy(files / f'{n}.png', files / f'copy{n}.png')
    trained = [f'{n}.png' for n in range(8)]
    (line,) = shared_samples(*lists(['8.png', './7.png', 'copy2.png'], trained))
    assert line == (
        f'{files}/val.txt: 1 of 3 images is in {files}/train.txt too (./7.png, {files}/val.txt:3 and 7.png, '
        f'{files}/train.txt:9); there may be more, as only names were compared'
    )
    (line,) = shared_samples(*lists([f'copy{n}.png' for n in range(5)], trained))
    assert ' as the same content in another file ' in line and ' of 5 images' in line
    assert line.endswith(f'; of 8 images in {files}/train.txt only 4, drawn at random, were compared')
    assert shared_samples(*lists(['8.png', 'copy8.png'], trained)) == []
    (line,) = shared_samples(*lists([f'copy{n}.png' for n in range(8)], ['0.png', *trained]))
    assert line.count(', drawn at random, were compared') == 2


def test_names_of_lists_in_different_directories_are_not_compared(save, write, lists, files, monkeypatch):
    monkeypatch.setattr(list_file, 'MAX_CHECKED_SAMPLES', 1)
    for folder in ('one', 'two'):
        for n in range(2):
            save(f'{folder}/{n}.png', seed=n if folder == 'one' else 5 + n)
    one, two = (read_list(write(f'{folder}/list.txt', '0.png 0\n1.png 1\n')) for folder in ('one', 'two'))
    assert shared_samples(one, two) == []
    (line,) = shared_samples(one, one)
    assert ': 2 of 2 images are in ' in line
    whole = [
        write(f'{folder}/whole.txt', f'{files}/one/0.png 0\n{files}/{folder}/1.png 0\n') for folder in ('one', 'two')
    ]
    (line,) = shared_samples(*map(read_list, whole))
    assert ': 1 of 2 images is in ' in line and line.endswith('as only names were compared')


def test_directories(save, files):
    for split in ('train', 'val'):
        for n in range(3):
            save(f'{split}/cat/{n}.png', seed=n if split == 'train' else 7 + n)
    assert shared_samples(read_folder(files / 'val'), read_folder(files / 'train')) == []
    shutil.copy(files / 'train/cat/2.png', files / 'val/cat/a.png')
    (line,) = shared_samples(read_folder(files / 'val'), read_folder(files / 'train'))
    assert f'({files}/val/./cat/a.png and {files}/train/./cat/2.png)'.replace('/./', '/') in line


@pytest.mark.parametrize('kind', ['list', 'mem_list'])
def test_segmentations_share_pictures_not_masks(masked, save, files, kind):
    args = masked(kind=kind)
    (files / 'val.txt').write_text('new.png 0_mask.png\n5.png 5_mask.png\n')
    save('new.png', size=(24, 20), seed=99)
    val, train = (select(args).dataset.dataset for select in (select_eval_loader, select_train_loader))
    (line,) = shared_samples(val, train)
    assert f': 1 of 2 images is in {files}/train.txt too: 1 as the same file (5.png, ' in line


def in_memory(images):
    return InMemory(images, torch.zeros(len(images), dtype=torch.int64))


@pytest.mark.parametrize('shape', [(1, 5, 7), (3, 4, 4), (3,), (4, 2)])
@pytest.mark.parametrize('dtype', [torch.uint8, torch.float32])
def test_samples_in_memory(shape, dtype):
    generator = torch.Generator().manual_seed(0)
    train = torch.randint(0, 256, (9000, *shape), generator=generator).to(dtype)
    train[:, 0] = torch.arange(9000).view(-1, *[1] * (len(shape) - 1)) % 251  # few differ by nothing but this
    train = train.unique(dim=0)
    test, train = train[::2].clone(), train[1::2].clone()
    assert shared_samples(in_memory(test), in_memory(train)) == []
    test[3], test[4200 % len(test)] = train[-1], train[2]
    (line,) = shared_samples(in_memory(test), in_memory(train), ('test.npz', 'train.npz'))
    assert line == (
        f'test.npz: 2 of {len(test):,} samples are in train.npz too (the first: sample 00003 and {len(train) - 1:05d} '
        'there)'
    )
    assert shared_samples(in_memory(test), in_memory(train.to(torch.int64))) == []


def test_samples_with_the_same_hash_are_not_taken_for_equal(monkeypatch):
    monkeypatch.setattr(leakage, '_row_keys', lambda images, indices: np.zeros(len(indices), np.int64))
    one, other = torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.ones(4, 1, 2, 2, dtype=torch.uint8)
    assert shared_samples(in_memory(one), in_memory(other)) == []


def test_of_very_many_samples_in_memory_some_are_compared(monkeypatch):
    monkeypatch.setattr(leakage, 'MAX_HASHED_BYTES', 2 * 4 * 10)
    images = torch.ones(30, 1, 2, 2, dtype=torch.uint8)
    (line,) = shared_samples(in_memory(images), in_memory(images))
    assert ': 10 of 30 samples are in ' in line
    assert line.endswith('; there may be more, as only 10 of each, drawn at random, were compared')


def test_what_cannot_be_compared_is_not():
    images = in_memory(torch.ones(3, 1, 2, 2, dtype=torch.uint8))
    others = Namespace(images=['a.png'], shards=['a.tar'], listing=['a'])
    for pair in ((images, None), (None, images), (others, others), (images, others), (None, None)):
        assert shared_samples(*pair) == []


def test_the_digits_share_nothing(make_args):
    args = make_args('--data_type', 'digits')
    val, train = (select(args).dataset.dataset for select in (select_eval_loader, select_train_loader))
    assert shared_samples(val, train) == []


def test_shards_of_a_stream(write, save, make_args, files):
    for n in range(4):
        save(f'{n}.png', seed=n)
    for name, lines in {'train/a': (0, 1), 'train/b': (2,), 'val/c': (3,)}.items():
        text = ''.join(f'{{"image": "{n}.png", "target": {n % 2}}}\n' for n in lines)
        write(f'{name}.jsonl', text)
    words = ['--data_type', 'stream', '--train_list', files / 'train', '--val_list', files / 'val']
    args = make_args(*words, '--num_classes', 2, '--data_root', files, '--image_size', 6, 8)
    sets = [select(args).dataset.dataset for select in (select_eval_loader, select_train_loader)]
    assert shared_samples(*sets) == []
    (files / 'val' / 'd.jsonl').symlink_to(files / 'train' / 'b.jsonl')
    sets = [select(args).dataset.dataset for select in (select_eval_loader, select_train_loader)]
    assert shared_samples(*sets) == [
        f'{files}/val: 1 of 2 shards is in {files}/train too ({files}/val/d.jsonl and {files}/train/b.jsonl)'
    ]
