"""Hashes of the definitions that a run uses, and the definitions that have changed since.

    source = Source(PROJECT)                                   # or Source('checkpoints/lenet_exp/source.zip')
    hashes = hash_components({'model': ['model.lenet.LeNet']}, source)    # {'model': {dotted name: hash, ...}}
    lines = describe_changes(find_changes(record, Source(archive), source))

A component is a class, function or constant of the project, by its dotted name. Everything that it refers to, in any
file, is a component too. The code is parsed and never executed, so archives of other versions work as well. Imports
from installed packages count by name; the record has their versions. Imports no torch.
"""

import difflib
from typing import NamedTuple

from utils.base.renames import CurrentNames, EarlierNames
from utils.provenance.project_source import is_run_code
from utils.provenance.source_ast import FUNCTIONS, MODULE_LEVEL, canonical, normalize_ast
from utils.provenance.symbol_resolver import EXTERNAL_MARK, Source, SymbolResolver, digest_of, is_registry_entry

__all__ = [
    'Change',
    'Source',
    'describe_changes',
    'find_changed_files',
    'find_changes',
    'find_evaluation_changes',
    'hash_components',
]

# Code that every test uses.
EVALUATION = ('utils.logger.Recorder', 'utils.training.precision.forward')
ENGINE = 'utils.training.engine.Engine'
ENGINE_METHODS = 'to_device step compute_loss loss_count record_loss compute_metrics evaluate'.split()

STATE_SUFFIXES = {'gone': ', gone', 'new': ', new'}


class Change(NamedTuple):
    """A definition that has changed since a run was recorded.

    Attributes:
        kind: 'model', 'data', 'augment', 'loss', 'metrics' or 'evaluation'.
        name: dotted name of the definition.
        path: file of the definition, relative to the project.
        diff: unified diff of the source (str), or None if the source of the run is not available.
        state: 'changed', 'gone', 'new' or 'unreadable' (`diff` then holds the reason).
    """

    kind: str
    name: str
    path: str
    diff: str | None
    state: str = 'changed'


def hash_components(roots, source):
    """Return the hash of each definition that `roots` name or refer to: {kind: {dotted name: hash}}, sorted.

    Args:
        roots: {kind: [names]}; a name is 'model.lenet.LeNet', a registry entry 'model.model_entry.MODELS[lenet]', or a
            definition outside the project, '/home/me/script.py:Net'. Unknown names are skipped.
        source: Source.
    """
    reader = SymbolResolver(source)
    return {
        kind: {name: reader.find(name).digest for name in reader.reachable_from(names)} for kind, names in roots.items()
    }


def find_changes(record, then, now):
    """Return the definitions that have changed since a run was recorded (list of Change), by kind and file.

    Comments, docstrings, layout, moves to another file and renames listed in utils.base.renames are ignored. With
    `then`, names of local variables and messages of raised errors are ignored too.

    Args:
        record: record of the run (dict).
        then: Source of the source.zip of the run, or None if it is not available; then there are no diffs.
        now: Source of the project.
    """
    recorded = record.get('components') or {}
    before, after = SymbolResolver(then) if then is not None else None, SymbolResolver(now)
    found = []
    for kind, hashes in recorded.items():
        changes = [_find_change(kind, name, hashes, before, after) for name in hashes if after.can_check(name)]
        names = {*hashes, *map(after.todays_name, hashes)}
        added = [name for name in after.reachable_from(names) if name not in names]
        known = (
            set(before.reachable_from(hashes)) if before and added else ()
        )  # to an older version of this file perhaps not
        for name in added:
            if name not in known or before.find(name).digest != after.find(name).digest:
                changes.append(Change(kind, name, after.find(name).path, _diff(None, after.find(name)), 'new'))
        found += _without_moved([change for change in changes if change is not None], hashes, before, after)
    return found


def find_evaluation_changes(then, now):
    """Return the changes in the evaluation code that all tests share (list of Change).

    Methods are compared one by one, because results do not depend on all methods of the class.

    Args:
        then, now: Sources of the run and of the project.
    """
    before, after, names, found = SymbolResolver(then), SymbolResolver(now), EarlierNames(), []
    for name in EVALUATION:
        called = next(filter(before.find, (name, names.name(name))), None)
        if called is not None:
            found.append(_find_change('evaluation', called, {called: before.find(called).digest}, before, after))
    old_path, old_methods = _class_methods(before, ENGINE, names.name(ENGINE))
    path, methods = _class_methods(after, ENGINE)
    for name in ENGINE_METHODS:
        old, new = old_methods.get(name) or old_methods.get(names.identifier(name)), methods.get(name)
        if old is not None and (new is None or not _same_text(old[0], new[0], names)):
            texts = [each[1] if each else [] for each in (old, new)]
            diff = '\n'.join(difflib.unified_diff(*texts, f'then/{old_path}', f'now/{path}', lineterm=''))
            state = 'gone' if new is None else 'changed'
            found.append(Change('evaluation', f'{ENGINE.rpartition(".")[2]}.{name}', path or old_path, diff, state))
    return [change for change in found if change is not None]


def _class_methods(reader, *names):
    """Return the file (str) and the methods {name: (node, lines)} of the first class of `names` that exists."""
    for name in names:
        for resolved in reader.resolve(name):
            path, statements = reader.file_of_definition(resolved), reader.find(resolved).statements
            lines = reader.source.module(path).text.splitlines()
            nodes = [node for statement in statements for node in getattr(statement, 'body', [])]
            methods = [node for node in nodes if isinstance(node, FUNCTIONS)]
            return path, {node.name: (node, lines[node.lineno - 1 : node.end_lineno]) for node in methods}
    return None, {}


