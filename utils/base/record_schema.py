"""Type checks of checkpoints, record.json and ledger.jsonl, whose files may come from elsewhere.

A schema is a type, a tuple of types, a list [schema] (of any length), a dictionary from keys to schemas, in which EACH
stands for all keys, or a function that returns what is wrong with a value (str), or None. Values may be missing or None
unless they are Needed; keys that a schema does not name may hold anything. Values of options are checked by the types
of the options: utils.options.record_parser.MigratingParser.recorded. Imports no torch.
"""

from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple

from utils.base.errors import DanluError

PLAIN = (str, int, float, bool)
NUMBER = (int, float)
EACH = ...
MAX_COUNT = 2**53  # epochs, steps, samples
MAX_DEPTH, MAX_VALUES = 50, 2**22  # nesting depth of dicts and lists, and number of values in one level
MAX_SHOWN = 60  # characters of a value in a message


class Needed(NamedTuple):
    """The schema of a required value."""

    schema: object


def count(value):
    """Return what is wrong with a number of epochs, steps, batches or samples (str), or None."""
    if isinstance(value, bool) or not isinstance(value, int):
        return f'is of type {type(value).__name__}'
    return None if 0 <= value <= MAX_COUNT else f'is {shown(value)}'


def option(value):
    """Return what is wrong with the value of an option (str), or None; tensors cannot be compared and are refused."""
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        parts = value.values() if isinstance(value, Mapping) else value
        return next(filter(None, map(option, parts)), None)
    return None if value is None or isinstance(value, (*PLAIN, bytes)) else f'is or holds a {type(value).__name__}'


TEXTS = {EACH: str}
CONTENTS = {'sha256': str, 'samples': count}
DATA = {'list': str, 'sha256': str, 'samples': count, 'parts': TEXTS, 'shared': [str], 'contents': CONTENTS}
PARTS = {EACH: {'class': str, 'file': str, 'line': count}}  # see utils.options.given_parts
RECORD = {
    'format': int,
    'date': str,
    'experiment': str,
    'run': str,
    'code': str,
    'source': {'file': str, 'sha256': str},
    'git': {'commit': str, 'changed': [str]},
    'versions': TEXTS,
    'components': {EACH: TEXTS},
    'data': {'train': DATA, 'val': DATA},
    'given_parts': PARTS,
    'variables': TEXTS,
    'imported': TEXTS,
    'outside': TEXTS,
    'opened': TEXTS,
}
CHECKPOINT = {
    'format': int,
    'model': Mapping,
    'args': {EACH: option},
    'epoch': count,
    'step': count,
    'metrics': Mapping,
    'record': RECORD,
    'fingerprint': Mapping,
    'device': str,
}
ROW = {'epoch': Needed(count), EACH: NUMBER}  # of history.csv
SUMS = {
    **dict.fromkeys(('sums', 'counts'), Needed({EACH: NUMBER})),
    **{'waiting': Needed({EACH: [[NUMBER]]}), 'marks': Needed([[object]]), 'totals': Needed({EACH: {EACH: NUMBER}})},
}
DRAWING = {'cost': float, 'since': float}
# The keys of last.pth that resuming reads.
RESUME = {
    **CHECKPOINT,
    'model': Needed(Mapping),
    'args': Needed({EACH: option}),
    'epoch': Needed(count),
    'step': Needed(count),
    'optimizer': Needed(Mapping),
    'scheduler': {'last_lr': NUMBER},
    'scaler': Mapping,
    'ema': Mapping,
    'rng': Needed(Mapping),
    'loader': {'batch': Needed(count), 'rng': Mapping, 'shown': [str], 'drawing': {'train': DRAWING, 'val': DRAWING}},
    'best': {'value': Needed(NUMBER), 'epoch': Needed(count)},
    'recorder': Needed({'history': Needed([ROW]), 'epoch': SUMS}),
    'diverged': {'left_out': [count], 'in_a_row': count, 'gone_back': [object], 'fresh': bool},
    'processes': [Mapping],
    'events': {EACH: count},
}
# A line of ledger.jsonl: eval.Evaluator.write_ledger_line.
LEDGER_LINE = {
    **dict.fromkeys('date run checkpoint checkpoint_sha256 task model_type list data_sha256'.split(), str),
    **dict.fromkeys('contents_sha256 code source commit command directory result_dir'.split(), str),
    **dict.fromkeys('device verdict verdict_text'.split(), str),
    'values': Needed({EACH: NUMBER}),
    'epoch': count,
    'samples': count,
    'options': Mapping,
    'changed_options': Mapping,
    'causes': [str],
}
# The lines of witness.jsonl, those of first_steps.jsonl after its first line, CONDITIONS, and of late_steps.jsonl.
STEP = {'weights': int, 'data': int, 'loss': Needed(NUMBER)}
NOTED_STEP = STEP | {'epoch': Needed(count), 'batch': Needed(count), 'processes': count}
FIRST_STEP = STEP | {'step': Needed(count), 'weights': Needed(int), 'data': Needed(int)}
FIRST_STEP |= {'epoch': count, 'batch': count, 'optimizer': int, 'ema': int, 'lr': [NUMBER]}
LATE_STEP = FIRST_STEP | {'epoch': Needed(count), 'batch': Needed(count)}
CONDITIONS = {
    **{'threads': Needed(count), 'device': Needed(str), 'torch': Needed(str), 'ready_made': Needed(bool)},
    'processes': count,
}


