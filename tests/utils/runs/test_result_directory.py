"""Files of a test take their places together; what was there keeps its own under a number; a crash loses nothing."""

import contextlib
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from utils.base.registry import PROJECT
from utils.runs import result_directory
from utils.runs.lock import RunLock
from utils.runs.result_directory import atomic_results, holds_same_test
from utils.runs.run_directory import make_new_directory

FILES = ('args.txt', 'result.txt', 'predictions.csv', 'viz/1.png', 'viz/deep/2.png')


def write(directory, text, files=FILES):
    """Write files with a text each."""
    for name in files:
        path = Path(directory, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{text} {name}')


def contents(directory):
    """Return the text of every file below a directory (dict by relative path)."""
    directory = Path(directory)
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob('*') if path.is_file()}


def results_of(directory, text, files=FILES):
    """Run a test that writes `text` into its files, and return where it wrote."""
    args = Namespace(result_dir=str(directory), load_model_path='last.pth')
    with atomic_results(args, None) as place:
        assert place == str(directory)
        assert os.path.dirname(args.result_dir) == place
        write(args.result_dir, text, files)
    assert args.result_dir == str(directory)


def expected(text, number=None, files=FILES):
    """Return what `contents` finds of a test that wrote `text` and is known by `number`."""

    def numbered(name):
        first, slash, rest = name.partition('/')
        stem, ending = os.path.splitext(first)
        return f'{stem}.{number}{ending}{slash}{rest}'

    return {name if number is None else numbered(name): f'{text} {name}' for name in files}


def test_the_newest_has_the_plain_names_and_one_is_the_oldest(tmp_path):
    (tmp_path / 'notes.txt').write_text('mine')
    for text in ('first', 'second', 'third'):
        results_of(tmp_path, text)
    everything = expected('third') | expected('first', 1) | expected('second', 2) | {'notes.txt': 'mine'}
    assert contents(tmp_path) == everything
    assert {'viz', 'viz.1', 'viz.2'} <= set(os.listdir(tmp_path))


def test_numbers_stay_together_where_a_file_was_not_there_before(tmp_path):
    results_of(tmp_path, 'first', FILES[:2])
    results_of(tmp_path, 'second')
    results_of(tmp_path, 'third')
    assert contents(tmp_path) == expected('third') | expected('first', 1, FILES[:2]) | expected('second', 2)


def test_a_test_that_fails_leaves_the_earlier_one_in_its_place(tmp_path):
    results_of(tmp_path, 'first')
    args = Namespace(result_dir=str(tmp_path), load_model_path='last.pth')
    with pytest.raises(KeyboardInterrupt), atomic_results(args, None):
        write(args.result_dir, 'second', FILES[2:])
        raise KeyboardInterrupt
    assert contents(tmp_path) == expected('first')
    assert args.result_dir == str(tmp_path)


def test_the_args_txt_that_was_written_before_the_test_is_no_earlier_one(tmp_path):
    (tmp_path / 'args.txt').write_text('of this test')
    results_of(tmp_path, 'first')
    assert contents(tmp_path) == expected('first')


def test_files_of_another_origin_are_kept_too(tmp_path):
    write(tmp_path, 'stray', ['viz/1.png', 'viz.1/0.png'])
    results_of(tmp_path, 'first')
    kept = {'viz.2/1.png': 'stray viz/1.png', 'viz.1/0.png': 'stray viz.1/0.png'}
    assert contents(tmp_path) == expected('first') | kept


def crashing_after(moves):
    """Return what os is to a program that is killed after that many moves of a file."""
    left = iter(range(moves))

    def crashing(move):
        def moving(*paths):
            if next(left, None) is None:
                raise MemoryError
            move(*paths)

        return moving

    return Namespace(**vars(os) | {name: crashing(getattr(os, name)) for name in ('rename', 'replace', 'remove')})


@pytest.mark.parametrize('renames', range(9))
def test_a_crash_between_two_files_loses_nothing(tmp_path, monkeypatch, renames):
    """Killed after some of the moves, as seen by the next test."""
    results_of(tmp_path, 'first')
    with monkeypatch.context() as patch:
        patch.setattr(result_directory, 'os', crashing_after(renames))
        if renames < 8:
            with pytest.raises(MemoryError):
                results_of(tmp_path, 'second')
            every = ''.join(contents(tmp_path).values())
            assert all(f'{text} {name}' in every for text in ('first', 'second') for name in FILES)
        else:
            results_of(tmp_path, 'second')
    results_of(tmp_path, 'third')
    assert contents(tmp_path) == expected('third') | expected('first', 1) | expected('second', 2)


@pytest.mark.parametrize('moves', range(12))
def test_a_page_goes_with_its_test_also_where_the_next_writes_none(tmp_path, monkeypatch, moves):
    with_page = (*FILES, 'report.html', 'confusion_matrix.png')
    results_of(tmp_path, 'first', with_page)
    with monkeypatch.context() as patch:
        patch.setattr(result_directory, 'os', crashing_after(moves))
        with contextlib.suppress(MemoryError):
            results_of(tmp_path, 'second')
    results_of(tmp_path, 'third', with_page)
    assert contents(tmp_path) == expected('third', files=with_page) | expected('first', 1, with_page) | expected(
        'second', 2
    )


