"""One contestant's process: `python -m scripts.dev.bench.worker <task as JSON> <file descriptor for reports>`.

It prepares everything, then waits. For each line 'go' on its standard input it runs one epoch and reports a line of
JSON. In between it sleeps in a read: no other contestant's epoch is disturbed.
"""

import importlib
import json
import os
import sys
import time

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from scripts.dev.bench.task import Task


class Turn:
    """What a contestant calls before each epoch, with the validation accuracy (0..1) of the epoch before, or None.

    From one call's return to the next call counts as one epoch: training, validation, and whatever the program does
    between two epochs. The last call does not return.
    """

    def __init__(self, task, reports):
        self.device, self.reports = task.device, reports
        self.started = self.steps = 0
        register_optimizer_step_post_hook(self.count_step)

    def count_step(self, optimizer, args, kwargs):
        """Count a step of any torch.optim optimizer, whoever calls it."""
        self.steps += 1

    def __call__(self, accuracy=None):
        if self.device == 'cuda':
            torch.cuda.synchronize()
        seconds = time.perf_counter() - self.started
        report = {'seconds': seconds, 'steps': self.steps, 'accuracy': accuracy, 'threads': torch.get_num_threads()}
        self.reports.write(json.dumps(report) + '\n')
        self.reports.flush()
        if sys.stdin.readline() != 'go\n':
            os._exit(0)  # without the good-byes of a dozen libraries
        self.steps, self.started = 0, time.perf_counter()


def main():
    """Run the contestant that the command line names until its standard input ends."""
    task = Task(**json.loads(sys.argv[1]))
    torch.manual_seed(0)
    if task.threads:
        torch.set_num_threads(task.threads)
    os.chdir(task.scratch)  # some libraries write where they stand
    peer = importlib.import_module(f'scripts.dev.bench.peers.{task.peer}')
    with os.fdopen(int(sys.argv[2]), 'w') as reports:
        peer.train(task, Turn(task, reports))
    raise SystemExit(f'{task.name} ended before it was told to')


if __name__ == '__main__':
    main()
