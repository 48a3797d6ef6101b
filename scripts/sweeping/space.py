"""What is searched: --set lr=log:1e-4:1e-1 and the like, checked by train.py's own options before anything starts.

log:1e-4:1e-1       evenly on a logarithmic scale; between whole numbers whole ones: log:16:256
0.0:0.5  2:8        evenly; between whole numbers whole ones
0:0.5:0.1           0, 0.1 ... 0.5
log:1e-4:1e-1/4     in a grid: 4 points of it
lenet,cifar_cnn     one of these; with values that hold commas: width=8,16|width=32
"""

import math
import re
from decimal import Decimal, InvalidOperation
from itertools import product
from typing import NamedTuple

from options import parse_train_args, train_parser
from utils.base.errors import DanluError
from utils.base.registry import unknown_name
from utils.options.args_file import options_of
from utils.options.arguments import from_keywords, underscored

RANGE = re.compile(r'(log:)?([^:,|/]+):([^:,|/]+)(?::([^:,|/]+))?(?:/(\d+))?')
ON, OFF = ('on', 'true', 'yes'), ('off', 'false', 'no')
# What a sweep itself decides, or what would be no training.
OWN = ('model_dir', 'resume', 'dry_run', 'find_lr', 'checkpoints_dir')
NOT_SEARCHED = {*OWN, *train_parser().names(repeated=False), 'save_prefix', 'gpus', 'device', 'monitor', 'mode'}
MOST = 10_000  # points of a grid


