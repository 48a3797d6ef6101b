"""Repeat training steps of a run, the first ones or late ones, and report the first difference: runs.py replay RUN.

    python scripts/runs.py replay lenet_exp --steps 20
    python scripts/runs.py replay lenet_exp --at 0.9     # from the checkpoint that is nearest to 90 % of the run
    git bisect start HEAD v1 && git bisect run python scripts/runs.py replay lenet_exp     # which commit changed it?

Compared are the data, the weights, the states of optimizer and EMA, the learning rates, and the loss of each step.
Exit status, as `git bisect run` takes it: 0 the steps are equal, 1 they differ, 125 the run cannot be replayed. A wrong
argument, such as the name of an unknown run, is 2.
"""

import contextlib
import io
import math
import shutil
import sys
import tempfile
from pathlib import Path

from utils.base.errors import DanluError, message_of
from utils.base.regular_files import read_regular_text, write_regular_text
from utils.base.text_table import count_text, distinct_number_texts, printable, terminal_width, wrap_lines
from utils.options.arguments import existing_path, from_keywords, number, option_line
from utils.runs.run import parse_option
from utils.runs.run_index import find_run

SAME, DIFFERS, UNKNOWN = 0, 1, 125
RESUMABLE = ('epoch_*.pth', 'last.prev.pth', 'last.pth')
# States before a step: how they are named, if they differ at the first step and at a later one.
STATES = {
    'weights': ('the initial weights are not those of the run', 'other weights'),
    'optimizer': ('the initial optimizer state is not that of the run', 'another optimizer state'),
    'ema': ('the initial EMA is not that of the run', 'another EMA'),
}


# fmt: off
def add_arguments(parser):
    """Add the arguments of the command."""
    parser.add_argument('run', metavar='RUN', help='name or directory of the run')
    parser.add_argument('--steps', default=20, type=number(int, low=1), metavar='N',
                        help='maximum number of recorded steps to repeat (default: 20)')
    parser.add_argument('--at', type=number(float, low=0, high=1), metavar='X',
                        help='repeat the recorded steps after the checkpoint that is nearest to this share of the run, '
                             '0 to 1 (default: the first steps of the run)')
    parser.add_argument('--close', type=number(float, low=0), metavar='X',
                        help='allow losses and learning rates to differ by this relative tolerance, and do not compare '
                             'weights, optimizer and EMA; for another machine or device, where floating-point sums '
                             'are rounded differently')
    parser.add_argument('--train_list', '--train-list', type=existing_path, metavar='PATH',
                        help='the list of training data, if it was moved')
    parser.add_argument('--val_list', '--val-list', type=existing_path, metavar='PATH',
                        help='the list of validation data, if it was moved')


# fmt: on
def run(args):
    """Replay the run, print the result, and return the exit status (int)."""
    lists = {name: getattr(args, name) for name in ('train_list', 'val_list') if getattr(args, name) is not None}
    directory = find_run(args.run, args.checkpoints_dir).path  # an unknown run is a usage error, with status 2
    try:
        lines, status = replay(directory, args.steps, args.close, args.at, lists)
    except DanluError as error:
        lines, status = [f'cannot be replayed: {message_of(error)}'], UNKNOWN
    except Exception as error:  # any exception of today's code; git bisect skips a commit that cannot train
        lines, status = [f'cannot be replayed: the code fails with {type(error).__name__}: {error}'], UNKNOWN
    shown = (wrap_lines(printable(line), terminal_width()) for line in lines)
    print(*shown, sep='\n', file=sys.stderr if status == UNKNOWN else sys.stdout)
    return status


