"""Print the command that repeats a run, with the options that differ from their defaults: runs.py command RUN."""

import json
import os
import shlex

from options import train_parser
from scripts.run_commands.run_code import code_today
from utils.base.errors import DanluError
from utils.base.text_table import printable
from utils.options.args_file import options_of
from utils.options.arguments import (
    NO_LIST,
    existing_list,
    existing_path,
    from_keywords,
    option_line,
    run_or_path,
    split_line,
)
from utils.options.defaults import default_of
from utils.options.given_parts import named, unused_of
from utils.options.needs import is_used
from utils.runs.run_index import find_run

FIRST_STEPS = 'first_steps.jsonl'  # as in utils.provenance.replay_log, which imports torch


def add_arguments(parser):
    """Add the arguments of the command."""
    parser.add_argument('run', metavar='RUN', help='name of the run')


def run(args):
    """Print the command, and remarks as comments of a shell."""
    found = find_run(args.run, args.checkpoints_dir)
    if not found.options:
        raise DanluError(f'{found.path} has no readable args.txt, so its options are not known')
    path = shlex.quote(f'@{os.path.abspath(found.path / "args.txt")}')
    if made_by_script(found):
        print_script(found, path)
        return
    try:
        short = short_words(found)
    except DanluError as error:
        raise DanluError(f'{found.name}: {error}; the code of the run is in its source.zip') from None
    if short is not None:
        print(shlex.join(['python', 'train.py', *short]))
        print(f'# the same with all options: python train.py {path}')
    else:
        print(f'python train.py {path}')
        print('# there is no shorter command: some option values cannot be given on a command line')
    print_remarks(found)


def made_by_script(run):
    """Return whether a script with ready-made parts or its own Trainer made a run (bool)."""
    try:
        conditions = json.loads(run.text(FIRST_STEPS).partition('\n')[0])
    except (ValueError, RecursionError):  # no step was done, or an older version wrote the file
        return False
    return isinstance(conditions, dict) and conditions.get('ready_made') is True


def print_script(run, path):
    """Print the command of a script, and the train.py command with its options; `path`: '@args.txt' of the run.

    Raises:
        DanluError: the command of the script was not recorded.
    """
    command = run.first_env.get('command')
    if not command:
        raise DanluError(f'{run.name} was made by a script with ready-made parts, and its command was not recorded')
    print(printable(command))
    if run.given_parts:
        print(printable(f'# a script with ready-made parts that options cannot name: {named(run.given_parts)}'))
    else:
        print('# a script with parts that no options of train.py name')
        print(f'# its options, without these parts: python train.py {path}')
    print_remarks(run)


def print_remarks(run):
    """Print the remarks as comments."""
    for line in remarks(run):
        print(printable(f'# {line}'))


def short_words(run):
    """Return the shortest words (list of str) that give a run's options; None if a command line cannot give them.

    Raises:
        DanluError: today's options cannot express those of the run.
    """
    parser = lenient_parser()
    recorded = parsed(parser, [f'@{run.path / "args.txt"}'])
    # The default checkpoints_dir depends on where the project is.
    left_out = {*parser.names(repeated=False), *({'checkpoints_dir'} - run.marked)}
    words = []
    for action in options_of(parser):
        value = getattr(recorded, action.dest)
        if not is_used(action, recorded):
            left_out.add(action.dest)
        if action.dest not in left_out and value not in (None, default_of(action, recorded)):
            words += split_line(option_line(action.dest, value), parser.error)
    # Options that older records lack may have a default today; ignore those that do not change the result.
    words, left_out = list(map(str, words)), {*left_out, *parser.names(changeable=True), 'loss'}
    try:
        repeated = parsed(parser, words)
    except DanluError:  # a value such as -x or @x, which only an args file can quote
        return None
    same = all(
        effective_value(a, repeated) == effective_value(a, recorded)
        for a in options_of(parser)
        if a.dest not in left_out
    )
    return words if same else None


def effective_value(action, options):
    """Return the value of an option (argparse.Action) in a Namespace, or its default given the other options."""
    value = getattr(options, action.dest)
    return default_of(action, options) if value is None else value


def lenient_parser():
    """Return the parser of train.py without the check that files exist."""
    parser = train_parser()
    for action in options_of(parser):
        if action.type in (existing_path, run_or_path):
            action.type = os.path.abspath
        elif action.type is existing_list:
            action.type = _list_path
    return parser


def _list_path(text):
    return text if text == NO_LIST else os.path.abspath(text)


def parsed(parser, words):
    """Return the options (Namespace) that words give; invalid words raise a DanluError."""
    return from_keywords(lambda _: parser.parse_args(words), {})


def remarks(run):
    """Return remarks (list of str) on how the run was started, missing files, and its code."""
    lines, env = [], run.first_env
    if env.get('command'):
        lines.append(f'started with: {env["command"]}, in {env.get("directory", "an unknown directory")}')
    if run.options.get('resume'):
        lines.append('the run was resumed; log.txt has the options that were changed')
    unused = unused_of(run.given_parts or {}, train_parser().keywords())
    paths = {name: run.options.get(name) for name in ('train_list', 'val_list', 'data_root') if name not in unused}
    lines += [f'missing now: --{name} {path}' for name, path in paths.items()
              if isinstance(path, str) and path != NO_LIST and not os.path.exists(path)]  # fmt: skip
    code = run.recorded('code')
    if code is None:
        lines.append('the code of the run was not recorded')
    elif code != code_today():
        ways = [f'git checkout {run.commit}'] if run.commit and not run.commit.endswith('+') else []
        if run.archive:
            ways.append(f'unzip {shlex.quote(str(run.path / run.archive))} into an empty directory')
        lines.append(f'the code has changed since; to get the old code: {", or ".join(ways) or "not possible"}')
    return lines
