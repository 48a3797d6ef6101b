"""Hashes of definitions, by reading alone: what changes them, what does not, and how a change is named."""

import ast
import shutil

import pytest

from utils.base import renames
from utils.base.registry import PROJECT
from utils.provenance import code_fingerprint, symbol_resolver
from utils.provenance.code_fingerprint import (
    Source,
    describe_changes,
    find_changed_files,
    find_changes,
    find_evaluation_changes,
    hash_components,
)
from utils.provenance.project_source import is_run_code, project_files, read_files, zip_bytes
from utils.provenance.source_ast import canonical
from utils.provenance.symbol_resolver import SymbolResolver

ROOTS = {
    'model': ['model.model_entry.MODELS[unet]', 'model.unet.unet.UNet', 'model.submodules.ConvBnRelu'],
    'data': [
        'data.data_entry.DATASETS[list]',
        'data.list_dataset.ListDataset',
        'utils.training.batch_transform.BatchTransform',
    ],
    'augment': ['data.augment.AUGMENTS[strong]', 'data.augment.Augment'],
    'loss': ['loss.LOSSES[focal]'],
    'metrics': ['metrics.METRICS[segmentation]'],
}


@pytest.fixture(scope='module')
def recorded(tmp_path_factory):
    """Return the record of a run on the project as it is, and the Source of its archive."""
    path = tmp_path_factory.mktemp('recorded') / 'source.zip'
    path.write_bytes(zip_bytes(read_files()))
    return {'components': hash_components(ROOTS, Source(PROJECT))}, Source(path)


@pytest.fixture
def project(tmp_path):
    """Return a copy of the project (Path), without tests and the like."""
    for name in filter(is_run_code, project_files()):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, tmp_path / name)
    return tmp_path


def edited(project, name, old, new):
    """Replace a text that is in a file once or more."""
    text = (project / name).read_text(encoding='utf-8')
    assert old in text
    (project / name).write_text(text.replace(old, new), encoding='utf-8')


def found(recorded, project, with_archive=True):
    """Return (kind, name, path, state) of what changed."""
    record, then = recorded
    changes = find_changes(record, then if with_archive else None, Source(project))
    return [(change.kind, change.name, change.path, change.state) for change in changes]


def test_the_archive_and_the_directory_say_the_same(recorded, project, monkeypatch):
    monkeypatch.setattr(code_fingerprint, 'SymbolResolver', SymbolResolver)  # otherwise the project stands for both
    record, then = recorded
    assert hash_components(ROOTS, then) == hash_components(ROOTS, Source(project)) == record['components']
    assert {kind: bool(hashes) for kind, hashes in record['components'].items()} == dict.fromkeys(ROOTS, True)
    for name in ('model.submodules.UpConv', 'model.model_entry.MODELS[unet]'):
        assert name in record['components']['model']
    assert 'data.lists.pictures.<module>' in record['components']['data'], 'what a file does when it is imported'
    assert find_changes(record, then, Source(project)) == []


def test_comments_layout_docstrings_and_annotations_change_nothing(recorded, project):
    edited(project, 'model/submodules.py', 'super().__init__()', 'super().__init__(  # so\n        )\n')
    edited(project, 'model/submodules.py', '"""Blocks', '"""Some blocks')
    edited(project, 'model/submodules.py', '"""Two 3x3', '"""Three')
    edited(project, 'model/submodules.py', 'def forward(self, features)', 'def forward(self, features: object) -> None')
    edited(
        project,
        'utils/losses/classification.py',
        'import torch.nn.functional as F\n',
        'from torch.nn import functional as F\n',
    )
    assert found(recorded, project) == found(recorded, project, with_archive=False) == []
    assert find_changed_files(recorded[1], Source(project)) == []


