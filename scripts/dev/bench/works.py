"""The races: who runs on what, with which settings."""

from importlib.util import find_spec
from pathlib import Path

from scripts.dev.bench.pictures import make_data
from scripts.dev.bench.race import race
from scripts.dev.bench.report import draw_ratios, inverted, race_table, rows_of
from scripts.dev.bench.task import RESNETS, SIZES, Task, cpu_cores

# What has to be importable for each peer.
NEEDS = {
    'script': ['torchvision'],
    'lightning': ['lightning', 'torchmetrics'],
    'accelerate': ['accelerate'],
    'torchkeras': ['torchkeras', 'torchmetrics', 'pandas', 'IPython', 'requests'],
    'ignite': ['ignite'],
    'transformers': ['transformers', 'accelerate'],
    'timm': ['timm'],
}
ALL_PEERS = ['script', 'lightning', 'accelerate', 'torchkeras', 'ignite', 'transformers']
PEERS = {
    **dict.fromkeys(('small', *RESNETS), ALL_PEERS),
    'input': ['script', 'timm', 'lightning'],
}
MAX_WORKERS = 8


def installed(peers, say):
    """Return those of the peers that can be imported; name the others."""
    missing = [peer for peer in peers if not all(map(find_spec, NEEDS[peer]))]
    if missing:
        say(f'not installed, left out: {", ".join(missing)} (pip install -r requirements-bench.txt)')
    return [peer for peer in peers if peer not in missing]


def small(options, scratch, say):
    """LeNet on digits in memory: Danlu against the bare loop, then all against each other on a shorter epoch."""
    sections, parts, peers = {}, [], installed(options.peers, say)
    if not (options.quick and peers):
        parts.append(('Danlu and the bare loop', options.samples, options.rounds, []))
    if peers:
        parts.append(('all contestants', options.peer_samples, options.peer_rounds, peers))
    for number, (title, samples, rounds, named) in enumerate(parts):
        data = make_data('small', scratch / f'data{number}', samples, options.data_root)
        for batch_size in options.batch_size:
            common = {'work': 'small', 'data': str(data), 'samples': samples, 'batch_size': batch_size}
            tasks = pair(options, common) + [task for peer in named for task in settings(peer, common)]
            heading = f'LeNet, {samples:,} digits, batches of {batch_size}: {title}'
            sections[heading] = run(heading, tasks, rounds, options, scratch, say)
    return finish(sections, 'times as long as the bare loop (whiskers: rounds)')


def compute(options, scratch, say):
    """ResNet-18 on pictures in memory. Everyone has the fused optimizer, whose work is not the loop's."""
    data = make_data(options.work, scratch / 'data', options.samples)
    sections, size = {}, 'x'.join(map(str, SIZES[options.work]))
    for batch_size in options.batch_size:
        common = {'work': options.work, 'data': str(data), 'samples': options.samples, 'batch_size': batch_size}
        tasks = pair(options, common)
        tasks += [Task(peer, 'usual', fused=True, **common) for peer in installed(options.peers, say)]
        heading = f'ResNet-18, {options.samples:,} pictures of {size} in memory, batches of {batch_size}'
        sections[heading] = run(heading, tasks, options.rounds, options, scratch, say)
    return finish(sections, 'times as long as the bare loop (whiskers: rounds)')


def read_input(options, scratch, say):
    """Pictures from files, against Pillow alone on as many cores."""
    sections, peers = {}, installed(options.peers, say)
    titles = {
        'photos': 'JPEG files of 500x375, random-resized-crop to 224',
        'masks': 'PNG files of 480x360 with masks',
        'tiny': 'JPEG files of 32x32 in folders',
    }
    lengths = {'photos': options.samples, 'masks': options.samples // 6, 'tiny': options.samples * 4}
    cores = min(MAX_WORKERS, cpu_cores())
    for work, title in ((work, titles[work]) for work in options.kinds):
        samples = lengths[work]
        data = make_data(work, scratch / work, samples)
        for batch_size in options.batch_size:
            common = {'work': work, 'data': str(data), 'samples': samples, 'batch_size': batch_size}
            loading = {**common, 'threads': 1, 'workers': cores}
            tasks = [Task('decoder', style, **loading) for style in ('processes', 'threads')]
            tasks += [Task('danlu', '', workers=None, **common), Task('danlu', 'threads', threads=1, **common)]
            styles = styles_of(work, options.device)
            tasks += [Task('danlu', style, workers=None, **common) for style in styles]
            tasks += [Task(peer, '', extras=False, **loading) for peer in peers if peer != 'timm' or work == 'photos']
            heading = f'{title}, {samples:,} per epoch, batches of {batch_size}'
            sections[heading] = run(heading, tasks, options.rounds, options, scratch, say, limit='decoder')
    return finish(sections, 'share of the speed of Pillow decoding alone (whiskers: rounds)', limit='decoder')


def styles_of(work, device):
    """Return the styles of Danlu that work on input measures besides (list of str): decoders and the cache."""
    decoders = ['pillow', *(['torchcodec'] if find_spec('torchcodec') else [])]
    decoders += ['torchcodec_gpu'] if 'torchcodec' in decoders and device != 'cpu' else []
    return {'photos': [*decoders, 'cache'], 'masks': ['cache'], 'tiny': ['pillow']}[work]


def pair(options, common):
    """Return the bare loop and Danlu with each number of threads (list of Task), and with --fast."""
    styles = [(f'{count} thread{"s" * (count > 1)}', count) for count in options.threads]
    styles += [('fast', options.threads[-1])] * options.fast
    peers = ('bare', 'danlu')
    return [Task(peer, style, threads=count, fused=True, **common) for style, count in styles for peer in peers]


def settings(peer, common):
    """Return a peer as users find it and at its best here (list of Task); Lightning stripped to its loop besides."""
    workers = min(MAX_WORKERS, cpu_cores())
    best = {'threads': max(1, cpu_cores() - workers), 'workers': workers, 'fused': True}
    tasks = [Task(peer, 'usual', **common), Task(peer, 'best', **best, **common)]
    if peer == 'lightning':
        tasks.append(Task(peer, 'stripped', extras=False, **common))
        tasks.append(Task(peer, 'stripped best', extras=False, **best, **common))
    return tasks


def run(heading, tasks, rounds, options, scratch, say, limit='bare'):
    """Race, and return the rows of the table; a small network's overhead is measured in fresh processes."""
    say(f'\n{heading}')
    for number, task in enumerate(tasks):
        task.scratch = str(scratch / f'{Path(task.data).name}_{task.batch_size}' / f'{number}_{task.peer}')
        task.epochs, task.device = rounds + 1, options.device
    # The cache of an earlier epoch is no reference.
    references = {
        f'/ {name}': lambda row, name=name: row['peer'] == name and row['style'] != 'cache' for name in (limit, 'danlu')
    }
    fresh = options.work == 'small' and {task.peer for task in tasks} == {'bare', 'danlu'}
    return rows_of(race(tasks, rounds, say, fresh), references)


def finish(sections, label, limit='bare'):
    """Return (sections, dict title -> table, function(path) that draws)."""
    tables, panels, rate = {}, {}, limit == 'decoder'
    for title, rows in sections.items():
        tables[title] = race_table(rows, rate)
        ratios = [(row['name'], row['ratios'][f'/ {limit}']) for row in rows if row['peer'] != limit]
        panels[title] = [(name, inverted(ratio) if rate else ratio) for name, ratio in ratios]
    return sections, tables, lambda path: draw_ratios(path, panels, label)


WORKS = {'small': small, **dict.fromkeys(RESNETS, compute), 'input': read_input}
