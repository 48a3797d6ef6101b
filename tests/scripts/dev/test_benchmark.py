"""The benchmark runs and leaves what it says; how long anything takes is not tested."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tests.program_server import run_forked
from utils.base.registry import PROJECT

PNG = b'\x89PNG\r\n\x1a\n'

pytestmark = pytest.mark.skipif(not sys.platform.startswith('linux'), reason='the benchmark needs Linux')


def benchmark(*words):
    """Run the benchmark and return (exit status, stdout, stderr)."""
    command = [sys.executable, str(PROJECT / 'scripts' / 'dev' / 'benchmark.py'), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=PROJECT,
                          env={**os.environ, 'OMP_NUM_THREADS': '1'})  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def benchmark_here(monkeypatch, capsys):
    """Return a function like `benchmark` which runs it in this process, and forks what the benchmark starts."""
    from scripts.dev import benchmark as program
    from scripts.dev.bench import measure, predict

    for module in (measure, predict):
        monkeypatch.setattr(module, 'subprocess', SimpleNamespace(run=run_forked))

    def run(*words):
        monkeypatch.setattr(sys, 'argv', ['benchmark.py', *map(str, words)])
        status = program.main()
        return (status, *capsys.readouterr())

    return run


def result(folder):
    """Return benchmark.json, having checked that the plot is there and the scratch files are not."""
    assert (folder / 'benchmark.png').read_bytes().startswith(PNG)
    assert not (folder / 'scratch').exists()
    return json.loads((folder / 'benchmark.json').read_text())


@pytest.mark.slow('a whole part of the benchmark')
def test_small_measures_danlu_against_the_bare_loop_and_a_script(tmp_path):
    status, out, err = benchmark('small', '--quick', '--peer_samples', 192, '--peers', 'script', '--out', tmp_path)
    assert (status, err) == (0, ''), out
    content = result(tmp_path)
    assert content['work'] == 'small' and content['problems'] == []
    assert {'cpu', 'cores', 'versions', 'date', 'command', 'seconds', 'load_before'} <= set(content['machine'])
    assert content['machine']['versions']['torch'] in out
    [(title, rows)] = content['sections'].items()
    assert title in out
    assert [row['name'] for row in rows] == ['bare 1 thread', 'danlu 1 thread', 'script usual', 'script best']
    for row in rows:
        assert f'\n{row["name"]} ' in out, 'a line of the table'
        assert row['steps'] == 6 and 0 <= row['accuracy'] <= 1 and row['threads'] == 1
        assert len(row['seconds']) == 1 and row['min'] == row['median'] == row['max'] == row['seconds'][0] > 0
        assert set(row['ratios']) == {'/ bare', '/ danlu'}
    assert {**rows[0]['ratios']['/ bare'], 'cpu': 1} == {'median': 1, 'min': 1, 'max': 1, 'cpu': 1}
    assert rows[1]['ratios']['/ bare']['median'] == rows[1]['median'] / rows[0]['median']


@pytest.mark.slow('a whole part of the benchmark')
def test_growth_measures_lists_steps_and_memory(benchmark_here, tmp_path):
    status, out, err = benchmark_here('growth', '--quick', '--steps', 100, '--out', tmp_path)
    assert (status, err) == (0, ''), out
    reading, stepping, lasting, faulting = result(tmp_path)['sections'].values()
    assert [row['lines'] for row in reading] == [1000]
    assert {(row['lines'], row['epoch']) for row in stepping} == {(1000, e) for e in (1, 2, 1000, 1_000_000)}
    assert [row['steps'] for row in lasting] == list(range(0, 100, 10))
    assert faulting[0]['kept'] is False
    assert all(row['faults'] >= 0 and row['seconds'] > 0 for row in faulting)


@pytest.mark.slow('five new interpreters')
def test_start_measures_the_way_to_the_first_step(benchmark_here, monkeypatch, tmp_path):
    from scripts.dev.bench import start

    assert [against for _, against, *_ in start.STARTS] == [start.TORCH] * 2 + [start.BOTH] * 2 + [start.TORCH]
    monkeypatch.setattr(start, 'STARTS', (start.STARTS[0], start.STARTS[1], start.STARTS[4]))
    status, out, err = benchmark_here('start', '--quick', '--out', tmp_path)
    assert (status, err) == (0, ''), out
    [(title, rows)] = result(tmp_path)['sections'].items()
    assert title in out
    assert [row['name'] for row in rows] == ['import torch', 'LeNet on the digits', 'train.py --help']
    assert all(len(row['seconds']) == 1 and row['ratio']['median'] > 0 for row in rows)
    assert rows[0]['ratio']['median'] == 1
    assert rows[1]['ratio']['median'] == rows[1]['seconds'][0] / rows[0]['seconds'][0]


@pytest.mark.slow('a whole part of the benchmark')
def test_predict_measures_predictions_against_a_test(benchmark_here, tmp_path):
    status, out, err = benchmark_here('predict', '--quick', '--out', tmp_path)
    assert (status, err) == (0, ''), out
    [(title, rows)] = result(tmp_path)['sections'].items()
    assert title in out
    assert [row['name'] for row in rows] == ['test', 'predict --no_report', 'test --report', 'predict']
    assert rows[1]['ratio']['median'] == rows[1]['seconds'][0] / rows[0]['seconds'][0]


@pytest.mark.slow('a whole part of the benchmark')
def test_augment_measures_every_step_against_torchvision(benchmark_here, tmp_path):
    status, out, err = benchmark_here('augment', '--quick', '--rounds', 3, '--out', tmp_path)
    assert (status, err) == (0, ''), out
    sections = result(tmp_path)['sections']
    assert list(sections) == ['batches of 8x3x16x16, one thread', 'batches of 2x3x48x64, one thread']
    for title, rows in sections.items():
        assert title in out
        steps = 'flip shift part affine jitter erase strong mixup cutmix'
        assert [row['step'] for row in rows] == steps.split()
        for row in rows:
            assert f'\n{row["step"]} ' in out, 'a line of the table'
            assert len(row['danlu_rounds']) == len(row['torchvision_rounds']) == 2
            ratios = [b / a for a, b in zip(row['danlu_rounds'], row['torchvision_rounds'], strict=True)]
            assert row['ratio'] == {'median': sum(ratios) / 2, 'min': min(ratios), 'max': max(ratios)}


@pytest.fixture
def bench(monkeypatch):
    """Make `import bench...` find the benchmark's modules."""
    monkeypatch.syspath_prepend(str(PROJECT / 'scripts'))


