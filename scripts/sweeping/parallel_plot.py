"""sweep_parallel.png: parallel coordinates, a line per trial through the values of its options (Inselberg 1985)."""

import math

from scripts.sweeping.study import DIRECTION
from scripts.sweeping.sweep_plot import (
    choice_positions,
    complete_trials,
    finite_trials,
    needs_log_scale,
    save_figure,
    set_log_ticks,
)
from utils.base.middle_cut import cut_middle
from utils.base.text_table import number_text, truncate_cell
from utils.drawing.fonts import drawable, families_of
from utils.drawing.matplotlib_import import import_matplotlib

MIN_OPTIONS, MAX_OPTIONS = 2, 11  # with the metric, 3 to 12 axes; sweep.png shows a single option
MAX_CHOICE_LABELS = 16  # of an axis; of more choices, only some are labelled
NAME_LENGTH, CHOICE_LENGTH = 16, 14  # characters
MARGIN = 0.03  # between the ends of an axis and the outermost values, as a share of the axis
MANY_TRIALS = 60  # from here on the lines are more transparent
FAINT = 0.93  # the yellow end of viridis is cut off, which is faint on white
BEST, PRUNED, AXIS = '#D55E00', '#C8C8C8', '#444444'  # vermilion of Okabe and Ito 2008, which viridis does not have


class Axis:
    """One axis of the plot.

    Args:
        name: of the option or metric (str).
        places: dict from the number of a trial to its position, in units of `limits`.
        limits: (low, high).
        log: whether the axis is logarithmic (bool).
        choices: texts (list of str) at the positions 0, 1 ..., or None for numbers.
    """

    def __init__(self, name, places, limits, log=False, choices=None):
        self.name, self.places, self.limits, self.log, self.choices = name, places, limits, log, choices

    def height(self, trial):
        """Return the height of a trial (FrozenTrial) on the axis (float): 0 at the lower end, 1 at the upper end."""
        scale = math.log if self.log else float
        low, high, value = (scale(number) for number in (*self.limits, self.places[trial.number]))
        return (value - low) / (high - low)


def draw_parallel(path, trials, metric, definition):
    """Draw the parallel coordinates of a sweep as a PNG file, which is replaced atomically.

    The axes are the options that vary, in the order of --set, logarithmic where the search space is, and the metric.

    Args:
        path: Path of the file.
        trials: list of FrozenTrial, at least one of them complete.
        metric: name of the metric (str).
        definition: definition of the study (dict), as study.Sweep.definition returns it.

    Returns:
        Whether the file was written (bool): not if fewer than two options vary.
    """
    spaces, drawn = definition.get('--set', {}), finite_trials(trials)
    drawn = [trial for trial in drawn if all(name in trial.params for name in spaces)]
    names = [name for name in spaces if len({trial.params[name] for trial in drawn}) > 1]
    if len(names) < MIN_OPTIONS or not complete_trials(drawn):
        path.unlink(missing_ok=True)
        return False
    axes = [option_axis(drawn, name, spaces[name].startswith('log:')) for name in names[:MAX_OPTIONS]]
    values = {trial.number: trial.value for trial in drawn}
    axes.append(Axis(metric, values, *number_limits(values.values(), needs_log_scale(values.values()))))
    left_out = f'; {len(names) - MAX_OPTIONS} more options vary' if len(names) > MAX_OPTIONS else ''
    matplotlib = import_matplotlib()
    texts = [text for axis in axes for text in (axis.name, *(axis.choices or ()))]
    with matplotlib.rc_context({'font.family': families_of(texts)}):
        save_figure(figure_of(axes, drawn, definition.get(DIRECTION) != 'min', left_out), path)
    return True


def option_axis(trials, name, log):
    """Return the Axis of an option with more than one value."""
    order, places = choice_positions(trials, name)
    if order:
        return Axis(name, places, (-0.5, len(order) - 0.5), choices=order)
    values = {trial.number: trial.params[name] for trial in trials}
    return Axis(name, values, *number_limits(values.values(), log))


def number_limits(values, log):
    """Return the limits (low, high) of an axis of numbers, and whether it is logarithmic (bool)."""
    low, high = (math.log(end) if log else end for end in (min(values), max(values)))
    margin = MARGIN * (high - low) or MARGIN * abs(low) or MARGIN
    low, high = low - margin, high + margin
    return ((math.exp(low), math.exp(high)) if log else (low, high)), log


