#!/usr/bin/env python
"""Measure which lines of the project the default tests run, and which lines only the slow tests run.

    pip install 'coverage>=7.10'
    python scripts/dev/measure_coverage.py                               # all tests: about an hour on two cores
    python scripts/dev/measure_coverage.py --against coverage_then.json  # fail where a module is covered less than then
    python scripts/dev/measure_coverage.py --paths tests/test_loss.py    # of some tests alone

coverage.py measures every Python process that a test starts: subprocesses, forked processes (data workers, the fork
server of the tests) and those that end by os._exit. A process that is killed by SIGKILL writes nothing down.

For each module the table has the lines that the default tests run and those that default and slow tests run together,
in percent. The modules that the slow tests add more than --points to come first. The figures go to coverage.json in
--out, which --against reads.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PARTS = {'default': 'not slow', 'slow': 'slow'}
SETTINGS = """
[run]
parallel = True
data_file = {data}
source = {project}
omit = {project}/tests/*
patch = subprocess, fork, _exit
concurrency = multiprocessing, thread
[report]
ignore_errors = True
"""


def parse_args(argv=None):
    """Return the options (Namespace)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--out',
        type=Path,
        default=PROJECT / 'checkpoints' / 'coverage',
        metavar='DIR',
        help='directory of coverage.json (default: checkpoints/coverage)',
    )
    parser.add_argument('--against', type=Path, metavar='FILE', help='an earlier coverage.json')
    parser.add_argument(
        '--points',
        type=float,
        default=1.0,
        metavar='X',
        help='percentage points by which a module may fall without being named (default: 1)',
    )
    parser.add_argument('--paths', nargs='+', default=[], metavar='PATH', help='tests (default: all)')
    parser.add_argument('--processes', type=int, default=2, metavar='N', help='of pytest-xdist (default: 2)')
    return parser.parse_args(argv)


def measure(part, options, folder):
    """Run a part of the tests under coverage.py; return its data file (Path) and the exit status of pytest (int)."""
    data, settings = folder / part / 'data', folder / f'{part}.ini'
    data.parent.mkdir()
    settings.write_text(SETTINGS.format(data=data, project=PROJECT), encoding='utf-8')
    coverage = [sys.executable, '-m', 'coverage']
    split = ['-n', options.processes, '--dist', 'worksteal']
    words = ['run', f'--rcfile={settings}', '-m', 'pytest', *split, '-q', '-m', PARTS[part], *options.paths]
    # sys.monitoring costs less than tracing, where Python has it.
    env = os.environ | {'OMP_NUM_THREADS': '1'} | ({'COVERAGE_CORE': 'sysmon'} if sys.version_info >= (3, 12) else {})
    status = subprocess.run([*coverage, *map(str, words)], cwd=PROJECT, env=env, check=False).returncode
    subprocess.run([*coverage, 'combine', f'--rcfile={settings}', '--quiet'], cwd=PROJECT, check=False)  # none: no file
    return data, status


def percents(name, files, folder):
    """Return the lines that were run by coverage data files (list of Path), in percent: dict from a path, or 'total'.

    Args:
        name: of the sum of the files, a new file in `folder`.
        files: as `measure` returns them.
        folder: of the settings (Path).
    """
    coverage, settings, report = [sys.executable, '-m', 'coverage'], folder / 'default.ini', folder / f'{name}.json'
    shared = [f'--rcfile={settings}', f'--data-file={folder / name}.coverage', '--quiet']
    subprocess.run([*coverage, 'combine', '--keep', *shared, *files], cwd=PROJECT, check=True)
    subprocess.run([*coverage, 'json', *shared, '-o', report], cwd=PROJECT, check=True)
    found = json.loads(report.read_text(encoding='utf-8'))
    shares = {path: file['summary'] for path, file in found['files'].items()} | {'total': found['totals']}
    return {path: round(share['percent_covered'], 2) for path, share in shares.items() if share['num_statements']}


def fallen(before, after, points):
    """Return the modules that are covered less in `after` than in `before`: list of (path, before, after), worst first.

    Args:
        before, after: dicts from a path to percent.
        points: what a module may fall without being named (float).
    """
    pairs = [(path, share, after[path]) for path, share in before.items() if path in after]
    return sorted((pair for pair in pairs if pair[1] - pair[2] > points), key=lambda pair: pair[2] - pair[1])


def table(rows, first, second):
    """Return a table (str) of (path, percent, percent)."""
    return '\n'.join([f'{first:>10} {second:>10}  module', *(f'{a:>10.1f} {b:>10.1f}  {path}' for path, a, b in rows)])


def main():
    """Measure, print the tables, write coverage.json; return the exit status."""
    options = parse_args()
    with tempfile.TemporaryDirectory(prefix='coverage') as folder:
        files, failed = {}, []
        for part in PARTS:
            files[part], status = measure(part, options, Path(folder))
            failed += [part] if status not in (0, 5) else []  # 5: no test was chosen
        sums = {'default': [files['default']], 'all': [path for path in files.values() if path.exists()]}
        found = {name: percents(name, paths, Path(folder)) for name, paths in sums.items()}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / 'coverage.json').write_text(json.dumps(found, indent=1), encoding='utf-8')
    rest = [(path, share, found['default'].get(path, 0.0)) for path, share in found['all'].items()]
    print(table(sorted(rest, key=lambda row: row[2] - row[1]), 'all', 'default'))
    print(f'written: {options.out / "coverage.json"}')
    worse = []
    if options.against:
        then = json.loads(options.against.read_text(encoding='utf-8'))
        worse = [(part, row) for part in found for row in fallen(then[part], found[part], options.points)]
        for part, (path, before, after) in worse:
            print(f'{path}: {before:.1f} % then, {after:.1f} % now ({part} tests)')
    for part in failed:
        print(f'tests failed ({part}): the figures may be too low')
    return int(bool(worse or failed))


if __name__ == '__main__':
    sys.exit(main())
