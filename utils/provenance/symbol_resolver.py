"""Finds definitions by dotted name in the source of a project, and their references across files.

Works on directories and archives; no code is executed. Imports no torch.
"""

import ast
import hashlib
import os
import posixpath
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

from utils.base.regular_files import read_regular_bytes, regular
from utils.base.renames import CurrentNames, EarlierNames
from utils.provenance.project_source import project_files
from utils.provenance.source_ast import (
    ASSIGNMENTS,
    MODULE_LEVEL,
    Import,
    ParsedModule,
    References,
    canonical,
    normalize_ast,
    read_module,
    without_fields,
)
from utils.provenance.used_files import unwatched
from utils.tasks.task import REPORT_FIELDS

HASH_DIGITS = 16  # hexadecimal
MAX_FILE_BYTES = 2**24  # of a file in an archive
# Modules whose definitions compute no result: errors and registry lookups (what is found there is a component itself).
# The training loop and the options are part of every run: the hash of all code detects their changes.
IGNORED_MODULES = (
    'utils.base.errors',
    'utils.base.registry',
    'train',
    'eval',
    'options',
)
PROGRAM_MODULES = (
    'train',
    'eval',
)  # a file that imports these is a script; its top-level calls are not part of its definitions
TASK_CLASS = 'utils.tasks.task.Task'
REGISTRY_ENTRY = re.compile(r'(?P<registry>[\w.]+)\[(?P<key>.+)\]')  # model.model_entry.MODELS[lenet]
EXTERNAL_MARK = '.py:'  # /home/me/script.py:Net, a definition outside the project


class Source:
    """The source files of a project.

    Args:
        place: directory of the project, or a source.zip.
    """

    def __init__(self, place):
        self.place = Path(place)
        self.archive = self.zip_entries = None
        if self.place.is_file():
            self.archive = zipfile.ZipFile(regular(self.place))  # stays open: its directory is long, and read once
            self.zip_entries = {info.filename: info for info in self.archive.infolist()}
        self._modules, self._file_exists = {}, {}

    def files(self):
        """Return the relative paths (sorted list of str) of all source files."""
        return project_files(self.place) if self.zip_entries is None else sorted(self.zip_entries)

    def has(self, path):
        """Return whether a file exists (bool), by its relative path."""
        if path not in self._file_exists:
            there = path in self.zip_entries if self.zip_entries is not None else os.path.isfile(self.place / path)
            self._file_exists[path] = there
        return self._file_exists[path]

    @unwatched()
    def read_bytes(self, path):
        """Return the content of a file (bytes), or None if it is missing or too large."""
        try:
            if self.zip_entries is None:
                return read_regular_bytes(self.place / path)
            if path not in self.zip_entries or self.zip_entries[path].file_size > MAX_FILE_BYTES:
                return None
            return self.archive.read(path)
        except (OSError, zipfile.BadZipFile):
            return None

    def read(self, path):
        """Return the text of a file (str), or None if it is missing or not UTF-8."""
        data = self.read_bytes(path)
        try:
            return None if data is None else data.decode('utf-8-sig')
        except UnicodeDecodeError:
            return None

    def module(self, path):
        """Return the ParsedModule of a file, None if the file is missing, or the syntax error (str)."""
        if path not in self._modules:
            text = self.read(path)
            try:
                self._modules[path] = None if text is None else read_module(text)
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the last two: nesting too deep
                line = getattr(error, 'lineno', None)
                self._modules[path] = f'{path}, line {line}: {getattr(error, "msg", error)}'
        return self._modules[path]


