#!/usr/bin/env python
"""Measure how long scripts/runs.py takes to list and to search very many runs, and a browser to open their page.

    python scripts/dev/measure_runs.py                       # 1,000 runs of 50 epochs, 2,000 tests
    python scripts/dev/measure_runs.py --runs 5000 --keep /tmp/many

Run directories with the files that a run leaves, but for checkpoints and pictures, are made in a temporary directory.
The page is opened in Chromium, if it and playwright (requirements-dev.txt) are installed.
"""

import argparse
import copy
import csv
import datetime
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project

from options import train_args, train_parser
from utils.base.registry import PROJECT
from utils.options.args_file import write_args

FIRST = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
COMMIT = '0123456789abcdef0123456789abcdef01234567'
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
# The time in milliseconds since the page was asked for until what its script made is painted.
PAINTED = """addEventListener('DOMContentLoaded', () => requestAnimationFrame(() => requestAnimationFrame(() => {
  document.documentElement.dataset.painted = performance.now(); })))"""


class Maker:
    """Makes directories of runs as train.py and eval.py leave them.

    Args:
        root: the directory of all runs (Path).
    """

    def __init__(self, root):
        self.root, self.parser, self.defaults = Path(root), train_parser(), train_args()
        self.root.mkdir(parents=True, exist_ok=True)

    def run(self, name, accuracies, begun=FIRST, **options):
        """Make and return the directory (Path) of a run that has ended.

        Args:
            accuracies: val/acc of each epoch (list of float).
            begun: when (datetime with zone).
            options: those that are not at their defaults.
        """
        directory = self.root / name
        directory.mkdir(parents=True)
        args = copy.copy(self.defaults)
        vars(args).update({'epochs': len(accuracies) or 10, 'checkpoints_dir': str(self.root), **options})
        args.model_dir = str(directory)
        write_args(self.parser, args, directory)
        if accuracies:
            self.write_history(directory, accuracies)
        (directory / 'record.json').write_text(json.dumps(self.record(begun, options)), encoding='utf-8')
        (directory / 'env.txt').write_text(
            f'command: python train.py --save_prefix {name}\ndirectory: {PROJECT}\ntorch: 2.15.0\ncores: 8\n',
            encoding='utf-8',
        )
        (directory / 'log.txt').write_text(self.log(directory, accuracies, options.get('monitor')), encoding='utf-8')
        for file in ('best.pth', 'last.pth'):
            (directory / file).write_bytes(b'weights')
        return directory

    def write_history(self, directory, accuracies):
        """Write history.csv with a row per epoch."""
        with open(directory / 'history.csv', 'w', newline='', encoding='utf-8') as file:
            writer = csv.writer(file)
            writer.writerow('epoch train/loss train/acc train/acc_top5 train/f1_macro lr images_per_second data_wait '
                            'val/loss val/acc val/acc_top5 val/f1_macro seconds'.split())  # fmt: skip
            for epoch, accuracy in enumerate(accuracies, 1):
                loss = 1.0 - accuracy
                writer.writerow([epoch, loss * 0.83, accuracy * 0.97, 0.991, accuracy * 0.96, 0.001, 20832.494376960592,
                                 0.01636700468603971, loss, accuracy, 0.9998, accuracy * 0.99, 3.25])  # fmt: skip

    def record(self, begun, options):
        """Return what record.json holds (dict)."""
        digest = hashlib.sha256(repr(sorted(options.items())).encode()).hexdigest()
        data = {split: {'list': 'digits', 'sha256': split[0] * 64, 'samples': 1000} for split in ('train', 'val')}
        return {
            'format': 1,
            'date': begun.isoformat(),
            'experiment': digest,
            'code': 'c' * 64,
            'source': {'file': 'source.zip', 'sha256': 'd' * 64},
            'git': {'commit': COMMIT, 'changed': []},
            'versions': {'python': '3.11.2', 'torch': '2.15.0'},
            'components': {'model': {'model.lenet.LeNet': 'e' * 64}, 'loss': {'loss.CrossEntropy': 'f' * 64}},
            'data': data,
        }

    def log(self, directory, accuracies, monitor=None):
        """Return what log.txt holds (str); it names the best epoch where no other value is monitored."""
        lines = [f'run: {directory}', 'model: LeNet, 61,706 parameters', 'classes: 10']
        lines += [f'epoch {epoch}/{len(accuracies)}  val acc {value:.4f}' for epoch, value in enumerate(accuracies, 1)]
        if accuracies and monitor is None:
            best = max(accuracies)
            lines.append(f'best: val/acc {best!r} in epoch {accuracies.index(best) + 1}')
        return '\n'.join([*lines, f'test it: python eval.py --load_model_path {directory}/best.pth', ''])

    def test(self, run, values, date=FIRST, name='test', ledger=True, **facts):
        """Write result.txt of a test of a run's best.pth and, with `ledger`, its line; return the result directory.

        Args:
            run: directory (Path).
            values: dict from name to float.
            facts: what else the ledger's line says, instead of what it would.
        """
        directory = run / 'best' / f'val_{name}_exp'
        directory.mkdir(parents=True, exist_ok=True)
        line = {
            'date': date.isoformat(), 'values': values, 'run': run.name, 'checkpoint': str(run / 'best.pth'),
            'checkpoint_sha256': 'a' * 64, 'epoch': 5, 'task': 'classification', 'model_type': 'lenet',
            'list': f'/data/{name}.txt', 'data_sha256': 'b' * 64, 'samples': 1000, 'options': {'val_list': name},
            'code': 'c' * 64, 'commit': COMMIT, 'command': f'python eval.py --load_model_path {run}/best.pth',
            'directory': str(PROJECT), 'result_dir': str(directory), **facts,
        }  # fmt: skip
        head = {'checkpoint': line['checkpoint'], 'checkpoint sha256': line['checkpoint_sha256'], 'epoch': 5,
                'list': line['list'], 'list sha256': line['data_sha256'], 'samples': 1000,
                'date': f'{date:%Y-%m-%d %H:%M:%S %z}', 'command': line['command']}  # fmt: skip
        head |= {'source sha256': line['source']} if 'source' in line else {}
        lines = [f'# {key}: {value}' for key, value in head.items()]
        lines += [f'{key}: {value!r}' for key, value in sorted(values.items())]
        (directory / 'result.txt').write_text('\n'.join(lines) + '\n', encoding='utf-8')
        if ledger:
            with open(run.parent / 'ledger.jsonl', 'a', encoding='utf-8') as file:
                file.write(json.dumps(line) + '\n')
        return directory


