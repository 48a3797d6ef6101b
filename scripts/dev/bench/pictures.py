"""The data of each kind of work, made in a few seconds in a scratch directory. Imports no torch.

List files hold `picture<TAB>target` per line, paths relative to them: what Danlu's list data sets read.
"""

import gzip
import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from scripts.dev.bench.task import CLASSES, RESNETS, SIZES

DIGITS_FILE = Path(__file__).resolve().parents[3] / 'data' / 'digits.npz'
PHOTO_SIZE = (375, 500)  # height, width, ImageNet's most frequent
DISTINCT = 100  # files; longer lists name them again
VALIDATION = 32  # lines of the lists that work on input validates with, which is not timed


def make_data(work, folder, samples, data_root=None):
    """Make the data of `work` with `samples` training pictures in `folder` (Path) and return it.

    Args:
        data_root: for 'small', a directory with MNIST/raw/*-ubyte[.gz]; default: the digits that ship with Danlu.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    if work == 'small':
        _write_mnist(folder / 'MNIST' / 'raw', samples, data_root)
    elif work in RESNETS:
        _write_patterns(folder, samples, rng, SIZES[work])
    elif work == 'tiny':
        _write_folders(folder, samples, rng)
    else:
        _write_files(folder, samples, rng, masks=work == 'masks')
    return folder


def _write_mnist(raw, samples, data_root):
    """Write MNIST's four files with as many pictures as asked for, a sixth of them to test; repeated, if need be."""
    raw.mkdir(parents=True)
    for part, prefix, count in (('train', 'train', samples), ('test', 't10k', samples // 6)):
        if data_root is None:
            with np.load(DIGITS_FILE, allow_pickle=False) as file:
                images, labels = file[f'{part}_images'], file[f'{part}_labels']
        else:
            images = _read_idx(Path(data_root, 'MNIST', 'raw', f'{prefix}-images-idx3-ubyte'))
            labels = _read_idx(Path(data_root, 'MNIST', 'raw', f'{prefix}-labels-idx1-ubyte'))
        chosen = np.arange(count) % len(images)
        _write_idx(raw / f'{prefix}-images-idx3-ubyte', images[chosen])
        _write_idx(raw / f'{prefix}-labels-idx1-ubyte', labels[chosen])


def _read_idx(path):
    """Return a file of bytes in MNIST's format, compressed or not, as an array."""
    content = path.read_bytes() if path.is_file() else gzip.decompress(path.with_name(f'{path.name}.gz').read_bytes())
    dimensions = content[3]
    shape = struct.unpack(f'>{dimensions}I', content[4 : 4 + 4 * dimensions])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _write_idx(path, array):
    """Write an array of bytes in MNIST's format: 0, 0, 8 (uint8), number of dimensions, each dimension, the bytes."""
    path.write_bytes(struct.pack(f'>4B{array.ndim}I', 0, 0, 8, array.ndim, *array.shape) + array.tobytes())


def _write_patterns(folder, samples, rng, size):
    """Write random pictures that are easy to tell apart, so that every contestant must reach the same accuracy."""
    height, width = size
    patterns = rng.integers(0, 128, (CLASSES, height, width, 3))
    for split, count in (('train', samples), ('test', max(CLASSES, samples // 6))):
        lines = []
        for number in range(count):
            label = number % CLASSES
            picture = patterns[label] + rng.integers(0, 128, (height, width, 3))
            name = f'{split}_{number:05d}.png'
            Image.fromarray(picture.astype(np.uint8)).save(folder / name, compress_level=1)
            lines.append(f'{name}\t{label}')
        _write_list(folder / f'{split}.txt', lines)


def _write_files(folder, samples, rng, masks):
    """Write JPEG files to classify, or PNG files with masks, of the size and compressibility of photographs."""
    lines = []
    for number in range(min(samples, DISTINCT)):
        if masks:
            _noise(rng, SIZES['masks'], 1.6).save(folder / f'{number:03d}.png')
            mask = np.asarray(_noise(rng, SIZES['masks'], 2.5))[:, :, 0] // 26  # 0..9, in smooth regions
            Image.fromarray(mask).save(folder / f'{number:03d}_mask.png')
            lines.append(f'{number:03d}.png\t{number:03d}_mask.png')
        else:
            _noise(rng, PHOTO_SIZE, 1.6).save(folder / f'{number:03d}.jpg', quality=90)
            lines.append(f'{number:03d}.jpg\t{number % CLASSES}')
    _write_list(folder / 'train.txt', [lines[number % len(lines)] for number in range(samples)])
    _write_list(folder / 'test.txt', lines[:VALIDATION])


def _write_folders(folder, samples, rng):
    """Write JPEG files of CIFAR's size in a directory per class, and a list of them; DISTINCT of them differ."""
    contents = []
    for _ in range(DISTINCT):
        _noise(rng, SIZES['tiny'], 1.6).save(buffer := io.BytesIO(), 'JPEG', quality=90)
        contents.append(buffer.getvalue())
    for split, count in (('train', samples), ('test', VALIDATION)):
        for label in range(CLASSES):
            (folder / split / f'class{label}').mkdir(parents=True)
        names = [f'{split}/class{number % CLASSES}/{number:06d}.jpg' for number in range(count)]
        for number, name in enumerate(names):
            (folder / name).write_bytes(contents[number % DISTINCT])
        _write_list(folder / f'{split}.txt', [f'{name}\t{number % CLASSES}' for number, name in enumerate(names)])


def _noise(rng, size, smoothness):
    """Return a picture (PIL.Image) of coloured noise whose amplitude falls with frequency to the power `smoothness`.

    At 1.6 it compresses as photographs do: 500x375 JPEG of quality 90 about 40 KB, 480x360 PNG about 260 KB, and
    they take as long to decode as CamVid's frames.
    """
    height, width = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = 1 / width
    planes = rng.standard_normal((1, *size)) + 0.4 * rng.standard_normal((3, *size))
    planes = np.fft.irfft2(np.fft.rfft2(planes) / frequency**smoothness, size)
    pixels = 128 + 50 * planes / planes.std()
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def _write_list(path, lines):
    path.write_text('\n'.join(lines) + '\n', encoding='utf-8')
