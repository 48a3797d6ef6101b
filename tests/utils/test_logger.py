"""Exact means, and what a run leaves in its directory while it goes on."""

import csv
import io
import math
import re

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from utils import logger as logger_module
from utils.drawing import curves
from utils.logger import Logger, Recorder
from utils.training.checkpoint_selector import CheckpointSelector

pytestmark = pytest.mark.usefixtures('real_curves')

# --- Recorder


@pytest.mark.parametrize('kind', ['numbers', 'tensors', 'tensor and number', 'both mixed'])
@pytest.mark.parametrize('batches', [3, 500])
def test_the_mean_is_over_samples_and_not_over_batches(kind, batches):
    random = np.random.default_rng(0)
    values = random.random(batches).astype(np.float32).tolist()
    counts = [7] * (batches - 1) + [2]
    recorder = Recorder()
    for step, (value, count) in enumerate(zip(values, counts, strict=True)):
        as_tensor = kind in ('tensors', 'tensor and number') or (kind == 'both mixed' and step % 2)
        given = torch.tensor(value) if as_tensor else value
        recorder.record('loss', given, torch.tensor(count) if kind == 'tensors' else count)
    exact = math.fsum(v * c for v, c in zip(values, counts, strict=True)) / sum(counts)
    assert exact != pytest.approx(sum(values) / batches, rel=1e-9), 'the test must tell the two means apart'
    assert recorder.mean('loss') == pytest.approx(exact, rel=1e-13)
    assert recorder.summary() == {'loss': pytest.approx(exact, rel=1e-13)}


def test_the_mean_can_be_read_in_between():
    recorder = Recorder()
    means = []
    for step in range(1, 200):
        recorder.record('loss', torch.tensor(float(step)), 1)
        if step % 50 == 0:
            means.append(recorder.mean('loss'))
    assert means == [25.5, 50.5, 75.5]
    assert recorder.summary() == {'loss': 100.0}


def test_names_are_kept_apart_and_forgotten_after_the_summary():
    recorder = Recorder()
    recorder.record('a', 1.0, 3)
    recorder.record('b', torch.tensor(5.0))
    assert recorder.summary() == {'a': 1.0, 'b': 5.0}
    recorder.record('a', 2.0)
    assert recorder.summary() == {'a': 2.0}
    assert recorder.summary() == {}


def test_batches_without_anything_to_count_have_no_weight():
    recorder = Recorder()
    recorder.record('loss', torch.tensor(4.0), torch.tensor(2))
    recorder.record('loss', torch.tensor(0.0), torch.tensor(0))
    assert recorder.mean('loss') == 4.0
    recorder.record('nothing', torch.tensor(0.0), torch.tensor(0))
    assert math.isnan(recorder.summary()['nothing'])


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_a_value_that_is_no_number_stays_one(value):
    recorder = Recorder()
    recorder.record('loss', torch.tensor(1.0), 8)
    recorder.record('loss', torch.tensor(value), 8)
    assert not math.isfinite(recorder.mean('loss'))


@pytest.mark.parametrize('count', [8, torch.ones((), dtype=torch.int64, device='meta')])
def test_recording_never_waits_for_the_device(count):
    """A tensor on the meta device has no value: whoever asks for it gets an error, where a GPU would be waited for."""
    recorder = Recorder()
    for _ in range(300):
        recorder.record('loss', torch.ones((), device='meta', requires_grad=True), count)
    with pytest.raises((RuntimeError, NotImplementedError)):
        recorder.mean('loss')


def test_recording_keeps_no_graph():
    recorder, weight = Recorder(), torch.ones(3, requires_grad=True)
    value = weight.sum()
    recorder.record('loss', value, 2)
    held = [v for store in vars(recorder).values() if isinstance(store, dict) for v in _tensors(store.values())]
    assert held, 'the value must be held as a tensor until it is asked for'
    assert not any(tensor.requires_grad for tensor in held)


def _tensors(values):
    for value in values:
        if torch.is_tensor(value):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


# --- Logger


@pytest.fixture
def opened(tmp_path):
    """Return a function that opens a Logger in tmp_path; all are closed at the end."""
    loggers = []

    def open_logger(history=()):
        loggers.append(Logger(tmp_path, history))
        return loggers[-1]

    yield open_logger
    for logger in loggers:
        if not logger.log.closed:
            logger.close()


