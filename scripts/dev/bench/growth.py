"""How time and memory grow with the length of a list, the number of the epoch and the number of steps. Needs Linux."""

from scripts.dev.bench.measure import measure
from scripts.dev.bench.report import draw_growth, table

EPOCHS = (2, 1_000, 1_000_000)  # numbers of epochs at which steps are timed
ROUNDS = 4  # of timed steps, the first of which is left out


def growth(options, scratch, say):
    """Measure, and return (sections: dict title -> rows, text, function(path) that draws)."""
    lengths = [10**power for power in range(3, len(str(options.longest)))]
    reading = []
    for length in lengths:
        say(f'reading a list of {length:,} lines')
        reading.append(measure('growth_worker', 'reading', length, scratch))
    say('timing steps')
    numbers = {'lengths': lengths, 'epochs': EPOCHS, 'steps': min(1000, options.steps), 'rounds': ROUNDS}
    stepping = measure('growth_worker', 'stepping', numbers, scratch)
    say(f'watching memory over {options.steps:,} steps')
    held = measure('growth_worker', 'lasting', options.steps, scratch)
    lasting = [{'steps': steps, 'bytes': size} for steps, size in held]
    say('counting page faults')
    faulting = [measure('growth_worker', 'faulting', keep, scratch) for keep in (False, True)]
    sections = {
        'reading lists': reading,
        'steps per second': stepping,
        'memory of a long run': lasting,
        'a block of memory that is freed and allocated again': faulting,
    }
    texts = [reading_table(reading), stepping_table(stepping), lasting_table(lasting), faulting_table(faulting)]
    tables = dict(zip(sections, texts, strict=True))
    return sections, tables, lambda path: draw(path, reading, stepping)


def reading_table(rows):
    """Return the table (str) of what reading lists costs. Below 10,000 lines the bytes are mostly the allocator's."""
    return table(rows, {
        'lines': lambda row: f'{row["lines"]:,}',
        'read s': lambda row: f'{row["read_seconds"]:.3f}',
        'labels s': lambda row: f'{row["label_seconds"]:.3f}',
        'us per line': lambda row: f'{(row["read_seconds"] + row["label_seconds"]) / row["lines"] * 1e6:.2f}',
        'bytes per line, kept': lambda row: f'{row["lasting_bytes"] / row["lines"]:.0f}',
        'at most': lambda row: f'{row["peak_bytes"] / row["lines"]:.0f}',
        'in the file': lambda row: f'{row["file_bytes"] / row["lines"]:.0f}',
    })  # fmt: skip


def stepping_table(rows):
    """Return the table (str) of steps per second."""
    return table(rows, {
        'lines': lambda row: f'{row["lines"]:,}',
        'epoch': lambda row: f'{row["epoch"]:,}',
        'to the first step ms': lambda row: f'{row["first_step_seconds"] * 1e3:.1f}',
        'steps/s': lambda row: f'{row["steps_per_second"]:,.0f}',
        'min..max': lambda row: f'{row["min"]:,.0f}..{row["max"]:,.0f}',
    })  # fmt: skip


def lasting_table(rows):
    """Return the table (str) of memory over steps; the first epoch loads what is needed once."""
    return table(rows, {
        'steps': lambda row: f'{row["steps"]:,}',
        'MiB': lambda row: f'{row["bytes"] / 2**20:.1f}',
        'KiB since epoch 2': lambda row: f'{(row["bytes"] - rows[1]["bytes"]) / 2**10:+.0f}',
    })  # fmt: skip


def faulting_table(rows):
    """Return the table (str) of page faults; they vary between processes, as the heap cannot always grow in place."""
    return table(rows, {
        'freed memory': lambda row: 'kept' if row['kept'] else 'returned to the system',
        'MiB': lambda row: f'{row["bytes"] / 2**20:.0f}',
        'page faults': lambda row: f'{row["faults"]:,.0f}',
        'ms': lambda row: f'{row["seconds"] * 1e3:.1f}',
    })  # fmt: skip


def draw(path, reading, stepping):
    """Draw benchmark.png."""
    first = [row for row in stepping if row['epoch'] == 1]
    draw_growth(path, {
        'seconds': {
            'read': [(row['lines'], row['read_seconds']) for row in reading],
            'labels': [(row['lines'], row['label_seconds']) for row in reading],
        },
        'bytes per line': {
            'kept': [(row['lines'], row['lasting_bytes'] / row['lines']) for row in reading],
            'at most': [(row['lines'], row['peak_bytes'] / row['lines']) for row in reading],
        },
        'steps per second': {'batches of one': [(row['lines'], row['steps_per_second']) for row in first]},
    })  # fmt: skip
