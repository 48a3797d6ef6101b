"""SIGKILL at random times in all phases of runs, which are resumed until they are done."""

import random
import shutil
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripts.dev.fault_injection.jobs import Job, is_finished
from scripts.dev.fault_injection.processes import steps_in
from scripts.dev.fault_injection.strikes import PHASES, draw_strike, phase_at_end

WORKERS = (0, 1, 2)
MAX_KILLS_PER_RUN = 8  # each run must also end
MAX_FAULTY_RUNS = 2  # then a configuration is not run again


def kills_part(folder, wholes, draw, args):
    """Kill runs of all configurations.

    Returns:
        rows (list) of what was done, the configuration's name, and its Jobs, each with `kills`, a Counter of phases.
    """
    share = -(-args.kills // len(wholes))
    seeds = {name: draw.random() for name in wholes}

    def kill_runs(name):
        return killed_runs(folder, wholes[name], random.Random(seeds[name]), share, args.keep is not None)

    with ThreadPoolExecutor(args.jobs) as pool:
        jobs = dict(zip(wholes, pool.map(kill_runs, wholes), strict=True))
    return [(f'{sum(job.kills.total() for job in jobs[name])} SIGKILL', name, jobs[name]) for name in wholes]


def killed_runs(folder, whole, draw, kills, keep):
    """Run a configuration until it was killed `kills` times (int), and return its Jobs, all done and compared.

    Args:
        whole: Job of the run that was never interrupted.
        draw: random.Random.
        keep: keep the directories of runs in which nothing differs (bool).
    """
    jobs = []
    while (left := kills - sum(job.kills.total() for job in jobs)) > 0:
        job = Job(folder / f'{whole.name}_{len(jobs) + 1}', whole.configuration, whole)
        jobs.append(job)
        kill(job, draw, min(left, MAX_KILLS_PER_RUN))
        if not job.faults:
            job.compare()
        said = ', '.join(f'{phase} {job.kills[phase]}' for phase in PHASES if job.kills[phase])
        print(f'{job.folder.name}: killed {job.kills.total()} times ({said})', *job.faults, sep='\n  ', flush=True)
        if not job.faults and not keep:
            shutil.rmtree(job.folder)
        if sum(bool(each.faults) for each in jobs) == MAX_FAULTY_RUNS:
            break
    return jobs


def kill(job, draw, left):
    """Kill a run up to `left` times (int) at random moments, then let it be done; job.kills counts by phase."""
    job.kills, is_trained, total = Counter(), False, len(steps_in(job.whole.samples))
    told = Path(f'{job.samples}.phase')
    while True:
        before = len(steps_in(job.samples))
        phases = [phase for phase in PHASES if phase != 'end test' or job.configuration.has_end_test]
        phases = [phase for phase in phases if not is_trained or phase in ('start', 'end test', 'closing')]
        strike = draw_strike(draw, phases, total - before) if job.kills.total() < left else None
        told.unlink(missing_ok=True)
        run = job.start(draw.choice(WORKERS), *job.save_steps(), by_name=draw.random() < 0.5, fault=strike)
        code = run.wait()
        job.ended(run, before)
        if is_finished(run, code):
            return
        if code != -signal.SIGKILL or strike is None:
            job.faults.append(f'{run.output}: exit status {code}')
            return
        phase = phase_at_end(told)
        job.kills[phase] += 1
        is_trained |= phase in ('end test', 'closing')


def kills_table(rows):
    """Return how often each configuration was killed in which phase as lines (list of str), in Markdown."""
    names = ('configuration', 'runs', 'kills', *PHASES, 'verified', 'not verified', 'steps done again', 'differences')
    lines = [f'| {" | ".join(names)} |', '|---' * len(names) + '|']
    totals = Counter()
    for _, name, jobs in rows:
        kills = sum((job.kills for job in jobs), Counter())
        sums = Counter({'verified': sum(job.verified for job in jobs), 'unseen': sum(job.unseen for job in jobs)})
        sums |= {'runs': len(jobs), 'kills': kills.total(), 'faults': sum(len(job.faults) for job in jobs)}
        totals += kills + sums
        lines.append(_row(name, kills + sums, max((job.repeated for job in jobs), default=0)))
    return [*lines, _row('all', totals, max((job.repeated for _, _, jobs in rows for job in jobs), default=0))]


def _row(name, counts, repeated):
    numbers = [counts[key] for key in ('runs', 'kills', *PHASES, 'verified', 'unseen')]
    return f'| {name} | {" | ".join(map(str, numbers))} | {repeated} | {counts["faults"]} |'
