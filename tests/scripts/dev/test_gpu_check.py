"""scripts/dev/gpu_check.py: its table, and what it does with parts that fail; --dry runs all of it on a CPU."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from options import parse_train_args
from scripts.dev import gpu_check
from tests.program_server import run_forked
from utils.base.registry import PROJECT


def checked(tmp_path, *words):
    options = gpu_check.parse_args(['--dry', '--out', str(tmp_path), *map(str, words)])
    return gpu_check.Check(options)


def test_the_options_of_both_trainings_are_valid(tmp_path):
    assert parse_train_args([*gpu_check.CIFAR.split(), '--data_root', str(tmp_path)]).epochs == 30
    assert parse_train_args(gpu_check.MEMORY.split()).channels == 3


def test_files_of_tests_that_need_a_gpu_are_complete():
    found = {
        path.relative_to(PROJECT).as_posix()
        for path in (PROJECT / 'tests').rglob('test_*.py')
        if '@pytest.mark.gpu' in path.read_text(encoding='utf-8') and path.name != 'test_gpu_check.py'
    }
    assert found == set(gpu_check.GPU_TESTS.split())


@pytest.mark.slow('new interpreters')
def test_a_command_that_fails_or_takes_too_long_is_told_with_its_output(tmp_path):
    check = checked(tmp_path)
    with pytest.raises(gpu_check.PartError, match=r'exit status 3:\nthe reason'):
        check.run(['-c', 'print("the reason"); raise SystemExit(3)'], 60)
    with pytest.raises(gpu_check.PartError, match='more than 6 seconds:'):
        check.run(['-c', 'import time; time.sleep(600)'], 1.5)
    assert check.run(['-c', 'print(7)'], 60) == '7\n'


def test_the_table_has_a_line_for_each_figure():
    ratio = {'median': 1.04, 'min': 1.0, 'max': 1.1}
    found = {
        'loops': {'small fast': ratio, 'part_seconds': 3.0},
        'cifar': {'best': 0.9512, 'seconds_to_target': 33.3},
        'input': {'danlu': {'per_second': 12345.6}, 'part_seconds': 2.0},
        'parallel': {'one process': 3.5, 'note': 'ddp and fsdp need two GPUs', 'part_seconds': 1.0},
    }
    assert gpu_check.table(found).splitlines()[2:] == [
        '| small fast: Danlu / bare loop | 1.04 (1.00, 1.10) |',
        '| CIFAR-10 to 94%, without compilation; best 95.12% | 33.3 s |',
        f'| {gpu_check.AIRBENCH} | 3.29 s |',
        '| JPEG of 500x375, danlu | 12,346 images per second |',
        '| ResNet-50, 64x64, batches of 256, one process: peak memory | 3.50 GiB |',
    ]
    assert gpu_check.table({'loops': {'failed': 'why'}}).splitlines() == ['| | |', '| --- | --- |']


@pytest.mark.slow('trains and measures in new processes')
def test_a_dry_run_measures_its_parts(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu_check, 'subprocess', SimpleNamespace(**vars(subprocess) | {'run': run_forked}))
    monkeypatch.setattr(sys, 'argv', ['gpu_check.py', '--dry', '--out', str(tmp_path), '--parts', 'cifar', 'input'])
    assert gpu_check.main() == 0, capsys.readouterr().out[-3000:]
    found = json.loads((tmp_path / 'gpu_check.json').read_text())
    assert list(found) == ['machine', 'cifar', 'input']
    assert 0 < found['cifar']['best'] <= 1
    assert set(found['input']) >= {'danlu', 'danlu pillow', 'danlu cache'}
    assert (tmp_path / 'gpu_check.md').read_text().count('\n') > 5
