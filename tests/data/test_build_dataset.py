"""Data sets in Danlu's form and in that of torch_base: what the second parameter of the constructor is given."""

import sys
import types
from pathlib import Path

import pytest
import torch

from data.build_dataset import build_dataset, split_parameter
from data.data_entry import DATASETS, select_eval_loader, select_train_loader
from options import parse_train_args, test_args
from utils.base.errors import DanluError


class Rows(torch.utils.data.Dataset):
    """A row of three numbers and a label for each line of a file."""

    def open(self, args, path):
        self.args, self.path = args, path
        self.rows = [line.split() for line in Path(path).read_text().splitlines()]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        *numbers, label = self.rows[index]
        return torch.tensor([float(number) for number in numbers]), int(label)


class OfTorchBase(Rows):
    """As torch_base writes it."""

    def __init__(self, args, is_train):
        self.seen = is_train
        self.open(args, {True: args.train_list, False: args.val_list}[is_train])


@pytest.fixture
def lists(tmp_path):
    (tmp_path / 'train.txt').write_text('1 2 3 0\n4 5 6 1\n7 8 9 0\n')
    (tmp_path / 'val.txt').write_text('1 1 1 1\n2 2 2 0\n')
    return ['--train_list', str(tmp_path / 'train.txt'), '--val_list', str(tmp_path / 'val.txt')]


@pytest.fixture
def register(monkeypatch):
    """Return a function that registers a class as --data_type mine and returns the words for that."""

    def register(kind):
        module = types.ModuleType('mine')
        module.Mine = kind
        monkeypatch.setitem(sys.modules, 'mine', module)
        monkeypatch.setitem(DATASETS, 'mine', 'mine.Mine')
        kind.describe = staticmethod(lambda args: {'num_classes': 2, 'channels': 3, 'image_size': []})
        return ['--data_type', 'mine', '--model_type', 'mlp', '--model_args', 'hidden=4', '--mean', '0', '--std', '1']

    return register


def kind_taking(text):
    """Return a class whose constructor takes what `text` says, and which keeps what the last parameter was given."""
    name = text.split('=')[0].strip(' *,').split(' ')[-1]
    made = {}
    exec(f'def __init__(self, args, {text}):\n    self.seen = {name}', made)
    return type('Copied', (), {'__init__': made['__init__']})


@pytest.mark.parametrize('text', ['is_train', 'train', 'is_train=True', '*, train'])
def test_a_parameter_that_is_a_question_gets_a_bool(text):
    args = types.SimpleNamespace(train_list='a')
    assert build_dataset(kind_taking(text), args, 'train').seen is True
    assert build_dataset(kind_taking(text), args, 'val').seen is False


@pytest.mark.parametrize('text', ['split', 'mode', 'phase', "split='train'", '*, phase'])
def test_a_parameter_that_is_a_name_gets_the_word(text):
    args = types.SimpleNamespace(train_list='a')
    assert [build_dataset(kind_taking(text), args, split).seen for split in ('train', 'val')] == ['train', 'val']


class Passing(OfTorchBase):
    """Passes on whatever it gets."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)


def test_a_subclass_that_passes_everything_on_is_called_as_the_class_above_it(lists):
    dataset = build_dataset(Passing, parse_train_args(['--data_type', 'list', *lists]), 'val')
    assert (dataset.seen, len(dataset)) == (False, 2)


def test_a_function_may_be_registered():
    def make(args, split):
        return args, split

    assert build_dataset(make, types.SimpleNamespace(train_list=None), 'val')[1] == 'val'


@pytest.mark.parametrize('text', ['subset', 'transform=None', 'split, transform', 'is_training', 'root, split', ''])
def test_another_parameter_is_refused_with_its_place_and_the_names_that_are_known(text):
    with pytest.raises(DanluError) as raised:
        split_parameter(kind_taking(text) if text else type('Bare', (), {'__init__': lambda self, args: None}))
    said = str(raised.value)
    assert ', line 1: ' in said or 'test_build_dataset.py, line ' in said
    assert '(args, split)' in said and 'is_train, train for a bool' in said and 'split, mode, phase' in said
    assert '\n' not in said


def test_a_copied_data_set_validates_on_the_validation_list(register, lists):
    args = parse_train_args([*register(OfTorchBase), *lists])
    train, val = select_train_loader(args), select_eval_loader(args)
    assert len(train.dataset.dataset) == 3
    assert len(val.dataset.dataset) == 2
    assert [len(images) for images, _ in val] == [2]


def test_a_copied_data_set_has_its_train_list_in_tests_too(register, lists, train_here, eval_here, tmp_path):
    words = [*register(OfTorchBase), *lists, '--checkpoints_dir', tmp_path / 'runs', '--epochs', 1]
    run = train_here(*words)
    assert 'data: 3 to train on, 2 to validate' in run.stdout
    test = eval_here('--load_model_path', run.directory / 'best.pth')
    assert test.head['samples'] == '2'
    args = test_args(run.directory / 'best.pth', device='cpu')
    dataset = select_eval_loader(args).dataset.dataset
    assert (dataset.args.train_list, dataset.path) == (lists[1], lists[3])
    assert not hasattr(args, 'train_list'), 'a test has no such option'
