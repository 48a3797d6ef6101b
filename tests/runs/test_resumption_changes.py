"""Runs that go on with other data than they had, and say so."""

import signal

import pytest
from PIL import Image


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
        run = faults.Run(words, tmp_path / 's', faults.Fault(signal.SIGKILL, 5, written=True))
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
    assert 'changed since the run was interrupted: the training data; the run continues with the change' in said
    assert 'resume differs: the data of batch 4 of epoch 1 are not those of the interrupted run' in said
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
    assert 'resume differs: the data of batch 4 of epoch 1 are not those of the interrupted run' in said


def test_the_same_data_are_no_change(resumed_with):
    said = resumed_with(lambda folder: None)
    assert 'changed since' not in said
    assert 'resume verified: weights, data and loss of batch 4 of epoch 1' in said
