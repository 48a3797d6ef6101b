"""train.py from end to end: what a run leaves, going on, repeating, failing, and the Trainer in a notebook's hands."""

import csv
import gc
import hashlib
import io
import itertools
import os
import re
import shutil
import signal
import stat
import subprocess
import time
import weakref

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset

import train
from data.data_entry import select_eval_loader, select_train_loader
from eval import report_on
from loss import CrossEntropy
from model.lenet import LeNet
from options import TAKEN_FROM_CHECKPOINT, parse_train_args
from train import Trainer
from utils.checkpoint import load_checkpoint
from utils.colours import class_colours
from utils.errors import DanluError
from utils.logger import Logger
from utils.machine import select_gpus

TESTING_KEYS = {'format', 'model', 'args', 'epoch', 'step', 'metrics', 'record', 'fingerprint'}
RESUMING_KEYS = TESTING_KEYS | set('optimizer scheduler scaler rng best recorder loader diverged train_metrics'.split())
MEASURED = {'seconds', 'images_per_second', 'data_wait', 'gpu_memory_gib'}  # they differ from run to run


def bits(value):
    """Return nested tensors and plain values as something that compares equal only for equal bits."""
    if torch.is_tensor(value):
        return str(value.dtype), tuple(value.shape), value.cpu().contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {name: bits(inner) for name, inner in value.items()}
    return [bits(inner) for inner in value] if isinstance(value, list | tuple) else value


def weights_in(directory, name='last.pth'):
    """Return the bits of the weights in a checkpoint."""
    return bits(load_checkpoint(directory / name)['model'])


def computed(rows):
    """Return rows of history.csv without what was measured with a clock."""
    return [{name: value for name, value in row.items() if name not in MEASURED} for row in rows]


def snapshot(directory):
    """Return the hash of every file below a directory."""
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in directory.rglob('*') if p.is_file()}


def log_of(run):
    """Return the text of log.txt."""
    return (run.directory / 'log.txt').read_text(encoding='utf-8')


# --- what a run leaves


def test_a_run_on_the_digits_leaves_exactly_these_files(digits_run):
    events = [name for name in digits_run.files if name.startswith('events.out.tfevents.')]
    assert len(events) == 1
    expected = 'args.txt best.pth curves.png env.txt epoch_0002.pth first_steps.jsonl history.csv last.pth log.txt '
    expected = [*expected.split(), 'record.json', 'source.zip', 'steps', 'witness.jsonl']
    assert digits_run.files == sorted(expected + events)
    assert digits_run.directory.name == 'lenet_exp'


def test_it_learns(digits_run, history_of):
    first, last = history_of(digits_run)
    assert float(last['val/acc']) > 0.8
    assert float(last['train/loss']) < float(first['train/loss'])
    assert 0 < float(last['val/loss']) < float(first['val/loss'])


def test_the_log_has_what_was_printed_and_no_bar(digits_run):
    assert log_of(digits_run) == digits_run.stdout
    assert len(digits_run.stdout.splitlines()) < 15, 'plain lines, few'
    for noise in ('\r', '%|', 'it/s', '\x1b'):
        assert noise not in digits_run.stdout + digits_run.stderr
    for wanted in ('epoch 1/2', 'epoch 2/2', '5,000 to train on, 1,000 to validate', 'LeNet', 'batch_size=192'):
        assert wanted in digits_run.stdout


def test_no_gpu_is_said_once(digits_run):
    said = [line for line in digits_run.stdout.splitlines() if 'GPU' in line]
    assert said == [
        'device: CPU (no GPU is visible (CUDA_VISIBLE_DEVICES=), so --gpus 0 has nothing to name), threads: 1'
    ]


def test_the_history_is_what_was_printed(digits_run, history_of):
    rows = history_of(digits_run)
    assert [row['epoch'] for row in rows] == ['1', '2']
    lines = [line for line in digits_run.stdout.splitlines() if line.startswith('epoch ')]
    for row, line in zip(rows, lines, strict=True):
        training, validation = re.search(r'train (.*) \| val (.*) \|', line).groups()
        for split, text in (('train', training), ('val', validation)):
            shown = dict(zip(text.split()[::2], text.split()[1::2], strict=True))
            assert {'loss', 'acc', 'f1_macro'} <= set(shown)
            assert {name: f'{float(row[f"{split}/{name}"]):.4f}' for name in shown} == shown


def check_events(run, history_of, events_of):
    """Hold what TensorBoard shows against history.csv: every epoch once, every value the same."""
    rows, events = history_of(run), events_of(run)
    epochs = [int(row['epoch']) for row in rows]
    assert epochs == list(range(1, len(rows) + 1))
    assert {'train/loss', 'val/loss', 'lr'} <= set(events.scalars)
    for tag in set(rows[0]) - {'epoch'}:
        assert [event.step for event in events.scalars[tag]] == epochs, tag
        wanted = [float(np.float32(row[tag])) for row in rows]  # TensorBoard keeps float32
        assert [event.value for event in events.scalars[tag]] == wanted, tag
    assert set(events.images) == {'train/samples', 'val/samples'}
    for tag, pictures in events.images.items():
        assert [picture.step for picture in pictures] == epochs, tag
    return events


def test_tensorboard_reads_the_same_values_and_both_pictures(digits_run, history_of, events_of):
    events = check_events(digits_run, history_of, events_of)
    assert [event.value for event in events.scalars['lr']] == [pytest.approx(1e-3)] * 2
    for tag, pictures in events.images.items():
        for event in pictures:
            picture = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
            # Two rows of four digits, enlarged four times, two lines of text below each, 4 pixels between.
            assert picture.shape == (2 * (112 + 2 * 17 + 4) + 4, 4 * 112 + 3 * 4, 3), tag
            assert (picture[:112, :112] > 200).any(), 'strokes'
            assert (picture[:112, :112] == 0).any(), 'their background'


