"""curves.png: panels, marks and layout."""

import math

import numpy as np
import pytest
from PIL import Image

from utils.drawing.curves import draw_curves, figure_of, panels_of, resumptions
from utils.training.checkpoint_selector import CheckpointSelector

pytestmark = pytest.mark.usefixtures('real_curves')

BLUE, ORANGE, GREEN = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0x00, 0x9E, 0x73)


def history_of(epochs, names=('loss', 'acc'), **changed):
    """Return the rows of a number of epochs; `changed` overrides values: val_acc={epoch: value}."""
    rows = []
    for epoch in range(1, epochs + 1):
        row = {'epoch': epoch}
        for split in ('train', 'val'):
            row |= {f'{split}/{name}': (1 if name.startswith('loss') else epoch) / epoch**0.5 for name in names}
        rows.append(row | {'lr': 0.1 / epoch, 'seconds': 3.0})
    for name, values in changed.items():
        for epoch, value in values.items():
            rows[epoch - 1][name.replace('_', '/', 1)] = value
    return rows


def lines_of(axes):
    """Return the curves of a panel: dict from a colour (str) to its values (list of float)."""
    return {line.get_color(): list(line.get_ydata()) for line in axes.lines if len(line.get_xdata()) > 2}


def upright(axes):
    """Return the positions of the vertical lines of a panel, by colour (dict of list of float)."""
    found = {}
    for line in axes.lines:
        if len(line.get_xdata()) == 2 and line.get_ydata()[0] == 0 and line.get_ydata()[1] == 1:
            found.setdefault(line.get_color(), []).append(line.get_xdata()[0])
    return found


def test_the_loss_comes_first_and_its_parts_last():
    rows = history_of(2, ('acc', 'loss_ce', 'loss', 'f1_macro', 'precision_macro', 'recall_macro', 'loss_dice'))
    assert panels_of(rows) == ['loss', 'acc', 'f1_macro', 'loss_ce', 'loss_dice']
    assert panels_of(rows, 'val/f1_macro')[:3] == ['loss', 'f1_macro', 'acc']


def test_details_have_panels_if_they_are_monitored_or_have_no_mean():
    rows = history_of(2, ('loss', 'f1_macro', 'precision_macro', 'recall_macro'))
    assert panels_of(rows, 'val/recall_macro') == ['loss', 'recall_macro', 'f1_macro']
    assert panels_of(history_of(2, ('loss', 'precision_macro'))) == ['loss', 'precision_macro']


@pytest.mark.parametrize('epochs', [1, 3, 300])
def test_each_value_is_drawn_for_any_number_of_epochs(epochs, tmp_path):
    rows = history_of(epochs)
    draw_curves(rows, tmp_path / 'curves.png', ('val/acc', epochs), title='run')
    pixels = np.asarray(Image.open(tmp_path / 'curves.png').convert('RGB')).reshape(-1, 3)
    for colour in (ORANGE, GREEN):  # the two curves are the same, and validation is on top
        assert (pixels == colour).all(axis=1).sum() > 20
    assert [path.name for path in tmp_path.iterdir()] == ['curves.png']


def test_training_and_validation_share_a_panel_and_the_learning_rate_is_below():
    loss, acc, lr = figure_of(history_of(5)).axes
    assert (loss.get_title(), acc.get_title(), lr.get_ylabel()) == ('loss', 'acc', 'lr')
    assert set(lines_of(loss)) == {'#0072B2', '#D55E00'}
    assert list(lines_of(lr).values()) == [[0.1 / e for e in range(1, 6)]], 'drawn once'
    assert lr.get_subplotspec().rowspan.start > loss.get_subplotspec().rowspan.start
    assert lr.get_xlim() == loss.get_xlim()


def test_without_a_learning_rate_there_is_no_panel_for_it():
    rows = [{'epoch': e, 'train/loss': 1.0} for e in (1, 2, 3)]
    assert [axes.get_title() for axes in figure_of(rows).axes] == ['loss']


def test_the_best_epoch_is_marked_in_all_panels_and_its_value_is_written():
    rows = history_of(6, val_acc={4: 99.5})
    figure = figure_of(rows, ('val/acc', 4))
    assert all(upright(axes)['#009E73'] == [4] for axes in figure.axes)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ['train', 'val', 'best: val/acc 99.50 in epoch 4']
    rings = [line for axes in figure.axes for line in axes.lines if line.get_markerfacecolor() == 'none']
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in rings] == [(4, 99.5)]


