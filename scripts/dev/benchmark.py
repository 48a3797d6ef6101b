"""Benchmark Danlu against the limit of the machine and against other tools.

    python scripts/dev/benchmark.py small      # LeNet on digits in memory: overhead of the training loop
    python scripts/dev/benchmark.py compute    # ResNet-18: overhead if the network dominates
    python scripts/dev/benchmark.py cifar      # the same on pictures of 32x32, in larger batches
    python scripts/dev/benchmark.py input      # JPEG and PNG files: throughput of reading images
    python scripts/dev/benchmark.py growth     # long lists, late epochs, many steps
    python scripts/dev/benchmark.py augment    # each augmentation and mixing, against torchvision
    python scripts/dev/benchmark.py predict    # eval.py --predict of a folder, against a test of it
    python scripts/dev/benchmark.py start      # from the start of Python to the first step, against importing torch

The limit is a bare loop over ready tensors, or decoding by Pillow alone. Other tools are measured if installed
(`pip install -r requirements-bench.txt`). Their programs are in bench/peers/<name>.py.

Each contestant has its own process and its own terminal. The contestants take turns of one epoch (training and
validation), while the others sleep; where `small` compares Danlu with the bare loop alone, each round starts new
processes. The first round is a warm-up, and ratios are computed within each round. All
contestants must take the same number of optimizer steps and reach the same accuracy; otherwise the exit status is 1.
Leave the machine idle meanwhile: the last column has the number of cores that other processes used. The
columns CPU compare processor time, with that of worker processes, which depends less on other processes (Linux). Full
runs take about 11 minutes (small), 8 (input), 5 (compute, cifar) and 1 or 2 (growth, augment, predict, start) on two
cores. Linux or macOS; growth needs Linux.

Tables are printed, and written with machine, versions and command to benchmark.json and benchmark.png in --out.
"""

import argparse
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project

from scripts.dev.bench.augment import augment
from scripts.dev.bench.growth import growth
from scripts.dev.bench.predict import predict
from scripts.dev.bench.report import describe, disagreements, disturbed, machine, write_json
from scripts.dev.bench.start import start
from scripts.dev.bench.task import INPUT, cpu_cores
from scripts.dev.bench.works import PEERS, WORKS

PROJECT = Path(__file__).resolve().parents[2]
# The sizes of a full measurement and of a quick one, which only checks that everything runs.
FULL = {
    'small': {'samples': 60_000, 'rounds': 5, 'peer_samples': 12_000, 'peer_rounds': 4, 'batch_size': [32, 128],
              'tolerance': 1.0},
    'compute': {'samples': 1_600, 'rounds': 6, 'batch_size': [32], 'peers': ['script', 'lightning'], 'tolerance': 1.0},
    'cifar': {'samples': 10_000, 'rounds': 4, 'batch_size': [256], 'peers': ['script'], 'tolerance': 1.0},
    'input': {'samples': 2_880, 'rounds': 6, 'batch_size': [32], 'tolerance': 1.0},
    'growth': {'longest': 1_000_000, 'steps': 100_000},
    'augment': {'shapes': [(128, 3, 32, 32), (32, 3, 224, 224)], 'rounds': 7, 'seconds': 0.25},
    'predict': {'samples': 2_000, 'rounds': 6},
    'start': {'rounds': 7},
}  # fmt: skip
QUICK = {
    'small': {'samples': 960, 'rounds': 2, 'peer_samples': 960, 'peer_rounds': 2, 'batch_size': [32],
              'peers': ['script'], 'threads': [1], 'tolerance': 50.0},
    'compute': {'samples': 64, 'rounds': 2, 'batch_size': [32], 'peers': ['script'], 'tolerance': 100.0},
    'cifar': {'samples': 64, 'rounds': 2, 'batch_size': [32], 'peers': ['none'], 'tolerance': 100.0},
    'input': {'samples': 192, 'rounds': 2, 'batch_size': [8], 'tolerance': 1.0},
    'growth': {'longest': 1_000, 'steps': 1_000},
    'augment': {'shapes': [(8, 3, 16, 16), (2, 3, 48, 64)], 'rounds': 2, 'seconds': 0.01},
    'predict': {'samples': 80, 'rounds': 2},
    'start': {'rounds': 2},
}  # fmt: skip
MEASUREMENTS = {'growth': growth, 'augment': augment, 'predict': predict, 'start': start}  # without contestants


