"""sweep_parallel.png: which axes it has, where the lines run, and which colours they have."""

import math
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL import Image

from scripts.sweeping.parallel_plot import MAX_OPTIONS, colour_map, draw_parallel, figure_of, option_axis, shortened
from scripts.sweeping.study import DIRECTION
from scripts.sweeping.sweep_plot import set_log_ticks
from utils.drawing.colours import as_seen

optuna = pytest.importorskip('optuna', reason='optuna is not installed: pip install -r requirements-extra.txt')
LONG = 'width=8,depth=2,dropout=0.1', 'width=8,depth=3,dropout=0.1'


def trial(number, value, state='COMPLETE', **params):
    """Return a FrozenTrial whose parameters are of any distribution."""
    kinds = {name: optuna.distributions.CategoricalDistribution([each]) for name, each in params.items()}
    made = optuna.trial.create_trial(
        state=optuna.trial.TrialState[state],
        value=value,
        params=params,
        distributions=kinds,
        user_attrs={'place': number},
    )
    made.number = number
    return made


def trials_of_three():
    """Return three complete trials and a pruned one of lr, model_type, model_args."""
    rows = [(0.001, 'lenet', LONG[0]), (0.01, 'mlp', LONG[1]), (0.1, 'lenet', LONG[0]), (0.003, 'mlp', LONG[0])]
    values = [0.5, 0.9, 0.7, 0.95]
    return [
        trial(i, values[i], 'PRUNED' if i == 3 else 'COMPLETE', lr=rate, model_type=kind, model_args=words)
        for i, (rate, kind, words) in enumerate(rows)
    ]


def figure_for(trials, larger=True):
    """Return the figure of trials of lr (logarithmic), model_type and model_args, and its axes of the plot (list)."""
    axes = [option_axis(trials, name, name == 'lr') for name in ('lr', 'model_type', 'model_args')]
    axes.append(option_axis([trial(each.number, None, 'FAIL', acc=each.value) for each in trials], 'acc', log=False))
    return figure_of(axes, trials, larger), axes


def test_lines_run_through_the_values_on_a_logarithmic_axis_where_the_search_was_logarithmic():
    trials = trials_of_three()
    figure, axes = figure_for(trials)
    heights = [axes[0].height(each) for each in trials[:3]]
    assert heights == pytest.approx([heights[0], 0.5, 1 - heights[0]])
    pruned, complete = (each for each in figure.axes[0].collections if isinstance(each, LineCollection))
    assert [len(each.get_segments()) for each in (pruned, complete)] == [1, 3]
    drawn = {round(segment[0][1], 6): segment[:, 1] for segment in complete.get_segments()}
    for each in trials[:3]:
        expected = [axis.height(each) for axis in axes]
        assert drawn[round(expected[0], 6)] == pytest.approx(expected)
    host, *own = figure.axes
    assert [each.get_yscale() for each in own] == ['log', 'linear', 'linear', 'linear']
    for axis, each in zip(axes, own, strict=True):
        assert each.get_ylim() == pytest.approx(axis.limits), 'the ticks belong to the lines'
    assert [label.get_text() for label in own[1].get_yticklabels()] == ['lenet', 'mlp']
    assert [text.get_text() for text in host.texts] == ['lr', 'model_type', 'model_args', 'acc']


@pytest.mark.parametrize(('larger', 'best'), [(True, 1), (False, 0)])
def test_the_best_complete_trial_is_drawn_last_and_named_also_if_a_pruned_one_was_better(larger, best):
    trials = trials_of_three()
    figure, axes = figure_for(trials, larger)
    *_, top = figure.axes[0].lines
    assert top.get_ydata() == pytest.approx([axis.height(trials[best]) for axis in axes])
    assert f'best: trial {best}, 0.{trials[best].value * 10:.0f}' in figure.legends[0].get_texts()[0].get_text()
    assert figure.get_suptitle() == 'acc: 3 complete trials, 1 pruned'


@pytest.mark.parametrize('larger', [True, False])
def test_better_is_darker_for_every_kind_of_colour_vision(larger):
    colours = 255 * np.array(colour_map(larger)(np.linspace(0, 1, 12)))[:, :3]
    for lightness in as_seen(colours)[..., 0]:
        steps = np.diff(lightness) * (1 if larger else -1)
        assert (steps < 0).all()


def test_the_ends_of_long_names_stay_as_choices_often_differ_there():
    short = [shortened(word.removesuffix(',dropout=0.1'), 14) for word in LONG]
    assert short == ['width=…depth=2', 'width=…depth=3']
    assert shortened('lr', 14) == 'lr'


@pytest.mark.parametrize('count', [2, MAX_OPTIONS, MAX_OPTIONS + 2])
def test_the_file_has_3_to_12_axes(count, tmp_path):
    names = [f'option_{i}' for i in range(count)]
    trials = [trial(n, 0.1 + n, **{name: n + i + 1 for i, name in enumerate(names)}, same=1) for n in range(3)]
    definition = {'--set': dict.fromkeys([*names, 'same'], 'log:1:99'), DIRECTION: 'min'}
    path = tmp_path / 'plot.png'
    if count == MAX_OPTIONS:  # one file is enough, as drawing takes time
        assert draw_parallel(path, trials, 'val/loss', definition)
        assert Image.open(path).size[0] > 1000
        assert list(tmp_path.iterdir()) == [path]
        return
    axes = [option_axis(trials, name, log=True) for name in names]
    assert all(0 <= low < high <= 1 for axis in axes for low, high in pairwise(map(axis.height, trials)))
    assert not any(math.isnan(axis.height(each)) for axis in axes for each in trials)


def test_where_fewer_than_two_options_vary_there_is_no_file(tmp_path):
    path = tmp_path / 'plot.png'
    path.touch()
    trials = [trial(n, 0.1 * n, lr=0.1 + n, batch_size=8) for n in range(3)]
    assert not draw_parallel(path, trials, 'val/acc', {'--set': {'lr': '0.1:9', 'batch_size': '8:64'}})
    assert not path.exists(), 'an earlier file would show other trials'


@pytest.mark.parametrize('limits', [(0.0025, 0.09), (0.01, 0.02), (0.011, 0.019), (1e-6, 1)])
def test_ticks_of_a_logarithmic_axis_do_not_overlap(limits):
    figure = Figure(figsize=(4.2, 3.6))
    axes = figure.subplots()
    axes.set(xscale='log', xlim=limits)
    set_log_ticks(axes.xaxis, limits)
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in axes.get_xticklabels(which='both') if label.get_text()]
    boxes = sorted((box.x0, box.x1) for box in boxes if axes.bbox.x0 <= (box.x0 + box.x1) / 2 <= axes.bbox.x1)
    assert len(boxes) >= 2 and all(a[1] < b[0] for a, b in pairwise(boxes))
