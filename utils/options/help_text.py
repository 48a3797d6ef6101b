"""The help of train.py and eval.py: the usual options, all of them, one group, or one option. Imports no torch.

`--help` prints usage, examples, the options that have a `brief` text, and the keys of the groups; `--help all` every
option; `--help machine` the options of a group; `--help lr` one option.
"""

import argparse
import copy
import textwrap

from utils.base.registry import close_names
from utils.base.synonyms import same_names

ALL = 'all'


class HelpAction(argparse.Action):
    """`--help [WORD]`: prints a help text and ends the program."""

    def __init__(self, option_strings, dest, default=argparse.SUPPRESS, help=None):
        super().__init__(option_strings, dest, nargs='?', const='', default=default, metavar='WORD', help=help)

    def __call__(self, parser, namespace, values, option_string=None):
        """Print the help that the word asks for and exit."""
        print(help_text(parser, values.lstrip('-').replace('-', '_')), end='')
        parser.exit()


def help_text(parser, word=''):
    """Return the help (str) for a word: '' (the usual options), 'all', the key of a group, or the name of an option.

    Args:
        parser: utils.options.record_parser.MigratingParser. Its `error` reports an unknown word.
        word: str.
    """
    groups = {group.key: group for group in parser.groups()}
    options = {name.removeprefix('--'): option for option in parser.options() for name in option.option_strings}
    if word == '':
        return brief_help(parser, groups)
    if word in (ALL, *groups):
        chosen = groups.values() if word == ALL else [groups[word]]
        return '\n'.join(_section(parser, group.title, group.options()) for group in chosen)
    if word in options:
        return _section(parser, None, [options[word]])
    meant = same_names(word, options) or close_names(word, [*groups, *options])
    hint = f'; did you mean {" or ".join(meant)}?' if meant else ''
    return parser.error(f'argument --help: no option or group {word!r}{hint} (groups: {ALL}, {", ".join(groups)})')


def brief_help(parser, groups):
    """Return usage, description, examples, the options that have a `brief` text, and the keys of `groups` (str)."""
    usual = []
    for option in parser.options():
        if option.brief is not None:
            usual.append(copy.copy(option))
            usual[-1].help = option.brief
    lines = [f'usage: {parser.prog} [options]', '', parser.description, '', 'examples:']
    lines += [f'  {example}' for example in parser.examples]
    lines += ['', _section(parser, 'usual options', usual)]
    lines += [f'more: {parser.prog} --help {ALL}, --help OPTION, or --help GROUP; the groups are']
    lines += [textwrap.fill(', '.join(groups), 78, initial_indent='  ', subsequent_indent='  ')]
    return '\n'.join(lines) + '\n'


def _section(parser, title, options):
    """Return the help (str) of some options (list of argparse.Action) under a title (str or None)."""
    formatter = parser.formatter_class(prog=parser.prog)
    formatter.start_section(title)
    formatter.add_arguments(options)
    formatter.end_section()
    return formatter.format_help()
