"""The types of what checkpoints and record.json hold: a file from elsewhere is checked before anything in it is used.

A schema is a type, a tuple of types, a list [schema] (of any length), or a dictionary from keys to schemas. Keys may be
missing or None, and keys that a schema does not name may hold anything. Values of options are checked by the types of
the options themselves: utils.past.PastParser.recorded. Imports no torch.
"""

from collections.abc import Mapping

from utils.errors import DanluError

PLAIN = (str, int, float, bool)
SPLITS = ('train', 'val')
RECORD = {
    'format': int,
    'date': str,
    'experiment': str,
    'run': str,
    'code': str,
    'source': {'file': str, 'sha256': str},
    'git': {'commit': str, 'changed': [str]},
    'versions': Mapping,
    'components': Mapping,
    'data': {'train': {'sha256': str}, 'val': {'sha256': str}},
    'given_parts': Mapping,
}
CHECKPOINT = {
    'format': int,
    'model': Mapping,
    'args': Mapping,
    'epoch': int,
    'step': int,
    'metrics': Mapping,
    'record': RECORD,
    'fingerprint': Mapping,
}
# What resuming takes from last.pth, and which of it has to be there.
RESUME = {
    'optimizer': Mapping,
    'scheduler': Mapping,
    'scaler': Mapping,
    'ema': Mapping,
    'rng': Mapping,
    'loader': {'batch': int, 'shown': [str], 'drawing': {split: {'cost': float, 'since': float} for split in SPLITS}},
    'best': Mapping,
    'recorder': {'history': [Mapping]},
    'processes': [Mapping],
}
NEEDED = ('model', 'optimizer', 'rng')


def fault_of(value, schema, name=''):
    """Return what of a value does not fit a schema (str such as 'source.file is a list'), or None: it fits."""
    if value is None:
        return None
    if isinstance(schema, dict):
        if not isinstance(value, Mapping):
            return _of_wrong_type(value, name)
        parts = ((value.get(key), part, f'{name}.{key}'.lstrip('.')) for key, part in schema.items())
    elif isinstance(schema, list):
        if not isinstance(value, list | tuple):
            return _of_wrong_type(value, name)
        parts = ((item, schema[0], f'{name}[{place}]') for place, item in enumerate(value))
    else:
        wrong = not isinstance(value, schema) or (schema is int and isinstance(value, bool))
        return _of_wrong_type(value, name) if wrong else None
    return next(filter(None, (fault_of(*part) for part in parts)), None)


def _of_wrong_type(value, name):
    return f'{name or "the whole"} is of type {type(value).__name__}'


def check_checkpoint(state, path):
    """Raise DanluError where what Danlu wrote into a checkpoint is not of the type that Danlu writes.

    Args:
        state: what is in the file (dict). Files of other programs, without a format, may hold anything. Only where
            their `record` looks like one of Danlu is it checked.
        path: of the file, for the message.
    """
    record = RECORD if _is_record(state.get('record')) else object
    schema = {**(CHECKPOINT if 'format' in state else {}), 'record': record}
    if fault := fault_of(state, schema):
        raise DanluError(f'{path} is damaged or was changed: {fault}, which Danlu does not write')


def check_resume_state(state, path):
    """Raise DanluError where a checkpoint (dict) lacks what resuming needs, or has it in another type."""
    lacking = [name for name in NEEDED if state.get(name) is None]
    lacking += [] if 'best' in state else ['best']  # None before the first epoch has ended
    fault = f'{", ".join(lacking)} is missing' if lacking else fault_of(state, RESUME)
    if fault is None and (state.get('loader') or {}).get('batch', 0) < 0:
        fault = f'loader.batch is {state["loader"]["batch"]}'
    if fault:
        raise DanluError(f'--resume: {path} is damaged or was changed: {fault}; give another checkpoint of the run')


def recorded_args(checkpoint):
    """Return the options (dict) in a checkpoint of Danlu, None where it has none; what others call args is no option.

    Args:
        checkpoint: what utils.checkpoint.load_checkpoint returned.
    """
    if getattr(checkpoint, 'model_type', None):  # of a whole model, whose class is in --model_source
        return {'model_type': checkpoint.model_type}
    args = checkpoint.get('args') if 'format' in checkpoint else None
    return args if isinstance(args, dict) else None


def _is_record(value):
    return isinstance(value, Mapping) and 'components' in value
