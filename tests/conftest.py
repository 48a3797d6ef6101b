"""What the end-to-end tests share: small data, short runs, and starting train.py and eval.py.

A run is made once per session and looked at from many sides: each start of Python with torch costs seconds. Tests that
write into a run make one of their own.
"""

import contextlib
import csv
import ctypes
import io
import os
import pickle
import random
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

# Before torch is imported: the number of threads changes the bits of the weights, and the subprocesses inherit it.
os.environ['OMP_NUM_THREADS'] = '1'
# Programs speak English to the tests, in the encoding of the user's locale.
if locale := os.environ.pop('LC_ALL', None):
    os.environ['LC_CTYPE'] = locale
os.environ['LC_MESSAGES'] = 'C'

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from tests import program_server, shortcuts
from utils.base.machine import cpu_cores
from utils.drawing import curves
from utils.provenance import used_files

PROJECT = Path(__file__).resolve().parent.parent
LIST_TRAIN, LIST_VAL = 26, 13  # with batches of 8 the last ones hold 2 and 5
MASK_TRAIN, MASK_VAL = 7, 5
MASK_CLASSES, MASK_IGNORED = 3, 7
# What a person's shell sets; the tests may run in a CI job or be started from a notebook.
AT_A_TERMINAL = {'CI': '', 'TERM': 'xterm', 'NO_COLOR': '', 'MPLBACKEND': '', 'JPY_PARENT_PID': ''}


# A run in this process names its program by this file, which the workers of pytest-xdist do not have.
vars(sys.modules['__main__']).pop('__file__', None)


@pytest.hookimpl(optionalhook=True)  # without pytest-xdist there is none
def pytest_xdist_auto_num_workers():
    """Return how many processes `-n auto` starts (int): one more than there are cores, as tests wait for programs."""
    return cpu_cores() + 1


@pytest.hookimpl(tryfirst=True)  # before the slow tests are left out
def pytest_collection_modifyitems(items):
    """Mark the cases of a parametrized test as slow, except the first ones, where its mark slow_after says so."""
    cases = Counter()
    for item in items:
        if mark := item.get_closest_marker('slow_after'):
            number, reason = mark.args
            test = item.nodeid.partition('[')[0]
            cases[test] += 1
            if cases[test] > number:
                item.add_marker(pytest.mark.slow(reason))


@pytest.fixture(autouse=True)
def seeded():
    """Seed the global generators, so that what a test draws does not depend on the tests that ran before it."""
    random.seed(0)
    np.random.seed(0)
    if 'torch' in sys.modules:
        sys.modules['torch'].default_generator.manual_seed(0)


@pytest.fixture(autouse=True)
def own_environment():
    """Take back what a test sets in os.environ: --deterministic sets a variable, and records name some of them."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(autouse=True, scope='module')
def forgotten_programs(tmp_path_factory):
    """Forget after each file of tests which programs of its own it imported: records name imported and opened files."""
    yield
    folder = f'{tmp_path_factory.getbasetemp().parent}{os.sep}'
    for name, module in list(sys.modules.items()):
        if str(getattr(module, '__file__', None)).startswith(folder):
            del sys.modules[name]
    if used_files.watched.opened is not None:
        used_files.watched.opened.clear()


@pytest.fixture(autouse=True, scope='module')
def returned_memory():
    """Return what a file of tests has freed to the system: glibc keeps blocks between others that are in use."""
    yield
    if sys.platform == 'linux' and hasattr(ctypes.CDLL(None), 'malloc_trim'):
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(scope='session', autouse=True)
def _own_state(tmp_path_factory):
    """Let runs note their archives (utils/base/known_archives.py) in a directory of the tests, not in the user's."""
    os.environ['XDG_STATE_HOME'] = str(tmp_path_factory.mktemp('state'))


@pytest.fixture(scope='session', autouse=True)
def _shortcuts():
    shortcuts.take()


@pytest.fixture
def real_curves(monkeypatch):
    """Let runs in this process draw curves.png as they do otherwise."""
    monkeypatch.setattr(curves, 'figure_of', shortcuts.real_figure_of)


@pytest.fixture(scope='session')
def interpreter():
    """Return the Python (str) that runs the tests."""
    return sys.executable


