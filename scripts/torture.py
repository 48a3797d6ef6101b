#!/usr/bin/env python
"""Interrupt runs in every way, again and again, and check that nothing is lost: docs/reliability.md has the figures.

    python scripts/torture.py                            # 200 kills, half an hour on two cores
    python scripts/torture.py --kills 20 --seed 1        # other moments
    python scripts/torture.py --only kills signals       # some of the parts
    python scripts/torture.py --only processes           # of two processes under torchrun one is killed, 20 times

Each run goes on with --resume auto and another number of workers, until it is done; then weights, optimizer, averages,
generators, history.csv and TensorBoard's values are compared with those of a run that was never interrupted, bit for
bit, and so are the samples of every step. Exit status 1: something differs; what, stands in the table and below it.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[level]) for level in (1, 0)]

from faults.cases import cases
from faults.compare import differences, leftovers, same, sample_faults
from faults.processes import Run, steps_in
from faults.torchrun import processes_part

SAVE_STEPS = 3
WORKERS = (0, 1, 2)
TRUNCATIONS, FLIPS, LIMITS, SIGNALS = 20, 50, 12, 3  # the last: of each kind, per case and number of workers
STARTING, START_SECONDS, WHILE_SECONDS = 0.2, 1.0, 0.8  # share of faults while a process starts; seconds until them


class Job:
    """A run of a case that goes on until it is done, and the one that it is compared with."""

    def __init__(self, folder, name, words, whole):
        self.folder, self.name, self.whole, self.words = folder, name, whole, words
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.samples, self.processes = folder / 'samples', 0
        self.faults, self.verified, self.unseen, self.repeated = [], 0, 0, 0

    def start(self, workers, *words, **options):
        """Start a process that begins the run or goes on with it, and return it."""
        self.processes += 1
        given = [*self.words, '--checkpoints_dir', self.folder / 'runs', '--resume', 'auto', '--num_workers', workers]
        return Run([*given, *words], self.samples, **options)

    def ended(self, run, before):
        """Look at a process that has ended; `before`: the steps that had been done when it started."""
        self.verified += run.said.count('resume verified')
        self.unseen += run.said.count('resume not verified')
        # Of a process that is killed the workers may complain that it has left them.
        if 'resume differs' in run.said or ('Traceback' in run.said and run.process.exitcode != -signal.SIGKILL):
            self.faults.append(f'{run.output}: differs, or a traceback')
        steps = steps_in(self.samples)
        if before and len(steps) > before:
            first = steps[before][:2]
            again = len({step[:2] for step in steps[:before] if step[:2] >= first})
            self.repeated = max(self.repeated, again)
            # One saving may be under way while the next steps are done; its end is waited for at the one after it.
            together = 3 if '--accumulate' in self.words else 1
            if again > 2 * SAVE_STEPS * together and first != (1, 1):
                self.faults.append(f'{run.output}: {again} steps done again')

    @property
    def directory(self):
        """The run's directory (Path): the newest, as those before were killed before they had saved anything."""
        return max((self.folder / 'runs').iterdir(), key=lambda path: (len(path.name), path.name))

    def compare(self):
        """Compare the run, which is done, with the one that was never interrupted."""
        self.faults += differences(self.directory, self.whole.directory)
        self.faults += sample_faults(self.samples, self.whole.samples)


def whole_run(folder, name, words):
    """Return the Job of a run that is never interrupted."""
    job = Job(folder, name, words, None)
    run = job.start(0)
    if run.wait() != 0:
        raise SystemExit(f'{name}: cannot run at all:\n{run.said}')
    return job


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


def kill(job, draw, left):
    """Kill a run up to `left` times at random moments, then let it be done; return how often (int)."""
    kills = 0
    while True:
        before = len(steps_in(job.samples))
        run = job.start(draw.choice(WORKERS), '--save_steps', SAVE_STEPS)
        code = wait_for_moment(job, run, before, draw) if kills < left else run.wait()
        if code is None:
            run.kill()
            code = run.wait()
        job.ended(run, before)
        if code == 0:
            return kills
        kills += code == -signal.SIGKILL
        if code != -signal.SIGKILL:
            job.faults.append(f'{run.output}: exit status {code}')
            return kills


