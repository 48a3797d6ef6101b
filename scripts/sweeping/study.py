"""The study that workers share: one in Optuna's storage, with a place for each trial, none of them filled twice.

A trial has a place, 0 to --trials - 1, in its attributes. Whoever starts adds a waiting trial for each place that has
none; workers take waiting ones, which the storage gives to one of them. Where a worker is gone, its trial is marked as
failed, without an error ("lost"), and a waiting one with the same values takes the place. Should two workers do that at
once, or take the last one together, the trial with the lower number has the place and the other is marked as surplus.
"""

import os
import socket
import time
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scripts.sweeping.space import grid_of
from utils.base.errors import DanluError
from utils.base.regular_files import open_regular

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

SAMPLERS = ('tpe', 'random', 'grid')
PRUNERS = ('none', 'median', 'hyperband')
DATABASE, DIRECTION = 'sweep.db', 'the direction of the metric'
TAKING = '.taking'  # a file that workers lock beside it
ATTEMPTS, PAUSE = 5, 0.5  # to open a storage, which another worker may be making; seconds between them
PATIENCE = 20  # seconds that a worker has to fill a study that it has made, until others do
WAIT = 60  # seconds that a SQLite file may be locked by others
BEAT, GRACE = 20, 120  # seconds from one sign of life to the next, and without one until a worker counts as gone
# Of the attributes of a lost trial: the process on the host that trains it may still go on, where the run is.
KEPT = ('place', 'run', 'host', 'process', 'retries')


class Sweep(NamedTuple):
    """What a command asks for.

    Args:
        name: of the study and its directory.
        root: directory of all runs (Path).
        storage: URL of Optuna's storage, or None: a SQLite file in the sweep's directory.
        parameters: list of space.Parameter.
        words: the rest of train.py's command line (list of str).
        metric: column of history.csv, whose best value over the epochs is a trial's value.
        mode: 'max' or 'min', which values are better.
        epochs: of a run (int), at most.
        sampler, pruner: names.
        seed: of the sampler (int).
        trials: how many (int), or None: all points of a grid.
        options: those of all trials that differ from their defaults (dict), to know the experiment by.
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
        """The directory (Path) of the sweep: its trials' runs, and what is said of all of them."""
        return self.root / self.name

    @property
    def url(self):
        """URL (str) of the storage."""
        return self.storage or f'sqlite:///{self.folder / DATABASE}'

    def definition(self):
        """Return what stays as it is while a study goes on (dict of plain values)."""
        return {
            '--set': {each.name: each.text for each in self.parameters},
            '--metric': self.metric,
            DIRECTION: self.mode,
            '--sampler': self.sampler,
            '--seed': self.seed,
            'options of train.py': self.options,
        }


def import_optuna():
    """Import and return Optuna, which is an extra.

    Raises:
        DanluError: it is not installed.
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
    """Return the study (optuna.Study) of a Sweep; it is made where there is none.

    Raises:
        DanluError: the storage cannot be opened, or the study is another one.
    """
    optuna = import_optuna()
    make_folder(sweep.folder)
    whole = {
        'storage': open_storage(optuna, sweep.url),
        'study_name': sweep.name,
        'pruner': pruner_of(optuna, sweep),
    }
    try:
        study = optuna.create_study(direction='maximize' if sweep.mode == 'max' else 'minimize', **whole)
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(**whole)
        until = time.monotonic() + PATIENCE
        while 'definition' not in study.user_attrs and time.monotonic() < until:
            time.sleep(PAUSE)  # another worker makes it just now
    else:
        fill(study, sweep)
    then, now = study.user_attrs.get('definition'), sweep.definition()
    if then is None:
        study.set_user_attr('definition', now)
    elif different := next((key for key in now if then.get(key) != now[key]), None):
        raise DanluError(
            f'the sweep {sweep.name} has something else for {different}: {said(then.get(different))}, and not '
            f'{said(now[different])}; give the same to go on with it, or another --name'
        )
    return study


def make_folder(folder):
    """Make the directory of a sweep.

    Raises:
        DanluError: it cannot be made, or is that of a run.
    """
    if (folder / 'args.txt').exists():
        raise DanluError(f'--name: {folder} is the directory of a run; give the sweep another name')
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DanluError(
            f'cannot make the directory {folder}: {error.strerror}; --checkpoints_dir gives another place'
        ) from None


def load_study(sweep):
    """Return the study (optuna.Study) of a Sweep that is there, and its definition (dict).

    Raises:
        DanluError: there is none, or the storage cannot be opened.
    """
    optuna = import_optuna()
    missing = f'there is no sweep {sweep.name} in {sweep.folder if not sweep.storage else hidden(sweep.url)}'
    if not sweep.storage and not (sweep.folder / DATABASE).is_file():
        raise DanluError(f'{missing}; --name and --checkpoints_dir, or --storage, say which one is meant')
    try:
        study = optuna.load_study(storage=open_storage(optuna, sweep.url), study_name=sweep.name)
    except KeyError:
        raise DanluError(missing) from None
    return study, study.user_attrs.get('definition', {})


def said(value):
    """Return a part of a definition as text (str)."""
    if isinstance(value, dict):
        return ' '.join(f'{name}={part}' for name, part in value.items()) or 'nothing'
    return str(value)


def hidden(url):
    """Return a storage's URL (str) without the password."""
    from sqlalchemy.engine import make_url

    return make_url(url).render_as_string(hide_password=True)