@pytest.mark.slow_after(2, 'a copy of the project each')
@pytest.mark.parametrize(
    ('file', 'old', 'new', 'kind', 'name'),
    [
        ('model/submodules.py', 'F.relu(self.norm', 'F.gelu(self.norm', 'model', 'model.submodules.ConvBnRelu'),
        ('model/submodules.py', 'kernel_size=3,', 'kernel_size=5,', 'model', 'model.submodules.ConvBnRelu'),
        (
            'model/submodules.py',
            'DoubleConv(nn.Sequential)',
            'DoubleConv(nn.Module)',
            'model',
            'model.submodules.DoubleConv',
        ),
        ('utils/base/seeding.py', 'MASK = ', 'MASK = 1 + ', 'augment', 'utils.base.seeding.MASK'),
        ('data/augment.py', '_WEIGHTS = (0.2989', '_WEIGHTS = (0.3', 'augment', 'data.augment.LUMINANCE_WEIGHTS'),
        ('data/augment.py', 'Erase(0.25)', 'Erase(0.5)', 'augment', 'data.augment.strong'),
        ('utils/metrics/base.py', '    @classmethod\n', '    @staticmethod\n', 'metrics', 'utils.metrics.base.Metrics'),
        (
            'utils/training/batch_transform.py',
            'div_(self.std)',
            'mul_(self.std)',
            'data',
            'utils.training.batch_transform.BatchTransform',
        ),
        (
            'data/lists/pictures.py',
            'Image.MAX_IMAGE_PIXELS = None',
            'Image.MAX_IMAGE_PIXELS = 5',
            'data',
            'data.lists.pictures.<module>',
        ),
        ('loss.py', 'classification.Focal', 'classification.CrossEntropy', 'loss', 'loss.LOSSES[focal]'),
    ],
)
def test_what_computes_something_else_is_named_with_its_diff(file, old, new, kind, name, recorded, project):
    edited(project, file, old, new)
    changes = [
        change for change in find_changes(*recorded, Source(project)) if change.name == name and change.kind == kind
    ]
    assert [(change.path, change.state) for change in changes] == [(file, 'changed')]
    removed = [line for line in changes[0].diff.splitlines() if line.startswith('-') and old.strip() in line]
    assert removed, changes[0].diff
    assert (kind, name, file, 'changed') in found(recorded, project, with_archive=False)


def test_a_new_line_in_a_registry_changes_no_model(recorded, project):
    edited(project, 'model/model_entry.py', "    'unet': ", "    'mine': 'model.lenet.LeNet',\n    'unet': ")
    edited(project, 'data/augment.py', "    'flip': ", "    'mirror': 'data.augment.flip',\n    'flip': ")
    assert found(recorded, project) == []


def test_what_a_task_says_of_reports_is_no_part_of_a_training(recorded, project):
    edited(project, 'utils/tasks/segmentation.py', "    tta=('flip', 'multiscale'),", "    tta=('flip',),")
    edited(project, 'utils/tasks/segmentation.py', 'columns.of_mask', 'columns.of_picture')
    edited(project, 'utils/tasks/regression.py', 'decode=', 'tie_break=None,\n    decode=')
    edited(project, 'utils/tasks/task.py', '    report: str | None = None', "    report: str | None = 'none'")
    assert found(recorded, project) == found(recorded, project, with_archive=False) == []
    edited(project, 'utils/tasks/segmentation.py', "'miou': 'max'", "'miou': 'min'")
    assert {change[1] for change in found(recorded, project)} == {'utils.tasks.segmentation.TASK'}


@pytest.mark.slow('reads a copy of the project')
def test_a_record_that_hashed_all_of_a_task_is_compared_with_all_of_it(recorded, project, monkeypatch):
    monkeypatch.setattr(symbol_resolver, 'REPORT_FIELDS', frozenset())
    record, then = {'components': hash_components(ROOTS, Source(project))}, recorded[1]
    monkeypatch.undo()
    assert record != recorded[0]
    assert found((record, then), project) == found((record, then), project, with_archive=False) == []
    edited(project, 'utils/tasks/segmentation.py', 'columns.of_mask', 'columns.of_picture')
    assert found((record, then), project) == []
    assert {change[1] for change in found((record, then), project, with_archive=False)} == {
        'utils.tasks.segmentation.TASK'
    }


