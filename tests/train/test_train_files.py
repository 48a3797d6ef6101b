"""What a run of train.py leaves in its directory."""

import io
import os
import re
import stat

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

import train
from options import parse_train_args
from tests.train.helpers import check_events, log_of, weights_in
from utils.drawing.colours import class_colours
from utils.runs.checkpoint import load_checkpoint

TESTING_KEYS = {'format', 'model', 'args', 'epoch', 'step', 'metrics', 'record', 'fingerprint', 'device'}


RESUMING_KEYS = TESTING_KEYS | set(
    'optimizer scheduler scaler rng best recorder loader diverged train_metrics events'.split()
)


def test_a_run_on_the_digits_leaves_exactly_these_files(digits_run):
    events = [name for name in digits_run.files if name.startswith('events.out.tfevents.')]
    assert len(events) == 1
    expected = 'args.txt best.pth curves.png env.txt epoch_0002.pth first_steps.jsonl history.csv last.pth log.txt '
    expected = [
        *expected.split(),
        'contents_train.bin',
        'contents_val.bin',
        'last.prev.pth',
        'late_steps.jsonl',
        'record.json',
        'source.zip',
        'witness.jsonl',
    ]
    assert digits_run.files == sorted(expected + events)
    assert digits_run.directory.name == 'lenet_exp'


def test_it_learns(digits_run, history_of):
    first, last = history_of(digits_run)
    assert float(last['val/acc']) > 0.8
    assert float(last['train/loss']) < float(first['train/loss'])
    assert 0 < float(last['val/loss']) < float(first['val/loss'])


def test_the_log_has_what_was_printed_before_the_summary_and_no_bar(digits_run, history_of):
    printed, _, summary = digits_run.stdout.partition('\n\n')
    *logged, best = log_of(digits_run).splitlines()
    assert logged == printed.splitlines()
    row = max(history_of(digits_run), key=lambda row: float(row['val/acc']))
    assert best == f'best: val/acc {row["val/acc"]} in epoch {row["epoch"]}', 'all digits'
    assert summary.startswith(f'best: val/acc {float(row["val/acc"]):#.4g} in epoch {row["epoch"]} of 2\n')
    assert len(printed.splitlines()) < 15, 'plain lines, few'
    for noise in ('\r', '%|', 'it/s', '\x1b'):
        assert noise not in digits_run.stdout + digits_run.stderr
    for wanted in ('epoch 1/2', 'epoch 2/2', '5,000 to train on, 1,000 to validate', 'LeNet', 'batch_size=192'):
        assert wanted in digits_run.stdout


def test_the_history_is_what_was_printed(digits_run, history_of):
    rows = history_of(digits_run)
    assert [row['epoch'] for row in rows] == ['1', '2']
    lines = [line for line in digits_run.stdout.splitlines() if line.startswith('epoch ')]
    for row, line in zip(rows, lines, strict=True):
        training, validation = re.search(r'train (.*) \| val (.*) \|', line).groups()
        for split, text in (('train', training), ('val', validation)):
            shown = dict(zip(text.split()[::2], text.split()[1::2], strict=True))
            assert {'loss', 'acc', 'f1_macro'} <= set(shown)
            assert {name: f'{float(row[f"{split}/{name}"]):#.4g}' for name in shown} == shown


def test_tensorboard_reads_the_same_values_and_both_pictures(digits_run, history_of, events_of):
    events = check_events(digits_run, history_of, events_of)
    assert [event.value for event in events.scalars['lr']] == [pytest.approx(1e-3)] * 2
    for tag, pictures in events.images.items():
        for event in pictures:
            picture = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
            # Two rows of four digits, enlarged four times, below each two lines of text and its name; 4 pixels between.
            assert picture.shape == (2 * (112 + 3 * 17 + 2 * 4) + 4, 4 * 112 + 3 * 4, 3), tag
            assert (picture[:112, :112] > 200).any(), 'strokes'
            assert (picture[:112, :112] == 0).any(), 'their background'


def test_the_table_of_hyperparameters_has_no_columns_for_what_follows_from_the_data(digits_run):
    reader = EventAccumulator(str(digits_run.directory)).Reload()
    start, experiment = (
        HParamsPluginData.FromString(reader.PluginTagToContent('hparams')[f'_hparams_/{name}'])
        for name in ('session_start_info', 'experiment')
    )
    assert set(start.session_start_info.hparams) == {'model_type', 'lr', 'batch_size', 'epochs', 'seed'}
    names = [info.name.tag for info in experiment.experiment.metric_infos]
    assert names[:2] == ['best/acc', 'val/loss'] and names[-1].startswith('train/')


def test_validation_pictures_are_spread_over_the_list(digits_run, events_of):
    with np.load(os.path.join(os.path.dirname(train.__file__), 'data', 'digits.npz')) as file:
        first = file['test_images'][72]  # in the middle of an eighth of 6 batches of 192
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
    assert (state['epoch'], state['step']) == (2, 2 * 27), '5,000 images in batches of 192'
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
    assert epochs == {'epoch_0002.pth': 2, 'epoch_0004.pth': 4, 'last.prev.pth': 4, 'last.pth': 5}


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
    assert log_of(list_run).splitlines()[:-1] == list_run.stdout.partition('\n\n')[0].splitlines()


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
