"""Names that are not UTF-8 in shards and lists: refused at the start by name."""

import io
import os
import tarfile

import pytest

from data.data_entry import complete_args
from data.list_dataset import ListDataset
from data.stream import Stream
from utils.base.errors import DanluError
from utils.base.file_names import name_fault, printable

GBK = '照片'.encode('gbk')


@pytest.fixture
def stream(make_args):
    """Return a function: path of shards -> the Stream of it."""

    def build(path):
        args = make_args(
            *('--data_type', 'stream', '--train_list', path, '--val_list', path, '--num_classes', 2, '--image_size', 6)
        )
        complete_args(args)
        return Stream(args, 'val')

    return build


@pytest.mark.parametrize('name', ['照片.png', 'café.png', 'a b.png', 'cafe\u0301.png'])
def test_utf8_names_are_right(name):
    assert name_fault(name) is None
    assert printable(name) == name


@pytest.mark.parametrize('name', [GBK.decode('utf-8', 'surrogateescape'), 'caf\udce9.png', '\ud800.png'])
def test_other_names_are_refused_and_can_be_printed(name):
    assert 'its name is not UTF-8; rename it' in name_fault(name)
    assert printable(name).encode('utf-8')
    assert '\\' in printable(name)


@pytest.mark.skipif(os.name == 'nt', reason='names are UTF-16 there')
def test_a_member_of_an_archive(save, files, stream):
    content = save('a.png').read_bytes()
    with tarfile.open(files / 'a.tar', 'w', encoding='gbk', format=tarfile.GNU_FORMAT) as archive:
        for name, data in (('照片.png', content), ('照片.cls', b'0')):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with pytest.raises(DanluError, match=r'a\.tar: \\xd5\\xd5.*its name is not UTF-8'):
        stream(files / 'a.tar')


def test_a_line_of_json(write, files, stream):
    write('a.jsonl', '{"image": "\\ud800.png", "target": 0}\n')
    with pytest.raises(DanluError, match=r'a\.jsonl:1: .*its name is not UTF-8'):
        stream(files / 'a.jsonl')


@pytest.mark.skipif(os.name == 'nt', reason='names are UTF-16 there')
def test_a_shard(files, stream):
    (files / 'shards').mkdir()
    (files / 'shards' / os.fsdecode(GBK + b'.csv')).write_bytes(b'image,target\na.png,0\n')
    with pytest.raises(DanluError, match='its name is not UTF-8'):
        stream(files / 'shards')


def test_a_list_that_is_not_utf8(files, list_args):
    args = list_args('a.png 0\n', '--image_size', 6, '--num_classes', 2)
    complete_args(args)
    (files / 'train.txt').write_bytes(GBK + b'.png 0\n')
    with pytest.raises(DanluError, match='is not UTF-8 text'):
        ListDataset(args, 'train')


def test_what_lies_beside_shards_is_counted(save, write, files, stream):
    save('shards/a.png')
    write('shards/a.csv', 'image,target\na.png,0\na.png,1\n')
    write('shards/notes.txt', 'x')
    write('shards/more/b.csv', 'image,target\na.png,0\n')
    write('shards/.hidden', 'x')
    assert stream(files / 'shards').notes[1:] == [
        f'{files}/shards: left out: 2 files (.png 1, .txt 1) that are no shards, what lies in 1 directory'
    ]
