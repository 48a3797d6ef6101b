"""Ranges of a model's arguments, declared at its constructor. A value out of range is refused in one line.

    class Net(nn.Module):
        @takes(num_classes=CLASSES, width=integer(1, 4096), dropout=PROBABILITY)
        def __init__(self, num_classes, width=16, dropout=0.0):

Every argument needs a range. Values are checked before anything is built or memory allocated.
"""

import functools
import inspect
import math
from numbers import Integral, Real
from typing import NamedTuple

from utils.base.errors import DanluError

MAX_VALUES = 64  # in an argument with several values


class ArgumentError(DanluError, ValueError):
    """A model's argument is out of range.

    Attributes:
        argument: its name (str).
        wanted: its range (str): 'a whole number from 0 to 256'.
    """

    argument = wanted = None


class Range(NamedTuple):
    """Range of an argument: a description (str), and a function that returns whether a value is in it (bool)."""

    wanted: str
    fits: callable


def integer(low, high):
    """Return the Range of integers from `low` to `high`, both included."""
    return Range(f'a whole number from {low} to {high}', lambda value: _is_whole(value) and low <= value <= high)


def one_of(*choices):
    """Return the Range of the given strings."""
    return Range(' or '.join(map(repr, choices)), lambda value: isinstance(value, str) and value in choices)


def one_or_more(low, high):
    """Return the Range of an integer or a tuple of integers, which may be empty."""

    def fits(value):
        values = value if isinstance(value, tuple | list) else [value]
        return len(values) <= MAX_VALUES and all(_is_whole(each) and low <= each <= high for each in values)

    return Range(f'whole numbers from {low} to {high}, at most {MAX_VALUES}, for example 256,128', fits)


def sides(low, high, empty=False):
    """Return the Range of a (height, width), with `empty` (bool) also of (), for feature vectors."""

    def fits(value):
        if not isinstance(value, tuple | list):
            return False
        return (empty and not value) or (len(value) == 2 and all(_is_whole(n) and low <= n <= high for n in value))

    return Range(f'height and width, whole numbers from {low} to {high}', fits)


CLASSES = integer(1, 2**24)  # as --num_classes
CHANNELS = integer(1, 2**16)
SIDES = sides(1, 2**16)  # as --image_size
PROBABILITY = Range(
    'a number from 0 to below 1', lambda value: _is_number(value) and math.isfinite(value) and 0 <= value < 1
)
FLAG = Range('True or False', lambda value: isinstance(value, bool))
ANYTHING = Range('anything', lambda value: True)


def takes(**ranges):
    """Return a decorator for a constructor, or a function that returns a model, with one Range per argument.

    Raises:
        TypeError: when decorating, if arguments and ranges do not match.
        ArgumentError: when called with an argument out of range.
    """

    def declare(function):
        signature = inspect.signature(function)
        if (names := {*signature.parameters} - {'self'}) != {*ranges}:
            raise TypeError(f'{function.__qualname__}: ranges of {sorted(ranges)} and arguments {sorted(names)} differ')

        @functools.wraps(function)
        def checked(*args, **kwargs):
            for name, value in signature.bind(*args, **kwargs).arguments.items():
                if name in ranges and not ranges[name].fits(value):
                    raise _out_of_range(function.__qualname__.removesuffix('.__init__'), name, value, ranges[name])
            return function(*args, **kwargs)

        checked.ranges = ranges
        return checked

    return declare


def _out_of_range(owner, name, value, wanted):
    error = ArgumentError(f'{owner}: {name}={value!r}, but it takes {wanted.wanted}')
    error.argument, error.wanted = name, wanted.wanted
    return error


def _is_whole(value):
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value):
    return isinstance(value, Real) and not isinstance(value, bool)