def figure_of(axes, trials, larger, left_out=''):
    """Return the matplotlib Figure.

    Args:
        axes: list of Axis, the last one that of the metric.
        trials: list of FrozenTrial with finite values.
        larger: whether a larger value is better (bool).
        left_out: end of the title (str).
    """
    from matplotlib.figure import Figure  # not pyplot, which keeps global state

    figure = Figure(figsize=(max(7.0, 2.0 + 1.35 * (len(axes) - 1)), 5.2), layout='constrained')
    host = figure.subplots()
    host.set(xlim=(0, len(axes) - 1), ylim=(0, 1), xticks=[], yticks=[])
    host.spines[:].set_visible(False)
    complete = complete_trials(trials)
    best = (max if larger else min)(complete, key=lambda trial: trial.value)
    _draw_lines(host, axes, trials, complete, best, larger)
    for position, axis in enumerate(axes):
        _draw_axis(host, axis, position / (len(axes) - 1))
    pruned = f', {len(trials) - len(complete)} pruned' if len(trials) > len(complete) else ''
    figure.suptitle(
        f'{truncate_cell(axes[-1].name, 40)}: {len(complete)} complete trials{pruned}{left_out}', fontsize=11
    )
    _draw_legend(figure, best, bool(pruned), larger)
    return figure


def colour_map(larger):
    """Return the colours from the lowest to the highest value (matplotlib Colormap): better is darker."""
    matplotlib = import_matplotlib()
    from matplotlib.colors import ListedColormap

    worst_to_best = [matplotlib.colormaps['viridis'](FAINT * (1 - i / 255)) for i in range(256)]
    return ListedColormap(worst_to_best if larger else worst_to_best[::-1])


def _draw_lines(host, axes, trials, complete, best, larger):
    """Draw a line per trial: pruned trials below all others, better trials above worse ones, the best with markers."""
    from matplotlib.collections import LineCollection

    def line(trial):
        return [(position, axis.height(trial)) for position, axis in enumerate(axes)]

    pruned = [trial for trial in trials if trial not in complete]
    host.add_collection(LineCollection([line(trial) for trial in pruned], colors=PRUNED, linewidths=0.8, zorder=1))
    ordered = sorted(complete, key=lambda trial: trial.value, reverse=not larger)
    opacity = 0.8 if len(ordered) <= MANY_TRIALS else 0.5
    # The height on the last axis, not the value, so that the colours of a logarithmic axis are spread evenly too.
    colours = colour_map(larger)([axes[-1].height(trial) for trial in ordered])
    host.add_collection(
        LineCollection([line(trial) for trial in ordered], colors=colours, linewidths=1.1, alpha=opacity, zorder=2)
    )
    horizontal, vertical = zip(*line(best), strict=True)
    host.plot(horizontal, vertical, color='white', lw=5, zorder=3, clip_on=False)
    host.plot(horizontal, vertical, color=BEST, lw=2.6, marker='o', ms=6, zorder=4, clip_on=False)


def _draw_axis(axes, axis, position):
    """Draw an axis with its ticks and name; `position`: from 0, left, to 1."""
    from matplotlib.ticker import MaxNLocator

    own = axes.twinx()
    own.set_zorder(axes.get_zorder() + 1)
    own.spines[:].set_visible(False)
    own.spines['right'].set(visible=True, position=('axes', position), color=AXIS)
    own.set_ylim(axis.limits)
    if axis.choices:
        step = -(-len(axis.choices) // MAX_CHOICE_LABELS)
        shown = range(0, len(axis.choices), step)
        own.set_yticks(shown, [shortened(axis.choices[each], CHOICE_LENGTH) for each in shown])
    elif axis.log:
        own.set_yscale('log')
        own.set_ylim(axis.limits)
        set_log_ticks(own.yaxis, axis.limits)
    else:
        whole = all(isinstance(value, int) for value in axis.places.values())
        own.yaxis.set_major_locator(MaxNLocator(6, integer=whole, min_n_ticks=2))
    own.tick_params(labelsize=8, color=AXIS, which='both')
    for label in own.get_yticklabels(which='both'):
        label.set_bbox({'facecolor': 'white', 'edgecolor': 'none', 'alpha': 0.7, 'pad': 0.6})
    axes.text(position, 1.03, shortened(axis.name, NAME_LENGTH), transform=axes.transAxes, ha='center', fontsize=9)


def shortened(text, length):
    """Return a text (str) of at most `length` characters: the middle of a longer one is replaced by an ellipsis.

    Characters that no installed font has become '?'.
    """
    _, text = drawable(text)
    return cut_middle(text, length)


def _draw_legend(figure, best, pruned, larger):
    """Write what the lines mean below the plot; `pruned`: whether there are pruned trials (bool)."""
    from matplotlib.lines import Line2D

    better = 'higher' if larger else 'lower'
    handles = [
        Line2D([], [], color=BEST, lw=2.6, marker='o', label=f'best: trial {best.user_attrs["place"]}, '
               f'{number_text(best.value)}'),
        Line2D([], [], color=colour_map(True)(1.0), lw=1.6, label=f'complete; darker: {better}, better'),
    ]  # fmt: skip
    if pruned:
        handles.append(Line2D([], [], color=PRUNED, lw=1.6, label='pruned, at the last value'))
    figure.legend(handles=handles, loc='outside lower center', ncols=len(handles), frameon=False, fontsize=9)