def test_a_contestant_that_fails_is_named_with_what_it_printed(bench, tmp_path):
    from scripts.dev.bench.race import race
    from scripts.dev.bench.task import Task

    task = Task('nobody', 'usual', 'small', data='', scratch=str(tmp_path / 'nobody'))
    with pytest.raises(
        RuntimeError, match=r"(?s)^nobody usual failed:.*No module named 'scripts.dev.bench.peers.nobody'"
    ):
        race([task], rounds=2, say=print)


def test_fresh_processes_run_two_epochs_in_each_round_of_which_the_second_counts(bench, monkeypatch, tmp_path):
    from scripts.dev.bench import race
    from scripts.dev.bench.task import Task

    class Counting:
        alive, directories = 0, []

        def __init__(self, task):
            Counting.alive += 1
            Counting.directories.append(task.scratch)
            self.epochs = 0

        def wait(self):
            assert Counting.alive == 1, 'no other process waits'

        def run_epoch(self):
            self.epochs += 1
            return {'seconds': self.epochs, 'accuracy': None}

        def stop(self):
            Counting.alive -= 1

    monkeypatch.setattr(race, 'Contestant', Counting)
    tasks = [Task(peer, '', 'small', data='', scratch=str(tmp_path / peer)) for peer in ('bare', 'danlu')]
    results = race.race(tasks, 3, print, fresh=True)
    assert [(task.peer, [report['seconds'] for report in reports]) for task, reports in results] == [
        ('bare', [2, 2]),
        ('danlu', [2, 2]),
    ]
    assert len(set(Counting.directories)) == 6