def test_validation_pictures_are_the_first_of_the_list(digits_run, events_of):
    with np.load(train.os.path.join(os.path.dirname(train.__file__), 'data', 'digits.npz')) as file:
        first = file['test_images'][0]
    event = events_of(digits_run).images['val/samples'][0]
    shown = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))[:112:4, :112:4, 0]
    assert np.array_equal(shown, first), 'normalised and back: the same pixels'


def test_the_curves_are_a_picture(digits_run):
    with Image.open(digits_run.directory / 'curves.png') as picture:
        picture.load()
        assert min(picture.size) > 300
        assert len(picture.convert('RGB').getcolors(1_000_000)) > 10


def test_args_txt_gives_the_run_again(digits_run):
    args = vars(parse_train_args([f'@{digits_run.directory / "args.txt"}']))
    recorded = load_checkpoint(digits_run.directory / 'last.pth')['args']
    assert args.pop('model_dir') is None, 'another run gets a directory of its own'
    assert recorded.pop('model_dir') == str(digits_run.directory)
    found = recorded.pop('from_data')
    assert found == ['channels', 'class_names', 'image_size', 'mean', 'num_classes', 'std']
    # What was found in the data is shown, and found again: given, it would stay when the data is changed.
    assert '# --num_classes=10  (found in the data' in (digits_run.directory / 'args.txt').read_text()
    assert [args.pop(name) for name in found] == [None] * 6
    assert [recorded.pop(name) for name in found] == [1, None, [28, 28], [0.1307], 10, [0.3081]]
    assert args == recorded


@pytest.mark.parametrize(
    ('name', 'keys'), [('best.pth', TESTING_KEYS), ('last.pth', RESUMING_KEYS), ('epoch_0002.pth', RESUMING_KEYS)]
)
def test_checkpoints_hold_what_they_should_and_plain_values_only(digits_run, history_of, name, keys):
    path = digits_run.directory / name
    assert torch.serialization.get_unsafe_globals_in_checkpoint(path) == []
    state = torch.load(path, weights_only=True)
    assert set(state) == keys
    assert not [key for key in state['model'] if key.startswith(('module.', '_orig_mod.'))]
    assert (state['epoch'], state['step']) == (2, 2 * 27), '5,000 pictures in batches of 192'
    row = history_of(digits_run)[1]
    assert {key: repr(value) for key, value in state['metrics'].items()} == row
    if os.name != 'nt':
        umask = os.umask(0)
        os.umask(umask)
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_every_checkpoint_of_an_epoch_has_the_same_weights(digits_run):
    assert weights_in(digits_run.directory) == weights_in(digits_run.directory, 'best.pth')
    assert weights_in(digits_run.directory) == weights_in(digits_run.directory, 'epoch_0002.pth')


def test_save_freq_keeps_every_so_many_epochs(list_data, train_here, tmp_path):
    words = ['--epochs', 5, '--save_freq', 2, '--num_workers', 0, '--checkpoints_dir', tmp_path]
    run = train_here(*list_data, *words)
    assert [name for name in run.files if name.startswith('epoch_')] == ['epoch_0002.pth', 'epoch_0004.pth']
    epochs = {name: load_checkpoint(run.directory / name)['epoch'] for name in run.files if name.endswith('.pth')}
    assert epochs.pop('best.pth') in range(1, 6)
    assert epochs == {'epoch_0002.pth': 2, 'epoch_0004.pth': 4, 'last.pth': 5}


def test_a_list_trains_with_workers_and_an_uneven_last_batch(list_run, history_of, events_of):
    assert '26 to train on, 13 to validate; workers: 2' in list_run.stdout
    assert len(history_of(list_run)) == 2
    assert load_checkpoint(list_run.directory / 'last.pth')['step'] == 2 * 4, '8 + 8 + 8 + 2 in each epoch'
    check_events(list_run, history_of, events_of)
    args = load_checkpoint(list_run.directory / 'best.pth')['args']
    assert (args['num_classes'], args['class_names'], args['image_size']) == (3, ['ant', 'cat', 'yak'], [20, 16])


def test_a_terminal_gets_a_bar_and_the_file_stays_clean(list_run):
    """Its stderr is a terminal, its stdout a pipe, as in `python train.py > out.txt`."""
    for wanted in ('epoch 1/2 ', 'validate 2/2 ', '0/26 ', 'img/s'):
        assert wanted in list_run.stderr
    for noise in ('\r', '%|', 'img/s]', '\x1b'):
        assert noise not in list_run.stdout
    assert log_of(list_run) == list_run.stdout


def test_a_segmentation_trains_on_pairs_of_pictures_and_masks(mask_run, history_of, events_of):
    rows = history_of(mask_run)
    assert {'train/miou', 'val/miou', 'val/pixel_acc'} <= set(rows[0])
    assert not [name for name in rows[0] if 'iou/' in name], 'single classes stand in result.txt'
    events = check_events(mask_run, history_of, events_of)
    for tag, count in (('train/samples', 2), ('val/samples', 2)):
        for event in events.images[tag]:
            picture = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
            # A column of panels: input, prediction and truth of 24x20 side by side, six times as large, with titles.
            panels = picture[: count * (19 + 120 + 4) - 4]
            assert panels.shape[1] == 3 * 144 + 2 * 4, tag
            assert (panels[19 : 19 + 120] == class_colours(3)[0]).all(-1).any(), tag
            legend = picture[len(panels) :]
            assert all((legend == colour).all(-1).sum() > 100 for colour in class_colours(3)), 'one for all panels'
    assert load_checkpoint(mask_run.directory / 'best.pth')['args']['image_size'] == [20, 24]


# --- going on


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
    assert log_of(resumed_digits) == resumed_digits.first_stdout + resumed_digits.stdout
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


