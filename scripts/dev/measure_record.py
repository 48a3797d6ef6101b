#!/usr/bin/env python
"""Measure which share of a run and of a test is spent on their records: docs/records.md has the figures.

    python scripts/dev/measure_record.py                     # quickstart's run, and ResNet-18 on photos; 8 minutes
    python scripts/dev/measure_record.py --samples 10000     # longer runs, in which the fixed part weighs less

Records are hashes of code and data, source.zip, comparisons with earlier tests, and the outputs for the probe. Each run
and each test is a new process that times every call into utils/provenance and utils/base/content_hash.py; a call within
such a call is not counted again. All is measured in the same process, so other work on the machine slows down both
numbers of a ratio. Times are CPU times of all threads; the images are read in the main process.
"""

import argparse
import functools
import importlib
import inspect
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project

from scripts.dev.bench.pictures import make_data
from scripts.dev.bench.race import project_environment
from utils.base.registry import PROJECT
from utils.base.text_table import table

QUICKSTART = '--epochs 15 --batch_size 32 --lr 2e-3 --label_smoothing 0.1'
PHOTOS = '--data_type list --model_type torchvision:resnet18 --num_classes 10 --image_size 128 --augment standard'
PHOTOS += ' --epochs 5'
SHARED = '--threads 1 --num_workers 0 --device cpu --no_index'


class RecordTime:
    """CPU seconds of the outermost calls to wrapped functions, of all threads."""

    def __init__(self):
        self.seconds, self.local, self.lock = 0.0, threading.local(), threading.Lock()

    def timed(self, function):
        """Return a function that does the same and is timed."""

        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            if getattr(self.local, 'inside', False):
                return function(*args, **kwargs)
            self.local.inside, started = True, time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.local.inside = False
                with self.lock:
                    self.seconds += time.thread_time() - started

        return wrapper

    def wrap(self, module):
        """Time all functions and methods that a module defines."""
        classes = [value for value in vars(module).values() if isinstance(value, type)]
        for owner in (module, *(each for each in classes if each.__module__ == module.__name__)):
            for name, value in [*vars(owner).items()]:
                of_module = inspect.isfunction(value) and value.__module__ == module.__name__
                if of_module and not inspect.isgeneratorfunction(inspect.unwrap(value)):
                    setattr(owner, name, self.timed(value))


def measured(program, words):
    """Run train.py or eval.py in this process and return the CPU seconds of all and of the records (dict of float)."""
    import utils.provenance

    record = RecordTime()
    names = ['utils.base.content_hash'] + [
        f'utils.provenance.{each.name}' for each in pkgutil.iter_modules(utils.provenance.__path__)
    ]
    for module in [importlib.import_module(name) for name in names]:  # all of them, before one is wrapped
        record.wrap(module)
    importlib.import_module(program).main(words)
    return {'all': time.process_time(), 'record': record.seconds}


def start(program, words):
    """Return what `measured` returns in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, '--worker', json.dumps([program, [str(word) for word in words], folder])]
        done = subprocess.run(
            command, cwd=PROJECT, env=project_environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f'{program} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}')
        return json.loads(Path(folder, 'measured.json').read_text(encoding='utf-8'))


def measure(name, words, folder):
    """Train and test, and return two rows of the table."""
    shared = [*SHARED.split(), '--checkpoints_dir', folder]
    run = start('train', [*words, *shared, '--save_prefix', name, '--no_report'])
    [checkpoint] = Path(folder).glob(f'*_{name}/best.pth')
    tests = [
        start('eval', ['--load_model_path', checkpoint, '--threads', 1, '--num_workers', 0, '--no_report'])
        for _ in range(2)
    ]  # the first one keeps the code of all tests by it
    return [row(f'{name}: run', run), row(f'{name}: first test', tests[0]), row(f'{name}: next tests', tests[1])]


def row(name, seconds):
    """Return a row of the table (list of str)."""
    share = seconds['record'] / (seconds['all'] - seconds['record'])
    return [name, f'{seconds["all"]:.1f}', f'{seconds["record"]:.2f}', f'{share:.2%}']


def main(argv=None):
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--samples', type=int, default=1200, metavar='N', help='photos (default: 1200)')
    parser.add_argument('--worker', help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.worker:
        program, words, folder = json.loads(args.worker)
        Path(folder, 'measured.json').write_text(json.dumps(measured(program, words)), encoding='utf-8')
        return
    with tempfile.TemporaryDirectory(prefix='danlu_record_') as scratch:
        photos = make_data('input', Path(scratch, 'photos'), args.samples)
        lists = ['--train_list', photos / 'train.txt', '--val_list', photos / 'train.txt']
        rows = measure('quickstart', QUICKSTART.split(), scratch)
        rows += measure('photos', [*PHOTOS.split(), *lists], scratch)
    head = ['', 'CPU seconds', 'of which records', 'records / the rest']
    print(*table(head, rows, right=head[1:])[0], sep='\n')


if __name__ == '__main__':
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    main()