def test_data_that_is_not_there_is_an_error_of_one_line(tmp_path):
    status, _, err = benchmark('small', '--quick', '--data_root', tmp_path / 'nowhere', '--out', tmp_path)
    assert status == 1 and err.startswith('benchmark.py: error: ') and 'nowhere' in err and err.count('\n') == 1


def test_ratios_are_taken_within_rounds_against_as_many_threads(bench):
    from scripts.dev.bench.report import rows_of
    from scripts.dev.bench.task import Task

    def contestant(peer, threads, seconds):
        reports = [{'seconds': s, 'threads': threads, 'steps': 3, 'accuracy': 0.5, 'others': 0.0} for s in seconds]
        return Task(peer, f'{threads}', 'small', data='', samples=10), reports

    results = [contestant('bare', 1, [1, 2, 4]), contestant('bare', 2, [1, 1, 1]), contestant('danlu', 1, [1, 4, 2])]
    rows = rows_of([*results, contestant('script', 8, [2, 3, 4])], {'/ bare': lambda row: row['peer'] == 'bare'})
    assert rows[2]['ratios']['/ bare'] == {'median': 1, 'min': 0.5, 'max': 2}
    assert rows[3]['ratios']['/ bare'] == {'median': 3, 'min': 2, 'max': 4}, 'the fastest counts'
    assert rows[0]['per_second'] == 5


def test_ratios_of_processor_time_are_taken_within_rounds_too(bench):
    from scripts.dev.bench.report import race_table, rows_of
    from scripts.dev.bench.task import Task

    def contestant(peer, processor_seconds):
        report = {'seconds': 1, 'threads': 1, 'steps': 3, 'accuracy': 0.5, 'others': 0.0}
        return Task(peer, '', 'small', data='', samples=10), [{**report, 'cpu': cpu} for cpu in processor_seconds]

    rows = rows_of([contestant('bare', [2, 4]), contestant('danlu', [3, 8])], {'/ bare': lambda r: r['peer'] == 'bare'})
    assert rows[1]['ratios']['/ bare'] == {'median': 1, 'min': 1, 'max': 1, 'cpu': 1.75}
    assert ' 1.75 ' in race_table(rows)
    assert 'CPU / bare' in race_table(rows)


def test_contestants_that_did_other_work_are_named(bench):
    from scripts.dev.bench.report import disagreements

    def row(name, steps, accuracy):
        return {'name': name, 'peer': name, 'steps': steps, 'accuracy': accuracy, 'samples': 60_000}

    same = [row('bare', 9, 0.98), row('danlu', 9, 0.985), row('decoder', 0, None)]
    assert disagreements({'a': same}, 1.0) == []
    [fault] = disagreements({'a': [*same, row('slow', 9, 0.96)]}, 1.0)
    assert fault.startswith('a: slow reached 0.9600')
    [fault] = disagreements({'a': [*same, row('short', 8, 0.98)]}, 1.0)
    assert 'different numbers of optimizer steps' in fault and "'short': 8" in fault


def test_train_accepts_the_options_of_each_work_on_input(bench, tmp_path):
    from options import parse_train_args
    from scripts.dev.bench.peers.danlu import command_line
    from scripts.dev.bench.pictures import make_data
    from scripts.dev.bench.task import INPUT, Task
    from scripts.dev.bench.works import styles_of

    for work in INPUT:
        data = make_data(work, tmp_path / work, samples=1)
        for style in ('', *styles_of(work, 'cpu')):
            args = parse_train_args(command_line(Task('danlu', style, work, str(data), str(tmp_path), workers=None)))
            assert args.cache_size is None or args.cache_size >= min(args.image_size)
