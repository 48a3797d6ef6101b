"""The direction of imports, read from the import statements: each package imports only from those before it."""

import ast

import pytest

from utils.base.registry import PROJECT

# Packages of utils, in the order in which they may import each other; those of one line do not import each other.
ORDER = [
    {'base'},
    {'tasks'},
    {'options'},
    {'distributed'},
    {'metrics', 'statistics', 'drawing'},
    {'losses'},
    {'runs'},
    {'provenance'},
    {'training'},
    {'evaluation'},
    {'html_report'},
]
# The modules at the top of utils belong to a package in all but their path.
TOP = {'logger': 'runs', 'torch_utils': 'runs', 'viz': 'drawing'}
LEVEL = {package: level for level, packages in enumerate(ORDER) for package in packages}
TOP_LEVEL = ('data', 'model', 'train', 'eval', 'options', 'loss', 'metrics', 'scripts', 'examples', 'tests')


def imports_of(path):
    """Yield (line, dotted name) of everything that a file imports, also within functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                dotted = f'{node.module}.{alias.name}'
                is_module = PROJECT.joinpath(*dotted.split('.')).with_suffix('.py').exists()
                yield node.lineno, dotted if is_module else node.module


def package_of(parts):
    """Return the package (str) of utils that a module belongs to, by its dotted name in parts."""
    return TOP.get(parts[1], parts[1]) if len(parts) > 1 else ''


def wrong_imports(folder):
    """Return (list of str) the imports in a folder that point the wrong way."""
    found = []
    for path in sorted((PROJECT / folder).rglob('*.py')):
        where = path.relative_to(PROJECT)
        own = package_of(where.with_suffix('').parts)
        for line, name in imports_of(path):
            parts = name.split('.')
            if parts[0] == 'utils' and folder == 'utils':
                other = package_of(parts)
                wrong = other != own and LEVEL[other] >= LEVEL.get(own, len(ORDER))
            else:
                wrong = parts[0] in TOP_LEVEL and parts[0] not in ALLOWED[folder]
            if wrong:
                found.append(f'{where}:{line} imports {name}')
    return found


# What the files of a folder may import of the project, besides utils.
ALLOWED = {'utils': (), 'data': ('data',), 'model': ('model',)}


@pytest.mark.parametrize('folder', ALLOWED)
def test_imports_point_one_way(folder):
    assert wrong_imports(folder) == []


@pytest.mark.parametrize('name', ['train', 'eval', 'options', 'loss', 'metrics'])
def test_the_programs_import_no_script(name):
    assert [each for _, each in imports_of(PROJECT / f'{name}.py') if each.split('.')[0] in ('scripts', 'tests')] == []