class Definition(NamedTuple):
    """A definition.

    Attributes:
        path: path of the file.
        digest: hash of the canonical text, or the syntax error of the file.
        refers_to: names (list of str) of the definitions that it uses.
        source: source lines (list of str).
        statements: nodes (list of ast.AST); for a registry entry its value (list of one str).
        external_imports: lines (list of str) about imports from outside the project.
        with_report_fields: `statements` with the REPORT_FIELDS of a Task, as records of earlier versions hash them.
    """

    path: str
    digest: str
    refers_to: list
    source: list
    statements: list
    external_imports: list
    with_report_fields: list | None = None

    def digests(self):
        """Return the hashes (set of str) of the canonical text, and of the texts that earlier versions hashed."""
        if self.is_registry_entry():
            return {self.digest, digest_of(EarlierNames().name(self.statements[0]))}
        versions = filter(None, (self.statements, self.with_report_fields))
        texts = (_text_to_hash(each, self.external_imports, n) for each in versions for n in (None, EarlierNames()))
        return {*map(digest_of, texts)}

    def differs_in_names_only(self, other):
        """Return whether `other` (Definition of an earlier version) differs in names only (bool)."""
        if self.is_registry_entry() or other.is_registry_entry():
            return any(self.statements[0] in CurrentNames().of(str(value)) for value in other.statements)
        if other.texts()[0] in self.texts(EarlierNames()):
            return True
        return self.with_report_fields is not None and self._replace(
            statements=self.with_report_fields, with_report_fields=None
        ).differs_in_names_only(other)  # a Task whose class was in another file is compared as a whole

    def texts(self, *names):
        """Return the canonical texts (list of str) without names of local variables: today's, and with each of `names`.

        Args:
            names: utils.base.renames.EarlierNames.
        """
        nodes = normalize_ast(self.statements)
        return [_text_to_hash(nodes, self.external_imports, each) for each in (None, *names)]

    def is_registry_entry(self):
        """Return whether this is a registry entry (bool)."""
        return bool(self.statements) and isinstance(self.statements[0], str)