def fault_of(value, schema, name=''):
    """Return why a value does not fit a schema (str such as 'source.file is of type list'), or None if it fits."""
    if value is None:
        return f'{name} is missing' if isinstance(schema, Needed) else None
    schema = schema.schema if isinstance(schema, Needed) else schema
    if isinstance(schema, type | tuple):
        wrong = not isinstance(value, schema) or (isinstance(value, bool) and schema in (int, NUMBER))
        return _of_wrong_type(value, name) if wrong else None
    if not isinstance(schema, dict | list):
        return f'{name} {fault}' if (fault := schema(value)) else None
    if not isinstance(value, Mapping if isinstance(schema, dict) else list | tuple):
        return _of_wrong_type(value, name)
    parts = _items_of(value, schema, name) if isinstance(schema, dict) else _parts_of(value, schema, name)
    return next(filter(None, (fault_of(*part) for part in parts)), None)


def _parts_of(value, schema, name):
    return ((item, schema[0], f'{name}[{place}]') for place, item in enumerate(value))


def _items_of(value, schema, name):
    """Yield (value, schema, name) for each key of a dict, and for each value that a schema names."""
    for key in value:
        yield key, Needed(str), f'a key of {name}'.removesuffix(' of ')
    for key in [*value, *schema] if EACH in schema else schema:
        if key != EACH:
            yield value.get(key), schema.get(key, schema.get(EACH)), _within(name, key)


def shown(value):
    """Return a value as text for a message: one line of at most MAX_SHOWN characters (str)."""
    try:
        text = ascii(value)
    except (ValueError, RecursionError):  # a number with more digits than Python writes, or too deep nesting
        text = f'a {type(value).__name__}'
    return text if len(text) <= MAX_SHOWN else f'{text[: MAX_SHOWN - 3]}...'


def _within(name, key):
    return f'{name}.{shown(key)[1:-1]}'.removeprefix('.')


def _of_wrong_type(value, name):
    return f'{name or "the whole"} is of type {type(value).__name__}'


def check_checkpoint(state, path):
    """Raise DanluError if a value of a checkpoint of Danlu has the wrong type.

    Args:
        state: the contents of the file (dict). Files of other programs, without a format, may hold anything; their
            `record` is checked only if it looks like one of Danlu.
        path: of the file, for the message.
    """
    ours = 'format' in state
    record = state.get('record') if ours or _is_record(state.get('record')) else None
    fault = (ours and _fault_of_size(state)) or fault_of(record, RECORD, 'record')
    fault = fault or (fault_of(state, CHECKPOINT) if ours else None)
    if fault:
        raise DanluError(f'{path} is damaged or was changed, as no version of Danlu writes this: {fault}')


def check_resume_state(state, path):
    """Raise DanluError if a checkpoint (dict) lacks a value that resuming needs, or it has the wrong type."""
    lacking = None if 'best' in state else 'best is missing'  # its value is None before the end of the first epoch
    if fault := lacking or fault_of(state, RESUME):
        raise DanluError(f'--resume: {path} is damaged or was changed: {fault}; give another checkpoint of the run')


def recorded_args(checkpoint):
    """Return the options (dict) in a checkpoint of Danlu, None if there are none or another program wrote it.

    Args:
        checkpoint: the value of utils.runs.checkpoint.load_checkpoint.
    """
    if getattr(checkpoint, 'model_type', None):  # a whole pickled model, whose class is in --model_source
        return {'model_type': checkpoint.model_type}
    args = checkpoint.get('args') if 'format' in checkpoint else None
    return args if isinstance(args, dict) else None


def _fault_of_size(value):
    """Return that a value holds more than Danlu writes (str), or None.

    In a file a list with the same list twice takes no more space, so a small file may hold any number of values.
    """
    level = [value]
    for _ in range(MAX_DEPTH):
        containers = (each for each in level if isinstance(each, dict | list | tuple))
        parts = (part for each in containers for part in (each.values() if isinstance(each, dict) else each))
        level = list(islice(parts, MAX_VALUES))
        if len(level) == MAX_VALUES:
            return f'it holds more than {MAX_VALUES:,} values'
        if not level:
            return None
    return f'it is nested more than {MAX_DEPTH} levels deep'


def _is_record(value):
    return isinstance(value, Mapping) and 'components' in value
