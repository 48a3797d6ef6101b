#!/usr/bin/env python
"""Write docs/options.md, a table of every option, from the parsers of train.py and eval.py.

    python scripts/dev/make_options_doc.py

tests/docs/test_docs.py fails where the document is older than the parsers.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project

import options
from utils.base.registry import PROJECT
from utils.options.arguments import Flag
from utils.options.checks import shown

DOCUMENT = PROJECT / 'docs' / 'options.md'
COMMAND = 'python scripts/dev/make_options_doc.py'
HEAD = f"""# Options

Written by `{COMMAND}`: change [options.py](../options.py) and run it again. In a terminal,
`python train.py --help all` says the same.

`--weight-decay` is `--weight_decay`; a switch has an opposite, `--no_download`, that takes back what a file turned on;
`@args.txt` reads options from a file. Where: *train* and *eval* belong to `train.py` or `eval.py` alone, *both* to
both; *kept* as well, but `eval.py` takes them from the checkpoint unless they are given.
"""


def document():
    """Return the text (str) of docs/options.md."""
    lines = [HEAD]
    for title, rows in groups().items():
        lines += [f'## {title[0].upper()}{title[1:]}', '', '| option | default | meaning | where |', '| --- ' * 4 + '|']
        lines += [f'| {" | ".join(row)} |'.replace('<', r'\<') for row in rows] + ['']
    return '\n'.join(lines)


def groups():
    """Return the rows (lists of four str) of each group of options, by its title, in the order of --help."""
    of_train, of_eval = groups_of(options.train_parser()), groups_of(options.test_parser())
    names = {name: {action.dest for group in found.values() for action in group}
             for name, found in (('train', of_train), ('eval', of_eval))}  # fmt: skip
    found = {}
    for title, actions in {**of_eval, **of_train}.items():
        for action in actions:
            used = [name for name in names if action.dest in names[name]]
            where = used[0] if len(used) == 1 else 'kept' if action.from_checkpoint else 'both'
            found.setdefault(title, []).append([usage(action), *default_and_meaning(action), where])
    order = list(dict.fromkeys([*of_train, *of_eval]))
    return dict(sorted(found.items(), key=lambda item: order.index(item[0])))


def groups_of(parser):
    """Return the options (lists of argparse.Action) of a parser's groups, by their titles."""
    found = {}
    for group in parser._action_groups:
        if actions := [action for action in group._group_actions if action.dest != 'help']:
            found[group.title] = actions
    return found


def usage(action):
    """Return how an option is written (str)."""
    name = action.option_strings[0]
    if action.nargs == 0:
        return f'`{name}`'
    value = '{' + ','.join(map(str, action.choices)) + '}' if action.choices else action.metavar
    return f'`{name} {value}{" ..." if action.nargs == "+" else ""}`'


def default_and_meaning(action):
    """Return two cells (str) of an option's row."""
    meaning = action.help % vars(action)
    if meaning.count('(default: ') == 1 and meaning.endswith(')'):
        return tuple(reversed(meaning.removesuffix(')').split(' (default: ')))
    if isinstance(action, Flag):
        return 'on' if action.default else 'off', meaning
    if action.default is None:
        return '', meaning
    default = re.sub(f'^{re.escape(str(PROJECT))}/(.*)', r'\1/', shown(action.default))  # no path of this machine
    return f'`{default}`', meaning


def main():
    """Write the document."""
    DOCUMENT.write_text(document(), encoding='utf-8')
    print(f'written: {DOCUMENT}')


if __name__ == '__main__':
    main()
