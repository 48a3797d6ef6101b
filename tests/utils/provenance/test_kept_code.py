"""The code that tests ran with, kept once for each version beside the runs."""

import os
import threading
import zipfile

import pytest

from utils.base.known_archives import find_known_run
from utils.base.write_errors import WriteError
from utils.provenance import kept_code
from utils.provenance.kept_code import keep_code, kept_archive
from utils.provenance.project_source import files_hash, kept_files, read_files
from utils.provenance.source_archive import read_archive
from utils.runs.checkpoint import file_hash
from utils.runs.ledger import read
from utils.runs.run_index import find_runs

FILES = {'eval.py': b'1', 'model/net.py': b'2', 'settings.json': b'{}'}
LEFT_OUT = {'README.md': b'#', 'tests/test_x.py': b'', 'scripts/runs.py': b'', 'docs/a.txt': b''}


@pytest.fixture
def digest(monkeypatch):
    """Return the hash of a project of a few files, which is the project of these tests."""
    monkeypatch.setattr(kept_code, 'read_files', lambda: FILES | LEFT_OUT)
    return files_hash(FILES)


def test_the_archive_holds_what_a_test_may_read_and_is_written_once(tmp_path, digest):
    assert keep_code(tmp_path, digest, tmp_path / 'place') == []
    path = kept_archive(tmp_path, digest)
    assert read_archive(path, file_hash(path)) == FILES
    assert str(tmp_path / 'place') in find_known_run(file_hash(path))
    os.utime(path, (1, 1))
    assert keep_code(tmp_path, digest, tmp_path / 'place') == []
    assert path.stat().st_mtime == 1
    assert [each.name for each in path.parent.iterdir()] == [f'{digest}.zip']


def test_processes_that_write_it_at_the_same_time_leave_one_whole_archive(tmp_path, digest):
    start = threading.Barrier(8)

    def keep():
        start.wait()
        assert keep_code(tmp_path, digest, tmp_path) == []

    threads = [threading.Thread(target=keep) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    path = kept_archive(tmp_path, digest)
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert zipfile.ZipFile(path).testzip() is None


def test_files_that_change_while_they_are_read_are_not_kept_under_a_wrong_name(tmp_path, digest):
    [line] = keep_code(tmp_path, files_hash({}), tmp_path)
    assert 'not kept' in line and not (tmp_path / '.code').exists()


def test_a_directory_that_cannot_be_written_loses_no_test_and_a_full_disk_is_an_error(tmp_path, digest, monkeypatch):
    (tmp_path / '.code').write_text('')
    [line] = keep_code(tmp_path, digest, tmp_path)
    assert line.startswith(f'the code of this test is not kept: {kept_archive(tmp_path, digest)} cannot be written')
    (tmp_path / '.code').unlink()
    monkeypatch.setattr(kept_code.os, 'replace', lambda *_: (_ for _ in ()).throw(OSError(28, 'No space left')))
    with pytest.raises(WriteError, match='No space left'):
        keep_code(tmp_path, digest, tmp_path)
    assert list((tmp_path / '.code').iterdir()) == []


def test_a_test_keeps_its_code_and_ledger_and_result_name_the_archive(train_here, eval_here, tmp_path):
    run = train_here('--epochs', 1, '--max_steps', 1, '--model_type', 'mlp', '--checkpoints_dir', tmp_path)
    tests = [eval_here('--load_model_path', run.directory / 'best.pth') for _ in range(2)]
    [first, second], _ = read(tmp_path / 'ledger.jsonl')
    assert first['source'] == second['source'] == tests[0].head['source sha256'] == files_hash(kept_files(read_files()))
    [path] = (tmp_path / '.code').iterdir()
    assert path == kept_archive(tmp_path, first['source'])
    assert read_archive(path, file_hash(path)) == kept_files(read_files())
    assert [each.name for each in find_runs(tmp_path).runs] == [run.directory.name]