KILLED = """
import os, signal, sys
from argparse import Namespace
from utils.runs.result_directory import atomic_results
with atomic_results(args := Namespace(result_dir=sys.argv[1], load_model_path='last.pth'), None):
    open(os.path.join(args.result_dir, 'predictions.csv'), 'w').write('half')
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_test_left_is_removed_by_the_next(tmp_path):
    results_of(tmp_path, 'first')
    assert subprocess.run([sys.executable, '-c', KILLED, tmp_path], cwd=PROJECT, check=False).returncode < 0
    assert contents(tmp_path).items() >= expected('first').items()
    assert contents(tmp_path)['partial/predictions.csv'] == 'half'
    results_of(tmp_path, 'second')
    assert contents(tmp_path) == expected('second') | expected('first', 1)


TEST = """
import os, sys, time
from argparse import Namespace
from utils.runs.result_directory import holds_same_test, atomic_results
from utils.runs.run_directory import make_new_directory
wanted, number = sys.argv[1:]
def choose(args):
    return make_new_directory(wanted, lambda path: holds_same_test(path, ['--a=1']))
for repetition in range(5):
    args = Namespace(result_dir=choose(None), load_model_path='last.pth')
    with atomic_results(args, choose):
        for name in ('args.txt', 'predictions.csv', 'result.txt'):
            with open(os.path.join(args.result_dir, name), 'w') as file:
                file.write(f'--a=1\\n{number} {repetition}')
            time.sleep(0.002)
"""


def test_tests_at_the_same_time_do_not_mix(tmp_path):
    """Six processes with five tests each, all of the same thing: each has its three files under one number."""
    command = [sys.executable, '-c', TEST, tmp_path / 'val']
    processes = [subprocess.Popen([*command, str(number)], cwd=PROJECT) for number in range(6)]
    assert [process.wait() for process in processes] == [0] * 6
    found = []
    for path in tmp_path.glob('val*/result*.txt'):
        number = path.name.removeprefix('result').removesuffix('.txt')
        texts = {
            path.with_name(f'{stem}{number}{ending}').read_text()
            for stem, ending in (('result', '.txt'), ('args', '.txt'), ('predictions', '.csv'))
        }
        assert len(texts) == 1
        found += texts
    assert sorted(found) == [f'--a=1\n{number} {repetition}' for number in range(6) for repetition in range(5)]
    assert not [*tmp_path.glob('val*/partial*'), *tmp_path.glob('val*/lock')]


HOLDER = """
import sys
from utils.runs.lock import RunLock
lock = RunLock(sys.argv[1])
print('held', flush=True)
sys.stdin.read()
"""


def test_a_directory_that_another_test_is_writing_into_is_left_alone(tmp_path):
    directory = tmp_path / 'val'
    results_of(directory, 'first')
    (directory / 'args.txt').write_text('# a comment\n--a=1  # default: 2\n# --b (not set)\n--c\n')
    lines = ['# another', '--a=1', '# --b (not set)', '--c']
    assert holds_same_test(directory, lines)
    assert not holds_same_test(directory, [*lines, '--d=3'])
    assert not holds_same_test(directory, ['--a=2', '--c'])
    assert not holds_same_test(tmp_path, lines)
    command = [sys.executable, '-c', HOLDER, directory]
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline().strip() == b'held'
        assert not holds_same_test(directory, lines)
        args = Namespace(result_dir=str(directory), load_model_path='last.pth')
        with atomic_results(args, lambda args: make_new_directory(args.result_dir)) as place:
            assert place == f'{directory}_2'
            write(args.result_dir, 'second', FILES[:2])
        assert args.result_dir == place
        holder.stdin.close()
    assert contents(f'{directory}_2') == expected('second', files=FILES[:2])
    RunLock(directory).release()


def report_of_test(run, name, text, files=('args.txt', 'result.txt', 'report.html')):
    """Run a test of best.pth in a directory `name` of a run; its report has the given text."""
    args = Namespace(result_dir=str(run / 'best' / name), load_model_path=str(run / 'best.pth'))
    with atomic_results(args, None):
        write(args.result_dir, text, files)


def test_the_report_in_the_run_is_the_newest_of_best_pth(tmp_path):
    link = tmp_path / 'report.html'
    report_of_test(tmp_path, 'val_a', 'first')
    assert link.read_text() == 'first report.html'
    assert not os.path.isabs(os.readlink(link)), 'the run can be moved'
    report_of_test(tmp_path, 'val_b', 'second')
    assert link.read_text() == 'second report.html'
    report_of_test(tmp_path, 'val_a', 'third', files=('args.txt', 'result.txt'))
    assert link.read_text() == 'second report.html'
    report_of_test(tmp_path, 'val_b', 'fourth', files=('args.txt', 'result.txt'))
    assert link.read_text() == 'second report.html', 'it has a number now'
    report_of_test(tmp_path, 'val_b', 'fifth')
    assert link.read_text() == 'fifth report.html'


def test_tests_of_other_checkpoints_leave_the_report_of_the_run(tmp_path):
    args = Namespace(result_dir=str(tmp_path / 'last' / 'val_a'), load_model_path=str(tmp_path / 'last.pth'))
    with atomic_results(args, None):
        write(args.result_dir, 'last', ('args.txt', 'result.txt', 'report.html'))
    assert not (tmp_path / 'report.html').exists()


def test_predictions_without_targets_leave_the_report_of_the_run(tmp_path):
    report_of_test(tmp_path, 'val_a', 'test')
    report_of_test(tmp_path, 'predict_photos', 'predictions', files=('args.txt', 'report.html'))
    assert (tmp_path / 'report.html').read_text() == 'test report.html'


def test_without_links_the_report_is_a_copy(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(1314, 'A required privilege is not held by the client')

    monkeypatch.setattr(os, 'symlink', refuse)
    for text in ('first', 'second'):
        report_of_test(tmp_path, 'val_a', text)
        assert (tmp_path / 'report.html').read_text() == f'{text} report.html'
        assert not (tmp_path / 'report.html').is_symlink()
