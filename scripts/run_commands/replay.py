"""Repeat the first training steps of a run and report the first difference: runs.py replay RUN.

    python scripts/runs.py replay lenet_exp --steps 20
    git bisect start HEAD v1 && git bisect run python scripts/runs.py replay lenet_exp     # which commit changed it?

Exit status, as `git bisect run` takes it: 0 the steps are equal, 1 they differ, 125 the run cannot be replayed.
"""

import contextlib
import io
import math
import shutil
import sys
import tempfile
from pathlib import Path

from utils.base.errors import DanluError, message_of
from utils.options.arguments import from_keywords, number
from utils.runs.run_index import find_run

SAME, DIFFERS, UNKNOWN = 0, 1, 125


def add_arguments(parser):
    """Add the arguments of the command."""
    parser.add_argument('run', metavar='RUN', help='name or directory of the run')
    parser.add_argument('--steps', default=20, type=number(int, low=1), metavar='N',
                        help='maximum number of recorded steps to repeat (default: 20)')  # fmt: skip
    parser.add_argument(
        '--close', type=number(float, low=0), metavar='X',
        help='allow losses to differ by this relative tolerance, and do not compare weights; for another machine or '
             'device, where floating-point sums are rounded differently',
    )  # fmt: skip


def run(args):
    """Replay the run, print the result, and return the exit status (int)."""
    try:
        directory = find_run(args.run, args.checkpoints_dir).path
        line, status = replay(directory, args.steps, args.close)
    except DanluError as error:
        line, status = f'cannot be replayed: {message_of(error)}', UNKNOWN
    except Exception as error:  # any exception of today's code; git bisect skips a commit that cannot train
        line, status = f'cannot be replayed: the code fails with {type(error).__name__}: {error}', UNKNOWN
    print(line, file=sys.stderr if status == UNKNOWN else sys.stdout)
    return status


def replay(directory, steps, close=None):
    """Repeat the first steps of a run with today's code.

    Args:
        directory: path of the run.
        steps: maximum number of recorded steps (int).
        close: relative tolerance of losses, without comparing weights; None: bit-identical losses and weights.

    Returns:
        the result (str), and SAME or DIFFERS.

    Raises:
        DanluError: the run has no recorded steps, had ready-made parts, or was made by several processes.
    """
    from utils.provenance.replay_log import REPLAY_FILE, read_replay_log  # imports torch

    try:
        conditions, recorded = read_replay_log(directory)
    except FileNotFoundError:
        raise DanluError(
            f'{directory} has no {REPLAY_FILE}: no step was done, or an older version made the run'
        ) from None
    except ValueError as error:
        raise DanluError(str(error)) from None
    if conditions['ready_made']:
        raise DanluError(f'{directory} was made by a script with ready-made parts, which args.txt cannot name')
    if conditions.get('processes', 1) > 1:
        raise DanluError(
            f'{directory} was made by {conditions["processes"]} processes; only runs of one process can be replayed'
        )
    recorded = recorded[:steps]
    conditions_now, repeated = repeat(directory, conditions, len(recorded))
    changed = [
        f'{name} {conditions[name]} -> {conditions_now[name]}'
        for name in ('threads', 'device', 'torch')
        if conditions[name] != conditions_now[name]
    ]
    note = f' (changed: {", ".join(changed)})' if changed else ''
    if difference := first_difference(recorded, repeated, close):
        return f'{difference}{note}', DIFFERS
    what = 'data, weights and losses' if close is None else f'data, and losses within {close:g},'
    return f'{what} of the first {len(recorded)} steps are equal to those of the run{note}', SAME


def repeat(directory, conditions, steps):
    """Train for `steps` steps with the options of a run and return what `read_replay_log` reads of the new run."""
    from options import parse_train_args
    from train import Trainer
    from utils.provenance.replay_log import ReplayLog, read_replay_log

    class AllStepsDone(Exception):
        """All steps to repeat are done."""

    class Replay(Trainer):
        """A Trainer that stops after the steps to repeat."""

        def train_step(self, batch):
            if not self.session.replay_log.left:
                raise AllStepsDone
            return super().train_step(batch)

    folder = tempfile.mkdtemp(prefix='danlu_replay_')
    try:
        options = {'checkpoints_dir': folder, 'threads': conditions['threads']}
        args = from_keywords(lambda words: parse_train_args([f'@{Path(directory) / "args.txt"}', *words]), options)
        with contextlib.redirect_stdout(io.StringIO()):
            trainer = Replay(args)
            trainer.session.replay_log = ReplayLog(args.model_dir, steps)
            with contextlib.suppress(AllStepsDone):
                trainer.train()
        return read_replay_log(args.model_dir)
    finally:
        shutil.rmtree(folder)


def first_difference(recorded, repeated, close):
    """Return the first difference between the steps of two runs (str), or None.

    Within a step, the data is compared first, then the weights before the step, then the loss.
    """
    for then, now in zip(recorded, repeated, strict=False):
        step = then['step']
        if then['data'] != now['data']:
            return f'step {step} differs: the data (images or targets) is not that of the run'
        if close is None and then['weights'] != now['weights']:
            if step == 1:
                return 'step 1 differs: the initial weights are not those of the run'
            return f'step {step} differs: step {step - 1} led to other weights from the same data, weights and loss'
        both_nan = math.isnan(then['loss']) and math.isnan(now['loss'])
        if not both_nan and not math.isclose(then['loss'], now['loss'], rel_tol=close or 0):
            losses = f'{now["loss"]!r}, was {then["loss"]!r}'
            return f'step {step} differs: the loss is {losses}, for the same data and weights'
    if len(repeated) < len(recorded):
        return f'step {len(repeated) + 1} differs: the data ends after {len(repeated)} steps'
    return None