class Dropping(nn.Module):
    """A small network that draws random numbers in training and keeps running means."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3)
        )

    def forward(self, images):
        return self.layers(images)


def samples(count, seed, dtype=torch.float32):
    """Return a TensorDataset of pictures (N, 3, 2, 2) and labels 0..2 that can be learned."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = torch.rand(count, 3, 2, 2, generator=generator) / 2
    images[torch.arange(count), labels] += 0.4
    if dtype == torch.uint8:
        images = images * 255
    return TensorDataset(images.to(dtype), labels)


def loader(count=50, seed=0, batch_size=8, dtype=torch.float32):
    """Return ready-made batches: uneven, in the same order in each epoch."""
    return DataLoader(samples(count, seed, dtype), batch_size=batch_size, generator=torch.Generator())


def notebook_args(folder, *words):
    """Return options as a notebook makes them."""
    words = ['--checkpoints_dir', folder, '--num_classes', 3, '--device', 'cpu', *words]
    return parse_train_args([str(word) for word in words])


def notebook_trainer(folder, *words, kind=Trainer, **parts):
    """Return a Trainer of ready-made parts."""
    torch.manual_seed(5)  # of the model's first weights
    parts = {'model': Dropping(), 'train_loader': loader(), 'val_loader': loader(21, 1), **parts}
    return kind(notebook_args(folder, *words), **parts)


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
    """Neither its random numbers, nor its pictures in the running means."""
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
    with pytest.raises(DanluError, match=r'has reached epoch 2 of 2; to go on, add --epochs 4'):
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
        message = r'last\.pth is damaged'
    else:
        del state['optimizer']
        torch.save(state, run / 'last.pth')
        message = 'holds no optimizer'
    before = snapshot(tmp_path)
    with pytest.raises(DanluError, match=message):
        train.main(['--resume', str(run), '--epochs', '4'])
    assert snapshot(tmp_path) == before


# --- repeating


def test_repeating_from_args_txt_gives_the_same_bits(digits_run, train_here, history_of):
    """Another process, another day: the same numbers."""
    run = train_here(f'@{digits_run.directory / "args.txt"}')
    assert run.directory == digits_run.directory.parent / 'lenet_exp_2'
    assert weights_in(run.directory) == weights_in(digits_run.directory)
    assert computed(history_of(run)) == computed(history_of(digits_run))


def test_repeating_with_one_change_changes_one_option(list_run, train_here):
    before = snapshot(list_run.directory)
    run = train_here(f'@{list_run.directory / "args.txt"}', '--lr', 0.01)
    assert run.directory == list_run.directory.parent / 'lenet_exp_2'
    assert snapshot(list_run.directory) == before, 'the first run was touched'
    old, new = (load_checkpoint(r.directory / 'best.pth')['args'] for r in (list_run, run))
    assert {name for name in old if old[name] != new[name]} == {'lr', 'model_dir'}
    assert new['lr'] == 0.01
    assert weights_in(run.directory) != weights_in(list_run.directory)


# --- failing


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
    train_here(*list_data, '--num_workers', 0, '--epochs', 1, '--gpus', 1, '--checkpoints_dir', tmp_path)
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
    assert f'or lower the learning rate: python train.py @{run / "args.txt"} --lr 0.0001; or go on without' in message
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
    with pytest.raises(DanluError, match=r'of epoch 1 .* --lr 1e\+29$'):
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
    with pytest.raises(DanluError, match='validation saw 16 of 21 samples'):
        notebook_trainer(tmp_path, val_loader=short).train()


def test_empty_loaders_are_named(tmp_path):
    empty = DataLoader(samples(5, 1), batch_size=8, drop_last=True)
    with pytest.raises(DanluError, match='there is no batch to train on'):
        notebook_trainer(tmp_path, train_loader=empty).train()
    with pytest.raises(DanluError, match='there is no sample to evaluate'):
        notebook_trainer(tmp_path, val_loader=[]).train()


def test_ready_made_loaders_need_the_number_of_classes(tmp_path):
    args = parse_train_args(['--checkpoints_dir', str(tmp_path), '--device', 'cpu'])
    with pytest.raises(DanluError, match=r'give --num_classes$'):
        Trainer(args, model=Dropping(), train_loader=loader(), val_loader=loader())
    with pytest.raises(DanluError, match=r'give --num_classes, --image_size, --channels$'):
        Trainer(args, train_loader=loader(), val_loader=loader())


@pytest.mark.skipif(os.name == 'nt', reason='Ctrl-C reaches a Windows process in another way')
def test_ctrl_c_ends_the_run_and_it_goes_on_to_the_same_bits(interpreter, train_here, tmp_path, history_of):
    """A real process, interrupted in the middle of an epoch."""
    words = ['--batch_size', '500', '--checkpoints_dir', str(tmp_path), '--device', 'cpu']
    command = [interpreter, train.__file__, *words, '--epochs', '200']
    # Tests that a shell started in the background ignore Ctrl-C, and so would the process that they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        for line in process.stdout:
            if line.startswith('epoch 3/'):
                break
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert stderr.strip() == 'train.py: interrupted'
    run = tmp_path / 'lenet_exp'
    state = load_checkpoint(run / 'last.pth')
    reached, batch = state['epoch'], state['loader']['batch']
    assert reached >= 3
    place = f'epoch {reached}' + (f' and batch {batch} of epoch {reached + 1}' if batch else '')
    said = f'last.pth holds {place}; to go on: python train.py --resume {run}'
    assert (run / 'log.txt').read_text().splitlines()[-2:] == ['stopped by KeyboardInterrupt', said]
    assert said in stdout
    resumed = train_here('--resume', run, '--epochs', reached + 1)
    whole = train_here(*words, '--epochs', reached + 1)
    assert weights_in(resumed.directory) == weights_in(whole.directory)
    assert computed(history_of(resumed)) == computed(history_of(whole))


# --- the loop


