"""Interleaved measurement: every contestant has a process of its own and runs one epoch when it is its turn."""

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path

from scripts.dev.bench.load import busy_seconds, own_seconds

PROJECT = Path(__file__).resolve().parents[3]
TERMINAL_SIZE = (40, 120)  # rows, columns


class Contestant:
    """A contestant's process, on a terminal of its own, so that progress bars are drawn as for a user.

    Args:
        task: Task; its scratch directory is made here and keeps what the process printed, output.txt.
    """

    def __init__(self, task):
        self.task = task
        Path(task.scratch).mkdir(parents=True)
        terminal, inside = _open_terminal()
        receive, send = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'scripts.dev.bench.worker', json.dumps(asdict(task)), str(send)],
            stdin=subprocess.PIPE, stdout=inside, stderr=inside, pass_fds=[send], text=True, cwd=PROJECT,
            start_new_session=True, env=project_environment(),
        )  # fmt: skip
        os.close(inside)
        os.close(send)
        self.receiving = os.fdopen(receive)
        threading.Thread(target=self._keep_output, args=(terminal,), daemon=True).start()

    def _keep_output(self, terminal):
        with open(terminal, 'rb', buffering=0) as source, open(f'{self.task.scratch}/output.txt', 'wb') as target:
            try:
                while block := source.read(65536):
                    target.write(block)
                    target.flush()
            except OSError:  # how Linux says that the last process on a terminal has ended
                return

    def wait(self):
        """Return the next report (dict): 'seconds', 'steps', 'accuracy' and 'threads' of an epoch.

        Raises:
            RuntimeError: the process has ended; with the last lines that it printed.
        """
        line = self.receiving.readline()
        if not line:
            self.process.wait()
            printed = Path(self.task.scratch, 'output.txt').read_text(encoding='utf-8', errors='replace')
            printed = printed.replace('\r', '\n')
            raise RuntimeError(f'{self.task.name} failed:\n' + '\n'.join(printed.splitlines()[-25:]))
        return json.loads(line)

    def run_epoch(self):
        """Let it run one epoch and return its report.

        It has 'others', how many cores other processes took, and 'cpu', the processor time of the contestant and its
        workers: on a busy machine this is more reliable than the time that passed.
        """
        before, own = busy_seconds(self.process.pid), own_seconds(self.process.pid)
        self.process.stdin.write('go\n')
        self.process.stdin.flush()
        report = self.wait()
        report['cpu'] = own_seconds(self.process.pid) - own
        report['others'] = max(0.0, busy_seconds(self.process.pid) - before) / report['seconds']
        return report

    def stop(self):
        """End the process and those that it started."""
        self.process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # its own session: itself and its loaders' workers
        self.process.wait()


def race(tasks, rounds, say, fresh=False):
    """Run `rounds` rounds in which each contestant runs one epoch, and return the reports.

    Args:
        tasks: list of Task.
        rounds: the first of them is a warm-up and left out of what is returned.
        say: function that prints a line of progress.
        fresh: whether each round starts new processes, which run an epoch to warm up and another one to measure, each
            alone. The speed of a process depends on its memory layout, which chance decides at its start: processes
            that live through all rounds compare that instead of their loops.

    Returns:
        list of (Task, list of rounds-1 reports).
    """
    say(f'{"" if fresh else "starting "}{len(tasks)} contestants: {", ".join(task.name for task in tasks)}')
    reports = {task.scratch: [] for task in tasks}
    with contextlib.ExitStack() as running:
        contestants = {} if fresh else {task.scratch: _start(task, running) for task in tasks}
        for contestant in contestants.values():
            contestant.wait()
        for number in range(rounds):
            for place in range(len(tasks)):  # a round later each starts one place earlier
                task = tasks[(place + number) % len(tasks)]
                report = _run_fresh(task, number) if fresh else contestants[task.scratch].run_epoch()
                reports[task.scratch].append(report)
                accuracy = '' if report['accuracy'] is None else f'accuracy {report["accuracy"]:.4f}'
                kind = 'warm-up' if number == 0 else f'round {number}'
                say(f'{kind:8} {task.name:28} {report["seconds"]:8.3f} s  {accuracy}')
    return [(task, reports[task.scratch][1:]) for task in tasks]


def _start(task, running):
    """Return a new Contestant, which the ExitStack `running` stops."""
    contestant = Contestant(task)
    running.callback(contestant.stop)
    return contestant


def _run_fresh(task, number):
    """Return the report of the second epoch of a process that runs only these two; number: of the round."""
    with contextlib.ExitStack() as running:
        contestant = _start(replace(task, scratch=f'{task.scratch}_{number}'), running)
        contestant.wait()
        contestant.run_epoch()
        return contestant.run_epoch()


def project_environment():
    """Return the environment of a process that imports the project's modules and finds itself on a terminal."""
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get('PYTHONPATH')]))
    return {**os.environ, 'PYTHONPATH': path, 'TERM': 'xterm', 'CI': ''}


def _open_terminal():
    """Return the two ends (file descriptors) of a new terminal: ours and the process's."""
    import fcntl
    import pty
    import termios

    ours, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack('4H', *TERMINAL_SIZE, 0, 0))
    return ours, inside
