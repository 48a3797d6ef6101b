"""Runs that are repeated, and runs that fail, are interrupted or lack space."""

import csv
import os
import shlex
import signal

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

import train
from options import parse_train_args
from tests.program_server import Program
from tests.train.helpers import Dropping, computed, loader, notebook_trainer, samples, snapshot, weights_in
from train import Trainer
from utils.base.errors import DanluError
from utils.runs.checkpoint import load_checkpoint


def test_repeating_from_args_txt_gives_the_same_bits(digits_run, train_here, history_of):
    """Another process, another day: the same numbers."""
    run = train_here(f'@{digits_run.directory / "args.txt"}')
    assert run.directory == digits_run.directory.parent / 'lenet_exp_2'
    assert weights_in(run.directory) == weights_in(digits_run.directory)
    assert computed(history_of(run)) == computed(history_of(digits_run))


@pytest.mark.slow('two starts')
def test_repeating_with_one_change_changes_one_option(list_run, train_here):
    before = snapshot(list_run.directory)
    run = train_here(f'@{list_run.directory / "args.txt"}', '--lr', 0.01)
    assert run.directory == list_run.directory.parent / 'lenet_exp_2'
    assert snapshot(list_run.directory) == before, 'the first run was touched'
    old, new = (load_checkpoint(r.directory / 'best.pth')['args'] for r in (list_run, run))
    assert {name for name in old if old[name] != new[name]} == {'lr', 'model_dir'}
    assert new['lr'] == 0.01
    assert weights_in(run.directory) != weights_in(list_run.directory)


def test_a_broken_list_is_one_message_and_leaves_no_directory(run_program, list_data, tmp_path):
    bad = tmp_path / 'bad.txt'
    bad.write_text('nowhere.png\tant\nneither.png\tcat\n')
    runs = tmp_path / 'runs'
    done = run_program('train.py', *list_data, '--train_list', bad, '--checkpoints_dir', runs, '--device', 'cpu')
    assert done.code == 2
    assert done.stderr.startswith('train.py: error: ')
    assert f'{bad}:1' in done.stderr
    assert f'{bad}:2' in done.stderr
    assert 'Traceback' not in done.stderr
    assert done.stdout == ''
    assert list(runs.iterdir()) == []


