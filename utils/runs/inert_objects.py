"""Files of torch.save that hold objects beside the weights: the tensors are read, no class in the file is imported.

Trainers put their options (argparse.Namespace), paths, dates, enums and numbers of NumPy beside the weights, which
`torch.load(weights_only=True)` refuses. Here it reads such a file all the same: each class or function that it does not
know is replaced by an empty class of this module (torch.serialization.safe_globals takes a replacement by its name), so
what an object would have run when it was made is not run. What torch blocks by name (os, sys, posix, nt) stays refused.
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

MAX_NAMES = 2000  # different classes and functions in a file; torch looks each of them up in all
MAX_ATTEMPTS = 8  # readings of a file: one more for each class that turns out to be a kind of dict
LEGACY_PICKLES = 4  # of files from before torch 1.6: magic number, version, system, and what was saved
MODULE_KEYS = {'_parameters', '_modules'}  # in the state of every nn.Module


class Placeholder(list):
    """Stands for an object whose class is not imported: takes what it would be made of, and does nothing with it.

    A list, as torch lets items be appended to lists only, which is how a collections.deque is read.

    Attributes:
        is_module: whether it was an nn.Module, whose weights are within it (bool).
        used: of the class: whether the file holds such an object (bool).
    """

    used = is_module = False

    def __new__(cls, *args, **kwargs):
        """Return an empty one; what the object's own class would have been called with is left out."""
        cls.used = True
        return super().__new__(cls)

    def __init__(self, *args, **kwargs):
        super().__init__()

    def __setstate__(self, state):
        """Note of the object's attributes only whether they are those of a module."""
        self.is_module = isinstance(state, dict) and state.keys() >= MODULE_KEYS


class DictPlaceholder:
    """Stands for a class that is a kind of dict, such as collections.defaultdict: an OrderedDict of the same items."""

    used = False

    def __new__(cls, *args, **kwargs):
        """Return an empty OrderedDict."""
        cls.used = True
        return OrderedDict()


def load_without_classes(path):
    """Return what a file of torch.save holds, and the names (list of str) of what was replaced in it.

    Args:
        path: of the file, of either format of torch.save.

    Raises:
        pickle.UnpicklingError: it cannot be read so; of a damaged file whatever torch.load or pickletools raise.
    """
    classes = {name: _placeholder(number) for number, name in enumerate(sorted(_names_in_file(path)))}
    for _ in range(MAX_ATTEMPTS):
        try:
            with torch.serialization.safe_globals([(kind, name) for name, kind in classes.items()]):
                loaded = torch.load(regular(path), map_location='cpu', weights_only=True)
        except pickle.UnpicklingError as error:  # 'Can only SETITEMS for dict ..., but got <class of ours>'
            dicts = [name for name, kind in classes.items() if issubclass(kind, list) and repr(kind) in str(error)]
            if not dicts:
                raise
            classes |= {name: type(f'Dict{classes[name].__name__}', (DictPlaceholder,), {}) for name in dicts}
            continue
        return loaded, [printable(name)[:80] for name, kind in classes.items() if kind.used]
    raise pickle.UnpicklingError(f'more than {MAX_ATTEMPTS} classes in it are kinds of dict')


def holds_module(loaded):
    """Return whether something that `read_inertly` returned is an nn.Module, or a dict with one in it (bool)."""
    parts = [loaded, *(loaded.values() if isinstance(loaded, dict) else ())]
    return any(isinstance(part, Placeholder) and part.is_module for part in parts)


def _placeholder(number):
    return type(f'Placeholder{number}', (Placeholder,), {})


def _names_in_file(path):
    """Return the names (set of str, 'module.name') of the classes and functions that a file names; runs nothing."""
    if zipfile.is_zipfile(regular(path)):
        with zipfile.ZipFile(regular(path)) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith('/data.pkl')]
            with archive.open(name) as file:
                return _globals_in(file, 1)
    with open_regular(path) as file:
        return _globals_in(file, LEGACY_PICKLES)


def _globals_in(file, count):
    """Return the names (set of str) in `count` pickles that follow each other in an open file."""
    names = set()
    for _ in range(count):
        for opcode, argument, _ in takewhile(lambda step: step[0].name != 'STOP', pickletools.genops(file)):
            if opcode.name == 'GLOBAL':
                module, _, name = argument.partition(' ')
                # Files for Python 2, as torch writes them, have the names of then.
                module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
                names.add(f'{_compat_pickle.IMPORT_MAPPING.get(module, module)}.{name}')
        if len(names) > MAX_NAMES:
            raise pickle.UnpicklingError(f'it names more than {MAX_NAMES:,} classes and functions')
    return names
