"""load_match_dict, as programs of torch_base call it."""

import pytest
import torch
from torch import nn

from utils.base.errors import DanluError
from utils.torch_utils import load_match_dict


def network(classes):
    """Return a network of two layers whose last one has as many outputs as there are classes."""
    return nn.Sequential(nn.Linear(4, 3), nn.Linear(3, classes))


@pytest.mark.parametrize('wrapped', [False, True])
def test_matching_weights_are_loaded_and_the_others_are_printed(tmp_path, capsys, wrapped):
    source, model = network(2), network(5)
    path, last = tmp_path / '00_000000.pth', model[1].weight.clone()
    torch.save((nn.DataParallel(source) if wrapped else source).state_dict(), path)
    lines = load_match_dict(nn.DataParallel(model) if wrapped else model, str(path))
    assert torch.equal(model[0].weight, source[0].weight) and torch.equal(model[0].bias, source[0].bias)
    assert torch.equal(model[1].weight, last)
    assert lines[0].startswith(f'weights: 2 of 4 loaded from {path}')
    assert lines[1:] == ['  2 of another shape: 1.weight (2, 3) instead of (5, 3), 1.bias (2,) instead of (5,)']
    assert capsys.readouterr().out.splitlines() == lines


def test_the_weights_of_a_run_are_found_in_its_checkpoint(tmp_path):
    source, model = network(2), network(2)
    torch.save({'format': 1, 'model': source.state_dict(), 'epoch': 3}, tmp_path / 'best.pth')
    load_match_dict(model, tmp_path / 'best.pth')
    assert torch.equal(model[1].weight, source[1].weight)


def test_a_file_without_matching_weights_is_refused(tmp_path):
    torch.save(nn.Conv2d(1, 1, 1).state_dict(), tmp_path / 'other.pth')
    with pytest.raises(DanluError, match='none of its 2 weights fits Sequential'):
        load_match_dict(network(2), tmp_path / 'other.pth')
