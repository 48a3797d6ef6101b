"""index.html: one page of all runs, with a sortable table and a scatter plot for each task and data set.

The page holds the values as JSON, and a script draws them, so that a page of 1,000 runs is small and opens fast.
Imports no torch.
"""

import datetime
import math
import os
import re
from collections import Counter
from pathlib import Path
from urllib.parse import quote

from utils.base.atomic_write import atomic_writer
from utils.base.language import deferred, page_language, translate, use_language
from utils.base.text_table import printable, short_option
from utils.base.write_errors import wrap_write_errors
from utils.html_report.templating import environment
from utils.options.arguments import NO_LIST
from utils.runs.results import warning_on
from utils.runs.run import as_number
from utils.runs.run_index import find_runs
from utils.runs.run_table import NewestTests, differing_options

INDEX = 'index.html'
MAX_CURVE_POINTS = 40  # of a small curve
MAX_NOTE_CHARS = 200
SIGNIFICANT_DIGITS = 10  # of a value in the page, of which four are shown
CURVE_DIGITS = 6  # significant digits of a point of a small curve
STATES = {  # of utils.runs.run.Run.state
    'running': deferred('running'),
    'finished': deferred('finished'),
    'stopped': deferred('stopped'),
    'interrupted': deferred('interrupted'),
    'failed': deferred('failed'),
    'killed': deferred('killed'),
    'find_lr': deferred('find lr'),
    'broken': deferred('broken'),
}
FILES = {
    deferred('curves'): 'curves.png',
    deferred('log'): 'log.txt',
}  # links of a run, besides its report and its directory


def write_runs_page(checkpoints_dir, path=None, lang='auto'):
    """Write the page of all runs.

    Args:
        checkpoints_dir: directory of all runs.
        path: path of the file; None: index.html in `checkpoints_dir`.
        lang: language of the page, as of --lang.

    Returns:
        path of the file (Path), number of runs (int).

    Raises:
        DanluError: there is no such directory, or Jinja2 is not installed.
        WriteError: the file cannot be written.
    """
    template = environment().get_template('runs.html')
    with use_language(page_language(lang)):
        root, path = Path(checkpoints_dir), Path(path or Path(checkpoints_dir, INDEX))
        index = find_runs(root)
        tests = NewestTests(index.directories)
        groups = [group_values(runs, tests, path.parent) for runs in grouped(index.runs)]
        _distinguish_titles(groups)
        text = template.render(
            title=root.resolve().name,
            groups=groups,
            count=len(index.runs),
            running=sum(run.state == 'running' for run in index.runs),
            written=datetime.datetime.now().isoformat(sep=' ', timespec='minutes'),
        )
    with wrap_write_errors(path), atomic_writer(path) as file:
        file.write(text)
    return path, len(index.runs)


def grouped(runs):
    """Return runs with the same task and validation data as lists (list of list of Run), the largest first.

    Values of different groups are not comparable. In a group the newest run comes first.
    """
    groups = {}
    for run in runs:
        groups.setdefault(_group_key(run), []).append(run)
    for members in groups.values():
        members.sort(key=lambda run: (run.started or datetime.datetime.min, run.name), reverse=True)
    return sorted(groups.values(), key=lambda members: (-len(members), members[0].name))


def _group_key(run):
    """Return task, name and hash (str) of the data that a run is validated on, of its training data without any."""
    recorded = [found for split in ('val', 'train') if isinstance(found := run.recorded('data', split), dict)]
    # Without validation data its record is there, but empty.
    data = next((found for found in recorded if found.get('sha256') or found.get('list')), {})
    task, kind = (text if isinstance(text := run.options.get(name), str) else '' for name in ('task', 'data_type'))
    if run.options.get('val_split'):  # the list of the validation part is called val.txt in every run
        data = {**data, 'list': run.options.get('train_list')}
    lists = [found for name in ('val_list', 'train_list') if (found := run.options.get(name)) not in (None, NO_LIST)]
    name = data.get('list') or next(iter(lists), kind)
    return task, name if isinstance(name, str) else kind, str(data.get('sha256') or '')


def group_values(runs, tests, folder):
    """Return what the page shows of runs of one task and data set (dict of plain values).

    Args:
        runs: list of Run with the same `_group_key`.
        tests: utils.runs.run_table.NewestTests.
        folder: directory (Path) of the page, to which links are relative.
    """
    task, data, sha256 = _group_key(runs[0])
    monitored = Counter((run.monitor, run.mode) for run in runs if run.monitor)
    metric, mode = monitored.most_common(1)[0][0] if monitored else (None, 'max')
    options = differing_options(runs) if len(runs) > 1 else []
    return {
        'title': ' · '.join(filter(None, (task, Path(data).name))) or translate('not readable'),
        'data': data,
        'sha256': sha256[:8],
        'metric': metric,
        'mode': mode,
        'options': options,
        'runs': [run_values(run, tests, metric, options, folder) for run in runs],
    }


