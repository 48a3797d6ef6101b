"""A worker of a sweep: takes trials, trains each in its own process, and records the outcomes in the storage."""

import re
import time

from scripts.sweeping.study import (
    HEARTBEAT_SECONDS,
    LostTrialDetector,
    enqueue_missing,
    take_trial,
    tell_outcome,
    trial_state,
    trials_by_index,
)
from scripts.sweeping.training import Training
from utils.base.ending_signals import ALWAYS_HANDLED_SIGNALS, free_signals, handle_signals
from utils.base.errors import DanluError
from utils.base.text_table import number_text

POLL_SECONDS = 0.3
STORAGE_POLL_SECONDS = 3.0  # while there is no trial to start
MAX_EQUAL_FAILURES = 3  # if the first trials fail with the same message, the sweep stops
STORAGE_RETRY_SECONDS, STORAGE_TIMEOUT_SECONDS = 2.0, 600


class Worker:
    """Runs trials until every index of the study has a result.

    Args:
        sweep: study.Sweep.
        study: optuna.Study.
        gpus: CUDA_VISIBLE_DEVICES of each slot, for one trial at a time (list of str or None).
        threads: --threads of train.py (int), or None.
        say: function of a line (str) that prints it.
    """

    def __init__(self, sweep, study, gpus, threads=None, say=print):
        self.sweep, self.study, self.gpus, self.threads, self.say = sweep, study, gpus, threads, say
        self.lost_trials, self.trainings, self.errors, self.heartbeats = LostTrialDetector(), {}, [], {}
        self.signals, self.stopping, self.last_poll, self.waiting = [], False, -STORAGE_POLL_SECONDS, False
        self.fault, self.unreachable_since = None, None

    def work(self):
        """Run trials; return the signal (int) that stopped the worker, or None: all trials are done.

        Raises:
            DanluError: the first trials failed with the same message, or the storage does not answer.
        """
        # A SIGHUP that nohup ignores stays ignored.
        with handle_signals({*free_signals(), *ALWAYS_HANDLED_SIGNALS}, lambda number, _: self.signals.append(number)):
            while self._step():
                time.sleep(POLL_SECONDS)
        if self.signals:
            return self.signals[0]
        if self.fault:
            raise DanluError(self.fault)
        return None

    def _step(self):
        """Check the running trainings and start new ones; return whether there is more to do (bool)."""
        if self.signals and not self.stopping:
            self.say('stopping: the trainings save their state (a second signal stops them at once)')
            self._stop()
        elif len(self.signals) > 1:
            self._stop(kill=True)
        try:
            for slot in list(self.trainings):
                self._check_training(slot)
            more = not self.stopping and self._start_trials()
        except storage_errors() as error:
            return self._wait_for_storage(error)
        self.unreachable_since = None
        return more or bool(self.trainings)

    def _wait_for_storage(self, error):
        """Wait while the storage does not answer and the trainings continue; return whether to go on (bool)."""
        now, cause = time.monotonic(), error.__cause__ or error  # the cause says more than Optuna's exception
        why = str(getattr(cause, 'orig', None) or cause).strip().partition('\n')[0]
        self.lost_trials = LostTrialDetector()  # heartbeats of other workers are missing too
        if self.unreachable_since is None:
            self.unreachable_since = now
            self.say(f'the storage does not answer ({why}); retrying, while the trainings continue')
        if now - self.unreachable_since > STORAGE_TIMEOUT_SECONDS and not self.stopping:
            minutes = STORAGE_TIMEOUT_SECONDS // 60
            self.fault = f'the storage has not answered for {minutes} minutes ({why}); to continue, repeat the command'
            self._stop()
        if self.stopping and all(training.has_ended() for training in self.trainings.values()):
            return False  # another worker will find these trials lost
        time.sleep(STORAGE_RETRY_SECONDS)
        return True

    def _stop(self, kill=False):
        self.stopping = True
        for training in self.trainings.values():
            training.stop(kill)

    def _start_trials(self):
        """Start a trial in each free slot; return whether any index is still without a result (bool)."""
        from optuna.trial import TrialState

        free = [slot for slot in range(len(self.gpus)) if slot not in self.trainings]
        if not free or time.monotonic() - self.last_poll < (STORAGE_POLL_SECONDS if self.waiting else 0):
            return True
        self.last_poll = time.monotonic()
        own = {training.trial.number for training in self.trainings.values()}
        for trial in self.lost_trials.lost(self.study.get_trials(deepcopy=False), own):
            if tell_outcome(self.study, trial.number, state=TrialState.FAIL):
                self.say(f'trial {trial.user_attrs.get("place")}: its worker was lost')
        enqueue_missing(self.study, self.sweep)
        for slot in free:
            trial = None if self.signals else take_trial(self.study, self.sweep)
            if trial is None:
                break
            self._train(slot, trial)
        kinds = [trial_state(trial) for trial in trials_by_index(self.study.get_trials(deepcopy=False)).values()]
        unfinished = sum(kind in ('running', 'waiting', 'lost') for kind in kinds)
        if unfinished and not self.trainings and not self.waiting:
            self.say(f'no trial left to start; waiting in case a worker of the {unfinished} running trials is lost')
        self.waiting = len(self.trainings) < len(self.gpus)
        return unfinished > 0

    def _train(self, slot, trial):
        for each in self.sweep.parameters:
            each.suggest(trial)
        training = Training(self.sweep, trial, self.gpus[slot], self.threads)
        self.trainings[slot] = training
        values = ' '.join(f'{name}={value_text(value)}' for name, value in trial.params.items())
        on = '' if self.gpus[slot] is None else f' on GPU {self.gpus[slot]}'
        self.say(f'trial {training.index} {training.start}{on}: {values}')

    def _check_training(self, slot):
        """Report the epochs of a training, prune it if the pruner says so, and record its outcome."""
        from optuna.exceptions import UpdateFinishedTrialError

        training = self.trainings[slot]
        training.stop_requested |= bool(self.signals)  # batch systems signal all processes at once
        ended = training.has_ended()  # checked before the last epochs are read
        try:
            self._report(training)
            if ended:
                outcome = training.outcome()
                kind = 'pruned' if outcome.kind == 'interrupted' and training.pruned else outcome.kind
                first = self._record_outcome(training, kind, outcome.message)
                del self.trainings[slot]
                self._print_result(training, kind, outcome.message, first)
        except UpdateFinishedTrialError:
            # Another worker considered this worker lost; it continues the trial from the saved state.
            if ended:
                del self.trainings[slot]
                self._print_result(training, None, None, first=False)
            elif not training.stop_requested:
                training.stop()

    def _report(self, training):
        trial, now = training.trial, time.monotonic()
        if now - self.heartbeats.get(trial.number, -HEARTBEAT_SECONDS) >= HEARTBEAT_SECONDS:
            self.heartbeats[trial.number] = now
            trial.set_user_attr('beat', round(time.time(), 1))
        training.read_epochs()
        for epoch, value in training.history[training.reported :]:
            trial.report(value, epoch)
            training.reported += 1
            if self.sweep.pruner != 'none' and not training.stop_requested and trial.should_prune():
                training.pruned = True
                training.stop()

    def _record_outcome(self, training, kind, error):
        """Record the outcome of a training in the storage; return whether it was the first to be recorded (bool)."""
        from optuna.trial import TrialState

        trial, best = training.trial, training.best()
        if best:
            trial.set_user_attr('epoch', best[0])
            trial.set_user_attr('epochs', training.history[-1][0])
        if kind == 'failed':
            trial.set_user_attr('error', error)
        if kind == 'pruned':
            training.add_note(', pruned')
        # An interrupted trial counts as lost, and is resumed by the next worker.
        state = {'complete': TrialState.COMPLETE, 'pruned': TrialState.PRUNED}.get(kind, TrialState.FAIL)
        value = {'values': best[1]} if kind == 'complete' else {}
        return tell_outcome(self.study, trial.number, state=state, **value)

    def _print_result(self, training, kind, error, first):
        """Print the outcome of a training; stop the sweep if all of the first trainings fail."""
        if not first:
            self.say(f'trial {training.index}: another worker has taken it over')
        elif kind == 'interrupted':
            self.say(f'trial {training.index}: saved after {epochs_text(training)}')
        elif kind == 'failed':
            self.say(f'trial {training.index} failed: {error}')
            self._stop_if_all_fail(error)
        else:
            self.errors.append(None)
            self.say(f'trial {training.index}' + self._result(training, kind))

    def _result(self, training, kind):
        if kind == 'pruned':
            return f' pruned after {epochs_text(training)}'
        (epoch, value), first = training.best(), self.study.best_trial
        rank = 'the best so far' if first.number == training.trial.number else f'best: {number_text(first.value)}'
        return f': {self.sweep.metric} {number_text(value)} in epoch {epoch}, {rank}'

    def _stop_if_all_fail(self, error):
        self.errors.append(error)
        messages = {each and normalised_error(each) for each in self.errors}
        if len(self.errors) == MAX_EQUAL_FAILURES and len(messages) == 1 and not self.stopping:
            self.fault = (
                f'the first {MAX_EQUAL_FAILURES} trials failed in the same way: {error}; their output is in '
                f'{self.sweep.folder}/trial_*.txt; after fixing the cause, repeat the command with --retry_failed'
            )
            self._stop()


def storage_errors():
    """Return the exceptions (tuple of types) that a storage raises if it does not answer."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    return StorageInternalError, SQLAlchemyError


def epochs_text(training):
    """Return the last epoch of a training (str)."""
    return f'epoch {training.history[-1][0]}' if training.history else 'less than an epoch'


def normalised_error(message):
    """Return a message (str) without its numbers, which differ from trial to trial."""
    return re.sub(r'[\d.]+(e[+-]?\d+)?', 'N', message)


def value_text(value):
    """Return the value of a parameter as text (str), floats with four significant digits."""
    return number_text(value, trimmed=True) if isinstance(value, float) else str(value)
