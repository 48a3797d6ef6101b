"""Runs of several processes under torchrun, of which one is killed at a time. As a program, one of these processes.

    torchrun --nproc_per_node 2 scripts/dev/fault_injection/torchrun.py SAMPLES <options of train.py>

Each process writes SAMPLES.<rank>, with a line for each step, and its PID into SAMPLES.<rank>.pid.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # the project

from scripts.dev.fault_injection.compare import differences, sample_faults
from scripts.dev.fault_injection.processes import recording, steps_in

PROCESS_COUNT, SAVE_STEPS = 2, 3
START_SHARE = 0.2  # of the kills; these happen before the first step
MAX_START_SECONDS, MAX_STEP_SECONDS = 4.0, 1.5  # until a kill, after the start or after the first step
MAX_KILLS_PER_RUN = 6  # each run must also end
END_TIMEOUT_SECONDS = 30.0  # for the other processes to exit


class Launch:
    """One start of torchrun, in a process group of its own.

    Args:
        words: command line (list) of train.py.
        samples: path that what the processes write begins with.
    """

    def __init__(self, words, samples):
        self.samples, self.output = samples, Path(f'{samples}.{time.monotonic_ns()}.out')
        for rank in range(PROCESS_COUNT):
            self.pid_file(rank).unlink(missing_ok=True)
        command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', PROCESS_COUNT]
        command += ['--monitor_interval', 0.1, __file__, samples, *words]
        with open(self.output, 'w', encoding='utf-8') as file:
            self.process = subprocess.Popen(
                list(map(str, command)), stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )

    def pid_file(self, rank):
        """Return where a process writes its number (Path)."""
        return Path(f'{self.samples}.{rank}.pid')

    def kill(self, rank):
        """Send SIGKILL to one of the processes as soon as it is there; return whether it still was (bool)."""
        while not self.pid_file(rank).exists():
            if self.wait(0.05) is not None:
                return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(self.pid_file(rank).read_text()), signal.SIGKILL)
            return True
        return False

    def wait(self, seconds=None):
        """Wait for the end and return the exit status (int), or None: not yet."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(seconds)
        return None

    @property
    def said(self):
        """What was printed so far (str)."""
        return self.output.read_text(encoding='utf-8')


class SharedJob:
    """A run of several processes that is started until it is done; `whole`: one that was never interrupted, or None."""

    def __init__(self, folder, name, words, whole=None):
        self.folder, self.name, self.words, self.whole = folder, name, words, whole
        folder.mkdir(parents=True)
        self.samples, self.processes, self.kills = folder / 'samples', 0, 0
        self.faults, self.verified, self.unseen, self.repeated = [], 0, 0, 0

    def run(self, left, draw):
        """Start it until it is done, killing one of the processes up to `left` times (int) when `draw` says."""
        while not self.faults:
            before = len(self.steps(0))
            launch = Launch([*self.words, '--checkpoints_dir', self.folder / 'runs', '--resume', 'auto'], self.samples)
            self.processes += 1
            killed = self.kills < left and self.kill_one(launch, before, draw)
            self.kills += killed
            code = launch.wait(END_TIMEOUT_SECONDS if killed else None)
            self.look_at(launch, before)
            if code == 0:
                break
            if code is None:
                os.killpg(launch.process.pid, signal.SIGKILL)
            if code is None or not killed:
                self.faults.append(f'{launch.output}: exit status {code}')
        if self.whole is not None and not self.faults:
            self.compare()

    def kill_one(self, launch, before, draw):
        """Kill one of the processes at a random moment; return whether it was there (bool)."""
        if draw.random() < START_SHARE:
            launch.wait(draw.uniform(0, MAX_START_SECONDS))
        else:
            while launch.wait(0.03) is None and len(self.steps(0)) == before:
                pass
            launch.wait(draw.uniform(0, MAX_STEP_SECONDS))
        return launch.kill(draw.randrange(PROCESS_COUNT))

    def steps(self, rank):
        """Return the steps that a process wrote down, as fault_injection.processes.steps_in."""
        return steps_in(f'{self.samples}.{rank}')

    def look_at(self, launch, before):
        """Look at what a start has said and done; `before`: the steps that had been done when it began."""
        self.verified += launch.said.count('resume verified')
        self.unseen += launch.said.count('resume not verified')
        if 'resume differs' in launch.said:
            self.faults.append(f'{launch.output}: differs')
        steps = self.steps(0)
        if before and len(steps) > before:
            first = steps[before][:2]
            self.repeated = max(self.repeated, len({step[:2] for step in steps[:before] if step[:2] >= first}))

    def compare(self):
        """Compare the run, which is done, with the one that was never interrupted."""
        self.faults += differences(self.directory, self.whole.directory)
        for rank in range(PROCESS_COUNT):
            self.faults += sample_faults(f'{self.samples}.{rank}', f'{self.whole.samples}.{rank}')

    @property
    def directory(self):
        """The run's directory (Path): the newest, as those before were killed before they had saved anything."""
        return max((self.folder / 'runs').iterdir(), key=lambda path: (len(path.name), path.name))


def processes_part(folder, wholes, draw, args):
    """Kill one of two processes of a run, a tenth as often as those of one process, and start both of them again."""
    rows, share = [], -(-args.kills // 10 // len(wholes))
    for name, alone in wholes.items():
        words = [*alone.words, '--save_steps', SAVE_STEPS, '--num_workers', 1]
        whole = SharedJob(folder / f'{name}_whole', name, words)
        whole.run(0, draw)
        jobs, kills = [whole], 0
        while kills < share and not any(job.faults for job in jobs):
            job = SharedJob(folder / f'{name}_{len(jobs)}', name, words, whole)
            jobs.append(job)
            job.run(min(share - kills, MAX_KILLS_PER_RUN), draw)
            kills += job.kills
        rows.append((f'{kills} SIGKILL of one of {PROCESS_COUNT}', name, jobs))
    return rows


def main():
    """Be one of the processes: train, and write down the samples."""
    import train
    from utils.base.errors import run_main

    samples, *words = sys.argv[1:]
    own = f'{samples}.{os.environ["RANK"]}'
    Path(f'{own}.part').write_text(str(os.getpid()), encoding='utf-8')
    os.replace(f'{own}.part', f'{own}.pid')
    train.Trainer = recording(train.Trainer, own)
    run_main(lambda: train.main(words), 'train.py')


if __name__ == '__main__':
    main()
