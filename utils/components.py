"""The definitions that made a run, each with a hash, and which of them are no longer what they were.

    source = Source(PROJECT)                                   # or Source('checkpoints/lenet_exp/source.zip')
    found = components_of({'model': ['model.lenet.LeNet']}, source)       # {'model': {dotted name: hash, ...}}
    for line in describe(changed(record, Source(archive), source)): ...

A component is a class, function or constant of the project, by its dotted name, and whatever it refers to, over any
number of files. All of it is read, nothing is run: it works on an archive of another version just as well. What is
imported from elsewhere counts by its name; the record has the versions. Imports no torch.
"""

import difflib
from typing import NamedTuple

from utils.definitions import FUNCTIONS, canonical
from utils.reader import ELSEWHERE, Reader, Source
from utils.source import is_run_code

__all__ = ['Change', 'Source', 'changed', 'changed_evaluation', 'changed_files', 'components_of', 'describe']

# What every test runs through, whatever its parts are.
EVALUATION = ('utils.logger.Recorder', 'utils.speed.forward')
ENGINE = ('utils/engine.py', 'Engine')
EVALUATING = 'to_device step compute_loss loss_count record_loss compute_metrics evaluate'.split()

SAID_OF = {'gone': ', gone', 'new': ', new'}


class Change(NamedTuple):
    """What is not as it was when a run was recorded.

    Attributes:
        kind: 'model', 'data', 'augment', 'loss', 'metrics' or 'evaluation'.
        name: dotted name of the definition.
        path: file that it stands in, relative to the project.
        diff: unified diff of its source (str), or None: the source of the run is not at hand.
        state: 'changed', 'gone', 'new', or 'unreadable' (then `diff` says why).
    """

    kind: str
    name: str
    path: str
    diff: str | None
    state: str = 'changed'


def components_of(roots, source):
    """Return the hash of each definition that `roots` name or refer to: {kind: {dotted name: hash}}, sorted.

    Args:
        roots: {kind: [names]}: 'model.lenet.LeNet', an entry of a registry, 'model.model_entry.MODELS[lenet]', or a
            definition outside of the project, '/home/me/script.py:Net'. Those that are nowhere are left out.
        source: Source.
    """
    reader = Reader(source)
    return {kind: {name: reader.find(name).digest for name in reader.all_from(names)} for kind, names in roots.items()}


def changed(record, then, now):
    """Return what is not as it was when a run was recorded (list of Change), in the order of kinds and files.

    Comments, docstrings and layout do not count, nor that a definition stands in another file.

    Args:
        record: of a run, as it is in its checkpoints (dict).
        then: Source of the run's source.zip, or None: it is not at hand, and there are no diffs.
        now: Source of the project.
    """
    recorded = record.get('components') or {}
    before, after = Reader(then) if then is not None else None, Reader(now)
    found = []
    for kind, hashes in recorded.items():
        changes = [_compare(kind, name, hashes[name], before, after) for name in hashes if after.can_tell(name)]
        added = [name for name in after.all_from(hashes) if name not in hashes]
        known = set(before.all_from(hashes)) if before and added else ()  # to an older version of this file perhaps not
        for name in added:
            if name not in known or before.find(name).digest != after.find(name).digest:
                changes.append(Change(kind, name, after.find(name).path, _diff(None, after.find(name)), 'new'))
        found += _without_moved([change for change in changes if change is not None], hashes, after)
    return found


