"""What a sweep has come to: a table of its best trials, which parameters mattered, and a picture of both."""

import warnings

from scripts.sweeping.picture import draw_sweep
from scripts.sweeping.study import DIRECTION, kind_of, places_of
from scripts.sweeping.worker import alike, shown
from utils.base.text_table import number_text, printable, table, terminal_width, truncate_cell

SHOWN = 10  # trials in the table
FAILURES, WIDTH = 3, 160  # ways of failing that are told, and characters of each
ENOUGH = 10  # completed trials, below which the shares of parameters would be chance
PICTURE = 'sweep.png'
ORDER = ('complete', 'pruned', 'failed', 'running', 'waiting', 'lost')


def summarise(sweep, study, definition):
    """Print the summary and draw the picture.

    Args:
        sweep: study.Sweep, of which name and place count.
        study: optuna.Study.
        definition: of the study (dict), as Sweep.definition returns it.
    """
    trials, metric = list(places_of(study.get_trials()).values()), definition.get('--metric', 'value')
    kinds = [kind_of(trial) for trial in trials]
    counts = ', '.join(f'{kinds.count(kind)} {kind}' for kind in ORDER if kind in kinds)
    count, better = f'{len(trials)} trial{"s" * (len(trials) != 1)}', definition.get(DIRECTION, 'max')
    print(f'sweep {sweep.name}: {count} ({counts}), by {metric} ({better})')
    complete = best_first(trials, study)
    names = list(definition.get('--set', {}))
    if complete:
        print_best(complete, metric, names)
        print_importances(study, len(complete), names)
    for line in failures(trials):
        print(printable(line))
    if complete and sweep.folder.is_dir():
        draw_sweep(sweep.folder / PICTURE, trials, metric, definition)
        print(f'picture: {sweep.folder / PICTURE}')


def best_first(trials, study):
    """Return the completed trials (list of FrozenTrial), the best first."""
    complete = [trial for trial in trials if kind_of(trial) == 'complete']
    sign = -1 if study.direction.name == 'MAXIMIZE' else 1
    return sorted(complete, key=lambda trial: (sign * trial.value, trial.user_attrs['place']))


def print_best(complete, metric, names):
    """Print the table of the best trials."""
    rows = []
    for trial in complete[:SHOWN]:
        attributes = trial.user_attrs
        values = [shown(trial.params.get(name, '')) for name in names]
        epochs = f'{attributes.get("epoch", "?")}/{attributes.get("epochs", "?")}'
        rows.append([str(attributes['place']), number_text(trial.value), epochs, *values, attributes.get('run', '')])
    head = ['trial', metric, 'epoch', *names, 'run']
    lines, _ = table(head, rows, width=terminal_width(), flexible=('run',), right=('trial', 'epoch'))
    print('\n'.join(lines))
    if len(complete) > SHOWN:
        print(f'... {len(complete) - SHOWN} more')


def print_importances(study, complete, names):
    """Print how much each parameter says about which trials are among the best: PED-ANOVA, which needs numpy alone.

    Watanabe, Bansal and Hutter 2023, PED-ANOVA: efficiently quantifying hyperparameter importance in arbitrary
    subspaces.
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    if len(names) < 2:
        return
    if complete < ENOUGH:
        print(f'importance of the parameters: not to be told from fewer than {ENOUGH} trials')
        return
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # where all are equally good all shares are equal
        found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    said = ', '.join(f'{name} {share:.0%}' for name, share in found.items())
    print(f'importance of the parameters for being among the best tenth (PED-ANOVA): {said}')


def failures(trials):
    """Return a line (list of str) for each way in which trials failed, the first ones, with their numbers."""
    ways = {}
    for trial in trials:
        if kind_of(trial) == 'failed':
            said = trial.user_attrs['error']
            ways.setdefault(alike(said), (said, []))[1].append(str(trial.user_attrs['place']))
    lines = [f'failed: trial {", ".join(places)}: {truncate_cell(said, WIDTH)}' for said, places in ways.values()]
    return lines[:FAILURES] + [f'... and in {len(lines) - FAILURES} other ways'] * (len(lines) > FAILURES)
