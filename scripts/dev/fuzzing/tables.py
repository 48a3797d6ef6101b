"""What else holds samples: .csv and .npz tables of numbers, .csv, .jsonl and .tar shards of a stream, damaged."""

import io
import tarfile

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from data.data_entry import complete_args, select_train_loader
from options import parse_train_args
from scripts.dev.fuzzing.damage import damaged, damages
from utils.base.errors import DanluError

ARRAY, STREAM = ['--data_type', 'array'], ['--data_type', 'stream', '--num_classes', '3', '--image_size', '6', '8']
NAMES = {  # of the files, with the options that go with each
    'numbers.csv': [*ARRAY, '--task', 'regression'],
    'labels.csv': ARRAY,
    'numbers.npz': [*ARRAY, '--task', 'regression'],
    'pictures.npz': ARRAY,
    'shard.csv': STREAM,
    'shard.jsonl': STREAM,
    'shard.tar': STREAM,
    'masks.tar': [*STREAM, '--task', 'segmentation'],
}


class Tables:
    """Damaged files of numbers and of shards; those without damage must be read in full."""

    def __init__(self, folder):
        self.folder = folder
        self.picture = png(np.arange(144, dtype=np.uint8).reshape(6, 8, 3))
        (folder / 'a.png').write_bytes(self.picture)
        self.originals = self.contents()

    def contents(self):
        """Return the contents (dict of bytes) of the files before they are damaged."""
        lines = ['{"image": "a.png", "label": ' + f'{n}, ' + '"more": [1, {"x": null}]}' for n in range(3)]
        mask = png(np.ones((6, 8), dtype=np.uint8))
        return {
            'numbers.csv': b'height,width,"a, b",y\n1,2,3,0.5\n4,5e-3,6,-1\n7,8,9,2\n',
            'labels.csv': b'\xef\xbb\xbf1;2;cat\r\n3;4;dog\r\n5;6;cat\r\n',
            'numbers.npz': npz(features=np.arange(12.0).reshape(4, 3), targets=np.arange(4.0)),
            'pictures.npz': npz(x=np.zeros((3, 6, 8, 3), np.uint8), y=np.array([0, 1, 0])),
            'shard.csv': b'image,label\na.png,0\n"a.png",2\na.png,1\n',
            'shard.jsonl': '\n'.join(lines).encode(),
            'shard.tar': tar([(f'{n}.{end}', data) for n in 'abc' for end, data in
                              (('png', self.picture), ('cls', b'1'))]),
            'masks.tar': tar([(f'{n}.{end}', data) for n in 'ab' for end, data in
                              (('png', self.picture), ('mask.png', mask))]),
        }  # fmt: skip

    def cases(self):
        """Return the strategy of (name of the file, damage)."""
        return st.tuples(st.sampled_from(list(NAMES)), st.one_of(damages(1), damages()))

    def check(self, case):
        """Read a damaged file for training, batch by batch."""
        name, steps = case
        path = self.folder / name
        path.write_bytes(damaged(self.originals[name], steps))
        words = [*NAMES[name], '--train_list', str(path), '--val_list', str(path), '--num_workers', '0']
        args = parse_train_args([*words, '--device', 'cpu'])
        try:
            complete_args(args)
            count = sum(len(images) for images, *_ in select_train_loader(args))
        except DanluError as error:
            assert steps, f'a whole file is refused: {error}'
            assert str(error).strip(), 'an empty message'
            return 'refused'
        assert count > 0, 'accepted without a sample'
        assert steps or count in (2, 3, 4)
        return 'accepted'


def png(pixels):
    """Return the content (bytes) of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'PNG')
    return buffer.getvalue()


def npz(**arrays):
    """Return the content (bytes) of an .npz."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def tar(members):
    """Return the content (bytes) of a .tar of (name, content)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
