"""What a test says of its data and leaves of itself: the ledger, the earlier results, a test set that changed."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import eval as eval_py
from utils.base.errors import DanluError
from utils.runs.checkpoint import file_hash, load_checkpoint
from utils.runs.ledger import read


@pytest.fixture
def made(tmp_path, train_here):
    """Return a function: words -> a run of one epoch on a list of twelve pictures, four of them to validate on."""
    random = np.random.default_rng(0)
    for n in range(16):
        Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / f'{n}.png')
    (tmp_path / 'train.txt').write_text(''.join(f'{n}.png {n % 2}\n' for n in range(8)))
    (tmp_path / 'val.txt').write_text(''.join(f'{n}.png {n % 2}\n' for n in range(8, 12)))

    def made(*words):
        lists = ['--data_type', 'list', '--train_list', tmp_path / 'train.txt', '--val_list', tmp_path / 'val.txt']
        model = ['--model_type', 'mlp', '--epochs', 1, '--num_workers', 0, '--checkpoints_dir', tmp_path / 'runs']
        return train_here(*lists, *model, *words)

    return made


@pytest.fixture
def said(eval_here):
    """Return a function: words -> the lines that eval.py prints on data, and the test."""

    def said(*words):
        test = eval_here(*words, '--num_workers', 0)
        about = ('changed since the run', 'too: ', 'not known whether')
        return [line for line in test.stdout.splitlines() if any(part in line for part in about)], test

    return said


# --- data


def test_a_test_of_what_the_run_was_validated_on_says_nothing(made, said, tmp_path):
    run = made()
    assert 'too: ' not in run.stdout
    lines, test = said('--load_model_path', run.directory / 'best.pth')
    assert lines == []
    data = load_checkpoint(run.directory / 'best.pth')['record']['data']
    assert test.head['list sha256'] == data['val']['sha256']
    assert test.head['trained on'] == str(tmp_path / 'train.txt')
    assert test.head['trained on sha256'] == data['train']['sha256']
    assert 'shared with training' not in test.head


def test_a_test_list_that_changed_is_said_before_the_test(made, said, tmp_path):
    run = made()
    (tmp_path / 'val.txt').write_text('8.png 1\n9.png 1\n10.png 0\n11.png 1\n')
    [line, names], test = said('--load_model_path', run.directory / 'best.pth')
    assert line.startswith(f'changed since the run: the test set {tmp_path}/val.txt: other targets (sha256 ')
    assert names.endswith('/val.txt: 1 of 4 samples changed: 8.png (1 target)')
    assert test.stdout.index(line) < test.stdout.index('  acc: ')
    (tmp_path / 'other.txt').write_text('12.png 1\n')
    lines, _ = said('--load_model_path', run.directory / 'best.pth', '--val_list', tmp_path / 'other.txt')
    assert lines == [], 'another list is no change'


def save_noise(path, seed):
    """Write a BMP file, whose size does not depend on its pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, format='BMP')


@pytest.mark.parametrize('kind', ['list', 'mem_list'])
def test_samples_with_other_bytes_under_the_same_names_and_sizes_are_named(made, said, tmp_path, kind):
    for n in range(16):
        save_noise(tmp_path / f'{n}.png', n)
    run = made('--data_type', kind)
    record = load_checkpoint(run.directory / 'best.pth')['record']['data']
    assert {split: record[split]['contents']['samples'] for split in record} == {'train': 8, 'val': 4}
    lines, test = said('--load_model_path', run.directory / 'best.pth')
    assert (lines, test.head['contents since the run']) == ([], 'the same')
    assert test.head['contents sha256'] == record['val']['contents']['sha256']
    for n in (8, 11):
        save_noise(tmp_path / f'{n}.png', n + 100)
    [line], test = said('--load_model_path', run.directory / 'best.pth')
    text = f'the test set {tmp_path}/val.txt: 2 of 4 samples changed: 8.png, 11.png (2 images)'
    assert line == f'changed since the run: {text}'
    assert test.head['list sha256'] == record['val']['sha256']
    assert test.head['contents since the run'] == text
    [first, second], _ = read(tmp_path / 'runs' / 'ledger.jsonl')
    assert first['contents_sha256'] != second['contents_sha256'] == test.head['contents sha256']


def test_a_checkpoint_without_the_hashes_of_its_run_knows_that_bytes_changed_but_not_which(made, said, tmp_path):
    for n in range(16):
        save_noise(tmp_path / f'{n}.png', n)
    checkpoint = tmp_path / 'elsewhere' / 'best.pth'
    checkpoint.parent.mkdir()
    shutil.copy(made().directory / 'best.pth', checkpoint)
    assert said('--load_model_path', checkpoint)[0] == []
    save_noise(tmp_path / '9.png', 99)
    [line], _ = said('--load_model_path', checkpoint)
    assert line.endswith('the bytes of samples changed; which ones is not known without contents_val.bin of the run')


