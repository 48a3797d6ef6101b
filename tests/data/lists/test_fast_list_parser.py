"""Lists that are read a block at a time: what comes of them is what comes of reading line by line."""

import os

import numpy as np
import pytest

from data import list_dataset
from data.data_entry import complete_args
from data.list_dataset import ListDataset
from data.lists import list_file, string_array
from data.lists.fast_list_parser import split_plain_lines
from data.lists.list_file import ErrorCollector, Listing, read_list
from data.lists.string_array import StringArray
from data.lists.string_hashes import hashes_of
from utils.base.errors import DanluError
from utils.base.parallel_map import can_fork

PLAIN = {
    'tabs': 'a.png\t0\nb b.png\tthe cat\nc.png\t2\n',
    'blanks': 'a.png 0\nb.png 1\n',
    'no last end': 'a.png\t0\nb.png\t1',
    'windows': 'a.png\t0\r\nb.png\t1\r\n',
    'other letters': '图/一.png\t猫\nü.png\t狗\n',
    'a mark that is no comment': 'a#1.png\t0\n',
}
OTHERS = {
    'comments': '# the first\na.png 0\n# second\nb.png\t1\n #third\t3\n',
    'a comment of two columns': 'a.png 0\n# second\n',
    'empty lines': '\na.png 0\n\n  \nb.png 1\n',
    'quotes': '"a b.png" 0\nb.png 1\n',
    'quotes and tabs': '"a b.png"\t0\nb.png\t1\n',
    'blanks at the edges': ' a.png\t0\nb.png \t1\nc.png\t 2\nd.png\t3 \n',
    'several blanks': 'a.png  0\nb.png 1 \n',
    'tabs and blanks': 'a.png 0\nb.png\t1\n',
    'old ends of lines': 'a.png 0\rb.png 1\rc.png 2',
    'mixed ends': 'a.png\t0\r\nb.png\t1\nc.png\t2\r',
    'foreign blanks': 'a.png\u3000\t0\nb.png\t\xa01\n',
    'foreign blanks between': 'a.png\u30000\nb c.png\u30001\n',
    'control characters': 'a.png\x0b\t0\nb.png\t1\x0c\nc\x1c.png\t2\n',
    'a tab too many': 'a.png\t0\t\nb.png\t1\t2\nc.png\t3\n',
    'a tab too few': 'a.png\t0\nb.png\t1\t2\nc.png\nd.png\t3\n',
    'an empty column': 'a.png\t\nb.png\t1\n\t2\n',
    'numbers': 'a.png 1 2 3\nb.png\t4 5 6\n',
    'byte order mark': '\ufeffa.png\t0\nb.png\t1\n',
    'two byte order marks': '\ufeff\ufeffa.png\t0\n',
}


@pytest.mark.parametrize('name', [*PLAIN, *OTHERS])
@pytest.mark.parametrize('size', [5, 17, 2**20])
@pytest.mark.parametrize('many', [False, True])
def test_blocks_are_read_as_lines_are(name, size, many, tmp_path, monkeypatch):
    path = tmp_path / 'list.txt'
    path.write_bytes((PLAIN | OTHERS)[name].encode())
    monkeypatch.setattr(list_file, 'READ_BYTES', size)
    by_blocks = everything(path, many)
    monkeypatch.setattr(list_file, 'split_plain_lines', lambda block: None)
    assert everything(path, many) == by_blocks
    monkeypatch.setattr(list_file, '_blocks', lambda path: [path.read_bytes().decode('utf-8-sig').encode()])
    assert everything(path, many) == by_blocks


def everything(path, many):
    faults = ErrorCollector(path)
    found = read_list(path, None, faults, many)
    return [*found.images], [*found.targets], found.lines.tolist(), faults.count, faults.shown


@pytest.mark.parametrize('name', PLAIN)
def test_plain_lines_are_parted_at_once(name):
    (images, lengths), (targets, of_targets) = split_plain_lines(PLAIN[name].encode())
    lines = [line.split('\t' if '\t' in line else ' ') for line in PLAIN[name].splitlines()]
    assert images.tobytes().decode() == ''.join(line[0] for line in lines)
    assert targets.tobytes().decode() == ''.join(line[1] for line in lines)
    assert [lengths.tolist(), of_targets.tolist()] == [[len(line[k].encode()) for line in lines] for k in (0, 1)]