class SymbolResolver:
    """Finds definitions by name in a Source, and their references.

    Definitions in the project have dotted names; definitions outside are named path:name, with an absolute path.
    """

    def __init__(self, source):
        self.source, self._found, self.current_names = source, {}, CurrentNames()
        self.ignored_modules = {*IGNORED_MODULES, *map(EarlierNames().name, IGNORED_MODULES)}

    def reachable_from(self, names):
        """Return the names (sorted list) of all definitions that are reachable from `names`."""
        found, waiting = set(), [reached for name in names for reached in self.resolve(name)]
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            definition = self.find(name)
            if definition is not None:
                found.add(name)
                waiting += definition.refers_to
        return sorted(found)

    def can_check(self, name):
        """Return whether a name can be checked (bool): outside the project only if the file exists."""
        if name.startswith('__main__.'):
            return False
        return EXTERNAL_MARK not in name or self.source.has(self.file_of_definition(name))

    def file_of_definition(self, name):
        """Return the file (str) for a definition of this name, whether it exists or not."""
        if EXTERNAL_MARK in name:
            return name.rpartition(':')[0]
        parts = name.partition('[')[0].split('.')
        return self.find_module('', parts)[0] or '/'.join(parts[:-1]) + '.py'

    def resolve(self, name):
        """Return the definitions (list of names) that a name refers to, through re-exports of packages."""
        if REGISTRY_ENTRY.fullmatch(name) or EXTERNAL_MARK in name:
            return [name]
        path, rest = self.find_module('', name.split('.'))
        return [] if path is None else self.lookup(path, rest)

    def find(self, name):
        """Return the Definition of a resolved name, or None; names of earlier versions work too."""
        if name not in self._found:
            entry = REGISTRY_ENTRY.fullmatch(name)
            found = self._find_entry(name, entry) if entry else self._find(name)
            if found is None and (now := self.todays_name(name)) != name:
                found = self.find(now)
            self._found[name] = found
        return self._found[name]

    def todays_name(self, name):
        """Return today's name (str) of a definition of an earlier version."""
        if EXTERNAL_MARK in name:
            return name
        entry = REGISTRY_ENTRY.fullmatch(name)
        if entry:
            return f'{self.current_names.of(entry["registry"])[0]}[{entry["key"]}]'
        names = self.current_names.of(name)
        return next((resolved for now in names for resolved in self.resolve(now)), names[0])

    def _find(self, name):
        path, attribute = self._split_name(name)
        module = None if path is None else self.source.module(path)
        if isinstance(module, str):
            return Definition(path, module, [], [], [], [])
        if module is None or attribute not in module.statements:
            return None
        complete = _relevant_statements(module, attribute)
        references = References(complete)
        statements = without_fields(complete, self._names_of_task(path, module, references), REPORT_FIELDS)
        references = references if statements is complete else References(statements)
        targets = [*references.imports]
        refers_to, external_imports = [], {}
        for dotted in references.names:
            first, _, rest = dotted.partition('.')
            if first in module.statements and first != attribute:
                refers_to.append(self.full_name(path, first))
            for target in module.imports.get(first, []) if first != attribute else []:
                whole = Import(f'{target.target}.{rest}' if rest else target.target, target.level)
                if (inside := self.resolve_import(path, whole)) is None:
                    external_imports[first] = target.target
                else:
                    refers_to += inside
            if first not in module.statements and first not in module.imports:
                for star in module.stars:
                    refers_to += self.resolve_import(path, Import(f'{star.target}.{dotted}', star.level)) or []
        for target in targets:
            refers_to += self.resolve_import(path, target) or []
        if attribute != MODULE_LEVEL:
            refers_to += self._module_level_of(path)
        names = [f'{local} is {target}' for local, target in sorted(external_imports.items())]
        refers_to = [each for each in dict.fromkeys(refers_to) if not self._is_ignored(each)]
        source = [f'# {line}' for line in names] + module.source_lines(complete)
        digest, earlier = digest_of(_text_to_hash(statements, names)), None if statements is complete else complete
        return Definition(path, digest, refers_to, source, statements, names, earlier)

    def _names_of_task(self, path, module, references):
        """Return the names (list of str) by which statements with these References call TASK_CLASS."""
        if self.full_name(path, 'Task') == TASK_CLASS:
            return ['Task']
        return [name for name in references.names if Import(TASK_CLASS) in module.imports.get(name, [])]

    def _find_entry(self, name, entry):
        """Return the Definition of a registry entry, which refers to the definition that it names."""
        path, attribute = self._split_name(entry['registry'])
        module = None if path is None else self.source.module(path)
        if isinstance(module, str):
            return Definition(path, module, [], [], [], [])
        registered = _literal_dict(module.statements.get(attribute, []) if module else [])
        if entry['key'] not in registered:
            return None
        value = registered[entry['key']]
        return Definition(path, digest_of(value), self.resolve(value), [f'{entry["key"]!r}: {value!r},'], [value], [])

    def _split_name(self, name):
        """Return the file (str or None) and the name inside the file of a full name."""
        if EXTERNAL_MARK in name:
            path, _, attribute = name.rpartition(':')
            return path, attribute
        path, rest = self.find_module('', name.split('.'))
        return path, '.'.join(rest)

    def full_name(self, path, name):
        """Return the full name (str) of the definition `name` in a file."""
        if os.path.isabs(path):
            return f'{path}:{name}'
        return f'{path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")}.{name}'

    def find_module(self, folder, parts):
        """Return the file (str or None) of the module that a dotted name begins with, and the rest (list)."""
        for length in range(len(parts), 0, -1):
            stem = posixpath.join(folder, *parts[:length])
            for path in (f'{stem}/__init__.py', f'{stem}.py'):
                if self.source.has(path):
                    return path, parts[length:]
        return None, parts

    def resolve_import(self, path, target, seen=()):
        """Return the definitions (list of names) that an Import in a file refers to, or None if outside the project.

        For a file outside packages, modules beside it are found too, as for a script.
        """
        parts = list(filter(None, target.target.split('.')))
        if target.level:
            folder = posixpath.dirname(path)
            for _ in range(target.level - 1):
                folder = posixpath.dirname(folder)
            found, rest = self.find_module(folder, parts)
            return self.lookup(found or posixpath.join(folder, '__init__.py'), rest, seen)
        for folder in dict.fromkeys(('', self._import_root(path))):
            found, rest = self.find_module(folder, parts)
            if found is not None:
                return self.lookup(found, rest, seen)
        return None

    def _import_root(self, path):
        """Return the directory (str) that holds the top-level package of a file."""
        folder = posixpath.dirname(path)
        while folder and self.source.has(posixpath.join(folder, '__init__.py')):
            folder = posixpath.dirname(folder)
        return folder

    def lookup(self, path, rest, seen=()):
        """Return the definitions (list of names) that the dotted name `rest` (list of parts) refers to in a file.

        An imported module refers to all its definitions.
        """
        module, name = self.source.module(path), rest[0] if rest else None
        if module is None or (path, name) in seen:
            return []
        if isinstance(module, str):
            return [self.full_name(path, name or MODULE_LEVEL)]
        if name is None:
            return [self.full_name(path, each) for each in module.statements]
        found, seen = [self.full_name(path, name)] if name in module.statements else [], (*seen, (path, name))
        for target in module.imports.get(name, []):
            found += self.resolve_import(path, Import('.'.join([target.target, *rest[1:]]), target.level), seen) or []
        if not found:
            for star in module.stars:
                found += self.resolve_import(path, Import('.'.join([star.target, *rest]), star.level), seen) or []
        return found

    def _module_level_of(self, path):
        """Return the MODULE_LEVEL names (list) of a file and its packages, which run on import."""
        paths, folder = [path], posixpath.dirname(path)
        while folder and self.source.has(posixpath.join(folder, '__init__.py')):
            paths.append(posixpath.join(folder, '__init__.py'))
            folder = posixpath.dirname(folder)
        modules = {each: self.source.module(each) for each in paths}
        return [
            self.full_name(each, MODULE_LEVEL)
            for each, module in modules.items()
            if isinstance(module, ParsedModule) and _relevant_statements(module, MODULE_LEVEL)
        ]

    def _is_ignored(self, name):
        """Return whether a definition is ignored (bool): one of IGNORED_MODULES, or a registry of the project.

        An entry in use is a component itself, so that a new line in a registry changes nothing.
        """
        path, attribute = self._split_name(name)
        if path is not None and self.full_name(path, attribute).rpartition('.')[0] in self.ignored_modules:
            return True
        module = None if path is None else self.source.module(path)
        registered = _literal_dict(getattr(module, 'statements', {}).get(attribute, []))
        return bool(registered) and all(
            '.' in value and self.find_module('', value.split('.'))[0] is not None for value in registered.values()
        )


