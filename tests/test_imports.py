"""The direction of imports, read from the import statements: each package imports only from those before it."""

import ast

import pytest

from scripts.dev.make_architecture_doc import imports_of, utils_package
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
LEVEL = {package: level for level, packages in enumerate(ORDER) for package in packages}
TOP_LEVEL = ('data', 'model', 'programs', 'train', 'eval', 'loss', 'metrics', 'scripts', 'examples', 'tests')


def wrong_imports(folder):
    """Return (list of str) the imports in a folder that point the wrong way."""
    found = []
    for path in sorted((PROJECT / folder).rglob('*.py')):
        where = path.relative_to(PROJECT)
        own = utils_package(where.with_suffix('').parts)
        for line, name in imports_of(path):
            parts = name.split('.')
            if parts[0] == 'utils' and folder == 'utils':
                other = utils_package(parts)
                wrong = other != own and LEVEL[other] >= LEVEL.get(own, len(ORDER))
            else:
                wrong = parts[0] in TOP_LEVEL and parts[0] not in ALLOWED[folder]
            if wrong:
                found.append(f'{where}:{line} imports {name}')
    return found


# What the files of a folder may import of the project, besides utils.
ALLOWED = {
    'utils': (),
    'data': ('data',),
    'model': ('model',),
    'programs': ('programs', 'data', 'model', 'loss', 'metrics', 'eval'),
}


@pytest.mark.parametrize('folder', ALLOWED)
def test_imports_point_one_way(folder):
    assert wrong_imports(folder) == []


@pytest.mark.parametrize('name', ['train', 'eval', 'options', 'loss', 'metrics'])
def test_the_programs_import_no_script(name):
    assert [each for _, each in imports_of(PROJECT / f'{name}.py') if each.split('.')[0] in ('scripts', 'tests')] == []


@pytest.mark.parametrize('name', ['train', 'eval'])
def test_a_program_can_be_read_in_one_sitting(name):
    text = (PROJECT / f'{name}.py').read_text(encoding='utf-8')
    statements = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = [getattr(node, 'module', None) or node.names[0].name for node in statements]
    own = [module for module in modules if module.partition('.')[0] in (*TOP_LEVEL, 'options', 'utils')]
    assert len(own) <= 20 and len(text.splitlines()) <= 300
