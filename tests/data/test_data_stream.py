"""Streams: tar archives and lines, read once per epoch, whatever reads them."""

import io
import json
import tarfile
from itertools import chain

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from data.data_entry import select_eval_loader, select_train_loader
from data.lists.shards import TarShard
from data.samplers import EpochBatches, StreamBatches, shuffled
from data.stream import Stream
from utils.base.errors import DanluError, message_of


def encoded(pixels, kind='PNG'):
    """Return a uint8 array as the content (bytes) of a picture's file."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(buffer, format=kind)
    return buffer.getvalue()


def shade(value, size=(8, 6)):
    """Return the content of a PNG (bytes) of one colour, which tells the sample; size is width x height."""
    return encoded(np.full((size[1], size[0], 3), value))


@pytest.fixture
def pack(files):
    """Return a function: name and members (name, content) -> the path of a tar archive of them."""

    def pack(name, *members):
        path = files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, 'w') as archive:
            for member, content in members:
                info = tarfile.TarInfo(member)
                content = content.encode() if isinstance(content, str) else content
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return path

    return pack


@pytest.fixture
def stream_args(make_args, files):
    """Return a function: words of the command line -> options for the shards in `train`, validated on the same."""

    def stream_args(*words, path='train', classes=('--num_classes', 3)):
        where = ['--train_list', files / path, '--val_list', files / path]
        return make_args('--data_type', 'stream', *where, *classes, *words)

    return stream_args


@pytest.fixture
def shards(pack, stream_args):
    """Return a function: words -> options for 23 samples in four shards, one empty; each has its number for a shade."""
    number = 0
    for shard, count in enumerate((10, 0, 6, 7)):
        members = []
        for _ in range(count):
            members += [(f'{number:03d}.png', shade(number)), (f'{number:03d}.cls', str(number % 3))]
            number += 1
        pack(f'train/{shard}.tar', *members)
    return stream_args


def seen(loader, epoch=1):
    """Return the shades (list of lists of int) in an epoch's batches, having compared the labels with them."""
    loader.batch_sampler.set_epoch(epoch)
    batches = []
    for images, targets, *_ in loader:
        assert targets.tolist() == [value % 3 for value in images[:, 0, 0, 0].tolist()]
        batches.append(images[:, 0, 0, 0].tolist())
    return batches


def flat(batches):
    """Return the items (list) of lists."""
    return list(chain.from_iterable(batches))


# --- the order


@pytest.mark.filterwarnings('ignore:This DataLoader will create')
@pytest.mark.parametrize('workers', [0, 1, 2, 4])
def test_batches_are_a_function_of_seed_and_epoch_and_hold_each_sample_once(shards, workers):
    args = shards('--batch_size', 4, '--shuffle_buffer', 5)
    expected = [seen(select_train_loader(args), epoch) for epoch in (1, 2)]
    args.num_workers = workers
    loader = select_train_loader(args)
    loader.multiprocessing_context = 'fork' if workers else None
    assert [seen(loader, epoch) for epoch in (1, 2)] == expected
    assert expected[0] != expected[1]
    for batches in expected:
        assert sorted(flat(batches)) == list(range(23))
        assert [len(batch) for batch in batches] == [4, 4, 4, 4, 4, 3]
    args.seed = 1
    assert seen(select_train_loader(args)) != expected[0]


def test_threads_that_decode_ahead_change_nothing(shards):
    args = shards('--batch_size', 5, '--augment', 'standard')
    loaders = [select_train_loader(args) for _ in range(2)]
    loaders[1].uses_threads = True
    one, other = ([(images, key[1].tolist()) for images, _, key in loader] for loader in loaders)
    assert all(torch.equal(a[0], b[0]) and a[1] == b[1] for a, b in zip(one, other, strict=True))
    assert {index for _, indices in one for index in indices} == {(n << 32) + k for n, size in ((0, 10), (2, 6), (3, 7))
                                                                 for k in range(size)}  # fmt: skip


def test_validation_is_in_order(shards):
    args = shards('--batch_size', 10)
    assert select_eval_loader(args).names_at([(0, 0)]) == [], 'names would be read from the shards'
    assert seen(select_eval_loader(args)) == [list(range(10)), list(range(10, 20)), [20, 21, 22]]


def test_an_epoch_can_be_taken_up_after_some_batches(shards):
    loader = select_train_loader(shards('--batch_size', 4))
    whole = seen(loader, 3)
    loader.batch_sampler.set_epoch(3, start=2)
    assert [images[:, 0, 0, 0].tolist() for images, _ in loader] == whole[2:]
    assert seen(loader, 3) == whole