def test_training_is_the_bare_loop_to_the_last_bit(tmp_path):
    """Nothing is left out, doubled, scaled or in another order."""
    words = ['--epochs', 2, '--optimizer', 'sgd', '--lr', 0.05, '--momentum', 0.8, '--weight_decay', 0.01, '--seed', 3]
    trainer = notebook_trainer(tmp_path, *words)
    torch.manual_seed(5)
    net = Dropping()
    torch.manual_seed(3)  # as --seed says; the parts were made before
    history = trainer.train()
    torch.manual_seed(3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.8, weight_decay=0.01, fused=True)
    means, losses = [], []
    for _ in range(2):
        net.train()
        for images, targets in loader():
            loss = CrossEntropy(3)(net(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append((loss.item(), len(targets)))
        means.append(sum(loss * count for loss, count in losses) / 50)
        losses.clear()
    assert bits(trainer.net.state_dict()) == bits(net.state_dict())
    assert [row['train/loss'] for row in history] == pytest.approx(means, rel=1e-12)


def test_validation_is_exact_over_uneven_batches(tmp_path):
    trainer = notebook_trainer(tmp_path, '--epochs', 1)
    (row,) = trainer.train()
    images, targets = samples(21, 1).tensors
    with torch.no_grad():
        predictions = trainer.net.eval()(images)
    assert row['val/acc'] == (predictions.argmax(1) == targets).sum().item() / 21
    wanted = nn.functional.cross_entropy(predictions.double(), targets).item()
    assert row['val/loss'] == pytest.approx(wanted, rel=1e-6)


class Scripted(Trainer):
    """Validation gives these values, whatever the network does."""

    values = [0.2, 0.7, 0.7, 0.6]

    def val_per_epoch(self, epoch):
        self.record_overall('val', {'loss': 1.0, 'acc': self.values[epoch - 1]})


def test_best_pth_is_the_first_of_the_best_epochs(tmp_path, capsys):
    trainer = notebook_trainer(tmp_path, '--epochs', 4, '--save_freq', 1, kind=Scripted)
    trainer.train()
    run = tmp_path / 'lenet_exp'
    assert load_checkpoint(run / 'best.pth')['epoch'] == 2
    assert weights_in(run, 'best.pth') == weights_in(run, 'epoch_0002.pth') != weights_in(run)
    assert load_checkpoint(run / 'last.pth')['best'] == {'value': 0.7, 'epoch': 2}
    printed = capsys.readouterr().out
    assert 'best: val/acc 0.7 in epoch 2' in printed
    marked = [line.split()[1] for line in printed.splitlines() if line.endswith('  best')]
    assert marked == ['1/4', '2/4']


class StartsWithNan(Scripted):
    values = [float('nan'), 0.2, 0.1]


def test_an_epoch_without_a_value_is_not_the_best_for_ever(tmp_path):
    notebook_trainer(tmp_path, '--epochs', 3, kind=StartsWithNan).train()
    assert load_checkpoint(tmp_path / 'lenet_exp' / 'best.pth')['epoch'] == 2


class OwnLoss(Trainer):
    """A loss of its own, which args.loss knows nothing of."""

    def compute_loss(self, predictions, targets):
        return (targets == targets[0]).float().mean() + 0 * predictions.sum()


def test_an_own_loss_is_averaged_over_the_samples(tmp_path):
    words = ['--epochs', 1, '--class_weights', 0.1, 10, 3]  # they count for args.loss, not for an own one
    trainer = notebook_trainer(tmp_path, *words, kind=OwnLoss)
    history = trainer.train()
    targets = [targets for _, targets in trainer.val_loader]
    expected = sum((batch == batch[0]).double().sum() for batch in targets) / sum(map(len, targets))
    assert history[0]['val/loss'] == pytest.approx(expected.item(), abs=1e-6)


def test_a_batch_of_three_parts_is_refused_with_the_remedy(tmp_path):
    parts = [(images, targets, torch.ones(len(targets))) for images, targets in loader()]
    with pytest.raises(DanluError, match=r'a batch is \(images, targets\), this one has 3 parts: override step\(\)'):
        notebook_trainer(tmp_path, '--epochs', 1, train_loader=parts).train()


def test_a_run_of_ready_made_parts_does_not_advise_eval_py(tmp_path, capsys):
    notebook_trainer(tmp_path, '--epochs', 1).train()
    assert 'eval.py' not in capsys.readouterr().out


def test_the_best_epoch_is_remembered_when_a_run_goes_on(tmp_path):
    notebook_trainer(tmp_path, '--epochs', 2, kind=Scripted).train()
    run = tmp_path / 'lenet_exp'
    notebook_trainer(tmp_path, '--resume', run, '--epochs', 4, kind=Scripted).train()
    assert load_checkpoint(run / 'best.pth')['epoch'] == 2
    assert load_checkpoint(run / 'last.pth')['epoch'] == 4


class Watching(Trainer):
    """Notes what reaches `step`, and what the network gets."""

    def step(self, batch):
        images, predictions, targets = super().step(batch)
        self.seen = [*getattr(self, 'seen', []), (batch, images, targets)]
        return images, predictions, targets


class WatchingPreparation(Watching):
    """Notes also what is prepared, a batch or several as one, and what comes of it."""

    def take_from(self, *loaders):
        prepare, self.prepared = self.prepare, []

        def watched(images, targets, key=None):
            ready = prepare(images, targets, key)
            self.prepared.append(((images, targets, key), ready))
            return ready

        self.augment, self.std, self.mean = prepare.augment, prepare.std, prepare.mean
        for loader in loaders:
            loader.serve(self.device, watched)


@pytest.mark.parametrize(
    'words',
    [
        ['--data_type', 'digits'],
        ['LIST', '--num_workers', '2', '--augment', 'standard'],
        ['LIST', '--num_workers', '0'],
        ['LIST', '--data_type', 'mem_list', '--augment', 'flip'],
        ['MASKS', '--augment', 'standard'],
        ['MASKS', '--data_type', 'mem_list'],
    ],
    ids=' '.join,
)
def test_pictures_are_uint8_until_they_are_on_the_device(words, list_data, mask_data, tmp_path):
    known = {'LIST': list_data, 'MASKS': mask_data}
    words = [*known.get(words[0], words[:1]), *words[1:], '--epochs', '1', '--batch_size', '4', '--device', 'cpu']
    trainer = WatchingPreparation(parse_train_args([*words, '--checkpoints_dir', str(tmp_path)]))
    trainer.train()
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (trainer.args.mean, trainer.args.std))
    for (images, targets, key), (ready, labels) in trainer.prepared:
        assert images.max() > 1, 'pixels from 0 to 255'
        if key is not None:
            images, targets = trainer.augment(images, targets, *key)
            assert images.dtype == torch.uint8
        assert ready.dtype == torch.float32
        assert torch.allclose(ready, (images / 255 - mean) / std, atol=1e-5)
        assert labels.dtype == torch.int64
        if trainer.args.task == 'segmentation':
            assert targets.dtype == torch.uint8, 'masks travel as bytes too'
            assert torch.equal(labels, targets.long())
    for number in (0, 1):  # every prepared picture and target reaches the network, and no other
        prepared = torch.cat([ready[number] for _, ready in trainer.prepared])
        assert torch.equal(prepared, torch.cat([step[1 + number] for step in trainer.seen]))
    assert max(len(images) for _, images, _ in trainer.seen) <= 5, 'batches of 4, the last one perhaps of 5'


@pytest.mark.parametrize('kind', ['list', 'mem_list'])
@pytest.mark.parametrize('augment', ['none', 'flip'])
@pytest.mark.parametrize('workers', ['0', '2'])
def test_each_batch_is_mixed_after_normalisation_and_validation_never(kind, augment, workers, list_data, tmp_path):
    words = [*list_data, '--data_type', kind, '--mixup', '0.4', '--augment', augment, '--num_workers', workers]
    words += ['--batch_size', '4', '--device', 'cpu', '--checkpoints_dir', str(tmp_path)]
    trainer = Watching(parse_train_args(words))
    trainer.train_per_epoch(1)
    trained, trainer.seen = trainer.seen, []
    trainer.val_per_epoch(1)
    trainer.logger.close()
    raw = select_train_loader(trainer.args)
    for (_, images, targets), batch in zip(trained, raw, strict=True):
        expected = raw.dataset.mixing(*trainer.prepare(*batch), *batch[2])
        assert torch.equal(images, expected[0])
        assert torch.equal(targets, expected[1])
    for (_, images, targets), batch in zip(trainer.seen, select_eval_loader(trainer.args), strict=True):
        assert torch.equal(images, (batch[0] - trainer.prepare.mean) / trainer.prepare.std)
        assert torch.equal(targets, batch[1])


def test_the_loss_of_mixed_batches_is_averaged_over_the_samples(list_data, tmp_path):
    words = [*list_data, '--cutmix', '1', '--epochs', '1', '--num_workers', '0', '--class_weights', '1', '2', '3']
    trainer = Keeping(parse_train_args([*words, '--device', 'cpu', '--checkpoints_dir', str(tmp_path)]))
    (row,) = trainer.train()
    batches = [batch for batch in trainer.kept if batch[1].dim() == 2]
    assert [len(targets) for _, targets in batches] == [8, 8, 8, 2]
    predictions, targets = map(torch.cat, zip(*batches, strict=True))
    weights = torch.tensor([1.0, 2.0, 3.0])
    wanted = nn.functional.cross_entropy(predictions.double(), targets.double(), weights.double()).item()
    assert row['train/loss'] == pytest.approx(wanted, rel=1e-6)
    right = predictions.argmax(1) == targets.argmax(1)
    assert row['train/acc'] == right.sum().item() / 26


class Keeping(Trainer):
    """Keeps what the loss was taken of."""

    def compute_loss(self, predictions, targets):
        self.kept = [*getattr(self, 'kept', []), (predictions.detach(), targets)]
        return super().compute_loss(predictions, targets)

    def loss_count(self, predictions, targets):
        return self.loss.count(predictions, targets)


def test_pictures_of_mixed_samples_have_the_name_of_the_larger_class(tmp_path):
    trainer = notebook_trainer(tmp_path, '--class_names', 'ant', 'bee', 'cat')
    trainer.logger.close()
    images, predictions = torch.rand(3, 3, 8, 8), torch.eye(3)
    shares = torch.tensor([[0.6, 0.0, 0.4], [0.0, 0.3, 0.7], [0.1, 0.9, 0.0]])
    mixed = trainer.draw_samples(images, predictions, shares)
    plain = trainer.draw_samples(images, predictions, torch.tensor([0, 2, 1]))
    assert all(np.array_equal(a, b) for a, b in zip(mixed, plain, strict=True))


@pytest.mark.parametrize('words', [['--augment', 'flip'], ['--mixup', 1], ['--cutmix', 1]], ids=str)
def test_what_a_loader_of_ones_own_does_not_do_is_refused(tmp_path, words):
    with pytest.raises(DanluError, match=f'{words[0]}.* needs the loader that --data_type names'):
        notebook_trainer(tmp_path, *words)


def test_float_pictures_are_taken_as_they_are(tmp_path):
    trainer = notebook_trainer(tmp_path, '--epochs', 1, '--mean', 0.5, '--std', 0.1, kind=Watching)
    trainer.train()
    for (images, _), ready, _ in trainer.seen:
        assert torch.equal(ready, images)


def test_uint8_pictures_of_ready_made_loaders_are_normalised(tmp_path):
    parts = {'train_loader': loader(dtype=torch.uint8), 'val_loader': loader(dtype=torch.uint8)}
    words = ['--epochs', 1, '--mean', 0.5, 0.4, 0.3, '--std', 0.1, 0.2, 0.3]
    trainer = notebook_trainer(tmp_path, *words, kind=Watching, **parts)
    trainer.train()
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1), torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)
    for (images, _), ready, _ in trainer.seen:
        assert torch.allclose(ready, (images / 255 - mean) / std, atol=1e-5)


