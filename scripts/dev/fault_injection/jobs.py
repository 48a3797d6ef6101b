"""A run that is interrupted and resumed until it is done, and the uninterrupted run that it is compared with."""

import re
import shutil
import signal
import time
from pathlib import Path

from scripts.dev.fault_injection.compare import differences, sample_faults
from scripts.dev.fault_injection.processes import Run, steps_in

SAVE_STEPS = 3
ORPHAN_SECONDS = 60  # until data workers must have exited after their process was killed
# Messages of a run that is already finished.
FINISHED = re.compile('nothing to do: | is finished, at epoch ')


class Job:
    """A run of a configuration that goes on until it is done.

    Args:
        folder: for what it writes (Path); what is in it is removed.
        configuration: fault_injection.configurations.Configuration.
        whole: Job of the run that was never interrupted, or None: this is one.

    Attributes:
        faults: what was wrong (list of str).
        processes, verified, unseen, repeated: how many were started, said that they had verified the first step, could
            not, and how many steps were done again at most (int).
    """

    def __init__(self, folder, configuration, whole):
        self.folder, self.configuration, self.whole = folder, configuration, whole
        self.name, self.words = configuration.name, configuration.words
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.samples, self.processes, self.groups = folder / 'samples', 0, []
        self.faults, self.verified, self.unseen, self.repeated = [], 0, 0, 0

    def start(self, workers, *words, by_name=True, **options):
        """Start a process that begins the run or goes on with it, and return it.

        Args:
            workers: of each loader (int).
            words: more options.
            by_name: resume by `--resume auto`, else by the run's directory, where there is one to go on with.
            options: for Run.
        """
        self.processes += 1
        begun = self.resumable()
        given = ['--num_workers', workers, *words]
        if begun is not None and (self.configuration.is_own or not by_name):
            given = ['--resume', begun, *given]
        else:
            auto = [] if self.configuration.is_own else ['--resume', 'auto']
            given = [*self.words, '--checkpoints_dir', self.folder / 'runs', *auto, *given]
        run = Run(given, self.samples, program=self.configuration.program, **options)
        self.groups.append(run.process.pid)
        return run

    def save_steps(self):
        """Return the options (list) by which an interrupted run saves more often, unless its own ones do."""
        return [] if '--save_steps' in self.words else ['--save_steps', SAVE_STEPS]

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
            together = self.configuration.value_of('--accumulate', 1)
            most = 2 * self.configuration.value_of('--save_steps', SAVE_STEPS) * together
            if again > most and first != (1, 1):
                self.faults.append(f'{run.output}: {again} steps done again')

    @property
    def directory(self):
        """The run's directory (Path): the newest, as those before were killed before they had saved anything."""
        return self._directories()[-1]

    def resumable(self):
        """Return the newest directory (Path) that a run can go on in, or None: there is none."""
        return next((path for path in reversed(self._directories()) if list(path.glob('last*.pth'))), None)

    def _directories(self):
        """Return the directories of runs (list of Path): `name`, `name_2`, `name_3` ..."""
        runs = self.folder / 'runs'
        found = filter(Path.is_dir, runs.iterdir()) if runs.is_dir() else ()
        return sorted(found, key=lambda path: (len(path.name), path.name))

    def compare(self):
        """Compare the run, which is done, with the one that was never interrupted."""
        self.faults += differences(self.directory, self.whole.directory)
        self.faults += sample_faults(self.samples, self.whole.samples)
        until = time.monotonic() + ORPHAN_SECONDS
        while (left := [group for group in self.groups if processes_of(group)]) and time.monotonic() < until:
            time.sleep(1)
        if left:
            self.faults.append(f'processes of the groups {left} are left')


def whole_run(folder, configuration):
    """Return the Job of a run that is never interrupted."""
    job = Job(folder, configuration, None)
    run = job.start(0)
    if run.wait() != 0 or 'no report.html' in run.said:
        raise SystemExit(f'{configuration.name}: cannot run at all:\n{run.said}')
    return job


def is_finished(run, code):
    """Return whether a process with the exit status `code` (int) was the last that its run needs (bool)."""
    return code == 0 or (code == 2 and bool(FINISHED.search(run.said)))


def processes_of(group):
    """Return the processes (list of int) of a process group that still run; [] where the system has no /proc."""
    found = []
    for path in Path('/proc').glob('[0-9]*/stat'):
        try:
            state, _, number = path.read_text(encoding='utf-8').rpartition(')')[2].split()[:3]
        except OSError:  # it has ended meanwhile
            continue
        if int(number) == group and state != 'Z':
            found.append(int(path.parent.name))
    return found
