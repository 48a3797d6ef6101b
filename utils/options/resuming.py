"""--resume: the options of a run that goes on, and which of them the command line may change. Imports no torch."""

import glob
import os
import shlex
from pathlib import Path

from utils.base.errors import DanluError
from utils.base.registry import close_names
from utils.options.args_file import options_of
from utils.options.arguments import shorten_text
from utils.options.checks import expand, shown
from utils.options.given_parts import unused_of
from utils.options.palette import fitted
from utils.tasks.tasks import task_of

LAST, BEST = 'last.pth', 'best.pth'
AUTO = 'auto'  # --resume: the newest run of the name, or a new one
ENDING_WITH_RUN = ('cosine', 'poly', 'onecycle')  # schedules whose every step depends on the number of epochs


def run_name(args):
    """Return the name (str) of the directory of a run, without the number that may follow it."""
    if args.model_dir:
        return Path(args.model_dir).name
    return f'{args.model_type}_{args.save_prefix}'.replace(':', '_').replace('/', '_')


def newest_run(args):
    """Return the directory (str) of the newest run with the name that args gives which can be resumed, or None."""
    name = run_name(args)
    runs = [path.parent for path in Path(args.checkpoints_dir).glob(f'{glob.escape(name)}*/last*.pth')]
    numbers = {run: run.name.removeprefix(name).removeprefix('_') or '1' for run in runs}
    found = [run for run, number in numbers.items() if number.isdecimal() and (run / 'args.txt').is_file()]
    return str(max(found, key=lambda run: int(numbers[run]))) if found else None


def locate_runs(parser, args):
    """Replace the names of runs in --resume and --load_model_path by paths: of the run, and of its best.pth.

    Args:
        parser: for errors.
        args: options (Namespace), changed in place; a name is relative to checkpoints_dir.
    """
    for option in ('resume', 'load_model_path'):
        word = getattr(args, option, None)
        if word in (None, AUTO):
            continue
        path = Path(args.checkpoints_dir, word)  # an absolute path stays as it is
        if not os.path.isabs(word) and not os.path.exists(path):
            places = f'looked in {os.getcwd()} and, for the name of a run, in {args.checkpoints_dir}'
            parser.error(f'argument --{option}: {shorten_text(word)!r} does not exist ({places}){_similar(word, args)}')
        if option == 'load_model_path' and os.path.isfile(path / BEST):
            path /= BEST
        setattr(args, option, str(path))


def _similar(word, args):
    """Return a hint (str) on the runs in checkpoints_dir with a name similar to `word`, or ''."""
    names = [path.name for path in Path(args.checkpoints_dir).glob('*/')]
    close = [name for name in names if name.startswith(word)][:3] or close_names(word, names)
    return f'; did you mean {" or ".join(close)}?' if close else ''


def resumed_options(parser, args):
    """Return the options (Namespace) of the run that --resume names, with what the command line may change.

    Args:
        parser: of train.py.
        args: options of the command line alone; resume is the directory of a run or a checkpoint in it.
    """
    run = Path(args.resume)
    run = run if run.is_dir() else run.parent
    record = run / 'args.txt'
    if not record.is_file() or not list(run.glob('last*.pth')):
        parser.error(f'argument --resume: {run} cannot be resumed: it needs args.txt and last.pth')
    given = {name: getattr(args, name) for name in args.given}
    expand(parser, given)
    for action in options_of(parser):
        if action.dest == 'load_model_path':
            action.type = os.path.abspath  # last.pth has the initial weights; their file need not exist any more
    recorded = parser.parse_args([f'@{record}'])
    recorded.model_dir = str(run)
    _check_changes(parser, given, recorded, record)
    resumed = parser.parse_args([f'@{record}', *args.words])
    resumed.model_dir, resumed.checkpoints_dir, resumed.resume = str(run), str(run.parent), str(args.resume)
    if getattr(resumed, 'as'):
        resumed.model_dir = None  # utils.training.run_copy.begin_copy makes it
        resumed.checkpoints_dir = given.get('checkpoints_dir', resumed.checkpoints_dir)
    return resumed


def _check_changes(parser, given, recorded, record):
    """Refuse options (dict) of the command line that a resumed run may not change; record: path of its args.txt."""
    changeable, repeat = parser.names(changeable=True), f'python train.py {shlex.quote(f"@{record}")}'
    unused = unused_of(getattr(recorded, 'recorded_parts', None) or {}, parser.keywords())
    for name, value in given.items():
        if name not in (*changeable, *unused) and value != getattr(recorded, name):
            parser.error(
                f'argument --{name}: cannot change in a resumed run (it is {shown(getattr(recorded, name))}); only '
                f'{", ".join(changeable)} can change. For another run with one change: {repeat} --{name} ...'
            )
    _refuse_other_colours(parser, given, recorded)
    if recorded.schedule in ENDING_WITH_RUN and given.get('epochs', recorded.epochs) != recorded.epochs:
        parser.error(
            f'argument --epochs: --schedule {recorded.schedule} ends with the run, after {recorded.epochs}; for a '
            f'longer one: {repeat} --epochs {given["epochs"]}'
        )


def _refuse_other_colours(parser, given, recorded):
    """Refuse another --palette for a resumed segmentation, whose masks stored as RGB are read by the palette."""
    if 'palette' not in given or task_of(recorded).target != 'mask' or recorded.palette is None:
        return
    classes = recorded.num_classes, recorded.class_names
    try:
        same = fitted(given['palette'], *classes) == fitted(recorded.palette, *classes)
    except DanluError as error:
        parser.error(f'argument --palette: {error}')
    if not same:
        parser.error(
            f'argument --palette: masks stored as RGB are read by the colours, so a resumed segmentation keeps them '
            f'({shown(recorded.palette)})'
        )
