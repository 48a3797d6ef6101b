"""--profile: a breakdown of a training step's time as a table, with one line of advice and a trace."""

import functools
import operator
import os
import time
from contextlib import contextmanager
from itertools import islice
from math import prod
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function, supported_activities

from utils.base.batches import length_or_none
from utils.base.machine import cpu_cores, memory
from utils.base.regular_files import made_regular
from utils.tasks.tasks import task_of
from utils.training.advice import STEP_PARTS, RunFacts, advise

TRACE_FILE = 'trace.json.gz'
MAX_PROFILED_STEPS = 60


def with_profiler(trainer, batches):
    """Return the batches (iterable); with --profile the steps of the first epoch are measured."""
    if not trainer.session.is_profile_due:
        return batches
    trainer.session.is_profile_due = False
    # The trainer keeps no reference to it: a cycle would keep worker processes alive until they time out.
    return StepProfiler(trainer).steps(iter(batches))


class StepProfiler:
    """Measures some steps of an epoch; the training results are bit-identical.

        for batch in StepProfiler(trainer).steps(batches):    # the same batches, an iterator

    Some steps warm up, some are measured as a whole, some are timed by part, and some are traced by torch.profiler with
    the same names. Methods of the trainer, its loader, logger and optimizer are wrapped during these steps only.

    Exactly one part, the innermost, runs at any time, so the parts add up to the whole step. The time between
    compute_loss and optimizer.step is `backward`; the time of `step` without `to_device` is `forward`.

    On a GPU, timed steps synchronise at each boundary (torch.cuda.synchronize): otherwise the GPU would still compute
    earlier parts, and their time would count for a later one. This makes the steps slower, hence the steps measured as
    a whole, which synchronise only at their ends. Traced steps do not synchronise. After a trace, CUDA's profiler may
    stay loaded and cost a few percent until the process ends.

    Args:
        trainer: train.Trainer, ready to train.
    """

    def __init__(self, trainer):
        self.trainer = trainer
        self.names = dict(zip(STEP_PARTS, STEP_PARTS, strict=True))
        if trainer.prepare.augment is not None:
            self.names['copy'] = 'copy and augment'
        on_gpu = trainer.device.type == 'cuda'
        self.gpus = (getattr(trainer.model, 'device_ids', None) or [trainer.device]) if on_gpu else []
        self.part = self.mark = self.since = self.range = self.whole = None
        self.timed, self.followed, self.gpu_wait, self.seconds = 0, 0, 0.0, dict.fromkeys(STEP_PARTS, 0.0)

    def steps(self, batches):
        """Yield the batches of an iterator, and report the measurements once they are complete."""
        warm, whole, timed, traced = plan_steps(operator.length_hint(self.trainer.train_loader, MAX_PROFILED_STEPS))
        if not self.gpus:
            os.environ.setdefault('KINETO_LOG_LEVEL', '99')  # no warning on stderr that there is no GPU
        yield from islice(batches, warm)
        yield from self._whole_steps(batches, whole)
        with self._wrap_methods():
            yield from self._steps_by_part(batches, timed, self._add_time)
            self.timed, recorded = self.followed, None
            if traced:
                # Without acc_events torch 2.10 warns.
                with profile(activities=self._activities(), acc_events=True) as recorded:
                    yield from self._steps_by_part(batches, traced, self._name)
        self._report(warm + whole, recorded)
        yield from batches

    def _whole_steps(self, batches, count):
        self._wait()
        started = time.perf_counter()
        yield from islice(batches, count)
        self._wait()
        self.whole = (count, time.perf_counter() - started) if count else None

    def _steps_by_part(self, batches, count, mark):
        """Yield up to `count` batches; `mark(ended part, started part)` is called at each boundary."""
        self.mark, self.followed = mark, 0
        try:
            for _ in range(count):
                self._begin_part('data')
                batch = next(batches, self)
                if batch is self:  # the loader has fewer batches than expected
                    return
                self._begin_part('rest')
                self.followed += 1
                yield batch
        finally:
            self._begin_part(None)
            self.mark = None  # a bound method of this object, hence a reference cycle

    def _begin_part(self, part):
        """Start a part (str, or None after the last) and return the part that it ends."""
        ended, self.part = self.part, part
        self.mark(ended, part)
        return ended

    def _add_time(self, ended, part):
        asked = time.perf_counter()
        self._wait()
        now = time.perf_counter()
        if ended is not None:
            self.seconds[ended] += now - self.since
            self.gpu_wait += now - asked if ended in ('forward', 'loss', 'backward') else 0
        self.since = now

    def _name(self, ended, part):
        if ended is not None:
            self.range.__exit__(None, None, None)
        if part is not None:
            self.range = record_function(self.names[part])
            self.range.__enter__()

    def _wait(self):
        for gpu in self.gpus:
            torch.cuda.synchronize(gpu)

    @contextmanager
    def _wrap_methods(self):
        """Return a context in which the methods that a step calls mark the boundaries of parts."""
        trainer = self.trainer
        undo = [
            self._wrap(trainer, 'step', 'forward'),
            self._wrap(trainer, 'to_device', 'copy'),
            self._wrap(trainer, 'compute_loss', 'loss', then='backward'),
            self._wrap(trainer, 'compute_metrics', 'metrics'),
            self._wrap(trainer.session, 'finite_loss', 'logging'),
            self._wrap(trainer.logger, 'record', 'logging'),
            self._wrap(trainer.logger, 'record_sum', 'logging'),
            self._wrap(trainer.optimizer, 'zero_grad', 'optimizer'),
            self._wrap(trainer.optimizer, 'step', 'optimizer', then='rest'),
        ]
        if hasattr(trainer.train_loader, 'prepare'):  # called by Danlu's own loader for several small batches at once
            undo.append(self._wrap(trainer.train_loader, 'prepare', 'copy'))
        try:
            yield
        finally:
            for function in undo:
                function()

    def _wrap(self, owner, name, part, then=None):
        """Wrap a method of one object and return a function that removes the wrapper.

        Args:
            owner, name: the object and the method's name.
            part: the part that the method's time counts for.
            then: the part that the loop's time counts for afterwards; None: the same as before.
        """
        method, own = getattr(owner, name), vars(owner).get(name)

        @functools.wraps(method)
        def wrapper(*args, **kwargs):
            before = self._begin_part(part)
            try:
                return method(*args, **kwargs)
            finally:
                self._begin_part(then if then and before in ('rest', 'backward') else before)

        setattr(owner, name, wrapper)
        return functools.partial(delattr, owner, name) if own is None else functools.partial(setattr, owner, name, own)

    def _activities(self):
        wanted = {ProfilerActivity.CPU, ProfilerActivity.CUDA} if self.gpus else {ProfilerActivity.CPU}
        return wanted & supported_activities()

    def _report(self, before, recorded):
        say = self.trainer.logger.print
        if not self.timed:
            say('profile: nothing was measured, the epoch ended too early')
            return
        parts = {name: 1000 * seconds / self.timed for name, seconds in self.seconds.items()}
        say(f'profile: mean of {steps_text(self.timed)}, after {before} others')
        say('\n'.join(breakdown_lines({self.names[name]: time for name, time in parts.items()})))
        if self.whole is not None:
            count, seconds = self.whole
            waits = ', without waiting for the GPU in each part' if self.gpus else ''
            say(f'  {"as a whole before":<16}{1000 * seconds / count:>11.3f}  ({steps_text(count)}{waits})')
        say(f'advice: {advise(parts, run_facts(self.trainer, 1000 * self.gpu_wait / self.timed))}')
        if recorded is not None:
            path = Path(self.trainer.args.model_dir) / TRACE_FILE
            save_trace(recorded, path)
            say(f'trace: {path} ({steps_text(self.followed)}); open it in https://ui.perfetto.dev or chrome://tracing')


