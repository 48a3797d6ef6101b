"""CONTRIBUTING.md: its examples and their tests work as printed, in a copy of the project."""

import ast
import re
import shutil
import subprocess
import sys

import pytest

from utils.base.registry import PROJECT

BLOCK = re.compile(r'^```python\n# (.*?)\n(.*?)^```$', re.DOTALL | re.MULTILINE)
COPIED = shutil.ignore_patterns('.git', '.venv', 'checkpoints', 'datasets', '__pycache__', '.*_cache', '.hypothesis')


def add(project, title, code):
    """Insert a block's code (str) into a copy of the project where its first line (`title`) says.

    The title is a new file, 'file, after <text of a statement>', 'file, in <name>' for a dictionary or list, or
    'file, in <name>, <key>' for the dictionary of that key or, if the value is no dictionary, to replace its line. An
    entry of a dictionary or list becomes the last one.
    """
    path, _, position = title.partition(', ')
    file, (kind, _, words) = project / path, position.partition(' ')
    if not position:
        assert not file.exists(), f'{path} exists already'
        file.write_text(code, encoding='utf-8')
        return
    lines, at = file.read_text(encoding='utf-8').splitlines(keepends=True), 0
    if kind == 'after':
        at = next(number for number, line in enumerate(lines, 1) if words in line)
        nodes = ast.walk(ast.parse(''.join(lines)))
        at = min(node.end_lineno for node in nodes if isinstance(node, ast.stmt) and node.lineno == at)
    else:
        for name in words.split(', '):
            beginning = re.compile(rf'\s*{re.escape(name)}(: | = |=)')
            at = next(number for number, line in enumerate(lines[at:], at + 1) if beginning.match(line))
        if lines[at - 1].rstrip().endswith(('{', '[', '(')):  # as its last entry
            indent = re.match(r'\s*', lines[at - 1])[0]
            at = next(number for number, line in enumerate(lines[at:], at) if re.match(rf'{indent}[}}\])]', line))
        else:
            at -= 1
            del lines[at]
    lines.insert(at, code)
    file.write_text(''.join(lines), encoding='utf-8')


@pytest.mark.slow('runs the tests of eight examples in a copy of the project')
def test_the_examples_work_as_printed(tmp_path):
    project = shutil.copytree(PROJECT, tmp_path / 'project', ignore=COPIED)
    blocks = BLOCK.findall((PROJECT / 'CONTRIBUTING.md').read_text(encoding='utf-8'))
    for title, code in blocks:
        add(project, title, code)
    files = {title.partition(', ')[0] for title, _ in blocks}
    tests = [title for title, _ in blocks if title.startswith('tests/') and ', ' not in title]
    assert len(tests) == 8, 'of a data set, model, loss, metric, augmentation, option, task and hook'
    for words in (
        ['ruff', 'check', *files],
        ['ruff', 'format', '--check', *files],
        ['pytest', '-n', '0', '-q', *tests],
    ):
        done = subprocess.run(
            [sys.executable, '-m', *words], cwd=project, capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == 0, done.stdout + done.stderr
