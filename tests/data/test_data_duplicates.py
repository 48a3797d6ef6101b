"""The note on pictures that a list names more than once."""

import subprocess
import sys

import pytest

from data.data_entry import notes_of, select_eval_loader, select_train_loader
from data.duplicates import note_of_duplicates
from data.listing import read_folder, read_list
from utils.registry import PROJECT


def notes(write, *lines):
    return note_of_duplicates(read_list(write('train.txt', '\n'.join(lines))))


def test_without_duplicates_nothing_is_said(write, save):
    assert notes(write, 'a.png 0', 'b.png 0', 'deep/a.png 1') == []
    save('folder/cat/1.png')
    save('folder/dog/1.png')
    assert note_of_duplicates(read_folder(write('folder/x', '').parent)) == []


def test_the_same_picture_twice(write, files):
    (note,) = notes(write, '# comment', 'b.png 1', 'a.png 0', '', './a.png 0', 'x/../b.png 1', 'c.png 2', 'a.png 0')
    assert note == f'{files}/train.txt: 2 pictures are named more than once (a.png, lines 3 and 5)'


def test_different_targets_are_told_apart(write, files):
    (note,) = notes(write, 'a.png 0', 'b.png 0', 'a.png 0', 'b.png 1', 'b.png 0', 'a.png 0')
    assert note == (
        f'{files}/train.txt: 2 pictures are named more than once (a.png, lines 1 and 3); 1 picture is named with '
        'different targets (lines 2 (0) and 4 (1))'
    )


@pytest.mark.parametrize('kind', ['list', 'mem_list'])
def test_training_and_validation_say_it_at_the_start(save, list_args, files, kind):
    save('a.png')
    save('b.png')
    args = list_args('a.png 0\na.png 1', val='b.png 0\nb.png 0\na.png 1', kind=kind)
    said = notes_of(select_train_loader(args), select_eval_loader(args))
    assert [line.partition(':')[0] for line in said] == [f'{files}/train.txt', f'{files}/val.txt']


SCRIPT = """
import sys, time
from data.duplicates import note_of_duplicates
from data.listing import read_list

def peak():
    with open('/proc/self/status') as lines:
        return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith('VmHWM'))

listing = read_list(sys.argv[1])
before, start = peak(), time.process_time()
note = note_of_duplicates(listing)
print(peak() - before, time.process_time() - start, *note)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_a_million_lines(files):
    path = files / 'million.txt'
    with open(path, 'w', encoding='utf-8') as file:
        names = (f'train/class_{n % 1000:04d}/picture_{n:08d}.jpg\t{n % 8}\n' for n in range(999_999))
        file.writelines([*names, 'train/class_0000/picture_00000000.jpg\t7\n'])
    command = [sys.executable, '-c', SCRIPT, str(path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    megabytes, seconds, note = done.stdout.strip().split(' ', 2)
    print(megabytes, seconds)
    assert float(megabytes) < 80
    assert float(seconds) < 10
    assert note == (
        f'{path}: 1 picture is named more than once (train/class_0000/picture_00000000.jpg, lines 1 and 1000000); '
        '1 picture is named with different targets (lines 1 (0) and 1000000 (7))'
    )
