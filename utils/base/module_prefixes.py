"""Selection of layers by the beginning of their dotted names, for --lr_of, --load_exclude and --freeze."""

from utils.base.errors import DanluError
from utils.base.registry import close_names


def is_in_module(name, part):
    """Return whether a parameter or module `name` is `part` or inside it: 'fc' contains 'fc.bias', not 'fc2'."""
    return name == part or name.startswith(part + '.')


def is_in_any_module(name, parts):
    """Return whether `name` is one of `parts` (strings) or inside one of them."""
    return any(is_in_module(name, part) for part in parts)


def check_prefixes(option, parts, names):
    """Raise DanluError, with `option` in the message, if one of `parts` matches none of the dotted `names`."""
    for part in parts:
        if any(is_in_module(name, part) for name in names):
            continue
        words = [name.split('.') for name in names]
        known = dict.fromkeys('.'.join(word[:depth]) for word in words for depth in range(1, len(word) + 1))
        close = close_names(part, list(known))
        hint = f'; did you mean {" or ".join(close)}?' if close else ''
        highest = ', '.join(dict.fromkeys(word[0] for word in words))
        raise DanluError(f'{option}: unknown part of the model {part!r}{hint} (it consists of {highest})')
