"""docs/architecture.md: its diagram, functions and line counts are those of the code."""

import ast
import re

import pytest

from scripts.dev import make_architecture_doc as script
from tests.docs.test_docs_contributing import BLOCK
from utils.base.registry import PROJECT

TEXT = script.DOCUMENT.read_text(encoding='utf-8')


def names_in(path):
    """Return the functions, classes and methods (set of str, `Class.method`) that a file defines."""
    found = set()
    for node in ast.parse(path.read_text(encoding='utf-8')).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
            found |= {f'{node.name}.{each.name}' for each in getattr(node, 'body', []) if hasattr(each, 'name')}
    return found


def test_the_diagram_is_up_to_date():
    assert script.document(TEXT) == TEXT, f'the document is older than the code; renew it by: {script.COMMAND}'


def test_the_diagram_has_every_package_and_no_cycle():
    graph = script.import_graph()
    packages = {f'utils/{path.parent.name}' for path in (PROJECT / 'utils').glob('*/__init__.py')}
    assert set(graph) == {*packages, *script.PROGRAMS, *script.FOLDERS}
    assert [node for node in graph if node in script.reachable(graph, node)] == []


def test_edges_that_follow_from_others_are_left_out():
    graph = {'a': {'b', 'c'}, 'b': {'c'}, 'c': set()}
    assert script.without_shortcuts(graph) == {'a': {'b'}, 'b': {'c'}, 'c': set()}
    assert script.reachable(graph, 'a') == {'b', 'c'}


def test_renewing_changes_the_written_part_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(script, 'DOCUMENT', tmp_path / 'architecture.md')
    script.DOCUMENT.write_text(f'before\n{script.BEGIN}outdated\n{script.END}after\n', encoding='utf-8')
    script.main()
    text = script.DOCUMENT.read_text('utf-8')
    assert text.startswith(f'before\n{script.BEGIN}\n```mermaid\n') and text.endswith(f'{script.END}after\n')
    assert 'outdated' not in text and str(script.DOCUMENT) in capsys.readouterr().out


STEPS = re.findall(r'^\|.*?\| `([\w/]+\.py)` \| (`.*`) \|$', TEXT, re.MULTILINE)


@pytest.mark.parametrize(('file', 'names'), STEPS)
def test_the_functions_of_each_step_exist(file, names):
    assert set(re.findall(r'`(.*?)`', names)) <= names_in(PROJECT / file)


def test_there_are_steps():
    assert len(STEPS) > 25


def test_the_table_of_additions_is_what_contributing_adds():
    contributing = (PROJECT / 'CONTRIBUTING.md').read_text(encoding='utf-8')
    sections = re.split(r'^## (.*)$', contributing, flags=re.MULTILINE)[1:]
    counted = {}
    for title, text in zip(sections[::2], sections[1::2], strict=True):
        new, existing, tests = ['', 0], {}, 0
        for name, code in BLOCK.findall(text):
            file, _, position = name.partition(', ')
            lines = sum(bool(line.strip()) for line in code.splitlines())
            if file.startswith('tests/'):
                tests += lines
            elif position:
                existing[file] = existing.get(file, 0) + lines
            else:
                new = [f'`{file}`', lines]
        if BLOCK.search(text):
            changed = ', '.join(f'`{file}` {lines}' for file, lines in existing.items())
            counted[title.lower().replace(' ', '-')] = [new[0], str(new[1]), changed, str(tests)]
    rows = re.findall(r'^\| \[[\w ]+\]\(\.\./CONTRIBUTING\.md#([\w-]+)\) \| (.*) \| \d+ \|$', TEXT, re.MULTILINE)
    assert {anchor: [cell.strip() for cell in row.split('|')] for anchor, row in rows} == counted