def test_another_import_behind_the_same_name_is_a_change(recorded, project):
    edited(project, 'model/submodules.py', 'from torch.nn import functional as F', 'from mine import functional as F')
    changes = find_changes(*recorded, Source(project))
    assert [change.name for change in changes] == ['model.submodules.ConvBnRelu', 'model.submodules.UpConv']
    assert '-# F is torch.nn.functional\n+# F is mine.functional' in changes[0].diff


def test_a_moved_file_is_no_change_and_one_that_is_gone_is_named(recorded, project):
    (project / 'model/unet/unet.py').rename(project / 'model/unet/net.py')
    edited(project, 'model/unet/__init__.py', 'unet.unet', 'unet.net')
    assert found(recorded, project) == []
    edited(project, 'model/unet/net.py', 'depth=4', 'depth=3')
    assert found(recorded, project) == [
        ('model', 'model.unet.unet.UNet', 'model/unet/unet.py', 'gone'),
        ('model', 'model.unet.net.UNet', 'model/unet/net.py', 'new'),
    ]


def test_a_move_out_of_a_registry_s_path_is_no_change(recorded, project):
    (project / 'model/nets').mkdir()
    (project / 'model/nets/__init__.py').write_text('', encoding='utf-8')
    (project / 'model/unet/unet.py').rename(project / 'model/nets/big.py')
    (project / 'model/unet/__init__.py').unlink()
    edited(project, 'model/model_entry.py', "'model.unet.UNet'", "'model.nets.big.UNet'")
    assert found(recorded, project) == found(recorded, project, with_archive=False) == []
    assert find_changed_files(recorded[1], Source(project)) == ['model/model_entry.py']  # another path stands there
    edited(project, 'model/model_entry.py', "'model.nets.big.UNet'", "'model.lenet.LeNet'")
    assert ('model', 'model.model_entry.MODELS[unet]', 'model/model_entry.py', 'changed') in found(recorded, project)


def test_a_rename_that_is_listed_is_no_change(recorded, project, monkeypatch):
    monkeypatch.setattr(renames, 'MODULES', {'utils.tasks.targets': 'utils.labelling.labels'})
    monkeypatch.setattr(renames, 'NAMES', {'refuse_unknown_classes': 'check_classes', 'lacks_values': 'wrong_class'})
    (project / 'utils/labelling').mkdir(exist_ok=True)
    (project / 'utils/labelling/__init__.py').write_text('', encoding='utf-8')
    (project / 'utils/tasks/targets.py').rename(project / 'utils/labelling/labels.py')
    for path in project.rglob('*.py'):
        if path == project / 'utils/base/renames.py':
            continue
        text = path.read_text(encoding='utf-8').replace('utils.tasks.targets', 'utils.labelling.labels')
        text = text.replace('check_classes', 'refuse_unknown_classes').replace('wrong_class', 'lacks_values')
        path.write_text(text, encoding='utf-8')
    assert found(recorded, project) == found(recorded, project, with_archive=False) == []
    assert find_changed_files(recorded[1], Source(project)) == []
    edited(
        project,
        'utils/labelling/labels.py',
        'def refuse_unknown_classes(who, predictions, targets)',
        'def lacks_all(*_)',
    )
    assert {name for _, name, *_ in found(recorded, project)} >= {'utils.tasks.targets.check_classes'}


