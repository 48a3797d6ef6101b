"""Mixed precision, channels_last and torch.compile."""

import os
import re

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from options import parse_train_args
from tests.train.helpers import Watching, computed, notebook_trainer, samples, weights_in
from utils.base.errors import DanluError
from utils.logger import Logger
from utils.runs.checkpoint import load_checkpoint


@pytest.mark.slow_after(1, 'three runs each')
@pytest.mark.parametrize('schedule', ['cosine', 'step', 'plateau'])
def test_resuming_goes_on_with_the_learning_rate(schedule, list_data, train_here, tmp_path, history_of, monkeypatch):
    words = [*list_data, '--num_workers', 0, '--schedule', schedule, '--warmup_epochs', 0.5, '--epochs', 3]
    words += {'step': ['--lr_steps', 1.5], 'plateau': ['--plateau_patience', 0, '--lr', 1e-9], 'cosine': []}[schedule]
    words += ['--checkpoints_dir', tmp_path]
    whole = train_here(*words)
    rates = [float(row['lr']) for row in history_of(whole)]
    assert len(set(rates)) > 1, 'the learning rate never changed'
    save = Logger.save_check_points

    def die(self, states):
        save(self, states)
        raise KeyboardInterrupt

    monkeypatch.setattr(Logger, 'save_check_points', die)
    with pytest.raises(KeyboardInterrupt):
        train_here(*words)
    monkeypatch.undo()
    run = train_here('--resume', tmp_path / 'lenet_exp_2')
    assert weights_in(run.directory) == weights_in(whole.directory)
    assert computed(history_of(run)) == computed(history_of(whole))


def test_a_schedule_that_ends_with_the_run_cannot_be_prolonged(list_data, train_here, tmp_path, capsys):
    words = [*list_data, '--num_workers', 0, '--schedule', 'cosine', '--epochs', 1, '--checkpoints_dir', tmp_path]
    run = train_here(*words)
    with pytest.raises(SystemExit):
        train_here('--resume', run.directory, '--epochs', 2)
    message = capsys.readouterr().err
    assert (
        'argument --epochs: --schedule cosine ends with the run, after 1; for a longer one: python train.py @'
        in message
    )


def test_what_fast_finds_is_recorded_and_repeated(list_data, train_here, eval_here, tmp_path, monkeypatch, history_of):
    monkeypatch.setattr('utils.training.precision.MIN_SPEEDUP', 0)  # everything is as fast as it wants
    words = ['--epochs', 2, '--num_workers', 0, '--augment', 'flip', '--checkpoints_dir', tmp_path]
    run = train_here(*list_data, *words, '--fast')
    assert re.search(
        r'^fast on this device: channels_last on \(.*, amp bf16 on \(.* times as fast\)$', run.stdout, re.M
    )
    record = (run.directory / 'args.txt').read_text().splitlines()
    assert {'--amp=bf16  # default: not set', '--channels_last  # default: not set', '# --fast'} <= set(record)
    again = train_here(f'@{run.directory / "args.txt"}')
    assert 'fast on this device' not in again.stdout
    assert weights_in(again.directory) == weights_in(run.directory)
    plain = train_here(*list_data, *words)
    assert weights_in(plain.directory) != weights_in(run.directory)
    test = eval_here('--load_model_path', run.directory / 'best.pth')
    best = max(history_of(run), key=lambda row: float(row['val/acc']))
    assert float(test.values['loss']) == float(best['val/loss'])


def test_fast_on_an_empty_loader_says_so(tmp_path):
    empty = DataLoader(samples(5, 1), batch_size=8, drop_last=True)
    with pytest.raises(DanluError, match='there is no batch to train on: the loader is empty'):
        notebook_trainer(tmp_path, '--fast', train_loader=empty)


def test_fast_leaves_alone_what_was_given(list_data, train_here, tmp_path, monkeypatch):
    monkeypatch.setattr('utils.training.precision.MIN_SPEEDUP', 0)
    words = ['--epochs', 1, '--num_workers', 0, '--fast', '--amp', 'off', '--checkpoints_dir', tmp_path]
    run = train_here(*list_data, *words)
    assert '--amp=off' in (run.directory / 'args.txt').read_text()
    assert 'amp' not in re.search('^fast on this device: .*', run.stdout, re.M)[0]


@pytest.mark.parametrize(
    'words',
    [
        ['--amp', 'bf16'],
        pytest.param(['--amp', 'fp16'], marks=pytest.mark.slow('fp16 is slow on a CPU')),
        pytest.param(['--channels_last'], marks=pytest.mark.slow('two runs')),
    ],
    ids=' '.join,
)
def test_resuming_with_other_arithmetic_ends_with_the_same_bits(words, mask_data, train_here, tmp_path):
    words = [*mask_data, *words, '--augment', 'flip', '--checkpoints_dir', tmp_path]
    whole = train_here(*words, '--epochs', 2)
    run = train_here(*words, '--epochs', 1)
    assert (load_checkpoint(run.directory / 'last.pth')['scaler'] != {}) == ('fp16' in words)
    train_here('--resume', run.directory, '--epochs', 2)
    assert weights_in(run.directory) == weights_in(whole.directory)


def test_a_gradient_that_overflows_is_skipped_and_the_scale_lowered(tmp_path):
    """float16 ends at 65504: the scaler begins with 65536 and halves until the gradients fit."""

    class Steep(nn.Module):
        def forward(self, predictions, targets):
            return 100 * nn.functional.cross_entropy(predictions, targets)

    trainer = notebook_trainer(tmp_path, '--amp', 'fp16', '--epochs', 4, '--lr', 0.01, loss=Steep())
    history = trainer.train()
    scaler = load_checkpoint(os.path.join(trainer.args.model_dir, 'last.pth'))['scaler']
    assert scaler['scale'] < 65536
    assert all(torch.isfinite(p).all() for p in trainer.net.parameters())
    assert history[-1]['train/loss'] < history[0]['train/loss']


def test_channels_last_reaches_network_and_pictures(list_data, tmp_path):
    words = [*list_data, '--num_workers', '0', '--channels_last', '--device', 'cpu', '--checkpoints_dir', str(tmp_path)]
    trainer = Watching(parse_train_args([*words, '--epochs', '1']))
    trainer.train()
    assert all(images.is_contiguous(memory_format=torch.channels_last) for _, images, _ in trainer.seen)
    weights = [p for p in trainer.net.parameters() if p.dim() == 4]
    assert weights
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)


@pytest.mark.slow("imports torch's compiler")
def test_compile_without_a_compiler_says_so(run_program, tmp_path):
    words = ['--compile', '--epochs', 1, '--device', 'cpu', '--checkpoints_dir', tmp_path]
    done = run_program('train.py', *words, CXX='/no/such/compiler', TORCHINDUCTOR_CACHE_DIR=tmp_path / 'cache')
    assert done.code == 2
    assert re.fullmatch(
        r'train\.py: error: --compile: this network cannot be compiled here: .+; leave it out', done.stderr.strip()
    )
    assert not (tmp_path / 'lenet_exp').exists()