WAITING = 'item tolist cpu numpy new_tensor __float__ __int__ __bool__ __index__ __array__ nonzero unique'.split()
# What makes torch wait for a GPU below Python: reading a value, and results whose size depends on values.
WAITING_OPERATIONS = '_local_scalar_dense nonzero masked_select bincount _unique2 equal is_nonzero'.split()


class CountWaits(TorchDispatchMode):
    """Counts whatever would make the loop wait for a GPU."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.count, self.operations = 0, 0
        for name in WAITING:
            monkeypatch.setattr(torch.Tensor, name, self.counting(getattr(torch.Tensor, name)))

    def counting(self, method):
        def counted(*args, **kwargs):
            self.count += 1
            return method(*args, **kwargs)

        return counted

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.operations += 1
        self.count += func.overloadpacket.__name__ in WAITING_OPERATIONS
        return func(*args, **(kwargs or {}))


class Plain(nn.Module):
    """A linear network for any size of picture, or for each pixel."""

    def __init__(self, classes, channels, per_pixel):
        super().__init__()
        self.layer, self.per_pixel = nn.Conv2d(channels, classes, 1), per_pixel

    def forward(self, images):
        maps = self.layer(images)
        return maps if self.per_pixel else maps.mean((2, 3))


@pytest.mark.parametrize('phase', ['train', 'val'])
@pytest.mark.parametrize('task', ['classification', 'segmentation'])
def test_the_loop_never_waits_for_the_device_in_a_step(task, phase, tmp_path, monkeypatch):
    """So the number of waits of an epoch does not grow with its steps."""
    waits, operations = [], []
    for steps in (10, 140):  # more than are ever summed together
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (4, 3, 6, 6), generator=generator).to(torch.uint8)
        shape = (4, 6, 6) if task == 'segmentation' else (4,)
        targets = torch.randint(0, 7, shape, generator=generator)
        batches = [(images, targets.to(torch.uint8) if task == 'segmentation' else targets)] * steps
        words = ['--num_classes', 7, '--print_freq', 1000, '--ignore_index', 3]
        if task == 'segmentation':
            words += ['--task', task, '--data_type', 'list', '--train_list', __file__, '--val_list', __file__]
        parts = {'model': Plain(7, 3, task == 'segmentation'), 'train_loader': batches, 'val_loader': batches}
        trainer = notebook_trainer(tmp_path, *words, **parts)
        # On a CPU, which has nothing to wait for, utils/finite.py reads each loss; on a GPU tests/test_divergence.py.
        trainer.update.guard.passes = trainer.update.guard.gradients_pass = lambda *loss: True
        trainer.train_per_epoch(1)  # what is done once at the start is not counted
        run = trainer.train_per_epoch if phase == 'train' else trainer.val_per_epoch
        run(2)
        with monkeypatch.context() as patch, CountWaits(patch) as counter:
            run(3)
        trainer.logger.close()
        waits.append(counter.count)
        operations.append(counter.operations)
    assert operations[1] > 5 * operations[0], 'nothing was counted'
    assert waits[0] > 0, 'even the end of an epoch reads no value: nothing was counted'
    assert waits[1] == waits[0]


@pytest.mark.parametrize('kind', ['list_data', 'mask_data'])
@pytest.mark.parametrize('augment', ['flip', 'crop', 'affine', 'standard', 'strong'])
def test_augmentation_never_waits_for_the_device(kind, augment, request, tmp_path, monkeypatch):
    """It works on whole batches, on the device: what it draws must not be read back."""
    words = [*request.getfixturevalue(kind), '--data_type', 'mem_list', '--augment', augment, '--device', 'cpu']
    trainer = Trainer(parse_train_args([*words, '--num_workers', '0', '--checkpoints_dir', str(tmp_path)]))
    trainer.logger.close()
    batches = list(select_train_loader(trainer.args))
    trainer.prepare(*batches[0])  # what is done once at the start is not counted
    with monkeypatch.context() as patch, CountWaits(patch) as counter:
        images, targets = trainer.prepare(*batches[1])
    assert counter.operations > 3, 'nothing was counted'
    assert counter.count == 0
    assert images.shape == batches[1][0].shape
    plain = (batches[1][0] - trainer.prepare.mean) / trainer.prepare.std
    assert not torch.allclose(images, plain, atol=1e-3), 'not augmented'
    assert targets.shape == batches[1][1].shape


@pytest.mark.parametrize('option', ['--mixup', '--cutmix'])
def test_mixing_never_waits_for_the_device(option, list_data, tmp_path, monkeypatch):
    words = [*list_data, option, '1', '--device', 'cpu', '--num_workers', '0', '--checkpoints_dir', str(tmp_path)]
    trainer = Trainer(parse_train_args(words))
    trainer.logger.close()
    loader = select_train_loader(trainer.args)
    first, second = ([*trainer.prepare(*batch), *batch[2]] for batch in list(loader)[:2])
    loader.dataset.mixing(*first)  # what is done once at the start is not counted
    with monkeypatch.context() as patch, CountWaits(patch) as counter:
        _, predictions, targets = trainer.step(loader.dataset.mixing(*second))
        trainer.compute_loss(predictions, targets)
        trainer.loss_count(predictions, targets)
        trainer.compute_metrics(predictions, targets, trainer.metrics['train'])
    assert counter.operations > 3, 'nothing was counted'
    assert counter.count == 0
    assert targets.shape == (8, 3), 'not mixed'


def test_the_loop_waits_only_every_print_freq_steps(tmp_path, monkeypatch):
    """The counterpart: with --print_freq 1 the waits do grow, so the test above can see them."""
    waits = []
    for print_freq in (1000, 1):
        trainer = notebook_trainer(tmp_path, '--print_freq', print_freq)
        trainer.train_per_epoch(1)
        with monkeypatch.context() as patch, CountWaits(patch) as counter:
            trainer.train_per_epoch(2)
        trainer.logger.close()
        waits.append(counter.count)
    assert waits[1] >= waits[0] + 7


@pytest.mark.parametrize('page', [False, True])
def test_a_trainer_is_gone_with_its_last_reference(page, list_data, tmp_path):
    """In a circle of references its worker processes would be waited for until they time out."""
    words = [*list_data, '--num_workers', '2', '--augment', 'flip', '--device', 'cpu', '--epochs', '1']
    gc.disable()
    try:
        trainer = Trainer(parse_train_args([*words, '--checkpoints_dir', str(tmp_path)]))
        trainer.train()
        if page:
            report_on(trainer)
        left = [weakref.ref(trainer), weakref.ref(trainer.val_loader)]
        del trainer
        assert [reference() for reference in left] == [None, None]
    finally:
        gc.enable()


# --- AMP, channels_last, compile


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
    monkeypatch.setattr('utils.speed.WORTH', 0)  # everything is as fast as it wants
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
    monkeypatch.setattr('utils.speed.WORTH', 0)
    words = ['--epochs', 1, '--num_workers', 0, '--fast', '--amp', 'off', '--checkpoints_dir', tmp_path]
    run = train_here(*list_data, *words)
    assert '--amp=off' in (run.directory / 'args.txt').read_text()
    assert 'amp' not in re.search('^fast on this device: .*', run.stdout, re.M)[0]


@pytest.mark.parametrize('words', [['--amp', 'bf16'], ['--amp', 'fp16'], ['--channels_last']], ids=' '.join)
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


def test_compile_without_a_compiler_says_so(run_program, tmp_path):
    words = ['--compile', '--epochs', 1, '--device', 'cpu', '--checkpoints_dir', tmp_path]
    done = run_program('train.py', *words, CXX='/no/such/compiler', TORCHINDUCTOR_CACHE_DIR=tmp_path / 'cache')
    assert done.code == 2
    assert re.fullmatch(
        r'train\.py: error: --compile: this network cannot be compiled here: .+; leave it out', done.stderr.strip()
    )
    assert not (tmp_path / 'lenet_exp').exists()


# --- ready-made parts


def test_a_notebook_gets_the_history_back(tmp_path, capsys):
    trainer = notebook_trainer(tmp_path, '--epochs', 12, '--lr', 0.005)
    history = trainer.train()
    assert [row['epoch'] for row in history] == list(range(1, 13))
    assert {'train/loss', 'val/loss', 'val/acc', 'lr'} <= set(history[0])
    assert all(isinstance(value, float) for name, value in history[0].items() if name != 'epoch')
    assert history[-1]['val/acc'] > 0.8
    assert history[-1]['val/loss'] < history[0]['val/loss']
    run = tmp_path / 'lenet_exp'
    assert trainer.args.model_dir == str(run)
    assert {'args.txt', 'best.pth', 'last.pth', 'history.csv', 'log.txt'} <= {path.name for path in run.iterdir()}
    assert 'model: Dropping' in capsys.readouterr().out


def test_a_loss_of_ones_own_is_used(tmp_path):
    class Squares(nn.Module):
        def forward(self, predictions, targets):
            return ((predictions.softmax(1) - nn.functional.one_hot(targets, 3)) ** 2).mean()

    trainer = notebook_trainer(tmp_path, '--epochs', 1, loss=Squares())
    (row,) = trainer.train()
    images, targets = samples(21, 1).tensors
    with torch.no_grad():
        wanted = Squares()(trainer.net.eval()(images), targets).item()
    assert row['val/loss'] == pytest.approx(wanted, rel=1e-6)


def test_one_ready_made_part_and_the_others_by_name(list_data, tmp_path):
    args = parse_train_args([*list_data, '--num_workers', '0', '--epochs', '1', '--device', 'cpu',
                             '--checkpoints_dir', str(tmp_path)])  # fmt: skip
    net = Plain(3, 3, per_pixel=False)
    before = bits(net.state_dict())
    trainer = Trainer(args, model=net)
    trainer.train()
    assert trainer.net is net
    assert bits(net.state_dict()) != before
    assert args.class_names == ['ant', 'cat', 'yak']


@pytest.mark.parametrize(
    'wrap', [nn.DataParallel, lambda net: torch.compile(net, backend='eager')], ids=['dp', 'compile']
)
def test_wrapped_models_are_saved_without_prefix_and_go_on(tmp_path, wrap):
    def parts():
        torch.manual_seed(5)
        return {'model': wrap(Dropping())}

    trainer = notebook_trainer(tmp_path, '--epochs', 1, **parts())
    trainer.train()
    run = tmp_path / 'lenet_exp'
    for name in ('best.pth', 'last.pth'):
        assert set(load_checkpoint(run / name)['model']) == set(Dropping().state_dict())
    assert 'model: Dropping' in (run / 'log.txt').read_text()
    again = notebook_trainer(tmp_path, '--resume', run, '--epochs', 2, **parts())
    assert bits(again.net.state_dict()) == bits(trainer.net.state_dict())
    assert len(again.train()) == 2


class Regions(Trainer):
    """What a new task overrides: the batch's way, the loss, the metrics, the pictures."""

    def step(self, batch):
        images, predictions, targets = super().step(batch)
        return images, predictions, (targets + 1) % 3

    def compute_loss(self, predictions, targets):
        return super().compute_loss(predictions, targets) * 10

    def compute_metrics(self, predictions, targets, metrics):
        super().compute_metrics(predictions, targets, metrics)
        self.counted = getattr(self, 'counted', 0) + len(targets)

    def gen_imgs_to_write(self, images, predictions, targets, split):
        return {f'{split}/mine': np.full((4, 5, 3), 7, np.uint8)}


