"""List files and directories: how they are read, and how a million lines are kept."""

import os
import pickle

import pytest
import torch

from data.lists.labels import label_names, parse_labels
from data.lists.list_file import ErrorCollector, read_folder, read_list
from data.lists.string_array import StringArray
from utils.base.errors import DanluError

ONE_SAMPLE = [
    ('a.png 3', 'a.png', '3'),
    ('a.png\t3', 'a.png', '3'),
    ('  a.png   3  ', 'a.png', '3'),
    ('a.png\t3\t', 'a.png', '3'),
    ('a.png \t 3', 'a.png', '3'),
    ('holiday in Rome/a b.png\tcat', 'holiday in Rome/a b.png', 'cat'),
    ('holiday in Rome/a b.png\ttabby cat', 'holiday in Rome/a b.png', 'tabby cat'),
    ('"a b.png" 3', 'a b.png', '3'),
    ('"a b.png" "c d.png"', 'a b.png', 'c d.png'),
    ('"a b.png"\t"tabby cat"', 'a b.png', 'tabby cat'),
    ('a.png "tabby cat"', 'a.png', 'tabby cat'),
    ('"#1.png" 3', '#1.png', '3'),
    ('图片/猫.png 猫', '图片/猫.png', '猫'),
    ('"图 片/猫 1.png" 橘猫', '图 片/猫 1.png', '橘猫'),
    ('\N{ZERO WIDTH NO-BREAK SPACE}a.png 3', 'a.png', '3'),
    ('/absolute/a.png 3', '/absolute/a.png', '3'),
]


@pytest.mark.parametrize(('line', 'image', 'target'), ONE_SAMPLE)
@pytest.mark.parametrize('end', ['\n', '\r\n', '\r', ''])
def test_one_line(write, line, image, target, end):
    listing = read_list(write('list.txt', line + end))
    assert (list(listing.images), list(listing.targets), listing.lines.tolist()) == ([image], [target], [1])


def test_comments_and_blank_lines_are_passed_over_and_counted(write):
    path = write('list.txt', '\N{ZERO WIDTH NO-BREAK SPACE}# my list\r\n\r\na.png 1\r\n  # more\r\n \t \r\nb.png 2')
    listing = read_list(path)
    assert list(listing.images) == ['a.png', 'b.png']
    assert [listing.where(index) for index in range(2)] == [f'{path}:3', f'{path}:6']


def test_paths_are_relative_to_the_list_file(write, files):
    listing = read_list(write('lists/train.txt', 'a.png 1\n/b.png 2\n'))
    assert [listing.image_path(index) for index in range(2)] == [str(files / 'lists/a.png'), '/b.png']


def test_paths_are_relative_to_the_list_file_from_another_directory(write, files, monkeypatch):
    write('lists/train.txt', 'a.png 1')
    monkeypatch.chdir(files)
    listing = read_list('lists/train.txt')
    monkeypatch.chdir('/')
    assert listing.image_path(0) == str(files / 'lists/a.png')


def test_data_root_replaces_the_list_files_directory(write):
    listing = read_list(write('lists/train.txt', 'a.png b.png\n/c.png d.png'), '/data')
    assert [listing.image_path(0), listing.target_path(0)] == ['/data/a.png', '/data/b.png']
    assert listing.image_path(1) == '/c.png'


@pytest.mark.parametrize(
    ('line', 'fault'),
    [
        ('a.png', '1 column instead of image and target'),
        ('a.png\t', '1 column instead of image and target'),
        ('\t3', '1 column instead of image and target'),
        ('a.png,3', '1 column instead of image and target; a tab or a blank separates them, not a comma'),
        ('"" 3', '2 columns, one of them empty, instead of image and target'),
        ('a.png\t""', '2 columns, one of them empty, instead of image and target'),
        ('a b.png 3', '3 columns instead of image and target; a path with blanks needs "quotes" or a tab behind it'),
        ('a.png 3 # a cat', '5 columns instead of image and target; a path with'),
        ('a.png\tb.png\t3', '3 columns instead of image and target'),
    ],
)
def test_wrong_columns(write, line, fault):
    path = write('list.txt', f'a.png 1\n\n{line}\nb.png 2')
    with pytest.raises(DanluError) as error:
        read_list(path)
    assert str(error.value).startswith(f'{path} has 1 invalid entry; fix or remove it:\n  {path}:3: {fault}')


