"""The Optuna study that the workers of a sweep share; each trial index is completed once.

A trial has an index, 0 to --trials - 1, in its user attribute 'place'. Each start adds a waiting trial for every index
without one. Workers take waiting trials, and the storage gives each to one worker. If a worker is lost, its trial is
marked as failed without an error ("lost"), and a waiting trial with the same values is added for the index. If two
workers add a trial for the same index, the trial with the lower number counts and the other is marked as surplus.
"""

import os
import socket
import time
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock

from scripts.sweeping.space import grid_points
from utils.base.errors import DanluError
from utils.base.regular_files import made_regular

SAMPLERS = ('tpe', 'random', 'grid')
PRUNERS = ('none', 'median', 'hyperband')
DATABASE, DIRECTION = 'sweep.db', 'the direction of the metric'
LOCK_FILE = '.taking'  # beside the database
MAX_ATTEMPTS, RETRY_SECONDS = 5, 0.5  # to open a storage that another worker may be creating
FILL_TIMEOUT_SECONDS = 20  # for the worker that created a study to enqueue the trials, before other workers do
SQLITE_TIMEOUT_SECONDS = 60  # for the lock of another process
HEARTBEAT_SECONDS, HEARTBEAT_TIMEOUT_SECONDS = 20, 120
# Attributes that a trial inherits from a lost trial, whose process may still be training.
KEPT_ATTRIBUTES = ('place', 'run', 'host', 'process', 'retries')


class Sweep(NamedTuple):
    """The settings of a sweep.

    Args:
        name: name of the study and its directory.
        root: directory of all runs (Path).
        storage: URL of Optuna's storage, or None: a SQLite file in the directory of the sweep.
        parameters: list of space.Parameter.
        words: other words of train.py's command line (list of str).
        metric: column of history.csv; its best value over the epochs is the value of a trial.
        mode: 'max' or 'min'.
        epochs: maximum number of epochs of a run (int).
        sampler, pruner: names (str).
        seed: seed of the sampler (int).
        trials: number of trials (int), or None: all points of a grid.
        options: options of train.py that define the experiment (dict).
    """

    name: str
    root: Path
    storage: str
    parameters: list = ()
    words: list = ()
    metric: str = None
    mode: str = 'max'
    epochs: int = 1
    sampler: str = 'tpe'
    pruner: str = 'none'
    seed: int = 0
    trials: int = None
    options: dict = {}

    @property
    def folder(self):
        """Return the directory (Path) of the sweep, which contains the runs of its trials."""
        return self.root / self.name

    @property
    def url(self):
        """Return the URL (str) of the storage."""
        return self.storage or f'sqlite:///{self.folder / DATABASE}'

    def definition(self):
        """Return the settings that must not change when a study is continued (dict of plain values)."""
        return {
            '--set': {each.name: each.text for each in self.parameters},
            '--metric': self.metric,
            DIRECTION: self.mode,
            '--sampler': self.sampler,
            '--seed': self.seed,
            'options of train.py': self.options,
        }


def import_optuna():
    """Import and return Optuna, an optional dependency.

    Raises:
        DanluError: Optuna is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise DanluError(
            "a sweep needs Optuna, which is not installed: pip install 'optuna>=5.0', or -r requirements-extra.txt"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings('ignore', category=optuna.exceptions.ExperimentalWarning)
    return optuna


def open_study(sweep):
    """Return the study (optuna.Study) of a Sweep; create the study if there is none.

    Raises:
        DanluError: the storage cannot be opened, or the study has other settings.
    """
    optuna = import_optuna()
    make_sweep_directory(sweep.folder)
    settings = {
        'storage': open_storage(optuna, sweep.url),
        'study_name': sweep.name,
        'pruner': pruner_of(optuna, sweep),
    }
    try:
        study = optuna.create_study(direction='maximize' if sweep.mode == 'max' else 'minimize', **settings)
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(**settings)
        until = time.monotonic() + FILL_TIMEOUT_SECONDS
        while 'definition' not in study.user_attrs and time.monotonic() < until:
            time.sleep(RETRY_SECONDS)  # another worker is creating the study
    else:
        enqueue_missing(study, sweep)
    then, now = study.user_attrs.get('definition'), sweep.definition()
    if then is None:
        study.set_user_attr('definition', now)
    elif different := next((key for key in now if then.get(key) != now[key]), None):
        raise DanluError(
            f'the sweep {sweep.name} has another value for {different}: {as_text(then.get(different))}, not '
            f'{as_text(now[different])}; to continue it, give the same value, else another --name'
        )
    return study


def make_sweep_directory(folder):
    """Create the directory of a sweep.

    Raises:
        DanluError: the directory cannot be created, or is that of a run.
    """
    if (folder / 'args.txt').exists():
        raise DanluError(f'--name: {folder} is the directory of a run; give the sweep another name')
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DanluError(
            f'cannot create the directory {folder}: {error.strerror}; choose another with --checkpoints_dir'
        ) from None


def load_study(sweep):
    """Return the existing study (optuna.Study) of a Sweep, and its definition (dict).

    Raises:
        DanluError: there is no such study, or the storage cannot be opened.
    """
    optuna = import_optuna()
    missing = f'there is no sweep {sweep.name} in {sweep.folder if not sweep.storage else masked_url(sweep.url)}'
    if not sweep.storage and not (sweep.folder / DATABASE).is_file():
        raise DanluError(f'{missing}; choose it with --name and --checkpoints_dir, or --storage')
    try:
        study = optuna.load_study(storage=open_storage(optuna, sweep.url), study_name=sweep.name)
    except KeyError:
        raise DanluError(missing) from None
    return study, study.user_attrs.get('definition', {})


def as_text(value):
    """Return a value of a definition as text (str)."""
    if isinstance(value, dict):
        return ' '.join(f'{name}={each}' for name, each in value.items()) or 'nothing'
    return str(value)


def masked_url(url):
    """Return a storage's URL (str) without the password."""
    from sqlalchemy.engine import make_url

    return make_url(url).render_as_string(hide_password=True)