def _relevant_statements(module, name):
    """Return the statements (list) that define a name; of the top level of a script only assignments."""
    statements = module.statements.get(name, [])
    resolve_import = [target.target.partition('.')[0] for targets in module.imports.values() for target in targets]
    if name != MODULE_LEVEL or not any(first in PROGRAM_MODULES for first in resolve_import):
        return statements
    return [statement for statement in statements if isinstance(statement, ASSIGNMENTS)]


def _literal_dict(statements):
    """Return the dictionary of strings that the only statement defines, {} if it defines something else."""
    value = getattr(statements[0], 'value', None) if len(statements) == 1 else None
    if not isinstance(value, ast.Dict):
        return {}
    pairs = {
        getattr(k, 'value', None): getattr(v, 'value', None) for k, v in zip(value.keys, value.values, strict=True)
    }
    return pairs if all(isinstance(text, str) for pair in pairs.items() for text in pair) else {}


def _text_to_hash(statements, external_imports, names=None):
    """Return the canonical text (str) of a definition with its external imports."""
    return canonical(statements, names) + ''.join(f'\n{line}' for line in external_imports)


def is_registry_entry(name):
    """Return whether a name (str) is a registry entry (bool)."""
    return REGISTRY_ENTRY.fullmatch(name) is not None


def digest_of(text):
    """Return the hash (str) of a canonical text."""
    return hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:HASH_DIGITS]
