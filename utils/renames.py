"""What Danlu's own modules, classes and functions were called before: records of earlier versions use those names.

A move within Danlu needs an entry in MODULES, a new name one in NAMES: utils.components compares the hashes in a record
with today's definitions under their earlier names too, so that a rename is no change. A moved definition that another
one leads to needs no entry. Imports no torch.
"""

# Dotted name of a module, or of a single definition that left its module, then -> now.
MODULES = {}
# Name of a class, function, method, attribute or parameter, or of a module that is imported by `from utils import ...`,
# then -> now. Each name of now stands here once, and other code must not use it for something else.
NAMES = {}


def current_name(dotted):
    """Return what a definition (str, dotted) of an earlier version is called now."""
    parts = dotted.split('.')
    for length in range(len(parts), 0, -1):
        module = '.'.join(parts[:length])
        if module in MODULES:
            return '.'.join([MODULES[module], *(NAMES.get(part, part) for part in parts[length:])])
    return '.'.join(NAMES.get(part, part) for part in parts)


class EarlierNames:
    """Gives the names of today's code in an earlier version, for the text that is hashed."""

    def __init__(self):
        self.dotted = {now: then for then, now in MODULES.items()}
        self.identifiers = {now: then for then, now in NAMES.items()}

    def identifier(self, name):
        """Return what an identifier (str) was called."""
        return self.identifiers.get(name, name)

    def name(self, dotted):
        """Return what a module or definition (str, dotted) was called."""
        parts = dotted.split('.')
        for length in range(len(parts), 0, -1):
            module = '.'.join(parts[:length])
            if module in self.dotted:
                return '.'.join([self.dotted[module], *map(self.identifier, parts[length:])])
        return '.'.join(map(self.identifier, parts))
