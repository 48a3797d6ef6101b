"""What many samples cost: bytes per line, and no Python object for each of them."""

import gc
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest

from data.data_entry import complete_args
from data.list_dataset import SAMPLES_PER_BLOCK, ListDataset
from data.lists.labels import label_names, parse_labels
from data.lists.list_file import ErrorCollector, read_list

LINES = 300_000


@pytest.mark.slow('reads a long list')
def test_a_long_list_takes_few_bytes_per_line_and_no_object_each(files):
    """Objects would be counted by workers, which takes a copy of the memory that they lie in for each worker.

    How long it takes and what the process holds is measured by `scripts/dev/benchmark.py growth`.
    """
    path = files / 'long.txt'
    with open(path, 'w', encoding='utf-8') as file:
        file.writelines(f'train/class_{n % 1000:04d}/picture_{n:08d}.jpg\tclass_{n % 1000:04d}\n' for n in range(LINES))
    gc.collect()
    objects = sys.getallocatedblocks()
    tracemalloc.start()
    try:
        listing = read_list(path)
        kept, peak = tracemalloc.get_traced_memory()
        faults = ErrorCollector('list')
        labels = parse_labels(listing, 1000, label_names(listing), faults)
        _, peak_with_labels = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(listing) == LINES and faults.count == 0 and labels[-1] == 999
    assert (listing.images[-1], listing.where(LINES - 1)) == (
        'train/class_0999/picture_00299999.jpg',
        f'{path}:{LINES}',
    )
    assert 40 < kept / LINES < 120  # the names alone are 54 bytes
    assert peak / LINES < 200 and peak_with_labels / LINES < 200
    for index in range(0, LINES, 20):
        listing.image_path(index), listing.target_path(index), listing.where(index)
    gc.collect()
    assert sys.getallocatedblocks() - objects < LINES / 20


def test_checking_many_samples_keeps_no_work_for_each_of_them(labelled, monkeypatch):
    args, waiting = labelled(), []
    complete_args(args)
    data = ListDataset(args, 'train')
    monkeypatch.setattr(ListDataset, '__len__', lambda self: 3 * SAMPLES_PER_BLOCK)
    submit = ThreadPoolExecutor.submit

    def counting(self, *args):
        future = submit(self, *args)
        waiting.append(self._work_queue.qsize())
        return future

    monkeypatch.setattr(ThreadPoolExecutor, 'submit', counting)
    seen = []
    data.for_all_in_threads(seen.append, None)
    assert sorted(seen) == list(range(3 * SAMPLES_PER_BLOCK))
    assert max(waiting) <= SAMPLES_PER_BLOCK
