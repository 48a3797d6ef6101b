"""One process at a time goes on with a run."""

import errno
import os
import re
import signal
import subprocess
import sys

import pytest

from utils.base.errors import DanluError
from utils.base.registry import PROJECT
from utils.runs.lock import RunLock


def test_a_second_process_is_kept_out_as_long_as_the_first_goes_on(faults, whole_runs, tmp_path):
    """The first has worker processes, which must not hold the lock when it is gone."""
    words = [*whole_runs('classification').words, '--checkpoints_dir', tmp_path, '--save_steps', 1, '--epochs', 10000]
    first = faults.Run([*words, '--num_workers', 2], tmp_path / 'first')
    while not (tmp_path / 'mlp_exp' / 'last.pth').exists():
        assert first.wait(0.05) is None, first.said
    second = faults.Run(['--resume', tmp_path / 'mlp_exp'], tmp_path / 'second')
    assert second.wait() == 2
    assert re.fullmatch(
        r'train\.py: error: .*/mlp_exp: process \d+ on .* is using this run; wait for it, .*\n', second.said
    )
    assert first.wait(0) is None, 'it was to go on'
    first.kill()
    first.wait()
    third = faults.Run(['--resume', tmp_path / 'mlp_exp'], tmp_path / 'third', faults.Fault(signal.SIGTERM, 1))
    assert third.wait() == 143
    assert f'process {first.process.pid} on ' in third.said
    assert ', which had this run, is gone' in third.said


def test_a_lock_that_nobody_has_filled_in_yet_is_respected(tmp_path):
    """Between opening and writing, which another process may see."""
    lock = RunLock(tmp_path)
    lock.file.truncate(0)
    code = f'from utils.runs.lock import RunLock\nRunLock({str(tmp_path)!r})'
    done = subprocess.run([sys.executable, '-c', code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert 'another process is using this run' in done.stderr
    lock.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('number', [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_a_directory_that_cannot_be_written_into_is_said_with_the_systems_reason(number, tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr('builtins.open', refuse)
    with pytest.raises(DanluError, match=f'{tmp_path}: not writable .{os.strerror(number)}.'):
        RunLock(tmp_path)


def test_a_directory_that_is_gone_cannot_be_locked(tmp_path):
    with pytest.raises(DanluError, match='gone: not writable'):
        RunLock(tmp_path / 'gone')
