"""Images without targets: directories, patterns, lists, tables and standard input."""

import io
import os
import sys
import tarfile
import tracemalloc

import pytest
from PIL import Image

from data.lists.unlabelled_files import UnlabelledFiles, content_of
from utils.base.errors import DanluError


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Change into a directory with images in photos/, one of them hidden, and return it."""
    for name in ('b.png', 'a.png', 'cats/a b.png', 'cats/.hidden.png', '.cache/a.png'):
        path = tmp_path / 'photos' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('L', (4, 3)).save(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*words, root=None):
    """Return the names, and the faults by name, of what the words name."""
    images = list(UnlabelledFiles([*words], root))
    assert all(content_of(image) for image in images if image.fault is None)
    return [image.name for image in images], {image.name: image.fault for image in images if image.fault}


def test_a_directory_is_walked_in_order_without_what_is_hidden(place):
    (place / 'photos' / 'notes.doc').write_text('x')
    (place / 'photos' / 'loop').symlink_to(place / 'photos')
    files = UnlabelledFiles(['photos'])
    assert [image.name for image in files] == ['photos/a.png', 'photos/b.png', 'photos/cats/a b.png']
    [note] = files.notes
    assert note.startswith('photos: left out: 1 file (.doc 1) that cannot be read here, 2 hidden')


def test_patterns_and_files_with_any_extension(place):
    os.rename('photos/b.png', 'photos/b.image')
    assert found('photos/**/*.png') == (['photos/a.png', 'photos/cats/a b.png'], {})
    assert found('photos/b.image', 'photos/a.png') == (['photos/b.image', 'photos/a.png'], {})
    (place / 'photos' / 'a[1].png').write_bytes((place / 'photos' / 'a.png').read_bytes())
    assert found('photos/a[1].png')[0] == ['photos/a[1].png']  # the name of a file, not a pattern


@pytest.mark.parametrize('text', [
    'a.png\n# a comment\n\ncats/a b.png\r\n',
    'a.png 3\n"cats/a b.png" 4\n',
    'a.png\tcat\ncats/a b.png\tdog\n',
    'a.png,cat\ncats/a b.png,dog\n',
    '\ufeffa.png\ncats\\a b.png\n',
])  # fmt: skip
def test_lists_with_and_without_targets(place, text):
    (place / 'photos' / 'list.txt').write_text(text, encoding='utf-8', newline='')
    names, faults = found('photos/list.txt')
    assert [name.replace('\\', '/') for name in names] == ['a.png', 'cats/a b.png']
    assert faults == {}
    (place / 'list.txt').write_text(text, encoding='utf-8', newline='')
    assert len(found('list.txt', root='photos')[0]) == 2


def test_standard_input_is_relative_to_the_working_directory(place, monkeypatch):
    monkeypatch.setattr(sys, 'stdin', io.StringIO('photos/a.png\nphotos/cats/a b.png\n'))
    assert found('-') == (['photos/a.png', 'photos/cats/a b.png'], {})


@pytest.mark.parametrize('text', ['id;file\n1;a.png\n2;b.png\n', '1,a.png\n2,b.png\n', 'Image\ta\na.png\tx\nb.png\t\n'])
def test_tables_with_and_without_a_header(place, text):
    (place / 'photos' / 'table.csv').write_text(text)
    assert found('photos/table.csv') == (['a.png', 'b.png'], {})


def test_what_cannot_be_read_does_not_end_the_walk(place):
    (place / 'odd.jsonl').write_text('{"image": "photos/a.png"}\n{\n"photos/b.png"\n{"label": 1}\n')
    (place / 'latin.txt').write_bytes(b'caf\xe9.png\n')
    (place / 'no.csv').write_text('x,y\n1,2\n')
    (place / 'images.tar.gz').write_bytes(b'x')
    os.mkfifo('pipe.txt')
    names, faults = found('odd.jsonl', 'latin.txt', 'no.csv', 'images.tar.gz', 'pipe.txt', 'photos/a.png')
    assert [name for name in names if name not in faults] == ['photos/a.png', 'photos/b.png', 'photos/a.png']
    assert 'invalid JSON' in faults['odd.jsonl:2']
    assert faults['odd.jsonl:4'] == 'no path as "image"'
    assert 'not UTF-8 text' in faults['latin.txt']
    assert 'a column with the paths of the images' in faults['no.csv']
    assert 'compressed' in faults['images.tar.gz']
    assert faults['pipe.txt'] == 'a pipe or a device, not a file'


def test_a_damaged_shard_gives_what_is_before_the_damage(place):
    with tarfile.open('images.tar', 'w') as archive:
        archive.add('photos/a.png', 'x/a.png')
        archive.add('photos/b.png', 'x/b.png')
    with tarfile.open('images.tar') as archive:
        second = archive.getmembers()[1]
    content = (place / 'images.tar').read_bytes()
    assert found('images.tar') == (['images.tar/x/a.png', 'images.tar/x/b.png'], {})
    (place / 'cut').mkdir()
    (place / 'cut' / 'images.tar').write_bytes(content[: second.offset_data + 10])
    names, faults = found('cut')
    assert names[:1] == ['cut/images.tar/x/a.png']
    assert 'only in part' in faults['cut/images.tar']


def test_an_image_that_is_missing_or_no_file_says_so(place):
    (place / 'list.txt').write_text('gone.png\nphotos\n')
    images = list(UnlabelledFiles(['list.txt']))
    for image, why in zip(images, ['no such file', 'cannot be read: Is a directory'], strict=True):
        with pytest.raises(DanluError, match=why):
            content_of(image)


def test_a_long_list_takes_no_memory(place):
    (place / 'list.txt').write_text('photos/a.png\n' * 20_000)
    files, peaks = iter(UnlabelledFiles(['list.txt'])), []
    tracemalloc.start()
    for _ in range(2):
        for _ in range(8_000):
            next(files)
        peaks.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100_000