def plan_steps(steps):
    """Return how many steps of an epoch warm up, are measured as a whole, timed and traced (tuple of int)."""
    warm, whole, traced = min(5, (steps + 1) // 4), min(10, steps // 6), min(5, (steps + 2) // 4)
    return warm, whole, min(40, steps - warm - whole - traced), traced


def steps_text(number):
    """Return '1 step', '2 steps' ... (str)."""
    return f'{number} step' + 's' * (number != 1)


def breakdown_lines(parts):
    """Return the lines (list of str) of a breakdown: dict from a part's name to its milliseconds per step."""
    whole = sum(parts.values())
    rows = [f'  {name:<16}{ms:>12.3f}{ms / whole:>10.1%}' for name, ms in (*parts.items(), ('whole step', whole))]
    return [f'  {"part":<16}{"ms/step":>12}{"share":>10}', *rows]


def save_trace(recorded, path):
    """Write torch.profiler's recording as a Chrome trace atomically; the Path ends in .gz."""
    partial = path.with_name(f'partial.{path.name}')
    recorded.export_chrome_trace(str(made_regular(partial)))
    os.replace(partial, path)


def run_facts(trainer, gpu_wait):
    """Return the RunFacts of a Trainer; `gpu_wait` is in milliseconds per step."""
    args = trainer.args
    train, val = (getattr(loader, 'dataset', None) for loader in (trainer.train_loader, trainer.val_loader))
    ours = not trainer.ready_made and train is not None  # the Batches of data/data_entry.py
    channels = args.channels or 3
    planes = channels + {'mask': 1, 'picture': channels}.get(task_of(args).target, 0)
    lengths = [length_or_none(part) for part in (train, val) if part is not None] if ours else [None]
    known = None not in lengths
    size = sum(lengths) * planes * prod(args.image_size) if known else 0
    return RunFacts(
        device=trainer.device.type,
        data_type=args.data_type if ours else None,
        in_memory=ours and getattr(train.dataset, 'in_memory', False),
        fits_memory=known and size < memory() / 4,
        workers=trainer.workers,
        cores=cpu_cores(),
        threads=torch.get_num_threads(),
        batch_size=args.batch_size,
        augment='none' if trainer.prepare.augment is None else args.augment,
        fast=args.fast or None not in (args.amp, args.channels_last, args.compile),
        gpu_wait=gpu_wait,
    )