def test_a_list_that_was_moved_and_edited_is_compared(made, said, tmp_path):
    checkpoint = made().directory / 'best.pth'
    moved = tmp_path / 'lists' / 'v.txt'
    moved.parent.mkdir()
    words = ['--load_model_path', checkpoint, '--val_list', moved, '--data_root', tmp_path]
    moved.write_text('8.png 0\n9.png 1\n10.png 0\n11.png 1\n')
    assert said(*words)[0] == [], 'moved only'
    moved.write_text('8.png 0\n9.png 1\n10.png 1\n11.png 1\n')
    lines, _ = said(*words)
    where = f'the test set {moved} (then {tmp_path}/val.txt)'
    assert lines[0].startswith(f'changed since the run: {where}: other targets (sha256 ')
    assert lines[1:] == [f'changed since the run: {where}: 1 of 4 samples changed: 10.png (1 target)']
    moved.write_text('12.png 0\n11.png 1\n9.png 0\n8.png 0\n')
    lines, _ = said(*words)
    other = '2 of 4 samples are not among the recorded: 12.png, 9.png (1 image, 1 target)'
    assert lines == [f'changed since the run: {where}: {other}; 2 of the 4 recorded samples are missing']
    moved.write_text('11.png 1\n9.png 1\n8.png 0\n10.png 0\n')
    [*_, line], _ = said(*words)
    assert line.endswith('the samples are those of the run, under other names or in another order')
    moved.write_text('12.png 1\n13.png 0\n')
    assert said(*words)[0] == [], 'other data'


def test_a_changed_value_of_a_table_is_called_by_what_it_is(train_here, said, tmp_path):
    rows = [f'{n},{n * n % 7},{n % 2}' for n in range(16)]
    for name, part in (('train', rows[:10]), ('val', rows[10:])):
        (tmp_path / f'{name}.csv').write_text('\n'.join(['a,b,y', *part]))
    words = ['--data_type', 'array', '--train_list', tmp_path / 'train.csv', '--val_list', tmp_path / 'val.csv']
    run = train_here(*words, '--model_type', 'mlp', '--epochs', 1, '--checkpoints_dir', tmp_path / 'runs')
    (tmp_path / 'val.csv').write_text('\n'.join(['a,b,y', *rows[10:13], '13,6.5,1', *rows[14:]]))
    lines, _ = said('--load_model_path', run.directory / 'best.pth')
    where = f'changed since the run: the test set {tmp_path}/val.csv'
    assert lines[0].startswith(f'{where}: other features (sha256 ')
    assert lines[1:] == [f'{where}: 1 of 6 samples changed: line 5 (1 feature vector)']


def test_pictures_that_are_in_both_lists_are_said_when_training_starts_and_by_the_test(made, said, tmp_path):
    with open(tmp_path / 'val.txt', 'a') as file:
        file.write('3.png 1\n')
    run = made()
    [line] = [line for line in run.stdout.splitlines() if 'too: ' in line]
    assert f'{tmp_path}/val.txt: 1 of 5 images is in {tmp_path}/train.txt too: 1 as the same file (3.png, ' in line
    assert line in (run.directory / 'log.txt').read_text()
    lines, test = said('--load_model_path', run.directory / 'best.pth')
    assert len(lines) == 1
    assert line.endswith(lines[0])
    assert test.head['shared with training'] == lines[0]


def test_another_list_is_compared_with_what_the_run_was_trained_on(made, said, tmp_path):
    run = made()
    shutil.copy(tmp_path / '5.png', tmp_path / 'copy.png')
    (tmp_path / 'other.txt').write_text('12.png 0\ncopy.png 1\n')
    words = ['--load_model_path', run.directory / 'best.pth', '--val_list', tmp_path / 'other.txt']
    [line], test = said(*words)
    assert f'{tmp_path}/other.txt: 1 of 2 images is in {tmp_path}/train.txt too: 1 as the same content ' in line
    assert test.head['shared with training'] == line
    (tmp_path / 'train.txt').unlink()
    [line], _ = said(*words)
    assert line.startswith('not known whether the run was trained on samples of this test: ')


# --- the ledger


