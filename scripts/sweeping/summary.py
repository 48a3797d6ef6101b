"""The summary of a sweep: a table of the best trials, the importance of the hyperparameters, and plots."""

import warnings

from scripts.sweeping.parallel_plot import draw_parallel
from scripts.sweeping.study import DIRECTION, trial_state, trials_by_index
from scripts.sweeping.sweep_plot import complete_trials, draw_sweep
from scripts.sweeping.worker import normalised_error, value_text
from utils.base.file_names import short_path
from utils.base.text_table import count_text, number_text, printable, table, terminal_width, truncate_cell

MAX_TRIALS = 10  # in the table
MAX_ERRORS, MAX_ERROR_LENGTH = 3, 160  # distinct error messages, and their length in characters
MIN_TRIALS_FOR_IMPORTANCE = 30  # PED-ANOVA looks at the best tenth, of fewer trials one or two
PLOT, PARALLEL_PLOT = 'sweep.png', 'sweep_parallel.png'
STATES = ('complete', 'pruned', 'failed', 'running', 'waiting', 'lost')


def summarise(sweep, study, definition):
    """Print the summary and draw the plots.

    Args:
        sweep: study.Sweep; its name and directory are used.
        study: optuna.Study.
        definition: definition of the study (dict), as Sweep.definition returns it.
    """
    trials, metric = list(trials_by_index(study.get_trials()).values()), definition.get('--metric', 'value')
    kinds = [trial_state(trial) for trial in trials]
    counts = ', '.join(f'{kinds.count(kind)} {kind}' for kind in STATES if kind in kinds)
    count, mode = f'{len(trials)} trial{"s" * (len(trials) != 1)}', definition.get(DIRECTION, 'max')
    print(f'sweep {sweep.name}: {count} ({counts}), {metric} ({mode})')
    complete = best_first(trials, study)
    names = list(definition.get('--set', {}))
    if complete:
        print_best(complete, metric, names)
        print_importances(study, len(complete), names)
    for line in failures(trials):
        print(printable(line))
    if complete and sweep.folder.is_dir():
        draw_sweep(sweep.folder / PLOT, trials, metric, definition)
        print(f'plot: {sweep.folder / PLOT}')
        if draw_parallel(sweep.folder / PARALLEL_PLOT, trials, metric, definition):
            print(f'parallel coordinates: {sweep.folder / PARALLEL_PLOT}')


def best_first(trials, study):
    """Return the complete trials (list of FrozenTrial), the best first."""
    complete = complete_trials(trials)
    sign = -1 if study.direction.name == 'MAXIMIZE' else 1
    return sorted(complete, key=lambda trial: (sign * trial.value, trial.user_attrs['place']))


def print_best(complete, metric, names):
    """Print the table of the best trials."""
    rows = []
    for trial in complete[:MAX_TRIALS]:
        attributes = trial.user_attrs
        values = [value_text(trial.params.get(name, '')) for name in names]
        epochs = f'{attributes.get("epoch", "?")}/{attributes.get("epochs", "?")}'
        run = short_path(attributes.get('run', ''))
        rows.append([str(attributes['place']), number_text(trial.value), epochs, *values, run])
    head = ['trial', metric, 'epoch', *names, 'run']
    lines, _ = table(head, rows, width=terminal_width(), flexible=('run',), right=('trial', 'epoch'))
    print('\n'.join(lines))
    if len(complete) > MAX_TRIALS:
        print(f'... {len(complete) - MAX_TRIALS} more')


def print_importances(study, complete, names):
    """Print the importance of each hyperparameter by PED-ANOVA, which needs no dependency besides numpy.

    Watanabe, Bansal and Hutter 2023, PED-ANOVA: efficiently quantifying hyperparameter importance in arbitrary
    subspaces.
    """
    if len(names) < 2:
        return
    if complete < MIN_TRIALS_FOR_IMPORTANCE:
        few = f'{count_text(complete, "complete trial")}, at least {MIN_TRIALS_FOR_IMPORTANCE} are needed'
        print(f'hyperparameter importance: not shown ({few})')
        return
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances  # takes more than a second

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # equal values give equal importances
        found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    shares = ', '.join(f'{name} {share:.0%}' for name, share in found.items())
    print(f'hyperparameter importance (PED-ANOVA, for the best tenth of the trials): {shares}')


def failures(trials):
    """Return a line (list of str) for each distinct error message, with the indices of the trials."""
    errors = {}
    for trial in trials:
        if trial_state(trial) == 'failed':
            error = trial.user_attrs['error']
            errors.setdefault(normalised_error(error), (error, []))[1].append(str(trial.user_attrs['place']))
    lines = [
        f'failed: trial {", ".join(indices)}: {truncate_cell(error, MAX_ERROR_LENGTH)}'
        for error, indices in errors.values()
    ]
    return lines[:MAX_ERRORS] + [f'... and {len(lines) - MAX_ERRORS} other errors'] * (len(lines) > MAX_ERRORS)
