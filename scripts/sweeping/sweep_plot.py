"""sweep.png: the best value over the trials, and the value against each parameter."""

import math
import os

from scripts.sweeping.study import DIRECTION, trial_state
from utils.base.regular_files import made_regular
from utils.base.text_table import number_text
from utils.base.write_errors import wrap_write_errors
from utils.drawing.curves import BEST, COLOURS, RESUMED
from utils.drawing.matplotlib_import import import_matplotlib

MAX_COLUMNS = 3
CHOICE_WIDTH = 0.5  # horizontal spread of the points of one choice, as a share of the distance between choices
MAX_FINE_DECADES = 2.5  # up to this number, a logarithmic axis also has ticks at 2 and 5
MIN_LOG_DECADES = 0.5  # up to this number, a logarithmic axis has ticks at even steps, at most MAX_EVEN_TICKS
MAX_EVEN_TICKS = 6
LOG_RATIO = 50  # a logarithmic scale is used if the largest value is this many times the smallest


def draw_sweep(path, trials, metric, definition):
    """Draw the plot as a PNG file, which is replaced atomically.

    Args:
        path: Path of the file.
        trials: list of FrozenTrial, at least one of them complete.
        metric: name of the metric (str).
        definition: definition of the study (dict), as study.Sweep.definition returns it.
    """
    import_matplotlib()
    from matplotlib.figure import Figure  # not pyplot, which keeps global state

    ranges = definition.get('--set', {})
    panels = 1 + len(ranges)
    columns = 2 if panels == 4 else min(MAX_COLUMNS, panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(4.2 * columns, 0.5 + 3.1 * rows), layout='constrained')
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    drawn = finite_trials(trials)
    _draw_history(axes[0], drawn, metric, definition.get(DIRECTION) != 'min')
    for each, (name, text) in zip(axes[1:], ranges.items(), strict=False):
        _draw_parameter(each, drawn, name, text.startswith('log:'))
    values = [trial.value for trial in drawn]
    for each in axes[:panels]:
        each.grid(alpha=0.3)
        if needs_log_scale(values):
            each.set_yscale('log')
    for each in axes[panels:]:
        each.remove()
    figure.suptitle(f'{metric} of {len(drawn)} trials', fontsize=11)
    save_figure(figure, path)


def finite_trials(trials):
    """Return the trials (list of FrozenTrial) that have a finite value, the last value of a pruned trial."""
    return [trial for trial in trials if trial.value is not None and math.isfinite(trial.value)]


def complete_trials(trials):
    """Return the trials (list of FrozenTrial) that are complete."""
    return [trial for trial in trials if trial_state(trial) == 'complete']


def needs_log_scale(values):
    """Return whether values (floats) of a metric are drawn on a logarithmic scale (bool)."""
    return min(values) > 0 and max(values) > LOG_RATIO * min(values)


def save_figure(figure, path):
    """Write a matplotlib Figure to a PNG file (Path), which is replaced atomically."""
    partial = path.with_name(f'{path.stem}.partial.{os.getpid()}.png')  # several workers may draw at the same time
    with wrap_write_errors(path):
        figure.savefig(made_regular(partial), dpi=100)
        os.replace(partial, path)


def choice_positions(trials, name):
    """Return the choices of a parameter (list of str) and the positions of the trials (dict from number to float).

    Choice k is at position k; its trials are spread around it in the order of the trials. ([], {}) for numbers.
    """
    choices = {trial.params[name] for trial in trials if isinstance(trial.params[name], str)}
    order = sorted(choices, key=_as_number)
    if not order:
        return [], {}
    spread = [CHOICE_WIDTH * (i / len(trials) - 0.5) for i in range(len(trials))]
    return order, {
        trial.number: order.index(trial.params[name]) + offset for trial, offset in zip(trials, spread, strict=True)
    }


def _draw_history(axes, trials, metric, larger):
    """Draw the values in the order of the trials, and the best value so far."""
    _points(axes, trials, lambda trial: trial.user_attrs['place'])
    complete = complete_trials(trials)
    best, line = None, []
    for trial in complete:
        best = trial.value if best is None else (max if larger else min)(best, trial.value)
        line.append(best)
    indices = [trial.user_attrs['place'] for trial in complete]
    last = max(trial.user_attrs['place'] for trial in trials)
    axes.step([*indices, last], [*line, line[-1]], where='post', color=BEST, label='best so far')
    axes.set_xlabel('trial')
    axes.set_ylabel(metric)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize=8)


def _draw_parameter(axes, trials, name, log):
    """Draw the values against a parameter; choices side by side."""
    trials = [trial for trial in trials if name in trial.params]
    order, positions = choice_positions(trials, name)
    if order:
        _points(axes, trials, lambda trial: positions[trial.number])
        long = max(map(len, order)) * len(order) > 30
        axes.set_xticks(range(len(order)), order, rotation=30 if long else 0, ha='right' if long else 'center')
        axes.set_xlim(-0.5, len(order) - 0.5)
    else:
        _points(axes, trials, lambda trial: trial.params[name])
        if log:
            axes.set_xscale('log')
            set_log_ticks(axes.xaxis, axes.get_xlim())
    axes.set_xlabel(name)


def set_log_ticks(axis, limits):
    """Set the ticks of a logarithmic axis: the more in each decade, the fewer decades it has; even steps within one.

    Args:
        axis: matplotlib's XAxis or YAxis.
        limits: its lowest and its highest value, both positive.
    """
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    decades = math.log10(limits[1] / limits[0])
    in_decade = (1,) if decades > MAX_FINE_DECADES else (1, 2, 5)
    axis.set_major_locator(LogLocator(subs=in_decade) if decades > MIN_LOG_DECADES else MaxNLocator(MAX_EVEN_TICKS))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: number_text(value, trimmed=True))


def _as_number(text):
    """Return a sort key: numbers by value, before names."""
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text


def _points(axes, trials, x_of):
    """Draw a point per complete trial, and a cross at the last value of each pruned trial."""
    for kind, style in (('complete', {'color': COLOURS['train'], 'marker': 'o'}),
                        ('pruned', {'color': RESUMED, 'marker': 'x'})):  # fmt: skip
        selected = [trial for trial in trials if trial_state(trial) == kind]
        if selected:
            axes.scatter([x_of(trial) for trial in selected], [trial.value for trial in selected], s=22, alpha=0.75,
                         label=kind, **style)  # fmt: skip
