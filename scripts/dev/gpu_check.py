"""Check and measure Danlu on a GPU: tests, training loops, CIFAR-10, image files, memory.

    scripts/dev/gpu_check.sh --cifar DIR      # at most 8 minutes; DIR holds cifar-10-batches-py
    scripts/dev/gpu_check.sh --dry            # the same commands in small on a CPU: checks that each part runs

Each part is a program of its own with a limit of time. A part that fails or takes too long is named with the end of its
output, and the others go on; the exit status is then 1. gpu_check.json in --out has all figures, gpu_check.md the table
for docs/performance.md.
"""

import argparse
import csv
import json
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project

import torch

from scripts.dev.bench.report import machine

PROJECT = Path(__file__).resolve().parents[2]
TOTAL_SECONDS = 480
# Files with tests that are marked `gpu`; collecting all tests would take a minute.
GPU_TESTS = 'tests/train/test_train_gpu.py tests/model/test_model_entry.py tests/data/test_data_mixing.py'
GPU_TESTS += ' tests/utils/training/test_profiler.py tests/utils/training/test_nonfinite_policy.py'
GPU_TESTS += ' tests/data/lists/test_encoded.py'
# CIFAR-10 by general options: ResNet-18 of torchvision at 96x96, whose stem halves the image twice.
CIFAR = '--data_type cifar10 --model_type torchvision:resnet18 --image_size 96 --augment standard --epochs 30'
CIFAR += ' --batch_size 512 --optimizer sgd --lr 0.4 --nesterov --weight_decay 0.0005 --schedule onecycle'
CIFAR += ' --label_smoothing 0.1 --amp bf16 --channels_last --compile --no_report'
DRY_CIFAR = '--data_type digits --model_type lenet --epochs 1 --no_report'
TARGET = 0.94  # accuracy
AIRBENCH = 'airbench94_compiled: 94.01 % in 3.29 s on an A100 (https://github.com/KellerJordan/cifar10-airbench)'
MEMORY = '--data_type digits --channels 3 --image_size 64 --model_type torchvision:resnet50 --batch_size 256 --epochs 1'
MEMORY += ' --no_report'
DRY_MEMORY = '--data_type digits --model_type lenet --epochs 1 --no_report'


class PartError(Exception):
    """A part failed, or was not measured; the message says why."""


