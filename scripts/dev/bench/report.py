"""What a benchmark leaves: rows and tables from reports, the machine it ran on, benchmark.json, benchmark.png."""

import datetime
import importlib.metadata
import json
import math
import os
import platform
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import median

from scripts.dev.bench.task import cpu_cores

PACKAGES = 'torch torchvision numpy pillow simplejpeg torchcodec'.split()
PACKAGES += 'lightning accelerate torchkeras pytorch-ignite transformers timm'.split()
DISTURBED = 0.1  # cores taken by other processes from which a measurement is in doubt
BLUE, GREY = '#0072B2', '#999999'  # Danlu, the others; of Okabe and Ito's palette


def machine():
    """Return what the figures depend on (dict): processor, cores, system, versions, date, command."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        'cpu': _cpu_model(), 'cores': cpu_cores(), 'system': platform.platform(), 'python': platform.python_version(),
        'versions': versions, 'load_before': round(os.getloadavg()[0], 2),
        'omp_num_threads': os.environ.get('OMP_NUM_THREADS'),
        'date': f'{datetime.datetime.now():%Y-%m-%d %H:%M}', 'command': shlex.join(['python', *sys.argv]),
    }  # fmt: skip


def describe(facts):
    """Return what `machine` found as lines of text (str)."""
    versions = ', '.join(f'{name} {version}' for name, version in facts['versions'].items())
    return (
        f'{facts["command"]}\n{facts["date"]}; {facts["cpu"]}, {facts["cores"]} cores, load {facts["load_before"]} '
        f'before; {facts["system"]}\nPython {facts["python"]}, {versions}'
    )


def disturbed(sections):
    """Return a warning (list of one str) if other processes took a noticeable share of the machine, else []."""
    taken = [row['others'] for rows in sections.values() for row in rows if 'others' in row]
    if not taken or max(taken) < DISTURBED:
        return []
    return [f'Other processes took up to {max(taken):.1f} cores of {cpu_cores()}: measure again on a quiet machine.']


def _cpu_model():
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        lines = []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()


def rows_of(results, references):
    """Return a row (dict) for each contestant of a race.

    Args:
        results: list of (Task, reports), from race.
        references: dict name of a column -> function(Task, reports) that says whether a contestant is one to compare
            with. Where several are, the fastest counts; for the bare loop and Danlu, which are given their threads,
            the fastest with as many, and for those with --fast, with it. Ratios are taken within each round, where the
            machine was in the same mood; their median counts.
    """
    rows = []
    for task, reports in results:
        seconds = [report['seconds'] for report in reports]
        row = {**asdict(task), 'name': task.name, 'threads': reports[-1]['threads'], 'seconds': seconds}
        row |= {'median': median(seconds), 'min': min(seconds), 'max': max(seconds)}
        row |= {'per_second': task.samples / median(seconds), 'steps': reports[-1]['steps']}
        row['cpu'] = [report.get('cpu', 0.0) for report in reports]
        row |= {'accuracy': reports[-1]['accuracy'], 'others': median(r['others'] for r in reports), 'ratios': {}}
        del row['data'], row['scratch']
        rows.append(row)
    for column, wanted in references.items():
        for row in rows:
            against = _reference(row, [other for other in rows if wanted(other)])
            if against is not None:
                ratios = [a / b for a, b in zip(row['seconds'], against['seconds'], strict=True)]
                row['ratios'][column] = {'median': median(ratios), 'min': min(ratios), 'max': max(ratios)}
                if all(against['cpu']):
                    row['ratios'][column]['cpu'] = median(
                        a / b for a, b in zip(row['cpu'], against['cpu'], strict=True)
                    )
    return rows


def _reference(row, candidates):
    """Return the candidate to compare a row with, or None."""
    fast = row['style'] == 'fast'
    candidates = [other for other in candidates if (other['style'] == 'fast') == fast] or candidates
    same = [other for other in candidates if other['threads'] == row['threads'] and row['peer'] in ('bare', 'danlu')]
    return min(same or candidates, key=lambda other: other['median'], default=None)


def table(rows, columns):
    """Return rows (dicts) as lines of text (str).

    Args:
        columns: dict heading -> function(row) that returns the text of a cell.
    """
    cells = [list(columns), *[[str(cell(row)) for cell in columns.values()] for row in rows]]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    lines = []
    for line in cells:
        first, *others = (text.ljust(w) if place == 0 else text.rjust(w)
                          for place, (text, w) in enumerate(zip(line, widths, strict=True)))  # fmt: skip
        lines.append('  '.join([first, *others]).rstrip())
    lines.insert(1, '  '.join('-' * width for width in widths))
    return '\n'.join(lines)


def race_table(rows, rate=False):
    """Return the table (str) of a race's rows; with `rate` in pictures per second."""
    columns = {
        'contestant': lambda row: row['name'],
        'threads+workers': lambda row: f'{row["threads"]}+{"own" if row["workers"] is None else row["workers"]}',
        'seconds': lambda row: f'{row["median"]:.3f}',
        'min..max': lambda row: f'{row["min"]:.3f}..{row["max"]:.3f}',
    }
    if rate:
        columns['pictures/s'] = lambda row: f'{row["per_second"]:,.0f}'
    for name in rows[0]['ratios']:
        # How long, divided by how long it took; or how fast, as a share of its speed.
        heading = name.replace('/ ', 'of ') if rate else name
        columns[heading] = lambda row, name=name: _written(row['ratios'].get(name), rate)
        columns[f'CPU {name}'] = lambda row, name=name: _written_cpu(row['ratios'].get(name))
    if not rate:
        columns['accuracy'] = lambda row: '' if row['accuracy'] is None else f'{row["accuracy"]:.4f}'
    columns['others'] = lambda row: f'{row["others"]:.2f}'
    return table(rows, columns)