def open_storage(optuna, url):
    """Return Optuna's storage at a URL.

    Raises:
        DanluError: the storage cannot be opened, or the driver of its database is not installed.
    """
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    options = {'pool_pre_ping': True}
    if url.startswith('sqlite'):
        options['connect_args'] = {'timeout': SQLITE_TIMEOUT_SECONDS}
    for attempt in range(MAX_ATTEMPTS):
        try:
            return optuna.storages.RDBStorage(url, engine_kwargs=options)
        except ArgumentError:
            raise DanluError(
                '--storage is not the URL of a database, such as postgresql+psycopg://user@host/name'
            ) from None
        except ImportError as error:
            raise DanluError(
                f'--storage {masked_url(url)}: the driver of this database is not installed ({error}); for PostgreSQL: '
                "pip install 'psycopg[binary]', and postgresql+psycopg://..."
            ) from None
        except SQLAlchemyError as error:
            if attempt == MAX_ATTEMPTS - 1:
                why = str(getattr(error, 'orig', None) or error).strip().splitlines()[0]
                raise DanluError(f'--storage {masked_url(url)}: cannot be opened: {why}') from None
            time.sleep(RETRY_SECONDS)
    return None


def pruner_of(optuna, sweep):
    """Return Optuna's pruner of a Sweep."""
    if sweep.pruner == 'median':  # never prune the first trials, nor the first epochs of a trial
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=max(1, sweep.epochs // 10))
    if sweep.pruner == 'hyperband':
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=sweep.epochs, reduction_factor=3)
    return optuna.pruners.NopPruner()


def sampler_of(optuna, sweep, index):
    """Return Optuna's sampler for a trial, seeded by --seed and the index of the trial."""
    seed = int(np.random.SeedSequence([sweep.seed, index]).generate_state(1)[0])
    if sweep.sampler == 'tpe':
        return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    return optuna.samplers.RandomSampler(seed=seed)


# --- trials and their indices


def trial_state(trial):
    """Return the state of a trial (str): waiting, running, complete, pruned, failed, lost or surplus."""
    if trial.state.name != 'FAIL':
        return trial.state.name.lower()
    return 'surplus' if 'surplus' in trial.user_attrs else 'failed' if 'error' in trial.user_attrs else 'lost'


def trials_by_index(trials):
    """Return the trial that counts for each index (dict from int to optuna.trial.FrozenTrial).

    That is the first trial that is not lost, or the last lost trial. Failed trials that were repeated do not count.
    """
    found, retried = {}, {trial.user_attrs.get('retries') for trial in trials}
    for trial in sorted(trials, key=lambda trial: trial.number):
        state, index = trial_state(trial), trial.user_attrs.get('place')
        if index is None or state == 'surplus' or trial.number in retried:
            continue
        if index not in found or trial_state(found[index]) == 'lost':
            found[index] = trial
    return dict(sorted(found.items()))


def enqueue_missing(study, sweep):
    """Add a waiting trial for each index without a trial or with a lost trial; return the `trials_by_index`."""
    points = grid_points(sweep.parameters) if sweep.sampler == 'grid' else []
    wanted = len(points) if sweep.trials is None else min(sweep.trials, len(points) or sweep.trials)
    trials = trials_by_index(study.get_trials(deepcopy=False))
    for index in range(max([wanted, *(index + 1 for index in trials)])):
        if index not in trials:
            study.enqueue_trial(points[index] if points else {}, {'place': index})
        elif trial_state(trials[index]) == 'lost':
            requeue(study, trials[index])
    return trials


