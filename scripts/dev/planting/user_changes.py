"""Changes of a user's code, data, files, environment and packages, each of which changes values of a test."""

import io
import shutil

import numpy as np
from PIL import Image

from scripts.dev.planting.change import Change, Edit
from scripts.dev.planting.workshop import BESIDE_FILES, save_image
from utils.base.regular_files import read_regular_text, write_regular_text

MINE, KIND = 'model/mine.py', "user's code"
# What sitecustomize.py changes, so that packages give other values as another version might.
OTHER_PILLOW = """from PIL import Image

split = Image.Image.split
Image.Image.split = lambda self: tuple(band.point(lambda value: value // 2) for band in split(self))
"""
OTHER_NUMPY = """import numpy

stack = numpy.stack


def darker(arrays, *words, **options):
    made = stack(arrays, *words, **options)
    return made // 2 if made.ndim == 3 else made


numpy.stack = darker
"""


def user_changes():
    """Return the Changes (list)."""
    return [*_of_code(), *_of_images(), *_of_lists(), *_of_tables(), *_of_environment(), *_of_lone_checkpoints()]


def _mine(name, path, old, new):
    return Change(KIND, name, 'mine', [Edit(path, old, new)], (path,))


def _of_code():
    def outside(name, old, new):
        return lambda shop, _: shop.write(shop.beside / name, BESIDE_FILES[name].replace(old, new))

    return [
        _mine('behind a decorator', 'mine/activations.py', 'nn.ELU(1.0)', 'nn.Softplus()'),
        _mine('behind importlib', 'mine/scale.py', 'SCALE = 1.0', 'SCALE = 1.05'),
        _mine('behind globals()', MINE, '    return 0.0\n', '    return 0.1\n'),
        _mine('a JSON file', 'model/mine.json', '"factor": 1.0', '"factor": 1.1'),
        _mine('another choice in a JSON file', 'model/mine.json', '"factor": 1.0', '"factor": 0.5'),
        _mine('a text file', 'model/mine.txt', '1.0', '2.0'),
        _mine('a patch by another module', 'mine/patch.py', 'GAIN = 1.0', 'GAIN = 0.9'),
        _mine('the network itself', MINE, 'self.net(images * self.scale', 'self.net(images.clamp(-0.3) * self.scale'),
        _mine(
            'a new patch in another module',
            'mine/__init__.py',
            'from mine import activations\n',
            'from torch import nn\n\nfrom mine import activations\n\nnn.Flatten.forward = lambda self, inputs: '
            '0.9 * inputs.flatten(1)\n',
        ),
        _mine('a file of no known kind', 'model/mine.dat', '0.0', '0.3'),
        Change(
            KIND, 'a library outside', 'mine', [], ('beside.py',), outside('beside.py', 'SHIFT = 0.0', 'SHIFT = 0.2')
        ),
        Change(KIND, 'a JSON file outside', 'mine', [], ('beside.json',), outside('beside.json', '0.0', '0.2')),
        Change(
            KIND,
            'a patch by sitecustomize',
            'list',
            [],
            ('sitecustomize',),
            lambda shop, _: shop.write(shop.beside / 'sitecustomize.py', OTHER_NUMPY),
        ),
    ]


