"""Ready-made parts of train.Trainer: how args.txt, checkpoints, the log and runs.py name them.

    # python train.py cannot repeat or resume this run: it has ready-made parts
    # ready-made model: LeNet32 (notebooks/lenet.py:12)
    # ready-made train_loader: DataLoader of TensorDataset (torch/utils/data/dataset.py:190)

An args.txt of such a run begins with these lines. record.json and the options of each checkpoint hold `given_parts`: a
dict from the role to the class and, if known, the file and the line. Imports no torch.
"""

import functools
import inspect
import os
import re
from pathlib import Path

from utils.base.errors import DanluError
from utils.base.registry import PROJECT

FIRST_LINE = '# python train.py cannot repeat or resume this run: it has ready-made parts'
LINE = re.compile(r'# ready-made (?P<role>\w+): (?P<class>.+?)(?: \((?P<file>[^()]*):(?P<line>\d+)\))?$')
# Parts -> the option in whose place runs.py shows them.
SHOWN_AS = {'model': 'model_type', 'train_loader': 'data_type', 'val_loader': 'val_list', 'scheduler': 'schedule'}
NOT_USED = '  (not used: '  # after a replaced option in args.txt
INSTALLED = 'site-packages'
MAX_DEPTH = 20  # of data sets that wrap data sets


def note_parts(args, parts):
    """Note the ready-made parts in args.given_parts, and return lines (list of str) for the log.

    Args:
        args: options; `recorded_parts`, from the args.txt of a resumed or repeated run, are compared with the parts.
        parts: dict from the role ('model', 'train_loader' ...) to the object, or None: the options choose it.

    Raises:
        DanluError: ready-made parts of the recorded run are missing.
    """
    recorded = getattr(args, 'recorded_parts', None) or {}
    given = {role: described(part) for role, part in parts.items() if part is not None}
    if missing := {role: part for role, part in recorded.items() if role not in given}:
        raise DanluError(_refusal(args, recorded, missing))
    vars(args).pop('given_parts', None)  # of an earlier Trainer with the same args
    if not given:
        return []
    args.given_parts = given
    lines = [f'ready-made: {named(given)}']
    for role, then in recorded.items():
        now = given[role]
        if (then['class'], then.get('file')) != (now['class'], now.get('file')):
            lines.append(f'ready-made {role}: {text_of(then)} in the record, another part now, {text_of(now)}')
    added = [role for role in given if recorded and role not in recorded]
    return lines + [f'ready-made {role}: the recorded run had none' for role in added]


def note_part(args, role, part):
    """Note in args.given_parts a part that was replaced after the Trainer was built."""
    args.given_parts = {**(getattr(args, 'given_parts', None) or {}), role: described(part)}


def refuse_recorded(args, program):
    """Raise DanluError if args come from the args.txt of a run with ready-made parts, which `program` cannot build.

    Args:
        args: options; `recorded_parts` counts.
        program: name of the program (str).
    """
    if recorded := getattr(args, 'recorded_parts', None):
        raise DanluError(f'@args.txt: the run has ready-made parts ({named(recorded)}), which {program} cannot build')


def _refusal(args, recorded, missing):
    """Return the message (str) that a run cannot be repeated or resumed without its ready-made parts."""
    what = f'--resume: {args.resume}' if args.resume else '@args.txt: the recorded run'
    options = f'resume={str(args.resume)!r}' if args.resume else '...'
    if args.resume and getattr(args, 'as', None):
        options = f'**{{"resume": {str(args.resume)!r}, "as": {getattr(args, "as")!r}}}'
    words = ', '.join([f'train_args({options})', *(f'{role}=...' for role in recorded)])
    needs = 'these are missing now' if len(missing) == len(recorded) else f'{", ".join(missing)} missing now'
    return (
        f'{what} has ready-made parts ({named(recorded)}), which options cannot name; {needs}. Hand the same parts '
        f'over in Python: train.Trainer({words})'
    )


def described(part):
    """Return the class (str) of a part and, if known, file (str) and line (int), as a dict."""
    while isinstance(part, functools.partial):
        part = part.func
    part = part.function if type(part).__name__ == 'FunctionLoss' else part  # of utils.training.ready_parts
    if isinstance(part, list | tuple):
        return {'class': f'{type(part).__name__} of {len(part):,} batches'}
    if isinstance(part, dict):
        return {'class': f'dict of {", ".join(map(str, part))}'}
    if inspect.isroutine(part):
        return {'class': f'function {part.__qualname__}', **source_location(part)}
    chain = _data_sets(part)
    name = ' of '.join(type(each).__qualname__ for each in chain)
    return {'class': name, **source_location(type(chain[-1]))}


def _data_sets(part):
    """Return a part and the data sets that it wraps (list, the innermost last)."""
    chain = [part]
    while len(chain) < MAX_DEPTH and not hasattr(part, 'parameters'):
        part = getattr(part, 'dataset', None)
        if part is None or any(part is each for each in chain):
            break
        chain.append(part)
    return chain


