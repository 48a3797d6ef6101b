"""How long eval.py --predict takes for a folder of JPEG files, against a test of the same files."""

import os
import subprocess
import sys
import time

from scripts.dev.bench.pictures import DISTINCT, make_data
from scripts.dev.bench.race import PROJECT, project_environment
from scripts.dev.bench.report import draw_ratios, table
from scripts.dev.bench.start import row_of

CLASS_NAMES = ('cat', 'dog')
SIZE_OPTIONS = '--image_size 64 --num_workers 2 --device cpu'
# What is started, and what it is compared with: the words behind the checkpoint and the folder.
TEST, TEST_PAGE = 'test', 'test --report'
COMMANDS = {
    TEST: (TEST, ('--data_type', 'folder', '--val_list')),
    'predict --no_report': (TEST, ('--no_report', '--predict')),
    TEST_PAGE: (TEST_PAGE, ('--report', '--data_type', 'folder', '--val_list')),
    'predict': (TEST_PAGE, ('--predict',)),
}


def predict(options, scratch, say):
    """Measure, and return (sections: dict title -> rows, dict title -> table, function(path) that draws)."""
    folder = _folder_of_photos(scratch, options.samples)
    checkpoint = _checkpoint(folder, scratch)
    seconds = {name: [] for name in COMMANDS}
    for number in range(options.rounds):
        for name in list(COMMANDS)[:: -1 if number % 2 else 1]:
            words = ['--load_model_path', checkpoint, *SIZE_OPTIONS.split(), *COMMANDS[name][1], folder]
            seconds[name].append(_run('eval.py', words))
        say(f'round {number}: ' + ', '.join(f'{name} {took[-1]:.1f} s' for name, took in seconds.items()))
    rows = [row_of(name, seconds[name][1:], seconds[against][1:]) for name, (against, _) in COMMANDS.items()]
    title = f'a folder of {options.samples:,} JPEG files of 500x375'
    columns = {
        'command': lambda row: row['name'],
        'seconds': lambda row: f'{sorted(row["seconds"])[len(row["seconds"]) // 2]:.1f}',
        'times as long as the test': lambda row: f'{row["ratio"]["median"]:.2f}',
        'min..max': lambda row: f'{row["ratio"]["min"]:.2f}..{row["ratio"]["max"]:.2f}',
    }
    panels = {title: [(row['name'], row['ratio']) for row in rows]}
    label = 'times as long as the test'
    return {title: rows}, {title: table(rows, columns)}, lambda path: draw_ratios(path, panels, label)


def _folder_of_photos(scratch, count):
    """Return a directory (Path) of `count` images in two classes; links to DISTINCT files."""
    made, folder = make_data('input', scratch / 'made', DISTINCT), scratch / 'photos'
    for number in range(count):
        path = folder / CLASS_NAMES[number % 2] / f'{number:06d}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(made / f'{number % DISTINCT:03d}.jpg', path)
    return folder


def _checkpoint(folder, scratch):
    """Return the checkpoint (Path) of a run of one step."""
    words = [
        '--data_type',
        'folder',
        '--train_list',
        folder,
        '--val_list',
        'none',
        '--max_steps',
        1,
        *SIZE_OPTIONS.split(),
    ]
    _run('train.py', [*words, '--no_report', '--checkpoints_dir', scratch / 'runs'])
    return scratch / 'runs' / 'lenet_exp' / 'last.pth'


def _run(program, words):
    """Return how long (s) a program took.

    Raises:
        RuntimeError: it failed; with the last of what it printed.
    """
    command = [sys.executable, str(PROJECT / program), *map(str, words)]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=project_environment())
    if done.returncode:
        raise RuntimeError(f'{" ".join(command[1:])} failed:\n{done.stdout}{done.stderr}'[-3000:])
    return time.perf_counter() - started