def _repainted(names, pattern, every=1):
    """Return a function that replaces images by others of the same size, every n-th of some."""

    def act(shop, _):
        for name in names:
            path = shop.data / pattern.format(name)
            with Image.open(path) as image:
                pixels = np.asarray(image)
            size = path.stat().st_size
            save_image(path, np.roll(pixels, 7, axis=1)[::-1] if every == 1 else pixels // 2)
            assert path.stat().st_size == size

    return act


def _of_images():
    def digits(shop, _):
        path = shop.project / 'data' / 'digits.npz'
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        arrays['test_images'] = np.roll(arrays['test_images'], 2, axis=2)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        shop.write(path, buffer.getvalue())

    def one_pixel(shop, _):
        path = shop.data / 'val3.png'
        with Image.open(path) as image:
            pixels = np.asarray(image).copy()
        pixels[:12] = 255
        save_image(path, pixels)

    return [
        Change(
            'contents', 'images of the same byte size', 'list', [], ('val1.png',), _repainted([1, 5, 9], 'val{}.png')
        ),
        Change('contents', 'darker images', 'list', [], ('val2.png',), _repainted([2], 'val{}.png', 2)),
        Change('contents', 'a part of one image', 'list', [], ('val3.png',), one_pixel),
        Change(
            'contents',
            'masks of the same byte size',
            'masks',
            [],
            ('val1_mask.png|val1_scene.png',),
            _repainted([1, 4], 'val{}_mask.png'),
        ),
        Change('contents', 'the digits', 'digits', [], ('other (pictures|images)|digits.npz|sample',), digits),
        Change('contents', 'images with masks', 'masks', [], ('val2_scene.png',), _repainted([2], 'val{}_scene.png')),
    ]


def _changed_list(name, old, new, moved=None, option='--val_list'):
    """Return a function that edits a list, which is also moved to another name if `moved` is given."""

    def act(shop, _):
        path = shop.data / name
        text = read_regular_text(path)
        assert old in text
        write_regular_text(shop.data / (moved or name), text.replace(old, new))
        if moved is None:
            return None
        path.unlink()
        return [option, shop.data / moved], {}

    return act


def _of_lists():
    swap = 'val0.png\tant', 'val0.png\tcat'
    return [
        Change('lists', 'a label', 'list', [], ('targets|labels|val0.png',), _changed_list('val.txt', *swap)),
        Change(
            'lists',
            'moved, with another label',
            'list',
            [],
            ('targets|labels|val0.png',),
            _changed_list('val.txt', *swap, 'moved.txt'),
        ),
        Change(
            'lists',
            'without a line',
            'list',
            [],
            ('samples|fewer|names',),
            _changed_list('val.txt', 'val0.png\tant\n', ''),
        ),
        Change(
            'lists',
            'moved, without a line',
            'list',
            [],
            ('samples|fewer|names',),
            _changed_list('val.txt', 'val0.png\tant\n', '', 'moved.txt'),
        ),
        Change(
            'lists',
            'another image in a line',
            'list',
            [],
            ('images|pictures|names|val1.png|train1.png',),
            _changed_list('val.txt', 'val1.png', 'train1.png'),
        ),
        Change(
            'lists',
            'moved, with other masks',
            'masks',
            [],
            ('targets|masks|val0|val1',),
            _changed_list('masks_val.txt', 'val0_mask.png', 'val1_mask.png', 'moved.txt'),
        ),
    ]


def _csv(column, value):
    """Return a function that changes the number in a column of the fifth row of val.csv."""

    def act(shop, _):
        path = shop.data / 'val.csv'
        lines = read_regular_text(path).splitlines()
        cells = lines[5].split(',')
        cells[column] = value
        write_regular_text(path, '\n'.join([*lines[:5], ','.join(cells), *lines[6:]]) + '\n')

    return act


def _of_tables():
    def moved(shop, run):
        _csv(1, '1.777')(shop, run)
        (shop.data / 'val.csv').rename(shop.data / 'moved.csv')
        return ['--val_list', shop.data / 'moved.csv'], {}

    return [
        Change('tables', 'a feature', 'table', [], ('features',), _csv(1, '1.777')),
        Change('tables', 'a target', 'table', [], ('targets',), _csv(4, '3.333')),
        Change('tables', 'moved, with another feature', 'table', [], ('features|inputs|sample',), moved),
    ]


def _package(name, version, patch):
    """Return a function that installs another version of a package: its metadata, and a patch of what it does."""

    def act(shop, _):
        for path, text in (
            (f'{name}-{version}.dist-info/METADATA', f'Name: {name}\nVersion: {version}\n'),
            ('sitecustomize.py', patch),
        ):
            shop.write(shop.beside / path, text)

    return act


def _of_environment():
    return [
        Change('environment', 'a variable that the code reads', 'mine', [], ('MINE_GAIN',), env={'MINE_GAIN': '1.2'}),
        Change('environment', 'a variable, far off', 'mine', [], ('MINE_GAIN',), env={'MINE_GAIN': '0'}),
        Change('versions', 'another Pillow', 'list', [], ('pillow',), _package('pillow', '99.1', OTHER_PILLOW)),
        Change('versions', 'another NumPy', 'list', [], ('numpy',), _package('numpy', '99.1', OTHER_NUMPY)),
    ]


def _alone(shop, run):
    """Leave best.pth alone in a directory of its own."""
    for path in run.iterdir():
        if path.name != 'best.pth':
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _of_lone_checkpoints():
    def elsewhere(shop, run):
        _alone(shop, run)
        return [], {'XDG_STATE_HOME': str(run)}  # without the notes on this user's runs

    mean = Edit(
        'utils/logger.py', 'return float(self.sums[name]) / count if', 'return float(self.sums[name]) / (count + 2) if'
    )
    relu = Edit('model/lenet/lenet.py', 'nn.ReLU(inplace=True)', 'nn.SiLU()')
    return [
        Change('best.pth alone', 'the evaluation changed', 'digits', [mean], ('utils/logger.py',), _alone),
        Change(
            'best.pth alone', 'the same on another machine', 'digits', [mean], ('no readable source.zip',), elsewhere
        ),
        Change('best.pth alone', 'the network changed', 'digits', [relu], ('model/lenet/lenet.py',), _alone),
    ]
