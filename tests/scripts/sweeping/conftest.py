"""Sweeps in this process with a stand-in for train.py, which leaves what a run leaves without importing torch."""

import contextlib
import io
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from scripts import sweep
from scripts.sweeping import study as studies
from scripts.sweeping import training as trainings
from scripts.sweeping import worker as workers
from utils.base.errors import DanluError
from utils.base.registry import PROJECT

# Trains as many epochs as it is told, each of which is better, and saves where it was when it is asked to end. With the
# learning rate that HOLD names, or any where that is 'all', it waits for the file GATE before its last epoch.
STAND_IN = (
    f"""
import json, os, pathlib, signal, sys, time
sys.path.insert(0, {str(PROJECT)!r})
from utils.runs.lock import RunLock
"""
    + """
options = {}
for word in sys.argv[1:]:
    name, equals, value = word.partition('=')
    if name.startswith('--'):
        last = name
        options[name] = value
    else:
        options[last] = word
resumed = options.get('--resume')
run = pathlib.Path(resumed or options['--model_dir'])
if not resumed:
    run.mkdir()
    (run / 'args.txt').write_text('# python train.py @args.txt\\n' + ''.join(f'{n}={v}\\n' for n, v in options.items()))
else:
    options = dict(line.split('=', 1) for line in (run / 'args.txt').read_text().splitlines()[1:])
lock = RunLock(run)
rate = float(options['--lr'])
log = open(run / 'log.txt', 'a')
gate = pathlib.Path(os.environ.get('GATE', '/'))
if rate > 5:
    print(f'train.py: error: the loss is nan with {run}')
    sys.exit(2)
rows = (run / 'history.csv').read_text().splitlines() if resumed else ['epoch,val/acc,val/loss']
epochs = int(options['--epochs'])
print('resumed' if resumed else 'begun', file=log, flush=True)
def stop(*_):
    (run / 'last.pth').touch()
    print('stopped by SystemExit 143', file=log, flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
for epoch in range(len(rows), epochs + 1):
    until = time.monotonic() + 300
    while epoch == epochs and os.environ.get('HOLD') in ('all', options['--lr']) and not gate.exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    value = rate * epoch / epochs
    rows.append(f'{epoch},{value!r},{1 - value!r}')
    (run / 'partial').write_text('\\n'.join(rows) + '\\n')
    os.replace(run / 'partial', run / 'history.csv')
    print(f'epoch {epoch}', file=log, flush=True)
"""
)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Let sweeps of this process start the stand-in.

    Returns:
        Its `file`, and `hold`, a function: learning rate of the trials to hold before their last epoch (str, or 'all'),
        until_taken (the place whose trial a worker of this process has to take) -> the file (Path) they wait for.
    """
    script = tmp_path / 'project' / 'train.py'
    script.parent.mkdir()
    script.write_text(STAND_IN)
    monkeypatch.setattr(trainings, 'PROJECT', script.parent)
    monkeypatch.setattr(workers, 'POLL_SECONDS', 0.03)
    monkeypatch.setattr(workers, 'STORAGE_POLL_SECONDS', 0.1)

    def hold(rate, until_taken=None):
        gate, train = tmp_path / 'gate', workers.Worker._train
        monkeypatch.setenv('HOLD', rate)
        monkeypatch.setenv('GATE', str(gate))

        def train_and_open(self, slot, trial):
            train(self, slot, trial)
            if trial.user_attrs['place'] == until_taken:
                gate.touch()

        monkeypatch.setattr(workers.Worker, '_train', train_and_open)
        return gate

    return SimpleNamespace(file=script, hold=hold)


@pytest.fixture
def call(tmp_path):
    """Return a function: words of sweep.py -> exit status, what it printed (list of str), error."""

    def run(*words):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            try:
                status, error = sweep.main(['--checkpoints_dir', tmp_path / 'runs', *words]), None
            except DanluError as raised:
                status, error = 2, str(raised)
            except SystemExit as raised:
                status, error = raised.code, None
        return SimpleNamespace(status=status, lines=printed.getvalue().splitlines(), error=error)

    return run


@pytest.fixture
def study_at(tmp_path):
    """Return a function: name of a sweep, URL of its storage or None -> its study (optuna.Study)."""
    optuna = pytest.importorskip('optuna')

    def load(name='sweep', url=None):
        return optuna.load_study(study_name=name, storage=url or f'sqlite:///{tmp_path}/runs/{name}/sweep.db')

    return load


@pytest.fixture
def by_place(study_at):
    """Return a function: as `study_at` -> each place's trial (dict), after checking that no result is there twice."""

    def checked(name='sweep', url=None):
        trials = study_at(name, url).get_trials()
        counted = [t.user_attrs['place'] for t in trials if studies.trial_state(t) in ('complete', 'pruned')]
        assert len(counted) == len(set(counted)), 'a place has two results'
        return studies.trials_by_index(trials)

    return checked


@pytest.fixture
def wait_for():
    """Return a function: condition, process -> what the condition, a function, returns when that is something."""

    def wait(condition, process):
        until = time.monotonic() + 300
        while not (found := condition()):
            assert time.monotonic() < until and process.poll() is None, 'it never came'
            time.sleep(0.02)
        return found

    return wait


@pytest.fixture
def number_of_the_gone():
    """Return the number (int) of a process that has ended."""
    with subprocess.Popen([sys.executable, '-c', '']) as gone:
        pass
    return gone.pid
