"""Constructing a data set with the split argument in the form that its constructor takes, Danlu's or torch_base's.

    class Photos(Dataset):
        def __init__(self, args, split):       # 'train' or 'val'; also called mode or phase
        def __init__(self, args, is_train):    # True or False; also called train

The parameter's name decides. Other names are refused, because 'train' and 'val' are both true in Python: a data set
that expects a bool would read the training list for validation as well.
"""

import copy
import inspect

from utils.base.errors import DanluError

SPLIT_PARAMETERS = ('split', 'mode', 'phase')  # parameters that take 'train' or 'val'
IS_TRAIN_PARAMETERS = ('is_train', 'train')  # parameters that take True or False
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def build_dataset(kind, args, split):
    """Return the data set that a registered class or function builds from the options.

    Args:
        kind: class or function of (args, split); see the module docstring.
        args: options. In a test they have no train_list; the data set gets a copy with the train_list of the run, or
            None if the checkpoint does not record it.
        split: 'train' or 'val'.

    Raises:
        DanluError: the constructor takes other arguments; the message names its file and line.
    """
    if not hasattr(args, 'train_list'):
        args = copy.copy(args)
        args.train_list = getattr(args, 'trained_on', None)
    parameter = split_parameter(kind)
    value = split if parameter.name in SPLIT_PARAMETERS else split == 'train'
    return kind(args, value) if parameter.kind in POSITIONAL else kind(args, **{parameter.name: value})


def split_parameter(kind):
    """Return the parameter (inspect.Parameter) of a data set's constructor that takes the split.

    Raises:
        DanluError: no parameter has a known name, or another parameter has no default value.
    """
    function, parameters = _constructor(kind)
    known = [each for each in parameters[1:] if each.name in (*SPLIT_PARAMETERS, *IS_TRAIN_PARAMETERS)]
    needed = [each.name for each in parameters[1:] if each.default is each.empty and each.kind not in VARIADIC]
    if not known or needed not in ([], [known[0].name]) or (known[0].kind in POSITIONAL and parameters[1] != known[0]):
        taken = ', '.join(each.name for each in parameters) or 'nothing'
        raise DanluError(
            f'{_definition_site(function)}: the data set {kind.__qualname__} takes ({taken}); expected (args, split). '
            f'Call the second parameter {", ".join(SPLIT_PARAMETERS)} for the word "train" or "val", or '
            f'{", ".join(IS_TRAIN_PARAMETERS)} for a bool'
        )
    return known[0]


def _constructor(kind):
    """Return the function that takes the options and its parameters (list) without self.

    For a class whose __init__ only passes on *args and **kwargs this is the __init__ of its base class.
    """
    if not inspect.isclass(kind):
        return kind, list(inspect.signature(kind).parameters.values())
    function, parameters = kind, []
    for owner in kind.__mro__:
        if '__init__' not in vars(owner) or owner is object:
            continue
        function = vars(owner)['__init__']
        parameters = list(inspect.signature(function).parameters.values())[1:]
        if any(each.kind not in VARIADIC for each in parameters) or not parameters:
            break
    return function, parameters


def _definition_site(function):
    """Return where a function or class is defined (str), for example 'data/photos.py, line 12'."""
    code = getattr(function, '__code__', None)
    if code is None:
        return getattr(function, '__module__', 'not known')
    return f'{code.co_filename}, line {code.co_firstlineno}'
