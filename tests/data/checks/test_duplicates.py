"""The note on pictures that a list names more than once."""

import tracemalloc

import pytest

from data.checks.duplicates import note_of_duplicates
from data.data_entry import notes_of, select_eval_loader, select_train_loader
from data.lists.list_file import read_folder, read_list


def notes(write, *lines):
    return note_of_duplicates(read_list(write('train.txt', '\n'.join(lines))))


def test_without_duplicates_nothing_is_said(write, save):
    assert notes(write, 'a.png 0', 'b.png 0', 'deep/a.png 1') == []
    save('folder/cat/1.png')
    save('folder/dog/1.png')
    assert note_of_duplicates(read_folder(write('folder/x', '').parent)) == []


def test_the_same_picture_twice(write, files):
    (note,) = notes(write, '# comment', 'b.png 1', 'a.png 0', '', './a.png 0', 'x/../b.png 1', 'c.png 2', 'a.png 0')
    assert note == f'{files}/train.txt: 2 images are named more than once (a.png, lines 3 and 5)'


def test_different_targets_are_told_apart(write, files):
    (note,) = notes(write, 'a.png 0', 'b.png 0', 'a.png 0', 'b.png 1', 'b.png 0', 'a.png 0')
    assert note == (
        f'{files}/train.txt: 2 images are named more than once (a.png, lines 1 and 3); 1 image is named with '
        'different targets (lines 2 (0) and 4 (1))'
    )


@pytest.mark.parametrize('kind', ['list', 'mem_list'])
def test_training_and_validation_say_it_at_the_start(save, list_args, files, kind):
    save('a.png')
    save('b.png')
    args = list_args('a.png 0\na.png 1', val='b.png 0\nb.png 0\na.png 1', kind=kind)
    said = notes_of(select_train_loader(args), select_eval_loader(args))
    assert [line.partition(':')[0] for line in said] == [f'{files}/train.txt', f'{files}/val.txt']


LINES = 300_000


def test_of_a_long_list_only_the_hashes_are_held(files):
    path = files / 'long.txt'
    with open(path, 'w', encoding='utf-8') as file:
        names = (f'train/class_{n % 1000:04d}/picture_{n:08d}.jpg\t{n % 8}\n' for n in range(LINES - 1))
        file.writelines([*names, 'train/class_0000/picture_00000000.jpg\t7\n'])
    listing = read_list(path)
    tracemalloc.start()
    try:
        [note] = note_of_duplicates(listing)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak / LINES < 80
    assert note == (
        f'{path}: 1 image is named more than once (train/class_0000/picture_00000000.jpg, lines 1 and {LINES}); '
        f'1 image is named with different targets (lines 1 (0) and {LINES} (7))'
    )
