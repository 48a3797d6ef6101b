"""scripts/dev/measure_record.py: which time it counts."""

import time
from types import ModuleType

import pytest

from scripts.dev import measure_record

CODE = """
import time

def spend(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass

class Record:
    def __init__(self):
        spend(0.05)

def lazily():
    yield 1
"""


def test_calls_within_calls_are_counted_once():
    module, record = ModuleType('counted'), measure_record.RecordTime()
    exec(CODE, module.__dict__)
    record.wrap(module)
    assert list(module.lazily()) == [1] and record.seconds == 0
    started = time.thread_time()
    module.Record()
    module.spend(0.05)
    assert 0.1 <= record.seconds <= time.thread_time() - started


@pytest.mark.slow('a new interpreter')
def test_a_run_spends_a_part_of_its_time_on_the_record(tmp_path):
    words = ['--epochs', 1, '--batch_size', 1000, '--no_report', *measure_record.SHARED.split()]
    seconds = measure_record.start('train', [*words, '--checkpoints_dir', tmp_path])
    assert 0 < seconds['record'] < seconds['all']
    assert measure_record.row('run', {'all': 10.2, 'record': 0.2}) == ['run', '10.2', '0.20', '2.00%']
