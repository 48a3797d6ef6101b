"""Changes that change no value of a test: none of them may be reported as a changed result."""

import os
import shutil

from scripts.dev.planting.change import Change, Edit
from utils.base.regular_files import read_regular_text, write_regular_text

LENET, ENGINE, LOGGER = 'model/lenet/lenet.py', 'utils/training/engine.py', 'utils/logger.py'
FORWARD = '        return self.classifier(self.features(images))'


def harmless_changes():
    """Return the Changes (list)."""
    return [*_of_text(), *_of_definitions(), *_of_new_files(), *_of_surroundings(), *_of_data()]


def _edits(name, *edits, run='digits', words=()):
    return Change('harmless', name, run, [Edit(*edit) for edit in edits], words=words)


def _of_text():
    ce = 'utils/losses/classification.py'
    return [
        _edits('a comment in the model', (LENET, FORWARD, f'        # Logits.\n{FORWARD}')),
        _edits('a docstring', (LENET, '"""Return the logits (N, num_classes)', '"""Give the logits (N, num_classes)')),
        _edits(
            'a local variable',
            (LENET, FORWARD, '        hidden = self.features(images)\n        return self.classifier(hidden)'),
        ),
        _edits(
            'another name of a local variable',
            (
                ENGINE,
                'images, targets = self.prepare(*images_and_targets(batch))',
                'images, targets = self.prepare(*images_and_targets(batch))  # both',
            ),
        ),
        _edits('blank lines', (LENET, 'class LeNet(', '\n\n\nclass LeNet(')),
        _edits(
            'quotes and line breaks',
            (
                LENET,
                "tasks = ('classification', 'multilabel', 'regression')",
                'tasks = (\n        "classification",\n        "multilabel",\n        "regression",\n    )',
            ),
        ),
        _edits('a type annotation', (LENET, 'def forward(self, images):', 'def forward(self, images: object):')),
        _edits(
            'a comment in the evaluation',
            (LOGGER, '    def mean(self, name):', '    # The mean.\n    def mean(self, name):'),
        ),
        _edits('a comment in the loss', (ce, 'class CrossEntropy(', '# The usual loss.\n\n\nclass CrossEntropy(')),
        _edits(
            'the message of an error',
            (ce, "'--label_smoothing must lie between", "'--label_smoothing has to lie between"),
        ),
        _edits('an unused import', (LENET, 'from torch import nn\n', 'import math\n\nfrom torch import nn\n')),
    ]


def _of_definitions():
    return [
        _edits('an unused parameter', (LENET, 'def forward(self, images):', 'def forward(self, images, unused=None):')),
        _edits(
            'an unused method',
            (LENET, '    def forward(', '    def unused(self):\n        """Return nothing."""\n\n    def forward('),
        ),
        _edits('a new function in loss.py', ('loss.py', '', '\n\ndef unused():\n    """Return nothing."""\n')),
        _edits('a new constant', (LENET, 'MIN_SIDE = 12', 'UNUSED = 3\nMIN_SIDE = 12')),
        Change('harmless', 'a class moved to another file', 'digits', [], act=_move_lenet),
        _edits('an equal expression', (LENET, '16 * height * width', 'width * height * 16')),
        _edits(
            'a new model',
            ('model/model_entry.py', "    'lenet': 'model", "    'new': 'model.lenet.LeNet',\n    'lenet': 'model"),
        ),
        _edits(
            'a new loss',
            ('loss.py', 'LOSSES = {\n', "LOSSES = {\n    'new': 'utils.losses.classification.CrossEntropy',\n"),
        ),
        _edits(
            'a print in the test',
            (
                'eval.py',
                '        progress = Progress(self.loader',
                "        print('testing')\n        progress = Progress(self.loader",
            ),
        ),
        _edits('the drawing of images', ('utils/viz.py', '', '\n\ndef unused():\n    """Return nothing."""\n')),
    ]


def _move_lenet(shop, _):
    """Move LeNet to another file, from which its package still exports it."""
    path = shop.project / LENET
    text = read_regular_text(path)
    shop.write(shop.project / 'model' / 'lenet' / 'moved.py', text)
    shop.write(path, '"""LeNet has moved."""\n\nfrom model.lenet.moved import LeNet\n\n__all__ = [\'LeNet\']\n')


def _of_new_files():
    option = "    group.add_argument('--histograms'"
    return [
        _edits(
            'a new option',
            ('options.py', option, f"    group.add_argument('--unused', type=str, help='nothing')\n{option}"),
        ),
        _edits('a new module', ('utils/base/unused.py', '', '"""Nothing."""\n')),
        _edits('a new test', ('tests/test_new.py', '', '"""Nothing."""\n')),
        _edits('a new document', ('docs/new.md', '', 'Nothing.\n')),
        _edits('the README', ('README.md', '', '\nMore.\n')),
        _edits('a script', ('scripts/look.py', '', '\n# The end.\n')),
        _edits('a JSON file that nothing reads', ('settings.json', '', '{}\n')),
        _edits(
            'the layout of a JSON file', ('model/mine.json', '"scale": "scale", ', '"scale":   "scale",\n '), run='mine'
        ),
        _edits(
            "a comment in a user's registry",
            ('mine/parts.py', 'REGISTRY = {}', '# All parts.\nREGISTRY = {}'),
            run='mine',
        ),
    ]


def _of_surroundings():
    def moved_run(shop, run):
        target = run.with_name('renamed')
        shutil.copytree(run, target)
        return ['--load_model_path', target / 'best.pth'], {}

    return [
        Change('harmless', 'a variable that nothing reads', 'mine', [], env={'MINE_UNUSED': '1'}),
        Change('harmless', 'a run that was renamed', 'digits', [], act=moved_run),
        Change('harmless', 'two worker processes', 'list', [], words=('--num_workers', '2')),
        Change('harmless', 'another number of threads', 'digits', [], words=('--threads', '2')),
        Change('harmless', 'a report', 'digits', [], words=('--report',)),
    ]


def _of_data():
    def touched(shop, _):
        for path in shop.data.iterdir():
            os.utime(path, (2_000_000_000, 2_000_000_000))

    def moved_list(shop, _):
        (shop.data / 'val.txt').rename(shop.data / 'moved.txt')
        return ['--val_list', shop.data / 'moved.txt'], {}

    def commented_list(shop, _):
        path = shop.data / 'val.txt'
        write_regular_text(path, '# A comment.\n' + read_regular_text(path))

    def new_image(shop, _):
        shutil.copyfile(shop.data / 'val0.png', shop.data / 'unused.png')

    return [
        Change('harmless', 'images that were touched', 'list', [], act=touched),
        Change('harmless', 'a list that was moved', 'list', [], act=moved_list),
        Change('harmless', 'a comment in a list', 'list', [], act=commented_list),
        Change('harmless', 'an image that no list names', 'list', [], act=new_image),
    ]
