#!/usr/bin/env python
"""Measure what two processes on this machine's CPU gain over one, a thread each: docs/scale.md has the figures.

    python scripts/dev/measure_processes.py                    # prints a table, five minutes
    python scripts/dev/measure_processes.py --json found.json  # and writes it down

One process and two train in turns, on the same batches of the same total size, so that what else the machine does falls
on both. A step is taken as train.py takes it: reading, forward, backward, averaging the gradients, the optimizer,
and what the processes agree on. The first epoch of a run warms up and is not counted.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
CASES = {  # options of train.py, height and width of a picture, samples of an epoch
    'LeNet, 28x28, batches of 64': (['--model_type', 'lenet', '--batch_size', '64'], 28, 1280),
    'ResNet-18, 64x64, batches of 32': (['--model_type', 'torchvision:resnet18', '--batch_size', '32'], 64, 256),
}


def make_list(folder, size, count):
    """Write a list of noise pictures, size x size pixels, of ten classes, and return its path."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    for index in range(count):
        Image.fromarray(random.integers(0, 256, (size, size, 3), np.uint8)).save(folder / f'{index}.png')
    path = folder / 'train.txt'
    path.write_text(''.join(f'{index}.png\t{index % 10}\n' for index in range(count)), encoding='utf-8')
    return path


def seconds_of_a_step(words, count, epochs, folder):
    """Train with `count` processes and return the seconds of a step in each epoch but the first (list of float)."""
    start = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', str(count)]
    command = [*(start if count > 1 else [sys.executable]), str(PROJECT / 'train.py'), *words, '--epochs', str(epochs)]
    subprocess.run(
        [*command, '--threads', '1', '--checkpoints_dir', folder, '--device', 'cpu', '--no_report'],
        env={**os.environ, 'OMP_NUM_THREADS': '1'}, check=True, capture_output=True,
    )  # fmt: skip
    (history,) = Path(folder).glob('*/history.csv')
    with open(history, newline='', encoding='utf-8') as file:
        rates = [float(row['images_per_second']) for row in csv.DictReader(file)]
    batch = int(words[words.index('--batch_size') + 1])
    return [batch / rate for rate in rates[1:]]


def measure(words, size, samples, rounds, epochs):
    """Return the seconds of a step with one process and with two (two lists of float), measured in turns."""
    seconds = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path = make_list(folder, size, samples)
        given = [*words, '--data_type', 'mem_list', '--train_list', str(path), '--val_list', str(path)]
        for number in range(rounds):
            for count in (1, 2) if number % 2 else (2, 1):
                steps = seconds_of_a_step(given, count, epochs, f'{folder}/{number}_{count}')
                seconds[count].append(statistics.median(steps))
    return seconds[1], seconds[2]


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description='Measure what two processes gain over one, a thread each.')
    parser.add_argument('--rounds', default=3, type=int, help='of one run with each number of processes')
    parser.add_argument('--epochs', default=6, type=int, help='of a run; the first is not counted')
    parser.add_argument('--json', type=Path, help='file that the figures are written to')
    args = parser.parse_args()
    found = {}
    print('| case | one process, ms a step | two processes, ms a step | ratio |\n|---|---|---|---|')
    for name, (words, size, samples) in CASES.items():
        one, two = measure(words, size, samples, args.rounds, args.epochs)
        ratios = [a / b for a, b in zip(one, two, strict=True)]
        found[name] = {'one': one, 'two': two, 'ratios': ratios}
        middle = statistics.median(ratios)
        print(f'| {name} | {1e3 * statistics.median(one):.1f} | {1e3 * statistics.median(two):.1f} '
              f'| {middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |', flush=True)  # fmt: skip
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