def replay(directory, steps, close=None, at=None, lists=None):
    """Repeat steps of a run with today's code.

    Args:
        directory: path of the run.
        steps: maximum number of recorded steps (int).
        close: relative tolerance of losses and learning rates, without comparing weights; None: bit-identical values.
        at: share of the run (float) near which a checkpoint is resumed; None: the first steps.
        lists: options (dict of str) that replace those of the run: train_list, val_list.

    Returns:
        the result (list of str: the first line, and what has changed since the run), and SAME or DIFFERS.

    Raises:
        DanluError: the run has no recorded steps, had ready-made parts, or was made by several processes.
    """
    conditions, segments = read_steps(directory)
    options = {'threads': conditions['threads'], **(lists or {})}
    if at is None:
        checkpoint, recorded, which = None, segments[0], 'first {} steps'
    else:
        checkpoint, recorded = nearest_checkpoint(directory, segments, at)
        which = f'{{}} steps after {checkpoint.name}'
    recorded = recorded[:steps]
    conditions_now, repeated, changes = repeat(directory, options, len(recorded), checkpoint)
    found = [
        f'{name} {conditions[name]} -> {conditions_now[name]}'
        for name in ('threads', 'device', 'torch')
        if conditions[name] != conditions_now[name]
    ]
    note = f' (changed: {", ".join(found)})' if found else ''
    since = [f'changed since the run: {line}' for line in changes]
    if difference := first_difference(recorded, repeated, close, late=at is not None):
        none = 'no change of data, versions and code is known that explains it'
        return [f'{difference}{note}', *(since or [none] * (not found))], DIFFERS
    what = compared_states(recorded) if close is None else f'data, and losses within {close:g},'
    return [f'{what} of the {which.format(len(recorded))} are equal to those of the run{note}', *since], SAME


def compared_states(recorded):
    """Return what is compared in recorded steps (list of dict) as text (str); older versions recorded less."""
    first = next(iter(recorded), {})
    ema = ['EMA'] if first.get('ema') is not None else []
    return (
        ', '.join(['data', 'weights', *ema, *(['optimizer', 'learning rates'] if 'lr' in first else [])])
        + ' and losses'
    )


def read_steps(directory):
    """Return the conditions (dict) of a run and its recorded steps: lists of consecutive steps (list of list of dict).

    The first list holds the first steps of the run, the others those after a checkpoint.

    Raises:
        DanluError: the run has no recorded steps, had ready-made parts, or was made by several processes.
    """
    from utils.provenance.replay_log import REPLAY_FILE, read_late_steps, read_replay_log  # imports torch

    try:
        conditions, first = read_replay_log(directory)
        late = read_late_steps(directory)
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
    segments = [first]
    for step in late:
        if step['step'] == 1 or len(segments) == 1:
            segments.append([])
        segments[-1].append(step)
    return conditions, segments


def nearest_checkpoint(directory, segments, at):
    """Return the path of the kept checkpoint nearest to a share of the run, and the recorded steps after it.

    Args:
        directory: path of the run.
        segments: lists of consecutive steps, as `read_steps` returns them.
        at: share of the optimizer steps of the run (float).

    Raises:
        DanluError: no kept checkpoint has recorded steps after it.
    """
    from utils.runs.checkpoint import load_checkpoint

    states = {}
    for path in sorted(path for pattern in RESUMABLE for path in Path(directory).glob(pattern)):
        with contextlib.suppress(DanluError):  # damaged; the others may serve
            state = load_checkpoint(path)
            states[path] = state.get('step', 0), state['epoch'], (state.get('loader') or {}).get('batch', 0)
    total = max((step for step, _, _ in states.values()), default=0)
    found = {
        path: steps for path, (_, epoch, batch) in states.items() if (steps := steps_after(segments, epoch, batch))
    }
    if not found:
        names = ', '.join(path.name for path in states) or 'none'
        raise DanluError(
            f'{directory} has no recorded steps after a kept checkpoint ({names}); --save_freq keeps one every N '
            'epochs, and older versions recorded only the first steps'
        )
    path = min(found, key=lambda path: abs(states[path][0] - at * total))
    return path, found[path]


def steps_after(segments, epoch, batch):
    """Return the recorded steps (list of dict) after `epoch` epochs and `batch` batches of the next one, or []."""
    for wanted in ((epoch + 1, batch + 1), (epoch + 2, 1)):  # the second one if the epoch's last batch was done
        for segment in reversed(segments):
            for index, step in enumerate(segment):
                if (step.get('epoch'), step.get('batch')) == wanted:
                    return segment[index:]
    return []