@pytest.mark.parametrize('length', [5, 23, 50])
def test_train_length_says_how_many_samples_an_epoch_has(shards, length):
    loader = select_train_loader(shards('--batch_size', 4, '--train_length', length))
    batches = seen(loader)
    assert len(loader.dataset) == length == len(flat(batches))
    assert len(loader) == len(batches)
    counts = np.bincount(flat(batches), minlength=23)
    assert counts.max() - counts.min() <= 1
    assert seen(loader, 2) != batches


def test_a_length_that_nobody_told_is_known_after_the_first_pass(shards):
    for loader in (select_train_loader(shards()), select_eval_loader(shards())):
        with pytest.raises(TypeError, match='give --train_length'):
            len(loader)
        assert len(flat(seen(loader))) == len(loader.dataset) == 23


@pytest.mark.parametrize('length', range(1, 12))
@pytest.mark.parametrize('batch_size', [1, 2, 4, 5])
@pytest.mark.parametrize('training', [True, False])
def test_batches_are_as_large_as_those_of_a_list(length, batch_size, training):
    class Numbers:
        def order(self, epoch):
            return iter(range(length))

        def __len__(self):
            return length

    stream = StreamBatches(Numbers(), batch_size, shuffle=training)
    sizes = [len(places) for _, places in stream]
    assert sizes == [len(indices) for _, indices in EpochBatches(length, batch_size, training, seed=0)]
    assert len(stream) == len(sizes)


@pytest.mark.parametrize('size', [1, 2, 7, 50, 100, 1000])
def test_the_buffer_loses_nothing_and_takes_no_more_than_its_size(size):
    taken = []
    found = []
    for item in shuffled(_noting(range(100), taken), size, np.random.default_rng(0)):
        found.append(item)
        assert len(taken) - len(found) <= size
    assert sorted(found) == list(range(100))
    assert (found == list(range(100))) == (size == 1)


def _noting(items, taken):
    for item in items:
        taken.append(item)
        yield item


def test_a_plain_data_loader_shares_the_samples_among_its_workers(shards):
    stream = Stream(ready(shards()), 'train')
    orders = []
    for workers in (0, 2):
        loader = DataLoader(
            stream, batch_size=3, num_workers=workers, multiprocessing_context='fork' if workers else None
        )
        orders.append([value for images, _ in loader for value in images[:, 0, 0, 0].tolist()])
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(23))
    stream.set_epoch(2)
    assert [int(image[0, 0, 0]) for image, _ in stream] != orders[0]


def ready(args):
    """Return options with what the loaders would have filled in."""
    select_eval_loader(args)
    return args


# --- what shards hold


def test_labels_stand_in_cls_or_json_and_by_name(pack, stream_args):
    pack(
        'train/a.tar',
        *(('./deep.er/1.2.jpg.txt', 'no sample'), ('./deep.er/a.JPG', encoded(np.full((6, 8, 3), 90), 'JPEG'))),
        *(('./deep.er/._a.cls', b'\x00'), ('./deep.er/a.cls', ' cat\n'), ('deep.er/b.png', shade(1))),
        *(('deep.er/b.json', '{"label": "dog", "size": [1]}'), ('c.json', '{"target": "cat"}'), ('c.png', shade(2))),
        *(('d.cls', '1'), ('d.json', '{"caption": "of both the .cls counts"}'), ('d.png', shade(3))),
    )
    loader = select_eval_loader(stream_args('--class_names', 'cat', 'dog', classes=()))
    images, targets = next(iter(loader))
    assert targets.tolist() == [0, 1, 0, 1]
    assert images[:, 0, 0, 0].tolist() == [90, 1, 2, 3]
    dataset = loader.dataset.dataset
    assert [dataset.name(n) for n in (0, 1, 3, 2)] == ['deep.er/a', 'deep.er/b', 'd', 'c']


def test_the_own_sizes_of_pictures_are_looked_up_in_one_walk_beside_that_of_the_names(pack, stream_args, monkeypatch):
    sizes = [(8, 6), (5, 9), (4, 4)]
    for shard in 'ab':
        pack(
            f'train/{shard}.tar',
            *(m for n, size in enumerate(sizes) for m in ((f'{n}.png', shade(n, size)), (f'{n}.cls', '1'))),
        )
    dataset = select_eval_loader(stream_args('--image_size', 16)).dataset.dataset
    walks, places = [], type(dataset).shard_samples
    monkeypatch.setattr(
        type(dataset), 'shard_samples', lambda stream, numbers: walks.append(1) or places(stream, numbers)
    )
    for batch in ((0, 1), (2, 3), (4, 5)):
        names = [dataset.name(n) for n in batch]
        assert [dataset.full_size(n) for n in batch] == [sizes[int(name)][::-1] for name in names]
    assert len(walks) == 2


