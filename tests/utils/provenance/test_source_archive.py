"""A run's source.zip: what is refused, and the cache of what was unpacked."""

import hashlib
import io
import stat
import tempfile
import threading
import warnings
import zipfile
from pathlib import Path

import pytest

from utils.base.errors import DanluError
from utils.base.registry import PROJECT
from utils.provenance import source_archive
from utils.provenance.project_source import zip_bytes
from utils.provenance.source_archive import cache_directory, read_archive, unpack_cached

FILES = {'eval.py': b'print("then")\n', 'data/__init__.py': b'', 'data/digits.py': b'x = 1\n'}
DIGEST = hashlib.sha256(zip_bytes(FILES)).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'danlu' / 'source'


def read(path, data):
    """Write an archive and read it as the one that was meant."""
    path.write_bytes(data)
    return read_archive(path, hashlib.sha256(data).hexdigest())


def zipped(*entries):
    """Return an archive (bytes) of (name, bytes, mode), as somebody hostile would write it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive, warnings.catch_warnings(action='ignore'):  # of duplicate names
        for name, data, mode in entries:
            info = zipfile.ZipInfo('x')
            info.filename, info.external_attr = name, mode << 16
            archive.writestr(info, data)
    return buffer.getvalue()


def test_what_was_packed_is_read(tmp_path):
    assert read(tmp_path / 'source.zip', zip_bytes(FILES)) == FILES


@pytest.mark.parametrize(
    'name',
    [
        *('../x.py', 'a/../../x.py', '/x.py', '//x/y.py', 'a\\..\\x.py', 'a//x.py', './x.py', 'a/', '..', ''),
        *('x\x1b[2J.py', 'x\n.py'),
    ],
)
def test_a_name_that_is_no_plain_path_is_refused(name, tmp_path):
    with pytest.raises(DanluError, match=r'is not unpacked: .* is not a valid path'):
        read(tmp_path / 'source.zip', zipped((name, b'', 0o644)))


@pytest.mark.parametrize('kind', [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR])
def test_links_and_devices_are_refused(kind, tmp_path):
    with pytest.raises(DanluError, match=r"'x.py' is not a regular file"):
        read(tmp_path / 'source.zip', zipped(('x.py', b'/etc/passwd', kind | 0o644)))


@pytest.mark.parametrize('names', [('a.py', 'a.py'), ('a', 'a/b.py'), ('a/b.py', 'a')])
def test_two_files_of_one_place_are_refused(names, tmp_path):
    with pytest.raises(DanluError, match='appears twice'):
        read(tmp_path / 'source.zip', zipped(*((name, b'', 0o644) for name in names)))


def test_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(source_archive, 'MAX_ARCHIVE_FILES', 2)
    with pytest.raises(DanluError, match='more than 2 files'):
        read(tmp_path / 'source.zip', zip_bytes(FILES))
    monkeypatch.setattr(source_archive, 'MAX_ARCHIVE_BYTES', 2**20)
    with pytest.raises(DanluError, match=r'or 1\.0 MB'):
        read(tmp_path / 'source.zip', zip_bytes({'bomb.txt': b'0' * 2**21}))
    with pytest.raises(DanluError, match=r'larger than 1\.0 MB'):
        read(tmp_path / 'source.zip', bytes(2**20 + 1))


def test_a_size_that_lies_is_found_out(tmp_path):
    data = zip_bytes({'bomb.txt': b'0' * 2**21})
    entry = data.rindex(b'PK\x01\x02')
    for start in (0, entry):  # in the file's own header and in the list of files
        place = start + (22 if start == 0 else 24)
        assert data[place : place + 4] == (2**21).to_bytes(4, 'little')
        data = data[:place] + (10).to_bytes(4, 'little') + data[place + 4 :]
    with pytest.raises(DanluError, match='is damaged or no zip archive'):
        read(tmp_path / 'source.zip', data)


def test_damage_is_one_line(tmp_path):
    path, data = tmp_path / 'source.zip', zip_bytes(FILES)
    with pytest.raises(DanluError, match='cannot be read: No such file'):
        read_archive(path, DIGEST)
    for bad in (b'', b'no archive', data[:60], data[:45] + bytes([data[45] ^ 1]) + data[46:]):
        with pytest.raises(DanluError, match='is damaged or no zip archive'):
            read(path, bad)
    path.write_bytes(data + b' ')
    with pytest.raises(
        DanluError, match=r'damaged or of another run: its SHA-256 is [0-9a-f]{16}\.\.\., the checkpoint'
    ):
        read_archive(path, DIGEST)


# --- the cache


def content(place):
    return {
        path.relative_to(place).as_posix(): path.read_bytes()
        for path in place.rglob('*')
        if path.is_file() and not path.is_symlink() and '__pycache__' not in path.parts
    }


def test_it_is_unpacked_once(cache):
    with unpack_cached(FILES, DIGEST) as place:
        assert place.parent == cache
        assert content(place) == FILES
        before = (place / 'eval.py').stat().st_mtime_ns
    with unpack_cached(FILES, DIGEST) as again:
        assert again == place
        assert (place / 'eval.py').stat().st_mtime_ns == before
    assert [path.name for path in cache.iterdir()] == [place.name]
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


@pytest.mark.parametrize('damage', ['changed', 'gone', 'more', 'link'])
def test_what_is_no_longer_what_it_was_is_unpacked_again(damage, cache, tmp_path):
    with unpack_cached(FILES, DIGEST) as place:
        file = place / 'data' / 'digits.py'
        if damage == 'more':
            (place / 'numpy.py').write_text('print("mine")')
        else:
            file.unlink()
        if damage == 'changed':
            file.write_bytes(b'x = 2\n')
        if damage == 'link':
            (tmp_path / 'other.py').write_bytes(FILES['data/digits.py'])
            file.symlink_to(tmp_path / 'other.py')
    with unpack_cached(FILES, DIGEST) as place:
        assert content(place) == FILES
        assert not (place / 'data' / 'digits.py').is_symlink()
    assert len(list(cache.iterdir())) == 1


def test_many_at_once_get_the_whole_of_it(cache):
    found, start = [], threading.Barrier(8)

    def unpack():
        start.wait()
        with unpack_cached(FILES, DIGEST) as place:
            found.append((place, content(place)))

    threads = [threading.Thread(target=unpack) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [files for _, files in found] == [FILES] * 8
    assert len(list(cache.iterdir())) == 1


def test_where_the_cache_cannot_be_written_a_temporary_place_is_used(tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('')
    (tmp_path / 'tmp').mkdir()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'tmp'))
    with unpack_cached(FILES, DIGEST) as place:
        assert place.is_relative_to(tmp_path / 'tmp')
        assert content(place) == FILES
        assert (place / 'data' / 'digits.npz').is_file()
    assert list((tmp_path / 'tmp').iterdir()) == []
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'file'))
    with pytest.raises(DanluError, match='cannot be unpacked'), unpack_cached(FILES, DIGEST):
        pass


def test_the_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))
    for named in ('', 'not/absolute'):
        monkeypatch.setenv('XDG_CACHE_HOME', named)
        assert cache_directory() == tmp_path / '.cache' / 'danlu' / 'source'


def test_data_of_the_project_is_there_and_its_newer_code_is_not():
    with unpack_cached(FILES, DIGEST) as place:
        link = place / 'data' / 'digits.npz'
        assert link.is_symlink()
        assert link.resolve() == PROJECT / 'data' / 'digits.npz'
        assert not (place / 'data' / 'augment.py').exists()
        assert not (place / 'train.py').exists()
        assert not (place / 'utils').exists()
        assert not (place / '.git').exists()
        link.unlink()
        link.symlink_to(Path('/nowhere'))
    with unpack_cached(FILES, DIGEST) as place:
        assert (place / 'data' / 'digits.npz').resolve() == PROJECT / 'data' / 'digits.npz'