def changed_evaluation(then, now):
    """Return what of the evaluation that all tests share is not as it was (list of Change).

    It is looked at method by method, as the class that has it has much that no result depends on.

    Args:
        then, now: Sources of the run and of the project.
    """
    before, after, found = Reader(then), Reader(now), []
    for name in EVALUATION:
        old = before.find(name)
        if old is not None:
            found.append(_compare('evaluation', name, old.digest, before, after))
    methods = [_methods(source, *ENGINE) for source in (then, now)]
    for name in EVALUATING:
        old, new = (each.get(name) for each in methods)
        if old is not None and (new is None or canonical([old[0]]) != canonical([new[0]])):
            texts = [each[1] if each else [] for each in (old, new)]
            diff = '\n'.join(difflib.unified_diff(*texts, f'then/{ENGINE[0]}', f'now/{ENGINE[0]}', lineterm=''))
            state = 'gone' if new is None else 'changed'
            found.append(Change('evaluation', f'{ENGINE[1]}.{name}', ENGINE[0], diff, state))
    return [change for change in found if change is not None]


def _methods(source, path, name):
    """Return the methods of a class: {name: (ast node, lines)}, {} where the file or the class is not there."""
    module = source.module(path)
    statements = getattr(module, 'statements', {}).get(name, [])
    lines = module.text.splitlines() if statements else []
    return {
        node.name: (node, lines[node.lineno - 1 : node.end_lineno])
        for statement in statements
        for node in getattr(statement, 'body', [])
        if isinstance(node, FUNCTIONS)
    }


def _compare(kind, name, digest, before, after):
    """Return the Change of one definition, or None."""
    new = after.find(name)
    if new is not None and new.digest == digest:
        return None
    old = before.find(name) if before else None
    if new is None:
        return Change(kind, name, old.path if old else after.path_of(name), _diff(old, None) if old else None, 'gone')
    if old is not None and old.digest == new.digest:  # the hash was taken by another Python
        return None
    if not new.digest.isalnum():
        return Change(kind, name, new.path, new.digest, 'unreadable')
    return Change(kind, name, new.path, _diff(old, new) if old else None)


def _without_moved(changes, recorded, after):
    """Return changes without definitions that are gone here and new there, as they were."""
    gone = {
        (change.name.rpartition('.')[2], recorded[change.name]): change for change in changes if change.state == 'gone'
    }
    moved = []
    for change in changes:
        key = change.name.rpartition('.')[2], getattr(after.find(change.name), 'digest', None)
        if change.state == 'new' and key in gone:
            moved += [change, gone[key]]
    return [change for change in changes if change not in moved]


def _diff(old, new):
    """Return the unified diff (str) of two Definitions, of which one may be None."""
    sides = [definition.source if definition else [] for definition in (old, new)]
    labels = [f'{label}/{d.path}' if d else '/dev/null' for label, d in (('then', old), ('now', new))]
    return '\n'.join(difflib.unified_diff(*sides, *labels, lineterm=''))


def describe(changes):
    """Return changes as lines (list of str), one for a definition that serves several kinds: 'model/x.py: Net (model)'.

    A file that cannot be read is one line too, with what is wrong with it.
    """
    kinds = {}
    for change in changes:
        name = change.name.rpartition(':' if ELSEWHERE in change.name else '.')[2]
        what = change.diff if change.state == 'unreadable' else f'{change.path}: {name}'
        kinds.setdefault((what, SAID_OF.get(change.state, '')), {})[change.kind] = None
    return [f'{what} ({", ".join(those)}{state})' for (what, state), those in kinds.items()]


def changed_files(then, now):
    """Return the files (list of str) of the code that makes a run which compute something else than they did.

    Args:
        then, now: Sources.
    """
    names = sorted({*filter(is_run_code, then.files()), *filter(is_run_code, now.files())})
    return [name for name in names if then.read_bytes(name) != now.read_bytes(name) and _differ(name, then, now)]


def _differ(name, then, now):
    """Return whether two versions of a file differ in more than comments and layout (bool)."""
    modules = [source.module(name) for source in (then, now)]
    if not name.endswith('.py') or any(module is None or isinstance(module, str) for module in modules):
        return True
    before, after = (
        {**{name: canonical(statements) for name, statements in module.statements.items()}, 'imports': module.imports}
        for module in modules
    )
    return before != after or modules[0].stars != modules[1].stars
