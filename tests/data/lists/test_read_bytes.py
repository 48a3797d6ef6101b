"""The bytes of samples are read once, and their hashes come with the batches."""

import os

import numpy as np
import pytest

from data.data_entry import select_eval_loader, select_train_loader
from data.lists import read_bytes as module
from data.lists.read_bytes import ReadHashes, read_bytes
from utils.base.content_hash import hash_bytes
from utils.base.errors import DanluError


def expected(files, lines, targets_are_files):
    """Return the hashes (list of int) of the samples in lines of a list."""
    hashes = []
    for line in lines:
        image, target = line.split()
        of_target = hash_bytes((files / target).read_bytes() if targets_are_files else np.int64(target).tobytes())
        hashes.append(hash_bytes((files / image).read_bytes()) << 32 | of_target)
    return hashes


@pytest.mark.parametrize('words', [['--num_workers', 0], ['--num_workers', 2]])
@pytest.mark.parametrize('kind', ['list', 'mem_list'])
@pytest.mark.parametrize('name', ['labelled', 'masked'])
def test_each_sample_of_an_epoch_has_the_hash_of_its_bytes(request, files, words, kind, name):
    args = request.getfixturevalue(name)(*words, '--batch_size', 4, kind=kind)
    lines = (files / 'train.txt').read_text().splitlines()
    for select in (select_train_loader, select_eval_loader):
        loader = select(args)
        if kind == 'list':
            assert len(loader.contents()) == 0
            list(loader)
        indices, hashes = loader.contents().items()
        assert indices.tolist() == list(range(len(lines)))
        assert hashes.tolist() == expected(files, lines, name == 'masked')


def test_threads_give_the_hashes_too(labelled, files):
    loader = select_train_loader(labelled('--batch_size', 2))
    loader.uses_threads = True
    list(loader)
    _, hashes = loader.contents().items()
    assert hashes.tolist() == expected(files, (files / 'train.txt').read_text().splitlines(), False)
    assert loader.dataset.dataset.read_hashes.waiting == {}


@pytest.mark.parametrize('name', ['labelled', 'masked'])
def test_a_decode_cache_keeps_the_hashes_of_its_source(request, files, tmp_path, name):
    make, cache = request.getfixturevalue(name), tmp_path / 'cache'
    args = make('--cache_dir', cache, kind='mem_list')
    first = select_train_loader(args).contents().items()[1]
    assert first.tolist() == expected(files, (files / 'train.txt').read_text().splitlines(), name == 'masked')
    loader = select_train_loader(args)
    assert loader.dataset.dataset.notes[-1].startswith(f'cache: {len(first)} images')
    assert np.array_equal(loader.contents().items()[1], first)


def test_a_file_is_read_once_for_a_sample(masked, monkeypatch):
    loader, read, read_file = select_eval_loader(masked()), [], module.read_whole
    monkeypatch.setattr(module, 'read_whole', lambda path: read.append(path) or read_file(path))
    monkeypatch.setattr('data.lists.pictures.regular', lambda path: pytest.fail('read again'))
    list(loader)
    assert len(read) == len({*read}) == 2 * len(loader.dataset)


def test_a_file_is_read_to_its_end_in_several_parts(tmp_path, monkeypatch):
    path, content, read = tmp_path / 'a', bytes(range(256)) * 9, os.read
    path.write_bytes(content)
    monkeypatch.setattr(module.os, 'read', lambda handle, size: read(handle, min(size, 1000)))
    assert read_bytes(path) == content
    path.write_bytes(b'')
    assert read_bytes(path) == b''


def test_a_file_that_cannot_be_read_is_an_error_without_its_path(tmp_path):
    for path, what in ((tmp_path / 'a.png', 'no such file'), (tmp_path, 'cannot be opened: .*Is a directory')):
        with pytest.raises(DanluError, match=what):
            read_bytes(path)


def test_a_sample_is_unknown_unless_both_parts_were_read():
    hashes = ReadHashes()
    hashes.put(3, ReadHashes.PICTURE, 1)
    hashes.put(4, ReadHashes.PICTURE, 1)
    hashes.put(4, ReadHashes.TARGET, 2)
    indices, found = hashes.take(np.array([4, 3, 5, 4]))
    assert (indices.tolist(), found.tolist()) == ([4, 3, 5, 4], [1 << 32 | 2, 0, 0, 1 << 32 | 2])
    assert hashes.waiting == {}
