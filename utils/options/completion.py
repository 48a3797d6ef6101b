"""Completion of options and names by the shell, through argcomplete, where it is installed. Imports no torch.

Bash and zsh ask by starting the program with _ARGCOMPLETE in its environment; see requirements-extra.txt for the line
that makes them ask. Names come from the registries; nothing is built, and without that variable nothing is imported.
"""

import functools
import importlib.util
import os


def complete(parser):
    """Answer the shell, and end, where it asks what could stand at the cursor; otherwise do nothing.

    Args:
        parser: argparse.ArgumentParser; a type of it that has `names` (list of str) is completed by them.
    """
    if '_ARGCOMPLETE' not in os.environ or importlib.util.find_spec('argcomplete') is None:
        return
    import argcomplete

    for action in parser._actions:
        if hasattr(action.type, 'names'):
            action.completer = functools.partial(_begun, action.type.names)
    argcomplete.autocomplete(parser)


def _begun(names, prefix, **_):
    """Return the names that go on from `prefix`; argcomplete fails for one that ends in a colon and stands there."""
    return [name for name in names if name.startswith(prefix) and not (name == prefix and name.endswith(':'))]
