"""How long a run takes to its first optimizer step, against what importing torch and torchvision takes alone."""

import subprocess
import sys
import time
from statistics import median

from scripts.dev.bench.race import PROJECT, project_environment
from scripts.dev.bench.report import draw_ratios, table

TRAIN = str(PROJECT / 'train.py')
DONE = 7  # the exit status after what was wanted; os._exit, as Python's own way out takes a while too
# Runs train.py as `python train.py` does, and ends it at once after its first step.
DRIVER = f"""
import os, runpy, sys
from importlib.machinery import PathFinder

class AtFirstStep:
    def find_spec(self, name, path=None, target=None):
        if name != 'torch.optim.optimizer':
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path)
        load = spec.loader.exec_module
        def exec_module(module):
            load(module)
            module.register_optimizer_step_post_hook(lambda *_: os._exit({DONE}))
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, AtFirstStep())
sys.path.insert(0, os.path.dirname({TRAIN!r}))
sys.argv = ['train.py', *sys.argv[1:]]
runpy.run_path({TRAIN!r}, run_name='__main__')
"""
HELP = f"""
import os, runpy, sys
sys.path.insert(0, os.path.dirname({TRAIN!r}))
sys.argv = ['train.py', '--help']
try:
    runpy.run_path({TRAIN!r}, run_name='__main__')
except SystemExit:
    os._exit({DONE})
"""
TORCH, BOTH = 'import torch', 'import torch, torchvision'
# What is started: (name, what it is compared with, what Python runs, the options of train.py).
STARTS = (
    (TORCH, TORCH, f'import os, torch; os._exit({DONE})', None),
    ('LeNet on the digits', TORCH, DRIVER, '--model_type lenet'),
    (BOTH, BOTH, f'import os, torch, torchvision; os._exit({DONE})', None),
    ('torchvision:resnet18 on the digits', BOTH, DRIVER, '--model_type torchvision:resnet18 --channels 3'),
    ('train.py --help', TORCH, HELP, None),
)


def start(options, scratch, say):
    """Measure, and return (sections: dict title -> rows, dict title -> table, function(path) that draws)."""
    seconds = {name: [] for name, *_ in STARTS}
    for number in range(options.rounds):
        for place in range(len(STARTS)):
            name, _, code, words = STARTS[(place + number) % len(STARTS)]
            seconds[name].append(first_step(code, words, scratch))
        say(f'round {number}: ' + ', '.join(f'{name} {took[-1]:.2f} s' for name, took in seconds.items()))
    rows = [row_of(name, seconds[name][1:], seconds[against][1:]) for name, against, *_ in STARTS]  # the first warms up
    sections = {'from the start of Python to the first step': rows}
    columns = {
        'started': lambda row: row['name'],
        'seconds': lambda row: f'{median(row["seconds"]):.2f}',
        'times as long as the import': lambda row: f'{row["ratio"]["median"]:.2f}',
        'min..max': lambda row: f'{row["ratio"]["min"]:.2f}..{row["ratio"]["max"]:.2f}',
    }
    panels = {title: [(row['name'], row['ratio']) for row in rows] for title, rows in sections.items()}
    label = 'times as long as importing torch (and torchvision)'
    return sections, {title: table(rows, columns) for title in sections}, lambda path: draw_ratios(path, panels, label)


def first_step(code, words, scratch):
    """Return how long (s) Python took to run the code; with `words` (options of train.py) up to the first step.

    Raises:
        RuntimeError: it failed; with what it printed.
    """
    command = [sys.executable, '-c', code]
    if words is not None:
        command += [*words.split(), '--device', 'cpu', '--checkpoints_dir', str(scratch / 'runs')]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=project_environment())
    took = time.perf_counter() - started
    if done.returncode != DONE:
        raise RuntimeError(f'{" ".join(command[2:])} failed:\n{done.stdout}{done.stderr}'[-3000:])
    return took


def row_of(name, seconds, against):
    """Return a row (dict): the times and their ratios to those of the same rounds."""
    ratios = [own / other for own, other in zip(seconds, against, strict=True)]
    ratio = {'median': median(ratios), 'min': min(ratios), 'max': max(ratios)}
    return {'name': name, 'seconds': seconds, 'ratio': ratio}
