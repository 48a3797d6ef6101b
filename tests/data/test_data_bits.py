"""Pictures of 16 bits: by which range their values become 0..255, and where that is found, recorded and said."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from data.checks.preview import find_bits
from data.data_entry import complete_args, notes_of, select_eval_loader, select_train_loader
from data.list_dataset import ListDataset
from data.lists.pictures import check_picture, inspect_picture, picture_from, read_picture
from scripts.measure_data import main as measure_data
from utils.base.errors import DanluError


def deep(largest, seed=0, shape=(5, 6)):
    """Return values of 0..largest, uint16, the largest among them."""
    values = np.random.default_rng(seed).integers(0, largest + 1, shape).astype(np.uint16)
    values[1, 2] = largest
    return values


@pytest.fixture
def deep_args(save, list_args):
    """Return a function: options for four images of 16 bits with values up to `largest`; val.txt has the last two."""

    def deep_args(largest, *words, kind='list', ending='png', last=None):
        for n in range(4):
            save(f'{n}.{ending}', Image.fromarray(deep(largest if n < 3 or last is None else last, n)))
        lines = [f'{n}.{ending} {n % 2}' for n in range(4)]
        val = '\n'.join(lines[2:])
        return list_args('\n'.join(lines[:2]), '--channels', 1, '--num_classes', 2, *words, kind=kind, val=val)

    return deep_args


def pixels(loader):
    return np.concatenate([images.numpy() for images, *_ in loader])[:, 0]


@pytest.mark.parametrize(
    ('largest', 'bits'), [(65535, 16), (4095, 12), (4096, 13), (2048, 12), (300, 9), (255, 8), (3, 8)]
)
def test_the_range_is_measured_recorded_and_said(deep_args, largest, bits):
    args = deep_args(largest)
    loader = select_eval_loader(args)
    assert args.bits == bits
    expected = np.stack([deep(largest, n) >> (bits - 8) for n in (2, 3)])
    assert np.array_equal(pixels(loader), expected)
    assert expected.max() >= min(largest, 128)
    assert notes_of(loader) == [
        f'{args.val_list}: 2 of 2 samples have images of 16 bits: values 0..{2**bits - 1} become 0..255 '
        f'(--bits {bits}, measured in at most 2,000 samples of the training data)'
    ]


@pytest.mark.parametrize('kind', ['list', 'mem_list'])
@pytest.mark.parametrize('ending', ['png', 'tif'])
def test_a_range_that_is_given_counts(deep_args, kind, ending):
    args = deep_args(300, '--bits', 12, kind=kind, ending=ending)
    assert np.array_equal(pixels(select_eval_loader(args)), np.stack([deep(300, n) >> 4 for n in (2, 3)]))
    args = deep_args(300, '--bits', 16, kind=kind, ending=ending)  # as older records have it
    assert np.array_equal(pixels(select_eval_loader(args)), np.stack([deep(300, n) >> 8 for n in (2, 3)]))


def test_a_value_above_the_range_is_refused_before_the_first_step(deep_args):
    args = deep_args(4095, last=5000)
    select_train_loader(args)
    with pytest.raises(DanluError, match=r'3.png: the value 5000 is above 0..4095 \(--bits 12\): give --bits 13'):
        select_eval_loader(args)


def test_the_decoded_pixels_on_disk_are_those_of_one_range(deep_args, tmp_path):
    for bits in (12, 9, 12):
        args = deep_args(300, '--bits', bits, '--cache_dir', tmp_path / 'cache', kind='mem_list')
        expected = np.stack([deep(300, n) >> (bits - 8) for n in (2, 3)])
        assert np.array_equal(pixels(select_eval_loader(args)), expected)


def test_pictures_of_8_bits_have_no_range(labelled, make_args):
    args = labelled()
    complete_args(args)
    assert args.bits is None
    assert 'bits' not in args.from_data
    args = labelled('--bits', 12)
    dataset = select_train_loader(args).dataset.dataset
    assert dataset.notes == [f'{args.train_list}: no image has 16 bits, so --bits 12 changes nothing here']


def test_other_data_has_no_range(make_args, capsys):
    with pytest.raises(SystemExit):
        make_args('--bits', 12)
    assert 'argument --bits: digits has no 16-bit image files' in capsys.readouterr().err
    assert make_args('--bits', 16).bits == 16, 'as older records say'


def test_targets_of_16_bits_are_brought_to_the_range_of_the_inputs(save, list_args):
    for n in range(2):
        save(f'{n}.png', Image.fromarray(deep(1000, n)))
        save(f'{n}_clean.png', Image.fromarray(deep(4000, n)))
    words = ['--task', 'restoration', '--channels', 1]
    args = list_args('0.png 0_clean.png\n1.png 1_clean.png', *words, kind='pairs')
    loader = select_eval_loader(args)
    assert args.bits == 12
    images, targets, *_ = next(iter(loader))
    assert np.array_equal(images[:, 0].numpy(), np.stack([deep(1000, n) >> 4 for n in range(2)]))
    assert np.array_equal(targets[:, 0].numpy(), np.stack([deep(4000, n) >> 4 for n in range(2)]))


def test_a_picture_that_nobody_measured_is_refused(save):
    path = save('deep.png', Image.fromarray(deep(4095)))
    for function in (lambda: read_picture(path, 1, bits=None), lambda: inspect_picture(path, None)):
        with pytest.raises(DanluError, match='16 bits per pixel of unknown range: give --bits 16 for values up'):
            function()
    assert np.array_equal(picture_from(path, 1, None, bits=12)[0].numpy(), deep(4095) >> 4)
    assert find_bits([str(path), 'gone.png', str(save('8.png'))]) == 12
    assert find_bits([str(save('8.png')), 'gone.png']) is None


def colour_of_16_bits(path, values):
    """Write values (uint16, H, W, 3) as a PNG of 16 bits per channel, which Pillow cannot write."""
    height, width, _ = values.shape
    rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in values)
    chunks = [(b'IHDR', struct.pack('>IIBBBBB', width, height, 16, 2, 0, 0, 0)), (b'IDAT', zlib.compress(rows))]
    data = b'\x89PNG\r\n\x1a\n'
    for kind, content in [*chunks, (b'IEND', b'')]:
        data += struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))
    path.write_bytes(data)
    return path


def test_colours_of_16_bits(tmp_path):
    """Pillow reads the upper 8 bits of each channel: 12 bits of content would be black."""
    full = colour_of_16_bits(tmp_path / 'full.png', deep(65535, shape=(4, 5, 3)))
    assert np.array_equal(read_picture(full, 3).permute(1, 2, 0).numpy(), deep(65535, shape=(4, 5, 3)) >> 8)
    assert find_bits([str(full)]) == 16
    dark = colour_of_16_bits(tmp_path / 'dark.png', deep(4095, shape=(4, 5, 3)))
    bits = find_bits([str(dark)])
    assert bits == 12
    for function in (lambda: read_picture(dark, 3, bits=bits), lambda: inspect_picture(dark, bits)):
        with pytest.raises(DanluError, match='a colour image of 16 bits per channel, of which only the upper 8 can be'):
            function()
    assert check_picture(full) == (4, 5)


def test_a_stream_is_told_its_range(deep_args, tmp_path):
    args = deep_args(4095, '--bits', 12)
    (tmp_path / 'shard.csv').write_text('image,label\n2.png,0\n3.png,1\n')
    args.data_type, args.val_list, args.image_size, args.class_names = 'stream', str(tmp_path / 'shard.csv'), [5, 6], []
    args.shuffle_buffer, args.train_length = 1, None
    loader = select_eval_loader(args)
    assert np.array_equal(pixels(loader), np.stack([deep(4095, n) >> 4 for n in (2, 3)]))
    assert any('of images of 16 bits values 0..4095 become 0..255 (--bits 12)' in note for note in notes_of(loader))
    args.bits = None
    with pytest.raises(DanluError, match='of unknown range: give --bits 16'):
        select_eval_loader(args)


def test_measuring_finds_the_range_too(deep_args, capsys):
    args = deep_args(4000)
    complete_args(args)
    dataset = ListDataset(args, 'train')
    expected = np.stack([dataset[n][0].numpy() for n in range(2)]) / 255
    for words, code in (([], 0), (['--bits', 11], 2)):
        with pytest.raises((SystemExit, DanluError)) as end:
            measure_data([args.train_list, '--targets', 'none', '--channels', '1', *words])
        if code:
            assert 'the value 4000 is above 0..2047 (--bits 11): give --bits 12' in str(end.value)
            continue
        lines = capsys.readouterr().out.splitlines()
        assert '16 bits: values up to 4000; 0..4095 becomes 0..255 (--bits 12)' in lines
        assert f'mean of all pixels, in 0..1: {expected.mean():.6f}' in lines
        assert f'options: --channels 1 --bits 12 --mean {expected.mean():.4f}' in lines[-1]