@pytest.mark.parametrize('replaced', [False, True])
def test_an_archive_that_was_packed_anew_is_read_anew(pack, stream_args, replaced):
    """Not from what the process still holds of the one before, written over in place or replaced."""

    def labels(*values):
        path = pack('train/a.tar', *((f'{n}.{end}', content) for n, value in enumerate(values)
                                     for end, content in (('png', shade(value)), ('cls', str(value)))))  # fmt: skip
        images, found, *_ = next(iter(select_eval_loader(stream_args('--image_size', '6', '8'))))
        assert images[:, 0, 0, 0].tolist() == found.tolist()
        return path, found.tolist()

    path, found = labels(0, 1, 2)
    assert found == [0, 1, 2]
    if replaced:
        path.unlink()
    assert labels(2, 0, 1)[1] == [2, 0, 1]


def test_masks_are_cut_and_scaled_with_their_pictures(pack, stream_args):
    mask = np.repeat(np.array([[0, 1], [2, 255]], dtype=np.uint8), 4, axis=0).repeat(4, axis=1)
    mask = mask.repeat(4, axis=0).repeat(4, axis=1)
    picture = encoded(mask[..., None].repeat(3, axis=2))
    members = [(f'{n}{ending}', data) for n in range(4) for ending, data in
               (('.png', picture), (('.mask.png', '.SEG.PNG')[n % 2], encoded(mask)))]  # fmt: skip
    pack('train/a.tar', *members)
    words = ['--task', 'segmentation', '--image_size', 64]
    images, targets = next(iter(select_eval_loader(stream_args(*words))))
    assert targets.dtype == torch.uint8
    assert torch.equal(targets[0], torch.from_numpy(mask.repeat(2, 0).repeat(2, 1)))
    loader = select_train_loader(stream_args(*words, '--augment', 'standard'))
    images, targets, _ = next(iter(loader))
    inner = (images[:, 0] == targets).float().mean()
    assert inner > 0.9, 'picture and mask were cut differently'
    assert len(targets.flatten(1).unique(dim=0)) > 1


@pytest.mark.parametrize('root', [False, True])
@pytest.mark.parametrize('kind', ['csv', 'jsonl'])
def test_lines_name_pictures_relative_to_their_file_or_to_data_root(save, write, stream_args, files, kind, root):
    for number in range(5):
        save(f'lists/pictures/a, {number}.png', np.full((6, 8, 3), number, dtype=np.uint8))
    prefix = '' if root else 'pictures/'
    if kind == 'csv':
        lines = ['\ufefflabel,note, image ', *(f'{n % 3},"x\ny","{prefix}a, {n}.png"' for n in range(5)), '', '']
    else:
        lines = ['', *(json.dumps({'image': f'{prefix}a, {n}.png', 'target': n % 3}) for n in range(5))]
    write(f'lists/train.{kind}', '\r\n'.join(lines))
    words = ['--data_root', files / 'lists/pictures'] if root else []
    loader = select_eval_loader(stream_args(*words, path=f'lists/train.{kind}'))
    assert seen(loader) == [[0, 1, 2, 3, 4]]
    assert loader.dataset.dataset.name(3) == f'{prefix}a, 3.png'
    loader = select_train_loader(stream_args(*words, path=f'lists/train.{kind}'))
    assert sorted(flat(seen(loader))) == [0, 1, 2, 3, 4]


def test_many_small_members_are_walked_over_by_their_headers(pack, monkeypatch):
    path = pack('a.tar', *((f'{n // 2}.{("png", "cls")[n % 2]}', bytes(3000)) for n in range(2000)))
    read = []
    monkeypatch.setattr('data.lists.shards.OPEN_FILES.read', lambda *args: read.append(args), raising=False)
    places = list(TarShard(path).walk(masks=False))
    assert (len(places), read) == (1000, [])
    with open(path, 'rb') as file:
        for _, picture, target in places[::300]:
            file.seek(picture.offset - 512)
            assert file.read(8).strip(b'\0').endswith(b'png')
            assert (target.ending, target.size) == ('.cls', 3000)