def test_a_weighted_sum_is_made_of_exact_means():
    recorder = Recorder()
    for value, count in ((1.0, 1), (4.0, 3)):
        parts = {'loss_a': (1.0, torch.tensor(value), count), 'loss_b': (0.5, 10 * value, torch.tensor(1.0 / count))}
        recorder.record_sum('loss', parts)
    a, b = (1 + 12) / 4, 10 * (1 + 4 / 3) / (4 / 3)
    assert recorder.mean('loss') == recorder.recent('loss') == pytest.approx(a + 0.5 * b)
    assert recorder.recent('loss_a') == pytest.approx(a)
    assert math.isnan(recorder.recent('loss'))
    recorder.record_sum('loss', {'loss_a': (1.0, 7.0, 2), 'loss_b': (0.5, 6.0, 1)})
    assert recorder.recent('loss') == pytest.approx(10.0)
    summary = recorder.summary()
    assert list(summary) == ['loss', 'loss_a', 'loss_b']
    assert summary['loss'] == pytest.approx(summary['loss_a'] + 0.5 * summary['loss_b'])
    recorder.record('loss', 3.0)  # what was a sum can be a mean again
    assert recorder.summary() == {'loss': 3.0}


def record_epoch(logger, epoch, loss):
    """Record one epoch and end it."""
    logger.record('train/loss', torch.tensor(loss, dtype=torch.float64), 4)
    logger.record('val/loss', loss / 2)
    logger.record('lr', 0.1)
    return logger.save_curves(epoch)


def rows(folder):
    """Return the rows of history.csv (list of dict of str)."""
    with open(folder / 'history.csv', newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def scalars(folder, tag):
    """Return (step, value) pairs of a tag, as TensorBoard reads them."""
    reader = EventAccumulator(str(folder), size_guidance={'scalars': 0, 'images': 0})
    reader.Reload()
    return [(event.step, event.value) for event in reader.Scalars(tag)]


def test_print_reaches_stdout_and_the_log_and_write_only_the_log(tmp_path, opened, capsys):
    logger = opened()
    logger.print('run: 丹炉')
    logger.write('only here')
    logger.print('two\nlines')
    # Whoever looks at the log while the run goes on sees everything: nothing waits for `close`.
    assert (tmp_path / 'log.txt').read_text(encoding='utf-8') == 'run: 丹炉\nonly here\ntwo\nlines\n'
    assert capsys.readouterr().out == 'run: 丹炉\ntwo\nlines\n'


def test_long_lines_are_broken_for_the_terminal_and_not_in_the_log(tmp_path, opened, capsys, monkeypatch):
    monkeypatch.setattr('utils.logger.terminal_width', lambda: 20)
    opened().print('options that differ: lr=0.002')
    assert (tmp_path / 'log.txt').read_text(encoding='utf-8') == 'options that differ: lr=0.002\n'
    assert capsys.readouterr().out == 'options that differ:\n  lr=0.002\n'


def test_the_log_of_an_earlier_start_is_kept(tmp_path, opened):
    opened().print('first')
    opened().print('second')
    assert (tmp_path / 'log.txt').read_text(encoding='utf-8') == 'first\nsecond\n'


def test_an_epoch_gets_a_row_at_once_with_every_digit(tmp_path, opened):
    logger, loss = opened(), 1 / 3
    row = record_epoch(logger, 1, loss)
    assert row == {'epoch': 1, 'train/loss': loss, 'val/loss': loss / 2, 'lr': 0.1}
    assert logger.history == [row]
    assert rows(tmp_path) == [{'epoch': '1', 'train/loss': repr(loss), 'val/loss': repr(loss / 2), 'lr': '0.1'}]
    assert scalars(tmp_path, 'train/loss') == [(1, pytest.approx(loss, rel=1e-6))]
    record_epoch(logger, 2, 0.25)
    assert [row['epoch'] for row in rows(tmp_path)] == ['1', '2']
    assert scalars(tmp_path, 'val/loss')[1] == (2, 0.125)
    assert (tmp_path / 'history.csv').read_text().count('epoch') == 1, 'one header'


def test_going_on_forgets_what_came_after_the_checkpoint(tmp_path, opened):
    """The run was stopped in epoch 3, after its values were written, and goes on from the checkpoint of epoch 2."""
    logger = opened()
    history = [record_epoch(logger, epoch, 1.0 / epoch) for epoch in (1, 2, 3)][:2]
    logger.save_imgs({'train/samples': np.zeros((4, 4, 3), np.uint8)}, 3)
    logger.close()
    logger = opened(history)
    assert [row['epoch'] for row in rows(tmp_path)] == ['1', '2']
    record_epoch(logger, 3, 0.5)
    record_epoch(logger, 4, 0.25)
    logger.close()
    assert [(row['epoch'], row['train/loss']) for row in rows(tmp_path)] == [
        ('1', '1.0'),
        ('2', '0.5'),
        ('3', '0.5'),
        ('4', '0.25'),
    ]
    assert scalars(tmp_path, 'train/loss') == [(1, 1.0), (2, 0.5), (3, 0.5), (4, 0.25)]


def test_tensorboard_has_training_and_validation_in_one_chart_and_the_best_epoch(tmp_path):
    logger = Logger(tmp_path, selection=CheckpointSelector('val/loss', 'min'))
    for epoch, loss in enumerate((4.0, 2.0, 3.0), 1):
        record_epoch(logger, epoch, loss)
    logger.close()
    reader = EventAccumulator(str(tmp_path), size_guidance={'tensors': 0})
    reader.Reload()
    assert [(e.step, e.value) for e in reader.Scalars('best/epoch')] == [(1, 1), (2, 2), (3, 2)]
    assert [(e.step, e.value) for e in reader.Scalars('best/loss')] == [(1, 2.0), (2, 1.0), (3, 1.0)]
    (event,) = reader.Tensors('custom_scalars__config__')
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    charts = {chart.title: list(chart.multiline.tag) for chart in layout.category[0].chart}
    assert list(charts) == ['loss', 'learning rate']
    shown = {title: [tag for tag in reader.Tags()['scalars'] for pattern in patterns if re.match(pattern, tag)]
             for title, patterns in charts.items()}  # fmt: skip
    assert {title: sorted(tags) for title, tags in shown.items()} == {
        'loss': ['best/loss', 'train/loss', 'val/loss'],
        'learning rate': ['lr'],
    }
    assert 'resumed/text_summary' not in reader.Tags()['tensors']


def test_where_a_run_was_resumed_is_in_tensorboard_and_in_the_curves(tmp_path, opened, monkeypatch):
    logger = opened()
    history = [record_epoch(logger, epoch, 1.0 / epoch) for epoch in (1, 2)]
    logger.close()
    drawn = []
    monkeypatch.setattr(curves, 'draw_curves', lambda *given: drawn.append(given))
    logger = opened(history)
    logger.print('resumed after epoch 2 and batch 3 of epoch 3')
    record_epoch(logger, 3, 0.5)
    logger.close()
    reader = EventAccumulator(str(tmp_path), size_guidance={'tensors': 0})
    reader.Reload()
    (event,) = reader.Tensors('resumed/text_summary')
    assert event.step == 3
    assert event.tensor_proto.string_val[0].startswith(b'resumed after epoch 2')
    assert drawn[-1][3:] == ([2], tmp_path.name)


def test_the_history_given_is_not_changed_by_the_logger(opened):
    history = [{'epoch': 1, 'train/loss': 1.0}]
    record_epoch(opened(history), 2, 0.5)
    assert history == [{'epoch': 1, 'train/loss': 1.0}]


def test_pictures_arrive_in_tensorboard_as_they_were(tmp_path, opened):
    logger = opened()
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    logger.save_imgs({'val/samples': picture}, 4)
    logger.close()
    reader = EventAccumulator(str(tmp_path), size_guidance={'images': 0})
    reader.Reload()
    (event,) = reader.Images('val/samples')
    assert event.step == 4
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(event.encoded_image_string))), picture)


