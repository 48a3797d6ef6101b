"""scripts/dev/README.md lists every program, and each program follows its rule for sys.path."""

import re

import pytest

from utils.base.registry import PROJECT

PROGRAMS = sorted((PROJECT / 'scripts' / 'dev').glob('*.py'))
PROJECT_IMPORT = re.compile(
    r'^(?:from|import) (?:data|eval|loss|metrics|model|options|scripts|train|utils)\b', re.MULTILINE
)
INSERT = 'sys.path.insert(0, str(Path(__file__).resolve().parents[2]))'


def test_the_readme_lists_every_program():
    text = (PROJECT / 'scripts' / 'dev' / 'README.md').read_text(encoding='utf-8')
    begun = r'^\| `(?:(?:python )?scripts/dev/|python -m pytest -p scripts\.dev\.)(\w+)'
    listed = set(re.findall(begun, text, re.MULTILINE))
    assert listed == {path.stem for path in PROGRAMS}


@pytest.mark.parametrize('path', PROGRAMS, ids=lambda path: path.stem)
def test_a_program_inserts_the_project_root_before_it_imports_the_project(path):
    text = path.read_text(encoding='utf-8')
    found = PROJECT_IMPORT.search(text)
    if found:
        assert INSERT in text[: found.start()]
    assert text.count('sys.path') == bool(found)
