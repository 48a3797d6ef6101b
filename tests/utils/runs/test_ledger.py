"""The ledger of tests: lines of several processes, what a crash leaves, and what cannot be read."""

import json
import math
import subprocess
import sys

import numpy as np

from utils.base.registry import PROJECT
from utils.runs.ledger import append, ledger_of, read


def test_lines_come_back_in_their_order(tmp_path):
    path = tmp_path / 'deep' / 'ledger.jsonl'
    lines = [
        {'run': 'a', 'values': {'acc': 0.1 + 0.2, 'mae': np.float32(0.1).item()}, 'epoch': 3},
        {'run': 'ü\u2028\udcff "\n', 'list': None},
    ]
    for line in lines:
        append(path, line)
    assert read(path) == (lines, 0)
    assert path.read_bytes().count(b'\n') == 2


def test_numbers_that_are_not_finite_are_null(tmp_path):
    path = tmp_path / 'ledger.jsonl'
    append(path, {'values': {'acc': math.nan, 'loss': math.inf, 'psnr': [-math.inf, 1.0]}, 'mae': np.float32('nan')})
    text = path.read_text()
    assert json.loads(text, parse_constant=lambda name: 1 / 0) == {
        'values': {'acc': None, 'loss': None, 'psnr': [None, 1.0]},
        'mae': None,
    }


def test_there_is_no_ledger_yet(tmp_path):
    assert read(tmp_path / 'ledger.jsonl') == ([], 0)


def test_a_line_that_was_cut_off_stays_broken_and_spoils_no_other(tmp_path):
    path = tmp_path / 'ledger.jsonl'
    append(path, {'n': 1})
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"n": 2, "valu')
    append(path, {'n': 3})
    append(path, {'n': 4})
    assert read(path) == ([{'n': 1}, {'n': 3}, {'n': 4}], 1)
    assert path.read_bytes().startswith(whole + b'{"n": 2, "valu\n')


def test_what_is_no_line_is_counted(tmp_path):
    path = tmp_path / 'ledger.jsonl'
    path.write_bytes(b'\n{"n": 1}\r\n[1]\nnull\n\xff\xfe\n' + b'[' * 100_000 + b'\n{"n": 2}')
    assert read(path) == ([{'n': 1}, {'n': 2}], 4)


WRITER = """
import sys
from utils.runs.ledger import append
for number in range(200):
    append(sys.argv[1], {'writer': int(sys.argv[2]), 'number': number, 'long': 'x' * int(sys.argv[3])})
"""


def test_processes_that_write_at_the_same_time_do_not_mix(tmp_path):
    path = tmp_path / 'ledger.jsonl'
    path.write_bytes(b'{"cut')
    writers = [
        subprocess.Popen([sys.executable, '-c', WRITER, path, str(writer), str(size)], cwd=PROJECT)
        for writer, size in enumerate((10, 10_000, 300, 70_000, 1, 5_000))
    ]
    assert [writer.wait() for writer in writers] == [0] * len(writers)
    lines, broken = read(path)
    assert broken == 1
    for writer in range(len(writers)):
        assert [line['number'] for line in lines if line['writer'] == writer] == list(range(200))


def test_the_ledger_lies_beside_the_run_of_the_checkpoint(tmp_path):
    run = tmp_path / 'runs' / 'lenet_exp'
    run.mkdir(parents=True)
    assert ledger_of(run / 'best.pth', tmp_path / 'all') == tmp_path / 'all' / 'ledger.jsonl'
    (run / 'args.txt').write_text('')
    assert ledger_of(run / 'best.pth', tmp_path / 'all') == tmp_path / 'runs' / 'ledger.jsonl'
