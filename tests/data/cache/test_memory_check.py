"""Samples that do not fit into memory are refused before any of it is taken."""

import pytest
import torch

from data.cache import memory_check
from data.tensor_dataset import with_size
from options import parse_train_args
from train import Trainer
from utils.base.errors import DanluError

GIB = 2**30


@pytest.fixture
def limited(monkeypatch):
    """Let the machine have 4 GiB, and torch make no tensor of more than 64 MB."""
    monkeypatch.setattr(memory_check, 'memory', lambda: 4 * GIB)
    real = torch.empty

    def empty(*shape, **options):
        made = real(*shape, device='meta')
        assert made.numel() < 2**26
        return real(*shape, **options)

    monkeypatch.setattr(torch, 'empty', empty)


def args_of(words, folder):
    return parse_train_args([*map(str, words), '--device', 'cpu', '--checkpoints_dir', str(folder)])


def with_kind(data, kind):
    """Return the words of a data set with another --data_type."""
    words = list(data)
    words[words.index('--data_type') + 1] = kind
    return words


def test_the_pictures_of_a_set_in_memory(limited, tmp_path):
    with pytest.raises(DanluError) as caught:
        Trainer(args_of(['--image_size', 8000, '--model_type', 'mlp'], tmp_path))
    assert str(caught.value) == (
        '--image_size: 5,000 images of 8000x8000 in memory would take 320 GB, and this machine has 4.3 GB; make '
        'them smaller, or read them from files: --data_type list or folder'
    )
    assert with_size(torch.zeros(2, 1, 3, 3, dtype=torch.uint8), (4, 5)).shape == (2, 1, 4, 5)


@pytest.mark.parametrize('words', [['--image_size', 15_000], ['--image_size', 65536]])
def test_the_pictures_of_a_mem_list(words, limited, list_data, mask_data, tmp_path):
    for data in (list_data, mask_data):
        with pytest.raises(DanluError, match='--image_size'):
            Trainer(args_of([*with_kind(data, 'mem_list'), *words], tmp_path))


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--image_size', 65536], 'a batch of 1 sample with its outputs would take 64.4 GB or more'),
        (['--image_size', 10_000], 'a batch of 8 samples with its outputs would take 12.0 GB or more'),
        (['--batch_size', 10**12, '--image_size', 6000], 'a batch of 26 samples with its outputs would take'),
    ],
)
def test_a_batch_of_pictures(words, said, limited, list_data, tmp_path):
    with pytest.raises(DanluError) as caught:
        Trainer(args_of([*list_data, *words, '--model_type', 'mlp'], tmp_path))
    assert said in str(caught.value)
    assert '--image_size' in str(caught.value)
    assert '--batch_size' in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('words', [['--num_classes', 10**6], ['--image_size', 30_000]])
def test_the_outputs_for_each_pixel(words, limited, mask_data, tmp_path):
    with pytest.raises(DanluError, match=r'a batch of \d samples? with its outputs would take .* has 4.3 GB'):
        Trainer(args_of([*mask_data, *words], tmp_path))


def test_a_batch_that_is_larger_than_its_data_set_is_that_of_all_samples(limited, tmp_path):
    trainer = Trainer(args_of(['--batch_size', 10**12, '--model_type', 'mlp'], tmp_path))
    assert len(trainer.train_loader) == 1
    trainer.close()


def test_too_many_worker_processes(list_data, tmp_path, monkeypatch):
    monkeypatch.setattr('utils.base.machine.cpu_cores', lambda: 2)
    with pytest.raises(DanluError, match=r'^--num_workers 1000: at most 128 on this machine'):
        Trainer(args_of([*list_data, '--num_workers', 1000], tmp_path))
