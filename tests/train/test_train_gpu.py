"""Training on GPUs."""

import csv
import itertools
import re

import pytest
import torch
from torch import nn

import train
from options import parse_train_args
from train import Trainer
from utils.base.machine import select_gpus
from utils.runs.checkpoint import load_checkpoint


class Unwatched:
    """Twenty passes; from the second to the last batch torch makes every wait for the GPU an error."""

    def __init__(self, loader):
        self.loader = loader

    def __iter__(self):
        last = 20 * len(self.loader) - 1
        try:
            for number, batch in enumerate(itertools.chain.from_iterable(itertools.repeat(self.loader, 20))):
                if number == 1:
                    torch.cuda.set_sync_debug_mode('error')
                if number == last:
                    torch.cuda.set_sync_debug_mode('default')
                yield batch
        finally:
            torch.cuda.set_sync_debug_mode('default')


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU, and none is visible')
@pytest.mark.parametrize('kind', ['list_data', 'mask_data'])
@pytest.mark.parametrize('augment', ['none', 'standard', 'strong', 'none --ema 0.99', 'none --optimizer sgd'])
def test_no_step_waits_for_the_gpu(kind, augment, request, tmp_path):
    words = [
        *request.getfixturevalue(kind),
        '--data_type',
        'mem_list',
        '--augment',
        *augment.split(),
        '--device',
        'cuda',
    ]
    words += ['--num_workers', '0', '--print_freq', '100000', '--checkpoints_dir', str(tmp_path)]
    trainer = Trainer(parse_train_args(words))
    trainer.train_loader, trainer.val_loader = Unwatched(trainer.train_loader), Unwatched(trainer.val_loader)
    trainer.train_per_epoch(1)
    trainer.val_per_epoch(1)
    trainer.logger.close()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU, and none is visible')
def test_a_gpu_trains_and_the_cpu_tests_what_it_left(train_here, eval_here, tmp_path, history_of, capsys):
    torch.cuda.reset_peak_memory_stats()
    train.main(['--device', 'cuda', '--epochs', '2', '--gpus', '0', '--checkpoints_dir', str(tmp_path)])
    assert f'GPU 0 ({torch.cuda.get_device_name(0)})' in capsys.readouterr().out
    assert torch.cuda.max_memory_allocated() > 1e6, 'it trained elsewhere'
    run = tmp_path / 'lenet_exp'
    assert {value.device.type for value in load_checkpoint(run / 'last.pth')['model'].values()} == {'cpu'}
    with open(run / 'history.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    best = max(rows, key=lambda row: float(row['val/acc']))
    assert float(best['val/acc']) > 0.85
    test = eval_here('--load_model_path', run / 'best.pth')
    assert 'device: CPU' in test.stdout
    assert float(test.values['acc']) == pytest.approx(float(best['val/acc']), abs=0.01)
    # And a run of the GPU goes on there, to its own end.
    train.main(['--resume', str(run), '--device', 'cuda', '--epochs', '3'])
    assert load_checkpoint(run / 'last.pth')['epoch'] == 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU, and none is visible')
def test_a_gpu_tests_to_the_digit_what_it_validated(mask_data, tmp_path):
    import eval as eval_py

    train.main([*mask_data, '--device', 'cuda', '--epochs', '1', '--checkpoints_dir', str(tmp_path)])
    run = tmp_path / 'unet_exp'
    eval_py.main(['--load_model_path', str(run / 'best.pth'), '--device', 'cuda'])
    text = (run / 'best' / 'val_val_exp' / 'result.txt').read_text()
    metrics = load_checkpoint(run / 'best.pth')['metrics']
    for name in ('loss', 'miou', 'pixel_acc'):
        tested = float(re.search(rf'^{name}: (.*)$', text, re.MULTILINE)[1])
        # Without --deterministic a GPU may add in another order.
        assert tested == pytest.approx(metrics[f'val/{name}'], rel=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason='needs two GPUs, and fewer are visible')
def test_two_gpus_share_the_batch(tmp_path, capsys):
    args = parse_train_args(['--gpus', '0', '1', '--epochs', '1', '--checkpoints_dir', str(tmp_path)])
    assert select_gpus(args)[1] == [0, 1]
    trainer = Trainer(args)
    assert isinstance(trainer.model, nn.DataParallel)
    (row,) = trainer.train()
    printed = capsys.readouterr().out
    assert all(f'{gpu} ({torch.cuda.get_device_name(gpu)})' in printed for gpu in (0, 1))
    assert row['val/acc'] > 0.7
    assert not [name for name in load_checkpoint(tmp_path / 'lenet_exp' / 'best.pth')['model'] if 'module' in name]
