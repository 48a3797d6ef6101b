"""train.py and eval.py on a stream."""

import csv
import io
import math
import tarfile

import numpy as np
import pytest
from PIL import Image

SAMPLES = 19


@pytest.fixture(scope='module')
def stream_data(tmp_path_factory):
    """Return the options (list of str) of a classification on two shards of 10 and 9 images, 12x10."""
    folder, random = tmp_path_factory.mktemp('stream_data'), np.random.default_rng(1)
    for shard in range(2):
        with tarfile.open(folder / f'{shard}.tar', 'w') as archive:
            for number in range(10 - shard):
                label = random.integers(2)
                picture = io.BytesIO()
                pixels = random.integers(0, 120, (10, 12, 3)) + 100 * label
                Image.fromarray(pixels.astype(np.uint8)).save(picture, format='PNG')
                for ending, content in (('png', picture.getvalue()), ('cls', (b'ant', b'bee')[label])):
                    info = tarfile.TarInfo(f'{shard}/{number:03d}.{ending}')
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
    where = ['--train_list', folder, '--val_list', folder]
    return ['--data_type', 'stream', *where, '--class_names', 'ant', 'bee', '--batch_size', 4, '--model_type', 'mlp']


@pytest.fixture(scope='module')
def runs(train_here, stream_data, tmp_path_factory):
    """Return runs on the stream with 0 and 2 workers."""
    folder = tmp_path_factory.mktemp('runs')
    words = ['--augment', 'strong', '--shuffle_buffer', 6, '--epochs', 2, '--checkpoints_dir', folder]
    return [train_here(*stream_data, *words, '--num_workers', n, '--save_prefix', f'w{n}') for n in (0, 2)]


def test_history_does_not_depend_on_the_workers(runs, history_of):
    rows = [
        [{k: v for k, v in row.items() if k.startswith(('train/', 'val/'))} for row in history_of(run)] for run in runs
    ]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 2
    assert 'data: a stream to train on, a stream to validate' in runs[0].stdout


def test_a_test_gives_what_training_printed(runs, eval_here, history_of):
    test = eval_here('--load_model_path', runs[0].directory / 'best.pth', '--save_viz', '--viz_freq', 6)
    assert test.values['loss'] in [row['val/loss'] for row in history_of(runs[0])]
    assert test.head['samples'] == str(SAMPLES)
    assert test.head['list sha256'].endswith('(of the names and sizes of the archives)')
    names = sorted(path.name for path in (test.directory / 'viz').iterdir())
    assert names == ['000000_0_000.png', '000006_0_006.png', '000012_1_002.png', '000018_1_008.png']
    with open(test.directory / 'predictions.csv', encoding='utf-8-sig') as file:
        named = [row['name'] for row in csv.DictReader(file)]
    assert named == [f'{shard}/{number:03d}' for shard in range(2) for number in range(10 - shard)]


def test_the_names_of_a_test_are_looked_up_in_one_walk(runs, eval_here, monkeypatch):
    """Pictures and rows ask for the same names, and a stream begins anew for one that lies behind it."""
    from data.stream import Stream

    walks, places = [], Stream.shard_samples

    def counted(stream, numbers):
        walks.append(len(numbers))
        return places(stream, numbers)

    monkeypatch.setattr(Stream, 'shard_samples', counted)
    found = []
    for words in ([], ['--save_viz']):
        walks.clear()
        eval_here('--load_model_path', runs[0].directory / 'best.pth', *words)
        found.append(walks.count(2))
    assert found[0] == found[1]


def test_a_length_makes_schedules_possible(train_here, stream_data, history_of, tmp_path):
    words = [
        '--train_length',
        SAMPLES,
        '--schedule',
        'cosine',
        '--epochs',
        2,
        '--checkpoints_dir',
        tmp_path,
        '--profile',
    ]
    run = train_here(*stream_data, *words, '--num_workers', 0)
    assert 'data: 19 to train on, a stream to validate' in run.stdout
    of_last_steps = [0.0005 * (1 + math.cos(math.pi * step / 10)) for step in (4, 9)]
    assert [float(row['lr']) for row in history_of(run)] == pytest.approx(of_last_steps)
