"""Selects a state dict in a file, and matches its names with the names of the model."""

import re
from collections import Counter

import torch

from utils.base.errors import DanluError

WRAPPERS = ('module.', '_orig_mod.')  # of DataParallel, DistributedDataParallel and torch.compile
MAX_NESTING = 3  # levels of nested dictionaries that are searched
# Usual keys for the state dict of a model; the first one in the file is used.
USUAL_KEYS = (
    *('ema.model', 'model', 'state_dict', 'model_state_dict', 'model_state', 'model_weights', 'net', 'network'),
    *('module', 'weights', 'params', 'parameters', 'net_state_dict', 'network_state_dict', 'teacher'),
)
AVERAGED_KEY = re.compile(r'(^|[._])ema([._]|$)|averag|(^|[._])swa([._]|$)', re.IGNORECASE)
# Keys of other states: optimizers, schedules, random generators, losses, metrics, options.
NON_MODEL_KEY = re.compile(
    r'optim|sched|scaler|^rng|random|criterion|loss|metric|callback|loops|args|config|hparam|hyper_', re.I
)
AVERAGE_COUNTER = 'n_averaged'  # number of updates of torch's AveragedModel
BATCH_COUNTER = 'num_batches_tracked'  # buffer of batch norms, missing in files from before torch 0.4.1


def state_dicts_in(loaded):
    """Return the state dicts in a result of torch.load: dict from a key such as 'model' or 'ema.model' to a state dict.

    If the file is a state dict itself, the key is ''.
    """
    if is_state_dict(loaded):
        return {'': _tensors_only(loaded)}
    own = 'format' in loaded and is_state_dict(loaded.get('model'))  # a checkpoint of Danlu
    found = {}

    def collect(values, prefix):
        for name, value in values.items():
            key = f'{prefix}{name}'
            if not isinstance(name, str) or not isinstance(value, dict) or NON_MODEL_KEY.search(name):
                continue
            if is_state_dict(value):
                found[key] = _tensors_only(value)
            elif key.count('.') < MAX_NESTING - 1:
                collect(value, f'{key}.')

    collect({name: loaded[name] for name in ('model', 'ema') if name in loaded} if own else loaded, '')
    return found


def is_state_dict(value):
    """Return whether a value is a dictionary from names to tensors (bool)."""
    if not isinstance(value, dict) or not value:
        return False
    return all(
        isinstance(name, str) and (torch.is_tensor(entry) or name.endswith('_extra_state'))
        for name, entry in value.items()
    )


def _tensors_only(state):
    return {name: value for name, value in state.items() if torch.is_tensor(value)}


def select_state_dict(loaded, path, key=None):
    """Return the selected state dict of a file, and a note on the choice (str, '' if there is only one).

    Args:
        loaded: result of torch.load (dict).
        path: path of the file, for messages.
        key: --load_key, or None for the usual key. Averaged weights are selected only from checkpoints of Danlu, which
            validates the averaged weights.

    Raises:
        DanluError: no weights, none under this key, or several without a usual key.
    """
    found = state_dicts_in(loaded)
    if not found:
        raise DanluError(f'{path} holds no weights: found {", ".join(map(str, list(loaded)[:10])) or "nothing"}')
    chosen = _usual_key(found, path) if key is None else _given_key(found, path, key)
    others = [other for other in found if other != chosen]
    if not others:
        return found[chosen], ''
    kind = ', averaged weights' if AVERAGED_KEY.search(chosen) else ''
    rest = ' or '.join(f'--load_key {other}' for other in others)
    return found[
        chosen
    ], f'under {chosen!r}{kind}; the file also holds {", ".join(map(repr, others))}: {rest} loads that'


def _usual_key(found, path):
    ranked = [key for key in USUAL_KEYS if key in found]
    ranked += [
        key for name in USUAL_KEYS for key in found if key.rpartition('.')[2] == name and not AVERAGED_KEY.search(key)
    ]
    plain = [key for key in found if not AVERAGED_KEY.search(key)]
    if ranked or len(plain) == 1 or len(found) == 1:
        return [*ranked, *plain, *found][0]
    raise DanluError(f'{path} holds several state dicts: choose by --load_key {" or --load_key ".join(found)}')


