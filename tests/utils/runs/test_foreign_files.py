"""Files that are given as checkpoints and are something else, or hold weights that cannot be right."""

import gzip
import json
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from utils.base.errors import DanluError
from utils.runs.checkpoint import load_checkpoint, load_weights
from utils.runs.foreign_files import describe_foreign_file

STATE = {'weight': torch.tensor([[1.0, 2.0]]), 'bias': torch.tensor([3.0])}


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'<!DOCTYPE html>\n<html></html>', 'a web page .* download the file again'),
        (b'\n<?xml version="1.0"?><Error/>', 'a web page .* download the file again'),
        (json.dumps({'message': 'Not Found'}).encode(), 'JSON text'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n', 'git lfs pull'),
        (b'\x89HDF\r\n\x1a\n' + bytes(99), 'HDF5'),
        (gzip.compress(b'weights', mtime=0), 'gunzip'),
        (b'\x93NUMPY\x01\x00', 'NumPy'),
        ((2).to_bytes(8, 'little') + b'{"a":1}', 'a safetensors file'),
        (b'\x08\x07\x12\x07pytorch\x1a\x052.1.0', 'an ONNX model'),
        (b'\x1c\x00\x00\x00TFL3' + bytes(99), 'TensorFlow'),
        (b'GGUF\x03\x00\x00\x00', 'GGUF'),
        (pickle.dumps(np.arange(3)), 'a pickle file that torch.save did not write'),
        (pickle.dumps(np.arange(3), protocol=2), 'a pickle file that torch.save did not write'),
        (pickle.dumps({'w': [1.0]}), 'a pickle file that torch.save did not write'),
    ],
)
def test_other_files_are_refused_by_what_they_are(tmp_path, content, message):
    """None of them is proposed for --trust_checkpoint, which would run the code in a file."""
    path = tmp_path / 'weights.pth'
    path.write_bytes(content)
    with pytest.raises(DanluError, match=message) as caught:
        load_checkpoint(path)
    assert 'trust' not in str(caught.value)
    assert '\n' not in str(caught.value)


def test_archives_of_torchscript_and_tar_are_refused(tmp_path):
    torch.jit.save(torch.jit.trace(nn.Linear(2, 1), torch.zeros(1, 2)), tmp_path / 'script.pt')
    with pytest.raises(DanluError, match='TorchScript'):
        load_checkpoint(tmp_path / 'script.pt')
    with tarfile.open(tmp_path / 'weights.tar', 'w') as archive:
        archive.add(tmp_path / 'script.pt', 'script.pt')
    with pytest.raises(DanluError, match='unpack it'):
        load_checkpoint(tmp_path / 'weights.tar')


def zipped(path, *names):
    with zipfile.ZipFile(path, 'w') as archive:
        for name in names:
            archive.writestr(name, 'x')
    return path


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        (
            ['run/args.txt', 'run/best.pth', 'run/a.txt', 'run/b.txt'],
            r'with run/args.txt, run/best.pth, .* and 1 more\)',
        ),
        (['a.npy', 'b.npy'], 'array file of NumPy'),
        (['config.json', 'model.weights.h5'], 'Keras'),
        ([], 'with nothing'),
    ],
)
def test_other_zip_files_are_refused_by_what_is_in_them(tmp_path, names, message):
    with pytest.raises(DanluError, match=message):
        load_checkpoint(zipped(tmp_path / 'x.pth', *names))


def test_a_safetensors_file_without_the_package_names_the_package(tmp_path, monkeypatch):
    (tmp_path / 'x.safetensors').write_bytes((2).to_bytes(8, 'little') + b'{}')
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(DanluError, match='pip install safetensors'):
        load_checkpoint(tmp_path / 'x.safetensors')


def test_a_name_does_not_make_a_safetensors_file(tmp_path):
    torch.save(STATE, tmp_path / 'x.safetensors')
    with pytest.raises(DanluError, match='not a safetensors file, despite'):
        load_checkpoint(tmp_path / 'x.safetensors')


@pytest.mark.parametrize('options', [{}, {'_use_new_zipfile_serialization': False}, {'pickle_protocol': 4}])
def test_files_of_torch_save_are_not_taken_for_others(tmp_path, options):
    torch.save(STATE, tmp_path / 'x.pth', **options)
    assert describe_foreign_file(tmp_path / 'x.pth') is None


def test_a_damaged_safetensors_file_is_refused(tmp_path):
    save_file = pytest.importorskip('safetensors.torch').save_file
    path = tmp_path / 'weights.safetensors'
    save_file(STATE, path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DanluError, match='damaged'):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda value: (value * 10).to(torch.int8), r'integers \(int8\)'),
        (lambda value: value * float('nan'), 'not finite'),
        (lambda value: value / 0, 'not finite'),
    ],
)
def test_weights_that_cannot_be_right_are_refused(change, message):
    with pytest.raises(DanluError, match=f'old.pth holds .*{message}.*: weight, bias'):
        load_weights(nn.Linear(2, 1), {name: change(value) for name, value in STATE.items()}, 'old.pth')
