"""Figures are drawn under any MPLBACKEND: Jupyter names one that another environment may lack."""

import ast
import os
import subprocess

import pytest
from PIL import Image

from utils.base.registry import PROJECT

DRAW = """
import sys
from pathlib import Path
from utils.drawing.curves import draw_run
draw_run(Path(sys.argv[1]), [{'epoch': 1, 'train/loss': 2.0, 'val/loss': 1.0, 'lr': 0.1, 'seconds': 1.0}], None)
"""


def run(code, folder, interpreter, **env):
    command = [interpreter, '-c', code, str(folder)]
    path = os.pathsep.join([str(PROJECT), str(folder)])
    options = {'capture_output': True, 'text': True, 'timeout': 120, 'cwd': folder}
    return subprocess.run(command, check=False, env={**os.environ, 'PYTHONPATH': path, **env}, **options)


@pytest.mark.slow_after(1, 'a new interpreter each')
@pytest.mark.parametrize('backend', ['module://not_installed.backend_inline', 'unheard_of', 'tkagg'])
def test_curves_are_drawn_whatever_mplbackend_says(backend, tmp_path, interpreter):
    done = run(DRAW, tmp_path, interpreter, MPLBACKEND=backend, DISPLAY='')
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / 'curves.png') as picture:
        assert min(picture.size) > 100


def test_the_backend_of_a_notebook_goes_on_to_show_its_plots(tmp_path, interpreter):
    """A run imports matplotlib first; the notebook's code uses pyplot and its backend later."""
    (tmp_path / 'inline_here.py').write_text(
        'from matplotlib.backends.backend_agg import *\ndef show(*args, **options):\n    print("shown")\n'
        'from matplotlib.backends.backend_agg import FigureCanvasAgg as FigureCanvas\n',
        encoding='utf-8',
    )
    code = DRAW + 'import os, matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\nprint(os.environ["MPLBACKEND"])\n'
    done = run(code, tmp_path, interpreter, MPLBACKEND='module://inline_here')
    assert (done.returncode, done.stdout) == (0, 'shown\nmodule://inline_here\n'), done.stderr


def test_matplotlib_is_imported_in_no_other_way():
    for path in [*PROJECT.glob('utils/**/*.py'), *PROJECT.glob('scripts/sweeping/*.py'), PROJECT / 'train.py']:
        if path.name == 'matplotlib_import.py':
            continue
        tree = ast.parse(path.read_text(encoding='utf-8'))
        inner = {node: owner for owner in ast.walk(tree) for node in ast.iter_child_nodes(owner)}
        for node in ast.walk(tree):
            names = [node.module or ''] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if any(name.partition('.')[0] == 'matplotlib' for name in names):
                assert isinstance(inner[node], ast.FunctionDef), f'{path}, line {node.lineno}'
                before = [ast.unparse(line) for line in inner[node].body if line.lineno < node.lineno]
                has_axes = {'axes', 'axis', 'figure', 'column'} & {argument.arg for argument in inner[node].args.args}
                assert has_axes or any('import_matplotlib()' in line for line in before), f'{path}, line {node.lineno}'
                assert not any('pyplot' in name for name in names), f'{path}, line {node.lineno}'
