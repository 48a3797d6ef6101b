"""The tests themselves: they lie as the project does, and docs/testing.md lists those that are slow."""

import ast
import re
from pathlib import Path

from utils.base.registry import PROJECT

TESTS = PROJECT / 'tests'
SLOW = r"pytest\.mark\.slow\(['\"](.*)['\"]\)"
SLOW_AFTER = r"pytest\.mark\.slow_after\(\d+, ['\"](.*)['\"]\)"
# What is not about one module: whole runs of train.py, eval.py and scripts; what earlier versions wrote.
FEATURES = ('runs', 'formats')
FILES = sorted(path.relative_to(TESTS) for path in TESTS.rglob('test_*.py'))
HOW_TO = (
    'tests/<package>/test_<module>.py or test_<module>_<subject>.py is about a module, tests/<package>/'
    'test_<package>_<subject>.py about several of a package, tests/runs/test_<feature>.py about whole runs'
)


def names_for(folder):
    """Return the names (set of str) that may follow `test_` in a directory of tests/ (Path)."""
    if folder == Path():
        return {'layout', 'imports', 'style', *(path.stem for path in PROJECT.glob('*.py'))}
    product = PROJECT / folder
    if product.is_dir():
        return {folder.name, *(path.stem for path in product.iterdir())}
    return set()


def is_of_one_module(folder):
    """Return whether a directory of tests/ is about one module, as tests/train/ about train.py (bool)."""
    return folder != Path() and (PROJECT / folder).with_suffix('.py').exists()


def test_each_file_lies_where_what_it_tests_does():
    assert [str(path) for path in FILES if not lies_right(path)] == [], HOW_TO


def lies_right(path):
    """Return whether a file of tests (relative Path) lies as what it tests does (bool)."""
    if path.parts[0] in FEATURES or is_of_one_module(path.parent):
        return True
    subject = path.stem.removeprefix('test_')
    return any(subject == name or subject.startswith(f'{name}_') for name in names_for(path.parent))


def slow_tests():
    """Return the slow tests (dict from `path::test` to the reason that its mark gives)."""
    found = {}
    for path in FILES:
        for node in ast.walk(ast.parse((TESTS / path).read_text(encoding='utf-8'))):
            for mark in getattr(node, 'decorator_list', []):
                if match := re.fullmatch(SLOW, ast.unparse(mark)):
                    found[f'{path}::{node.name}'] = match[1]
                if match := re.fullmatch(SLOW_AFTER, ast.unparse(mark)):
                    found[f'{path}::{node.name}[...]'] = match[1]
                for inner in ast.walk(mark):  # marks=pytest.mark.slow(...) of one of its cases
                    if match := re.fullmatch(SLOW, ast.unparse(inner)) if inner is not mark else None:
                        found[f'{path}::{node.name}[...]'] = match[1]
                assert ast.unparse(mark) != 'pytest.mark.slow', f'{path}::{node.name}: slow needs a reason'
    return found


def test_the_document_lists_the_slow_tests_and_why():
    text = (PROJECT / 'docs' / 'testing.md').read_text(encoding='utf-8')
    listed = dict(re.findall(r'^\| `(\S+)` \| (.*) \|$', text, flags=re.MULTILINE))
    assert listed == slow_tests()
