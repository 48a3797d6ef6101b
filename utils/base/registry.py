"""Registries: dictionaries from a name on the command line to a dotted path.

The names are read from the source text of the file with the dictionary, so `--help` and errors about options need no
torch, and a broken model does not affect runs of other models. Only the selected entry is imported.
"""

import ast
import difflib
import functools
import importlib
import sys
from pathlib import Path

from utils.base.errors import DanluError
from utils.base.regular_files import read_regular_text
from utils.base.synonyms import same_names

PROJECT = Path(__file__).resolve().parent.parent.parent


def read_registry(module, name):
    """Return the dictionary `name` of a project module, without importing the module.

    Args:
        module: dotted name, for example 'model.model_entry'.
        name: the dictionary's name, for example 'MODELS'. It must be written as a literal.

    Raises:
        DanluError: the file has no such dictionary, or it is not a literal.
    """
    if module in sys.modules:  # a notebook may have added entries
        return getattr(sys.modules[module], name)
    path = PROJECT.joinpath(*module.split('.')).with_suffix('.py')
    for node in _parsed(path, path.stat().st_mtime_ns).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            try:
                return ast.literal_eval(node.value)
            except ValueError:
                what = f"{name} must be written out as {{'name': 'package.module.Class', ...}}"
                raise DanluError(f'{path}, line {node.lineno}: {what}: it is read without running the file') from None
    raise DanluError(f'{path}: no dictionary {name} = {{...}} at the top level of the file')


@functools.lru_cache
def _parsed(path, changed):
    """Return the syntax tree of a file; `changed`, its modification time, is part of the cache key."""
    return ast.parse(read_regular_text(path), str(path))


def close_names(name, names, count=3):
    """Return the names (list of str, at most `count`) that a user who typed `name` may have meant.

    These are names with the same meaning (utils/base/synonyms.py), else names that it begins, else similar ones.
    """
    if same := same_names(name, names):
        return same[:count]
    lower = name.lower()
    begun = [known for known in names if lower and known.startswith(lower)]  # seg for segmentation
    return begun[:count] or difflib.get_close_matches(lower, names, n=count)


def unknown_name(what, name, names):
    """Return the error message (str) for an unregistered name: the close matches and the whole list."""
    close = close_names(name, names)
    hint = f'; did you mean {" or ".join(close)}?' if close else ''
    return f'unknown {what} {name!r}{hint} (known: {", ".join(sorted(names))})'


def load_entry(registry, name, what):
    """Import and return the class or function of `registry[name]`.

    Raises:
        DanluError: the name is not registered, or its dotted path does not exist.
    """
    if name not in registry:
        raise DanluError(unknown_name(what, name, list(registry)))
    place = f'{what} {name!r} is registered as {registry[name]}'
    module, _, attribute = registry[name].rpartition('.')
    if not module:
        raise DanluError(f'{place}: it needs the module too, package.module.{attribute}')
    try:
        imported = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(error.name + '.')):
            raise DanluError(f'{place}: there is no {error.name}') from None
        raise
    if not hasattr(imported, attribute):
        raise DanluError(f'{place}: {module} has no {attribute}')
    return getattr(imported, attribute)
