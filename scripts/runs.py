#!/usr/bin/env python
"""Look up and look after runs: which there are, what differs between them, which number came from where.

    python scripts/runs.py list                          # all of them, the newest first
    python scripts/runs.py whence 0.7431                 # which run or test gave a number that starts so
    python scripts/runs.py diff lenet_exp lenet_exp_2
    python scripts/runs.py list --help

A run is named by its directory's name, the beginning of that, or a path to it or into it.
"""

import argparse
import ast
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project

from utils.base.errors import DanluError, output_status, run_main
from utils.base.registry import PROJECT, close_names
from utils.base.regular_files import read_regular_text
from utils.options.arguments import HelpFormatter, directory_path

# Only the chosen module is imported. It has add_arguments(parser) and run(args), which returns the exit status or None.
COMMANDS = {
    'list': 'scripts.run_commands.listing',
    'diff': 'scripts.run_commands.diff',
    'compare': 'scripts.run_commands.compare',
    'whence': 'scripts.run_commands.whence',
    'flips': 'scripts.run_commands.flips',
    'seeds': 'scripts.run_commands.seeds',
    'command': 'scripts.run_commands.command',
    'note': 'scripts.run_commands.note',
    'replay': 'scripts.run_commands.replay',
    'rm': 'scripts.run_commands.removal',
}


class Parser(argparse.ArgumentParser):
    """ArgumentParser that errs in one line."""

    def __init__(self, **kwargs):
        super().__init__(allow_abbrev=False, formatter_class=HelpFormatter, **kwargs)

    def error(self, message):
        """Print one line and exit with 2."""
        self.exit(2, f'{self.prog}: error: {message} (see {self.prog} --help)\n')


def usage():
    """Return what --help says (str): the commands with the first sentence of each one's module, none imported."""
    lines = [__doc__.strip(), '', 'commands:']
    for name, module in COMMANDS.items():
        path = PROJECT.joinpath(*module.split('.')).with_suffix('.py')
        text = ast.get_docstring(ast.parse(read_regular_text(path))) or ''
        lines.append(f'  {name:8} {text.splitlines()[0]}' if text else f'  {name}')
    return '\n'.join(lines)


def parser_of(name, module):
    """Return the Parser of a command, with the options that all of them have."""
    description = module.__doc__.replace('%', '%%')
    parser = Parser(prog=f'runs.py {name}', description=description.partition('\n')[0])
    parser.add_argument(
        '--checkpoints_dir', '--checkpoints-dir', default=str(PROJECT / 'checkpoints'), type=directory_path,
        metavar='DIR', help='directory of all runs',
    )  # fmt: skip
    module.add_arguments(parser)
    return parser


def main(argv=None):
    """Run the command that `argv` (list of str; default: the command line) begins with, and return its exit status.

    Raises:
        DanluError: there is no such command, or it could not be done.
    """
    argv = sys.argv[1:] if argv is None else [str(word) for word in argv]
    if not argv or argv[0] in ('-h', '--help', 'help'):
        print(usage())
        return 0 if argv else 2
    name = argv[0]
    if name not in COMMANDS:
        close = close_names(name, list(COMMANDS))
        hint = f'; did you mean {" or ".join(close)}?' if close else ''
        raise DanluError(f'no command {name!r}{hint} (there are: {", ".join(COMMANDS)})')
    module = importlib.import_module(COMMANDS[name])
    return module.run(parser_of(name, module).parse_args(argv[1:])) or 0


def answer():
    """Run the command line's command and exit with its status, in silence where nobody reads what it prints."""
    sys.exit(output_status(main()))


if __name__ == '__main__':
    run_main(answer, 'runs.py')
