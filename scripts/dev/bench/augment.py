"""Augmentation: a batch at once, as Danlu does it, against torchvision.transforms.v2 one picture at a time."""

from scripts.dev.bench.measure import measure
from scripts.dev.bench.report import draw_ratios, table


def augment(options, scratch, say):
    """Measure, and return (sections: dict title -> rows, dict title -> table, function(path) that draws)."""
    sections = {}
    for shape in options.shapes:
        name = 'x'.join(map(str, shape))
        say(f'timing batches of {name}')
        numbers = {'shape': shape, 'rounds': options.rounds, 'seconds': options.seconds}
        sections[f'batches of {name}, one thread'] = measure('augment_worker', name, numbers, scratch)
    tables = {title: augment_table(rows) for title, rows in sections.items()}
    return sections, tables, lambda path: draw(path, sections)


def augment_table(rows):
    """Return the table (str) of the steps' times for a batch, and how many times as fast as torchvision's they are."""
    return table(rows, {
        'step': lambda row: row['step'],
        'danlu ms': lambda row: f'{1e3 * row["danlu"]:.2f}',
        'torchvision ms': lambda row: f'{1e3 * row["torchvision"]:.2f}',
        'times as fast': lambda row: f'{row["ratio"]["median"]:.2f}',
        'min..max': lambda row: f'{row["ratio"]["min"]:.2f}..{row["ratio"]["max"]:.2f}',
        'others': lambda row: f'{row["others"]:.2f}',
    })  # fmt: skip


def draw(path, sections):
    """Draw benchmark.png."""
    panels = {title: [(f'danlu {row["step"]}', row['ratio']) for row in rows] for title, rows in sections.items()}
    draw_ratios(path, panels, 'times as fast as torchvision (whiskers: rounds)')