def requeue(study, trial):
    """Add a waiting trial with the values and the run of a lost trial (FrozenTrial)."""
    kept = {name: value for name, value in trial.user_attrs.items() if name in KEPT_ATTRIBUTES}
    study.enqueue_trial(trial_values(trial), kept)


def trial_values(trial):
    """Return the values (dict) of a trial (FrozenTrial), or those enqueued for it if it was lost before its start."""
    return trial.params or trial.system_attrs.get('fixed_params', {})


def retry_failed(study):
    """Enqueue the failed trials again with the same values; return their number (int)."""
    failed = [trial for trial in trials_by_index(study.get_trials()).values() if trial_state(trial) == 'failed']
    for trial in failed:
        study.enqueue_trial(trial_values(trial), {'place': trial.user_attrs['place'], 'retries': trial.number})
    return len(failed)


def take_trial(study, sweep):
    """Return the next waiting trial (optuna.Trial), without values yet, or None."""
    import optuna

    waiting = (optuna.trial.TrialState.WAITING,)
    while study.get_trials(deepcopy=False, states=waiting):
        with exclusive_lock(sweep):
            trial = study.ask()
        if owns_index(study, trial):
            trial.set_user_attr('worker', {'host': host_name(), 'pid': os.getpid()})
            study.sampler = sampler_of(optuna, sweep, trial.user_attrs['place'])
            return trial
        trial.set_user_attr('surplus', True)
        tell_outcome(study, trial.number, state=optuna.trial.TrialState.FAIL)
    return None


@contextmanager
def exclusive_lock(sweep):
    """Let one worker at a time take a trial from an SQLite file, in the body of the `with`.

    Optuna relies on row locks, which SQLite lacks: two workers could get the same trial.
    """
    if not sweep.url.startswith('sqlite') or not sweep.folder.is_dir():
        yield
        return
    with FileLock(made_regular(sweep.folder / LOCK_FILE)):  # the system releases it if the process is killed
        yield


def owns_index(study, trial):
    """Return whether a trial just taken (optuna.Trial) counts for its index (bool) and no lost trial has a run."""
    index, trials = trial.user_attrs.get('place'), study.get_trials(deepcopy=False)
    if index is None or trials_by_index(trials)[index].number != trial.number:
        return False
    started = [each for each in trials if each.user_attrs.get('place') == index and 'run' in each.user_attrs
               and trial_state(each) == 'lost']  # fmt: skip
    if started and 'run' not in trial.user_attrs:  # two workers had enqueued trials at the same time
        requeue(study, started[-1])
        return False
    return True


def tell_outcome(study, number, **outcome):
    """Record the outcome of a trial; return whether it was the first to be recorded (bool)."""
    from optuna.exceptions import UpdateFinishedTrialError

    try:
        study.tell(number, **outcome)
    except UpdateFinishedTrialError:
        return False
    except ValueError:
        if not study.get_trials(deepcopy=False)[number].state.is_finished():
            raise
        return False
    return True


# --- workers


def host_name():
    """Return the host name with the PID namespace (str), which distinguishes containers of one machine."""
    namespace = ''
    with suppress(OSError):  # not on Linux
        namespace = os.readlink('/proc/self/ns/pid')
    return f'{socket.gethostname()} {namespace}'.strip()


class LostTrialDetector:
    """Finds running trials whose worker is gone: on this machine by its PID, elsewhere by the heartbeat.

    The clocks of machines are not compared; what counts is for how long a heartbeat has not changed.
    """

    def __init__(self):
        self.heartbeats = {}  # from a trial's number to (heartbeat, when this worker first saw it)

    def lost(self, trials, own=()):
        """Return the running trials (list of FrozenTrial) whose worker is gone.

        Args:
            trials: list of FrozenTrial.
            own: numbers of the trials of this worker.
        """
        found, now = [], time.monotonic()
        for trial in trials:
            if trial.state.name != 'RUNNING' or trial.number in own:
                continue
            worker, beat = trial.user_attrs.get('worker'), trial.user_attrs.get('beat')
            before, since = self.heartbeats.get(trial.number, (None, None))
            if since is None or beat != before:
                self.heartbeats[trial.number] = beat, now
            elif now - since > HEARTBEAT_TIMEOUT_SECONDS:
                found.append(trial)
                continue
            if worker and worker['host'] == host_name() and not is_alive(worker['pid']):
                found.append(trial)
        return found


def is_alive(pid):
    """Return whether another process on this machine has this PID (bool); always True on Windows."""
    if pid == os.getpid():
        return False  # an earlier process had the same PID
    if os.name == 'nt':
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