@pytest.fixture(scope='session')
def run_program(interpreter, tmp_path_factory):
    """Return a function that runs train.py or another program: (script, *words, terminal, fresh, **env) -> result.

    The result has `code`, `stdout` and `stderr`. The program starts in a directory of its own, as everything must work
    from anywhere. terminal=True connects stderr to a terminal, terminal='both' stdout too. The process is forked from
    one that has imported torch already (tests/program_server.py); fresh=True starts a new interpreter, which also
    happens by itself for environment variables that Python and its libraries read when they start.
    """

    def run(script, *words, terminal=False, fresh=False, **env):
        words, place = _without_pages(script, words), tmp_path_factory.mktemp('elsewhere')
        environment = {**os.environ, **(AT_A_TERMINAL if terminal else {}), **env}
        new = fresh or program_server.needs_new_interpreter(env)

        def start(**streams):
            if not new:
                return program_server.Program(PROJECT / script, words, env=environment, cwd=place, **streams)
            streams = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, **streams}
            command = [interpreter, str(PROJECT / script), *words]
            return subprocess.Popen(command, env=environment, cwd=place, stdin=subprocess.DEVNULL, text=True, **streams)

        code, stdout, stderr = _ended_in_terminal(start, terminal == 'both') if terminal else _ended(start())
        assert list(place.iterdir()) == [], 'it wrote into the directory that it was started in'
        return SimpleNamespace(code=code, stdout=stdout, stderr=stderr)

    return run


def _ended(process):
    """Wait for the end of a process; return code, stdout, stderr."""
    try:
        stdout, stderr = process.communicate(timeout=900)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, stdout or '', stderr or ''


def _without_pages(script, words):
    """Return the words (list of str) of a command line, without the pages that it does not ask for: they take time."""
    words = [*map(str, words)]
    pages = ('report', 'index') if script == 'train.py' else ()
    return [*words, *(f'--no_{page}' for page in pages if f'--{page}' not in words)]


def _ended_in_terminal(start, both):
    """Run with stderr in a terminal of 100 columns and stdout in a pipe or in it; return code, stdout, stderr."""
    pty, fcntl, termios = (pytest.importorskip(name) for name in ('pty', 'fcntl', 'termios'))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, b'\x18\x00\x64\x00\x00\x00\x00\x00')
    seen = []

    def read():
        with contextlib.suppress(OSError):  # EIO: the last program that had the terminal open has ended
            while data := os.read(ours, 65536):
                seen.append(data)

    process = start(stderr=theirs, **({'stdout': theirs} if both else {}))
    os.close(theirs)
    reader = threading.Thread(target=read)
    reader.start()
    code, stdout, _ = _ended(process)
    reader.join(timeout=300)
    os.close(ours)
    return code, stdout, b''.join(seen).decode()


@pytest.fixture(scope='session')
def train_here():
    """Return a function that calls train.main(words) in this process, on the CPU -> the run."""

    def run(*words):
        import train

        with contextlib.redirect_stdout(io.StringIO()) as stdout:
            train.main([*_without_pages('train.py', words), *([] if '--gpus' in words else ['--device', 'cpu'])])
        return finished_run(stdout.getvalue())

    return run


@pytest.fixture(scope='session')
def eval_here(tmp_path_factory):
    """Return a function that calls eval.main(words) in this process, on the CPU -> the test."""
    elsewhere = tmp_path_factory.mktemp('ledger_of_checkpoints_without_a_run')

    def run(*words):
        import eval as eval_py

        if '--checkpoints_dir' not in words:
            words = (*words, '--checkpoints_dir', elsewhere)
        with contextlib.redirect_stdout(io.StringIO()) as stdout:
            eval_py.main([*map(str, words), *([] if '--gpus' in words else ['--device', 'cpu'])])
        return finished_test(stdout.getvalue())

    return run


@pytest.fixture(scope='session')
def predict_here():
    """Return a function that calls eval.main(words), which have --predict, in this process, on the CPU -> the result.

    The result has directory, stdout, rows (of predictions.csv, list of dict) and summary (of summary.txt, dict of str).
    """

    def run(*words):
        import eval as eval_py

        with contextlib.redirect_stdout(io.StringIO()) as stdout:
            eval_py.main([*map(str, words), '--device', 'cpu'])
        directory = Path(printed(stdout.getvalue(), 'results'))
        with open(directory / 'predictions.csv', newline='', encoding='utf-8-sig') as file:
            rows = list(csv.DictReader(file))
        lines = (directory / 'summary.txt').read_text(encoding='utf-8').splitlines()
        summary = dict(line.removeprefix('# ').split(': ', 1) for line in lines)
        return SimpleNamespace(directory=directory, stdout=stdout.getvalue(), rows=rows, summary=summary)

    return run


