"""Finding definitions by their names in a project's source, and what they refer to, over any number of files.

Works on a directory and on an archive alike; nothing that is read is run. Imports no torch.
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
from utils.base.renames import EarlierNames, current_names
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
)

HASH_DIGITS = 16  # of a hash, hexadecimal
MAX_FILE_BYTES = 2**24  # bytes of a file in an archive that is read
# They say what is wrong, or look a name up; what is found there is a component by itself. The loop and the options are
# those of every run: that they changed is seen by the hash of all code.
IGNORED_MODULES = (
    'utils.base.errors',
    'utils.base.registry',
    'train',
    'eval',
    'options',
)  # modules, by their earlier names too
PROGRAM_MODULES = ('train', 'eval')  # whoever imports these is a script, what it does is to use its definitions
REGISTRY_ENTRY = re.compile(r'(?P<registry>[\w.]+)\[(?P<key>.+)\]')  # model.model_entry.MODELS[lenet]
EXTERNAL_MARK = '.py:'  # /home/me/script.py:Net, a definition outside of the project


class Source:
    """The text of a project's files.

    Args:
        place: the project's directory, or a source.zip.
    """

    def __init__(self, place):
        self.place = Path(place)
        self.zip_entries = None
        if self.place.is_file():
            with zipfile.ZipFile(regular(self.place)) as archive:
                self.zip_entries = {info.filename: info for info in archive.infolist()}
        self._modules, self._file_exists = {}, {}

    def files(self):
        """Return the relative paths (sorted list of str) of all source files."""
        return project_files(self.place) if self.zip_entries is None else sorted(self.zip_entries)

    def has(self, path):
        """Return whether there is a file of this relative path (bool)."""
        if path not in self._file_exists:
            there = path in self.zip_entries if self.zip_entries is not None else os.path.isfile(self.place / path)
            self._file_exists[path] = there
        return self._file_exists[path]

    def read_bytes(self, path):
        """Return what is in a file (bytes), or None: there is no such file, or it is too large to be source."""
        try:
            if self.zip_entries is None:
                return read_regular_bytes(self.place / path)
            if path not in self.zip_entries or self.zip_entries[path].file_size > MAX_FILE_BYTES:
                return None
            with zipfile.ZipFile(regular(self.place)) as archive:
                return archive.read(path)
        except (OSError, zipfile.BadZipFile):
            return None

    def read(self, path):
        """Return the text of a file (str), or None: there is no such file, or it is no UTF-8."""
        data = self.read_bytes(path)
        try:
            return None if data is None else data.decode('utf-8-sig')
        except UnicodeDecodeError:
            return None

    def module(self, path):
        """Return the source_ast.Module of a file, None where there is none, or what is wrong with it (str)."""
        if path not in self._modules:
            text = self.read(path)
            try:
                self._modules[path] = None if text is None else read_module(text)
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the last two: nested too deeply
                line = getattr(error, 'lineno', None)
                self._modules[path] = f'{path}, line {line}: {getattr(error, "msg", error)}'
        return self._modules[path]


class Definition(NamedTuple):
    """One definition.

    Attributes:
        path: of its file.
        digest: hash of its text, or what is wrong with its file.
        refers_to: names (list of str) of the definitions that it uses.
        source: its lines (list of str).
        statements: nodes (list of ast.AST) that define it; of an entry of a registry what it is registered as (list of
            one str).
        outside: lines (list of str) on what it uses from outside of the project.
    """

    path: str
    digest: str
    refers_to: list
    source: list
    statements: list
    external_imports: list

    def digests(self):
        """Return the hash of its text and that of the text with the names of earlier versions (set of str)."""
        if self.is_registry_entry():
            return {self.digest, digest_of(EarlierNames().name(self.statements[0]))}
        return {self.digest, digest_of(_text_to_hash(self.statements, self.external_imports, EarlierNames()))}

    def differs_in_names_only(self, other):
        """Return whether `other` (Definition), of an earlier version, is this one under other names (bool)."""
        if self.is_registry_entry() or other.is_registry_entry():
            return any(self.statements[0] in current_names(str(value)) for value in other.statements)
        return other.text() in (self.text(), self.text(EarlierNames()))

    def text(self, names=None):
        """Return its text (str) without the names of local variables, perhaps with other names of definitions."""
        return _text_to_hash(normalize_ast(self.statements), self.external_imports, names)

    def is_registry_entry(self):
        """Return whether it is an entry of a registry (bool)."""
        return bool(self.statements) and isinstance(self.statements[0], str)


class SymbolResolver:
    """Finds definitions by name in a Source, and what they refer to.

    Names of definitions of the project are dotted; a definition elsewhere is called path:name, with an absolute path.
    """

    def __init__(self, source):
        self.source, self._found, self._files = source, {}, {}
        self.ignored_modules = {*IGNORED_MODULES, *map(EarlierNames().name, IGNORED_MODULES)}

    def reachable_from(self, names):
        """Return the names (sorted list) of all definitions that `names` and what these refer to lead to."""
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
        """Return whether something can be said about a name (bool): of a file elsewhere only where that is there."""
        if name.startswith('__main__.'):
            return False
        return EXTERNAL_MARK not in name or self.source.has(self.file_of_definition(name))

    def file_of_definition(self, name):
        """Return the file (str) that a definition of this name would stand in."""
        if EXTERNAL_MARK in name:
            return name.rpartition(':')[0]
        parts = name.partition('[')[0].split('.')
        return self.find_module('', parts)[0] or '/'.join(parts[:-1]) + '.py'

    def resolve(self, name):
        """Return the definitions (list of names) that a name leads to, over what packages import from their files."""
        if REGISTRY_ENTRY.fullmatch(name) or EXTERNAL_MARK in name:
            return [name]
        path, rest = self.find_module('', name.split('.'))
        return [] if path is None else self.lookup(path, rest)

    def find(self, name):
        """Return the Definition of a resolved name, or None; a name of an earlier version is one of today's here."""
        if name not in self._found:
            entry = REGISTRY_ENTRY.fullmatch(name)
            found = self._find_entry(name, entry) if entry else self._find(name)
            if found is None and (now := self.todays_name(name)) != name:
                found = self.find(now)
            self._found[name] = found
        return self._found[name]

    def todays_name(self, name):
        """Return what a definition of an earlier version is called in today's code (str)."""
        if EXTERNAL_MARK in name:
            return name
        entry = REGISTRY_ENTRY.fullmatch(name)
        if entry:
            return f'{current_names(entry["registry"])[0]}[{entry["key"]}]'
        names = current_names(name)
        return next((resolved for now in names for resolved in self.resolve(now)), names[0])

    def _find(self, name):
        path, attribute = self._split_name(name)
        module = None if path is None else self.source.module(path)
        if isinstance(module, str):
            return Definition(path, module, [], [], [], [])
        if module is None or attribute not in module.statements:
            return None
        statements = _relevant_statements(module, attribute)
        references = References(statements)
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
        source = [f'# {line}' for line in names] + module.source_lines(statements)
        return Definition(path, digest_of(_text_to_hash(statements, names)), refers_to, source, statements, names)

    def _find_entry(self, name, entry):
        """Return the Definition of an entry of a registry: what it is registered as, which leads to what it names."""
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
        """Return the file (str or None) and the name within it of a definition's whole name."""
        if EXTERNAL_MARK in name:
            path, _, attribute = name.rpartition(':')
            return path, attribute
        path, rest = self.find_module('', name.split('.'))
        return path, '.'.join(rest)

    def full_name(self, path, name):
        """Return the whole name (str) of the definition `name` of a file."""
        if os.path.isabs(path):
            return f'{path}:{name}'
        return f'{path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")}.{name}'

    def find_module(self, folder, parts):
        """Return the file (str) of the module that a dotted name begins with, and the rest (list); None: none here."""
        for length in range(len(parts), 0, -1):
            stem = posixpath.join(folder, *parts[:length])
            for path in (f'{stem}/__init__.py', f'{stem}.py'):
                if self.source.has(path):
                    return path, parts[length:]
        return None, parts

    def resolve_import(self, path, target, seen=()):
        """Return the definitions (list of names) that an Import in a file leads to; None: out of the project.

        Where the file is in no package, modules beside it count as well, as where a script is started.
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
        """Return the directory (str) that the packages of a file begin in."""
        folder = posixpath.dirname(path)
        while folder and self.source.has(posixpath.join(folder, '__init__.py')):
            folder = posixpath.dirname(folder)
        return folder

    def lookup(self, path, rest, seen=()):
        """Return the definitions (list of names) that the dotted name `rest` (list of its parts) leads to from a file.

        A module that is handed on whole leads to all that is in it.
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
        """Return what runs when a file is imported (list of names): its own statements and those of its packages."""
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
        """Return whether a definition computes nothing (bool): see PLUMBING, and registries of what is in the project.

        An entry that is used is a component by itself, so that a new line in a registry changes none.
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
    """Return the statements (list) that define a name; of what a script does only assignments, `Net.forward = ...`."""
    statements = module.statements.get(name, [])
    resolve_import = [target.target.partition('.')[0] for targets in module.imports.values() for target in targets]
    if name != MODULE_LEVEL or not any(first in PROGRAM_MODULES for first in resolve_import):
        return statements
    return [statement for statement in statements if isinstance(statement, ASSIGNMENTS)]


def _literal_dict(statements):
    """Return the dictionary of texts that the only one of `statements` defines; {}: it defines something else."""
    value = getattr(statements[0], 'value', None) if len(statements) == 1 else None
    if not isinstance(value, ast.Dict):
        return {}
    pairs = {
        getattr(k, 'value', None): getattr(v, 'value', None) for k, v in zip(value.keys, value.values, strict=True)
    }
    return pairs if all(isinstance(text, str) for pair in pairs.items() for text in pair) else {}


def _text_to_hash(statements, external_imports, names=None):
    """Return the text (str) of a definition that is hashed."""
    return canonical(statements, names) + ''.join(f'\n{line}' for line in external_imports)


def is_registry_entry(name):
    """Return whether a name (str) is that of an entry of a registry (bool)."""
    return REGISTRY_ENTRY.fullmatch(name) is not None


def digest_of(text):
    """Return the hash (str) of a definition's text."""
    return hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:HASH_DIGITS]
