"""What a million samples cost: seconds, megabytes, and the memory of the workers."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from data.data_entry import complete_args
from data.list_dataset import BLOCK, ListDataset
from utils.registry import PROJECT

SCRIPT = """
import json, os, sys, time

from data.labels import label_names, parse_labels
from data.listing import Faults, read_list

def megabytes(file, names):
    with open(f'/proc/self/{file}') as lines:
        return sum(int(line.split()[1]) for line in lines if line.startswith(names)) / 1e3

def now():
    return megabytes('status', 'VmRSS')

def peak():
    return megabytes('status', 'VmHWM')  # getrusage would count the test's own process, which this one is a copy of

def private():
    return megabytes('smaps_rollup', 'Private_')

def grown_in_a_worker(listing):
    reading, writing = os.pipe()
    if os.fork() == 0:
        before = private()
        for index in range(0, len(listing), 20):
            listing.image_path(index), listing.target_path(index), listing.where(index)
        os.write(writing, str(private() - before).encode())
        os._exit(0)
    os.wait()
    return float(os.read(reading, 100))

found, before, start = {}, now(), time.process_time()
listing = read_list(sys.argv[1])
found['seconds to read'] = time.process_time() - start
found['peak'], found['kept'] = peak() - before, now() - before
start = time.process_time()
faults = Faults('list')
names = label_names(listing)
labels = parse_labels(listing, 1000, names, faults)
found['seconds to parse'] = time.process_time() - start
found['peak with labels'] = peak() - before
found['worker'] = grown_in_a_worker(listing)
found['right'] = (len(listing), faults.count, labels[-1].item(), listing.images[-1], listing.where(999_999))
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_a_million_lines(files):
    path = files / 'million.txt'
    with open(path, 'w', encoding='utf-8') as file:
        file.writelines(
            f'train/class_{n % 1000:04d}/picture_{n:08d}.jpg\tclass_{n % 1000:04d}\n' for n in range(1_000_000)
        )
    command = [sys.executable, '-c', SCRIPT, str(path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(found)
    assert found['right'] == [1_000_000, 0, 999, 'train/class_0999/picture_00999999.jpg', f'{path}:1000000']
    assert 40 < found['kept'] < 120  # the names alone are 54 MB
    assert found['peak'] < 200
    assert found['peak with labels'] < 200
    assert found['worker'] < 10
    assert found['seconds to read'] < 10
    assert found['seconds to parse'] < 5


def test_checking_many_samples_keeps_no_work_for_each_of_them(labelled, monkeypatch):
    args, waiting = labelled(), []
    complete_args(args)
    data = ListDataset(args, 'train')
    monkeypatch.setattr(ListDataset, '__len__', lambda self: 3 * BLOCK)
    submit = ThreadPoolExecutor.submit

    def counting(self, *args):
        future = submit(self, *args)
        waiting.append(self._work_queue.qsize())
        return future

    monkeypatch.setattr(ThreadPoolExecutor, 'submit', counting)
    seen = []
    data.for_all(seen.append, None)
    assert sorted(seen) == list(range(3 * BLOCK))
    assert max(waiting) <= BLOCK