def test_what_results_say_of_the_data(shards, files, write):
    one = select_eval_loader(shards()).dataset.dataset
    assert one.content_hash().endswith(' (of the names and sizes of the archives)')
    before = one.content_hash()
    (files / 'train/1.tar').unlink()
    assert select_eval_loader(shards()).dataset.dataset.content_hash() != before
    assert one.notes == [f'{files}/train: 4 shards, 1 of them empty; of each the first sample was checked']


# --- faults


FAULTS = {
    'no label': ([('a.png', shade(1))], 'a.tar: a: no label: pack it behind the image as <key>.cls or <key>.json'),
    'no class': ([('a.png', shade(1)), ('a.cls', '3')], 'a.tar: a: label 3 is outside 0..2, which are 3 classes'),
    'a name': (
        [('a.png', shade(1)), ('a.cls', 'cat')],
        "a: unknown class 'cat' (known: integers, 0..2; names need --cl",
    ),
    'no image': ([('a.cls', '1')], 'a.tar: a: no image among a.cls; the files of a sample follow one another'),
    'dotted': (
        [('a.1.png', shade(1)), ('a.1.cls', '1')],
        'a: no image among a.1.png, a.1.cls; the files of a sample',
    ),
    'two pictures': ([('a.png', shade(1)), ('a.jpg', shade(1))], 'a.tar: a: several images among a.png, a.jpg'),
    'two targets': (
        [('a.png', shade(1)), ('a.cls', '1'), ('a.cls', '1')],
        'a: several targets among a.png, a.cls, a.cls',
    ),
    'torn': ([('a.png', shade(1)[:50]), ('a.cls', '1')], 'a.tar: a: damaged: '),
    'no PNG': ([('a.png', b'GIF'), ('a.cls', '1')], 'a.tar: a: not an image in a format that Pillow knows'),
    'json': (
        [('a.png', shade(1)), ('a.json', '{"lable": 1}')],
        'its .json has neither "target" nor "label"; its fields: l',
    ),
    'no json': ([('a.png', shade(1)), ('a.json', 'cat')], 'a.tar: a: invalid JSON: '),
    'a list': ([('a.png', shade(1)), ('a.json', '[1]')], '"label", it is no {...}'),
    'a half': ([('a.png', shade(1)), ('a.json', '{"label": 0.5}')], 'its .json has 0.5 for a target: it takes a label'),
    'bytes': ([('a.png', shade(1)), ('a.cls', b'\xff')], 'its .cls is not UTF-8 text'),
}


@pytest.mark.parametrize('when', ['at the start', 'in the epoch'])
@pytest.mark.parametrize('fault', FAULTS)
def test_a_fault_names_shard_and_key(pack, stream_args, fault, when):
    members, expected = FAULTS[fault]
    good = [] if when == 'at the start' else [('0.png', shade(0)), ('0.cls', '0')]
    pack('train/a.tar', *good, *members)
    args = stream_args('--image_size', 8)
    with pytest.raises(DanluError) as caught:
        loader = select_train_loader(args)
        assert good, 'the first sample of the shard is at fault'
        list(loader)
    assert expected in message_of(caught.value)