def _same_text(old, new, names):
    """Return whether two functions (ast nodes) differ only in names (bool); `old` is from an earlier version."""
    old, new = normalize_ast([old]), normalize_ast([new])
    return canonical(old) in (canonical(new), canonical(new, names))


def _find_change(kind, name, hashes, before, after):
    """Return the Change of one definition, or None."""
    new, digest = after.find(name), hashes[name]
    if new is not None and (new.digest == digest or digest in new.digests()):
        return None
    old = before.find(name) if before else None
    if new is None:
        return Change(
            kind, name, old.path if old else after.file_of_definition(name), _diff(old, None) if old else None, 'gone'
        )
    if old is not None and new.differs_in_names_only(old):  # or hashed by another Python
        return None
    if is_registry_entry(name) and _names_a_moved_definition(new, name, hashes, before, after):
        return None
    if not new.digest.isalnum():
        return Change(kind, name, new.path, new.digest, 'unreadable')
    return Change(kind, name, new.path, _diff(old, new) if old else None)


def _names_a_moved_definition(new, name, hashes, before, after):
    """Return whether a registry entry names the same definition, moved to another file (bool)."""
    old = before.find(name) if before else None
    targets = old.refers_to if old else [each for each in hashes if hashes[name] in map(digest_of, _exports(each))]
    found = {target.rpartition('.')[2]: target for target in new.refers_to}
    return (
        bool(targets)
        and len(targets) == len(found)
        and all(
            _is_moved(target, found.get(after.todays_name(target).rpartition('.')[2]), hashes, before, after)
            for target in targets
        )
    )


def _exports(name):
    """Return the name of a definition and the names (list of str) under which its packages may re-export it."""
    *modules, last = name.split('.')
    return ['.'.join([*modules[:length], last]) for length in range(1, len(modules) + 1)]


def _is_moved(then, now, hashes, before, after):
    """Return whether the definition `now` (name or None) was called `then` in an earlier version (bool)."""
    new, old = after.find(now) if now else None, before.find(then) if before else None
    return new is not None and (
        hashes.get(then) in new.digests() or (old is not None and new.differs_in_names_only(old))
    )


def _without_moved(changes, hashes, before, after):
    """Return changes without definitions that only moved, which appear as gone and new."""
    gone, moved = [change for change in changes if change.state == 'gone'], []
    for change in (change for change in changes if change.state == 'new'):
        last = change.name.rpartition('.')[2]
        for other in gone:
            names = map(_last_part, CurrentNames().of(other.name))
            if last in names and _is_moved(other.name, change.name, hashes, before, after):
                moved += [change, other]
    return [change for change in changes if change not in moved]


def _diff(old, new):
    """Return the unified diff (str) of two Definitions; one may be None."""
    sides = [definition.source if definition else [] for definition in (old, new)]
    labels = [f'{label}/{d.path}' if d else '/dev/null' for label, d in (('then', old), ('now', new))]
    return '\n'.join(difflib.unified_diff(*sides, *labels, lineterm=''))


def describe_changes(changes):
    """Return one line (str) for each changed definition, such as 'model/x.py: Net (model)' (list).

    A definition of several kinds has one line. An unreadable file has one line with the reason.
    """
    kinds = {}
    for change in changes:
        name = change.name.rpartition(':' if EXTERNAL_MARK in change.name else '.')[2]
        what = change.diff if change.state == 'unreadable' else f'{change.path}: {name}'
        kinds.setdefault((what, STATE_SUFFIXES.get(change.state, '')), {})[change.kind] = None
    return [f'{what} ({", ".join(those)}{state})' for (what, state), those in kinds.items()]


def find_changed_files(then, now, more=()):
    """Return the files (list of str) of run code that hold changed definitions; moved definitions are ignored.

    Args:
        then, now: Sources.
        more: paths of further files to compare.
    """
    paths = sorted({*filter(is_run_code, then.files()), *filter(is_run_code, now.files()), *more})
    paths = [path for path in paths if then.read_bytes(path) != now.read_bytes(path)]
    before, after, names = SymbolResolver(then), SymbolResolver(now), EarlierNames()

    def identity_now(name):
        return name if before.find(name) or before.find(names.name(name)) else _last_part(name)

    def identity_then(name):
        now = after.todays_name(name)
        return identity_now(now) if after.find(now) else _last_part(now)

    old = {path: _definition_texts(before, path, identity_then) for path in paths}
    new = {path: _definition_texts(after, path, identity_now, names) for path in paths}
    all_old, all_new = (
        {text for of_file in each.values() for variants in of_file or [] for text in variants} for each in (old, new)
    )
    return [
        path
        for path in paths
        if None in (old[path], new[path])
        or any(variants.isdisjoint(all_new) for variants in old[path])
        or any(variants.isdisjoint(all_old) for variants in new[path])
    ]


def _last_part(name):
    return name.rpartition('.')[2]


def _definition_texts(reader, path, identity, *names):
    """Return a set for each definition in a file (list of set), or None if the file is not valid Python.

    A set holds (text, names of the definitions that it refers to), with current names and with each of `names`.

    Args:
        reader: SymbolResolver of the version.
        path: file, relative to the project.
        identity: function(name) -> str, equal for the same definition in both versions, also after a move.
        names: utils.base.renames.EarlierNames.
    """
    module = reader.source.module(path)
    if not path.endswith('.py') or isinstance(module, str):
        return None
    if module is None:
        return None if reader.source.has(path) else []
    found = [reader.find(reader.full_name(path, name)) for name in module.statements if name != '__all__']
    referred = [
        frozenset(identity(name) for name in definition.refers_to if _last_part(name) != MODULE_LEVEL)
        for definition in found
    ]
    return [
        {(text, used) for text in definition.texts(*names)} for definition, used in zip(found, referred, strict=True)
    ]