def test_where_a_run_was_resumed_is_marked():
    figure = figure_of(history_of(6), None, [2, 5])
    assert all(upright(axes) == {'#777777': [2.5, 5.5]} for axes in figure.axes)
    assert figure.legends[0].get_texts()[-1].get_text() == 'resumed (2 times)'


def test_gaps_stay_gaps_and_isolated_values_have_markers():
    nans = dict.fromkeys((3, 5, 6, 40), math.nan) | {10: math.inf}
    acc = figure_of(history_of(40, val_acc=nans)).axes[1]
    (line,) = [line for line in acc.lines if line.get_color() == '#D55E00']
    assert [i + 1 for i, value in enumerate(line.get_ydata()) if math.isnan(value)] == [3, 5, 6, 10, 40]
    assert [i + 1 for i in line.get_markevery()] == [4]


def test_a_panel_without_numbers_says_so(tmp_path):
    rows = history_of(3, ('loss', 'r2'), **{f'{s}_r2': dict.fromkeys((1, 2, 3), math.nan) for s in ('train', 'val')})
    draw_curves(rows, tmp_path / 'curves.png')
    assert [text.get_text() for text in figure_of(rows).axes[1].texts] == ['no number in any epoch']


def test_an_outlier_in_the_first_epoch_is_cut_off():
    rows = history_of(20, ('loss', 'r2'), val_r2={1: -5000.0})
    r2 = figure_of(rows).axes[1]
    assert -1 < r2.get_ylim()[0] < r2.get_ylim()[1] < 6
    assert [text.get_text() for text in r2.texts] == ['▼ 1 beyond']
    calm = figure_of(history_of(20, ('loss', 'acc'), val_acc={1: 0.0})).axes[1]
    assert calm.get_ylim()[0] < 0, 'a first epoch like any other is drawn'
    assert not calm.texts


def test_a_loss_over_several_powers_of_ten_has_a_logarithmic_scale():
    rows = history_of(10, train_loss={1: 900.0})
    assert figure_of(rows).axes[0].get_yscale() == 'log'
    assert figure_of(history_of(10)).axes[0].get_yscale() == 'linear'
    assert figure_of(history_of(10, train_loss={1: 900.0, 5: -1.0})).axes[0].get_yscale() == 'linear'


@pytest.mark.filterwarnings('error::UserWarning')  # such as that of a character that no font has
def test_texts_do_not_overlap():
    figure = figure_of(history_of(12, ('loss', 'acc', 'f1_macro', 'auroc', '准确率')), ('val/acc', 12), [3], '丹炉_1')
    figure.draw_without_rendering()  # lays out the panels
    boxes = [axes.get_tightbbox() for axes in figure.axes] + [figure.legends[0].get_window_extent()]
    for i, one in enumerate(boxes):
        assert one.x0 >= 0
        assert one.y0 >= 0
        assert one.x1 <= figure.bbox.width
        assert one.y1 <= figure.bbox.height
        assert not any(one.shrunk(0.99, 0.99).overlaps(other) for other in boxes[i + 1 :])


@pytest.mark.parametrize(
    ('log', 'found'),
    [
        ('epoch 1/5  train loss 1\n', []),
        ('resumed after epoch 2\nepoch 3/5 train\nresumed after epoch 3 and batch 7 of epoch 4; changed: lr\n', [2, 3]),
        ('resumed after batch 4 of epoch 1\n', [0]),
        ('resumed after epoch 4\nresumed after epoch 2\nepoch 3\nresumed after epoch 3\n', [2, 3]),
        ('resumed after epoch 2\nresumed after epoch 2 and batch 1 of epoch 3\n', [2]),
        ('it was resumed after epoch 2\n', []),
    ],
)
def test_the_log_says_where_a_run_was_resumed(log, found):
    assert resumptions(log) == found


@pytest.mark.parametrize(('mode', 'epoch'), [('max', 3), ('min', 2)])
def test_the_best_epoch_of_a_history_is_the_one_that_a_run_takes(mode, epoch):
    values = [math.nan, 1.0, 5.0, 1.0, 5.0, math.nan]
    rows = [{'epoch': e, 'val/acc': value} for e, value in enumerate(values, 1)]
    selection = CheckpointSelector('val/acc', mode)
    for row in rows:
        selection.update_best(row)
    assert selection.best_epoch_of(rows) == ('val/acc', epoch) == ('val/acc', selection.best['epoch'])
    assert selection.best_epoch_of(rows[:1]) is None
    assert CheckpointSelector('val/other', mode).best_epoch_of(rows) is None
