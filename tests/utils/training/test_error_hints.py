"""Memory that gives out and workers that are killed: really so, and told with what to do."""

import os
import signal

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from options import train_args
from train import Trainer, main
from utils.base.errors import DanluError
from utils.training.error_hints import machine_error_hint


class Greedy(nn.Module):
    """Asks for more memory than any machine has."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(12, 2)

    def forward(self, images):
        return self.layer(images.flatten(1)) + torch.empty(2**50).sum()


class Pictures(Dataset):
    """Eight pictures; the worker that makes the fifth is killed by `signal_number`."""

    def __init__(self, signal_number=None):
        self.signal_number = signal_number

    def __len__(self):
        return 8

    def __getitem__(self, index):
        if index == 4 and self.signal_number is not None:
            os.kill(os.getpid(), self.signal_number)
        return torch.rand(3, 2, 2), index % 2


def train(folder, model, train_set, workers=0):
    args = train_args(num_classes=2, checkpoints_dir=folder, device='cpu', batch_size=4, num_workers=workers)
    loader, plain = DataLoader(train_set, batch_size=2, num_workers=workers), DataLoader(Pictures(), batch_size=2)
    Trainer(args, model=model, train_loader=loader, val_loader=plain).train()


def test_too_little_memory_says_what_to_lower(tmp_path):
    said = r'^there is too little memory for --batch_size 4 \(\d+ bytes requested\): give --batch_size 2, and '
    said += r'--accumulate 2 keeps the step as it is; a smaller --image_size or --amp bf16 help too$'
    with pytest.raises(DanluError, match=said):
        train(tmp_path, Greedy(), Pictures())
    assert 'stopped by RuntimeError' in (tmp_path / 'lenet_exp' / 'log.txt').read_text()


@pytest.mark.skipif(os.name == 'nt', reason='there are no such signals')
def test_a_killed_worker_is_reported_with_its_cause(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    # The other words where the loader notices that it cannot talk to the worker before torch knows why.
    said = '(was ended by the signal Killed|exited without an error message), .* give fewer than --num_workers 1, or'
    with pytest.raises(DanluError, match=said):
        train(tmp_path, model, Pictures(signal.SIGKILL), workers=1)


def test_a_gpu_without_memory_is_told_apart():
    error = torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of ...')
    assert machine_error_hint(error, train_args(batch_size=65)) == (
        'the GPU has too little memory for --batch_size 65 (2.00 GiB requested): give --batch_size 32, and '
        '--accumulate 2 keeps the step as it is; a smaller --image_size or --amp bf16 help too'
    )


def test_unused_parameters_are_reported_under_torchrun():
    error = RuntimeError('Expected to have finished reduction in the prior iteration before starting a new one. ...')
    assert '--freeze them' in machine_error_hint(error, train_args())


def test_other_errors_are_unchanged():
    for error in (RuntimeError('a bug'), ValueError('DataLoader worker'), KeyboardInterrupt()):
        assert machine_error_hint(error, train_args()) is None


@pytest.mark.parametrize('way', ['train', 'find_lr'])
def test_invalid_model_args_of_a_library_are_reported_at_the_first_batch(way, tmp_path):
    """Its constructor took the argument as it is."""
    words = ['--channels', '3', '--image_size', '32', '--device', 'cpu']
    words += ['--model_type', 'torchvision:densenet121', '--model_args', 'drop_rate=2']
    words += ['--batch_size', '2', '--checkpoints_dir', str(tmp_path)]
    with pytest.raises(DanluError) as caught:
        main([*words, *([] if way == 'train' else [f'--{way}'])])
    assert str(caught.value) == (
        "--model_args drop_rate=2: model 'torchvision:densenet121' is built so, but fails on a batch (ValueError: "
        'dropout probability has to be between 0 and 1, but got 2.0)'
    )


def test_a_network_of_ones_own_keeps_its_traceback():
    args = train_args(model_args=['width=3'])
    with pytest.raises(ZeroDivisionError) as caught:
        Divides()(torch.zeros(1))
    assert machine_error_hint(caught.value, args) is None
    args.model_type = 'timm:resnet18'
    assert machine_error_hint(caught.value, args).startswith(
        "--model_args width=3: model 'timm:resnet18' is built so, but fails"
    )
    assert machine_error_hint(ZeroDivisionError('elsewhere'), args) is None


class Divides(nn.Module):
    def forward(self, images):
        return images / (1 // (len(images) - 1))


def test_an_operation_that_apple_gpus_lack_is_named_with_the_way_out():
    error = NotImplementedError(
        "The operator 'aten::x' is not currently implemented for the MPS device. If you want\nthis operator"
    )
    hint = machine_error_hint(error, train_args(device='cpu'))
    assert hint.startswith("--device mps: The operator 'aten::x' is not currently implemented for the MPS device. If")
    assert 'PYTORCH_ENABLE_MPS_FALLBACK=1' in hint
    assert machine_error_hint(NotImplementedError('of my own'), train_args(device='cpu')) is None
