"""What argparse lacks: both spellings of a name, args files with comments, one-line errors with a hint, typed checks.

Nothing here knows a single option: those are in options.py. Imports no torch, so that `--help` answers at once.
"""

import argparse
import difflib
import math
import os
import re
from pathlib import Path

from utils.registry import unknown_name

# A word of an args file: quoted and plain parts in any mixture, or a comment, which only starts where a word can.
WORD = re.compile(r'\s*(?:(?P<comment>#.*)|(?P<word>(?:"[^"]*"|\'[^\']*\'|[^\s"\'])+))')
QUOTED = re.compile(r'"([^"]*)"|\'([^\']*)\'')


class Parser(argparse.ArgumentParser):
    """ArgumentParser that reads `@args.txt`, takes `--weight-decay` for `--weight_decay`, and errs in one line."""

    def __init__(self, **kwargs):
        super().__init__(fromfile_prefix_chars='@', allow_abbrev=False, formatter_class=HelpFormatter, **kwargs)

    def parse_known_args(self, args=None, namespace=None):
        if args is None:
            import sys

            args = sys.argv[1:]
        return super().parse_known_args([underscored(str(word)) for word in args], namespace)

    def parse_args(self, args=None, namespace=None):
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(self._unknown_option(unknown[0]))
        return parsed

    def convert_arg_line_to_args(self, arg_line):
        """Split one line of an args file into words; `#` starts a comment, quotes hold blanks together."""
        return [underscored(word) for word in split_line(arg_line.lstrip('\ufeff'), self.error)]

    def error(self, message):
        """Print one line and exit with 2: the usage of forty options would bury the message."""
        self.exit(2, f'{self.prog}: error: {message} (see {self.prog} --help)\n')

    def given(self, argv=None):
        """Return the options that `argv` itself names (dict name -> value), without those left at their defaults."""
        defaults = {action: action.default for action in self._actions}
        for action in self._actions:
            action.default = argparse.SUPPRESS
        try:
            return vars(self.parse_args(argv))
        finally:
            for action, default in defaults.items():
                action.default = default

    def _unknown_option(self, word):
        name = word.split('=')[0]
        if not name.startswith('-'):
            return f'{word!r} belongs to no option'
        close = difflib.get_close_matches(name, self._option_string_actions, n=2)
        return f'unknown option {name}' + (f'; did you mean {" or ".join(close)}?' if close else '')


class HelpFormatter(argparse.HelpFormatter):
    """Adds the default to each line of help that has one."""

    def _get_help_string(self, action):
        if action.default in (None, argparse.SUPPRESS) or isinstance(action.default, bool) or action.nargs == 0:
            return action.help
        return f'{action.help} (default: %(default)s)'


class Flag(argparse.Action):
    """`--name` and `--no_name`, so that the command line can undo what an args file turned on."""

    def __init__(self, option_strings, dest, default=False, help=None):
        super().__init__([*option_strings, f'--no_{dest}'], dest, nargs=0, default=default, help=help)

    def __call__(self, parser, namespace, values, option_string=None):
        """Store whether the spelling without `no_` was used."""
        setattr(namespace, self.dest, not option_string.startswith('--no_'))


def underscored(word):
    """Return an option word with its name spelt with underscores: '--weight-decay=1' -> '--weight_decay=1'."""
    if not word.startswith('--'):
        return word
    name, equals, value = word.partition('=')
    return '--' + name[2:].replace('-', '_') + equals + value


def split_line(line, error):
    """Split a line of an args file into words (list of str); `error(message)` is called for an unclosed quote."""
    words, position, line = [], 0, line.rstrip()
    while position < len(line):
        match = WORD.match(line, position)
        if match is None:
            error(f'quote without its end in the args file line: {line}')
        if match['comment'] is None:
            words.append(QUOTED.sub(lambda quoted: quoted[1] or quoted[2] or '', match['word']))
        position = match.end()
    return words


def quote(value):
    """Return the value (any plain type) as one word of an args file that `split_line` reads back."""
    text = str(value)
    if text and not re.search(r'[\s"\'#]', text):
        return text
    return '"' + text.replace('"', '"\'"\'"') + '"'


def option_line(name, value):
    """Return the line of an args file that sets an option (None gives a comment, as there is nothing to set)."""
    if value is None:
        return f'# --{name} (not set)'
    if isinstance(value, bool):
        return f'--{name}' if value else f'--no_{name}'
    if isinstance(value, list | tuple):
        return ' '.join([f'--{name}', *map(quote, value)])
    return f'--{name}={quote(value)}'


def number(cast, low=None, high=None, above=None, below=None):
    """Return an argparse type: `cast` (int or float) and finite, low <= x <= high, above < x < below."""
    limits = [(low, 'at least'), (above, 'more than'), (high, 'at most'), (below, 'less than')]
    wanted = ' and '.join(f'{word} {limit}' for limit, word in limits if limit is not None)
    kind = 'a whole number' if cast is int else 'a number'

    def convert(text):
        try:
            value = cast(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f'{text!r} is not {kind}') from None
        fits = math.isfinite(value) and (low is None or value >= low) and (high is None or value <= high)
        if not (fits and (above is None or value > above) and (below is None or value < below)):
            raise argparse.ArgumentTypeError(f'must be {wanted or "finite"}, got {text}')
        return value

    return convert


def registered(what, names, prefixes=()):
    """Return an argparse type: one of `names`, or anything behind one of `prefixes` ('torchvision:')."""

    def convert(text):
        if text in names or any(text.startswith(prefix) and text != prefix for prefix in prefixes):
            return text
        known = [*names, *(f'{prefix}<name>' for prefix in prefixes)]
        raise argparse.ArgumentTypeError(unknown_name(what, text, known))

    return convert


def existing_path(text):
    """An argparse type: a file or directory that exists, made absolute, so that a run repeats from anywhere."""
    path = Path(text).expanduser()
    if not text or not path.exists():
        raise argparse.ArgumentTypeError(f'{text!r} does not exist (looked in {Path.cwd()})')
    return os.path.abspath(path)


def directory_path(text):
    """An argparse type: a directory that may not exist yet, made absolute."""
    path = Path(os.path.abspath(Path(text).expanduser()))
    if not text or (path.exists() and not path.is_dir()):
        raise argparse.ArgumentTypeError(f'{text!r} is not a directory')
    return str(path)


def plain_name(text):
    """An argparse type: a name that can be part of a directory's name and cannot lead out of it."""
    if not text or len(text) > 100 or text in ('.', '..') or re.search(r'[/\\\x00-\x1f\x7f]', text):
        raise argparse.ArgumentTypeError(
            f'{text!r} cannot be part of a directory name: use 1 to 100 characters without / or \\'
        )
    return text
