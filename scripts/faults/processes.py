"""Training in processes that can be killed at any moment, and that write down which samples they learned from."""

import contextlib
import json
import multiprocessing
import os
import resource
import signal
import sys
import time
import zlib
from pathlib import Path
from typing import NamedTuple

# Processes start from one that has imported everything, which takes them hundredths of a second instead of ten seconds.
context = multiprocessing.get_context('forkserver')
context.set_forkserver_preload(
    ['train', 'torch._dynamo', 'torch.utils.tensorboard', 'matplotlib.pyplot', 'faults.processes']
)
PLACES = [str(Path(__file__).resolve().parents[level]) for level in (1, 2)]  # of this package and of the project
os.environ['PYTHONPATH'] = os.pathsep.join([*PLACES, *filter(None, [os.environ.get('PYTHONPATH')])])


class Fault(NamedTuple):
    """What a process does to itself, where that is better than from outside, which is at some moment.

    `number` is a signal, sent after `step` training steps of the process or, where `validating`, after so many batches
    of validation, and `times` times; SIGKILL as soon after that as there is a last.pth. `group`: to its whole group.
    `written`: what is being saved is waited for, so that a run that goes on begins behind it for certain.
    """

    number: int
    step: int
    validating: bool = False
    group: bool = False
    times: int = 1
    written: bool = False


class Run:
    """One process that trains, in a process group of its own.

    Args:
        words: command line (list of str) of train.py.
        samples: file (Path) that one line of JSON is added to for each step: epoch, batch, a checksum per sample.
        fault: Fault, or None.
        file_size: bytes that no file may exceed, or None: as a full disk.
        left_out: function of a Trainer, called before it trains: to leave out something that was restored, or None.
    """

    def __init__(self, words, samples, fault=None, file_size=None, left_out=None):
        self.output = Path(f'{samples}.{time.monotonic_ns()}.out')
        arguments = ([*map(str, words)], str(self.output), str(samples), fault, file_size, left_out)
        self.process = context.Process(target=_train, args=arguments)
        self.process.start()

    def kill(self):
        """Send SIGKILL to the process alone: its workers have to notice by themselves."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)

    def wait(self, seconds=None):
        """Wait for the end and return the exit status (int; of a signal minus its number), or None: not yet."""
        self.process.join(seconds)
        return self.process.exitcode

    @property
    def said(self):
        """What it has printed so far (str)."""
        return self.output.read_text(encoding='utf-8') if self.output.exists() else ''


def _train(words, output, samples, fault, file_size, left_out):
    os.setsid()
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    import torch

    import train
    from utils.errors import run_main
    from utils.startup import postpone_compiler

    postpone_compiler()  # as train.py does when it is started
    multiprocessing.set_start_method('fork', force=True)  # for its own workers, as where train.py is started by hand
    torch.set_num_threads(1)  # more would be other bits
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    train.Trainer = recording(train.Trainer, samples, fault, left_out)
    try:
        run_main(lambda: train.main(words), 'train.py')
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def recording(own, samples, fault=None, left_out=None):
    """Return a Trainer, derived from the class `own`, that does what Run's arguments of these names say."""
    from utils import processes

    class Recording(own):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.learned, self.seen = 0, 0
            if left_out is not None:
                left_out(self)

        def train_step(self, batch):
            # What stands in for an empty part of a batch counts for nothing.
            counts = not processes.stands_in(self.train_loader, self.update.number - 1)
            done = super().train_step(batch)
            self.learned += 1
            sums = checksums(done[0], done[2]) if counts else []
            with open(samples, 'a', encoding='utf-8') as file:
                file.write(json.dumps([self.epoch + 1, self.batch + 1, sums]) + '\n')
            self.strike(self.learned, False)
            return done

        def compute_metrics(self, predictions, targets, metrics):
            super().compute_metrics(predictions, targets, metrics)
            if metrics is self.metrics['val']:
                self.seen += 1
                self.strike(self.seen, True)

        def strike(self, done, validating):
            if fault is None or done < fault.step or validating != fault.validating:
                return
            if fault.written:
                self.logger.checkpoints.finish()
            if Path(self.args.model_dir, 'last.pth').exists() if fault.number == signal.SIGKILL else done == fault.step:
                for _ in range(fault.times):
                    (os.killpg if fault.group else os.kill)(os.getpid(), fault.number)

    return Recording


def checksums(images, targets):
    """Return a CRC-32 (list of int) of each sample of a batch: its input as the network got it, with its target."""
    pairs = zip(images.contiguous(), targets, strict=True)
    return [zlib.crc32(target.numpy().tobytes(), zlib.crc32(image.numpy().tobytes())) for image, target in pairs]


def steps_in(samples):
    """Return the steps that processes wrote down (list of (epoch, batch, checksums)); a line cut off is left out."""
    steps = []
    for line in Path(samples).read_text(encoding='utf-8').splitlines() if Path(samples).exists() else []:
        with contextlib.suppress(ValueError):  # a kill in the middle of writing it
            steps.append(tuple(json.loads(line)))
    return steps
