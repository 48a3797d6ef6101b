"""Parts of a network by the beginnings of their names, as --lr_of, --load_exclude and --freeze take them."""

from utils.base.errors import DanluError
from utils.base.registry import close_names


def is_in_module(name, part):
    """Return whether a parameter or module `name` is `part` or lies in it: whole parts of the dotted name count."""
    return name == part or name.startswith(part + '.')


def is_in_any_module(name, parts):
    """Return whether `name` is one of `parts` (strings) or lies in one."""
    return any(is_in_module(name, part) for part in parts)


def check_prefixes(option, parts, names):
    """Raise DanluError, beginning with `option`, where one of `parts` fits none of the dotted `names`."""
    for part in parts:
        if any(is_in_module(name, part) for name in names):
            continue
        words = [name.split('.') for name in names]
        known = dict.fromkeys('.'.join(word[:depth]) for word in words for depth in range(1, len(word) + 1))
        close = close_names(part, list(known))
        hint = f'; did you mean {" or ".join(close)}?' if close else ''
        highest = ', '.join(dict.fromkeys(word[0] for word in words))
        raise DanluError(f'{option}: unknown part of the model {part!r}{hint} (it consists of {highest})')
