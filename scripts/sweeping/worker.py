"""A worker of a sweep: takes trials, trains them in processes of their own, and tells the storage what came of them."""

import re
import time

from scripts.sweeping.study import BEAT, Watch, fill, finish, kind_of, places_of, take
from scripts.sweeping.training import Training
from utils.base.ending_signals import ALWAYS_HANDLED_SIGNALS, free_signals, handle_signals
from utils.base.errors import DanluError
from utils.base.text_table import number_text

POLL = 0.3  # seconds from one look at the processes to the next
LOOK = 3.0  # seconds from one look at the storage to the next, while there is nothing to start
ALIKE = 3  # first trials that fail alike, after which no other is tried
RETRY, OUTAGE = 2.0, 600  # seconds between two attempts at a storage that does not answer; after which it is given up


class Worker:
    """Runs trials until every place of the study has a result.

    Args:
        sweep: study.Sweep.
        study: optuna.Study.
        gpus: for each trial that may run at a time, its CUDA_VISIBLE_DEVICES (list of str or None).
        threads: for --threads of train.py (int), or None.
        say: function of a line (str).
    """

    def __init__(self, sweep, study, gpus, threads=None, say=print):
        self.sweep, self.study, self.gpus, self.threads, self.say = sweep, study, gpus, threads, say
        self.watch, self.trainings, self.told, self.beats = Watch(), {}, [], {}
        self.signals, self.stopping, self.looked, self.waiting = [], False, -LOOK, False
        self.fault, self.unreachable = None, None

    def work(self):
        """Run trials; return the signal (int) that ended it, or None: all are done.

        Raises:
            DanluError: the first trials failed in the same way, or the storage is gone.
        """
        # nohup lets SIGHUP be ignored, and it stays so.
        with handle_signals({*free_signals(), *ALWAYS_HANDLED_SIGNALS}, lambda number, _: self.signals.append(number)):
            while self._step():
                time.sleep(POLL)
        if self.signals:
            return self.signals[0]
        if self.fault:
            raise DanluError(self.fault)
        return None

    def _step(self):
        """Look after what runs, start what there is room for; return whether there is more to do (bool)."""
        if self.signals and not self.stopping:
            self.say('stopping: the trainings save what they have (once more: they are ended at once)')
            self._stop()
        elif len(self.signals) > 1:
            self._stop(kill=True)
        try:
            for slot in list(self.trainings):
                self._look_after(slot)
            more = not self.stopping and self._start()
        except storage_errors() as error:
            return self._bear(error)
        self.unreachable = None
        return more or bool(self.trainings)

    def _bear(self, error):
        """Let the trainings go on while the storage cannot be reached; return whether there is hope (bool)."""
        now, cause = time.monotonic(), error.__cause__ or error  # Optuna's own says less
        why = str(getattr(cause, 'orig', None) or cause).strip().partition('\n')[0]
        self.watch = Watch()  # nobody else could give a sign of life either
        if self.unreachable is None:
            self.unreachable = now
            self.say(f'the storage does not answer ({why}); the trainings go on, and it is tried again')
        if now - self.unreachable > OUTAGE and not self.stopping:
            self.fault = f'the storage has not answered for {OUTAGE // 60} minutes ({why}); the same command goes on'
            self._stop()
        if self.stopping and all(training.has_ended() for training in self.trainings.values()):
            return False  # who comes next finds that the worker of these trials is gone
        time.sleep(RETRY)
        return True

    def _stop(self, kill=False):
        self.stopping = True
        for training in self.trainings.values():
            training.end(kill)

    def _start(self):
        """Start as many trials as there is room for; return whether any place is still without a result (bool)."""
        from optuna.trial import TrialState

        free = [slot for slot in range(len(self.gpus)) if slot not in self.trainings]
        if not free or time.monotonic() - self.looked < (LOOK if self.waiting else 0):
            return True
        self.looked = time.monotonic()
        own = {training.trial.number for training in self.trainings.values()}
        for trial in self.watch.lost(self.study.get_trials(deepcopy=False), own):
            if finish(self.study, trial.number, state=TrialState.FAIL):
                self.say(f'trial {trial.user_attrs.get("place")}: its worker is gone')
        fill(self.study, self.sweep)
        for slot in free:
            trial = None if self.signals else take(self.study, self.sweep)
            if trial is None:
                break
            self._train(slot, trial)
        kinds = [kind_of(trial) for trial in places_of(self.study.get_trials(deepcopy=False)).values()]
        going = sum(kind in ('running', 'waiting', 'lost') for kind in kinds)
        if going and not self.trainings and not self.waiting:
            self.say(f'no trial is left to start; {going} run elsewhere, and would be taken over if a worker were lost')
        self.waiting = len(self.trainings) < len(self.gpus)
        return going > 0

    def _train(self, slot, trial):
        for each in self.sweep.parameters:
            each.suggest(trial)
        training = Training(self.sweep, trial, self.gpus[slot], self.threads)
        self.trainings[slot] = training
        values = ' '.join(f'{name}={shown(value)}' for name, value in trial.params.items())
        on = '' if self.gpus[slot] is None else f' on GPU {self.gpus[slot]}'
        self.say(f'trial {training.place} {training.begun}{on}: {values}')

    def _look_after(self, slot):
        """Report the epochs of a training, end it where it is hopeless, and tell how it ended."""
        from optuna.exceptions import UpdateFinishedTrialError

        training = self.trainings[slot]
        training.asked |= bool(self.signals)  # batch systems ask all processes at once
        ended = training.has_ended()  # before its last epochs are read
        try:
            self._report(training)
            if ended:
                outcome = training.outcome()
                kind = 'pruned' if outcome.kind == 'ended' and training.hopeless else outcome.kind
                first = self._tell(training, kind, outcome.said)
                del self.trainings[slot]
                self._say_result(training, kind, outcome.said, first)
        except UpdateFinishedTrialError:
            # Others took this worker for lost: whoever has the trial now goes on with what is saved.
            if ended:
                del self.trainings[slot]
                self._say_result(training, None, None, first=False)
            elif not training.asked:
                training.end()

    def _report(self, training):
        trial, now = training.trial, time.monotonic()
        if now - self.beats.get(trial.number, -BEAT) >= BEAT:
            self.beats[trial.number] = now
            trial.set_user_attr('beat', round(time.time(), 1))
        training.read_epochs()
        for epoch, value in training.history[training.reported :]:
            trial.report(value, epoch)
            training.reported += 1
            if self.sweep.pruner != 'none' and not training.asked and trial.should_prune():
                training.hopeless = True
                training.end()

    def _tell(self, training, kind, error):
        """Tell the storage how a training ended; return whether nobody else had told it (bool)."""
        from optuna.trial import TrialState

        trial, best = training.trial, training.best()
        if best:
            trial.set_user_attr('epoch', best[0])
            trial.set_user_attr('epochs', training.history[-1][0])
        if kind == 'failed':
            trial.set_user_attr('error', error)
        if kind == 'pruned':
            training.note(', pruned')
        # One that was interrupted is given back: it waits for its place again, and goes on where it was.
        state = {'complete': TrialState.COMPLETE, 'pruned': TrialState.PRUNED}.get(kind, TrialState.FAIL)
        value = {'values': best[1]} if kind == 'complete' else {}
        return finish(self.study, trial.number, state=state, **value)

    def _say_result(self, training, kind, error, first):
        """Print how a training ended; stop where all of them fail."""
        if not first:
            self.say(f'trial {training.place}: was taken over by another worker')
        elif kind == 'ended':
            self.say(f'trial {training.place}: saved after {epochs_text(training)}')
        elif kind == 'failed':
            self.say(f'trial {training.place} failed: {error}')
            self._stop_where_all_fail(error)
        else:
            self.told.append(None)
            self.say(f'trial {training.place}' + self._result(training, kind))

    def _result(self, training, kind):
        if kind == 'pruned':
            return f' pruned after {epochs_text(training)}'
        (epoch, value), first = training.best(), self.study.best_trial
        rank = 'the best so far' if first.number == training.trial.number else f'best: {number_text(first.value)}'
        return f': {self.sweep.metric} {number_text(value)} in epoch {epoch}, {rank}'

    def _stop_where_all_fail(self, error):
        self.told.append(error)
        if len(self.told) == ALIKE and len({said and alike(said) for said in self.told}) == 1 and not self.stopping:
            self.fault = (
                f'the first {ALIKE} trials failed in the same way: {error}; what they printed is in '
                f'{self.sweep.folder}/trial_*.txt; when that is mended, start it again with --retry_failed'
            )
            self._stop()


def storage_errors():
    """Return the exceptions (tuple of types) by which a storage says that it is out of reach."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    return StorageInternalError, SQLAlchemyError


def epochs_text(training):
    """Return how far a training came (str)."""
    return f'epoch {training.history[-1][0]}' if training.history else 'less than an epoch'


def alike(message):
    """Return a message (str) without what differs from trial to trial: its numbers."""
    return re.sub(r'[\d.]+(e[+-]?\d+)?', 'N', message)


def shown(value):
    """Return a parameter's value as a person reads it (str): floats in four digits."""
    return f'{value:.4g}' if isinstance(value, float) else str(value)
