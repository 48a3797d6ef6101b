"""The record of a run's data: what changes its hashes and what does not, and what a test says of it later."""

import shutil
from copy import copy

import pytest
from PIL import Image
from torch.utils.data import DataLoader, Subset

from data.checks import dataset_fingerprint
from data.checks.dataset_fingerprint import (
    changed_test_set,
    data_fingerprint,
    data_record,
    name_of,
    shared_with_training,
)
from data.data_entry import select_eval_loader, select_train_loader
from data.lists.list_file import read_list


def record_of(args):
    """Return the record of the data of options, as train.py makes it."""
    return data_record(args, select_train_loader(args), select_eval_loader(args))


def found_in(args):
    """Return the test set of options, as eval.py has it."""
    return data_fingerprint(select_eval_loader(args), name_of(args, 'val'))


# --- hashes


def test_a_list_is_known_by_names_targets_order_and_sizes(save, write, files):
    for n in range(3):
        save(f'{n}.png', seed=n)
    lines = ['0.png 0', '1.png 1', '2.png 0']
    known = read_list(write('a.txt', '\n'.join(lines))).content_parts()
    written = f'# comment\r\n\r\n"0.png"\t0\r\n{lines[1]}  \r\n{lines[2]}\r\n'
    assert read_list(write('b.txt', written)).content_parts() == known
    shutil.copytree(files, files / 'elsewhere')
    assert read_list(files / 'elsewhere' / 'a.txt').content_parts() == known
    others = {
        'names': ['0.png 0', '1.png 1', './2.png 0'],
        'targets': ['0.png 0', '1.png 1', '2.png 1'],
    }
    for part, changed in others.items():
        parts = read_list(write('c.txt', '\n'.join(changed))).content_parts()
        assert [name for name in known if parts[name] != known[name]] == [part]
    before = read_list(files / 'a.txt').content_hash()
    assert read_list(write('d.txt', '\n'.join(lines[::-1]))).content_hash() != before
    save('1.png', size=(30, 20), seed=9)
    assert read_list(files / 'a.txt').content_hash() != before
    parts = read_list(files / 'a.txt').content_parts()
    assert [name for name in known if parts[name] != known[name]] == ['sizes']


@pytest.mark.parametrize('kind', ['list', 'mem_list'])
def test_the_size_of_a_mask_counts(masked, files, kind):
    args = masked(kind=kind)
    before = found_in(args)
    assert found_in(args) == before
    with Image.open(files / '3_mask.png') as mask:
        mask.save(files / '3_mask.png', compress_level=0)  # the same pixels in a larger file
    after = found_in(args)
    assert [part for part, known in before['parts'].items() if after['parts'][part] != known] == ['sizes']
    assert after['sha256'] != before['sha256']


@pytest.mark.parametrize('kind', ['digits', 'noisy_digits'])
def test_pictures_in_memory_are_known_whatever_size_they_are_brought_to(make_args, kind):
    words = ['--data_type', kind, '--task', 'restoration' if kind == 'noisy_digits' else 'classification']
    found = [found_in(make_args(*words, *more)) for more in ([], ['--image_size', 20], ['--channels', 3])]
    assert found[0] == found[1] == found[2]
    assert found[0]['list'] == kind
    assert found[0]['samples'] == 1000
    assert set(found[0]['parts']) == {'pictures', 'targets'}


def test_ready_made_loaders_have_no_name(make_args):
    dataset = select_eval_loader(make_args()).dataset.dataset
    whole = data_fingerprint(DataLoader(dataset, 10), 'digits')
    assert (whole['list'], whole['samples'], whole['sha256']) == (None, 1000, dataset.content_hash())
    part = data_fingerprint(DataLoader(Subset(dataset, range(7)), 3), 'digits')
    assert (part['list'], part['samples'], part['sha256'], part['parts']) == (None, 7, None, {})
    assert data_fingerprint(iter([1]), 'x') == {'list': None, 'samples': None, 'sha256': None, 'parts': {}}


# --- what a test says


def said(args, record, **changed):
    trained = vars(args) | changed
    return changed_test_set(record, trained, args, found_in(args))


def test_the_same_test_set_is_no_news(labelled, write, files):
    args = labelled()
    record = record_of(args)
    assert said(args, record) == []
    write('val.txt', '# a comment\r\n' + (files / 'val.txt').read_text().replace('\n', '\r\n'))
    assert said(args, record) == []


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda lines: lines[:-1], '7 samples then, 6 samples now'),
        (lambda lines: [*lines[:-1], lines[-1].replace(' 0', ' 1')], 'other targets'),
        (lambda lines: lines[::-1], 'other names or another order'),
    ],
)
def test_a_test_set_that_changed_is_named_with_what_changed(labelled, write, files, change, words):
    args = labelled()
    record = record_of(args)
    write('val.txt', '\n'.join(change((files / 'val.txt').read_text().splitlines())))
    (line,) = said(args, record)
    assert line.startswith(f'changed since the run: the test set {files}/val.txt: {words}')
    then, now = record['val']['sha256'], found_in(args)['sha256']
    assert f'(sha256 {then[:12]} then, {now[:12]} now)' in line


