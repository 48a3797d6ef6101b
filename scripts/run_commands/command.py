"""Print the command line that repeats a run: with the options that are not at their defaults."""

import json
import os
import shlex

from options import train_parser
from scripts.run_commands.finding import find_run
from scripts.run_commands.sources import code_today
from utils.base.errors import DanluError
from utils.base.text_table import printable
from utils.options.args_file import options_of
from utils.options.arguments import NO_LIST, existing_list, existing_path, from_keywords, option_line, split_line
from utils.options.defaults import default_of
from utils.options.given_parts import named, unused_of
from utils.options.needs import is_used

FIRST_STEPS = 'first_steps.jsonl'  # of utils.provenance.replay_log, which imports torch


def add_arguments(parser):
    """Declare what the command takes."""
    parser.add_argument('run', metavar='RUN', help='name of the run')


def run(args):
    """Print the command; what else is to be known stands behind #, so that a shell passes over it."""
    found = find_run(args.run, args.checkpoints_dir)
    if not found.options:
        raise DanluError(f'{found.path}: there is no args.txt that can be read, so nothing says what to repeat')
    path = shlex.quote(f'@{os.path.abspath(found.path / "args.txt")}')
    if is_of_a_script(found):
        print_script(found, path)
        return
    try:
        short = short_words(found)
    except DanluError as error:
        raise DanluError(f'{found.name}: {error}; what it was can be found in its source.zip') from None
    if short is not None:
        print(shlex.join(['python', 'train.py', *short]))
        print(f'# the same with every option: python train.py {path}')
    else:
        print(f'python train.py {path}')
        print('# there is no shorter one: a command line cannot say all of its options')
    print_remarks(found)


def is_of_a_script(run):
    """Return whether a script with parts or a Trainer of its own made a run (bool), which no options can name."""
    try:
        conditions = json.loads(run.text(FIRST_STEPS).partition('\n')[0])
    except (ValueError, RecursionError):  # no step was done, or by an older version
        return False
    return isinstance(conditions, dict) and conditions.get('ready_made') is True


def print_script(run, path):
    """Print the command of a script, and `path` as what its options alone would do.

    Raises:
        DanluError: which command it was is not recorded.
    """
    command = run.begun_by.get('command')
    if not command:
        raise DanluError(f'{run.name} was made by a script with parts of its own, and by which is not recorded')
    print(printable(command))
    if run.given_parts:
        print(printable(f'# a script with ready-made parts, which options cannot name: {named(run.given_parts)}'))
    else:
        print('# a script with parts of its own, which no options of train.py name')
        print(f'# its options, without these parts: python train.py {path}')
    print_remarks(run)


def print_remarks(run):
    """Print what else is to be known, behind #."""
    for line in remarks(run):
        print(printable(f'# {line}'))


def short_words(run):
    """Return the words (list of str) that stand for all of a run's options; None: a command line cannot say them.

    Raises:
        DanluError: today's options cannot express those of the run.
    """
    parser = lenient_parser()
    recorded = parsed(parser, [f'@{run.path / "args.txt"}'])
    # A place that was the default then is the default wherever the project lies now.
    aside = {*parser.names(repeated=False), *({'checkpoints_dir'} - run.marked)}
    words = []
    for action in options_of(parser):
        value = getattr(recorded, action.dest)
        if not is_used(action, recorded):
            aside.add(action.dest)
        if action.dest not in aside and value not in (None, default_of(action, recorded)):
            words += split_line(option_line(action.dest, value), parser.error)
    # What older records have not set, today has a default, harmless where it changes nothing of the result.
    words, aside = list(map(str, words)), {*aside, *parser.names(changeable=True), 'loss'}
    try:
        again = parsed(parser, words)
    except DanluError:  # a name such as -x or @x, which only a file can have in quotes
        return None
    same = all(in_effect(a, again) == in_effect(a, recorded) for a in options_of(parser) if a.dest not in aside)
    return words if same else None


def in_effect(action, options):
    """Return the value of an option (argparse.Action) in a Namespace, which may leave it to the other options."""
    value = getattr(options, action.dest)
    return default_of(action, options) if value is None else value


def lenient_parser():
    """Return the parser of train.py, to which files need not exist: what they were is told nevertheless."""
    parser = train_parser()
    for action in options_of(parser):
        if action.type is existing_path:
            action.type = os.path.abspath
        elif action.type is existing_list:
            action.type = _list_path
    return parser


def _list_path(text):
    return text if text == NO_LIST else os.path.abspath(text)


def parsed(parser, words):
    """Return the options (Namespace) that words stand for; a mistake in them is a DanluError."""
    return from_keywords(lambda _: parser.parse_args(words), {})


def remarks(run):
    """Return what has to be known besides (list of str): how it was begun, and where its code is."""
    lines, begun = [], run.begun_by
    if begun.get('command'):
        lines.append(f'begun by: {begun["command"]}, in {begun.get("directory", "a directory that is not known")}')
    if run.options.get('resume'):
        lines.append('it was resumed: what was changed then stands in log.txt')
    unused = unused_of(run.given_parts or {})
    paths = {name: run.options.get(name) for name in ('train_list', 'val_list', 'data_root') if name not in unused}
    lines += [f'not there any more: --{name} {path}' for name, path in paths.items()
              if isinstance(path, str) and path != NO_LIST and not os.path.exists(path)]  # fmt: skip
    code = run.recorded('code')
    if code is None:
        lines.append('which code it ran with was not recorded')
    elif code != code_today():
        ways = [f'git checkout {run.commit}'] if run.commit and not run.commit.endswith('+') else []
        if run.archive:
            ways.append(f'unzip {shlex.quote(str(run.path / run.archive))} into an empty directory')
        lines.append(f'the code has changed since; as it was: {", or ".join(ways) or "not kept"}')
    return lines