def parse_args(argv=None):
    """Return the options (Namespace), with defaults from FULL or QUICK."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    works = parser.add_subparsers(dest='work', required=True, metavar='|'.join(FULL))
    for name in FULL:
        work = works.add_parser(name)
        work.add_argument('--quick', action='store_true', help='check in half a minute that everything runs')
        work.add_argument(
            '--out', type=Path, metavar='DIR', help='output directory (default: checkpoints/benchmark_<work>)'
        )
        if name == 'growth':
            work.add_argument('--longest', type=int, metavar='N', help='lines of the longest list, a power of ten')
            work.add_argument('--steps', type=int, metavar='N', help='steps of the run whose memory is measured')
            continue
        work.add_argument('--rounds', type=int, metavar='N', help='number of rounds, including the warm-up')
        if name == 'predict' or name not in MEASUREMENTS:
            work.add_argument('--samples', type=int, metavar='N', help='images of an epoch or of the folder')
        if name in MEASUREMENTS:
            continue
        work.add_argument('--batch_size', type=int, nargs='+', metavar='N')
        work.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
        peers = [*PEERS[name], 'none']
        work.add_argument('--peers', nargs='+', choices=peers, metavar='NAME', help=', '.join(peers))
        work.add_argument('--tolerance', type=float, metavar='X', help='allowed difference of accuracies in points')
        if name == 'input':
            work.add_argument('--kinds', nargs='+', choices=INPUT, default=INPUT, metavar='KIND', help=', '.join(INPUT))
        else:
            work.add_argument('--fast', action='store_true', help='also bf16, channels_last and compiled, by --fast')
            work.add_argument('--threads', type=int, nargs='+', metavar='N', help='threads of the bare loop and Danlu')
        if name == 'small':
            work.add_argument('--peer_samples', type=int, metavar='N', help='--samples of the part with all peers')
            work.add_argument('--peer_rounds', type=int, metavar='N', help='--rounds of the part with all peers')
            work.add_argument('--data_root', metavar='DIR', help='directory of MNIST/raw (default: bundled digits)')
    options = parser.parse_args(argv)
    complete(options)
    if min(getattr(options, 'rounds', 2), getattr(options, 'peer_rounds', 2)) < 2:
        parser.error('--rounds: at least 2, as the first round is a warm-up')
    return options


def complete(options):
    """Set the defaults of options that were not given."""
    cores = cpu_cores()
    defaults = {'peers': PEERS.get(options.work), 'threads': [1, cores] if options.work == 'small' else [cores]}
    defaults['out'] = PROJECT / 'checkpoints' / f'benchmark_{options.work}'
    defaults |= (QUICK if options.quick else FULL)[options.work]
    for name, value in defaults.items():
        if getattr(options, name, None) is None:
            setattr(options, name, value)
    options.threads = sorted(set(options.threads))
    options.peers = [] if options.peers in (None, ['none']) else options.peers


def main():
    """Run one benchmark, print its tables, write its files, and return the exit status."""
    options, started = parse_args(), time.perf_counter()
    facts, say = machine(), print_line
    scratch = options.out.absolute() / 'scratch'
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    run = (WORKS | MEASUREMENTS)[options.work]
    sections, tables, draw = run(options, scratch, say)
    say(f'\n{describe(facts)}')
    for title, table in tables.items():
        say(f'\n{title}\n\n{table}')
    problems = [] if options.work in MEASUREMENTS else disagreements(sections, options.tolerance)
    for warning in [*disturbed(sections), *problems]:
        say(f'\n{warning}')
    facts['seconds'] = round(time.perf_counter() - started)
    content = {'work': options.work, 'machine': facts, 'problems': problems, 'sections': sections}
    write_json(options.out / 'benchmark.json', content)
    draw(options.out / 'benchmark.png')
    shutil.rmtree(scratch)  # if a contestant fails, its output stays there
    say(f'\n{facts["seconds"]} s; {options.out}/benchmark.json, benchmark.png')
    return 1 if problems else 0


def print_line(line):
    """Print a line without buffering."""
    print(line, flush=True)


if __name__ == '__main__':
    try:
        sys.exit(main())
    except (RuntimeError, OSError) as error:
        sys.exit(f'benchmark.py: error: {error}')