def test_a_block_that_is_no_text_is_refused_as_a_line_is(tmp_path):
    path = tmp_path / 'list.txt'
    path.write_bytes(b'a.png\t0\n\xff.png\t1\n')
    with pytest.raises(DanluError, match=r'is not UTF-8 text \(invalid start byte\)'):
        read_list(path)


def test_hashes_are_equal_where_strings_are():
    words = ['', 'a', 'b', 'ab', 'ba', 'a' * 7, 'a' * 8, 'a' * 9, '\0', '\0\0', 'a\0', 'x' * 40 + 'y', 'y' + 'x' * 40]
    words += [f'train/class_{n % 7}/picture_{n:08d}.jpg' for n in range(100_000)]
    ((first, ends),) = StringArray(words[:60_000]).blocks()
    hashes = hashes_of(first, ends)
    assert len(set(hashes.tolist())) == 60_000
    ((content, ends),) = StringArray(words[59_999::-1]).blocks()
    assert np.array_equal(hashes_of(content, ends)[::-1], hashes)


def test_distinct_strings_and_which_each_is(monkeypatch):
    monkeypatch.setattr(string_array, 'STRINGS_PER_BLOCK', 4)
    words = ['rat', 'cat', 'rat', 'dog', '猫', 'cat', '', 'rat', 'dog', '']
    texts, codes = StringArray(words).distinct()
    assert texts == ['rat', 'cat', 'dog', '猫', '']
    assert [texts[code] for code in codes] == words


@pytest.fixture
def long_list(labelled, monkeypatch):
    """Return a function: more words -> complete options of data whose lists are taken for very long ones."""
    monkeypatch.setattr(list_file, 'MAX_CHECKED_SAMPLES', 5)
    monkeypatch.setattr(list_file, 'SAMPLED_CHECKS', 3)

    def long_list(*words):
        args = labelled(*words)
        complete_args(args)
        return args

    return long_list


def test_of_very_long_lists_some_samples_are_looked_at(long_list, monkeypatch):
    """With --dry_run those that are absent or empty are found all the same."""
    args, opened, asked = long_list(), [], []
    check, stat_files = ListDataset.check_sample, list_file.stat_files

    def checking(self, index):
        opened.append(index)
        return check(self, index)

    def looking(root, names):
        asked.extend(names := [*names])
        return stat_files(root, names)

    monkeypatch.setattr(ListDataset, 'check_sample', checking)
    monkeypatch.setattr(list_file, 'stat_files', looking)
    data = ListDataset(args, 'train')
    first = data.content_hash()
    assert len(data) > 5 and len(opened) == len({*opened}) == 3
    assert sorted(asked) == sorted(data.name(index) for index in opened)
    assert data.notes[-1] == (
        f'{args.train_list}: of {len(data)} samples 3, drawn at random, were looked at; --dry_run finds all that are '
        'absent or empty'
    )
    absent = next(index for index in range(len(data)) if index not in opened)
    path = data.listing.image_path(absent)
    with open(path, 'wb'):
        pass
    assert ListDataset(args, 'train').content_hash() == first
    args.dry_run = True
    with pytest.raises(DanluError, match=f'(?s)has 1 invalid entry.*{path}'):
        ListDataset(args, 'train')
    with open(data.listing.image_path(opened[0]), 'ab') as file:
        file.write(b'more')
    args.dry_run = False
    assert ListDataset(args, 'train').content_hash() != first


