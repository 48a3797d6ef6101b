"""Resumed runs end with the same bits, values and files as runs that were not interrupted."""

import shutil

import numpy as np
import pytest
import torch

import train
from options import parse_train_args
from tests.train.helpers import bits, check_events, computed, loader, log_of, notebook_trainer, snapshot, weights_in
from train import Trainer
from utils.base.errors import DanluError
from utils.logger import Logger
from utils.runs.checkpoint import load_checkpoint


@pytest.fixture(scope='module')
def resumed_digits(run_program, train_here, tmp_path_factory):
    """Return a run of `digits_run`'s options, one epoch in this process, then to the second in another."""
    folder = tmp_path_factory.mktemp('resumed_digits')
    run = train_here('--epochs', 1, '--batch_size', 192, '--save_freq', 2, '--checkpoints_dir', folder)
    done = run_program('train.py', '--resume', run.directory, '--epochs', 2)
    assert done.code == 0, done.stderr
    run.stdout, run.first_stdout = done.stdout, run.stdout
    return run


def test_a_resumed_run_ends_with_the_same_bits(digits_run, resumed_digits, history_of):
    whole, resumed = (load_checkpoint(run.directory / 'last.pth') for run in (digits_run, resumed_digits))
    for part in ('model', 'optimizer', 'rng', 'best', 'epoch', 'step'):
        assert bits(resumed[part]) == bits(whole[part]), part
    assert computed(history_of(resumed_digits)) == computed(history_of(digits_run))


def test_a_resumed_run_stays_in_its_directory_and_doubles_nothing(resumed_digits, history_of, events_of):
    folder = resumed_digits.directory
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    check_events(resumed_digits, history_of, events_of)
    assert (folder / 'history.csv').read_text().count('epoch') == 1
    printed = [text.partition('\n\n')[0] for text in (resumed_digits.first_stdout, resumed_digits.stdout)]
    logged = [line for line in log_of(resumed_digits).splitlines() if not line.startswith('best: ')]
    assert logged == '\n'.join(printed).splitlines()
    assert (folder / 'epoch_0002.pth').is_file(), 'it goes on with its own options'


def test_a_resumed_run_says_so_and_records_it(resumed_digits):
    (said,) = [line for line in resumed_digits.stdout.splitlines() if line.startswith('resumed')]
    assert said.startswith('resumed after epoch 1; ')
    assert 'epochs 1 -> 2' in said
    recorded = (resumed_digits.directory / 'args.txt').read_text()
    assert '# resumed after epoch 1' in recorded
    assert parse_train_args([f'@{resumed_digits.directory / "args.txt"}']).epochs == 2


def test_resuming_with_workers_and_augmentation_ends_with_the_same_bits(list_run, list_data, train_here, tmp_path,
                                                                        history_of, events_of):  # fmt: skip
    words = ['--num_workers', 2, '--augment', 'strong', '--print_freq', 1, '--checkpoints_dir', tmp_path]
    run = train_here(*list_data, *words, '--epochs', 1)
    run = train_here('--resume', run.directory / 'last.pth', '--epochs', 2)
    assert weights_in(run.directory) == weights_in(list_run.directory)
    assert computed(history_of(run)) == computed(history_of(list_run))
    check_events(run, history_of, events_of)


def test_the_number_of_workers_changes_nothing(list_run, list_data, train_here, tmp_path, history_of):
    words = ['--epochs', 2, '--num_workers', 0, '--augment', 'strong', '--checkpoints_dir', tmp_path]
    run = train_here(*list_data, *words)
    assert weights_in(run.directory) == weights_in(list_run.directory)
    assert computed(history_of(run)) == computed(history_of(list_run))