def test_a_jpeg_that_a_crash_filled_with_zeros_is_refused(pack, stream_args):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3))
    data = encoded(noise, 'JPEG')
    pack('train/a.tar', ('a.jpg', data[: len(data) // 2] + bytes(len(data) // 2)), ('a.cls', '1'))
    with pytest.raises(DanluError, match=r'train/a\.tar: a: damaged: its end is missing'):
        select_eval_loader(stream_args())


def test_masks_that_do_not_fit_are_refused(pack, stream_args):
    task = ['--task', 'segmentation']
    for mask, expected in (
        (np.zeros((6, 9)), 'a: the mask is 9x6, its image 8x6 (width x height)'),
        (np.full((6, 8), 7), 'a: mask values [7] are neither 0..2 (--num_classes) nor 255 (--ignore_index)'),
        (np.arange(3) + np.zeros((6, 8, 3)), 'a: a mask holds one label of 0..255 per pixel'),
    ):
        pack('train/a.tar', ('a.png', shade(1)), ('a.mask.png', encoded(mask)))
        with pytest.raises(DanluError) as caught:
            select_eval_loader(stream_args(*task))
        assert expected in str(caught.value)
    pack('train/a.tar', ('a.png', shade(1)), ('a.cls', '1'))
    with pytest.raises(DanluError, match=r'a: no mask: pack it behind the image as <key>\.mask\.png'):
        select_eval_loader(stream_args(*task))


def test_damaged_archives_are_refused_and_none_loses_a_sample(pack, stream_args, files):
    members = [(f'{n}.{kind}', data) for n in range(3) for kind, data in (('png', shade(n)), ('cls', str(n)))]
    path = pack('train/a.tar', *members)
    whole, args = path.read_bytes(), stream_args('--image_size', 8)
    last = whole.index(b'2.png')
    damages = {
        whole[:last]
        + bytes([1]) * 200
        + whole[last + 200 :]: rf'a\.tar: damaged at byte {last:,}, or several archives',
        whole[
            : last + 600
        ]: r'a\.tar cannot be read as a \.tar, or only in part \(unexpected end of data\): get it again',
        whole + whole: 'or several archives put together',
    }
    for content, expected in damages.items():
        path.write_bytes(content)
        loader = select_eval_loader(args)
        with pytest.raises(DanluError, match=expected):
            list(loader)
    for content in (b'', b'no archive', shade(1)):
        path.write_bytes(content)
        with pytest.raises(DanluError, match=r'a\.tar cannot be read as a \.tar'):
            select_eval_loader(args)


LINES = {
    'csv': [
        ('label,file\n1,a.png\n', 'train.csv:1: a .csv begins with a line that names its columns, image and target'),
        ('', 'this one begins with nothing'),
        ('image,label\na.png\n', 'train.csv:2: it has neither "target" nor "label"; its fields: image, label'),
        ('image,label\n,1\n', 'train.csv:2: no path as "image"'),
        ('image,label\na.png,9\n', 'train.csv:2: label 9 is outside 0..2'),
        ('image,label\nb.png,1\n', 'b.png: no such file'),
        ('image,label\n"a.png,1\n', 'train.csv:2: unexpected end of data'),
    ],
    'jsonl': [
        ('{"image": "a.png"}', 'train.jsonl:1: it has neither "target" nor "label"; its fields: image'),
        ('\n["a.png", 1]', 'train.jsonl:2: no path as "image", it is no {...}'),
        ('a.png 1', 'train.jsonl:1: invalid JSON: Expecting value'),
        ('{"image": "a.png", "label": true}', 'train.jsonl:1: it has True for a target'),
        ('\n', 'train.jsonl: it contains no sample'),
    ],
}


@pytest.mark.parametrize(('kind', 'text', 'expected'), [(kind, *line) for kind in LINES for line in LINES[kind]])
def test_a_fault_names_file_and_line(save, write, stream_args, kind, text, expected):
    save('a.png')
    path = write(f'train.{kind}', text)
    with pytest.raises(DanluError) as caught:
        select_eval_loader(stream_args('--image_size', 8, path=path))
    assert expected in str(caught.value)


def test_places_without_usable_shards_are_refused(pack, stream_args, files, write):
    sample = (('a.png', shade(1)), ('a.cls', '1'))
    (files / 'train').mkdir()
    for expected, make in (
        ('no shard; a stream takes a .tar, .csv, .jsonl file or a directory', lambda: write('train/.hidden.tar', '')),
        ('it contains no sample', lambda: pack('train/b.tar')),
        ('has shards of several kinds (.csv, .tar)', lambda: write('train/a.csv', 'image,label\n')),
        (
            'c.tar.gz is compressed and cannot be read in parts: unpack it',
            lambda: pack('train/c.tar.gz', *sample),
        ),
    ):
        make()
        with pytest.raises(DanluError) as caught:
            select_eval_loader(stream_args())
        assert expected in str(caught.value)


def test_a_large_first_picture_asks_for_a_size(pack, stream_args):
    pack('train/a.tar', ('a.png', shade(1, (600, 4))), ('a.cls', '1'))
    with pytest.raises(DanluError, match=r'the first image, .*a\.tar: a, is 600x4: give the training size'):
        select_eval_loader(stream_args())


def test_a_fault_found_with_workers_names_shard_and_key(pack, stream_args):
    members, expected = FAULTS['no image']  # found by the process that walks over the shard
    pack('train/a.tar', ('0.png', shade(0)), ('0.cls', '0'), *members)
    args = stream_args()
    args.num_workers = 1
    loader = select_train_loader(args)
    loader.multiprocessing_context = 'fork'
    with pytest.raises(DanluError) as caught:
        list(loader)
    assert expected in message_of(caught.value)
