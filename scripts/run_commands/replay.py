"""Repeat the first steps of a run from its own record and name the first that differs: runs.py replay RUN.

    python scripts/runs.py replay lenet_exp --steps 20
    git bisect start HEAD v1 && git bisect run python scripts/runs.py replay lenet_exp     # which commit changed it?

Exit status, as `git bisect run` takes it: 0 the steps are those of the run, 1 they differ, 125 that cannot be told.
"""

import contextlib
import io
import math
import shutil
import sys
import tempfile
from pathlib import Path

from scripts.run_commands.finding import find_run
from utils.base.errors import DanluError, message_of
from utils.options.arguments import from_keywords, number

SAME, DIFFERS, UNKNOWN = 0, 1, 125


def add_arguments(parser):
    """Add what the command takes."""
    parser.add_argument('run', metavar='RUN', help='name or directory of the run')
    parser.add_argument('--steps', default=20, type=number(int, low=1), metavar='N', help='how many, of those noted')
    parser.add_argument(
        '--close', type=number(float, low=0), metavar='X',
        help='losses may differ by this share, and weights are not compared: for another machine or device, where '
             'sums are rounded otherwise',
    )  # fmt: skip


def run(args):
    """Replay, print what came of it, and return the exit status (int)."""
    try:
        directory = find_run(args.run, args.checkpoints_dir).path
        line, status = replay(directory, args.steps, args.close)
    except DanluError as error:
        line, status = f'cannot be replayed: {message_of(error)}', UNKNOWN
    except Exception as error:  # of whatever code is there now: a commit that cannot train is none that differs
        line, status = f'cannot be replayed: the code fails with {type(error).__name__}: {error}', UNKNOWN
    print(line, file=sys.stderr if status == UNKNOWN else sys.stdout)
    return status


def replay(directory, steps, close=None):
    """Repeat the first steps of a run with the code that is there now.

    Args:
        directory: of the run (path).
        steps: how many at most (int); those count that the run has noted.
        close: share by which losses may differ, weights then do not count; None: the same bits.

    Returns:
        what came of it (str), and SAME or DIFFERS.

    Raises:
        DanluError: the run has noted no steps, or its parts were not built by their names.
    """
    from utils.provenance.replay_log import REPLAY_FILE, read_replay_log  # with it comes torch

    try:
        conditions, noted = read_replay_log(directory)
    except FileNotFoundError:
        raise DanluError(f'{directory} has no {REPLAY_FILE}: it did no step, or an older Danlu made it') from None
    except ValueError as error:
        raise DanluError(str(error)) from None
    if conditions['ready_made']:
        raise DanluError(f'{directory} was made by a script with parts of its own, which args.txt cannot name')
    if conditions.get('processes', 1) > 1:
        raise DanluError(f'{directory} was made by {conditions["processes"]} processes; what one has done is replayed')
    noted = noted[:steps]
    repeated_on, repeated = repeat(directory, conditions, len(noted))
    changed = [
        f'{name} {conditions[name]} -> {repeated_on[name]}'
        for name in ('threads', 'device', 'torch')
        if conditions[name] != repeated_on[name]
    ]
    note = f' (not as it was: {", ".join(changed)})' if changed else ''
    if difference := first_difference(noted, repeated, close):
        return f'{difference}{note}', DIFFERS
    what = 'data, weights and loss' if close is None else f'data, and within {close:g} the loss,'
    return f'{what} of the first {len(noted)} steps are those of the run{note}', SAME


def repeat(directory, conditions, steps):
    """Train for so many steps as the record of a run says; return what `read_replay_log` reads of it."""
    from options import parse_train_args
    from train import Trainer
    from utils.provenance.replay_log import ReplayLog, read_replay_log

    class Enough(Exception):
        """So many steps are done."""

    class Replay(Trainer):
        """A run that ends after some steps."""

        def train_step(self, batch):
            if not self.first_steps.left:
                raise Enough
            return super().train_step(batch)

    folder = tempfile.mkdtemp(prefix='danlu_replay_')
    try:
        options = {'checkpoints_dir': folder, 'threads': conditions['threads']}
        args = from_keywords(lambda words: parse_train_args([f'@{Path(directory) / "args.txt"}', *words]), options)
        with contextlib.redirect_stdout(io.StringIO()):
            trainer = Replay(args)
            trainer.first_steps = ReplayLog(args.model_dir, steps)
            with contextlib.suppress(Enough):
                trainer.train()
        return read_replay_log(args.model_dir)
    finally:
        shutil.rmtree(folder)


def first_difference(noted, repeated, close):
    """Return what differs first between two runs' steps (str), or None.

    In a step the data comes first, then the weights with which it begins, then the loss that both lead to.
    """
    for then, now in zip(noted, repeated, strict=False):
        step = then['step']
        if then['data'] != now['data']:
            return f'step {step} differs: the data, pictures or targets, is not what the run saw'
        if close is None and then['weights'] != now['weights']:
            made = 'the network begins with other weights' if step == 1 else f'step {step - 1} led to other weights'
            return f'step {step} differs: the weights; {made}, although data and loss were the same before'
        both_nan = math.isnan(then['loss']) and math.isnan(now['loss'])
        if not both_nan and not math.isclose(then['loss'], now['loss'], rel_tol=close or 0):
            return (
                f'step {step} differs: the loss is {now["loss"]!r}, was {then["loss"]!r}, of the same data and weights'
            )
    if len(repeated) < len(noted):
        return f'step {len(repeated) + 1} differs: the data ends after {len(repeated)} steps'
    return None
