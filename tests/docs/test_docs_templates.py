"""docs/from-your-template.md: programs that need a file in the project or a download, and the counts of lines.

test_docs.py does not run code after ``` and a space. Programs of other templates are only parsed here. A file
`# model/name.py, in MODELS: ...` is added to the registries, and downloads are replaced by small generated data.
"""

import ast
import importlib
import pickle
import re
import shlex
import sys
import types

import numpy as np
import pytest
from PIL import Image

import options
from data import torchvision_data
from data.data_entry import DATASETS
from model.model_entry import MODELS
from utils.base.registry import PROJECT
from utils.training.override_checks import COUNTERPARTS

TEXT = (PROJECT / 'docs' / 'from-your-template.md').read_text(encoding='utf-8')
SECTIONS = dict(zip(*[iter(re.split(r'^##+ (.*)$', TEXT, flags=re.MULTILINE)[1:])] * 2, strict=True))
BLOCK = re.compile(r'^```( ?)(\w+)\n(.*?)^```$', re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# (?:model|data)/\w+\.py, in (MODELS|DATASETS): '(\w+)': '([\w.]+)\.(\w+)'\n")


def blocks(section):
    """Return the code blocks of a section: list of (whether test_docs.py skips it, language, code)."""
    return [(bool(blank), language, code) for blank, language, code in BLOCK.findall(SECTIONS[section])]


def is_danlus(code):
    """Return whether a block that test_docs.py skips is for Danlu: a file of a registry, or commands."""
    return bool(FILE.match(code)) or code.startswith('python ')


def lines_of(code):
    """Return the number of lines of code, without blank lines and comments; a registry line counts."""
    lines = [line for line in code.splitlines() if line.strip() and not line.lstrip().startswith('#')]
    return len(lines) + bool(FILE.match(code))


def test_the_table_counts_the_lines_of_the_programs():
    rows = re.findall(r'^\| (.*?) \| (\d+) \| (\d+) \|$', TEXT, re.MULTILINE)
    programs = {
        'TemplateModel': [code for _, _, code in blocks('TemplateModel') if 'my_digits.py' in code],
        'KerasModel': [code for _, _, code in blocks('torchkeras') if code.startswith('# KerasModel')],
        'Tudui on CIFAR-10': [code for left_out, _, code in blocks('CIFAR-10') if left_out and is_danlus(code)],
        'LeNet on MNIST': [code for left_out, _, code in blocks('MNIST') if left_out and is_danlus(code)],
        'Loading the matching layers': [
            code for _, _, code in blocks('Loading the matching layers') if is_danlus(code)
        ],
    }
    theirs = {'TemplateModel': 38, 'KerasModel': 15, 'Tudui on CIFAR-10': 87, 'LeNet on MNIST': 50}
    theirs['Loading the matching layers'] = 10
    found = {name.partition(':')[0]: (int(left), int(right)) for name, left, right in rows}
    assert found == {name: (theirs[name], sum(map(lines_of, codes))) for name, codes in programs.items()}
    assert all(0 < right <= left for left, right in found.values())


def test_the_programs_of_other_templates_can_be_read():
    theirs = [code for name in SECTIONS for left_out, language, code in blocks(name)
              if left_out and language == 'python' and not FILE.match(code)]  # fmt: skip
    assert len(theirs) >= 6
    for code in theirs:
        ast.parse(code)


@pytest.mark.parametrize(
    ('section', 'methods'),
    [
        ('TemplateModel', 'train_loop eval eval_scores_per_batch train_loss_per_batch metric inference get_model_info'),
        ('PyTorch Lightning', 'training_step validation_step test_step configure_optimizers on_train_epoch_start'),
    ],
)
def test_the_methods_that_the_document_calls_refused_are_refused(section, methods):
    for method in methods.split():
        assert f'`{method}' in SECTIONS[section] and (method in COUNTERPARTS or method.startswith('on_'))


# --- running the blocks that test_docs.py skips


def write_idx(path, array):
    """Write a file in the format of MNIST."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = bytes([0, 0, 8, array.ndim]) + b''.join(size.to_bytes(4, 'big') for size in array.shape)
    path.write_bytes(head + array.astype(np.uint8).tobytes())


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Change into a directory with road/, and replace CIFAR-10 and MNIST by small data sets."""
    random = np.random.default_rng(0)
    for split, count in (('train', 6), ('val', 4)):
        (tmp_path / 'road').mkdir(exist_ok=True)
        names = [(f'{split}{index}.png', f'{split}{index}_mask.png') for index in range(count)]
        for picture, mask in names:
            Image.fromarray(random.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(tmp_path / 'road' / picture)
            Image.fromarray(random.integers(0, 3, (20, 24), dtype=np.uint8)).save(tmp_path / 'road' / mask)
        (tmp_path / 'road' / f'{split}.txt').write_text(''.join(f'{a} {b}\n' for a, b in names), encoding='utf-8')
    folder = tmp_path / 'datasets' / 'cifar-10-batches-py'
    folder.mkdir(parents=True)
    for name in [*(f'data_batch_{number}' for number in range(1, 6)), 'test_batch']:
        content = {'data': random.integers(0, 256, (20, 3072), dtype=np.uint8), 'labels': [k % 10 for k in range(20)]}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / 'batches.meta').write_bytes(pickle.dumps({'label_names': [str(k) for k in range(10)]}))
    monkeypatch.setattr('torchvision.datasets.cifar.check_integrity', lambda path, md5: True)
    for part, count in (('train', 40), ('t10k', 20)):
        raw = tmp_path / 'datasets' / 'MNIST' / 'raw'
        write_idx(raw / f'{part}-images-idx3-ubyte', random.integers(0, 256, (count, 28, 28)))
        write_idx(raw / f'{part}-labels-idx1-ubyte', np.arange(count) % 10)
    monkeypatch.setattr(torchvision_data, 'PROJECT', tmp_path)
    monkeypatch.setattr(options, 'PROJECT', tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def register(code, monkeypatch):
    """Add a file of the document to its registry."""
    registry, name, module, entry = FILE.match(code).groups()
    made = types.ModuleType(module)
    exec(compile(code, module, 'exec'), vars(made))
    monkeypatch.setitem(sys.modules, module, made)
    monkeypatch.setitem({'MODELS': MODELS, 'DATASETS': DATASETS}[registry], name, f'{module}.{entry}')


def run(line):
    """Run a command with one epoch."""
    python, script, *words = shlex.split(line)
    assert python == 'python'
    words = ['1' if before == '--epochs' else word for before, word in zip(['', *words], words, strict=False)]
    words += ['--device', 'cpu', *(['--no_report'] if script == 'train.py' else [])]
    importlib.import_module(script.removesuffix('.py')).main(words)


@pytest.mark.slow('three programs in a copy of the project')
@pytest.mark.parametrize('sections', [('torch_base',), ('CIFAR-10',), ('MNIST', 'Loading the matching layers')])
def test_programs_that_need_a_file_in_the_project_run(sections, here, monkeypatch, capsys):
    codes = [code for name in sections for left_out, _, code in blocks(name) if left_out and is_danlus(code)]
    # options.py reads the names from the source of the registries.
    read = options.read_registry
    monkeypatch.setattr(options, 'read_registry', lambda *names: {**read(*names), **added.get(names[-1], {})})
    added = {'MODELS': {}, 'DATASETS': {}}
    for code in codes:
        if match := FILE.match(code):
            register(code, monkeypatch)
            added[match[1]][match[2]] = ''
        else:
            for line in code.replace('\\\n', ' ').splitlines():
                run(line)
    assert capsys.readouterr().out.count('results: ') == len(re.findall(r'^python eval', ''.join(codes), re.MULTILINE))
