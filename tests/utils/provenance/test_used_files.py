"""The files that a process uses: which of those that it opened may be settings of the user."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy._core import _multiarray_umath

from utils.base.registry import PROJECT
from utils.provenance import project_source, symbol_resolver, used_files
from utils.provenance.causes import environment_causes
from utils.provenance.used_files import MAX_OF_ONE_DIRECTORY, hash_of_file, opened_file_hashes


@pytest.fixture
def note(monkeypatch):
    """Return a function that notes that a file was opened, as Python reports it."""
    watched = SimpleNamespace(opened=set(), active=True)
    monkeypatch.setattr(used_files, 'watched', watched)
    return lambda path, flags=os.O_RDONLY: used_files._note_opened('open', (str(path), None, flags))


def test_files_that_code_of_a_user_reads_are_hashed(note, tmp_path):
    for name in ('table.npy', 'settings.json', 'weights.pth', 'written.txt', 'program.py', '.hidden', 'train.txt'):
        (tmp_path / name).write_text(name)
        note(tmp_path / name, os.O_WRONLY if name == 'written.txt' else os.O_RDONLY)
    for path in (np.__file__, '/proc/self/status', PROJECT / 'pyproject.toml', PROJECT / 'data' / 'digits.npz'):
        note(path)
    found = opened_file_hashes(['pyproject.toml', str(tmp_path / 'train.txt')])
    names = ('settings.json', 'table.npy', 'weights.pth')
    assert found == {'data/digits.npz': hash_of_file('data/digits.npz')} | {
        str(tmp_path / name): hash_of_file(tmp_path / name) for name in names
    }
    assert opened_file_hashes([str(tmp_path), 'data', 'pyproject.toml']) == {}


def test_compiled_libraries_that_are_loaded_are_hashed(note, tmp_path):
    for name in ('by_ctypes.so', 'extension.so'):
        (tmp_path / name).write_text(name)
    used_files._note_opened('ctypes.dlopen', (str(tmp_path / 'by_ctypes.so'),))
    used_files._note_opened('import', ('extension', str(tmp_path / 'extension.so'), None, None, None))
    for event, arguments in (
        ('ctypes.dlopen', (None,)),
        ('ctypes.dlopen', ('libm.so.6',)),
        ('import', ('json', None, [], [], [])),
        ('import', ('_multiarray_umath', _multiarray_umath.__file__, None, None, None)),
    ):
        used_files._note_opened(event, arguments)
    assert opened_file_hashes([]) == {
        str(tmp_path / name): hash_of_file(tmp_path / name) for name in ('by_ctypes.so', 'extension.so')
    }


def test_directories_of_many_files_are_data(note, tmp_path):
    for index in range(MAX_OF_ONE_DIRECTORY + 1):
        (tmp_path / f'{index}.png').touch()
        note(tmp_path / f'{index}.png')
    assert opened_file_hashes([]) == {}


def test_no_file_is_noted_after_the_record_is_made(note, tmp_path):
    (tmp_path / 'a.txt').touch()
    used_files.stop_watching()
    note(tmp_path / 'a.txt')
    assert opened_file_hashes([]) == {} and used_files.opened_files() == set()


def test_sources_that_are_read_to_be_compared_are_not_noted(note, tmp_path, monkeypatch):
    (tmp_path / 'net.py').write_text('A = 1\n')

    def read(path):
        note(path)
        return Path(path).read_bytes()

    for module in (project_source, symbol_resolver):
        monkeypatch.setattr(module, 'read_regular_bytes', read)
    assert project_source.read_files(tmp_path) == {'net.py': b'A = 1\n'}
    assert symbol_resolver.Source(tmp_path).read_bytes('net.py') == b'A = 1\n'
    assert not used_files.watched.opened and used_files.watched.active
    note(tmp_path / 'net.py')
    assert used_files.watched.opened == {str(tmp_path / 'net.py')}


def test_a_changed_file_is_a_cause(tmp_path):
    path = tmp_path / 'a.dat'
    path.write_bytes(bytes(3_000_000))
    record = {'opened': {str(path): hash_of_file(path)}}
    named = f'{path} (read by the run)'
    assert named not in [cause.text for cause in environment_causes(record)]
    for position in (0, 2_999_999):
        path.write_bytes(bytes(position) + b'x' + bytes(2_999_999 - position))
        assert named in [cause.text for cause in environment_causes(record)]
    path.unlink()
    assert named in [cause.text for cause in environment_causes(record)]