@pytest.mark.skipif(not can_fork(), reason='processes are forked on Linux only')
@pytest.mark.parametrize('skip', [False, True])
def test_many_pictures_are_looked_at_by_processes(labelled, monkeypatch, files, skip):
    """What is wrong is told as threads tell it."""
    args = labelled(*['--skip_bad'] * skip, count=20)
    complete_args(args)
    for name in ('3', '4', '11', '19'):
        (files / f'{name}.png').write_bytes(b'no image')

    def outcome():
        try:
            return ListDataset(args, 'train').notes
        except DanluError as error:
            return str(error)

    by_threads = outcome()
    monkeypatch.setattr(list_dataset, 'MIN_SAMPLES_FOR_PROCESSES', 2)
    monkeypatch.setattr(list_dataset, 'cpu_cores', lambda: 3)
    monkeypatch.setattr(ListDataset, 'for_all_in_threads', lambda *_: pytest.fail('threads were asked'))
    assert outcome() == by_threads
    assert ('4 of 20' if skip else 'has 4 invalid entries') in str(by_threads)


def test_a_list_that_told_its_classes_is_not_read_again(long_list, monkeypatch):
    count = []
    read = ListDataset.read

    def counting(*words):
        count.append(words)
        return read(*words)

    monkeypatch.setattr(ListDataset, 'read', staticmethod(counting))
    args = long_list()
    assert len(count) == 1
    lines = len(ListDataset(args, 'train'))
    assert len(count) == 1
    complete_args(args)
    with open(args.train_list, 'a') as file:
        file.write(f'\n{ListDataset(args, "val").name(0)} 0')
    assert len(ListDataset(args, 'train')) == lines + 1, 'it was changed meanwhile'


def test_a_list_in_use_is_not_read_again(long_list, monkeypatch):
    paths, read = [], ListDataset.read
    args = long_list()
    monkeypatch.setattr(ListDataset, 'read', staticmethod(lambda path, *rest: paths.append(path) or read(path, *rest)))
    train = ListDataset(args, 'train')
    complete_args(args)
    val = ListDataset(args, 'val')
    again = ListDataset(args, 'train')
    assert len(paths) == len({*paths}), 'each once'
    assert len(train) == len(again) and len(val)


def test_another_list_in_its_place_is_read_though_it_looks_the_same(long_list, files):
    """With the time and the size of the one before, as folds of a cross validation that are copied there may have."""
    args = long_list()
    first = ListDataset(args, 'train')
    text, facts = (files / 'train.txt').read_text(), os.stat(files / 'train.txt')
    (files / 'other.txt').write_text(''.join(f'{line}\n' for line in reversed(text.split('\n')))[:-1])
    os.utime(files / 'other.txt', ns=(facts.st_atime_ns, facts.st_mtime_ns))
    os.replace(files / 'other.txt', files / 'train.txt')
    assert os.stat(files / 'train.txt').st_mtime_ns == facts.st_mtime_ns
    second = ListDataset(args, 'train')
    assert [second.name(index) for index in range(7)] == [first.name(index) for index in reversed(range(7))]


def test_data_sets_of_one_list_do_not_change_each_other(long_list):
    class Reversed(ListDataset):
        def parse(self, args, faults):
            self.listing.targets = StringArray([*self.listing.targets][::-1])
            return super().parse(args, faults)

    args = long_list()
    one, other = Reversed(args, 'train'), Reversed(args, 'train')
    assert one.labels.tolist() == other.labels.tolist() != ListDataset(args, 'train').labels.tolist()


def test_a_list_with_faults_is_read_again_so_that_they_are_told(long_list):
    args = long_list()
    with open(args.train_list, 'a') as file:
        file.write('\none two three')
    complete_args(args)
    with pytest.raises(DanluError, match='3 columns'):
        ListDataset(args, 'train')


def test_files_are_looked_up_by_several_processes_as_by_one(tmp_path, monkeypatch):
    names = [f'{index}.png' for index in range(50)]
    for index, name in enumerate(names[:-3]):
        (tmp_path / name).write_bytes(bytes(index))
    alone = Listing('list.txt', tmp_path, names, ['0'] * 50).facts('images')
    monkeypatch.setattr(string_array, 'STRINGS_PER_BLOCK', 4)
    monkeypatch.setattr(list_file, 'cpu_cores', lambda: 3)
    found = Listing('list.txt', tmp_path, names, ['0'] * 50).facts('images')
    assert found.tolist() == alone.tolist()
    assert found[:, 0].tolist() == [*range(47), -1, -1, -1]