def finished_run(stdout, stderr='', code=0):
    """Return a run: directory, stdout, stderr, code, and the names of the files that it left, as they are now."""
    directory = Path(printed(stdout, 'run'))
    files = sorted(path.name for path in directory.iterdir())
    return SimpleNamespace(directory=directory, stdout=stdout, stderr=stderr, code=code, files=files)


def finished_test(stdout, stderr='', code=0):
    """Return a test: directory, stdout, stderr, code, the values of result.txt and the lines above them (str)."""
    directory = Path(printed(stdout, 'results'))
    lines = (directory / 'result.txt').read_text(encoding='utf-8').splitlines()
    head = dict(line.removeprefix('# ').split(': ', 1) for line in lines if line.startswith('# '))
    values = dict(line.split(': ', 1) for line in lines if not line.startswith('# '))
    return SimpleNamespace(directory=directory, stdout=stdout, stderr=stderr, code=code, head=head, values=values)


def printed(stdout, name):
    """Return what a program printed as `name: ...` (str), the last time."""
    found = [line.removeprefix(f'{name}: ') for line in stdout.splitlines() if line.startswith(f'{name}: ')]
    assert found, f'no line "{name}: ..." in:\n{stdout}'
    return found[-1]


@pytest.fixture(scope='session')
def history_of():
    """Return a function: run -> the rows of its history.csv (list of dict of str)."""

    def read(run):
        with open(run.directory / 'history.csv', newline='', encoding='utf-8') as file:
            return list(csv.DictReader(file))

    return read


@pytest.fixture(scope='session')
def events_of():
    """Return a function: run -> what TensorBoard reads from it: scalars and images, by tag, lists of events."""

    def read(run):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        reader = EventAccumulator(str(run.directory), size_guidance={'scalars': 0, 'images': 0})
        reader.Reload()
        tags = reader.Tags()
        return SimpleNamespace(
            scalars={tag: reader.Scalars(tag) for tag in tags['scalars']},
            images={tag: reader.Images(tag) for tag in tags['images']},
        )

    return read


# --- made once for all workers of pytest


@pytest.fixture(scope='session')
def shared(tmp_path_factory):
    """Return a function that makes something once for all workers of pytest: (name, make) -> what make(folder) returns.

    What it returns is pickled for the other workers, and what it leaves in the empty folder is read only for all.
    """
    own = tmp_path_factory.getbasetemp()
    everyones = (own.parent if 'PYTEST_XDIST_WORKER' in os.environ else own) / 'shared'
    everyones.mkdir(exist_ok=True)

    def get(name, make):
        kept = everyones / f'{name}.pickle'
        with FileLock(everyones / f'{name}.lock'):
            if not kept.exists():
                made = pickle.dumps(make(Path(tempfile.mkdtemp(prefix=f'{name}_', dir=everyones))))
                kept.write_bytes(made)
            return pickle.loads(kept.read_bytes())

    return get


# --- data


@pytest.fixture(scope='session')
def list_data(shared):
    """Return the options (list of str) of a classification: 20x16 RGB files, three classes by name, uneven batches."""
    return shared('list_data', _save_list_data)


def _save_list_data(folder):
    random = np.random.default_rng(1)
    for split, count in (('train', LIST_TRAIN), ('val', LIST_VAL)):
        lines = []
        for index in range(count):
            shade = index % 3
            pixels = random.integers(0, 120, (20, 16, 3)) + 50 * shade
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f'{split}{index}.png')
            # Every fifth label is wrong, so that no network gets all of them right.
            label = (shade + (index % 5 == 4)) % 3
            lines.append(f'{split}{index}.png\t{["yak", "ant", "cat"][label]}\n')
        (folder / f'{split}.txt').write_text(''.join(lines), encoding='utf-8')
    return [
        *('--data_type', 'list', '--train_list', str(folder / 'train.txt'), '--val_list', str(folder / 'val.txt')),
        *('--batch_size', '8', '--lr', '0.003'),
    ]


@pytest.fixture(scope='session')
def mask_data(shared):
    """Return the options (list of str) of a segmentation: 20x24 RGB files, some pixels ignored, uneven batches."""
    return shared('mask_data', _save_mask_data)