def source_location(thing):
    """Return the file (str) and line (int) of a class or function as a dict; {} without a file."""
    try:
        path = Path(inspect.getsourcefile(thing)).resolve()
        line = inspect.findsource(inspect.unwrap(thing))[1] + 1
    except (OSError, TypeError):
        return {}
    if not path.is_file():  # defined in a notebook or a console
        return {}
    if INSTALLED in path.parts:  # a library: torch/utils/data/dataset.py
        file = Path(*path.parts[path.parts.index(INSTALLED) + 1 :])
    else:
        file = path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path
    return {'file': str(file), 'line': line}


def text_of(part):
    """Return a part (dict, as from `described`) as text: 'LeNet32 (lenet.py:12)'."""
    return part['class'] + (f' ({part["file"]}:{part["line"]})' if part.get('file') else '')


def named(parts):
    """Return parts (dict of dicts) as text: 'model LeNet32 (lenet.py:12), loss Squares (lenet.py:30)'."""
    return ', '.join(f'{role} {text_of(part)}' for role, part in parts.items())


def head_lines(args):
    """Return the first lines (list of str) of args.txt about ready-made parts; [] without such parts."""
    parts = getattr(args, 'given_parts', None)
    return [FIRST_LINE, *(f'# ready-made {role}: {text_of(part)}' for role, part in parts.items())] if parts else []


def parts_in(lines):
    """Return the ready-made parts (dict, as args.given_parts) in the lines (list of str) of an args.txt."""
    found = {}
    for line in lines:
        if match := LINE.match(line.rstrip()):
            part = {'class': match['class']}
            if match['file']:
                part |= {'file': match['file'], 'line': int(match['line'])}
            found[match['role']] = part
    return found


def parts_of(options):
    """Return the ready-made parts in the options of a checkpoint (dict), {} for none."""
    parts = options.get('given_parts')
    if not isinstance(parts, dict):
        return {}
    return {str(role): part for role, part in parts.items() if isinstance(part, dict) and 'class' in part}


def unused_options(args):
    """Return the options (dict from name to role) that the ready-made parts of args (Options) replace."""
    return unused_of(getattr(args, 'given_parts', None) or {}, getattr(args, 'keywords', {}))


def unused_of(parts, keywords):
    """Return the options (dict from name to role) that ready-made parts replace.

    Args:
        parts: dict by role.
        keywords: of the options, as from Parser.keywords.
    """
    return {name: role for role in parts for name, known in keywords.items() if role in known['replaced_by']}


def ready_data(args):
    """Return the class of the ready-made data of a test (str), or None if the options name the data.

    Args:
        args: options of the test. A test of a run with ready-made data needs a loader, unless --data_type is typed.
    """
    recorded = getattr(args, 'recorded_parts', None) or {}
    part = recorded.get('val_loader') or recorded.get('train_loader')
    known = getattr(args, 'ready_loader', None)
    return known or (part['class'] if part and 'data_type' not in getattr(args, 'typed', ()) else None)


def notes_on_lost(args, parts):
    """Return lines (list of str) on ready-made parts of the run that a test replaces by options.

    Args:
        args: options of the test; recorded_parts and typed count.
        parts: dict from a role to the part that the test got, or None.
    """
    recorded, typed = getattr(args, 'recorded_parts', None) or {}, getattr(args, 'typed', ())
    return [
        f'ready-made {role} of the run, {text_of(recorded[role])}: this test uses --{role} instead (to pass the same '
        f'in Python: Evaluator(args, {role}=...))'
        for role, part in parts.items()
        if role in recorded and part is None and role not in typed
    ]


def needed_by_name(args, role):
    """Raise DanluError if a test needs a ready-made part of the run that its checkpoint cannot build.

    Args:
        args: options of a test; `recorded_parts` and `typed` count.
        role: 'model' or 'data'.
    """
    recorded = getattr(args, 'recorded_parts', None) or {}
    typed = getattr(args, 'typed', ())
    where = os.path.relpath(PROJECT / 'model' / 'model_entry.py'), os.path.relpath(PROJECT / 'data' / 'data_entry.py')
    if role == 'model' and 'model' in recorded and 'model_type' not in typed:
        raise DanluError(
            f'--model_type: {args.load_model_path} is of a ready-made model, {text_of(recorded["model"])}, which the '
            f'checkpoint cannot build: add it to MODELS in {where[0]} and give its name, or hand it over in Python: '
            'load_predictor(path, net=...) or Evaluator(args, net=..., loader=...) of eval.py'
        )
    data = recorded.get('val_loader') or recorded.get('train_loader')
    if role == 'data' and data and 'data_type' not in typed:
        raise DanluError(
            f'--data_type: {args.load_model_path} was trained with ready-made data, {text_of(data)}, which the '
            'checkpoint cannot load: give --data_type and --val_list of the test data, or hand a loader over in '
            'Python: Evaluator(args, loader=...) of eval.py'
        )
    if role == 'data' and (faults := getattr(args, 'data_faults', None)):
        raise DanluError(faults[0])