def test_the_short_methods_can_be_overridden(tmp_path, events_of):
    trainer = notebook_trainer(tmp_path, '--epochs', 1, kind=Regions)
    (row,) = trainer.train()
    assert trainer.counted == 50 + 21
    images, targets = samples(21, 1).tensors
    with torch.no_grad():
        predictions = trainer.net.eval()(images)
    moved = (targets + 1) % 3
    assert row['val/loss'] == pytest.approx(10 * nn.functional.cross_entropy(predictions, moved).item(), rel=1e-5)
    assert row['val/acc'] == (predictions.argmax(1) == moved).sum().item() / 21

    class Run:
        directory = tmp_path / 'lenet_exp'

    assert set(events_of(Run).images) == {'train/mine', 'val/mine'}


@pytest.mark.parametrize(
    ('words', 'kind', 'settings'),
    [
        (['--optimizer', 'sgd', '--momentum', 0.7], torch.optim.SGD, {'momentum': 0.7}),
        (['--optimizer', 'adam', '--momentum', 0.8, '--beta', 0.9], torch.optim.Adam, {'betas': (0.8, 0.9)}),
        (['--optimizer', 'adamw', '--beta', 0.95], torch.optim.AdamW, {'betas': (0.9, 0.95)}),
        (['--optimizer', 'rmsprop', '--beta', 0.95], torch.optim.RMSprop, {'momentum': 0.9, 'alpha': 0.95}),
    ],
    ids=lambda value: value[1] if isinstance(value, list) else '',
)
def test_optimizers_get_their_settings_and_train(tmp_path, words, kind, settings):
    trainer = notebook_trainer(tmp_path, *words, '--epochs', 1, '--lr', 0.01, '--weight_decay', 0.001)
    group = trainer.optimizer.param_groups[0]
    assert type(trainer.optimizer) is kind
    assert {'lr': 0.01, 'weight_decay': 0.001, **settings}.items() <= group.items()
    before = bits(trainer.net.state_dict())
    (row,) = trainer.train()
    assert row['lr'] == 0.01
    assert bits(trainer.net.state_dict()) != before


