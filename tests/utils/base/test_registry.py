"""Registries are read without imports, and invalid entries give one-line errors."""

import subprocess
import sys

import pytest

from utils.base import registry
from utils.base.errors import DanluError
from utils.base.registry import PROJECT, load_entry, read_registry, unknown_name


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a function that writes an importable module of another project."""
    monkeypatch.setattr(registry, 'PROJECT', tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(module, text):
        path = tmp_path.joinpath(*module.split('.')).with_suffix('.py')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding='utf-8')

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    'text',
    [
        "ENTRIES = {'a': 'x.A', '猫': 'x.B'}",
        '"""Text."""\nimport no_such_package\nO = 1\nENTRIES = {\n    # why\n    "a": "x.A", "猫": "x.B",\n}\n1 / 0',
        "ENTRIES: dict[str, str] = {'a': 'x.A', '猫': 'x.B'}",
        "THINGS = ENTRIES = {'a': 'x.A', '猫': 'x.B'}",
        "some.thing = other[0] = 1\nENTRIES = {'a': 'x.A', '猫': 'x.B'}",
    ],
    ids=['plain', 'in a file that cannot be imported', 'annotated', 'two names', 'other targets'],
)
def test_a_registry_is_read_without_running_its_file(project, text):
    project('some.place', text)
    assert read_registry('some.place', 'ENTRIES') == {'a': 'x.A', '猫': 'x.B'}
    assert 'some.place' not in sys.modules


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        ('', r'place\.py: no dictionary ENTRIES = \{\.\.\.\} at the top level'),
        ('def f():\n    ENTRIES = {}', 'no dictionary ENTRIES'),
        ('from there import ENTRIES', 'no dictionary ENTRIES'),
        ("ENTRIES = dict(a='x.A')", r"place\.py, line 1: ENTRIES must be written out as \{'name'"),
        ("OTHER = {}\nENTRIES = {'a': 'x.A', **OTHER}", r'place\.py, line 2: ENTRIES must be written out'),
        ("ENTRIES = {'a': A}", 'ENTRIES must be written out'),
        ('ENTRIES: dict', 'ENTRIES must be written out'),
    ],
)
def test_a_file_without_a_registry_that_can_be_read(project, text, says):
    project('place', text)
    with pytest.raises(DanluError, match=says):
        read_registry('place', 'ENTRIES')


def test_entries_added_by_a_notebook_are_read(project):
    project('filled', "ENTRIES = {'a': 'x.A'}")
    import filled

    filled.ENTRIES['mine'] = 'y.Mine'
    assert read_registry('filled', 'ENTRIES') == {'a': 'x.A', 'mine': 'y.Mine'}


def test_the_registries_of_danlu_lead_to_files_and_need_no_torch():
    """Every registered path is a module of the project that names the class or function."""
    code = """
import sys
from utils.base.registry import PROJECT, read_registry
for module, name in (('model.model_entry', 'MODELS'), ('data.data_entry', 'DATASETS'), ('loss', 'LOSSES'),
                     ('metrics', 'METRICS'), ('data.augment', 'AUGMENTS')):
    for path in read_registry(module, name).values():
        where, _, attribute = path.rpartition('.')
        file = PROJECT.joinpath(*where.split('.'))
        file = file / '__init__.py' if file.is_dir() else file.with_suffix('.py')
        assert attribute in file.read_text(), path
        print(path)
assert not {'torch', 'numpy', 'model', 'data', 'loss', 'metrics'} & set(sys.modules)
"""
    printed = subprocess.check_output([sys.executable, '-c', code], text=True, cwd=PROJECT)
    assert len(printed.split()) >= 20


@pytest.mark.parametrize(
    ('name', 'hint'),
    [
        ('lenett', '; did you mean lenet'),
        ('LeNet', '; did you mean lenet'),
        ('resnet', '; did you mean resnet50_fcn or resnet101_fcn'),
        ('resnet5_fcn', '; did you mean resnet50_fcn'),
        ('zzz', ''),
        ('', ''),
    ],
)
def test_unknown_names_are_answered_with_close_ones_and_all(name, hint):
    message = unknown_name('model', name, ['lenet', 'resnet50_fcn', 'resnet101_fcn', 'alexnet'])
    assert message.startswith(f'unknown model {name!r}{hint}')
    assert message.endswith(' (known: alexnet, lenet, resnet101_fcn, resnet50_fcn)')
    assert ('did you mean' in message) == bool(hint)


def test_only_the_chosen_entry_is_imported(project):
    project('shelf.good', 'class Good: pass')
    project('shelf.half_written', 'class Half(')
    entries = {'good': 'shelf.good.Good', 'half': 'shelf.half_written.Half'}
    assert load_entry(entries, 'good', 'model').__name__ == 'Good'
    assert 'shelf.half_written' not in sys.modules
    with pytest.raises(SyntaxError):  # its writer needs the traceback
        load_entry(entries, 'half', 'model')


@pytest.mark.parametrize(
    ('path', 'says'),
    [
        ('case.module.Bad', "model 'mine' is registered as case.module.Bad: case.module has no Bad"),
        ('case.nothing.Good', "model 'mine' is registered as case.nothing.Good: there is no case.nothing"),
        ('no_package.x.Good', "model 'mine' is registered as no_package.x.Good: there is no no_package"),
        ('Good', "model 'mine' is registered as Good: it needs the module too, package.module.Good"),
    ],
)
def test_an_entry_with_an_invalid_path(project, path, says):
    project('case.module', 'class Good: pass')
    with pytest.raises(DanluError) as refused:
        load_entry({'mine': path}, 'mine', 'model')
    assert str(refused.value) == says


def test_an_import_error_in_the_chosen_file_is_raised_unchanged(project):
    project('faulty.attribute', 'import math\nmath.no_such_thing\nclass Good: pass')
    project('faulty.missing', 'import no_such_package\nclass Good: pass')
    with pytest.raises(AttributeError, match='no_such_thing'):
        load_entry({'a': 'faulty.attribute.Good'}, 'a', 'model')
    with pytest.raises(ModuleNotFoundError, match='no_such_package'):
        load_entry({'a': 'faulty.missing.Good'}, 'a', 'model')


def test_a_name_that_is_not_registered():
    with pytest.raises(DanluError) as refused:
        load_entry({'lenet': 'a.b', 'unet': 'c.d'}, 'lenett', 'model')
    assert str(refused.value) == "unknown model 'lenett'; did you mean lenet or unet? (known: lenet, unet)"
