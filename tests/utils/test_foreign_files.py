"""Files that are given as checkpoints and are something else, or hold weights that cannot be right."""

import gzip
import json
import tarfile

import pytest
import torch
from torch import nn

from utils.checkpoint import load_checkpoint, load_weights
from utils.errors import DanluError

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