def test_curves_are_drawn_at_the_end_and_nothing_is_left_beside_them(tmp_path, opened):
    logger = opened()
    for epoch in (1, 2, 3):
        record_epoch(logger, epoch, 1.0 / epoch)
    assert not (tmp_path / 'curves.png').exists(), 'drawing takes longer than these epochs'
    logger.close()
    picture = np.asarray(Image.open(tmp_path / 'curves.png').convert('RGB')).reshape(-1, 3)
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):  # training and validation
        assert (picture == colour).all(axis=1).sum() > 50
    assert [path.name for path in tmp_path.glob('*partial*')] == []


def test_curves_are_drawn_while_a_long_run_goes_on(tmp_path, opened, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(logger_module.time, 'process_time', lambda: now[0])
    drawn = []
    monkeypatch.setattr(logger_module, 'draw_run', lambda directory, history, *rest: drawn.append(len(history)))
    logger = opened()
    for epoch in range(1, 11):
        now[0] += 20
        record_epoch(logger, epoch, 1.0)
    assert len(drawn) >= 3
    assert drawn == sorted(set(drawn))
    logger.close()
    assert drawn[-1] == 10


def test_a_run_without_an_epoch_closes_and_has_no_curves(tmp_path, opened):
    opened().close()
    assert not (tmp_path / 'curves.png').exists()
    assert not (tmp_path / 'history.csv').exists()


def test_checkpoints_are_written_into_the_run(tmp_path, opened):
    logger, weights = opened(), torch.zeros(2)
    logger.save_check_points({'best.pth': {'epoch': 3}, 'last.pth': {'model': {'weight': weights}}})
    weights += 1  # training goes on
    logger.checkpoints.finish()
    assert torch.load(tmp_path / 'last.pth', weights_only=True)['model']['weight'].tolist() == [0, 0]
    assert torch.load(tmp_path / 'best.pth', weights_only=True) == {'epoch': 3}


def test_a_value_that_comes_later_gets_its_column(opened, tmp_path):
    logger = opened([{'epoch': 1, 'train/loss': 1.0}])
    logger.record('gpu_memory_gib', 2.5)
    logger.save_curves(2)
    assert (tmp_path / 'history.csv').read_text().split() == ['epoch,train/loss,gpu_memory_gib', '1,1.0,', '2,,2.5']
    assert not list(tmp_path.glob('*.partial'))