class Check:
    """The parts, with what they share.

    Args:
        options: from parse_args.
    """

    def __init__(self, options):
        self.options, self.dry, self.started = options, options.dry, time.perf_counter()
        self.device = 'cpu' if options.dry else 'cuda'

    def run(self, command, seconds):
        """Run a command (list) of at most so many seconds and return its output (str).

        Raises:
            PartError: it failed or took too long; with the end of its output.
        """
        left = self.options.seconds - (time.perf_counter() - self.started)
        limit = min(seconds, left) if not self.dry else seconds * 4
        if limit < 5:
            raise PartError('no time left')
        print(f'$ {" ".join(map(str, command))}', flush=True)
        try:
            done = subprocess.run(
                [sys.executable, *map(str, command)], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, text=True, timeout=limit, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            output = error.stdout.decode(errors='replace') if isinstance(error.stdout, bytes) else error.stdout or ''
            raise PartError(f'more than {limit:.0f} seconds:\n{_end_of(output)}') from None
        if done.returncode:
            raise PartError(f'exit status {done.returncode}:\n{_end_of(done.stdout)}')
        return done.stdout

    def tests(self):
        """Run the tests that need a GPU; return their summary."""
        marker = 'gpu' if not self.dry else 'gpu and not slow'
        output = self.run(['-m', 'pytest', '-q', '-n', '0', '-m', marker, *GPU_TESTS.split()], 100)
        return {'summary': output.strip().splitlines()[-1].strip('= ')}

    def loops(self):
        """Return Danlu's time as a multiple of the bare loop's: LeNet, and ResNet-18 on 32x32, in fp32 and --fast."""
        found = {}
        sizes = {'small': [12_000, 128], 'cifar': [20_000, 512]}
        for work, (samples, batch_size) in sizes.items():
            samples, rounds = (320, 2) if self.dry else (samples, 4)
            words = ['--samples', samples, '--rounds', rounds, '--batch_size', 32 if self.dry else batch_size, '--fast']
            words += ['--threads', 1, '--tolerance', 100 if self.dry else 2]
            for row in self.benchmark(work, *words, seconds=80):
                if row['peer'] == 'danlu':
                    found[f'{work} {row["style"]}'] = row['ratios']['/ bare'] | {'per_second': row['per_second']}
        return found

    def benchmark(self, work, *words, seconds):
        """Run a part of scripts/dev/benchmark.py without other tools and return its rows (list of dict)."""
        out = self.options.out / work
        command = ['scripts/dev/benchmark.py', work, '--device', self.device, '--peers', 'none', '--out', out, *words]
        self.run(command, seconds)
        return [row for rows in json.loads((out / 'benchmark.json').read_text())['sections'].values() for row in rows]

    def cifar(self):
        """Return the time in which CIFAR-10 reaches TARGET, of training and validation, with the compilation apart."""
        if self.options.cifar is None and not self.dry:
            raise PartError('not measured: give --cifar DIR with cifar-10-batches-py')
        words = DRY_CIFAR.split() if self.dry else [*CIFAR.split(), '--data_root', self.options.cifar]
        rows = self.history('cifar10', words, 110)
        seconds = [float(row['seconds']) for row in rows]
        accuracies = [float(row['val/acc']) for row in rows]
        reached = next((number for number, value in enumerate(accuracies) if value >= TARGET), None)
        usual = sorted(seconds)[len(seconds) // 2]
        found = {'best': max(accuracies), 'epochs': len(rows), 'seconds_per_epoch': usual, 'authors': AIRBENCH}
        found |= {'seconds': sum(seconds), 'first_epoch': seconds[0], 'options': ' '.join(map(str, words))}
        if reached is not None:
            found['seconds_to_target'] = usual * (reached + 1)
        return found

    def history(self, name, words, seconds, launcher=()):
        """Train and return the rows of history.csv (list of dict)."""
        directory = self.options.out / name
        command = [*launcher, 'train.py', *words, '--checkpoints_dir', self.options.out, '--model_dir', directory]
        self.run([*command, '--device', self.device], seconds)
        with open(directory / 'history.csv', encoding='utf-8', newline='') as file:
            return list(csv.DictReader(file))

    def input(self):
        """Return images per second from JPEG files of 500x375 with each decoder and from the cache."""
        words = ['--kinds', 'photos', '--samples', 64 if self.dry else 2_000, '--rounds', 2 if self.dry else 3]
        rows = self.benchmark('input', *words, '--batch_size', 8 if self.dry else 64, seconds=90)
        return {row['name']: {'per_second': row['per_second']} for row in rows}

    def parallel(self):
        """Return the peak memory of a GPU, in GiB, with one process, and with ddp and fsdp where there are two GPUs."""
        words, count = (DRY_MEMORY if self.dry else MEMORY).split(), 2 if self.dry else torch.cuda.device_count()
        found = {'one process': self.peak('one', words)}
        if count < 2:
            found['note'] = 'ddp and fsdp need two GPUs'
            return found
        launcher = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', count]
        for kind in ('ddp', 'fsdp'):
            found[kind] = self.peak(kind, [*words, '--parallel', kind], launcher)
        return found

    def peak(self, name, words, launcher=()):
        """Return the peak memory (float, GiB) of a run; None on a CPU."""
        row = self.history(name, words, 60, launcher)[0]
        return float(row['gpu_memory_gib']) if 'gpu_memory_gib' in row else None


def _end_of(output):
    return '\n'.join(output.replace('\r', '\n').splitlines()[-15:])


def table(found):
    """Return the figures (dict) as Markdown (str) for docs/performance.md."""
    lines = ['| | |', '| --- | --- |']
    for name, row in found.get('loops', {}).items():
        if isinstance(row, dict):
            lines.append(f'| {name}: Danlu / bare loop | {row["median"]:.2f} ({row["min"]:.2f}, {row["max"]:.2f}) |')
    cifar = found.get('cifar', {})
    if 'best' in cifar:
        reached = f'{cifar["seconds_to_target"]:.1f} s' if 'seconds_to_target' in cifar else 'not reached'
        lines.append(f'| CIFAR-10 to {TARGET:.0%}, without compilation; best {cifar["best"]:.2%} | {reached} |')
        lines.append(f'| {AIRBENCH} | 3.29 s |')
    for name, row in found.get('input', {}).items():
        if isinstance(row, dict):
            lines.append(f'| JPEG of 500x375, {name} | {row["per_second"]:,.0f} images per second |')
    for name, memory in found.get('parallel', {}).items():
        if isinstance(memory, float) and name != 'part_seconds':
            lines.append(f'| ResNet-50, 64x64, batches of 256, {name}: peak memory | {memory:.2f} GiB |')
    return '\n'.join([*lines, ''])


def parse_args(argv=None):
    """Return the options (Namespace)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--dry', action='store_true', help='in small on a CPU')
    parser.add_argument('--cifar', type=Path, metavar='DIR', help='directory of cifar-10-batches-py')
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=PARTS, metavar='PART', help=', '.join(PARTS))
    parser.add_argument('--seconds', type=float, default=TOTAL_SECONDS, help='limit of all parts (default: 480)')
    parser.add_argument('--out', type=Path, default=PROJECT / 'checkpoints' / 'gpu_check', metavar='DIR')
    options = parser.parse_args(argv)
    options.out = options.out.absolute()
    options.cifar = None if options.cifar is None else options.cifar.absolute()
    if not options.dry and not torch.cuda.is_available():
        parser.error('no GPU is visible: --dry tries the parts on a CPU')
    if options.cifar is not None and not (options.cifar / 'cifar-10-batches-py').is_dir():
        parser.error(f'argument --cifar: {options.cifar} holds no cifar-10-batches-py')
    return options


PARTS = ('tests', 'loops', 'cifar', 'input', 'parallel')


def main():
    """Run the parts, print and write what they found, and return the exit status."""
    options = parse_args()
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    check, failed = Check(options), []
    gpu = 'none (--dry)' if options.dry else torch.cuda.get_device_name(0)
    found = {'machine': machine() | {'gpu': gpu, 'cuda': torch.version.cuda, 'host_system': platform.platform()}}
    for part in options.parts:
        started = time.perf_counter()
        try:
            found[part] = getattr(check, part)()
        except PartError as error:
            found[part] = {'failed': str(error)}
            failed.append(part)
        found[part]['part_seconds'] = round(time.perf_counter() - started, 1)
        print(f'{part}: {json.dumps(found[part], indent=1)}', flush=True)
        (options.out / 'gpu_check.json').write_text(json.dumps(found, indent=1) + '\n', encoding='utf-8')
    (options.out / 'gpu_check.md').write_text(table(found), encoding='utf-8')
    print(f'\n{table(found)}\n{options.out}/gpu_check.json, gpu_check.md')
    if failed:
        print(f'failed: {", ".join(failed)}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
