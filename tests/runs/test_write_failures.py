"""Whatever keeps a run or a test from writing its files ends it in one line: path, the system's reason, what to do."""

import errno
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

import eval as eval_py
import train
from utils.base.write_errors import WriteError
from utils.runs.checkpoint import load_checkpoint

SMALL = ['--model_type', 'mlp', '--model_args', 'hidden=8', '--batch_size', '500', '--epochs', '3']
SMALL += ['--threads', '1', '--no_report', '--device', 'cpu']
EPOCH = 10  # steps of 5,000 digits


@pytest.fixture
def mounted(tmp_path):
    """Return a function that mounts a new, small file system with some options of tmpfs (str) and returns its Path."""
    mounts = []

    def mount(options):
        place = tmp_path / f'disk{len(mounts)}'
        place.mkdir()
        words = ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', place]
        if not hasattr(os, 'geteuid') or os.geteuid() or shutil.which('mount') is None:
            pytest.skip('mounting a file system needs root')
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f'this root may mount nothing: {done.stderr.strip()}')
        mounts.append(place)
        return place

    yield mount
    for place in mounts:
        subprocess.run(['umount', '-l', place], check=True)


@pytest.fixture
def failing(monkeypatch):
    """Return a function that trains into a directory and does something before a step -> the WriteError."""

    def run(folder, step, strike, *words):
        learn = train.Trainer.train_step

        def train_step(self, batch):
            if self.update.steps == step:
                self.logger.checkpoints.finish()  # what was saved before is there, whatever happens now
                strike(Path(self.args.model_dir))
            return learn(self, batch)

        monkeypatch.setattr(train.Trainer, 'train_step', train_step)
        with pytest.raises(WriteError) as caught:
            train.main([*SMALL, '--checkpoints_dir', str(folder), *map(str, words)])
        assert '\n' not in str(caught.value)
        assert caught.value.status == 1, 'it failed while it ran'
        return str(caught.value)

    return run


def fill(run):
    with open(run.parent / 'other', 'wb', buffering=0) as file, pytest.raises(OSError, match='space'):
        while True:
            file.write(bytes(2**12))


def remove(run):
    while run.exists():  # TensorBoard's thread may write a file meanwhile
        shutil.rmtree(run, ignore_errors=True)


def use_inodes(run):
    with pytest.raises(OSError, match='space'):
        for number in range(10_000):
            (run.parent / f'other{number}').touch()


@pytest.mark.parametrize(
    ('options', 'strike', 'reason', 'remedy'),
    [
        ('size=12m', fill, 'No space left on device', 'free some space'),
        ('size=40m,nr_inodes=40', use_inodes, 'No space left on device', 'remove some files .*no inodes'),
    ],
)
@pytest.mark.parametrize('step', [1, EPOCH + 1], ids=['before anything is saved', 'after an epoch'])
def test_a_file_system_that_takes_nothing_more(options, strike, reason, remedy, step, mounted, failing):
    disk = mounted(options)
    said = failing(disk, step, strike)
    run = disk / 'mlp_exp'
    saved = (run / 'last.pth').exists()
    assert saved == (step > EPOCH)
    go_on = f'--resume {run}' if saved else 'start it again'
    assert re.fullmatch(f'cannot write {run}/?.*: {reason}; {remedy}.*, then {go_on}', said)
    if saved:
        assert load_checkpoint(run / 'last.pth')['epoch'] == 1
    assert not list(run.glob('*.pth.*.partial'))


def test_a_run_that_has_become_read_only_is_not_gone_on_with(mounted, train_here):
    disk = mounted('size=40m')
    run = train_here(*SMALL, '--checkpoints_dir', disk).directory
    subprocess.run(['mount', '-o', 'remount,ro', disk], check=True)
    said = rf'{run}: not writable \(Read-only file system\); make the file system writable again '
    with pytest.raises(train.DanluError, match=said):
        train_here('--resume', run, '--epochs', 4)


def test_a_file_system_that_becomes_read_only(failing, refusing, tmp_path):
    """As one with a fault does; none can be made so by hand as long as log.txt is open."""
    run = tmp_path / 'mlp_exp'
    said = failing(tmp_path, EPOCH + 1, lambda run: refusing(f'{run}/', errno.EROFS))
    assert re.fullmatch(
        f'cannot write {run}/.*: Read-only file system; make the file system writable again .*, then --resume {run}',
        said,
    )