def _given_key(found, path, key):
    fitting = [known for known in found if known == key] or [known for known in found if known.startswith(f'{key}.')]
    if len(fitting) == 1:
        return fitting[0]
    known = ', '.join(fitting or found)
    if known == '':
        raise DanluError(f'--load_key {key}: {path} is a single state dict without keys; leave out --load_key')
    raise DanluError(f'--load_key {key}: {path} holds weights under {known}')


def strip_wrapper_prefixes(weights, known):
    """Return a state dict without the prefixes 'module.' and '_orig_mod.' of wrappers.

    Args:
        weights: dict from a name to a tensor.
        known: names of the model; if a name matches, prefixes belong to the names.
    """
    while weights and not any(name in known for name in weights):
        names = [name for name in weights if name != AVERAGE_COUNTER]
        prefix = next((p for p in WRAPPERS if names and all(name.startswith(p) for name in names)), None)
        if prefix is None:
            break
        weights = {name.removeprefix(prefix): weights[name] for name in names}
    return dict(weights)


def match_names(weights, known, path, prefix=None):
    """Return a state dict with the names of a model, and a note (str) on the changed prefix.

    Args:
        weights: dict from a name to a tensor; names may have the prefixes of wrappers.
        known: names of the model.
        path: path of the file, for messages.
        prefix: --load_prefix: only names with this prefix are used, without it. With None a prefix is removed or added
            if most names then match, fewer match without the change, and no other prefix matches as many.

    Raises:
        DanluError: no name begins with `prefix`.
    """
    weights = strip_wrapper_prefixes(weights, known)
    if prefix is not None:
        return _with_prefix_removed(weights, path, prefix)
    removed, added = _prefixes(weights, known)
    fit = sum(name in known for name in weights)
    best = _unambiguous_prefix(removed, fit, sum(not name.endswith(BATCH_COUNTER) for name in known) / 2)
    if best is not None:
        renamed = {name.removeprefix(best): value for name, value in weights.items()}
        return renamed, f'without the prefix {best!r} of their names'
    best = _unambiguous_prefix(added, fit, sum(not name.endswith(BATCH_COUNTER) for name in weights) / 2)
    if best is not None:
        return {best + name: value for name, value in weights.items()}, f'with {best!r} before their names'
    return weights, ''


def _with_prefix_removed(weights, path, prefix):
    prefix = prefix if prefix.endswith('.') else f'{prefix}.'
    taken = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    if not taken:
        begins = ', '.join(dict.fromkeys(name.partition('.')[0] + '.' for name in weights if '.' in name))
        raise DanluError(
            f'--load_prefix {prefix}: no name in {path} has this prefix; the prefixes are: {begins or "none"}'
        )
    left = len(weights) - len(taken)
    rest = f'; {left} with other prefixes are skipped' if left else ''
    return taken, f'without the prefix {prefix!r} of their names{rest}'


def _prefixes(weights, known):
    """Return the number of matching names (Counter) for each prefix to remove, and for each prefix to add."""
    removed = Counter(
        name[: place.end()]
        for name in weights
        for place in re.finditer(r'\.', name)
        if name[place.end() :] in known and not name.endswith(BATCH_COUNTER)
    )
    added = Counter(
        name[: place.end()]
        for name in known
        for place in re.finditer(r'\.', name)
        if name[place.end() :] in weights and not name.endswith(BATCH_COUNTER)
    )
    return removed, added


def _unambiguous_prefix(prefixes, fit, least):
    """Return the prefix with the most matches, or None if it has too few or another has as many."""
    [(best, count), (_, second)] = [*prefixes.most_common(2), ('', 0), ('', 0)][:2]
    return best if count > max(fit, second) and count >= least else None


def missing_batch_counters(weights, own):
    """Return the names (list of str) of num_batches_tracked if a file from before torch 0.4.1 has none of them.

    They are not needed; strict loading in torch accepts such files too.

    Args:
        weights: dict from a name of the model to a tensor.
        own: state dict of the model.
    """
    if any(name.endswith(BATCH_COUNTER) for name in weights):
        return []
    return [
        name for name in own if name.endswith(BATCH_COUNTER) and name.replace(BATCH_COUNTER, 'running_mean') in weights
    ]


def prefix_hint(weights, known):
    """Return a hint (str) if names match with several prefixes, such as those of two encoders, else ''."""
    removed, _ = _prefixes(weights, known)
    fit = sum(name in known for name in weights)
    best = [prefix for prefix, count in removed.most_common(4) if count > fit]
    return f'; names match with --load_prefix {" or --load_prefix ".join(best)}' if best else ''