def test_the_first_twenty_faults_and_their_count(write):
    path = write('list.txt', 'a.png\n' * 33)
    with pytest.raises(DanluError) as error:
        read_list(path)
    first, *shown, last = str(error.value).splitlines()
    assert first == f'{path} has 33 invalid entries; fix or remove them:'
    assert [line.split(': ')[0] for line in shown] == [f'  {path}:{number}' for number in range(1, 21)]
    assert last == '  ... and 13 more'


@pytest.mark.parametrize('text', ['', '\n\n', '# nothing yet\n', '\N{ZERO WIDTH NO-BREAK SPACE}'])
def test_an_empty_list(write, text):
    path = write('list.txt', text)
    with pytest.raises(DanluError, match=r'list\.txt names no sample: it needs lines of image<TAB or space>target'):
        read_list(path)


@pytest.mark.parametrize('encoding', ['gbk', 'utf-16-le'])
def test_a_list_that_is_no_utf8(write, encoding):
    with pytest.raises(DanluError, match=r'list\.txt is not UTF-8 text \(.+\): save it as UTF-8'):
        read_list(write('list.txt', '小狗.png 狗\n', encoding))


def test_a_list_that_is_gone(files):
    with pytest.raises(DanluError, match=r'gone\.txt cannot be read: No such file or directory'):
        read_list(files / 'gone.txt')


def test_packed_strings_are_a_sequence():
    strings = ['a', '', '图片/猫.png', 'x' * 1000, 'b\udcff']  # the last is a file name that is no UTF-8
    packed = StringArray(iter(strings))
    assert len(packed) == 5
    assert list(packed) == strings
    assert [packed[index] for index in range(-5, 5)] == strings * 2
    with pytest.raises(IndexError):
        packed[5]
    assert list(pickle.loads(pickle.dumps(packed))) == strings
    assert list(StringArray([])) == []


def test_packed_strings_iterate_over_their_blocks():
    strings = [str(number**3) for number in range(70_000)]  # more than one block of 65,536
    assert list(StringArray(strings)) == strings


def parse(write, text, num_classes, class_names=None):
    faults = ErrorCollector('list.txt')
    return parse_labels(read_list(write('list.txt', text)), num_classes, class_names, faults), faults


def test_integer_labels(write):
    labels, faults = parse(write, 'a.png 2\nb.png 0\nc.png +1\nd.png 01', 3)
    assert labels.tolist() == [2, 0, 1, 1]
    assert labels.dtype == torch.int64
    assert faults.count == 0


def test_names_as_labels(write):
    labels, faults = parse(write, 'a.png dog\nb.png cat\nc.png dog', 2, ['cat', 'dog'])
    assert labels.tolist() == [1, 0, 1]
    assert faults.count == 0


def test_integers_are_labels_where_classes_have_names(write):
    labels, faults = parse(write, 'a.png dog\nb.png 0\nc.png 1', 2, ['cat', 'dog'])
    assert labels.tolist() == [1, 0, 1]
    assert faults.count == 0


def test_integers_are_names_where_a_class_has_one_for_a_name(write):
    labels, faults = parse(write, 'a.png 7\nb.png 3\nc.png 1', 2, ['3', '7'])
    assert labels.tolist()[:2] == [1, 0]
    assert faults.shown == [f"  {write('list.txt', '')}:3: unknown class '1' (known: 3, 7)"]


@pytest.mark.parametrize(
    ('target', 'names', 'fault'),
    [
        (
            '3',
            None,
            'label 3 is outside 0..2, which are 3 classes; labels count from 0; --ignore_index 3 leaves it out',
        ),
        (
            '-1',
            None,
            'label -1 is negative, and labels count from 0; --ignore_index -1 leaves it out',
        ),
        ('1.0', None, "unknown class '1.0' (known: integers, 0..2; names need --class_names)"),
        ('cat', None, "unknown class 'cat' (known: integers, 0..2; names need --class_names)"),
        ('9' * 30, None, f"unknown class '{'9' * 30}' (known: integers, 0..2; names need --class_names)"),
        ('Cat', ['bird', 'cat', 'dog'], "unknown class 'Cat' (known: bird, cat, dog)"),
        (
            '3',
            ['bird', 'cat', 'dog'],
            'label 3 is outside 0..2, which are 3 classes; labels count from 0; --ignore_index 3 leaves it out',
        ),
    ],
)
def test_wrong_labels_are_named_by_file_and_line(write, target, names, fault):
    _, faults = parse(write, f'a.png 1\nb.png {target}\nc.png {target}', 3, names)
    assert faults.count == 2
    path = write('list.txt', '')
    assert faults.shown == [f'  {path}:2: {fault}', f'  {path}:3: {fault}']


