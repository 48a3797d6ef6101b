"""Shell completion of options and names through argcomplete, where that is installed. Imports no torch.

Bash and zsh start the program with _ARGCOMPLETE in its environment; requirements-extra.txt has the line that enables
this. Names come from the registries. Without that variable, nothing is imported.
"""

import functools
import importlib.util
import os


def complete(parser):
    """Print the completions and exit if a shell asks for them; otherwise do nothing.

    Args:
        parser: argparse.ArgumentParser; values of a type with the attribute `names` (list of str) are completed too.
    """
    if '_ARGCOMPLETE' not in os.environ or importlib.util.find_spec('argcomplete') is None:
        return
    import argcomplete

    for action in parser._actions:
        if hasattr(action.type, 'names'):
            action.completer = functools.partial(_completions, action.type.names)
    argcomplete.autocomplete(parser)


def _completions(names, prefix, **_):
    """Return the names that begin with `prefix`; argcomplete fails for `prefix` itself if it ends in a colon."""
    return [name for name in names if name.startswith(prefix) and not (name == prefix and name.endswith(':'))]
