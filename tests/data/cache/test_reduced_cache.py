"""--cache_dir of list, pairs and folder: what is kept, when it is used, and what is left of a crash or a full disk."""

import os
import pickle
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.cache import reduced_cache
from data.data_entry import complete_args, select_train_loader
from data.list_dataset import ListDataset
from data.lists.read_bytes import ReadHashes
from utils.base.errors import DanluError

pytestmark = pytest.mark.skipif(not hasattr(os, 'pread'), reason='needs the file access of Linux or macOS')


@pytest.fixture
def cache(tmp_path):
    """Return the directory (Path) of the cache, which is not there yet."""
    return tmp_path / 'cache'


def dataset(args):
    complete_args(args)
    return ListDataset(args, 'train')


def without_cache(args):
    """Return the data set of the same options that decodes in each epoch."""
    args.cache_dir = None
    return dataset(args)


def samples(data, part=None):
    return [data.load(index, part) for index in range(len(data))]


def same(first, second):
    return len(first) == len(second) and all(
        torch.equal(a, b) and a.dtype == b.dtype
        for one, two in zip(first, second, strict=True)
        for a, b in zip(one, two, strict=True)
    )


def note(data):
    (line,) = (line for line in data.notes if line.startswith('cache: '))
    return line.partition(' images in ')[0]


@pytest.fixture
def photos(save, list_args, cache):
    """Return a function: options for 7 images of different sizes, reduced to 10 pixels."""

    def photos(*words, count=7, ending='jpg', kind='list'):
        lines = [f'{save(f"{n}.{ending}", size=(30 + n, 20), seed=n).name} {n % 3}' for n in range(count)]
        words = ['--cache_dir', cache, '--cache_size', 10, '--image_size', 8, *words]
        return list_args('\n'.join(lines), *words, kind=kind)

    return photos


def same_files(make, *words):
    """Return options made again, with the files as they were."""
    args = make(*words)
    folder = Path(args.train_list).parent
    for path in [*folder.glob('*.jpg'), *folder.glob('*.png')]:
        os.utime(path, ns=(10**18, 10**18))
    return args


def unread(monkeypatch):
    monkeypatch.setattr('data.list_dataset.read_bytes', lambda path: pytest.fail('a file was read'))


@pytest.mark.parametrize('fit', ['stretch', 'crop', 'pad'])
@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('decoder', ['pillow', 'simplejpeg'])
def test_the_second_pass_and_the_second_start_read_no_file(photos, monkeypatch, fit, channels, decoder):
    words = ['--fit', fit, '--channels', channels, '--decoder', decoder]
    first = dataset(same_files(photos, *words))
    assert note(first) == 'cache: 0 of 7'
    expected = samples(first)
    assert {image.shape for image, _ in expected} == {(channels, 8, 8)}
    assert same(expected, samples(without_cache(same_files(photos, *words))))
    second = dataset(same_files(photos, *words))
    assert note(second) == 'cache: 7 of 7'
    unread(monkeypatch)
    assert same(expected, samples(first))
    assert same(expected, samples(second))


def test_images_are_reduced_to_the_shorter_side_and_never_enlarged(save, list_args, cache, tmp_path):
    save('wide.png', size=(60, 20))
    save('small.png', size=(5, 7))
    data = dataset(list_args('wide.png 0\nsmall.png 1', '--cache_dir', cache, '--cache_size', 10, '--image_size', 8))
    assert [tuple(data.read_reduced(index)[0].shape) for index in range(2)] == [(3, 10, 30), (3, 7, 5)]
    expected = np.asarray(Image.open(tmp_path / 'wide.png').resize((30, 10), Image.BILINEAR)).transpose(2, 0, 1)
    assert np.array_equal(data.read_reduced(0)[0].numpy(), expected)


def test_random_crops_are_taken_from_the_reduced_images(photos):
    data = dataset(photos())
    asked = []

    def part(full):
        asked.append(full)
        return 1, 2, 6, 9

    first, second = samples(data, part), samples(data, part)
    assert same(first, second)
    assert asked == [(10, round(10 * (30 + n) / 20)) for n in range(7)] * 2


def test_masks_stay_aligned_with_their_images(masked, cache, monkeypatch):
    """The colour of a pixel tells its class: 0 is red, 1 green, 2 blue."""
    words = ['--cache_dir', cache, '--cache_size', 15, '--image_size', 12, 15, '--interpolation', 'nearest']
    for extra in ((), ('--fit', 'crop', '--crop_share', 0.8)):
        data = dataset(masked(*words, *extra))
        for part in (None, lambda full: (3, 2, 9, 11)):
            for _ in range(2):
                for image, mask in samples(data, part):
                    assert (image.argmax(0) == mask).float().mean() > 0.85
    unread(monkeypatch)
    samples(data)


def test_target_images_are_kept_too(save, list_args, cache, monkeypatch):
    lines = [
        f'{save(f"{n}.png", size=(24, 20), seed=n).name} {save(f"t{n}.png", size=(24, 20), seed=9 + n).name}'
        for n in range(3)
    ]
    args = list_args('\n'.join(lines), '--task', 'restoration', '--cache_dir', cache, '--cache_size', 12, kind='pairs')
    data = dataset(args)
    first = samples(data)
    unread(monkeypatch)
    assert same(first, samples(data))


