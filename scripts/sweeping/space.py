"""The search space, --set lr=log:1e-4:1e-1 and so on, validated by the parser of train.py before anything starts.

log:1e-4:1e-1       log-uniform; integers between integers: log:16:256
0.0:0.5  2:8        uniform; integers between integers
0:0.5:0.1           0, 0.1 ... 0.5
log:1e-4:1e-1/4     in a grid: 4 points
lenet,cifar_cnn     choices; if values contain commas: width=8,16|width=32
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
# Options that the sweep sets itself, or with which train.py does not train.
RESERVED = ('model_dir', 'resume', 'dry_run', 'find_lr', 'checkpoints_dir')
NOT_SEARCHED = {*RESERVED, *train_parser().names(repeated=False), 'save_prefix', 'gpus', 'device', 'monitor', 'mode'}
MAX_GRID_POINTS = 10_000


class Parameter(NamedTuple):
    """An option and its search space.

    Args:
        name: name of the option.
        text: the search space as given (str).
        option: argparse.Action.
        choices: tuple of str, or () for a range.
        low, high, step: of a range, int or float; step may be None.
        log: whether the range is logarithmic (bool).
        points: number of points of the range in a grid (int), or None.
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
    def is_integer(self):
        """Return whether the values are integers (bool)."""
        return isinstance(self.low, int)

    def suggest(self, trial):
        """Return the value that Optuna proposes for an optuna.Trial (str, int or float)."""
        if self.choices:
            return trial.suggest_categorical(self.name, self.choices)
        if self.is_integer:
            return trial.suggest_int(self.name, self.low, self.high, step=self.step or 1, log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def words(self, value):
        """Return the words (list of str) that set a value on train.py's command line."""
        if self.option.nargs == 0:
            return [f'--{self.name}' if value in ON else f'--no_{self.name}']
        several = str(value).split() if self.option.nargs == '+' else []
        return [f'--{self.name}', *several] if len(several) > 1 else [f'--{self.name}={value}']

    def boundary_values(self):
        """Return the values to validate (list): all choices, or both ends of a range."""
        return list(self.choices) or [self.low, self.high]

    def grid(self):
        """Return the values (list) in a grid.

        Raises:
            DanluError: the range has no number of points.
        """
        if self.choices:
            return list(self.choices)
        if self.points is None and not self.log and (self.is_integer or self.step):
            step = self.step or 1
            count = math.floor((self.high - self.low) / step + 1e-9) + 1
            return [self.low + round(i * step, 12) for i in range(count)]
        if self.points is None:
            raise DanluError(
                f'--set {self.name}={self.text}: a grid needs a number of points for the range, for example '
                f'{self.name}={self.text}/5'
            )
        low, high = (math.log(end) if self.log else end for end in (self.low, self.high))
        between = [low + (high - low) * i / (self.points - 1) for i in range(1, self.points - 1)]
        between = [float(f'{math.exp(value) if self.log else value:.6g}') for value in between]
        values = [self.low, *between, self.high]
        return list(dict.fromkeys(map(round, values))) if self.is_integer else values


def parse_parameter(word):
    """Return the Parameter of a word NAME=VALUES of --set.

    Raises:
        DanluError: there is no such option, the option cannot be searched, or the values are invalid.
    """
    name, equals, text = word.partition('=')
    name = name.lstrip('-').replace('-', '_')
    if not equals or not text:
        raise DanluError(f'--set {word} is not NAME=VALUES, such as lr=log:1e-4:1e-1 or model_type=lenet,mlp')
    options = {action.dest: action for action in options_of(train_parser())}
    if name not in options:
        raise DanluError(f'--set {word}: {unknown_name("option", name, list(options))}')
    if name in NOT_SEARCHED:
        raise DanluError(f'--set {word}: {name} cannot be searched')
    found = RANGE.fullmatch(text)
    numbers = [_number(each) for each in found.group(2, 3, 4) if each is not None] if found else [None]
    if None not in numbers:
        return _range(Parameter(name, text, options[name]), found[1] is not None, numbers, found[5])
    if text.startswith('log:'):
        raise DanluError(f'--set {word}: {text!r} is not log:LOW:HIGH with two numbers')
    return _choice(Parameter(name, text, options[name]))


def _number(text):
    """Return an int or a float, as the text is written, or None if the text is not a finite number."""
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
        raise DanluError(f'{given}: a logarithmic range must begin above 0')
    if log and step is not None:
        raise DanluError(f'{given}: a logarithmic range has no step, but points in a grid: log:{low}:{high}/5')
    if step is not None and not 0 < step <= high - low:
        raise DanluError(f'{given}: the step must be above 0 and fit into the range')
    if points is not None and (points < 2 or step is not None):
        raise DanluError(f'{given}: give at least 2 points, and no step')
    if step:  # Optuna requires `high` to be a multiple of the step
        exact = [Decimal(str(number)) for number in (low, high, step)]
        high = type(low)(exact[0] + (exact[1] - exact[0]) // exact[2] * exact[2])
    return parameter._replace(low=low, high=high, step=step, log=log, points=points)


def _choice(parameter):
    values = parameter.text.split('|' if '|' in parameter.text else ',')
    given = f'--set {parameter.name}={parameter.text}'
    if not all(value.strip() for value in values) or len(set(values)) < len(values):
        raise DanluError(f'{given}: a value is empty or repeated')
    if parameter.option.nargs == 0 and not set(values) <= {*ON, *OFF}:
        raise DanluError(f'{given}: the values of a flag are on,off')
    return parameter._replace(choices=tuple(values))


def check_parameters(parameters, words):
    """Validate all values by train.py's parser; return its options (Namespace) with the first values.

    Args:
        parameters: list of Parameter.
        words: other words of train.py's command line (list of str).

    Raises:
        DanluError: an option or value is invalid.
    """
    names = [each.name for each in parameters]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise DanluError(f'--set {repeated} is given twice')
    given = option_names(words)
    if reserved := next((name for name in RESERVED if name in given), None):
        raise DanluError(f'--{reserved} after --: ' + ('give it before --' if reserved == 'checkpoints_dir' else
                         'a sweep sets it, or cannot use it'))  # fmt: skip
    if both := next((name for name in names if name in given), None):
        raise DanluError(f'--{both} after -- and --set {both} exclude each other')
    first = [each.words(each.boundary_values()[0]) for each in parameters]
    options = None
    for position, each in enumerate(parameters):
        for value in each.boundary_values():
            varied = [*first[:position], each.words(value), *first[position + 1 :]]
            try:
                parsed = parsed_options([*words, *(word for some in varied for word in some)])
            except DanluError as error:
                searched = re.match(rf'argument --({"|".join(names)})\b', str(error))
                raise DanluError(f'{f"--set {each.name}={each.text}" if searched else "after --"}: {error}') from None
            options = options or parsed
    return options or parsed_options(words)


def option_names(words):
    """Return the names (set of str) of the options among words, without those in an @args.txt."""
    return {underscored(word).partition('=')[0][2:] for word in words if word.startswith('--')}


def parsed_options(words):
    """Return the options (Namespace) of words of train.py's command line; invalid words raise a DanluError."""
    return from_keywords(lambda _: parse_train_args(words), {})


def grid_points(parameters):
    """Return the points (list of dict from a name to a value) of a grid.

    Raises:
        DanluError: a range has no number of points, or the grid has too many points.
    """
    values = [each.grid() for each in parameters]
    count = math.prod(map(len, values))
    if count > MAX_GRID_POINTS:
        raise DanluError(
            f'--sampler grid: {count:,} points, at most {MAX_GRID_POINTS:,} are allowed; use --sampler random'
        )
    return [dict(zip((each.name for each in parameters), point, strict=True)) for point in product(*values)]