def _save_mask_data(folder):
    random = np.random.default_rng(2)
    for split, count in (('train', MASK_TRAIN), ('val', MASK_VAL)):
        lines = []
        for index in range(count):
            mask = np.repeat(random.integers(0, MASK_CLASSES, (5, 6)), 4, axis=0).repeat(4, axis=1)
            pixels = random.integers(0, 140, (20, 24, 3)) + 40 * mask[..., None]
            # The number of ignored pixels differs from picture to picture: means over batches would show.
            mask[: 3 * index] = MASK_IGNORED
            for name, array in ((f'{split}{index}.png', pixels), (f'{split}{index}_mask.png', mask)):
                Image.fromarray(array.astype(np.uint8)).save(folder / name)
            lines.append(f'{split}{index}.png {split}{index}_mask.png\n')
        (folder / f'{split}.txt').write_text(''.join(lines), encoding='utf-8')
    return [
        *('--data_type', 'list', '--train_list', str(folder / 'train.txt'), '--val_list', str(folder / 'val.txt')),
        *('--task', 'segmentation', '--num_classes', str(MASK_CLASSES), '--ignore_index', str(MASK_IGNORED)),
        *('--model_type', 'unet', '--batch_size', '2', '--num_workers', '0'),
    ]


# --- runs, read only


@pytest.fixture(scope='session')
def digits_run(run_program, shared):
    """Return a run of train.py on the digits: two epochs, in a process that sees no GPU."""

    def make(folder):
        words = ['--epochs', 2, '--batch_size', 192, '--save_freq', 2, '--device', 'cpu', '--checkpoints_dir', folder]
        done = run_program('train.py', *words, fresh=True, CUDA_VISIBLE_DEVICES='')
        assert done.code == 0, done.stderr
        return finished_run(done.stdout, done.stderr, done.code)

    return shared('digits_run', make)


@pytest.fixture(scope='session')
def digits_test(run_program, digits_run, shared):
    """Return a test of `digits_run` by eval.py, given the checkpoint and nothing else."""

    def make(_):
        path = digits_run.directory / 'best.pth'
        done = run_program('eval.py', '--load_model_path', path, fresh=True, CUDA_VISIBLE_DEVICES='')
        assert done.code == 0, done.stderr
        return finished_test(done.stdout, done.stderr, done.code)

    return shared('digits_test', make)


@pytest.fixture(scope='session')
def list_run(run_program, list_data, shared):
    """Return a run of train.py on `list_data`: two epochs, augmented, two workers, stderr a terminal."""

    def make(folder):
        words = ['--epochs', 2, '--num_workers', 2, '--augment', 'strong', '--print_freq', 1]
        words += ['--checkpoints_dir', folder, '--device', 'cpu']
        done = run_program('train.py', *list_data, *words, terminal=True)
        assert done.code == 0, done.stderr
        return finished_run(done.stdout, done.stderr, done.code)

    return shared('list_run', make)


@pytest.fixture(scope='session')
def mask_run(train_here, mask_data, shared):
    """Return a run on `mask_data`: two epochs of a U-Net, pictures and masks mirrored."""
    words = ['--epochs', 2, '--augment', 'flip', '--lr', 0.01, '--checkpoints_dir']
    return shared('mask_run', lambda folder: train_here(*mask_data, *words, folder))


# --- runs that are interrupted


@pytest.fixture(scope='session')
def faults():
    """Return what scripts/dev/stress_resume.py interrupts and compares runs with, as attributes."""
    sys.path.append(str(PROJECT / 'scripts'))
    from scripts.dev.fault_injection import cases, compare, processes

    program_server.start_server()  # one process for both, whoever comes first
    return SimpleNamespace(
        **{name: value for module in (cases, compare, processes) for name, value in vars(module).items()}
    )


@pytest.fixture(scope='session')
def whole_runs(faults, shared):
    """Return a function: the name of a case -> its run that was never interrupted (words, directory, samples)."""
    words = shared('cases', lambda folder: faults.cases(folder, 26, 3))

    def whole(name):
        def make(place):
            samples = place / f'{name}.samples'
            run = faults.Run([*words[name], '--checkpoints_dir', place / name, '--num_workers', 0], samples)
            assert run.wait() == 0, run.said
            [directory] = (place / name).iterdir()
            return SimpleNamespace(words=words[name], directory=directory, samples=samples)

        return shared(f'whole_run_{name}', make)

    return whole