def make_runs(root, count, epochs=50, tests=2):
    """Make directories of `count` runs with so many epochs, and so many tests of each."""
    maker, draw = Maker(root), random.Random(0)
    for number in range(count):
        accuracies = [0.5 + 0.4 * (1 - 0.9**epoch) + 0.02 * draw.random() for epoch in range(epochs)]
        begun = FIRST + datetime.timedelta(hours=number)
        run = maker.run(f'lenet_exp_{number + 1}', accuracies, begun, lr=10 ** draw.uniform(-4, -1), seed=number,
                        batch_size=draw.choice([32, 64, 128]))  # fmt: skip
        for test in range(tests):
            values = {
                'acc': draw.random(),
                'loss': draw.random(),
                **{f'acc_class/{k}': draw.random() for k in range(9)},
            }
            maker.test(run, values, begun + datetime.timedelta(minutes=30 + test), f'list{test}')


def opening_seconds(path, count):
    """Open a page `count` times in new tabs; return the seconds (list of float) until its rows were painted.

    Returns [] without Chromium or playwright.
    """
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if program is None:
        return []
    found = []
    with sync_playwright() as driver:
        words = ['--no-sandbox'] if os.geteuid() == 0 else []  # as root its own sandbox does not start
        browser = driver.chromium.launch(executable_path=program, args=words)
        for _ in range(count):
            tab = browser.new_page()
            tab.add_init_script(PAINTED)
            tab.goto(path.as_uri())
            tab.locator('html[data-painted]').wait_for()
            found.append(float(tab.locator('html').get_attribute('data-painted')) / 1000)
            tab.close()
        browser.close()
    return found


def line_of(title, seconds):
    """Return a line (str) on how long something took; seconds: list of float."""
    return f'{title:32} {min(seconds):.2f} s (of {len(seconds)}; the slowest {max(seconds):.2f} s)'


def main():
    """Make the runs, and print how long each command took, and the opening of their page."""
    parser = argparse.ArgumentParser(description='Measure how long scripts/runs.py takes with very many runs.')
    parser.add_argument('--runs', type=int, default=1000, help='how many')
    parser.add_argument('--repeat', type=int, default=3, help='how often each command is measured')
    parser.add_argument('--keep', type=Path, help='directory that keeps the runs (default: none)')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = args.keep or Path(temporary) / 'runs'
        if not root.exists():
            make_runs(root, args.runs)
        page = Path(temporary) / 'index.html'
        for words in (['page', '--html', page],
                      ['list'], ['list', '--sort', 'best', '--limit', '20'], ['list', '--json'],
                      ['find-value', '0.7431'], ['find-value', '0.743177777']):  # fmt: skip
            command = [sys.executable, PROJECT / 'scripts' / 'runs.py', *words, '--checkpoints_dir', root]
            seconds = []
            for _ in range(args.repeat):
                started = time.perf_counter()
                subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
                seconds.append(time.perf_counter() - started)
            print(line_of(' '.join(map(str, words)).replace(str(page), page.name), seconds))
        title, seconds = f'opening {page.name}, {page.stat().st_size / 1e6:.1f} MB', opening_seconds(page, args.repeat)
        print(line_of(title, seconds) if seconds else f'{title}: not measured without Chromium and playwright')


if __name__ == '__main__':
    main()
