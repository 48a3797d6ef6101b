#!/usr/bin/env python
"""Interrupt runs in every way, again and again, and check that nothing is lost: docs/reliability.md has the figures.

    python scripts/dev/stress_resume.py                            # 200 kills, half an hour on two cores
    python scripts/dev/stress_resume.py --kills 20 --seed 1        # other moments
    python scripts/dev/stress_resume.py --only kills signals       # some of the parts
    python scripts/dev/stress_resume.py --only processes           # kills one of two torchrun processes, 20 times
    python scripts/dev/stress_resume.py --kills 300 --configurations FILE    # runs of your own

A file of configurations has a name and a command line for each run, for example
scripts/dev/fault_injection/configurations.txt. Runs are killed while they start, train, save, validate, test best.pth
and end. Each is resumed with --resume auto or --resume <run> and another number of workers until it is done. Then all
that it wrote is compared with a run that was never interrupted, bit for bit: checkpoints, history.csv, TensorBoard
events, the files of the test, its line in the ledger, and the samples of every step. Exit status 1: something differs;
the table and the lines below it say what.
"""

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project

from scripts.dev.fault_injection.cases import cases, make_data
from scripts.dev.fault_injection.compare import same
from scripts.dev.fault_injection.configurations import TRAIN, Configuration, read_configurations
from scripts.dev.fault_injection.jobs import SAVE_STEPS, Job, whole_run
from scripts.dev.fault_injection.kills import kill, kills_part, kills_table
from scripts.dev.fault_injection.processes import steps_in
from scripts.dev.fault_injection.torchrun import processes_part

TRUNCATIONS, FLIPS, LIMITS, SIGNALS = 20, 50, 12, 3  # the last: of each kind, per case and number of workers
STARTING, START_SECONDS, WHILE_SECONDS = 0.2, 1.0, 0.8  # share of faults while a process starts; seconds until them
COUNT, EPOCHS = 42, 20  # samples of the data, epochs of the runs, where they are not of a file


def wait_for_moment(job, run, before, draw):
    """Wait for a random moment, most often after a process's first step; return its exit status, or None: it runs on.

    Args:
        before: steps (int) that had been done when it started.
    """
    if draw.random() < STARTING:
        return run.wait(draw.uniform(0, START_SECONDS))
    while run.wait(0.03) is None and len(steps_in(job.samples)) == before:
        pass
    return run.wait(draw.uniform(0, WHILE_SECONDS))


def signals_part(folder, wholes, draw, args):
    """Send SIGTERM and SIGINT to the process and to its group, until each of them has stopped runs that often."""
    rows = []
    for name, whole in wholes.items():
        for number in (signal.SIGTERM, signal.SIGINT):
            wanted = [(group, workers) for group in (0, 1) for workers in (0, 2)] * SIGNALS
            count, jobs = len(wanted), []
            while wanted:
                job = Job(folder / f'{name}_{number.name}_{len(jobs)}', whole.configuration, whole)
                jobs.append(job)
                wanted = send(job, number, wanted, draw)
                kill(job, draw, 0)
                job.compare()
                steps = len(steps_in(job.samples)) - len(steps_in(whole.samples))
                if steps:
                    job.faults.append(f'{steps} steps done twice')
            rows.append((f'{count} {number.name}', name, jobs))
    return rows


def send(job, number, wanted, draw):
    """Stop a run by the signal `number` until it is done, most often after a process's first step.

    Args:
        wanted: pairs (list) of whether the signal goes to the group, and the number of workers.

    Returns:
        those of `wanted` for which the run was too short.
    """
    wanted = list(wanted)
    while wanted:
        group, workers = wanted[0]
        before = len(steps_in(job.samples))
        run = job.start(workers)
        code = wait_for_moment(job, run, before, draw)
        if code is None:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(run.process.pid, number)
            code = run.wait()
        job.ended(run, before)
        begun = 'epoch' in run.said or len(steps_in(job.samples)) > before
        if code not in ((0, 128 + number) if begun else (0, 128 + number, -number)):
            job.faults.append(f'{run.output}: exit status {code} after {number.name}')
        if code == 0:
            break
        wanted.pop(0)
    return wanted


