"""What every file of the product keeps to: functions that fit on a screen, constants that say what they are."""

import ast
import re

from utils.base.registry import PROJECT

MAX_FUNCTION_LINES = 50
# A quantity without its subject or its unit: MAX_SAMPLES and TIMEOUT_SECONDS say both.
BARE_CONSTANT = re.compile(
    '_?(MOST|FEW|MANY|SHOWN|KEPT|SMALL|LARGE|LONG|SHORT|LEAST|ENOUGH|CLOSE|NEAR|FAR|TINY|HUGE|DEEP|AHEAD|PATIENCE|ECHO'
    '|AT_ONCE|IN_A_ROW|GO_BACK|HELD|WAIT|TRIED|PROBED|COUNT|STEPS|ROWS|SECONDS|MINUTES|DAYS|TIMES|BATCHES|SAMPLES|SIZE'
    '|LIMIT|DIGITS|BLOCK|PLACES|SOME|TWO|SHARE|ALLOWED)'
)


def product_files():
    """Return the Python files (list of Path) of the product."""
    folders = ('data', 'model', 'programs', 'utils', 'scripts', 'examples')
    return [*PROJECT.glob('*.py'), *(path for folder in folders for path in sorted((PROJECT / folder).rglob('*.py')))]


def test_functions_fit_on_a_screen():
    long = {}
    for path in product_files():
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                long |= {f'{path}: {node.name}': lines} if lines > MAX_FUNCTION_LINES else {}
    assert long == {}


def test_constants_have_a_subject():
    bare = []
    for path in product_files():
        tree = ast.parse(path.read_text(encoding='utf-8'))
        targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
        names = [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
        bare += [f'{path}: {name}' for name in names if BARE_CONSTANT.fullmatch(name)]
    assert bare == []