def run_values(run, tests, metric, options, folder):
    """Return what the page shows of a run (dict of plain values).

    Args:
        run: Run.
        tests: utils.runs.run_table.NewestTests.
        metric: name of the value of the group's main column (str), or None.
        options: names of the options that differ within the group (list of str).
        folder: directory (Path) of the page.
    """
    best_epoch = run.best and run.best['epoch']
    row = next((row for row in run.history if row['epoch'] == str(best_epoch)), {})
    links = links_of(run, folder)
    values = {name: rounded(row[name]) for name in row if name.startswith(('train/', 'val/'))}
    return {
        'name': printable(run.name),
        'state': run.state,
        'stateText': translate(STATES.get(run.state, run.state)),
        'date': run.started and run.started.isoformat(sep=' ', timespec='minutes'),
        'done': run.done,
        'epochs': run.epochs,
        'seconds': rounded(run.seconds),
        'bestEpoch': best_epoch,
        'test': rounded(tests.newest(run)[1]) if run.monitor == metric else None,
        'warning': warning_on(tests.newest(run)[0]),
        'values': {name: value for name, value in values.items() if value is not None},
        'curve': curve_points(run, metric),
        'options': {name: option_text(run.options[name]) for name in options if name in run.options},
        'note': printable(run.notes[-1])[:MAX_NOTE_CHARS] if run.notes else None,
        'links': links,
        'linkTexts': {label: translate(label) for label in links},
    }


def rounded(value, digits=SIGNIFICANT_DIGITS):
    """Return a number (float, or str that is one) with significant `digits`, or None if it is not finite."""
    number = as_number(value)
    return None if number is None or not math.isfinite(number) else float(f'{number:.{digits}g}')


def option_text(value):
    """Return the value of an option (str, bool, list of str or None) as text; '' if it is not set.

    Floats have at most four significant digits.
    """
    if isinstance(value, bool):
        return 'on' if value else 'off'
    return printable(' '.join(map(short_option, value)) if isinstance(value, list) else short_option(value or ''))


def curve_points(run, metric):
    """Return a metric of a run by epoch as [[epoch, value], ...], at most MAX_CURVE_POINTS, with the last epoch."""
    points = [
        [int(row['epoch']), rounded(row.get(metric), CURVE_DIGITS)] for row in run.history if row['epoch'].isdecimal()
    ]
    points = [point for point in points if point[1] is not None]
    if len(points) <= MAX_CURVE_POINTS:
        return points
    chosen = {round(i * (len(points) - 1) / (MAX_CURVE_POINTS - 1)) for i in range(MAX_CURVE_POINTS)}
    chosen |= {i for i, point in enumerate(points) if run.best and point[0] == run.best['epoch']}
    return [points[i] for i in sorted(chosen)]


def links_of(run, folder):
    """Return the files of a run that the page links: dict from a label to a URL relative to `folder`."""
    found = {deferred('report'): report} if (report := newest_report(run)) else {}
    found |= {label: run.path / name for label, name in FILES.items() if name in run.files}
    found[deferred('files')] = run.path
    return {label: quoted_path(path, folder) for label, path in found.items()}


def quoted_path(path, folder):
    """Return a path relative to `folder` as a URL (str)."""
    return quote(os.fsencode(Path(os.path.relpath(path, folder)).as_posix()))


def newest_report(run):
    """Return the path of the newest report.html of a test of best.pth (Path), or None."""
    if 'best' not in run.files:
        return None
    reports = [
        path
        for path in (run.path / 'best').glob('*/report*.html')  # report.1.html if a later test wrote none
        if re.fullmatch(r'report(\.\d+)?\.html', path.name) and path.is_file()
        if any(path.parent.glob('result*.txt'))  # else of eval.py --predict
    ]
    return max(reports, key=lambda path: path.stat().st_mtime, default=None)


def _distinguish_titles(groups):
    """Add to equal titles of groups (list of dict) the directory of the list, or the newest run if that is the same."""
    for addition in (
        lambda group: Path(group['data']).parent.name,
        lambda group: translate('data of {run}', run=group['runs'][0]['name']),
    ):
        counts = Counter(group['title'] for group in groups)
        same = [group for group in groups if counts[group['title']] > 1]
        if len({(group['title'], addition(group)) for group in same}) == len(same):
            for group in same:
                group['title'] = translate('{title} ({addition})', title=group['title'], addition=addition(group))