@pytest.mark.parametrize('step', [1, EPOCH + 1])
def test_a_run_whose_directory_is_removed_is_not_to_be_resumed(step, failing, tmp_path):
    said = failing(tmp_path, step, remove)
    run = tmp_path / 'mlp_exp'
    assert re.fullmatch(
        f'cannot write {run}/.*: No such file or directory; the directory {run} was removed or renamed, so start the '
        'run again',
        said,
    )
    assert not run.exists(), 'and it does not come back in part'


def test_a_directory_without_the_right_to_write(failing):
    """Not below tmp_path, into which only its owner may look."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)

        def take_away(run):
            run.chmod(0o555)
            for path in run.iterdir():
                path.chmod(0o644)
            if os.geteuid() == 0:
                os.seteuid(65534)

        uid = os.geteuid()
        try:
            said = failing(folder, EPOCH + 1, take_away)
        finally:
            os.seteuid(uid)
            Path(folder, 'mlp_exp').chmod(0o755)
        run = Path(folder, 'mlp_exp')
        assert re.fullmatch(
            f'cannot write {run}/.*: Permission denied; get the right to write there, then --resume {run}', said
        )


def test_a_last_pth_that_is_immutable(failing, tmp_path):
    last = tmp_path / 'mlp_exp' / 'last.pth'
    if shutil.which('chattr') is None:
        pytest.skip('there is no chattr')

    def set_immutable(run):
        done = subprocess.run(['chattr', '+i', last], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f'no file can be made immutable here: {done.stderr.strip()}')

    try:
        said = failing(tmp_path, EPOCH + 1, set_immutable)
    finally:
        subprocess.run(['chattr', '-i', last], check=False)
    assert re.fullmatch(
        f'cannot write {last}: Operation not permitted; get the right .*lsattr.*, then --resume {last.parent}', said
    )
    assert load_checkpoint(last)['epoch'] == 1


def test_too_many_open_files(failing, tmp_path):
    resource = pytest.importorskip('resource')
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    def use_up(run):
        free = os.dup(1)  # the lowest number that is free
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))

    try:
        said = failing(tmp_path, EPOCH + 1, use_up, '--save_steps', 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert re.search(r': Too many open files; allow more open files \(ulimit -n\), then ', said)


# --- each file by itself, with reasons that no disk here gives


@pytest.fixture
def refusing(monkeypatch):
    """Return a function: files whose names fit a pattern cannot be opened for writing, with an errno as the reason."""
    real = os.open

    def refuse(pattern, number):
        def opened(path, flags, *rest, **options):
            if flags & (os.O_WRONLY | os.O_RDWR) and re.search(pattern, os.fspath(path)):
                raise OSError(number, os.strerror(number), path)
            return real(path, flags, *rest, **options)

        monkeypatch.setattr(os, 'open', opened)

    return refuse


@pytest.mark.slow_after(5, 'a run each')
@pytest.mark.parametrize(
    ('name', 'number'),
    [
        ('args.txt', errno.EDQUOT),
        ('env.txt', errno.EIO),
        ('source.zip', errno.ENOSPC),
        ('record.json', errno.EIO),
        ('log.txt', errno.EDQUOT),
        ('first_steps.jsonl', errno.EIO),
        ('witness.jsonl', errno.EIO),
        ('history.csv', errno.EDQUOT),
        ('best.pth', errno.EIO),
        ('last.pth', errno.EDQUOT),
        ('curves.png', errno.EIO),
        ('lock', errno.EDQUOT),
    ],
)
def test_each_file_of_a_run_is_named(name, number, refusing, tmp_path, capsys):
    refusing(f'/{name.partition(".")[0]}[^/]*$', number)
    with pytest.raises((WriteError, SystemExit, train.DanluError)) as caught:
        train.main([*SMALL, '--checkpoints_dir', str(tmp_path)])
    said = capsys.readouterr().err if caught.type is SystemExit else str(caught.value)
    assert said.count('\n') == (caught.type is SystemExit)
    assert f'mlp_exp/{name}' in said or name == 'lock'
    assert os.strerror(number) in said
    assert 'Traceback' not in said


@pytest.mark.parametrize(
    'name', ['args.txt', 'predictions.csv', 'confusion_matrix.csv', 'ledger_line.json', 'result.txt', 'report.html']
)
def test_each_file_of_a_test_is_named(name, refusing, digits_run, eval_here, tmp_path, capsys):
    refusing(f'/{name.partition(".")[0]}[^/]*$', errno.EIO)
    words = ['--load_model_path', digits_run.directory / 'best.pth', '--checkpoints_dir', tmp_path]
    words += ['--result_dir', tmp_path / 'test', *(['--report'] if name == 'report.html' else [])]
    with pytest.raises((WriteError, SystemExit)) as caught:
        eval_here(*words)
    said = capsys.readouterr().err if caught.type is SystemExit else str(caught.value)
    assert re.search(f'cannot write .*/{name}: {os.strerror(errno.EIO)}; look for a faulty disk', said)
    assert said.count('\n') == (caught.type is SystemExit)
    assert [path.name for path in tmp_path.glob('test/*')] in ([], ['args.txt'])


def test_a_test_whose_directory_is_removed_while_it_runs(digits_run, eval_here, tmp_path, monkeypatch):
    note = eval_py.Evaluator.note_batch

    def note_batch(self, *batch):
        shutil.rmtree(tmp_path / 'test', ignore_errors=True)
        note(self, *batch)

    monkeypatch.setattr(eval_py.Evaluator, 'note_batch', note_batch)
    best = digits_run.directory / 'best.pth'
    with pytest.raises(WriteError) as caught:
        eval_here('--load_model_path', best, '--checkpoints_dir', tmp_path, '--result_dir', tmp_path / 'test')
    assert re.search(
        f'No such file or directory; the directory .* was removed or renamed, so test again: python eval.py '
        f'--load_model_path {best}',
        str(caught.value),
    )


def test_a_ledger_without_space_keeps_its_line_for_the_next_test(
    digits_run, eval_here, tmp_path, refusing, monkeypatch
):
    best = shutil.copy(digits_run.directory / 'best.pth', tmp_path / 'mine.pth')
    words = ['--load_model_path', best, '--checkpoints_dir', tmp_path, '--result_dir', tmp_path / 'test']
    refusing('/ledger.jsonl$', errno.ENOSPC)
    with pytest.raises(WriteError, match=f'cannot write {tmp_path}/ledger.jsonl: No space left'):
        eval_here(*words)
    monkeypatch.undo()
    assert (tmp_path / 'test' / 'result.txt').is_file()
    eval_here(*words)
    assert len((tmp_path / 'ledger.jsonl').read_text().splitlines()) == 2


def test_the_exit_status_of_a_failure_while_running_is_1(run_program, mounted):
    """The whole program: its one line, no traceback of a thread, and the test at the end that has no space."""
    disk = mounted('size=2500k')
    words = ['--model_type', 'mlp', '--model_args', 'hidden=200', '--epochs', 2, '--checkpoints_dir', disk]
    done = run_program('train.py', *words, '--device', 'cpu', '--report')
    assert done.code == 1, done.stderr
    assert re.fullmatch('train.py: error: .*cannot write .*: No space left on device; free some space.*\n', done.stderr)


@pytest.mark.parametrize('name', ['history.csv', 'curves.png'])
def test_a_directory_in_the_place_of_a_file_is_named_itself(name, failing, tmp_path):
    def put(run):
        (run / name).unlink(missing_ok=True)
        (run / name).mkdir()

    run = tmp_path / 'mlp_exp'
    said = failing(tmp_path, EPOCH + 1, put)
    assert said.startswith(f'cannot write {run / name}: Is a directory; remove what is in its place, then ')


def test_what_cannot_be_written_says_what_to_do_without_a_run_too(run_program, mounted, digits_run):
    """A program that makes one file: its path, the reason and the remedy."""
    disk = mounted('size=40m')
    runs = disk / 'runs'
    shutil.copytree(digits_run.directory, runs / 'a', ignore=lambda *_: ['best', 'last.pth', 'best.pth'])
    fill(runs)
    done = run_program('scripts/runs.py', 'note', 'a', 'x' * 5000, '--checkpoints_dir', runs)
    assert (done.code, done.stderr) == (
        1,
        f'runs.py: error: cannot write {runs}/a/note.txt: No space left on device; free some space\n',
    )
    done = run_program('scripts/runs.py', 'rm', 'a', '--yes', '--checkpoints_dir', runs)
    assert (done.code, done.stderr) == (
        1,
        f'runs.py: error: cannot write {runs}/a/lock: No space left on device; free some space\n',
    )
    done = run_program('scripts/look.py', '--out', disk / 'look.png', '--count', 4)
    assert done.code == 2
    said = f'look.py: error: --out: {disk}/look.png cannot be written: No space left on device.*\n'
    assert re.fullmatch(said, done.stderr)