def test_a_test_takes_the_models_arguments_from_the_checkpoint(list_data, train_here, eval_here, tmp_path, history_of):
    words = ['--num_workers', 0, '--epochs', 1, '--model_type', 'mlp', '--model_args', 'hidden=16,8']
    run = train_here(*list_data, *words, '--checkpoints_dir', tmp_path)
    assert '--model_args hidden=16,8' in (run.directory / 'args.txt').read_text()
    assert load_checkpoint(run.directory / 'best.pth')['model']['layers.1.weight'].shape[0] == 16
    test = eval_here('--load_model_path', run.directory / 'best.pth')
    assert float(test.values['loss']) == float(history_of(run)[0]['val/loss'])
    again = train_here(f'@{run.directory / "args.txt"}')
    assert weights_in(again.directory) == weights_in(run.directory)


# --- starting from weights


@pytest.mark.parametrize('form', ['ours', 'state dict', 'module.', '_orig_mod.', 'state_dict'])
def test_training_starts_from_weights_of_every_form(digits_run, tmp_path, form, capsys):
    weights = load_checkpoint(digits_run.directory / 'best.pth')['model']
    path = tmp_path / 'w.pth'
    if form == 'ours':
        shutil.copy(digits_run.directory / 'last.pth', path)
    elif form == 'state_dict':
        torch.save({'state_dict': weights, 'epoch': 90}, path)
    else:
        prefix = '' if form == 'state dict' else form
        torch.save({prefix + name: value for name, value in weights.items()}, path)
    words = ['--load_model_path', path, '--checkpoints_dir', tmp_path / 'runs', '--device', 'cpu']
    trainer = Trainer(parse_train_args([str(word) for word in words]))
    trainer.logger.close()
    assert bits(trainer.net.state_dict()) == bits(weights)
    assert trainer.epoch == 0, 'a new run, not the old one going on'
    line = f'weights: 10 of 10 loaded from {path}'
    assert line in capsys.readouterr().out.splitlines()
    assert line in (tmp_path / 'runs' / 'lenet_exp' / 'log.txt').read_text().splitlines()


