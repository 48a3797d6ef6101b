"""Small real files for the tests of the data, and the options as the command line would give them."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from options import parse_train_args


@pytest.fixture(autouse=True)
def one_thread():
    """Keep to one thread: several processes with two threads each on two cores wait for each other."""
    torch.set_num_threads(1)


def random_pixels(shape, seed=0):
    """Return a uint8 array that no two seeds share."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def save(tmp_path):
    """Return a function that saves pixels (a uint8 array, or noise of `size`, width x height) and returns the path."""

    def save(name, pixels=None, size=(8, 6), seed=0, **options):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random_pixels((size[1], size[0], 3), seed) if pixels is None else pixels
        (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(path, **options)
        return path

    return save


@pytest.fixture
def with_data():
    """Return a function that replaces a PNG's compressed pixels by change(bytes), with right checksums; the path."""

    def with_data(path, change=lambda pixels: pixels[: len(pixels) // 2]):
        data = path.read_bytes()
        start = data.index(b'IDAT') - 4
        end = start + 12 + struct.unpack('>I', data[start : start + 4])[0]
        pixels = b'IDAT' + change(data[start + 8 : end - 4])
        sums = struct.pack('>I', zlib.crc32(pixels))
        path.write_bytes(data[:start] + struct.pack('>I', len(pixels) - 4) + pixels + sums + data[end:])
        return path

    return with_data


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a text file, byte for byte, and returns its path."""

    def write(name, text, encoding='utf-8'):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode(encoding))
        return path

    return write


@pytest.fixture
def list_args(write):
    """Return a function: text of train.txt -> options of train.py for it; val.txt is the same unless given."""

    def list_args(text, *words, val=None, kind='list'):
        train, val = write('train.txt', text), write('val.txt', text if val is None else val)
        return train_args('--data_type', kind, '--train_list', train, '--val_list', val, *words)

    return list_args


def train_args(*words):
    """Return the options of `python train.py <words>` in this process."""
    return parse_train_args([str(word) for word in ('--device', 'cpu', '--num_workers', '0', *words)])


@pytest.fixture
def make_args():
    """Return train_args."""
    return train_args


@pytest.fixture
def labelled(save, list_args):
    """Return a function: options for a list of `count` noise pictures with labels 0, 1, 2, 0 ..., 12 x 10 pixels."""

    def labelled(*words, count=7, kind='list'):
        lines = [f'{save(f"{n}.png", size=(12, 10), seed=n).name} {n % 3}' for n in range(count)]
        return list_args('\n'.join(lines), *words, kind=kind)

    return labelled


@pytest.fixture
def masked(save, list_args):
    """Return a function: options for a list of `count` pictures with masks of the classes 0, 1, 2, 24 x 20 pixels.

    The colour of every pixel tells its class: 0 is red, 1 green, 2 blue.
    """

    def masked(*words, count=6, kind='list', size=(24, 20)):
        lines = []
        for n in range(count):
            coarse = np.random.default_rng(n).integers(0, 3, (size[1] // 5, size[0] // 6), dtype=np.uint8)
            mask = np.kron(coarse, np.ones((5, 6), dtype=np.uint8))
            picture = np.eye(3, dtype=np.uint8)[mask] * 200
            lines.append(f'{save(f"{n}.png", picture).name} {save(f"{n}_mask.png", mask).name}')
        return list_args('\n'.join(lines), '--task', 'segmentation', '--num_classes', '3', *words, kind=kind)

    return masked


@pytest.fixture
def files(tmp_path):
    """Return the directory (Path) that the files of this test lie in."""
    return Path(tmp_path)