def test_label_names(write):
    assert label_names(read_list(write('list.txt', 'a.png 2\nb.png -1'))) is None
    assert label_names(read_list(write('list.txt', 'a.png dog\nb.png cat\nc.png dog'))) == ['cat', 'dog']
    assert label_names(read_list(write('list.txt', 'a.png 狗\nb.png 3'))) == ['3', '狗']


def test_the_hash_tells_lists_apart(write):
    texts = ['a.png 1\nb.png 2', 'a.png 1\nb.png 3', 'b.png 2\na.png 1', 'a.png 1\nb.png 2\nc.png 2']
    hashes = [read_list(write('list.txt', text)).content_hash() for text in texts]
    assert len(set(hashes)) == 4
    same = read_list(write('other.txt', '# with a comment\r\n"a.png"\t1\r\nb.png 2')).content_hash()
    assert same == hashes[0]


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'')


def test_a_folder_is_read_in_sorted_order_at_any_depth(files):
    touch(files, 'dog/b.PNG', 'dog/a.jpeg', 'cat/z/deep/1.webp', 'cat/a/2.tif', 'cat/3.gif', 'cat/日本/猫.bmp')
    listing = read_folder(files)
    expected = ['cat/3.gif', 'cat/a/2.tif', 'cat/z/deep/1.webp', 'cat/日本/猫.bmp', 'dog/a.jpeg', 'dog/b.PNG']
    assert list(listing.images) == expected
    assert list(listing.targets) == ['cat'] * 4 + ['dog'] * 2
    assert listing.where(0) == listing.image_path(0) == str(files / 'cat/3.gif')


def test_a_folders_other_files_are_passed_over(files):
    touch(files, 'cat/1.png', 'dog/1.png', 'readme.png', 'cat/Thumbs.db', 'cat/notes.txt', 'cat/no_ending')
    touch(files, '.git/1.png', 'cat/.ipynb_checkpoints/1-checkpoint.png', 'cat/._1.png', 'cat/a/.b/c/1.png')
    listing = read_folder(files)
    assert list(listing.images) == ['cat/1.png', 'dog/1.png']
    assert list(listing.targets) == ['cat', 'dog']


def test_a_folder_follows_links(files):
    touch(files, 'elsewhere/cats/1.png', 'elsewhere/more/2.png', 'data/dog/3.png')
    os.symlink(files / 'elsewhere/cats', files / 'data/cat')
    os.symlink(files / 'elsewhere/more', files / 'data/dog/more')
    assert list(read_folder(files / 'data').images) == ['cat/1.png', 'dog/3.png', 'dog/more/2.png']


def test_a_class_without_pictures_is_refused(files):
    touch(files, 'cat/1.png', 'dog/1.txt', 'bird/.hidden.png')
    with pytest.raises(DanluError) as error:
        read_folder(files)
    text = str(error.value)
    assert text.startswith(f'{files} has 2 invalid entries')
    assert f'  {files}/bird: no image (.png .jpg' in text
    assert f'  {files}/dog: no image' in text


def test_a_class_that_may_not_be_read_is_not_called_empty(files, monkeypatch):
    touch(files, 'cat/1.png', 'dog/1.png')
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith('dog'):
            raise PermissionError(13, 'Permission denied', str(path))
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refusing)
    with pytest.raises(DanluError, match=f'{files}/dog cannot be read: Permission denied'):
        read_folder(files)


def test_a_folder_without_classes_is_refused(files):
    touch(files, '1.png', '.hidden/1.png')
    with pytest.raises(DanluError, match='has no sub-directories: folder data needs one per class, with its images'):
        read_folder(files)


def test_a_folder_that_is_gone(files):
    with pytest.raises(DanluError, match='gone cannot be read: No such file or directory'):
        read_folder(files / 'gone')