def test_a_rename_leaves_other_definitions_of_the_earlier_name_alone(recorded, project, monkeypatch):
    """FEATURES keeps its name in a file that moved, although NAMES has a new name for another FEATURES."""
    monkeypatch.setattr(renames, 'MODULES', {'model.submodules': 'model.blocks'})
    monkeypatch.setattr(renames, 'NAMES', {'FEATURE_COUNTS': 'FEATURES'})
    (project / 'model/submodules.py').rename(project / 'model/blocks.py')
    for path in (project / 'model').rglob('*.py'):
        text = path.read_text(encoding='utf-8').replace('model.submodules', 'model.blocks')
        path.write_text(text, encoding='utf-8')
    assert 'model.submodules.FEATURES' in recorded[0]['components']['model']
    assert found(recorded, project) == found(recorded, project, with_archive=False) == []


def test_the_messages_of_errors_do_not_count_where_the_source_is_at_hand(recorded, project):
    edited(project, 'utils/losses/common.py', 'class_weights must be finite', 'class_weights should be finite')
    assert found(recorded, project) == []
    assert find_changed_files(recorded[1], Source(project)) == []
    edited(project, 'utils/losses/common.py', 'raise DanluError', 'raise ValueError')
    assert {name for _, name, *_ in found(recorded, project)} >= {'utils.losses.common.checked_weights'}


def test_definitions_that_move_and_are_re_exported_are_no_change(recorded, project):
    text = (project / 'utils/losses/common.py').read_text(encoding='utf-8')
    (project / 'utils/losses/shared.py').write_text(text, encoding='utf-8')
    again = 'from utils.losses.shared import at_least_float32, checked_weights  # noqa: F401\n'
    (project / 'utils/losses/common.py').write_text(again, encoding='utf-8')
    edited(project, 'utils/losses/classification.py', 'utils.losses.common', 'utils.losses.shared')
    assert found(recorded, project) == found(recorded, project, with_archive=False) == []
    assert find_changed_files(recorded[1], Source(project)) == []


def test_the_path_of_an_entry_of_a_registry_may_change(recorded, project, monkeypatch):
    monkeypatch.setattr(renames, 'MODULES', {'utils.losses.region': 'utils.losses.overlap'})
    (project / 'utils/losses/region.py').rename(project / 'utils/losses/overlap.py')
    for path in project.rglob('*.py'):
        if path != project / 'utils/base/renames.py':
            text = path.read_text(encoding='utf-8')
            path.write_text(text.replace('utils.losses.region', 'utils.losses.overlap'), encoding='utf-8')
    assert find_changed_files(recorded[1], Source(project)) == []


def test_the_names_of_local_variables_do_not_count_where_the_source_is_at_hand(recorded, project):
    edited(project, 'model/submodules.py', 'total', 'extent')
    assert found(recorded, project) == []
    assert find_changed_files(recorded[1], Source(project)) == []
    assert found(recorded, project, with_archive=False) != []


def test_another_definition_of_the_same_name_is_a_changed_file_and_a_moved_one_is_not(tmp_path):
    """The text of `use` is the same; what its name `helper` is imported from is not."""
    texts = {'first.py': 'def helper():\n    return 1\n', 'second.py': 'def helper():\n    return 2\n'}
    use = 'from {} import helper\n\n\ndef use():\n    return helper()\n'
    projects = {
        'then': texts | {'use.py': use.format('first')},
        'another': texts | {'use.py': use.format('second')},
        'moved': {'third.py': texts['first.py'], 'second.py': texts['second.py'], 'use.py': use.format('third')},
    }
    for folder, files in projects.items():
        (tmp_path / folder).mkdir()
        for name, text in files.items():
            (tmp_path / folder / name).write_text(text, encoding='utf-8')
    then, another, moved = (Source(tmp_path / folder) for folder in projects)
    assert find_changed_files(then, another) == ['use.py']
    assert find_changed_files(then, moved) == []


