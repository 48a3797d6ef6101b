"""args.txt: every option of a run, written so that @args.txt repeats it. Imports no torch."""

import datetime
import shlex
from pathlib import Path

from utils.arguments import option_line
from utils.loss_options import default_loss
from utils.option_checks import shown
from utils.run_directory import replacing


def write_args(parser, args, directory, not_repeated, note=None):
    """Write every option to `<directory>/args.txt`, one per line, those that differ from their default marked.

    Args:
        parser: that of the options.
        args: the namespace that it returned.
        directory: where to write; an args.txt that is there is replaced in one step.
        not_repeated: names of the options that stand there as comments only.
        note: a line (str) to put at the top, for example what a resumed run changed.
    """
    path = Path(directory) / 'args.txt'
    command = f'python {parser.prog} {shlex.quote("@" + str(path))}'
    lines = [f'# {command}', f'# {datetime.datetime.now():%Y-%m-%d %H:%M:%S}', *([f'# {note}'] if note else [])]
    actions = options_of(parser)
    lines.append(f'# {len(actions)} options')  # tells a later version whether lines were deleted: utils/past.py
    for action in actions:
        value = getattr(args, action.dest)
        line = option_line(action.dest, value)
        if action.dest in not_repeated and value is not None:
            line = f'# {line}'
        elif action.dest in getattr(args, 'from_data', []) and value not in (None, []):
            line = f'# {line}  (found in the data; given here, it would stay when the data changes)'
        elif value is not None and value != _default_of(action, args):
            line += f'  # default: {shown(_default_of(action, args))}'
        lines.append(line)
    with replacing(path) as file:
        file.write('\n'.join(lines) + '\n')


def changed(parser, args, not_repeated):
    """Return the options whose values differ from their defaults (list of 'name=value'), for a log's first lines."""
    return [
        f'{action.dest}={shown(getattr(args, action.dest))}'
        for action in options_of(parser)
        if action.dest not in not_repeated and getattr(args, action.dest) != _default_of(action, args)
    ]


def options_of(parser):
    """Return the options of a parser (list of argparse.Action)."""
    return [action for action in parser._actions if action.dest != 'help']


def _default_of(action, args):
    return default_loss(args.task) if action.dest == 'loss' else action.default