def open_storage(optuna, url):
    """Return Optuna's storage at a URL.

    Raises:
        DanluError: it cannot be opened, or the driver of its database lacks.
    """
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    options = {'pool_pre_ping': True, **({'connect_args': {'timeout': WAIT}} if url.startswith('sqlite') else {})}
    for attempt in range(ATTEMPTS):
        try:
            return optuna.storages.RDBStorage(url, engine_kwargs=options)
        except ArgumentError:
            raise DanluError(
                '--storage: it is no URL of a database such as postgresql+psycopg://user@host/name'
            ) from None
        except ImportError as error:
            raise DanluError(
                f'--storage {hidden(url)}: the driver of this database is not installed ({error}); for PostgreSQL: '
                "pip install 'psycopg[binary]', and postgresql+psycopg://..."
            ) from None
        except SQLAlchemyError as error:
            if attempt == ATTEMPTS - 1:
                why = str(getattr(error, 'orig', None) or error).strip().splitlines()[0]
                raise DanluError(f'--storage {hidden(url)}: cannot be opened: {why}') from None
            time.sleep(PAUSE)
    return None


def pruner_of(optuna, sweep):
    """Return Optuna's pruner of a Sweep."""
    if sweep.pruner == 'median':  # the first trials, and the beginning of each, are let alone
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=max(1, sweep.epochs // 10))
    if sweep.pruner == 'hyperband':
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=sweep.epochs, reduction_factor=3)
    return optuna.pruners.NopPruner()


def sampler_of(optuna, sweep, place):
    """Return Optuna's sampler for a trial: what it draws is a function of --seed, the place and what is known then."""
    seed = int(np.random.SeedSequence([sweep.seed, place]).generate_state(1)[0])
    if sweep.sampler == 'tpe':
        return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    return optuna.samplers.RandomSampler(seed=seed)


# --- places


def kind_of(trial):
    """Return how a trial stands (str): waiting, running, complete, pruned, failed, lost with its worker, surplus."""
    if trial.state.name != 'FAIL':
        return trial.state.name.lower()
    return 'surplus' if 'surplus' in trial.user_attrs else 'failed' if 'error' in trial.user_attrs else 'lost'


def places_of(trials):
    """Return the trial that has each place (dict from int to optuna.trial.FrozenTrial).

    That is the first one that is not lost; where all are, the last one. A failed one that is tried again has none.
    """
    found, retried = {}, {trial.user_attrs.get('retries') for trial in trials}
    for trial in sorted(trials, key=lambda trial: trial.number):
        kind, place = kind_of(trial), trial.user_attrs.get('place')
        if place is None or kind == 'surplus' or trial.number in retried:
            continue
        if place not in found or kind_of(found[place]) == 'lost':
            found[place] = trial
    return dict(sorted(found.items()))


def fill(study, sweep):
    """Add a waiting trial for each place that has none or a lost one; return the places, as `places_of` does."""
    points = grid_of(sweep.parameters) if sweep.sampler == 'grid' else []
    wanted = len(points) if sweep.trials is None else min(sweep.trials, len(points) or sweep.trials)
    places = places_of(study.get_trials(deepcopy=False))
    for place in range(max([wanted, *(place + 1 for place in places)])):
        if place not in places:
            study.enqueue_trial(points[place] if points else {}, {'place': place})
        elif kind_of(places[place]) == 'lost':
            repeat(study, places[place])
    return places


