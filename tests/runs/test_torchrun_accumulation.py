"""--accumulate in several processes, with a sum of losses that are means over different things."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.runs.processes import together
from utils.base.registry import PROJECT

# A network without batch norms, whose statistics would be those of each process's share.
PROGRAM = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import torch
from torch import nn
from options import parse_train_args
from train import Trainer
from utils.distributed import processes

with processes.init_distributed(lambda: torch.device('cpu')):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Tanh(), nn.Conv2d(4, 3, 1))
    trainer = Trainer(parse_train_args(sys.argv[2:]), model=net)
    trainer.train()
    if processes.is_first():
        torch.save(trainer.net.state_dict(), sys.argv[1])
"""


def write_masks(folder):
    """Write 14 images with masks of three classes, of which each has another number of ignored pixels."""
    random, lines = np.random.default_rng(2), []
    for number in range(14):
        mask = random.integers(0, 3, (8, 8))
        pixels = random.integers(0, 140, (8, 8, 3)) + 40 * mask[..., None]
        mask.reshape(-1)[: number * 9 % 60] = 7
        for name, array in ((f'{number}.png', pixels), (f'{number}_mask.png', mask)):
            Image.fromarray(array.astype(np.uint8)).save(folder / name)
        lines.append(f'{number}.png {number}_mask.png\n')
    (folder / 'list.txt').write_text(''.join(lines))


def weights_of(folder, words, count):
    """Return the weights (dict) that PROGRAM ends with in `count` processes."""
    program, result = folder / 'program.py', folder / f'{count}.pt'
    program.write_text(PROGRAM)
    done = together(program, PROJECT, result, *words, '--checkpoints_dir', folder / str(count), count=count)
    assert done.codes == [0] * count, done.stderr
    return torch.load(result, weights_only=True)


@pytest.mark.slow('a start of two processes and one of one')
def test_two_processes_accumulate_a_sum_of_losses_as_one_does_a_large_batch(tmp_path):
    write_masks(tmp_path)
    words = ['--data_type', 'mem_list', '--train_list', tmp_path / 'list.txt', '--val_list', tmp_path / 'list.txt']
    words += ['--task', 'segmentation', '--num_classes', 3, '--ignore_index', 7, '--image_size', 8, 8, '--channels', 3]
    words += ['--loss', 'ce+0.5*dice', '--epochs', 2, '--optimizer', 'sgd', '--lr', 0.1, '--num_workers', 0]
    words += ['--device', 'cpu', '--keep_last_weights']
    two = weights_of(tmp_path, [*words, '--batch_size', 4, '--accumulate', 4], 2)
    one = weights_of(tmp_path, [*words, '--batch_size', 14], 1)
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-5, atol=1e-6)
