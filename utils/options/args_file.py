"""args.txt: every option of a run or a test, so that @args.txt repeats it. Imports no torch."""

import datetime
import re
import shlex
from pathlib import Path

from utils.base.atomic_write import atomic_writer
from utils.options.arguments import option_line
from utils.options.checks import shown
from utils.options.defaults import default_of
from utils.options.given_parts import NOT_USED, head_lines, unused_of
from utils.options.needs import is_used

PERMISSION = re.compile('--(no_)?trust_checkpoint')  # older versions set this option in args.txt
MARK = '  # default: '  # after a value that is not the default


def write_args(parser, args, directory, note=None, place=None):
    """Write every option to `<directory>/args.txt`, one per line; values that are not the default are marked.

    Args:
        parser: parser of the options.
        args: Namespace that the parser returned.
        directory: an existing args.txt in this directory is replaced atomically.
        note: a line (str) at the top, for example that the run was resumed.
        place: directory that the file will be moved to; default: directory.
    """
    path = Path(directory) / 'args.txt'
    command = f'python {parser.prog} {shlex.quote("@" + str(Path(place or directory, path.name)))}'
    lines = [*(head_lines(args) or [f'# {command}']), f'# {datetime.datetime.now():%Y-%m-%d %H:%M:%S}']
    lines += [f'# {note}'] if note else []
    with atomic_writer(path) as file:
        file.write('\n'.join([*lines, *args_lines(parser, args)]) + '\n')


def args_lines(parser, args):
    """Return the lines (list of str) of an args.txt, one per option: see `write_args`."""
    actions, unused = options_of(parser), unused_of(getattr(args, 'given_parts', None) or {}, parser.keywords())
    lines = [f'# {len(actions)} options']  # record_parser tells deleted lines from later options by this number
    for action in actions:
        value = getattr(args, action.dest)
        line = option_line(action.dest, value)
        if action.dest in unused and value is not None:
            line = f'# {line}{NOT_USED}{unused[action.dest]} is ready-made)'
        elif not action.repeated and value is not None:
            line = f'# {line}'
        elif action.dest in getattr(args, 'from_data', []) and value not in (None, []):
            line = f'# {line}  (found in the data; given here, it would stay when the data changes)'
        elif value is not None and value != default_of(action, args):
            line += f'{MARK}{shown(default_of(action, args))}'
        lines.append(line)
    return lines


def same_options(lines, others):
    """Return whether the lines (list of str) of two args.txt set the same options (bool)."""
    ours, theirs = (
        [line.partition(MARK)[0] for line in each if line.startswith('--') and not PERMISSION.match(line)]
        for each in (lines, others)
    )
    return ours == theirs


def changed(parser, args, aside=()):
    """Return the options whose values differ from their defaults (dict).

    Options without effect, options that @args.txt does not repeat, and those in `aside` (names) are left out.
    """
    aside = {*aside, *unused_of(getattr(args, 'given_parts', None) or {}, parser.keywords())}
    values = {action.dest: getattr(args, action.dest) for action in options_of(parser)}
    return {
        action.dest: values[action.dest]
        for action in options_of(parser)
        if action.repeated
        and action.dest not in aside
        and values[action.dest] != default_of(action, args)
        and is_used(action, args)
    }


def options_of(parser):
    """Return the options of a parser (list of argparse.Action)."""
    return [action for action in parser._actions if action.dest != 'help']
