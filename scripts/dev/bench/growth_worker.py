"""One measurement of growth.

python -m scripts.dev.bench.growth_worker <what> <numbers as JSON> <scratch> <result file>
"""

import contextlib
import json
import resource
import sys
import time
from array import array
from pathlib import Path
from statistics import median

import torch
from matplotlib.figure import Figure
from torch import nn

from data import data_entry
from data.lists.labels import parse_labels
from data.lists.list_file import ErrorCollector, read_list
from data.tensor_dataset import InMemory
from options import parse_train_args
from train import Trainer
from utils.base.process_setup import keep_freed_memory

PIXELS = 4  # sides of a picture
EPOCHS = 10  # of the run whose memory is watched
CLASSES = 1000
BLOCK_BYTES = 2**26  # 64 MiB: more than glibc's largest threshold for mmap, 32 MiB


def memory_bytes(field):
    """Return a figure of /proc/self/status in bytes: 'VmRSS' now, or 'VmHWM', the most since it was last reset."""
    for line in Path('/proc/self/status').read_text(encoding='utf-8').splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f'/proc/self/status has no {field}')


def reading(lines, scratch):
    """Return what reading a list of `lines` lines and their labels costs (dict): seconds, bytes while and after."""
    path = scratch / 'list.txt'
    with open(path, 'w', encoding='utf-8') as file:
        file.writelines(f'train/n{n % CLASSES:08d}/n{n:012d}.jpg\t{n % CLASSES}\n' for n in range(lines))
    small = scratch / 'small.txt'
    small.write_text('a.jpg\t0\nb.jpg\t1\n')
    parse_labels(read_list(small), CLASSES, None, ErrorCollector('small'))  # what the first call alone has to load
    Path('/proc/self/clear_refs').write_text('5', encoding='utf-8')  # resets VmHWM
    before, started = memory_bytes('VmRSS'), time.perf_counter()
    listing = read_list(path)
    read = time.perf_counter()
    labels = parse_labels(listing, CLASSES, None, ErrorCollector(str(path)))
    ended = time.perf_counter()
    after, most = memory_bytes('VmRSS'), memory_bytes('VmHWM')
    assert len(labels) == len(listing) == lines
    return {'lines': lines, 'read_seconds': read - started, 'label_seconds': ended - read,
            'lasting_bytes': after - before, 'peak_bytes': most - before,
            'file_bytes': path.stat().st_size}  # fmt: skip


def stepping(numbers, scratch):
    """Return steps per second (batches of one) for lists of several lengths and epochs of several numbers.

    Args:
        numbers: dict with 'lengths', 'epochs', 'steps' of one measurement and 'rounds'.
    """
    trainers = {length: make_trainer(Counting, length, scratch, epochs=1) for length in numbers['lengths']}
    longest = max(numbers['lengths'])
    cases = [(length, 1) for length in numbers['lengths']] + [(longest, epoch) for epoch in numbers['epochs']]
    found = {case: [] for case in cases}
    for _ in range(numbers['rounds']):
        for length, epoch in cases:
            found[length, epoch].append(trainers[length].measure(epoch, numbers['steps']))
    rows = []
    for (length, epoch), pairs in found.items():
        first, rates = zip(*pairs[1:], strict=True)  # the first round is a warm-up
        rows.append({'lines': length, 'epoch': epoch, 'first_step_seconds': median(first),
                     'steps_per_second': median(rates), 'min': min(rates), 'max': max(rates)})  # fmt: skip
    return rows


def lasting(steps, scratch):
    """Return the memory that a run of `steps` steps holds at the beginning of each epoch: list of (steps, bytes)."""
    Figure().savefig(scratch / 'warm_up.png')  # a run draws its curves now and then; loading what draws is no leak
    trainer = make_trainer(Watching, steps // EPOCHS, scratch, epochs=EPOCHS)
    trainer.train()
    return trainer.seen


def faulting(keep, scratch):
    """Return what allocating, zeroing and freeing a block costs (dict): page faults and seconds, medians of rounds.

    Args:
        keep: whether keep_freed_memory is called first (bool), as train.py and eval.py do.
        scratch: not used.
    """
    kept = keep and keep_freed_memory()
    faults, seconds = [], []
    for _ in range(9):
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
        torch.zeros(BLOCK_BYTES, dtype=torch.uint8)
        seconds.append(time.perf_counter() - started)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return {'kept': kept, 'bytes': BLOCK_BYTES, 'faults': median(faults[1:]), 'seconds': median(seconds[1:])}


def make_trainer(kind, length, scratch, epochs):
    """Return a Trainer of class `kind` over `length` tiny pictures in memory, one per step."""
    data_entry.DATASETS['growth'] = 'scripts.dev.bench.growth_worker.flat'
    words = f'--data_type growth --num_classes 10 --channels 1 --image_size {PIXELS} --mean 0.5 --std 0.5 --device cpu'
    words += f' --batch_size 1 --threads 1 --epochs {epochs} --checkpoints_dir {scratch}/runs --save_prefix {length}'
    args = parse_train_args(words.split())
    args.growth_length = length
    return kind(args, model=nn.Sequential(nn.Flatten(), nn.Linear(PIXELS * PIXELS, 10)))


def flat(args, split):
    """Return the data set: pictures in memory, as many as args.growth_length to train on, ten to validate with."""
    length = args.growth_length if split == 'train' else 10
    images = torch.zeros(length, 1, PIXELS, PIXELS, dtype=torch.uint8)
    return InMemory(images, torch.arange(length) % 10)


class Enough(Exception):
    """Ends an epoch in the middle."""


class Counting(Trainer):
    """A Trainer that is timed from one step to another."""

    def measure(self, epoch, steps):
        """Return the seconds to the first step of epoch number `epoch`, and the steps per second after it."""
        self.times, self.limit = array('d'), steps
        started = time.perf_counter()
        with contextlib.suppress(Enough):
            self.train_per_epoch(epoch)
        return self.times[0] - started, (len(self.times) - 1) / (self.times[-1] - self.times[0])

    def step(self, batch):
        """Note the time, then do as ever."""
        self.times.append(time.perf_counter())
        if len(self.times) == self.limit:
            raise Enough
        return super().step(batch)


class Watching(Trainer):
    """A Trainer that watches its memory."""

    seen = ()

    def train_per_epoch(self, epoch):
        """Note the memory, then do as ever."""
        self.seen = [*self.seen, (self.update.steps, memory_bytes('VmRSS'))]
        super().train_per_epoch(epoch)


MEASUREMENTS = {'reading': reading, 'stepping': stepping, 'lasting': lasting, 'faulting': faulting}

if __name__ == '__main__':
    outcome = MEASUREMENTS[sys.argv[1]](json.loads(sys.argv[2]), Path(sys.argv[3]))
    Path(sys.argv[4]).write_text(json.dumps(outcome), encoding='utf-8')
