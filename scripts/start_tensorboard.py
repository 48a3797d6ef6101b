#!/usr/bin/env python
"""Start TensorBoard with the curves, images and options of the runs; open the printed address in a browser.

    python scripts/start_tensorboard.py [options of tensorboard]      for example --port 6007

Of more than 40 runs, TensorBoard hides all curves in most of its tabs, so it gets the newest 40, also while it is open;
--logdir checkpoints gives it all.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
COMMAND = (sys.executable, '-m', 'tensorboard.main')
MAX_RUNS = 40
LINK_SECONDS = 15  # between two looks for new runs
EVENTS = 'events.out.tfevents.*'


def runs_by_age(checkpoints):
    """Return the directories (list of Path) with event files in or one level below `checkpoints`, the newest first."""
    files = [file for pattern in (f'*/{EVENTS}', f'*/*/{EVENTS}') for file in checkpoints.glob(pattern)]
    ages = {}
    for file in files:
        if file.parent.name != 'steps' and file.exists():
            ages[file.parent] = max(file.stat().st_mtime, ages.get(file.parent, 0))
    return sorted(ages, key=ages.get, reverse=True)


def link_newest(logdir, checkpoints):
    """Let the directory `logdir` (Path) have links to the newest runs, and to no others.

    Raises:
        OSError: this system allows no links.
    """
    targets = {logdir / run.relative_to(checkpoints): run for run in runs_by_age(checkpoints)[:MAX_RUNS]}
    for folder, names, _ in os.walk(logdir):
        for link in (Path(folder, name) for name in names):
            if link.is_symlink() and link not in targets:
                link.unlink()
    for link, run in targets.items():
        if not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(run, target_is_directory=True)


def serve(words, update=None):
    """Run TensorBoard with options (list of str) until it ends, and return its exit status (int).

    Args:
        update: called every LINK_SECONDS, or None.
    """
    with subprocess.Popen([*COMMAND, *words], cwd=PROJECT) as server:
        before = signal.signal(signal.SIGTERM, lambda *_: server.terminate())
        try:
            while server.poll() is None:
                wait(server, update)
        finally:
            signal.signal(signal.SIGTERM, before)
    return server.returncode


def wait(server, update):
    """Wait until TensorBoard ends or LINK_SECONDS have passed; then call update(), if it is not None."""
    try:
        server.wait(LINK_SECONDS if update else None)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(OSError):  # a run was deleted meanwhile
            update()
    except KeyboardInterrupt:
        server.terminate()


def main(argv, checkpoints=PROJECT / 'checkpoints'):
    """Start TensorBoard with the options `argv` (list of str) and return its exit status (int)."""
    if any(word == '--inspect' or word.startswith('--logdir') for word in argv):
        return serve(argv)
    count = len(runs_by_age(checkpoints))
    if count <= MAX_RUNS:
        return serve(['--logdir', str(checkpoints), *argv])
    with tempfile.TemporaryDirectory() as folder:
        try:
            link_newest(Path(folder), checkpoints)
        except OSError as error:  # Windows without developer mode
            print(f'all {count} runs, as links to the newest cannot be made: {error}', flush=True)
            return serve(['--logdir', str(checkpoints), *argv])
        print(f'the newest {MAX_RUNS} of {count} runs; all: scripts/tensorboard.sh --logdir checkpoints', flush=True)
        return serve(['--logdir', folder, *argv], lambda: link_newest(Path(folder), checkpoints))


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