def test_every_test_is_a_line_of_the_ledger(made, eval_here, tmp_path):
    run = made()
    checkpoint = run.directory / 'best.pth'
    tests = [eval_here('--load_model_path', checkpoint, '--batch_size', size) for size in (2, 2, 3)]
    lines, broken = read(tmp_path / 'runs' / 'ledger.jsonl')
    assert (len(lines), broken) == (3, 0)
    for line, test in zip(lines, tests, strict=True):
        assert {name: repr(value) for name, value in line['values'].items()} == test.values
        assert line['result_dir'] == str(test.directory)
        assert line['data_sha256'] == test.head['list sha256']
        assert line['code'] == test.head['code sha256']
    record = load_checkpoint(checkpoint)['record']
    expected = {
        **{'run': run.directory.name, 'checkpoint': str(checkpoint), 'checkpoint_sha256': file_hash(checkpoint)},
        **{'epoch': 1, 'task': 'classification', 'model_type': 'mlp', 'list': str(tmp_path / 'val.txt'), 'samples': 4},
        **{'commit': (record['git'] or {}).get('commit'), 'directory': os.getcwd(), 'code': record['code']},
        'device': 'cpu',
    }
    assert {name: lines[0][name] for name in expected} == expected
    names = 'date values data_sha256 contents_sha256 options command result_dir source'.split()
    names += ['changed_options', 'verdict', 'verdict_text', 'causes']
    assert set(lines[0]) == {*expected, *names}
    assert [line['options']['batch_size'] for line in lines] == [2, 2, 3]
    found = {'mean', 'std', 'image_size', 'num_classes', 'class_names', 'load_model_path', 'result_dir'}
    assert not found & set(lines[0]['options']), 'the data says these, or they stand elsewhere'
    assert (tests[0].directory / 'result.1.txt').is_file()
    assert tests[2].directory.name.endswith('_2')


def test_a_value_that_is_no_number_is_null(made, eval_here, tmp_path):
    run = made()
    (tmp_path / 'val.txt').write_text('8.png 0\n')
    eval_here('--load_model_path', run.directory / 'best.pth')
    test = eval_here('--load_model_path', run.directory / 'best.pth')
    text = (tmp_path / 'runs' / 'ledger.jsonl').read_text().splitlines()[-1]
    values = json.loads(text, parse_constant=pytest.fail)['values']
    assert 'nan' in test.values.values()
    assert {name for name, value in values.items() if value is None} == {
        name for name, value in test.values.items() if value == 'nan'
    }


def test_a_ledger_that_cannot_be_written_fails_no_test(made, eval_here, tmp_path):
    run = made()
    (tmp_path / 'runs' / 'ledger.jsonl').mkdir()
    test = eval_here('--load_model_path', run.directory / 'best.pth')
    line = (
        f'{tmp_path}/runs/ledger.jsonl cannot be written (Is a directory), so this test is recorded only in result.txt'
    )
    assert line in test.stdout.splitlines()
    assert 'acc' in test.values


def test_a_checkpoint_without_a_run_is_written_down_in_checkpoints_dir(made, eval_here, tmp_path):
    run = made()
    shutil.copy(run.directory / 'best.pth', tmp_path / 'mine.pth')
    eval_here('--load_model_path', tmp_path / 'mine.pth', '--checkpoints_dir', tmp_path / 'new' / 'deep')
    [line], broken = read(tmp_path / 'new' / 'deep' / 'ledger.jsonl')
    assert (line['run'], broken) == (None, 0)


# --- earlier results


def test_a_test_that_fails_midway_leaves_the_earlier_one(made, eval_here, monkeypatch, tmp_path):
    run = made()
    words = ['--load_model_path', run.directory / 'best.pth', '--save_viz', '--batch_size', 2]
    test = eval_here(*words)

    def contents():
        return {path: path.read_bytes() for path in test.directory.rglob('*') if path.is_file()}

    before, drawn = contents(), []
    assert len([path for path in before if path.parent.name == 'viz']) == 4

    def failing(self, *batch):
        drawn.append(batch)
        if len(drawn) == 2:
            raise DanluError('a bad picture')
        return draw(self, *batch)

    draw = eval_py.Evaluator.draw_samples
    with monkeypatch.context() as patch, pytest.raises(DanluError, match='a bad picture'):
        patch.setattr(eval_py.Evaluator, 'draw_samples', failing)
        eval_here(*words)
    assert contents() == before
    eval_here(*words)
    kept = {str(path.relative_to(test.directory)): data for path, data in contents().items()}
    for path, data in before.items():
        name = str(path.relative_to(test.directory))
        stem, ending = os.path.splitext(name.split('/', maxsplit=1)[0])
        assert kept[f'{stem}.1{ending}{name[len(stem + ending) :]}'] == data
    lines, _ = read(tmp_path / 'runs' / 'ledger.jsonl')
    assert len(lines) == 2, 'a test without results is none'


def test_a_first_test_that_fails_leaves_no_directory(made, eval_here, monkeypatch):
    run = made()
    monkeypatch.setattr(eval_py, 'provenance_of', lambda evaluator, seen: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        eval_here('--load_model_path', run.directory / 'best.pth', '--save_viz')
    assert not [path for path in (run.directory / 'best').rglob('*') if path.is_file()]


def test_a_record_that_no_version_writes_is_refused(made, said, tmp_path):
    checkpoint = load_checkpoint(made().directory / 'best.pth')
    for other in ('a word', ['a', 'list'], {'data': 'elsewhere'}):
        torch.save(checkpoint | {'record': other}, tmp_path / 'other.pth')
        with pytest.raises(DanluError, match='no version of Danlu writes this: record'):
            said('--load_model_path', tmp_path / 'other.pth')