def test_the_evaluation_is_found_in_whatever_file_it_stands(recorded, project, monkeypatch):
    then = recorded[1]
    assert find_evaluation_changes(then, Source(project)) == []
    monkeypatch.setattr(renames, 'MODULES', {'utils.training.engine': 'utils.moved.engine'})
    monkeypatch.setattr(renames, 'NAMES', {'note_loss': 'record_loss'})
    monkeypatch.setattr(code_fingerprint, 'ENGINE', 'utils.moved.engine.Engine')
    monkeypatch.setattr(code_fingerprint, 'ENGINE_METHODS', ['step', 'note_loss', 'evaluate'])
    (project / 'utils/moved').mkdir()
    (project / 'utils/training/engine.py').rename(project / 'utils/moved/engine.py')
    for path in project.rglob('*.py'):
        text = path.read_text(encoding='utf-8').replace('utils.training.engine', 'utils.moved.engine')
        path.write_text(text.replace('record_loss', 'note_loss'), encoding='utf-8')
    assert find_evaluation_changes(then, Source(project)) == []
    edited(project, 'utils/moved/engine.py', 'def evaluate(self', 'def evaluate(self, *_')
    assert [change.name for change in find_evaluation_changes(then, Source(project))] == ['Engine.evaluate']


def test_a_definition_that_is_used_anew_is_named(recorded, project):
    edited(project, 'model/unet/unet.py', 'return images + output if', 'return doubled(images) + output if')
    (project / 'model/unet/more.py').write_text('def doubled(images):\n    return 2 * images\n', encoding='utf-8')
    edited(project, 'model/unet/unet.py', 'import torch\n', 'import torch\n\nfrom .more import doubled\n')
    assert found(recorded, project) == [
        ('model', 'model.unet.unet.UNet', 'model/unet/unet.py', 'changed'),
        ('model', 'model.unet.more.doubled', 'model/unet/more.py', 'new'),
    ]


def test_a_syntax_error_counts_only_in_a_file_that_was_used(recorded, project):
    (project / 'model/half.py').write_text('class Half(\n', encoding='utf-8')
    edited(project, 'model/lenet/lenet.py', 'class LeNet', 'klass LeNet')
    assert found(recorded, project) == []
    edited(project, 'model/unet/unet.py', 'class UNet', 'klass UNet')
    [change] = find_changes(*recorded, Source(project))
    assert (change.name, change.state) == ('model.unet.unet.UNet', 'unreadable')
    assert change.diff.startswith('model/unet/unet.py, line ')
    assert describe_changes([change] * 2) == [f'{change.diff} (model)']


@pytest.mark.slow('reads a copy of the project')
def test_equal_sources_are_no_change_though_the_hashes_are_of_another_python(recorded, project):
    components = {kind: dict.fromkeys(hashes, '0' * 16) for kind, hashes in recorded[0]['components'].items()}
    assert find_changes({'components': components}, recorded[1], Source(project)) == []
    assert len(find_changes({'components': components}, None, Source(project))) == sum(map(len, components.values()))


def test_changes_are_told_in_lines_that_name_the_file(recorded, project):
    edited(project, 'utils/tasks/targets.py', 'def check_classes(who, predictions, targets)', 'def check_classes(*_)')
    assert describe_changes(find_changes(*recorded, Source(project))) == [
        'utils/tasks/targets.py: check_classes (loss, metrics)'
    ]


# --- how names lead to definitions