def test_device_cuda_without_a_gpu_leaves_no_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    with pytest.raises(DanluError, match='--device cuda: no GPU is visible'):
        train.main(['--device', 'cuda', '--checkpoints_dir', str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


def test_cuda_visible_devices_is_left_as_it_is(list_data, train_here, tmp_path, monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    train_here(*list_data, '--num_workers', 0, '--epochs', 1, '--checkpoints_dir', tmp_path)
    assert os.environ['CUDA_VISIBLE_DEVICES'] == ''


class Poisoned(Trainer):
    """The loss of one step is no number."""

    poison = float('nan')

    def compute_loss(self, predictions, targets):
        loss = super().compute_loss(predictions, targets)
        self.calls = getattr(self, 'calls', 0) + self.model.training
        return loss * self.poison if self.calls == 10 else loss  # of seven steps an epoch


@pytest.mark.parametrize('print_freq', [1, 50])
@pytest.mark.parametrize('poison', [float('nan'), float('inf')])
def test_a_loss_that_is_no_number_stops_the_run(tmp_path, capsys, print_freq, poison):
    trainer = notebook_trainer(tmp_path, '--epochs', 5, '--print_freq', print_freq, kind=Poisoned)
    trainer.poison = poison
    with pytest.raises(DanluError) as caught:
        trainer.train()
    run = tmp_path / 'lenet_exp'
    message = str(caught.value)
    assert message.startswith(f'the loss of batch 3 of epoch 2 (step 10) is {poison}; samples in it: ')
    on = f"or go on without it: Trainer(train_args(resume={str(run)!r}, on_nan='skip'), model=..., train_loader=..., "
    assert f'or lower the learning rate: train_args(lr=0.0001, ...); {on}' in message
    log = (run / 'log.txt').read_text()
    assert message in log
    assert log.startswith(capsys.readouterr().out)
    state = load_checkpoint(run / 'last.pth')
    assert state['epoch'] == 1
    assert all(torch.isfinite(value).all() for value in state['model'].values())
    with open(run / 'history.csv', newline='') as file:
        assert [row['epoch'] for row in csv.DictReader(file)] == ['1']
    assert (run / 'curves.png').is_file()
    resumed = notebook_trainer(tmp_path, '--resume', run)
    assert len(resumed.train()) == 5


def test_a_loss_that_is_no_number_in_the_first_epoch_promises_no_checkpoint(tmp_path):
    trainer = notebook_trainer(tmp_path, '--lr', 1e30, '--optimizer', 'sgd', '--epochs', 2)
    with pytest.raises(DanluError, match=r'of epoch 1 .* train_args\(lr=1e\+29, ...\)$'):
        trainer.train()
    assert not (tmp_path / 'lenet_exp' / 'last.pth').exists()


def test_a_full_disk_stops_the_run_in_one_line_and_keeps_the_last_epoch(tmp_path, monkeypatch):
    trainer = notebook_trainer(tmp_path, '--epochs', 3)
    save = torch.save

    def full(state, file):
        if state['epoch'] == 2:
            file.write(b'PK')
            raise RuntimeError('file write failed')
        save(state, file)

    monkeypatch.setattr(torch, 'save', full)
    with pytest.raises(DanluError, match='file write failed; free some space, then --resume'):
        trainer.train()
    run = tmp_path / 'lenet_exp'
    assert load_checkpoint(run / 'last.pth')['epoch'] == 1
    assert not [path.name for path in run.iterdir() if 'partial' in path.name]
    assert 'file write failed' in (run / 'log.txt').read_text()


def test_a_loader_that_leaves_samples_out_is_noticed(tmp_path):
    short = DataLoader(samples(21, 1), batch_size=8, drop_last=True)
    with pytest.raises(DanluError, match='drop_last leaves 5 of 21 samples out'):
        notebook_trainer(tmp_path, val_loader=short)

    class Short:
        dataset = samples(21, 1)

        def __iter__(self):
            return iter(short)

    with pytest.raises(DanluError, match='validation saw 16 of 21 samples'):
        notebook_trainer(tmp_path, val_loader=Short()).train()


def test_empty_loaders_are_named(tmp_path):
    empty = DataLoader(samples(5, 1), batch_size=8, drop_last=True)
    with pytest.raises(DanluError, match='there is no batch to train on'):
        notebook_trainer(tmp_path, train_loader=empty).train()
    with pytest.raises(DanluError, match='there is no sample to evaluate'):
        notebook_trainer(tmp_path, val_loader=[]).train()


def test_ready_made_loaders_need_the_number_of_classes_where_nothing_tells_it(tmp_path):
    class Unknown(IterableDataset):
        def __iter__(self):
            yield from samples(5, 1)

    args = parse_train_args(['--checkpoints_dir', str(tmp_path), '--device', 'cpu'])
    with pytest.raises(DanluError, match=r'give --num_classes$'):
        Trainer(args, train_loader=Unknown(), val_loader=loader())
    Trainer(args, model=Dropping(), train_loader=Unknown(), val_loader=loader()).close()
    assert args.num_classes == 3


@pytest.mark.slow('three runs')
@pytest.mark.skipif(os.name == 'nt', reason='Ctrl-C reaches a Windows process in another way')
def test_ctrl_c_ends_the_run_and_it_goes_on_to_the_same_bits(train_here, tmp_path, history_of):
    """A real process, interrupted in the middle of an epoch."""
    words = ['--batch_size', '500', '--checkpoints_dir', str(tmp_path), '--device', 'cpu']
    process = Program(train.__file__, [*words, '--epochs', '200'])
    try:
        for line in process.stdout:
            if line.startswith('epoch 3/'):
                break
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 130
    assert stderr.strip() == 'train.py: interrupted'
    run = tmp_path / 'lenet_exp'
    state = load_checkpoint(run / 'last.pth')
    reached, batch = state['epoch'], state['loader']['batch']
    assert reached >= 3
    place = f'epoch {reached}' + (f' and batch {batch} of epoch {reached + 1}' if batch else '')
    said = f'last.pth holds {place}; to go on: python train.py --resume {shlex.quote(str(run))}'
    assert (run / 'log.txt').read_text().splitlines()[-2:] == ['stopped by KeyboardInterrupt', said]
    assert said in stdout
    resumed = train_here('--resume', run, '--epochs', reached + 1)
    whole = train_here(*words, '--epochs', reached + 1)
    assert weights_in(resumed.directory) == weights_in(whole.directory)
    assert computed(history_of(resumed)) == computed(history_of(whole))