def kills_part(folder, wholes, draw, args):
    """Kill runs of all cases at random moments."""
    killed, rows = dict.fromkeys(wholes, 0), {}
    share = -(-args.kills // (2 * len(wholes)))  # of one run, which has to end as well
    while sum(killed.values()) < args.kills:
        name = min(killed, key=killed.get)
        jobs = rows.setdefault(name, [])
        job = Job(folder / f'{name}_{len(jobs)}', name, wholes[name].words, wholes[name])
        jobs.append(job)
        killed[name] += kill(job, draw, min(share, args.kills - sum(killed.values())))
        if not job.faults:
            job.compare()
    return [(f'{count} SIGKILL', name, rows[name]) for name, count in killed.items() if name in rows]


def signals_part(folder, wholes, draw, args):
    """Send SIGTERM and SIGINT to the process and to its group, until each of them has stopped runs that often."""
    rows = []
    for name, whole in wholes.items():
        for number in (signal.SIGTERM, signal.SIGINT):
            wanted = [(group, workers) for group in (0, 1) for workers in (0, 2)] * SIGNALS
            count, jobs = len(wanted), []
            while wanted:
                job = Job(folder / f'{name}_{number.name}_{len(jobs)}', name, whole.words, whole)
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
        job = Job(folder / name, name, whole.words, whole)
        job.start(0, '--epochs', 2).wait()
        largest = (job.directory / 'last.pth').stat().st_size
        for number in range(LIMITS):
            before = len(steps_in(job.samples))
            run = job.start(0, '--save_steps', SAVE_STEPS, file_size=largest * (number + 1) // (LIMITS + 1))
            code = run.wait()
            job.ended(run, before)
            errors = [line for line in run.said.splitlines() if 'error: ' in line]
            if code != 2 or len(errors) != 1:
                job.faults.append(f'{run.output}: exit status {code}, {len(errors)} lines')
            job.faults += [f'{path.name} is left' for path in (folder / name / 'runs').glob('*/*partial*')]
        kill(job, draw, 0)
        job.compare()
        rows.append((f'{LIMITS} times full', name, [job]))
    return rows


def damage_part(folder, wholes, draw, args):
    """Truncate last.pth, and change single bytes of it: a run goes on from the newest file that is whole."""
    from utils.resumption import newest_whole

    rows = []
    for name, whole in wholes.items():
        job = Job(folder / name, name, whole.words, whole)
        run = job.start(0, '--save_freq', 1, '--epochs', 2)
        run.wait()
        last = job.directory / 'last.pth'
        data, (state, *_) = last.read_bytes(), newest_whole(job.directory)
        damaged = [data[: len(data) * number // TRUNCATIONS] for number in range(TRUNCATIONS)]
        for place in (draw.randrange(len(data)) for _ in range(FLIPS)):
            damaged.append(data[:place] + bytes([data[place] ^ (1 << draw.randrange(8))]) + data[place + 1 :])
        noticed = 0
        for content in damaged:
            last.write_bytes(content)
            found, path, note = newest_whole(job.directory)
            noticed += note is not None
            if not same(found, state) or (note is None) != (path == last):
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


def main():
    """Interrupt runs, print the table, and exit with 1 if anything differs."""
    parser = argparse.ArgumentParser(description='Interrupt runs in every way and check that nothing is lost.')
    parser.add_argument('--kills', type=int, default=200, help='how often a run is killed by SIGKILL')
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    parser.add_argument('--only', nargs='+', choices=PARTS, default=list(PARTS), help='parts to do')
    parser.add_argument('--runs', nargs='+', help='cases to interrupt (default: all)')
    parser.add_argument('--keep', type=Path, help='directory that keeps the runs (default: none)')
    args = parser.parse_args()
    started, draw, rows = time.perf_counter(), random.Random(args.seed), []
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        chosen = {n: w for n, w in cases(folder, 42, 20).items() if args.runs is None or n in args.runs}
        wholes = {name: whole_run(folder / 'whole' / name, name, words) for name, words in chosen.items()}
        for part in args.only:
            rows += PARTS[part](folder / part, wholes, draw, args)
            print(*table(rows, time.perf_counter() - started), sep='\n', flush=True)
        faults = [f'{what}, {name}: {fault}' for what, name, jobs in rows for job in jobs for fault in job.faults]
        faults += [
            f'{job.name}: {left} is left' for _, _, jobs in rows for job in jobs for left in leftovers(job.directory)
        ]
    print(*faults, sep='\n')
    sys.exit(1 if faults else 0)


if __name__ == '__main__':
    main()