def _written(ratio, rate):
    if ratio is None:
        return ''
    ratio = inverted(ratio) if rate else ratio
    return f'{ratio["median"]:.3f} ({ratio["min"]:.2f}..{ratio["max"]:.2f})'


def _written_cpu(ratio):
    return f'{ratio["cpu"]:.2f}' if ratio and 'cpu' in ratio else ''


def inverted(ratio):
    """Return the ratio of speeds (dict) that belongs to a ratio of times, or the other way round."""
    return {'median': 1 / ratio['median'], 'min': 1 / ratio['max'], 'max': 1 / ratio['min']}


def disagreements(sections, points):
    """Return what shows that contestants did not do the same work (list of str), so that their times say nothing.

    Args:
        sections: dict title -> rows of a race.
        points: percentage points by which an accuracy may differ from the median of its race, if that is more than
            three standard errors of the median on a test set of that size.
    """
    found = []
    for title, rows in sections.items():
        trained = [row for row in rows if row['peer'] != 'decoder']
        steps = {row['name']: row['steps'] for row in trained}
        if len(set(steps.values())) > 1:
            found.append(f'{title}: different numbers of optimizer steps: {steps}')
        reached = {row['name']: row['accuracy'] for row in trained if row['accuracy'] is not None}
        middle = median(reached.values()) if reached else None
        for name, accuracy in reached.items():
            allowed = max(points / 100, 3 * math.sqrt(middle * (1 - middle) / (rows[0]['samples'] / 6)))
            if abs(accuracy - middle) > allowed:
                found.append(f'{title}: {name} reached {accuracy:.4f}, others {middle:.4f}: over {allowed:.4f} apart')
    return found


def write_json(path, content):
    """Write benchmark.json."""
    Path(path).write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')


def draw_ratios(path, panels, label):
    """Draw one bar chart per panel: how each contestant compares with the reference, which is 1.

    Args:
        path: PNG file.
        panels: dict title -> list of (name, ratio: dict with median, min and max).
        label: of the axis.
    """
    from matplotlib.figure import Figure

    height = sum(0.32 * len(bars) + 1.0 for bars in panels.values())
    figure = Figure(figsize=(9, height), layout='constrained')
    ratios = [len(bars) + 1 for bars in panels.values()]
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=ratios)
    for axes, (title, bars) in zip(grid[:, 0], panels.items(), strict=True):
        names, values = [name for name, _ in bars], [ratio['median'] for _, ratio in bars]
        spread = [[r['median'] - r['min'] for _, r in bars], [r['max'] - r['median'] for _, r in bars]]
        colours = [BLUE if name.startswith('danlu') else GREY for name in names]
        drawn = axes.barh(names, values, xerr=spread, color=colours, capsize=2)
        axes.bar_label(drawn, [f'{value:.2f}' for value in values], padding=4)
        axes.axvline(1, color='black', linewidth=0.8)
        axes.margins(x=0.12)
        axes.invert_yaxis()
        axes.set(title=title, xlabel=label)
    figure.savefig(path, dpi=100)


def draw_growth(path, series):
    """Draw lines over the length of a list, both axes logarithmic.

    Args:
        path: PNG file.
        series: dict title -> dict name of a line -> list of (length, value).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(series), 3.5), layout='constrained')
    for axes, (title, lines) in zip(figure.subplots(1, len(series), squeeze=False)[0], series.items(), strict=True):
        for name, points in lines.items():
            axes.loglog(*zip(*points, strict=True), marker='o', label=name)
        axes.set(title=title, xlabel='lines')
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=100)