def test_a_sample_of_the_cache_has_the_hashes_of_its_files(photos, masked, cache):
    for make, words in ((photos, ()), (masked, ('--cache_dir', cache, '--cache_size', 15))):
        data, plain = dataset(make(*words)), without_cache(make(*words))
        data.read_hashes, plain.read_hashes = ReadHashes(), ReadHashes()
        samples(plain)
        for _ in range(2):
            samples(data)
            found = {index: data.read_hashes.pop(index) for index in range(len(data))}
            assert found == plain.read_hashes.waiting


def test_a_changed_file_alone_is_decoded_again(photos, save):
    samples(dataset(same_files(photos)))
    args = same_files(photos)
    save('3.jpg', size=(33, 20), seed=99)
    data = dataset(args)
    assert note(data) == 'cache: 6 of 7'
    found = samples(data)
    assert note(dataset(args)) == 'cache: 7 of 7'
    assert same(found, samples(without_cache(args)))


def test_other_options_have_files_of_their_own(photos, cache):
    for words in ((), ('--cache_size', 9), ('--channels', 1), ('--interpolation', 'bicubic'), ('--decoder', 'pillow')):
        data = dataset(same_files(photos, *words))
        assert note(data) == 'cache: 0 of 7', words
        samples(data)
    for words in (('--image_size', 6), ('--fit', 'pad'), ('--batch_size', 3), ('--augment', 'standard')):
        assert note(dataset(same_files(photos, *words))) == 'cache: 7 of 7', words
    assert len(list(cache.iterdir())) == 10


@pytest.mark.parametrize('damage', ['cut', 'changed', 'zeros', 'index', 'gone'])
def test_damaged_files_of_the_cache_are_not_used(photos, cache, damage):
    expected = samples(dataset(same_files(photos)))
    (pixels,), (index,) = cache.glob('*.reduced'), cache.glob('*.index')
    content = pixels.read_bytes()
    if damage == 'index':
        index.write_bytes(np.random.default_rng(0).bytes(index.stat().st_size))
    elif damage == 'gone':
        pixels.unlink()
    else:
        half = len(content) // 2
        pixels.write_bytes(
            {'cut': content[:half], 'changed': content[:half] + b'x' * half, 'zeros': bytes(2 * half)}[damage]
        )
    again = dataset(same_files(photos))
    assert same(expected, samples(again))
    assert same(expected, samples(again))
    assert same(expected, samples(dataset(same_files(photos))))


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('augment', ['none', 'standard'])
def test_worker_processes_and_threads_fill_it_and_give_the_same_batches(photos, workers, augment):
    def batches(args, threads):
        loader = select_train_loader(args)
        loader.uses_threads = threads
        found = []
        for epoch in (1, 2):
            loader.batch_sampler.set_epoch(epoch)
            found += [batch[:2] for batch in loader]
        return found

    words = ['--batch_size', 2, '--augment', augment, '--num_workers', workers]
    filled = batches(same_files(photos, *words), True)
    assert note(dataset(same_files(photos, *words))) == 'cache: 7 of 7'
    plain = same_files(photos, '--batch_size', 2, '--augment', augment)
    plain.cache_dir = None
    assert same(filled, batches(plain, False))


def test_a_full_disk_turns_it_off_with_one_line(photos, capsys):
    expected = samples(dataset(same_files(photos)))
    args = same_files(photos)
    shutil.rmtree(args.cache_dir)
    data = dataset(args)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        first, second = samples(data), samples(data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert same(expected, first)
    assert same(expected, second)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f'cache: {args.cache_dir}')
    assert line.endswith('File too large; nothing is added any more: allow larger files (ulimit -f)')
    assert note(dataset(args)) != 'cache: 7 of 7'
    assert same(expected, samples(dataset(args)))


def test_a_directory_that_cannot_be_written_is_one_line(photos, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(DanluError, match=r'--cache_dir .*file/in: cannot write there: Not a directory; .*leave it out'):
        dataset(photos('--cache_dir', tmp_path / 'file' / 'in'))


def test_links_are_not_followed(photos, cache, tmp_path):
    samples(dataset(same_files(photos)))
    (pixels,) = cache.glob('*.reduced')
    pixels.unlink()
    (tmp_path / 'other').write_text('mine')
    pixels.symlink_to(tmp_path / 'other')
    with pytest.raises(DanluError, match='cannot write there'):
        dataset(same_files(photos))
    assert (tmp_path / 'other').read_text() == 'mine'


def test_a_spawned_process_opens_the_files_itself(photos):
    data = dataset(same_files(photos))
    expected = samples(data)
    assert same(expected, samples(pickle.loads(pickle.dumps(data))))


def test_without_the_file_access_of_linux_it_is_refused(photos, monkeypatch):
    monkeypatch.delattr(reduced_cache.os, 'pread')
    with pytest.raises(DanluError, match='--cache_dir: needs the file access of Linux or macOS; leave it out'):
        dataset(photos())
