"""Runs that go on with other data or other code than they had, and say so."""

import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from PIL import Image

PARTS = ('data', 'model', 'utils')


@pytest.fixture
def resumed_with(faults, whole_runs, tmp_path):
    """Return a function: (what changes the data in a directory) -> what a run that goes on after a kill says."""

    def go_on(change):
        folder = faults.make_pictures(tmp_path / 'pictures', 26)
        for path in folder.glob('*.png'):
            with Image.open(path) as picture:
                picture.save(path, compress_level=0)  # all of the same size
        words = [*whole_runs('classification').words, '--checkpoints_dir', tmp_path / 'runs', '--num_workers', 0]
        words += ['--train_list', folder / 'train.txt', '--save_steps', 3]
        run = faults.Run(words, tmp_path / 's', faults.Fault(signal.SIGKILL, 5))
        assert run.wait() == -signal.SIGKILL, run.said
        change(folder)
        [directory] = (tmp_path / 'runs').iterdir()
        resumed = faults.Run(['--resume', directory], tmp_path / 's', faults.Fault(signal.SIGTERM, 2))
        assert resumed.wait() == 143, resumed.said
        return resumed.said

    return go_on


def test_another_list_is_said(resumed_with):
    def turn_labels(folder):
        samples = [line.split('\t') for line in (folder / 'train.txt').read_text(encoding='utf-8').splitlines()]
        lines = [f'{name}\t{(int(label) + 1) % 3}\n' for name, label in samples]
        (folder / 'train.txt').write_text(''.join(lines), encoding='utf-8')

    said = resumed_with(turn_labels)
    assert 'changed since the run was interrupted: the training data; it goes on with what is there now' in said
    assert 'resume differs: the data of batch 4 of epoch 1 are not those that the run had' in said
    assert 'the validation data; ' not in said
    assert 'the code; ' not in said


def test_other_pictures_of_the_same_sizes_under_the_same_list_are_noticed(resumed_with):
    def rotate(folder):
        paths = [path for path in sorted(folder.glob('*.png')) if 'mask' not in path.name]
        contents = [path.read_bytes() for path in paths]
        for path, content in zip(paths, [*contents[1:], contents[0]], strict=True):
            path.write_bytes(content)

    said = resumed_with(rotate)
    assert 'changed since' not in said
    assert 'resume differs: the data of batch 4 of epoch 1 are not those that the run had' in said


def test_the_same_data_are_no_change(resumed_with):
    said = resumed_with(lambda folder: None)
    assert 'changed since' not in said
    assert 'resume verified: weights, data and loss of batch 4 of epoch 1' in said


def test_other_code_is_said(interpreter, whole_runs, tmp_path):
    """A copy of the project, in which a file is changed between two starts."""
    project, copy = Path(__file__).resolve().parent.parent, tmp_path / 'project'
    for name in PARTS:
        shutil.copytree(project / name, copy / name, ignore=shutil.ignore_patterns('__pycache__'))
    for path in project.glob('*.py'):
        shutil.copy(path, copy)

    def run(*words):
        command = [interpreter, str(copy / 'train.py'), '--checkpoints_dir', str(tmp_path / 'runs'), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(*whole_runs('memory').words, '--num_workers', '0', '--epochs', '1')
    go_on = ['--resume', str(tmp_path / 'runs' / 'mlp_exp'), '--epochs']
    assert 'changed since' not in run(*go_on, '2')
    with open(copy / 'loss.py', 'a', encoding='utf-8') as file:
        file.write('# another line\n')
    said = run(*go_on, '3')
    assert 'changed since the run was interrupted: the code; it goes on with what is there now' in said
    assert 'the training data; ' not in said