class Parameter(NamedTuple):
    """An option and the values that are tried for it.

    Args:
        name: of the option.
        text: how the values were given (str).
        option: argparse.Action.
        choices: tuple of str, or () where it is a range.
        low, high, step: of a range, int or float; step may be None.
        log: whether the range is meant on a logarithmic scale (bool).
        points: how many of the range are in a grid (int), or None.
    """

    name: str
    text: str
    option: object
    choices: tuple = ()
    low: float = None
    high: float = None
    step: float = None
    log: bool = False
    points: int = None

    @property
    def is_whole(self):
        """Whether its values are whole numbers (bool)."""
        return isinstance(self.low, int)

    def suggest(self, trial):
        """Return the value that Optuna proposes for an optuna.Trial (str, int or float)."""
        if self.choices:
            return trial.suggest_categorical(self.name, self.choices)
        if self.is_whole:
            return trial.suggest_int(self.name, self.low, self.high, step=self.step or 1, log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def words(self, value):
        """Return the words (list of str) of train.py's command line that set a value."""
        if self.option.nargs == 0:
            return [f'--{self.name}' if value in ON else f'--no_{self.name}']
        several = str(value).split() if self.option.nargs == '+' else []
        return [f'--{self.name}', *several] if len(several) > 1 else [f'--{self.name}={value}']

    def edges(self):
        """Return the values (list) that have to be valid for all to be: every choice, both ends of a range."""
        return list(self.choices) or [self.low, self.high]

    def grid(self):
        """Return the values (list) that a grid has for it.

        Raises:
            DanluError: nothing says how many points of the range these are.
        """
        if self.choices:
            return list(self.choices)
        if self.points is None and not self.log and (self.is_whole or self.step):
            step = self.step or 1
            count = math.floor((self.high - self.low) / step + 1e-9) + 1
            return [self.low + round(i * step, 12) for i in range(count)]
        if self.points is None:
            raise DanluError(
                f'--set {self.name}={self.text}: a grid needs to know how many points of the range it has: '
                f'{self.name}={self.text}/5'
            )
        low, high = (math.log(end) if self.log else end for end in (self.low, self.high))
        between = [low + (high - low) * i / (self.points - 1) for i in range(1, self.points - 1)]
        between = [float(f'{math.exp(value) if self.log else value:.6g}') for value in between]
        values = [self.low, *between, self.high]
        return list(dict.fromkeys(map(round, values))) if self.is_whole else values


def parameter(word):
    """Return the Parameter that a word NAME=VALUES of --set means.

    Raises:
        DanluError: there is no such option, it is not to be searched, or the values are none.
    """
    name, equals, text = word.partition('=')
    name = name.lstrip('-').replace('-', '_')
    if not equals or not text:
        raise DanluError(f'--set {word}: is not NAME=VALUES, such as lr=log:1e-4:1e-1 or model_type=lenet,mlp')
    options = {action.dest: action for action in options_of(train_parser())}
    if name not in options:
        raise DanluError(f'--set {word}: {unknown_name("option", name, list(options))}')
    if name in NOT_SEARCHED:
        raise DanluError(f'--set {word}: {name} is not searched: it changes no result, or decides what a result is')
    found = RANGE.fullmatch(text)
    numbers = [_number(part) for part in found.group(2, 3, 4) if part is not None] if found else [None]
    if None not in numbers:
        return _range(Parameter(name, text, options[name]), found[1] is not None, numbers, found[5])
    if text.startswith('log:'):
        raise DanluError(f'--set {word}: {text!r} is not log:LOW:HIGH with two numbers')
    return _choice(Parameter(name, text, options[name]))


def _number(text):
    """Return an int or a float, as it is written, or None: it is no number."""
    if re.fullmatch(r'[+-]?\d+', text):
        return int(text)
    try:
        return float(text) if Decimal(text).is_finite() else None
    except InvalidOperation:
        return None


def _range(parameter, log, numbers, points):
    low, high, *steps = numbers
    step, points, given = (
        steps[0] if steps else None,
        points and int(points),
        f'--set {parameter.name}={parameter.text}',
    )
    if not all(isinstance(number, int) for number in numbers):
        low, high, step = float(low), float(high), step and float(step)
    if not low < high:
        raise DanluError(f'{given}: the range is empty: {low} is not below {high}')
    if log and low <= 0:
        raise DanluError(f'{given}: a logarithmic range begins above 0')
    if log and step is not None:
        raise DanluError(f'{given}: a logarithmic range has no step; in a grid it has points: log:{low}:{high}/5')
    if step is not None and not 0 < step <= high - low:
        raise DanluError(f'{given}: the step has to be above 0 and fit into the range')
    if points is not None and (points < 2 or step is not None):
        raise DanluError(f'{given}: give 2 points or more, and no step besides')
    if step:  # the last value that it leads to; Optuna wants it so
        exact = [Decimal(str(number)) for number in (low, high, step)]
        high = type(low)(exact[0] + (exact[1] - exact[0]) // exact[2] * exact[2])
    return parameter._replace(low=low, high=high, step=step, log=log, points=points)


def _choice(parameter):
    values = parameter.text.split('|' if '|' in parameter.text else ',')
    given = f'--set {parameter.name}={parameter.text}'
    if not all(value.strip() for value in values) or len(set(values)) < len(values):
        raise DanluError(f'{given}: a value is empty or there twice')
    if parameter.option.nargs == 0 and not set(values) <= {*ON, *OFF}:
        raise DanluError(f'{given}: it is a flag: on,off')
    return parameter._replace(choices=tuple(values))


def check_parameters(parameters, words):
    """Check by train.py's own parser what would be given to it; return its options (Namespace) with the first values.

    Args:
        parameters: list of Parameter.
        words: the rest of the command line of train.py (list of str).

    Raises:
        DanluError: naming what is wrong.
    """
    names = [each.name for each in parameters]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DanluError(f'--set {twice}: is there twice')
    given = named(words)
    if own := next((name for name in OWN if name in given), None):
        raise DanluError(f'--{own} behind --: ' + ('give it before --' if own == 'checkpoints_dir' else
                         'not in a sweep, each of whose trials is a training in a directory of its own'))  # fmt: skip
    if both := next((name for name in names if name in given), None):
        raise DanluError(f'--{both} behind --: it is searched by --set {both}; leave one of the two out')
    first = [each.words(each.edges()[0]) for each in parameters]
    options = None
    for place, each in enumerate(parameters):
        for value in each.edges():
            varied = [*first[:place], each.words(value), *first[place + 1 :]]
            try:
                parsed = parsed_options([*words, *(word for some in varied for word in some)])
            except DanluError as error:
                searched = re.match(rf'argument --({"|".join(names)})\b', str(error))
                raise DanluError(f'{f"--set {each.name}={each.text}" if searched else "behind --"}: {error}') from None
            options = options or parsed
    return options or parsed_options(words)


def named(words):
    """Return the names (set of str) of the options among words; what stands in an @args.txt is not among them."""
    return {underscored(word).partition('=')[0][2:] for word in words if word.startswith('--')}


def parsed_options(words):
    """Return the options (Namespace) that words of train.py's command line stand for; a mistake is a DanluError."""
    return from_keywords(lambda _: parse_train_args(words), {})


def grid_of(parameters):
    """Return the points (list of dict from a name to a value) of a grid.

    Raises:
        DanluError: a range does not say how many points it has, or they are too many.
    """
    values = [each.grid() for each in parameters]
    count = math.prod(map(len, values))
    if count > MOST:
        raise DanluError(f'--sampler grid: {count:,} points are more than {MOST:,}; give fewer, or --sampler random')
    return [dict(zip((each.name for each in parameters), point, strict=True)) for point in product(*values)]