def closure(tmp_path, files, *roots):
    """Return the names of what `roots` lead to in a project of these files (dict from path to text)."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding='utf-8')
    return list(hash_components({'model': list(roots)}, Source(tmp_path))['model'])


def test_a_helper_is_followed_over_any_kind_of_import(tmp_path):
    files = {
        'net.py': 'import lab.blocks\nfrom lab import tools as t\nclass Net(lab.blocks.Base):\n    f = t.helper\n',
        'lab/__init__.py': 'from .tools import *\nstarted = print()\n',
        'lab/blocks.py': 'from lab import shared\nclass Base:\n    def f(self):\n        return shared\n',
        'lab/tools.py': 'from . import deep\nhelper = deep.er.function\nshared = 3\nunused = 4\n',
        'lab/deep/__init__.py': '',
        'lab/deep/er.py': 'def function():\n    from ..blocks import Base\n    return Base\n',
    }
    assert closure(tmp_path, files, 'net.Net') == [
        *('lab.blocks.Base', 'lab.deep.er.function', 'lab.tools.helper', 'lab.tools.shared', 'net.Net'),
    ]


def test_names_of_a_function_s_own_hide_those_of_the_file(tmp_path):
    text = (
        'a = b = c = d = e = f = g = 1\n'
        'class Net:\n'
        '    def run(self, a, *b, **c):\n'
        '        for d in a:\n'
        '            [e for e in b]\n'
        '        return lambda f: f, self.g\n'
        '    def other(self):\n'
        '        return e\n'
    )
    assert closure(tmp_path, {'net.py': text}, 'net.Net') == ['net.Net', 'net.e']


def test_what_is_done_to_a_class_after_it_counts(tmp_path):
    text = (
        'class Net: pass\n'
        'def act(x): return x\n'
        'if True:\n    SIZE = 3\nelse:\n    SIZE = 4\n'
        'Net.act = act\n'
        "if __name__ == '__main__':\n    print(Net, SIZE)\n"
    )
    assert closure(tmp_path, {'net.py': text}, 'net.Net') == ['net.<module>', 'net.Net', 'net.act']


def test_a_script_outside_of_the_project_is_followed_into_it(tmp_path):
    script = tmp_path / 'home' / 'script.py'
    script.parent.mkdir()
    script.write_text('from blocks import Block\nfrom near import B\nclass Net(Block, B): pass\n', encoding='utf-8')
    (tmp_path / 'home' / 'near.py').write_text('class B: pass\n', encoding='utf-8')
    files = {'blocks.py': 'class Block: pass\n'}
    root = f'{script}:Net'
    assert closure(tmp_path / 'project', files, root) == [f'{tmp_path}/home/near.py:B', root, 'blocks.Block']
    record = {'components': hash_components({'model': [root]}, Source(tmp_path / 'project'))}
    script.unlink()
    assert find_changes(record, None, Source(tmp_path / 'project')) == [], (
        'of a file that is not here nothing can be told'
    )


def test_what_a_script_does_with_its_definitions_is_no_part_of_them(tmp_path):
    files = {
        'mine.py': (
            'from train import Trainer\nfrom tools import act, pack\n'
            'class Net: pass\nclass Mine(Trainer): pass\n'
            'Net.act = act\nMine(pack, Net()).train()\nfor _ in range(3):\n    print(Mine)\n'
        ),
        'train.py': 'import tools\nclass Trainer:\n    tools.pack\n',
        'tools.py': 'act = 1\npack = 2\n',
    }
    assert closure(tmp_path, files, 'mine.Mine') == ['mine.<module>', 'mine.Mine', 'mine.Net', 'tools.act']


@pytest.mark.parametrize(
    ('one', 'other', 'same'),
    [
        ("f'a{x}' 'b'", "f'a{x}b'", True),
        ('def f(a: int, *, b=1) -> int: return a', 'def f(a, *, b=1):\n  "doc"\n  pass\n  return a', True),
        ('def f():\n  x: int = 1\n  y: int', 'def f():\n  x = 1', True),
        ('class A:\n  x: int', 'class A:\n  x: float', False),
        ('x = 1', 'x = 1.0', False),
        ('x = 1', 'x = True', False),
        ('@a\ndef f(): pass', 'def f(): pass', False),
        ('def f(a=1): pass', 'def f(a=2): pass', False),
        ('async def f(): pass', 'def f(): pass', False),
    ],
)
def test_the_text_that_is_hashed(one, other, same):
    assert (canonical(ast.parse(one).body) == canonical(ast.parse(other).body)) is same
