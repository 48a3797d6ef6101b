"""A copy of the project with data and runs of its own, into which changes are planted."""

import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from scripts.dev.planting.change import edited
from utils.base.registry import PROJECT
from utils.base.regular_files import read_regular_text, write_regular_text
from utils.provenance.project_source import read_files

CLASSES = ('ant', 'bee', 'cat')
TRAINING_IMAGES, TEST_IMAGES, MASK_IMAGES, TABLE_ROWS = 36, 24, 8, 60
IMAGE_SIDE = 24  # pixels
LIST = '--data_type list --train_list {data}/train.txt --val_list {data}/val.txt --num_workers 0 --batch_size 8'
# The options of each run by its name; {data} is the directory of the data.
RUNS = {
    'digits': '--epochs 1 --max_steps 60 --lr 0.003',
    'list': f'{LIST} --epochs 2 --lr 0.003',
    'masks': '--task segmentation --num_classes 3 --model_type unet --model_args width=4 depth=1 --epochs 2 --lr 0.01 '
    f'{LIST}'.replace('train.txt', 'masks_train.txt').replace('val.txt', 'masks_val.txt'),
    'table': '--task regression --data_type array --train_list {data}/train.csv --val_list {data}/val.csv '
    '--model_type mlp --epochs 3 --num_workers 0',
    'mine': '--model_type mine --epochs 1 --max_steps 60',
}
NOISE = ('weights: ', 'results: ', 'report: ', 'run: ', 'all runs: ', 'list  ')  # lines that name paths
# Code of a user: a network made of parts that no reader of its text can follow. The directory `mine` is a package.
USER_FILES = {
    'mine/__init__.py': '"""Parts of a user\'s network."""\n\nfrom mine import activations\n',
    'mine/parts.py': '"""A registry."""\n\nREGISTRY = {}\n\n\ndef register(made):\n'
    '    REGISTRY[made.__name__] = made\n    return made\n',
    'mine/activations.py': '"""Activations, by a decorator."""\n\nfrom torch import nn\n\n'
    'from mine.parts import register\n\n\n@register\ndef bent():\n    return nn.ELU(1.0)\n',
    'mine/scale.py': '"""Imported by its name."""\n\nSCALE = 1.0\n',
    'mine/patch.py': '"""Patches a class of torch."""\n\nfrom torch import nn\n\nGAIN = 1.0\n'
    'nn.ELU.forward = lambda self, inputs: GAIN * nn.functional.elu(inputs)\n',
    'model/mine.json': '{"activation": "bent", "scale": "scale", "offset": "none", "factor": 1.0}\n',
    'model/mine.txt': '1.0\n',
    'model/mine.dat': '0.0\n',  # no source file by its ending, so not in source.zip
    'model/mine.py': '''"""A user's network."""

import importlib
import json
import os
from pathlib import Path

import beside
from torch import nn

from mine.parts import REGISTRY


def offset_none():
    """Return the offset."""
    return 0.0


class Mine(nn.Module):
    """A network whose parts are chosen when it is built."""

    tasks = ('classification',)

    def __init__(self, num_classes, in_channels, image_size):
        super().__init__()
        settings = json.loads(Path(__file__).with_name('mine.json').read_text())
        size = in_channels * image_size[0] * image_size[1]
        activation = REGISTRY[settings['activation']]()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(size, 32), activation, nn.Linear(32, num_classes))
        self.scale = importlib.import_module('mine.' + settings['scale']).SCALE * settings['factor']
        self.offset = globals()['offset_' + settings['offset']]() + beside.SHIFT
        self.temperature = float(Path(__file__).with_name('mine.txt').read_text())
        self.offset += float(Path(__file__).with_name('mine.dat').read_text())
        self.offset += json.loads(Path(beside.__file__).with_name('beside.json').read_text())['shift']
        self.gain = float(os.environ.get('MINE_GAIN', '1'))

    def forward(self, images):
        """Return the logits."""
        return self.net(images * self.scale * self.gain + self.offset) / self.temperature
''',
}
BESIDE_FILES = {
    'beside.py': '"""A library beside the project."""\n\nSHIFT = 0.0\n',
    'beside.json': '{"shift": 0.0}\n',
}
MODEL_LINE = "    'lenet': 'model.lenet.LeNet',\n"


class EvalResult(NamedTuple):
    """What a test printed and wrote: its exit status, text, facts and values (dict of str) of result.txt."""

    status: int
    text: str
    head: dict
    values: dict


