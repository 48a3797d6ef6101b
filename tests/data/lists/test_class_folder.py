"""Directories of classes: which files are pictures, what is said of the others, links and names."""

import os
import shutil

import pytest
from PIL import Image

from data.checks.statistics import ListSource
from data.data_entry import complete_args
from data.folder import Folder
from data.lists.list_file import ErrorCollector, read_folder
from data.lists.picture_extensions import EXTENSIONS_BY_FORMAT, IMAGE_EXTENSIONS
from scripts.measure_data import main as measure_data
from utils.base.errors import DanluError

GBK = os.fsdecode('照片'.encode('gbk'))


@pytest.fixture
def folders(save, files, make_args):
    """Return the options for train/ and val/ with two pictures of a cat and of a dog each."""
    for split in ('train', 'val'):
        for name in ('cat', 'dog'):
            for number in range(2):
                save(f'{split}/{name}/{number}.png', seed=number)
    lists = ['--train_list', files / 'train', '--val_list', files / 'val']

    def options(*words):
        args = make_args('--data_type', 'folder', *lists, '--image_size', 6, *words)
        complete_args(args)
        return args

    return options


def test_endings_are_those_of_pillow():
    known = Image.registered_extensions()
    for name, endings in EXTENSIONS_BY_FORMAT.items():
        assert {known[ending] for ending in endings} == {name}
    assert not {'.eps', '.ps', '.pdf', '.wmf', '.emf', '.pfm'} & set(IMAGE_EXTENSIONS)


@pytest.mark.parametrize('ending', ['jfif', 'jpe', 'JPG', 'avif', 'jp2', 'tga', 'apng', 'pnm', 'qoi', 'mpo'])
def test_every_ending_is_read(folders, save, files, ending):
    formats = {'jfif': 'JPEG', 'jpe': 'JPEG', 'JPG': 'JPEG', 'apng': 'PNG', 'pnm': 'PPM', 'mpo': 'MPO'}
    options = {'format': formats[ending]} if ending in formats else {}
    save(f'train/cat/x.{ending}', **options)
    data = Folder(folders(), 'train')
    assert [data.name(index) for index in range(3)] == ['cat/0.png', 'cat/1.png', f'cat/x.{ending}']
    assert data[2][0].shape == (3, 6, 6)
    assert data.notes == []


def test_what_is_left_out_is_counted_by_ending(folders, files):
    for name in (
        'cat/a.heic',
        'cat/b.HEIC',
        'dog/deep/c.eps',
        'dog/README',
        'dog/Thumbs.db',
        'cat/._0.png',
        'lost.png',
    ):
        path = files / 'train' / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b'x')
    data = Folder(folders(), 'train')
    assert len(data) == 4
    [note] = data.notes
    assert note == (
        f'{files}/train: left out: 5 files (.heic 2, .db 1, .eps 1, no ending 1) that cannot be read here, 1 image '
        'beside the class directories, 1 hidden (a name that begins with a dot)'
    )
    assert ListSource(files / 'train', folder=True).notes == [note]


def test_measure_data_says_what_is_left_out(folders, files, capsys):
    (files / 'train/cat/a.heic').write_bytes(b'x')
    with pytest.raises(SystemExit):
        measure_data([str(files / 'train')])
    assert 'left out: 1 file (.heic 1) that cannot be read here' in capsys.readouterr().out


def test_a_class_without_readable_pictures_names_its_endings(folders, files):
    (files / 'train/ant').mkdir()
    (files / 'train/ant/a.heic').write_bytes(b'x')
    with pytest.raises(DanluError, match=r'ant: no image \(.* in this class; its files are \.heic 1, which cannot'):
        read_folder(files / 'train')


@pytest.mark.parametrize('target', ['.', '..', '../dog', '../ant', 'deep'])
def test_a_link_that_leads_back_adds_nothing(folders, save, files, target):
    save('train/ant/0.png')
    save('train/cat/deep/2.png')
    expected = list(read_folder(files / 'train').images)
    os.symlink(target, files / 'train/cat/again')
    listing = read_folder(files / 'train')
    assert list(listing.images) == expected
    assert listing.notes == [f'{files}/train: left out: 1 link to directories that are read anyway (cat/again)']


