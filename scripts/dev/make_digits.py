"""Make data/digits.npz, the 6,000 pictures of MNIST that quickstart.sh trains on.

    python scripts/dev/make_digits.py <directory with MNIST's four *-ubyte or *-ubyte.gz files>

Takes 500 pictures of each digit from MNIST's 60,000 training pictures and 100 of each from its 10,000 test
pictures, as they are, in shuffled order. The choice is seeded with a generator whose stream numpy has frozen, and
the zip archive carries no date, so the same files give the same bytes (the compressed bytes may differ with another
version of zlib; the arrays never do). About its licence see data/digits.LICENSE.md.
"""

import argparse
import gzip
import io
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np

SEED = 0
# part: (prefix of MNIST's file names, pictures in them, pictures to take per class)
PARTS = {'train': ('train', 60_000, 500), 'test': ('t10k', 10_000, 100)}
DEFAULT_OUTPUT = Path(__file__).resolve().parents[2] / 'data' / 'digits.npz'


def fail(message):
    print(f'make_digits.py: {message}', file=sys.stderr)
    sys.exit(2)


def find(directory, name):
    for candidate in (directory / name, directory / f'{name}.gz'):
        if candidate.is_file():
            return candidate
    return None


def find_all(directory):
    """The paths of the four files by name; exits naming every one that is missing."""
    names = [f'{prefix}-{what}-ubyte' for prefix, _, _ in PARTS.values() for what in ('images-idx3', 'labels-idx1')]
    paths = {name: find(directory, name) for name in names}
    missing = [name for name, path in paths.items() if path is None]
    if missing:
        fail(
            f'{directory}: missing {", ".join(missing)} (with or without .gz); give the directory that holds '
            "MNIST's four files, for instance datasets/MNIST/raw after scripts/train_mnist.sh"
        )
    return paths


def read_idx(path, shape):
    """An array of bytes in MNIST's format: 0, 0, 8 (uint8), number of dimensions, each dimension, the bytes."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == '.gz' else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:  # not gzip after all, or cut short
        fail(f'{path}: cannot be read ({error}); download it again')
    header = struct.pack(f'>4B{len(shape)}I', 0, 0, 8, len(shape), *shape)
    if not content.startswith(header) or len(content) != len(header) + np.prod(shape):
        fail(f'{path}: not the MNIST file of this name ({"x".join(map(str, shape))} bytes); download it again')
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)


def choose(labels, per_class, rng):
    """The positions of per_class samples of each class, shuffled."""
    positions = [rng.choice(np.flatnonzero(labels == digit), per_class, replace=False) for digit in range(10)]
    return rng.permutation(np.concatenate(positions))


def write_npz(path, arrays):
    """What np.savez_compressed writes, with nothing in it that depends on the day, the system or the numpy."""
    with zipfile.ZipFile(path, 'w') as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(f'{name}.npy', date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # Unix, also where it is made on Windows
            info.external_attr = 0o644 << 16
            archive.writestr(info, buffer.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('mnist', type=Path, help="directory with MNIST's four files")
    parser.add_argument('--output', type=Path, default=DEFAULT_OUTPUT, help='default: data/digits.npz')
    args = parser.parse_args()

    paths = find_all(args.mnist)
    rng = np.random.RandomState(SEED)  # unlike default_rng, the same stream in every version of numpy
    arrays = {}
    for part, (prefix, count, per_class) in PARTS.items():
        images = read_idx(paths[f'{prefix}-images-idx3-ubyte'], (count, 28, 28))
        labels = read_idx(paths[f'{prefix}-labels-idx1-ubyte'], (count,))
        chosen = choose(labels, per_class, rng)
        arrays[f'{part}_images'] = images[chosen]
        arrays[f'{part}_labels'] = labels[chosen]
    write_npz(args.output, arrays)
    print(f'{args.output}: {args.output.stat().st_size:,} bytes')
    for name, array in arrays.items():
        print(f'    {name}: {array.dtype} {array.shape}')


if __name__ == '__main__':
    main()