def test_augmentation_and_seed_change_the_run(list_run, list_data, train_here, tmp_path):
    """Otherwise the tests above would compare runs in which nothing is random."""
    words = ['--epochs', 2, '--num_workers', 0, '--checkpoints_dir', tmp_path]
    for changed in (['--augment', 'none'], ['--augment', 'strong', '--seed', 1]):
        run = train_here(*list_data, *words, *changed)
        assert weights_in(run.directory) != weights_in(list_run.directory)


@pytest.fixture(scope='module')
def mixed_run(list_data, train_here, tmp_path_factory):
    """Return a run on `list_data` whose batches are mixed: two epochs, no workers."""
    words = ['--epochs', 2, '--num_workers', 0, '--mixup', 0.4, '--cutmix', 1]
    return train_here(*list_data, *words, '--checkpoints_dir', tmp_path_factory.mktemp('mixed_run'))


def test_mixing_does_not_depend_on_the_number_of_workers(mixed_run, list_data, train_here, tmp_path, history_of):
    words = ['--epochs', 2, '--num_workers', 2, '--mixup', 0.4, '--cutmix', 1, '--checkpoints_dir', tmp_path]
    run = train_here(*list_data, *words)
    assert weights_in(run.directory) == weights_in(mixed_run.directory)
    assert computed(history_of(run)) == computed(history_of(mixed_run))


def test_a_resumed_run_that_mixes_ends_with_the_same_bits(mixed_run, list_data, train_here, tmp_path, history_of):
    words = ['--num_workers', 0, '--mixup', 0.4, '--cutmix', 1, '--checkpoints_dir', tmp_path]
    run = train_here(*list_data, *words, '--epochs', 1)
    run = train_here('--resume', run.directory, '--epochs', 2)
    assert weights_in(run.directory) == weights_in(mixed_run.directory)
    assert computed(history_of(run)) == computed(history_of(mixed_run))


def test_every_way_of_mixing_changes_the_run(mixed_run, list_data, train_here, tmp_path):
    """Otherwise the tests above would compare runs in which nothing is mixed."""
    seen = [weights_in(mixed_run.directory)]
    for mixing in ([], ['--mixup', 0.4], ['--cutmix', 1]):
        run = train_here(*list_data, '--epochs', 2, '--num_workers', 0, *mixing, '--checkpoints_dir', tmp_path)
        assert weights_in(run.directory) not in seen
        seen.append(weights_in(run.directory))


def test_a_run_that_was_killed_between_its_files_goes_on_without_doubles(list_data, train_here, tmp_path, monkeypatch,
                                                                         history_of, events_of):  # fmt: skip
    """It dies in epoch 2 after history and events were written, before last.pth was."""
    words = ['--num_workers', 0, '--epochs', 3, '--checkpoints_dir', tmp_path]
    whole = train_here(*list_data, *words)
    save = Logger.save_check_points

    def die(self, states):
        if states['last.pth']['epoch'] == 2:
            raise KeyboardInterrupt
        save(self, states)

    monkeypatch.setattr(Logger, 'save_check_points', die)
    with pytest.raises(KeyboardInterrupt):
        train_here(*list_data, *words)
    monkeypatch.undo()
    broken = tmp_path / 'lenet_exp_2'
    assert load_checkpoint(broken / 'last.pth')['epoch'] == 1
    assert len((broken / 'history.csv').read_text().splitlines()) == 3, 'two epochs and a header'
    assert 'stopped by KeyboardInterrupt' in (broken / 'log.txt').read_text()
    run = train_here('--resume', broken)
    assert run.directory == broken
    assert weights_in(broken) == weights_in(whole.directory)
    assert computed(history_of(run)) == computed(history_of(whole))
    check_events(run, history_of, events_of)


