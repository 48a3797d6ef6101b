#!/usr/bin/env python
"""Interrupt and resume runs, and check that nothing is lost; docs/reliability.md has the results.

    python scripts/dev/stress_resume.py                            # 200 kills, half an hour on two cores
    python scripts/dev/stress_resume.py --kills 20 --seed 1        # other times of the kills
    python scripts/dev/stress_resume.py --only kills signals       # some of the parts
    python scripts/dev/stress_resume.py --only processes           # kills one of two torchrun processes, 20 times
    python scripts/dev/stress_resume.py --kills 300 --configurations FILE    # your own runs

A configuration file has a name and a command line for each run: scripts/dev/fault_injection/configurations.txt. Runs
are killed while they start, train, save, validate, test best.pth and exit. Each run is resumed with --resume auto or
--resume <run> and another number of workers until it is done. Then its output is compared bit by bit with that of an
uninterrupted run: checkpoints, history.csv, TensorBoard events, the files of the test, its line in the ledger, and the
samples of each step. Exit status 1 if anything differs; the differences are printed below the table.
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

TRUNCATIONS, FLIPPED_BITS, DISK_LIMITS = 20, 50, 12  # numbers of damaged files and of disk sizes
SIGNALS_PER_CASE = 3  # for each number of workers, to the process and to its group
START_SHARE = 0.2  # of the faults; these happen while a process starts
MAX_START_SECONDS, MAX_STEP_SECONDS = 1.0, 0.8  # until a fault, after the start or after the first step
SAMPLE_COUNT, EPOCHS = 42, 20  # of the built-in runs


def wait_for_moment(job, run, before, draw):
    """Wait for a random time, usually after the first step of a process; return its exit status, or None if it runs.

    Args:
        before: number of steps (int) before the process started.
    """
    if draw.random() < START_SHARE:
        return run.wait(draw.uniform(0, MAX_START_SECONDS))
    while run.wait(0.03) is None and len(steps_in(job.samples)) == before:
        pass
    return run.wait(draw.uniform(0, MAX_STEP_SECONDS))


def signals_part(folder, wholes, draw, args):
    """Send SIGTERM and SIGINT to the process and to its group, SIGNALS_PER_CASE times each."""
    rows = []
    for name, whole in wholes.items():
        for number in (signal.SIGTERM, signal.SIGINT):
            wanted = [(group, workers) for group in (0, 1) for workers in (0, 2)] * SIGNALS_PER_CASE
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
    """Stop a run by the signal `number` again and again until it is done, usually after the first step of a process.

    Args:
        wanted: list of (whether the signal goes to the process group, number of workers).

    Returns:
        the rest of `wanted` for which the run was too short.
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
    """Simulate a full disk by a limit of the file size, so that a save fails.

    The first two epochs run without a limit, as files larger than last.pth would end each run at its start.
    """
    rows = []
    for name, whole in wholes.items():
        job = Job(folder / name, whole.configuration, whole)
        job.start(0, '--epochs', 2).wait()
        largest = (job.directory / 'last.pth').stat().st_size
        for number in range(DISK_LIMITS):
            before = len(steps_in(job.samples))
            run = job.start(0, '--save_steps', SAVE_STEPS, file_size=largest * (number + 1) // (DISK_LIMITS + 1))
            code = run.wait()
            job.ended(run, before)
            errors = [line for line in run.said.splitlines() if 'error: ' in line]
            if code not in (1, 2) or len(errors) != 1:  # 2: full before the run began
                job.faults.append(f'{run.output}: exit status {code}, {len(errors)} lines')
            job.faults += [f'{path.name} is left' for path in (folder / name / 'runs').glob('*/*partial*')]
        kill(job, draw, 0)
        job.compare()
        rows.append((f'{DISK_LIMITS} times full', name, [job]))
    return rows


def damage_part(folder, wholes, draw, args):
    """Truncate last.pth and flip single bits of it: a run resumes from the newest valid file."""
    from utils.runs.checkpoint import load_checkpoint
    from utils.training.resume import newest_readable

    rows = []
    for name, whole in wholes.items():
        job = Job(folder / name, whole.configuration, whole)
        run = job.start(0, '--save_freq', 1, '--epochs', 2)
        run.wait()
        last = job.directory / 'last.pth'
        data, states = last.read_bytes(), {path: load_checkpoint(path) for path in job.directory.glob('*.pth')}
        damaged = [data[: len(data) * number // TRUNCATIONS] for number in range(TRUNCATIONS)]
        for offset in (draw.randrange(len(data)) for _ in range(FLIPPED_BITS)):
            damaged.append(data[:offset] + bytes([data[offset] ^ (1 << draw.randrange(8))]) + data[offset + 1 :])
        noticed = 0
        for content in damaged:
            last.write_bytes(content)
            found, path, note = newest_readable(job.directory)
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
    """Return the Markdown table of the results (list of str, lines)."""
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
    """Return the parsed and checked command line."""
    parser = argparse.ArgumentParser(description='Interrupt and resume runs, and check that nothing is lost.')
    parser.add_argument('--kills', type=int, default=200, help='number of SIGKILLs over all runs (default: 200)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the times of the faults (default: 0)')
    parser.add_argument('--only', nargs='+', choices=PARTS, help='parts to run (default: all; with a file: kills)')
    parser.add_argument('--configurations', type=Path, metavar='FILE', help='kill the runs in this file')
    parser.add_argument('--runs', nargs='+', help='names of the runs to interrupt (default: all)')
    parser.add_argument('--jobs', type=int, default=1, help='number of parallel runs in the part kills (default: 1)')
    parser.add_argument('--keep', type=Path, help='directory to keep the runs in (default: runs are deleted)')
    args = parser.parse_args(argv)
    if args.configurations and args.only and args.only != ['kills']:
        parser.error('--configurations works with the part kills only')
    args.only = args.only or (['kills'] if args.configurations else list(PARTS))
    args.parser = parser
    return args


def chosen_runs(args, folder):
    """Return the Configurations to interrupt (dict by name); their data is made in `folder` (Path)."""
    if args.configurations:
        try:
            found = read_configurations(args.configurations, make_data(folder / 'data', SAMPLE_COUNT))
        except (OSError, ValueError) as error:
            args.parser.error(f'--configurations: {error}')
    else:
        words = cases(folder, SAMPLE_COUNT, EPOCHS)
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
