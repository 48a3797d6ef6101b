"""Registries: plain dictionaries from a name on the command line to the dotted path of what it builds.

The names are read from the source text of the file that holds the dictionary, so that `--help` and a wrong option
are answered without importing torch, and a half-written model breaks nobody else's run. Only the chosen entry is
imported.
"""

import ast
import difflib
import importlib
import sys
from pathlib import Path

from utils.errors import DanluError

PROJECT = Path(__file__).resolve().parent.parent


def read_registry(module, name):
    """Return the dictionary `name` of a project module, without importing the module.

    Args:
        module: dotted name, for example 'model.model_entry'.
        name: the dictionary's name, for example 'MODELS'. It must be written as a literal.

    Raises:
        DanluError: the file has no such literal dictionary.
    """
    if module in sys.modules:  # a notebook may have added entries of its own
        return getattr(sys.modules[module], name)
    path = PROJECT.joinpath(*module.split('.')).with_suffix('.py')
    for node in ast.parse(path.read_text(encoding='utf-8'), str(path)).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return ast.literal_eval(node.value)
    raise DanluError(f'{path}: no dictionary {name} = {{...}} at the top level of the file')


def unknown_name(what, name, names):
    """Return the message (str) for a name that is not registered: the close matches and the whole list."""
    close = difflib.get_close_matches(name, names, n=3)
    hint = f'; did you mean {" or ".join(close)}?' if close else ''
    return f'unknown {what} {name!r}{hint} (known: {", ".join(sorted(names))})'


def load_entry(registry, name, what):
    """Import and return the class or function that `registry[name]` points to.

    Raises:
        DanluError: the name is not registered, or the dotted path leads nowhere.
    """
    if name not in registry:
        raise DanluError(unknown_name(what, name, list(registry)))
    module, _, attribute = registry[name].rpartition('.')
    try:
        return getattr(importlib.import_module(module), attribute)
    except AttributeError:
        raise DanluError(f'{what} {name!r} is registered as {registry[name]}: {module} has no {attribute}') from None
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(error.name + '.')):
            raise DanluError(f'{what} {name!r} is registered as {registry[name]}: there is no {error.name}') from None
        raise