def repeat(study, trial):
    """Add a waiting trial with the values of a trial (FrozenTrial) that is over, and with the run that it had."""
    kept = {name: value for name, value in trial.user_attrs.items() if name in KEPT}
    study.enqueue_trial(values_of(trial), kept)


def values_of(trial):
    """Return the values (dict) of a trial (FrozenTrial), or those that it was to have if it was lost before that."""
    return trial.params or trial.system_attrs.get('fixed_params', {})


def retry_failed(study):
    """Let the failed trials' places be filled anew, with the same values; return how many (int)."""
    failed = [trial for trial in places_of(study.get_trials()).values() if kind_of(trial) == 'failed']
    for trial in failed:
        study.enqueue_trial(values_of(trial), {'place': trial.user_attrs['place'], 'retries': trial.number})
    return len(failed)


def take(study, sweep):
    """Return the next trial (optuna.Trial), for which the sampler has yet to propose values, or None: none waits."""
    import optuna

    waiting = (optuna.trial.TrialState.WAITING,)
    while study.get_trials(deepcopy=False, states=waiting):
        with alone(sweep):
            trial = study.ask()
        if is_due(study, trial):
            trial.set_user_attr('worker', {'host': host(), 'pid': os.getpid()})
            study.sampler = sampler_of(optuna, sweep, trial.user_attrs['place'])
            return trial
        trial.set_user_attr('surplus', True)
        finish(study, trial.number, state=optuna.trial.TrialState.FAIL)
    return None


@contextmanager
def alone(sweep):
    """Let one worker at a time take a trial from a SQLite file, in the body of the `with`.

    Optuna locks the row of a waiting trial while it looks at it, which SQLite does not know: two workers could get the
    same one. Where there is no flock (Windows) it may still happen: the trial is then trained twice.
    """
    if fcntl is None or not sweep.url.startswith('sqlite') or not sweep.folder.is_dir():
        yield
        return
    with open_regular(sweep.folder / TAKING, 'ab') as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed, whatever becomes of the process
        yield


def is_due(study, trial):
    """Return whether a trial that was just taken (optuna.Trial) has its place (bool), and no run has begun there."""
    place, trials = trial.user_attrs.get('place'), study.get_trials(deepcopy=False)
    if place is None or places_of(trials)[place].number != trial.number:
        return False
    begun = [each for each in trials if each.user_attrs.get('place') == place and 'run' in each.user_attrs
             and kind_of(each) == 'lost']  # fmt: skip
    if begun and 'run' not in trial.user_attrs:  # two workers had filled the places at once
        repeat(study, begun[-1])
        return False
    return True


def finish(study, number, **outcome):
    """Tell the storage how a trial ended; return whether that was still open (bool): nobody else had told it."""
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


def host():
    """Return what tells machines apart (str), and containers, in which processes have other numbers."""
    space = ''
    with suppress(OSError):  # other systems than Linux
        space = os.readlink('/proc/self/ns/pid')
    return f'{socket.gethostname()} {space}'.strip()


class Watch:
    """Finds trials whose worker is gone: at once where it was on this machine, else when it gave no sign of life.

    Clocks of several machines are not compared: what counts is how long a sign has not changed.
    """

    def __init__(self):
        self.seen = {}

    def lost(self, trials, own=()):
        """Return those of `trials` (list of FrozenTrial) that run and whose worker is gone.

        Args:
            own: numbers of the trials that this worker runs.
        """
        found, now = [], time.monotonic()
        for trial in trials:
            if trial.state.name != 'RUNNING' or trial.number in own:
                continue
            worker, beat = trial.user_attrs.get('worker'), trial.user_attrs.get('beat')
            before, since = self.seen.get(trial.number, (None, None))
            if since is None or beat != before:
                self.seen[trial.number] = beat, now
            elif now - since > GRACE:
                found.append(trial)
                continue
            if worker and worker['host'] == host() and not is_alive(worker['pid']):
                found.append(trial)
        return found


def is_alive(pid):
    """Return whether there is another process of this number on this machine (bool); Windows does not say."""
    if pid == os.getpid():
        return False  # an earlier process had the number
    if os.name == 'nt':
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
