"""A locale of ASCII alone, and Chinese names of classes, files, runs and directories: nothing fails."""

import csv
import os

import numpy as np
import pytest
from PIL import Image

# Python would turn its UTF-8 mode on by itself for LC_ALL=C.
ASCII = {'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0', 'PYTHONIOENCODING': 'ascii'}
pytestmark = pytest.mark.skipif(os.name == 'nt', reason='Windows has no such locale')


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    """Return a directory with pictures of two classes, to train on and to validate."""
    folder, random = tmp_path_factory.mktemp('数据'), np.random.default_rng(0)
    for split, count in (('train', 6), ('val', 3)):
        for shade, name in enumerate(('猫', '狗')):
            place = folder / split / name
            place.mkdir(parents=True)
            for index in range(count):
                pixels = random.integers(0, 90, (16, 16, 3)) + 120 * shade
                Image.fromarray(pixels.astype(np.uint8)).save(place / f'图{index}.png')
    return folder


@pytest.fixture(scope='module')
def run(pictures, run_program, tmp_path_factory):
    """Return the directory of a run in such a locale, and what it printed."""
    runs = tmp_path_factory.mktemp('跑')
    words = ['--data_type', 'folder', '--train_list', pictures / 'train', '--val_list', pictures / 'val']
    words += ['--image_size', 16, '--model_type', 'mlp', '--epochs', 1, '--device', 'cpu', '--save_prefix', '试验']
    done = run_program('train.py', *words, '--checkpoints_dir', runs, '--num_workers', 1, '--report', **ASCII)
    assert done.code == 0, done.stderr
    return runs / 'mlp_试验', done


@pytest.mark.slow('a new interpreter')
def test_a_run_prints_what_can_be_printed_and_writes_all(run):
    directory, done = run
    assert 'classes: 2: \\u72d7, \\u732b' in done.stdout
    assert 'Traceback' not in done.stderr
    assert 'classes: 2: 狗, 猫' in (directory / 'log.txt').read_text(encoding='utf-8')
    assert '试验' in (directory / 'args.txt').read_text(encoding='utf-8')
    assert (directory / 'best' / 'val_val_试验' / 'report.html').exists() or list(directory.glob('best/*/report.html'))


@pytest.mark.slow('a new interpreter')
def test_a_test_does(run, run_program):
    directory, _ = run
    words = ['--load_model_path', directory / 'best.pth', '--save_prefix', '测', '--device', 'cpu', '--num_workers', 0]
    done = run_program('eval.py', *words, **ASCII)
    assert done.code == 0, done.stderr
    assert done.stdout.isascii()
    with open(directory / 'best' / 'val_val_测' / 'predictions.csv', encoding='utf-8-sig', newline='') as file:
        assert '图' in next(iter(csv.DictReader(file)))['name']


def test_class_names_of_the_command_line_are_those_that_were_typed(pictures, run_program, tmp_path):
    """In such a locale Python reads the command line as ASCII, with a surrogate for every other byte."""
    words = ['--data_type', 'list', '--train_list', pictures / '没有.txt', '--class_names', '猫', '狗']
    done = run_program('train.py', *words, '--checkpoints_dir', tmp_path / '跑', **ASCII)
    assert (done.code, done.stderr.count('\n')) == (2, 1)
    assert '\\u6ca1\\u6709.txt' in done.stderr


@pytest.mark.slow('a new interpreter each')
@pytest.mark.parametrize('script', ['runs', 'look', 'measure_data', 'sweep'])
def test_other_programs_do(script, run, pictures, run_program, tmp_path):
    directory, _ = run
    data = ['--data_type', 'folder', '--train_list', pictures / 'train', '--val_list', pictures / 'val']
    words = {
        'runs': ['list', '--checkpoints_dir', directory.parent],
        'look': [*data, '--image_size', 16, '--out', tmp_path / '看.png'],
        'measure_data': [pictures / 'train'],
        'sweep': ['--summary', '--name', '试', '--checkpoints_dir', directory.parent],
    }[script]
    done = run_program(f'scripts/{script}.py', *words, **ASCII)
    assert done.code == (2 if script == 'sweep' else 0), done.stderr  # there is no such sweep
    assert 'Traceback' not in done.stderr
    assert (done.stdout + done.stderr).isascii()
    assert '\\u' in done.stdout + done.stderr