def full_part(folder, wholes, draw, args):
    """Let the disk be full: no file may become larger than some size, at which one save or another fails.

    The first epochs have all the space that they need, or larger files than last.pth would end each run at its start.
    """
    rows = []
    for name, whole in wholes.items():
        job = Job(folder / name, whole.configuration, whole)
        job.start(0, '--epochs', 2).wait()
        largest = (job.directory / 'last.pth').stat().st_size
        for number in range(LIMITS):
            before = len(steps_in(job.samples))
            run = job.start(0, '--save_steps', SAVE_STEPS, file_size=largest * (number + 1) // (LIMITS + 1))
            code = run.wait()
            job.ended(run, before)
            errors = [line for line in run.said.splitlines() if 'error: ' in line]
            if code not in (1, 2) or len(errors) != 1:  # 2: full before the run began
                job.faults.append(f'{run.output}: exit status {code}, {len(errors)} lines')
            job.faults += [f'{path.name} is left' for path in (folder / name / 'runs').glob('*/*partial*')]
        kill(job, draw, 0)
        job.compare()
        rows.append((f'{LIMITS} times full', name, [job]))
    return rows


def damage_part(folder, wholes, draw, args):
    """Truncate last.pth, and change single bytes of it: a run goes on from the newest file that is whole."""
    from utils.runs.checkpoint import load_checkpoint
    from utils.training.resume import newest_whole

    rows = []
    for name, whole in wholes.items():
        job = Job(folder / name, whole.configuration, whole)
        run = job.start(0, '--save_freq', 1, '--epochs', 2)
        run.wait()
        last = job.directory / 'last.pth'
        data, states = last.read_bytes(), {path: load_checkpoint(path) for path in job.directory.glob('*.pth')}
        damaged = [data[: len(data) * number // TRUNCATIONS] for number in range(TRUNCATIONS)]
        for place in (draw.randrange(len(data)) for _ in range(FLIPS)):
            damaged.append(data[:place] + bytes([data[place] ^ (1 << draw.randrange(8))]) + data[place + 1 :])
        noticed = 0
        for content in damaged:
            last.write_bytes(content)
            found, path, note = newest_whole(job.directory)
            noticed += note is not None
            if not same(found, states[path]) or (note is None) != (path == last):
                job.faults.append(f'{path.name}: other contents')
        rows.append((f'{len(damaged)} damages, {noticed} noticed', name, [job]))
    return rows


PARTS = {
    'kills': kills_part,
    'signals': signals_part,
    'full': full_part,
    'damage': damage_part,
    'processes': processes_part,
}


def table(rows, seconds):
    """Return what happened as lines (list of str), in Markdown."""
    lines = ['| faults | run | processes | verified | not verified | most steps done again | differences |']
    lines.append('|---|---|---|---|---|---|---|')
    for what, name, jobs in rows:
        sums = [sum(getattr(job, value) for job in jobs) for value in ('processes', 'verified', 'unseen')]
        again = max(job.repeated for job in jobs)
        lines.append(
            f'| {what} | {name} | {" | ".join(map(str, sums))} | {again} | {sum(len(j.faults) for j in jobs)} |'
        )
    return [*lines, '', f'{seconds:.0f} seconds']


def parse(argv=None):
    """Return the arguments of the command line, checked."""
    parser = argparse.ArgumentParser(description='Interrupt runs in every way and check that nothing is lost.')
    parser.add_argument('--kills', type=int, default=200, help='how often a run is killed by SIGKILL')
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    parser.add_argument('--only', nargs='+', choices=PARTS, help='parts to do (default: all; of a file: kills)')
    parser.add_argument('--configurations', type=Path, metavar='FILE', help='kill the runs that this file lists')
    parser.add_argument('--runs', nargs='+', help='runs to interrupt (default: all)')
    parser.add_argument('--jobs', type=int, default=1, help='configurations that are killed at the same time')
    parser.add_argument('--keep', type=Path, help='directory that keeps the runs (default: none)')
    args = parser.parse_args(argv)
    if args.configurations and args.only and args.only != ['kills']:
        parser.error('--configurations is for the part kills alone')
    args.only = args.only or (['kills'] if args.configurations else list(PARTS))
    args.parser = parser
    return args


def chosen_runs(args, folder):
    """Return the Configurations (dict by name) that are interrupted; data is made in `folder` (Path)."""
    if args.configurations:
        try:
            found = read_configurations(args.configurations, make_data(folder / 'data', COUNT))
        except (OSError, ValueError) as error:
            args.parser.error(f'--configurations: {error}')
    else:
        words = cases(folder, COUNT, EPOCHS)
        found = {name: Configuration(name, TRAIN, words[name]) for name in words}
    if unknown := set(args.runs or ()) - found.keys():
        args.parser.error(f'--runs: no {", ".join(sorted(unknown))} in {", ".join(found)}')
    return {name: each for name, each in found.items() if args.runs is None or name in args.runs}


def main(argv=None):
    """Interrupt runs, print the tables, and return the exit status: 1 if anything differs."""
    args = parse(argv)
    started, draw, rows = time.perf_counter(), random.Random(args.seed), []
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.keep or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        chosen = chosen_runs(args, folder)
        wholes = {name: whole_run(folder / 'whole' / name, each) for name, each in chosen.items()}
        for part in args.only:
            found = PARTS[part](folder / part, wholes, draw, args)
            if part == 'kills':
                print('', *kills_table(found), '', sep='\n')
            rows += found
            print(*table(rows, time.perf_counter() - started), sep='\n', flush=True)
        faults = [f'{what}, {name}: {fault}' for what, name, jobs in rows for job in jobs for fault in job.faults]
    print(*faults, sep='\n')
    return 1 if faults else 0


if __name__ == '__main__':
    sys.exit(main())