def repeat(directory, options, steps, checkpoint=None):
    """Train for `steps` steps with the options of a run.

    Args:
        directory: path of the run.
        options: that replace those of the run (dict).
        steps: number of steps (int).
        checkpoint: path of the checkpoint that is resumed; None: from the start.

    Returns:
        what `read_replay_log` reads of the new run, and what has changed since the run (list of str).
    """
    from options import parse_train_args
    from train import Trainer
    from utils.provenance.record import open_archive, read_record, record_differences
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
        copy = Path(folder, 'copy')
        copy.mkdir()
        if checkpoint is not None:
            copy_at(checkpoint, copy)
        write_regular_text(copy / 'args.txt', changed_args(directory, options))
        words = [f'@{copy / "args.txt"}', '--checkpoints_dir', folder] if checkpoint is None else ['--resume', copy]
        with contextlib.redirect_stdout(io.StringIO()):
            args = from_keywords(lambda _: parse_train_args(words), {})
            trainer = Replay(args)
            trainer.session.replay_log = ReplayLog(args.model_dir, steps, late=0)
            with contextlib.suppress(AllStepsDone):
                trainer.train()
        then = read_record(directory)
        changes = record_differences(then, trainer.record.values, open_archive(then, directory)) if then else []
        return *read_replay_log(args.model_dir), changes
    finally:
        shutil.rmtree(folder)


def changed_args(directory, options):
    """Return the args.txt of a run (str) with other values of `options` (dict of str and int)."""
    lines = read_regular_text(Path(directory) / 'args.txt').splitlines()
    kept = [line for line in lines if (parse_option(line) or ('',))[0] not in options or line.startswith('#')]
    return '\n'.join([*kept, *(option_line(name, value) for name, value in options.items())]) + '\n'


def copy_at(checkpoint, target):
    """Copy a run as it was at a checkpoint (Path) into an empty directory (Path), without its recorded steps."""
    from utils.provenance.replay_log import REPLAY_FILE
    from utils.runs.checkpoint import load_checkpoint
    from utils.training.run_copy import copy_run

    copy_run(load_checkpoint(checkpoint), checkpoint, target)
    (target / REPLAY_FILE).unlink()


def first_difference(recorded, repeated, close, late=False):
    """Return the first difference between the steps of two runs (str), or None.

    Within a step, the data is compared first, then the learning rates and the states before the step, then the loss.
    States that an older version did not record are not compared.

    Args:
        recorded, repeated: steps (list of dict).
        close: see `replay`.
        late: whether the steps are named by epoch and batch (bool).
    """
    previous = None
    for then, now in zip(recorded, repeated, strict=False):
        step = name_of_step(then, late)
        if then['data'] != now['data']:
            return f'{step} differs: the data (images or targets) is not that of the run'
        if different_rates(then, now, close):
            return f'{step} differs: the learning rate is {rates_text(now["lr"])}, was {rates_text(then["lr"])}'
        for key, (initial, other) in STATES.items() if close is None else ():
            if then.get(key) is not None and then[key] != now.get(key):
                led = f'{previous} led to {other} from the same data, weights and loss'
                return f'{step} differs: {initial if previous is None else led}'
        both_nan = math.isnan(then['loss']) and math.isnan(now['loss'])
        if not both_nan and not math.isclose(then['loss'], now['loss'], rel_tol=close or 0):
            loss, before = distinct_number_texts([now['loss'], then['loss']])
            return f'{step} differs: the loss is {loss}, was {before}, for the same data and weights'
        previous = step
    if len(repeated) < len(recorded):
        step, done = name_of_step(recorded[len(repeated)], late), count_text(len(repeated), 'step')
        return f'{step} differs: the data ends after {done}'
    return None


def name_of_step(step, late):
    """Return the name (str) of a recorded step (dict)."""
    return f'batch {step["batch"]} of epoch {step["epoch"]}' if late else f'step {step["step"]}'


def different_rates(then, now, close):
    """Return whether the learning rates of two steps (dict) differ (bool); older versions did not record them."""
    before, after = then.get('lr'), now.get('lr')
    if before is None or after is None:
        return False
    pairs = zip(before, after, strict=False)
    return len(before) != len(after) or any(not math.isclose(*pair, rel_tol=close or 0) for pair in pairs)


def rates_text(rates):
    """Return learning rates (list of float) as text (str), equal ones once."""
    return ', '.join(map(repr, dict.fromkeys(rates)))
