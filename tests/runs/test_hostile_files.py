"""What is no regular file, in the place of one, is refused at once; so is what would take all memory to read."""

import json
import os
import shutil
import socket
import tarfile

import pytest

from data.lists.shards import TarShard
from options import parse_test_args
from scripts import runs
from utils.base.errors import DanluError
from utils.base.regular_files import open_regular, read_regular_text
from utils.provenance.record import read_record
from utils.provenance.source_archive import read_archive
from utils.provenance.symbol_resolver import Source
from utils.runs import ledger
from utils.runs.checkpoint import load_checkpoint
from utils.runs.lock import lock_holder
from utils.runs.run import Run

NO_FILE = 'not a regular file|a link that leads back to itself|symbolic links|sparse file|larger than 268 MB'
pytestmark = pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='needs pipes')


@pytest.fixture(params=['pipe', 'device', 'socket', 'loop', 'hole'])
def put(request, tmp_path):
    """Return a function that puts something that is no regular file into tmp_path, and returns its path."""
    sockets = []

    def make(name):
        path = tmp_path / name
        if request.param == 'pipe':
            os.mkfifo(path)
        elif request.param == 'device':
            path.symlink_to('/dev/zero')
        elif request.param == 'hole':
            path.touch()
            os.truncate(path, 2**40)
        elif request.param == 'loop':
            path.symlink_to(path)
        else:
            sockets.append(socket.socket(socket.AF_UNIX))
            sockets[-1].bind(os.path.relpath(path))
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        yield make
    for each in sockets:
        each.close()


def test_only_regular_files_are_opened(put, tmp_path):
    with pytest.raises(OSError, match=NO_FILE):
        open_regular(put('x'))
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    (tmp_path / 'text').write_text('é', encoding='utf-8')
    assert read_regular_text(tmp_path / 'text') == 'é'


def test_a_checkpoint_is_a_regular_file(put):
    with pytest.raises(DanluError, match=NO_FILE):
        load_checkpoint(put('last.pth'))


def test_a_pipe_given_as_a_checkpoint_is_called_so(put, capsys):
    path = put('best.pth')
    if path.is_file():
        pytest.skip('a hole is found when the file is opened')
    with pytest.raises(SystemExit):
        parse_test_args(['--load_model_path', str(path)])
    said = capsys.readouterr().err
    assert 'not a regular file' in said or 'does not exist' in said


def test_a_shard_is_a_regular_file(put):
    with pytest.raises(DanluError, match=NO_FILE):
        list(TarShard(put('x.tar')).walk(False))


def test_an_archive_is_a_regular_file(put):
    with pytest.raises(DanluError, match=NO_FILE):
        read_archive(put('source.zip'), '0' * 64)


def test_a_ledger_is_a_regular_file(put):
    path = put('ledger.jsonl')
    for use in (ledger.read, *([] if path.is_file() else [lambda path: ledger.append(path, {'a': 1})])):
        with pytest.raises(OSError, match=NO_FILE):
            use(path)


def test_a_run_whose_files_are_no_files_is_listed(put, tmp_path):
    for name in ('args.txt', 'log.txt', 'history.csv', 'record.json', 'lock'):
        put(name)
    assert read_record(tmp_path) == {}
    run = Run(tmp_path)
    assert (run.record, run.tail, run.options) == ({}, [], {})
    assert lock_holder(tmp_path) is None


@pytest.mark.slow_after(5, 'each command for each file')
@pytest.mark.parametrize('name', ['best.pth', 'lock', 'history.csv', 'record.json', 'args.txt', 'last.pth', 'log.txt'])
def test_all_commands_on_runs_answer(put, tmp_path, digits_run, name, capsys):
    for run in ('a', 'b'):
        shutil.copytree(digits_run.directory, tmp_path / 'runs' / run)
    (tmp_path / 'runs' / 'a' / name).unlink(missing_ok=True)
    put(f'runs/a/{name}')
    for words in (
        'list',
        'list --json',
        'diff a b',
        'compare a b',
        'find-value 0.1',
        'seeds a',
        'command a',
        'rm a --yes',
    ):
        try:
            runs.main([*words.split(), '--checkpoints_dir', tmp_path / 'runs'])
        except DanluError as error:
            assert '\n' not in str(error)
            assert 'Errno' not in str(error)


def test_a_sparse_file_in_an_archive_is_refused(tmp_path):
    info = tarfile.TarInfo('a.png')
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[483:495] = b'%012o' % (60 << 30)  # the size that it has once it is read
    block[148:156] = b'%06o\0 ' % (sum(block[:148]) + sum(block[156:512]) + 8 * 32)
    (tmp_path / 'x.tar').write_bytes(bytes(block) + bytes(1024))
    with pytest.raises(DanluError, match='sparse file of 64,424,509,440 bytes'):
        list(TarShard(tmp_path / 'x.tar').walk(False))


@pytest.mark.parametrize('text', ['1+' * 200_000 + '1', '-' * 100_000 + '1', '(' * 10_000])
def test_source_that_is_nested_too_deeply_is_no_module(tmp_path, text):
    (tmp_path / 'x.py').write_text(f'x = {text}\n')
    assert Source(tmp_path).module('x.py').startswith('x.py, line')


def test_an_epoch_of_superscripts_and_a_cut_off_log_are_read(tmp_path):
    (tmp_path / 'args.txt').write_text('# python train.py @x/args.txt\n--epochs=²\n')
    (tmp_path / 'history.csv').write_text('epoch,val/acc\n²,0.5\n')
    (tmp_path / 'log.txt').write_text('stopped by \n')
    (tmp_path / 'record.json').write_text(json.dumps({'date': 5}))
    run = Run(tmp_path)
    assert (run.done, run.epochs, run.best, run.state) == (0, None, None, 'failed')
