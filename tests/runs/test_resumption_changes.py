"""Runs that go on with other data than they had, and say so."""

import json
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


@pytest.mark.slow_after(1, 'two starts each')
@pytest.mark.parametrize('kind', ['list', 'mem_list'])
def test_samples_whose_bytes_changed_are_named_when_they_are_read_again(faults, train_here, tmp_path, kind):
    folder = faults.make_pictures(tmp_path / 'pictures', 26)
    for path in folder.glob('*.png'):
        with Image.open(path) as picture:
            picture.save(path, format='BMP')  # all of the same size
    lists = ['--train_list', folder / 'train.txt', '--val_list', folder / 'train.txt', '--data_type', kind]
    run = train_here(*lists, '--model_type', 'mlp', '--epochs', 1, '--checkpoints_dir', tmp_path, '--num_workers', 0)
    record = json.loads((run.directory / 'record.json').read_text())
    same = train_here('--resume', run.directory, '--epochs', 2)
    assert 'changed since' not in same.stdout
    first, second = (line.split('\t')[0].split()[0] for line in (folder / 'train.txt').read_text().splitlines()[:2])
    content = (folder / first).read_bytes()
    (folder / first).write_bytes((folder / second).read_bytes())
    (folder / second).write_bytes(content)
    resumed = train_here('--resume', run.directory, '--epochs', 3)
    lines = [line for line in resumed.stdout.splitlines() if line.startswith('changed since')]
    assert lines == [
        f'changed since the run began: the {data}: 2 of {record["data"]["train"]["samples"]} samples changed: {first}, '
        f'{second} (2 images); the run continues with the change and counts as another experiment'
        for data in ('training data', 'validation data')
    ]
    again = json.loads((run.directory / 'record.json').read_text())
    assert again['experiment'] is None is not record['experiment']
    assert again['data']['val']['contents']['samples'] == record['data']['val']['contents']['samples']
    assert 'changed since' not in train_here('--resume', run.directory, '--epochs', 4).stdout