def test_a_picture_that_was_replaced_is_seen_by_its_size(labelled, save, files):
    args = labelled()
    record = record_of(args)
    save('2.png', size=(40, 30), seed=5)
    (line,) = said(args, record)
    assert f'{files}/val.txt: files of other sizes (sha256 ' in line


def test_other_data_than_that_of_the_run_is_no_change(labelled, write, files):
    args = labelled()
    record = record_of(args)
    args.val_list = str(write('other.txt', '0.png 1\n'))
    assert said(args, record) == []
    args.val_list = str(write('val.txt', '0.png 1\n'))
    assert len(said(args, record)) == 1
    assert said(args, record, task='multilabel') == []
    assert said(args, None) == [], 'of a run by an older version'
    assert said(args, {'val': {'list': None, 'sha256': None, 'samples': 3}}) == []


# --- samples that were trained on


def test_a_run_records_what_training_and_validation_share(labelled, write, save, files):
    args = labelled()
    save('new.png', seed=50)
    write('val.txt', 'new.png 0\n')
    assert record_of(args)['val']['shared'] == []
    write('val.txt', 'new.png 0\n3.png 0\n')
    (line,) = record_of(args)['val']['shared']
    assert line.startswith(f'{files}/val.txt: 1 of 2 images is in {files}/train.txt too: 1 as the same file (3.png, ')


def shared(args, record, **changed):
    trained = vars(args) | changed
    args = copy(args)
    del args.train_list  # which eval.py does not have
    loader = select_eval_loader(args)
    return shared_with_training(record, trained, args, loader, data_fingerprint(loader, name_of(args, 'val')))


def test_a_test_of_the_runs_own_data_says_what_the_run_recorded(labelled, files):
    args = labelled()
    record = record_of(args)
    assert len(record['val']['shared']) == 1
    (files / 'train.txt').unlink()
    assert shared(args, record) == record['val']['shared']


@pytest.mark.parametrize('kind', ['list', 'mem_list'])
def test_another_list_is_compared_with_the_training_list(labelled, write, save, files, kind):
    args = labelled(kind=kind)
    record = record_of(args)
    save('new.png', seed=50)
    shutil.copy(files / '1.png', files / 'copy.png')
    args.val_list = str(write('other.txt', 'new.png 0\n'))
    assert shared(args, record) == []
    args.val_list = str(write('other.txt', 'new.png 0\ncopy.png 1\n'))
    for known in (record, None):
        (line,) = shared(args, known)
        assert line.startswith(f'{files}/other.txt: 1 of 2 images is in {files}/train.txt too: 1 as the same content ')
    (files / 'train.txt').unlink()
    (line,) = shared(args, record)
    assert line == (
        'not known whether the run was trained on samples of this test: '
        f'{files}/train.txt cannot be read: No such file or directory'
    )


def test_of_a_very_long_training_list_some_lines_are_looked_up(labelled, write, files, monkeypatch):
    args = labelled(count=9)
    record = record_of(args)
    args.val_list = str(write('other.txt', ''.join(f'{n}.png 0\n' for n in range(8))))
    monkeypatch.setattr(dataset_fingerprint, 'MAX_TRAINING_LINES', 4)
    (line,) = shared(args, record)
    assert ': 8 of 8 images are in ' in line, 'by their names'
    for n in range(8):
        shutil.copy(files / f'{n}.png', files / f'copy{n}.png')
    args.val_list = str(write('other.txt', ''.join(f'copy{n}.png 0\n' for n in range(8))))
    (line,) = shared(args, record)
    assert ': 3 of 8 images are in ' in line or ': 4 of 8 images are in ' in line
    assert line.endswith(f'; of 9 images in {files}/train.txt only 4, drawn at random, were compared')


def test_tables_are_compared_by_their_rows(make_args, write, files, monkeypatch):
    rows = [f'{n},{n * n},{n % 2}' for n in range(20)]
    train, val = (
        write('train.csv', '\n'.join(['a,b,c', *rows[:12]])),
        write('val.csv', '\n'.join(['a,b,c', *rows[12:]])),
    )
    args = make_args('--data_type', 'array', '--train_list', train, '--val_list', val)
    record = record_of(args)
    assert record['val']['shared'] == []
    args.val_list = str(write('other.csv', '\n'.join(['a,b,c', rows[15], rows[4], rows[3]])))
    (line,) = shared(args, record)
    assert line == f'{files}/other.csv: 2 of 3 samples are in {train} too (the first: sample 00001 and 00004 there)'
    monkeypatch.setattr(dataset_fingerprint, 'MAX_TABLE_BYTES', 10)
    (line,) = shared(args, record)
    assert line.endswith(f'{train} is too large to be compared')


def test_options_that_an_older_version_did_not_record(labelled, write, files):
    args = labelled()
    args.val_list = str(write('other.txt', '2.png 0\n'))
    loader = select_eval_loader(args)
    trained = {name: getattr(args, name) for name in ('data_type', 'train_list', 'val_list', 'task')}
    (line,) = shared_with_training(None, trained, args, loader, data_fingerprint(loader, args.val_list))
    assert '1 of 1 image is in' in line
    assert shared_with_training(None, {}, args, loader, data_fingerprint(loader, args.val_list)) == []