def test_going_back_to_an_earlier_epoch_gives_the_same_run(list_data, train_here, tmp_path, history_of, events_of):
    """And only where no later epochs would be lost by it."""
    words = ['--num_workers', 0, '--epochs', 3, '--save_freq', 1, '--checkpoints_dir', tmp_path]
    run = train_here(*list_data, *words)
    weights, rows = weights_in(run.directory), history_of(run)
    before = {path: path.read_bytes() for path in run.directory.rglob('*') if path.is_file()}
    with pytest.raises(DanluError, match=r'would write over the epochs after it; .*args\.txt --load_model_path .*0001'):
        train_here('--resume', run.directory / 'epoch_0001.pth', '--epochs', 4)
    assert {path: path.read_bytes() for path in run.directory.rglob('*') if path.is_file()} == before
    (run.directory / 'epoch_0001.pth').replace(run.directory / 'last.pth')
    run = train_here('--resume', run.directory)
    assert 'resumed after epoch 1' in run.stdout
    assert weights_in(run.directory) == weights
    assert computed(history_of(run)) == computed(rows)
    check_events(run, history_of, events_of)


def test_dropout_goes_on_where_it_stood(tmp_path):
    whole = notebook_trainer(tmp_path, '--epochs', 3)
    history = whole.train()
    first = notebook_trainer(tmp_path, '--epochs', 2)
    first.train()
    torch.rand(1000)  # the process that goes on is another one
    np.random.rand(10)
    second = notebook_trainer(tmp_path, '--resume', first.args.model_dir, '--epochs', 3)
    resumed = second.train()
    assert bits(second.net.state_dict()) == bits(whole.net.state_dict())
    assert computed(resumed) == computed(history)


def test_validation_does_not_change_the_training(tmp_path):
    """Neither its random numbers, nor its images in the running means."""
    nets = []
    for count, batch_size in ((21, 8), (60, 7)):
        trainer = notebook_trainer(tmp_path, '--epochs', 3, val_loader=loader(count, count, batch_size))
        trainer.train()
        nets.append(bits(trainer.net.state_dict()))
    assert nets[0] == nets[1]


@pytest.mark.parametrize('workers', [0, 2])
def test_the_data_draws_nothing_from_the_models_generator(workers, list_data, tmp_path):
    words = [*list_data, '--augment', 'strong', '--num_workers', str(workers), '--device', 'cpu']
    trainer = Trainer(parse_train_args([*words, '--checkpoints_dir', str(tmp_path)]))  # LeNet draws nothing itself
    before = torch.get_rng_state()
    for epoch in (1, 2):
        trainer.train_per_epoch(epoch)
        trainer.val_per_epoch(epoch)
    trainer.logger.close()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_finished_run_says_how_to_go_on(digits_run, tmp_path):
    before = snapshot(digits_run.directory)
    with pytest.raises(DanluError, match=r'is finished, at epoch 2 of 2; to train longer, add --epochs 4'):
        train.main(['--resume', str(digits_run.directory)])
    assert snapshot(digits_run.directory) == before


def test_a_checkpoint_for_testing_cannot_be_resumed(digits_run):
    before = snapshot(digits_run.directory)
    with pytest.raises(DanluError, match=r'best\.pth is for testing, it holds no optimizer; give the directory'):
        train.main(['--resume', str(digits_run.directory / 'best.pth'), '--epochs', '4'])
    assert snapshot(digits_run.directory) == before


@pytest.mark.parametrize('content', ['no optimizer', 'truncated'])
def test_a_last_pth_that_cannot_be_resumed_leaves_the_run_as_it_is(list_run, tmp_path, content):
    run = tmp_path / 'run'
    shutil.copytree(list_run.directory, run)
    state = load_checkpoint(run / 'last.pth')
    if content == 'truncated':
        (run / 'last.pth').write_bytes((run / 'last.pth').read_bytes()[:5000])
        (run / 'last.prev.pth').unlink()
        message = r'last\.pth is damaged'
    else:
        del state['optimizer']
        torch.save(state, run / 'last.pth')
        message = 'holds no optimizer'
    before = snapshot(tmp_path)
    with pytest.raises(DanluError, match=message):
        train.main(['--resume', str(run), '--epochs', '4'])
    assert snapshot(tmp_path) == before