class Workshop:
    """The copy of the project.

    Args:
        folder: an empty directory.
        start: function(script, words, directory, environment) -> (exit status, output); None: a new process.

    Attributes:
        project, data, beside, runs: directories (Path) of the copy, its data, a library beside it, and its runs.
    """

    def __init__(self, folder, start=None):
        folder = Path(folder).resolve()
        self.project, self.data, self.beside, self.runs = (folder / name for name in ('project', 'data', 'lib', 'runs'))
        self.tests, self.kept = folder / 'tests', folder / 'kept_data'
        self.start, self.count, self.originals = start or start_process, 0, {}
        self.environment = {
            **os.environ,
            'OMP_NUM_THREADS': '1',
            'CUDA_VISIBLE_DEVICES': '',
            'XDG_CACHE_HOME': str(folder / 'cache'),
            'XDG_STATE_HOME': str(folder / 'state'),
            'PYTHONPATH': str(self.beside),
        }

    def build(self, names):
        """Copy the project, add a user's code, make the data, and train the runs of these names."""
        files = {name: data for name, data in read_files().items() if not name.startswith(('tests/', 'docs/'))}
        for name, content in (files | {'data/digits.npz': (PROJECT / 'data' / 'digits.npz').read_bytes()}).items():
            path = self.project / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        for name, text in USER_FILES.items():
            path = self.project / name
            path.parent.mkdir(exist_ok=True)
            write_regular_text(path, text)
        for name, old, new in (
            ('model/model_entry.py', MODEL_LINE, f"{MODEL_LINE}    'mine': 'model.mine.Mine',\n"),
            ('model/__init__.py', '', '\nimport mine.patch\n'),
        ):
            path = self.project / name
            text = read_regular_text(path)
            write_regular_text(path, text.replace(old, new, 1) if old else text + new)
        self.beside.mkdir()
        for name, text in BESIDE_FILES.items():
            write_regular_text(self.beside / name, text)
        make_data(self.data)
        shutil.copytree(self.data, self.kept)
        for name in names:
            words = ['--save_prefix', name, '--model_dir', self.runs / name, '--checkpoints_dir', self.runs]
            words += ['--device', 'cpu', '--no_report', *RUNS[name].format(data=self.data).split()]
            status, text = self.start('train.py', list(map(str, words)), self.project, self.environment)
            if status:
                raise RuntimeError(f'the run {name} failed:\n{text}')

    def test(self, name, words=(), env=None, act=None):
        """Test a fresh copy of a run and return the EvalResult; `act`: see Change."""
        self.count += 1
        run = self.tests / str(self.count) / name
        shutil.copytree(self.runs / name, run)
        more, variables = (act(self, run) if act else None) or ((), {})
        environment = {**self.environment, **(env or {}), **variables}
        command = ['--load_model_path', run / 'best.pth', '--device', 'cpu', '--checkpoints_dir', run.parent]
        status, text = self.start('eval.py', list(map(str, [*command, *words, *more])), self.project, environment)
        head, values = read_result(text)
        shutil.rmtree(run.parent)
        return EvalResult(status, text, head, values)

    @contextmanager
    def planted(self, change):
        """Plant the edits of a Change in the body of the `with`; afterwards project, library and data are as before."""
        try:
            for edit in change.edits:
                path = self.project / edit.path
                self.write(path, edited(read_regular_text(path) if path.exists() else '', edit))
            yield
        finally:
            for path, original in self.originals.items():
                if original is None:
                    path.unlink(missing_ok=True)
                else:
                    path.write_bytes(original[0])
                    os.utime(path, ns=original[1])
            self.originals = {}
            shutil.rmtree(self.data)
            shutil.copytree(self.kept, self.data)

    def write(self, path, content):
        """Write a file (str or bytes) of the project or the library, which `planted` restores.

        Its time is one of its own, as Python recognises outdated bytecode by size and time in seconds.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        if path not in self.originals:
            stat = path.stat() if path.exists() else None
            self.originals[path] = stat and (path.read_bytes(), (stat.st_atime_ns, stat.st_mtime_ns))
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        os.utime(path, (time := path.stat().st_mtime + 10 * (self.count + 1), time))


def start_process(script, words, directory, environment):
    """Start a program of a project and return its exit status (int) and all that it printed (str)."""
    done = subprocess.run(
        [sys.executable, script, *words],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def read_result(text):
    """Return the facts and the values (dicts of str) of the result.txt that the output (str) of eval.py names."""
    found = re.findall(r'^results: (.*)$', text, re.MULTILINE)
    if not found:
        return {}, {}
    lines = read_regular_text(Path(found[-1]) / 'result.txt').splitlines()
    head = dict(line[2:].split(': ', 1) for line in lines if line.startswith('# '))
    return head, dict(line.rsplit(': ', 1) for line in lines if not line.startswith('# '))


def make_data(folder):
    """Make lists of images and of masks, and two tables, in a new directory (Path)."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for split, count in (('train', TRAINING_IMAGES), ('val', TEST_IMAGES)):
        lines = []
        for index in range(count):
            pixels = random.integers(0, 150, (IMAGE_SIDE, IMAGE_SIDE, 3)) + 50 * (index % 3)
            save_image(folder / f'{split}{index}.png', pixels)
            lines.append(f'{split}{index}.png\t{CLASSES[(index + (index % 5 == 4)) % 3]}\n')
        write_regular_text(folder / f'{split}.txt', ''.join(lines))
        lines = []
        for index in range(MASK_IMAGES):
            mask = np.repeat(random.integers(0, 3, (6, 6)), 4, axis=0).repeat(4, axis=1)
            save_image(
                folder / f'{split}{index}_scene.png', random.integers(0, 140, (24, 24, 3)) + 40 * mask[..., None]
            )
            save_image(folder / f'{split}{index}_mask.png', mask)
            lines.append(f'{split}{index}_scene.png {split}{index}_mask.png\n')
        write_regular_text(folder / f'masks_{split}.txt', ''.join(lines))
        rows = random.normal(size=(TABLE_ROWS, 4)).round(3)
        lines = [','.join(map(str, [*row, round(sum(row) + row[0] * row[1], 3)])) for row in rows.tolist()]
        write_regular_text(folder / f'{split}.csv', 'a,b,c,d,target\n' + '\n'.join(lines) + '\n')


def save_image(path, pixels):
    """Save an array as PNG without compression, so that images of one shape have files of one size."""
    Image.fromarray(pixels.astype(np.uint8)).save(path, compress_level=0)
