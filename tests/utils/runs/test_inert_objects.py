"""Weights beside objects of classes: read as tensors, while nothing that the file names is imported or called."""

import argparse
import collections
import datetime
import enum
import os
import pathlib
import pickle
import subprocess
import sys
import types
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from utils.base.errors import DanluError
from utils.runs.checkpoint import load_checkpoint, load_selected_weights
from utils.runs.inert_objects import MAX_NAMES, load_without_classes

STATE = {'weight': torch.tensor([[1.0, 2.0]]), 'bias': torch.tensor([3.0])}
OPTIONS = argparse.Namespace(load_model_path='x.pth', load_key=None, load_not_strict=False, load_prefix=None)


class Colour(enum.Enum):
    RED = 1


class Options(dict):
    """As lightning's AttributeDict and mmengine's ConfigDict: items and attributes."""


def with_attribute():
    options = Options(lr=0.1)
    options.frozen = True
    return options


BESIDE = {
    'options': argparse.Namespace(lr=0.1, device=torch.device('cpu'), path=pathlib.Path('a/b')),
    'a defaultdict': collections.defaultdict(list, {'loss': [1.0]}),
    'a kind of dict': with_attribute(),
    'kinds of dict within each other': Options(inner=collections.defaultdict(dict, {'x': Options(y=1)})),
    'a deque': collections.deque([1, 2], maxlen=3),
    'an enum': Colour.RED,
    'a date': datetime.datetime(2026, 11, 29, tzinfo=datetime.UTC),
    'a span of time': datetime.timedelta(seconds=3),
    'numbers of numpy': {'best': np.float64(0.5), 'step': np.int64(3)},
    'an array': np.arange(3.0),
    'a path of Windows': pathlib.PureWindowsPath('a'),
    'the version of torch': torch.__version__,
    'a random generator': np.random.RandomState(0),
    'a range and a function': [range(3), len],
    'a class': Colour,
}


def save(path, content, old_style=False):
    torch.save(content, path, _use_new_zipfile_serialization=not old_style)
    return path


@pytest.mark.parametrize('kind', BESIDE)
@pytest.mark.parametrize('old_style', [False, True])
def test_weights_are_read_whatever_lies_beside_them(tmp_path, kind, old_style):
    path = save(tmp_path / 'x.pth', {'model': STATE, 'args': BESIDE[kind], 'epoch': 3}, old_style)
    loaded = load_checkpoint(path)
    assert loaded['model'].keys() == STATE.keys()
    assert all(torch.equal(loaded['model'][name], value) for name, value in STATE.items())


def test_what_was_not_read_is_named_in_the_log(tmp_path):
    path = save(tmp_path / 'x.pth', {'model': STATE, 'args': argparse.Namespace(best=np.float64(1))})
    line, *_ = load_selected_weights(nn.Linear(2, 1), load_checkpoint(path), OPTIONS)
    assert line.startswith('weights: 2 of 2 loaded from x.pth')
    assert 'skipped objects: argparse.Namespace, numpy' in line
    assert (
        'objects'
        not in load_selected_weights(nn.Linear(2, 1), load_checkpoint(save(path, {'model': STATE})), OPTIONS)[0]
    )


@pytest.mark.parametrize('args', [[1], 'text', 7, {3: 4}, {'batch_size': 'big'}, torch.zeros(2), None])
def test_args_of_other_programs_may_be_anything(tmp_path, args):
    from options import test_args as make_args

    save(tmp_path / 'x.pth', {'model': STATE, 'args': args})
    assert make_args(tmp_path / 'x.pth', model_type='mlp', num_classes=3).num_classes == 3


# --- nothing is run


class Payload:
    """Runs something when it is unpickled, by one of the ways that pickle has."""

    def __init__(self, made):
        self.made = made

    def __reduce__(self):
        return self.made


def payloads(mark):
    """Return objects (dict) that make the file `mark` when they are unpickled."""
    code = f'open({str(mark)!r}, "w").close()'
    return {
        'os.system': Payload((os.system, (f'touch {mark}',))),
        'os.mkdir': Payload((os.mkdir, (str(mark),))),
        'eval': Payload((eval, (code,))),
        'exec': Payload((exec, (code,))),
        'open': Payload((open, (str(mark), 'w'))),
        'getattr': Payload((getattr, (argparse.Namespace, 'mro'))),
        'subprocess': Payload((subprocess.check_output, (['touch', str(mark)],))),
        'a path': Payload((pathlib.Path.touch, (pathlib.Path(mark),))),
        'torch.hub': Payload((torch.hub.download_url_to_file, (pathlib.Path(__file__).as_uri(), str(mark)))),
        'torch.save': Payload((torch.save, ({}, str(mark)))),
        'numpy': Payload((np.save, (str(mark), 3))),
        'a state': Payload((argparse.Namespace, (), {'__class__': len, 'x': Payload((eval, (code,)))})),
        'items': Payload((list, (), None, iter([Payload((eval, (code,)))]))),
    }


@pytest.mark.parametrize('kind', payloads('x'))
@pytest.mark.parametrize('old_style', [False, True])
def test_nothing_in_a_file_is_run(tmp_path, kind, old_style):
    path = save(tmp_path / 'x.pth', {'model': STATE, 'args': payloads(tmp_path / 'made')[kind]}, old_style)
    try:
        loaded = load_checkpoint(path)
    except DanluError as error:
        assert '\n' not in str(error)
    else:
        assert list(loaded) == ['model']
    assert os.listdir(tmp_path) == ['x.pth']


def test_classes_are_neither_imported_nor_given_a_state(tmp_path, monkeypatch):
    module, asked = types.ModuleType('stranger'), []
    module.Thing = type('Thing', (), {'__module__': 'stranger', '__setstate__': lambda self, state: asked.append(1)})
    monkeypatch.setitem(sys.modules, 'stranger', module)
    thing = module.Thing()
    thing.x = 1
    path = save(tmp_path / 'x.pth', {'model': STATE, 'args': thing})
    assert list(load_checkpoint(path)) == ['model']
    assert asked == []
    monkeypatch.delitem(sys.modules, 'stranger')
    assert list(load_checkpoint(path)) == ['model']
    assert 'stranger' not in sys.modules


def test_no_class_stays_allowed(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    path = save(tmp_path / 'x.pth', {'model': STATE, 'args': argparse.Namespace()})
    load_checkpoint(path)
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


def test_whole_models_still_need_trust(tmp_path):
    for content in (nn.Linear(2, 1), {'model': nn.Linear(2, 1), 'ema': STATE}):
        with pytest.raises(
            DanluError, match=r'it holds objects of torch\.nn\.modules\.linear\.Linear.*trust_checkpoint'
        ):
            load_checkpoint(save(tmp_path / 'x.pth', content))


def test_very_many_names_are_refused(tmp_path):
    path = tmp_path / 'x.pth'
    pickled = b'\x80\x02(' + b''.join(b'cmodule\nname%d\n' % n for n in range(MAX_NAMES + 1)) + b'l.'
    save(path, {})
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in entries.items():
            archive.writestr(name, pickled if name.endswith('/data.pkl') else data)
    with pytest.raises(pickle.UnpicklingError, match='more than 2,000 classes'):
        load_without_classes(path)
    with pytest.raises(DanluError, match='not a checkpoint of tensors'):
        load_checkpoint(path)
