"""scripts/sweep.py with the real train.py: a worker that is killed in the middle, and PostgreSQL."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from scripts.sweeping import study as studies
from utils.base.registry import PROJECT
from utils.runs.run import Run

pytest.importorskip('optuna', reason='optuna is not installed: pip install -r requirements-extra.txt')

EPOCHS = 2


def started(tmp_path, *words):
    """Start sweep.py in a process."""
    command = [
        sys.executable,
        str(PROJECT / 'scripts' / 'sweep.py'),
        '--checkpoints_dir',
        str(tmp_path / 'runs'),
        *words,
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path)


def kill_in_a_run(process, folder, wait_for):
    """SIGKILL a worker and its training when that has saved an epoch; return the run's directory."""

    def going():
        for lock in folder.glob('trial_*/lock'):
            with contextlib.suppress(OSError, ValueError):
                pid = json.loads(lock.read_text())['pid']
                mine = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[1] == str(process.pid)
                if mine and (lock.parent / 'last.pth').exists():
                    os.kill(pid, signal.SIGSTOP)  # or it might end between this look and the kill
                    if Run(lock.parent).done < EPOCHS:
                        return lock.parent, pid
                    os.kill(pid, signal.SIGCONT)
        return None

    run, pid = wait_for(going, process)
    process.kill()
    os.kill(pid, signal.SIGKILL)
    process.communicate()
    return run


@pytest.mark.slow('a sweep of real trainings')
def test_a_trial_is_a_run_of_train_py(tmp_path, by_place, call):
    words = ['--trials', '1', '--set', 'lr=log:1e-3:1e-1', '--', *'--epochs 1 --model_type mlp --device cpu'.split()]
    assert call(*words, '--no_report').status == 0
    [trial] = by_place().values()
    run = Run(trial.user_attrs['run'])
    assert (run.state, run.best['value'], run.done) == ('finished', trial.value, 1)
    assert float(run.options['lr']) == trial.params['lr']


@pytest.mark.slow('three real trainings')
@pytest.mark.skipif(not Path('/proc/self/stat').exists(), reason='finds a process by /proc')
def test_three_trials_by_two_workers_one_of_which_is_killed(tmp_path, by_place, wait_for):
    words = ['--trials', '3', '--set', 'lr=log:1e-3:1e-1', 'batch_size=32,64', '--name', 'many', '--',
             *f'--epochs {EPOCHS} --model_type mlp --no_report --device cpu'.split()]  # fmt: skip
    one, other = started(tmp_path, *words), started(tmp_path, *words)
    folder = tmp_path / 'runs' / 'many'
    killed = kill_in_a_run(one, folder, wait_for)
    again = started(tmp_path, *words)
    said = [process.communicate(timeout=400)[0] for process in (other, again)]
    assert (other.returncode, again.returncode) == (0, 0), said
    trials = by_place('many')
    assert [(place, studies.trial_state(trial)) for place, trial in trials.items()] == [
        (p, 'complete') for p in range(3)
    ]
    assert sorted(path.name for path in folder.glob('trial_*')) == [f'trial_{place:04d}' for place in range(3)]
    for trial in trials.values():
        run = Run(trial.user_attrs['run'])
        assert (run.state, run.best['value'], run.done) == ('finished', trial.value, EPOCHS)
        assert float(run.options['lr']) == trial.params['lr']
    assert 'resumed after epoch' in (killed / 'log.txt').read_text()
    assert all('3 trials (3 complete), val/acc (max)' in text for text in said)
    assert any(f'trial {int(killed.name[-4:])} resumes' in text for text in said)


@pytest.fixture
def postgres():
    """Start a PostgreSQL of one's own and return the URL of its database; skip where it is not installed."""
    pytest.importorskip('psycopg', reason="psycopg is not installed: pip install 'psycopg[binary]'")
    found = sorted(Path('/usr/lib/postgresql').glob('*/bin/pg_ctl')) + [
        Path(folder, 'pg_ctl') for folder in os.environ['PATH'].split(os.pathsep) if Path(folder, 'pg_ctl').exists()
    ]
    if not found:
        pytest.skip('PostgreSQL is not installed: apt-get install postgresql')
    programs, as_user = found[-1].parent, []
    # A directory of its own: a socket's path has 107 characters at most, and another user cannot enter those of pytest.
    with tempfile.TemporaryDirectory(prefix='pg') as folder:
        data = Path(folder)
        if os.geteuid() == 0:  # which PostgreSQL refuses
            if not shutil.which('setpriv'):
                pytest.skip('PostgreSQL does not run as root, and there is no setpriv to run it as another user')
            import pwd  # which Windows lacks

            user, group = pwd.getpwnam('nobody')[2:4]
            as_user = ['setpriv', f'--reuid={user}', f'--regid={group}', '--clear-groups']
            os.chown(data, user, group)
        yield from served(programs, data, as_user)


def served(programs, data, as_user):
    """Yield the URL of a PostgreSQL that runs in a directory until it is taken up again."""

    def run(*words):
        done = subprocess.run([*as_user, *map(str, words)], cwd=data, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    run(programs / 'initdb', '--auth=trust', '--username=danlu', '--no-sync', '-D', data / 'db')
    options = f"-c listen_addresses='' -c fsync=off -k {data}"
    run(programs / 'pg_ctl', '--wait', '-D', data / 'db', '-l', data / 'log', '-o', options, 'start')
    try:
        yield f'postgresql+psycopg://danlu@/postgres?host={data}'
    finally:
        run(programs / 'pg_ctl', '--wait', '--mode=immediate', '-D', data / 'db', 'stop')


@pytest.mark.slow('two real trainings, and a PostgreSQL')
def test_two_workers_share_a_study_in_postgresql(tmp_path, postgres, by_place):
    words = ['--trials', '2', '--storage', postgres, '--set', 'lr=log:1e-3:1e-1', 'model_type=mlp,lenet', '--',
             *'--epochs 1 --batch_size 256 --no_report --device cpu'.split()]  # fmt: skip
    both = [started(tmp_path, *words) for _ in range(2)]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    trials = by_place(url=postgres)
    assert {place: studies.trial_state(trial) for place, trial in trials.items()} == dict.fromkeys(range(2), 'complete')
    assert {Run(trial.user_attrs['run']).state for trial in trials.values()} == {'finished'}
    assert not list((tmp_path / 'runs' / 'sweep').glob('*.db'))