def test_other_classes_need_load_not_strict(digits_run, list_data, tmp_path, train_here):
    """Ten digits' weights for three classes of 28x28 grey pictures: all fit but the last layer."""
    words = [*list_data, '--num_workers', 0, '--channels', 1, '--image_size', 28, '--epochs', 1]
    words += ['--load_model_path', digits_run.directory / 'best.pth', '--checkpoints_dir', tmp_path]
    with pytest.raises(DanluError, match=r'does not fit LeNet: 2 of another shape: .*--load_not_strict'):
        train_here(*words)
    assert list(tmp_path.iterdir()) == [], 'the directory of a run that never began'
    run = train_here(*words, '--load_not_strict')
    assert 'weights: 8 of 10 loaded from' in run.stdout
    assert '2 of another shape: classifier.5.weight (10, 84) instead of (3, 84), classifier.5.bias' in run.stdout
    run = train_here(*words, '--load_exclude', 'classifier.5')
    assert 'weights: 8 of 10 loaded from' in run.stdout
    assert '2 left out by --load_exclude: classifier.5.weight, classifier.5.bias' in run.stdout
    repeated = train_here(f'@{run.directory / "args.txt"}')
    assert bits(load_checkpoint(repeated.directory / 'last.pth')['model']) == bits(
        load_checkpoint(run.directory / 'last.pth')['model']
    )


def test_training_starts_from_a_whole_model_only_where_it_is_trusted(digits_run, tmp_path, train_here):
    net, path = LeNet(), tmp_path / 'whole.pth'
    net.load_state_dict(load_checkpoint(digits_run.directory / 'best.pth')['model'])
    torch.save(net, path)
    words = ['--load_model_path', path, '--checkpoints_dir', tmp_path / 'runs', '--epochs', 1]
    with pytest.raises(DanluError, match='--trust_checkpoint'):
        train_here(*words)
    run = train_here(*words, '--trust_checkpoint')
    assert f'weights: 10 of 10 loaded from {path}' in run.stdout
    assert 'trust_checkpoint' not in TAKEN_FROM_CHECKPOINT, 'a test decides for itself whom it trusts'


# --- GPUs


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
