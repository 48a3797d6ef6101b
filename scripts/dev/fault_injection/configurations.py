"""Files that list the runs to interrupt: a name and a command line each.

    # a comment
    every: --device cpu --threads 1 --epochs 3
    masks: train.py --task segmentation --train_list {data}/masks.txt --val_list {data}/masks.txt
        --num_classes 3 --model_type unet
    gan: examples/gan.py --batch_size 200

An indented line continues the one before it. The options of `every`, where there are any, stand before those of each
configuration. A program is train.py or the path of a program of one's own, relative to the project, that takes the
options of train.py and `--resume RUN`. `{data}` is the directory of the small data sets that the driver makes, and
`{project}` that of the project.
"""

import shlex
from pathlib import Path
from typing import NamedTuple

TRAIN = 'train.py'
EVERY = 'every'
PROJECT = Path(__file__).resolve().parents[3]


class Configuration(NamedTuple):
    """A run to interrupt: its name, its program (train.py or a path), and the words of its command line."""

    name: str
    program: str
    words: list

    @property
    def is_own(self):
        """Whether the program is one of the user's own (bool)."""
        return self.program != TRAIN

    @property
    def has_end_test(self):
        """Whether the program tests best.pth at the end of the run (bool)."""
        return not self.is_own and '--no_report' not in self.words

    def value_of(self, option, default):
        """Return the number (int) that an option has in the command line, or `default` where it is not there."""
        return int(self.words[self.words.index(option) + 1]) if option in self.words else default


def read_configurations(path, data):
    """Return the configurations (dict from a name to a Configuration) of a file.

    Args:
        path: of the file.
        data: directory that `{data}` stands for.

    Raises:
        ValueError: a line is invalid; the message names file, line and reason.
        OSError: the file cannot be read.
    """
    found, every = {}, []
    for number, text in _commands(path):
        name, separator, command = text.partition(':')
        name = name.strip()
        try:
            if not separator or not name or not set(name) <= set(_NAME):
                raise ValueError('no `name: program options`')
            words = [word.format(data=data, project=PROJECT) for word in shlex.split(command)]
            if name == EVERY:
                if found:
                    raise ValueError(f'`{EVERY}` has to be the first')
                every = words
                continue
            if name in found:
                raise ValueError(f'a second configuration of the name {name}')
            found[name] = Configuration(name, _program(words), [*every, *words[1:]])
        except (ValueError, KeyError, IndexError) as error:
            reason = f'unknown {{{error.args[0]}}}' if isinstance(error, KeyError) else error
            raise ValueError(f'{path}:{number}: {reason}') from None
    if not found:
        raise ValueError(f'{path}: no configuration')
    return found


_NAME = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-'  # names become directories


def _commands(path):
    """Return the number of its first line (int) and the text (str) of each configuration in a file."""
    commands = []
    for number, line in enumerate(Path(path).read_text(encoding='utf-8').splitlines(), 1):
        if not line.strip() or line.lstrip().startswith('#'):
            continue
        if not line[0].isspace():
            commands.append((number, line))
        elif commands:
            commands[-1] = (commands[-1][0], f'{commands[-1][1]} {line.strip()}')
        else:
            raise ValueError(f'{path}:{number}: an indented line continues a configuration, and there is none yet')
    return commands


def _program(words):
    """Return the program (str) that a command line (list of str) begins with.

    Raises:
        ValueError: there is no such file.
    """
    if not words or words[0].startswith('-'):
        raise ValueError('no program before the options')
    if words[0] == TRAIN:
        return TRAIN
    path = PROJECT / words[0]
    if not path.is_file():
        raise ValueError(f'no such program: {path}')
    return str(path)
