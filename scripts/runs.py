#!/usr/bin/env python
"""List, compare and manage runs.

    python scripts/runs.py list                        # all runs, the newest first
    python scripts/runs.py find-value 0.7431           # which run gave this value
    python scripts/runs.py diff lenet_exp lenet_exp_2  # options, code, results ...
    python scripts/runs.py list --help                 # the options of a command

A run is given by the name of its directory, by an unambiguous beginning of the
name, or by a path to or into the directory.
"""

import argparse
import ast
import importlib
import shutil
import sys
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project root

from utils.base.errors import DanluError, output_status, run_main
from utils.base.registry import PROJECT, close_names
from utils.base.regular_files import read_regular_text
from utils.options.arguments import HelpFormatter, directory_path

# Only the module of the chosen command is imported. It has add_arguments(parser) and run(args), which returns the exit
# status or None.
COMMANDS = {
    'list': 'scripts.run_commands.listing',
    'page': 'scripts.run_commands.page',
    'why': 'scripts.run_commands.why',
    'diff': 'scripts.run_commands.diff',
    'compare': 'scripts.run_commands.compare',
    'compare-predictions': 'scripts.run_commands.compare_predictions',
    'find-value': 'scripts.run_commands.find_value',
    'seeds': 'scripts.run_commands.seeds',
    'folds': 'scripts.run_commands.folds',
    'command': 'scripts.run_commands.command',
    'note': 'scripts.run_commands.note',
    'replay': 'scripts.run_commands.replay',
    'pack': 'scripts.run_commands.pack',
    'rm': 'scripts.run_commands.removal',
}
ALIASES = {'whence': 'find-value', 'flips': 'compare-predictions'}  # earlier names


class Parser(argparse.ArgumentParser):
    """ArgumentParser that reports an error in one line."""

    def __init__(self, **kwargs):
        super().__init__(allow_abbrev=False, formatter_class=HelpFormatter, **kwargs)

    def error(self, message):
        """Print the error in one line and exit with status 2."""
        self.exit(2, f'{self.prog}: error: {message} (see {self.prog} --help)\n')


def usage():
    """Return the text of --help (str), with the first docstring line of each command's module; imports none of them."""
    lines, indent = [__doc__.strip(), '', 'commands:'], max(map(len, COMMANDS)) + 4
    for name, module in COMMANDS.items():
        path = PROJECT.joinpath(*module.split('.')).with_suffix('.py')
        text = (ast.get_docstring(ast.parse(read_regular_text(path))) or name).splitlines()[0]
        text = text.partition(': runs.py')[0].rstrip('.')
        columns = shutil.get_terminal_size().columns
        lines += textwrap.wrap(f'  {name:{indent - 2}}{text}', columns, subsequent_indent=' ' * indent)
    return '\n'.join(lines)


def parser_of(name, module):
    """Return the Parser of a command, with the options that all commands have."""
    description, _, example = module.__doc__.replace('%', '%%').splitlines()[0].rstrip('.').partition(': runs.py ')
    example = f'example: python scripts/runs.py {example}'
    parser = Parser(prog=f'runs.py {name}', description=f'{description}.', epilog=example)
    parser.add_argument(
        '--checkpoints_dir', '--checkpoints-dir', default=str(PROJECT / 'checkpoints'), type=directory_path,
        metavar='DIR', help='directory that contains the runs',
    )  # fmt: skip
    module.add_arguments(parser)
    return parser


def main(argv=None):
    """Run a command and return its exit status.

    Args:
        argv: the command and its arguments (list of str); None: the command line.

    Raises:
        DanluError: there is no such command, or the command failed.
    """
    argv = sys.argv[1:] if argv is None else [str(word) for word in argv]
    if not argv or argv[0] in ('-h', '--help', 'help'):
        print(usage())
        return 0 if argv else 2
    name = ALIASES.get(argv[0], argv[0])
    if name not in COMMANDS:
        close = close_names(name, list(COMMANDS))
        hint = f'; did you mean {" or ".join(close)}?' if close else ''
        raise DanluError(f'no command {name!r}{hint} (available: {", ".join(COMMANDS)})')
    module = importlib.import_module(COMMANDS[name])
    return module.run(parser_of(name, module).parse_args(argv[1:])) or 0


def answer():
    """Run the command of the command line and exit with its status; a closed pipe is not an error."""
    sys.exit(output_status(main()))


if __name__ == '__main__':
    run_main(answer, 'runs.py')
