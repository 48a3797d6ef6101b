"""Reads the tensors of torch.save files that also hold objects, without importing the classes of the objects.

Training scripts save options (argparse.Namespace), paths, dates, enums and NumPy numbers beside the weights, which
`torch.load(weights_only=True)` refuses. Here each unknown class or function is replaced by an empty class of this
module (torch.serialization.safe_globals maps names to replacements), so no code of the file is executed. Modules that
torch blocks by name (os, sys, posix, nt) are still refused.
"""

import _compat_pickle
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from itertools import takewhile

import torch

from utils.base.regular_files import open_regular, regular
from utils.base.text_table import printable

MAX_NAMES = 2000  # classes and functions in a file; the lookup in torch is quadratic
MAX_ATTEMPTS = 8  # one more attempt for each class that is a dict or a list
LEGACY_PICKLES = 4  # in files from before torch 1.6: magic number, version, system, content
MODULE_KEYS = {'_parameters', '_modules'}  # in the state of each nn.Module


class Placeholder:
    """Replaces an object whose class is not imported; ignores all its content.

    Attributes:
        is_module: whether the object is an nn.Module, which holds weights (bool).
        used: class attribute: whether the file holds such an object (bool).
    """

    used = is_module = False

    def __new__(cls, *args, **kwargs):
        """Return an empty placeholder; the arguments are ignored."""
        cls.used = True
        return super().__new__(cls)

    def __setstate__(self, state):
        """Set `is_module` from the attributes of the object."""
        self.is_module = isinstance(state, dict) and state.keys() >= MODULE_KEYS


class DictPlaceholder:
    """Replaces a dict class, such as collections.defaultdict, by an OrderedDict."""

    used = False

    def __new__(cls, *args, **kwargs):
        """Return an empty OrderedDict."""
        cls.used = True
        return OrderedDict()


class ListPlaceholder:
    """Replaces a class with items, such as collections.deque, by a list; torch appends items to nothing else."""

    used = False

    def __new__(cls, *args, **kwargs):
        """Return an empty list."""
        cls.used = True
        return []


def load_without_classes(path):
    """Return the content of a torch.save file (either format), and the names of the replaced classes (list of str).

    Raises:
        pickle.UnpicklingError: the file cannot be read this way; damaged files raise any error of torch.load or
            pickletools.
    """
    classes = {name: _placeholder(number) for number, name in enumerate(sorted(_names_in_file(path)))}
    for _ in range(MAX_ATTEMPTS):
        try:
            with torch.serialization.safe_globals([(kind, name) for name, kind in classes.items()]):
                loaded = torch.load(regular(path), map_location='cpu', weights_only=True)
        except pickle.UnpicklingError as error:  # 'Can only SETITEMS for dict ..., but got <class of ours>'
            message = str(error)
            refused = [
                name for name, kind in classes.items() if issubclass(kind, Placeholder) and repr(kind) in message
            ]
            if not refused:
                raise
            base = DictPlaceholder if 'SETITEM' in message else ListPlaceholder
            classes |= {name: type(f'{base.__name__}_{name}', (base,), {}) for name in refused}
            continue
        return loaded, [printable(name)[:80] for name, kind in classes.items() if kind.used]
    raise pickle.UnpicklingError(f'more than {MAX_ATTEMPTS} of its classes are dicts or lists')


def holds_module(loaded):
    """Return whether a result of `load_without_classes` is an nn.Module or a dict with an nn.Module (bool)."""
    parts = [loaded, *(loaded.values() if isinstance(loaded, dict) else ())]
    return any(isinstance(part, Placeholder) and part.is_module for part in parts)


def _placeholder(number):
    return type(f'Placeholder{number}', (Placeholder,), {})


def _names_in_file(path):
    """Return the names (set of str, 'module.name') of the classes and functions in a file, without executing code."""
    if zipfile.is_zipfile(regular(path)):
        with zipfile.ZipFile(regular(path)) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith('/data.pkl')]
            with archive.open(name) as file:
                return _globals_in(file, 1)
    with open_regular(path) as file:
        return _globals_in(file, LEGACY_PICKLES)


def _globals_in(file, count):
    """Return the names (set of str) in `count` consecutive pickles of an open file."""
    names = set()
    for _ in range(count):
        for opcode, argument, _ in takewhile(lambda step: step[0].name != 'STOP', pickletools.genops(file)):
            if opcode.name == 'GLOBAL':
                module, _, name = argument.partition(' ')
                # torch writes names as in Python 2.
                module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
                names.add(f'{_compat_pickle.IMPORT_MAPPING.get(module, module)}.{name}')
        if len(names) > MAX_NAMES:
            raise pickle.UnpicklingError(f'it names more than {MAX_NAMES:,} classes and functions')
    return names