def test_a_link_to_what_is_above_adds_only_what_lies_elsewhere(folders, files):
    os.symlink('../..', files / 'train/cat/again')
    listing = read_folder(files / 'train')
    elsewhere = [f'cat/again/val/{name}/{number}.png' for name in ('cat', 'dog') for number in range(2)]
    assert list(listing.images) == ['cat/0.png', 'cat/1.png', *elsewhere, 'dog/0.png', 'dog/1.png']


def test_a_link_from_an_earlier_class_takes_nothing_from_a_later_one(folders, files):
    os.symlink('../dog', files / 'train/cat/dogs')
    listing = read_folder(files / 'train')
    assert list(listing.images) == ['cat/0.png', 'cat/1.png', 'dog/0.png', 'dog/1.png']


def test_a_directory_elsewhere_is_followed_once(folders, save, files):
    save('elsewhere/more/9.png')
    os.symlink(files / 'elsewhere', files / 'train/cat/one')
    os.symlink(files / 'elsewhere/more', files / 'train/cat/two')
    os.symlink(files / 'elsewhere', files / 'elsewhere/more/back')
    listing = read_folder(files / 'train')
    assert [name for name in listing.images if '9' in name] == ['cat/two/9.png']
    assert '2 links to directories that are read anyway (the first is cat/one/more)' in listing.notes[0]


def test_two_classes_of_one_directory_are_refused(folders, files):
    os.symlink('cat', files / 'train/cats')
    with pytest.raises(DanluError, match='cats: this class leads to a directory of another class; remove one'):
        read_folder(files / 'train')


@pytest.mark.skipif(os.name == 'nt', reason='names are UTF-16 there')
def test_a_file_whose_name_is_not_utf8_is_refused_by_name(folders, files):
    shutil.copy(files / 'train/cat/0.png', files / 'train/cat' / f'{GBK}.png')
    with pytest.raises(DanluError) as error:
        Folder(folders(), 'train')
    text = str(error.value)
    assert rf'{files}/train/cat/\xd5\xd5Ƭ.png: its name is not UTF-8; rename it' in text
    assert text.encode('utf-8')
    assert 'convmv -r -f gbk -t utf-8' in text


@pytest.mark.skipif(os.name == 'nt', reason='names are UTF-16 there')
def test_skip_bad_leaves_out_files_whose_names_are_not_utf8(folders, files):
    shutil.copy(files / 'train/cat/0.png', files / 'train/cat' / f'{GBK}.png')
    data = Folder(folders('--skip_bad'), 'train')
    assert [data.name(index) for index in range(len(data))] == ['cat/0.png', 'cat/1.png', 'dog/0.png', 'dog/1.png']
    assert 'skip_bad: 1 of 5 samples left out' in data.notes[-1]


@pytest.mark.skipif(os.name == 'nt', reason='names are UTF-16 there')
@pytest.mark.parametrize('inner', ['', 'deep/'])
def test_directories_whose_names_are_not_utf8_are_refused_by_name(folders, files, inner):
    folder = files / 'train' / (f'cat/{GBK}' if inner else GBK)
    folder.mkdir()
    shutil.copy(files / 'train/cat/0.png', folder)
    with pytest.raises(DanluError, match='its name is not UTF-8; rename it'):
        read_folder(files / 'train')


@pytest.mark.skipif(os.name == 'nt', reason='names are UTF-16 there')
def test_a_class_of_such_names_alone_is_no_empty_class(folders, files):
    (files / 'train/ant').mkdir()
    shutil.copy(files / 'train/cat/0.png', files / 'train/ant' / f'{GBK}.png')
    with pytest.raises(DanluError, match='ant: no image in this class has a name in UTF-8'):
        read_folder(files / 'train', ErrorCollector('x'))
