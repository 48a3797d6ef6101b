"""--dry_run: everything that a run does, once, in seconds: what would fail at its end fails now."""

import time
from pathlib import Path

import torch

from utils.base.batches import count_loader_samples
from utils.base.errors import DanluError
from utils.runs.checkpoint import load_checkpoint, load_weights, weights_of
from utils.training.precision import forward

SAME = {None: 1e-4, 'bf16': 5e-2, 'fp16': 5e-3}  # how far outputs may lie apart, as a share of the largest


class TwoBatches:
    """Two batches of a loader: the first, and the same cut to the size of an epoch's last one."""

    def __init__(self, loader):
        self.loader, self.batch = loader, None

    def __len__(self):
        return 2

    def __iter__(self):
        self.batch = next(iter(self.loader), None)
        if self.batch is None:
            return
        yield self.batch
        if all(torch.is_tensor(part) for part in self.batch):  # others are for the network's owner to cut
            yield tuple(part[: last_size(self.loader, len(self.batch[0]))] for part in self.batch)


def last_size(loader, batch_size):
    """Return how many samples (int) the last batch of an epoch has; the least, where the loader does not tell."""
    sampler = getattr(loader, 'batch_sampler', None)
    length, size = getattr(sampler, 'length', None), getattr(sampler, 'batch_size', batch_size)
    joins = getattr(sampler, 'shuffle', False)  # data.samplers join a single one to the batch before
    length = count_loader_samples(loader) if length is None else length
    if length is None:
        return min(2 if joins else 1, batch_size)
    rest = length % size
    if joins and rest == 1:
        rest = 0
    return rest if rest and not getattr(loader, 'drop_last', False) else batch_size


def dry_run(trainer, build):
    """Train and validate on two batches, draw, save, load what was saved, and compare what it computes.

    Args:
        trainer: train.Trainer, ready to train; its network is of no use afterwards.
        build: function() -> nn.Module on the CPU, the network anew, with other weights.

    Raises:
        DanluError: the network that was loaded computes something else, or anything that a run can meet.
    """
    started = time.perf_counter()
    trainer.train_loader = TwoBatches(trainer.train_loader)
    trainer.val_loader = None if trainer.val_loader is None else TwoBatches(trainer.val_loader)
    trainer.args.epochs = 1  # of the last epoch the pictures are always drawn
    trainer.update.batches = len(trainer.train_loader)
    trainer.run_epoch(1)
    trainer.logger.checkpoints.finish()
    difference = check_saved(trainer, build())
    memory = torch.cuda.max_memory_allocated(trainer.device) / 2**30 if trainer.device.type == 'cuda' else None
    trainer.close()
    used = '' if memory is None else f', {memory:.1f} GiB of GPU memory'
    print(
        f'dry run: trained, validated, drew, saved and loaded in {time.perf_counter() - started:.1f} s{used}; the '
        f'loaded network computes the same (largest difference {difference:.1g}). Nothing of it is kept.'
    )


def check_saved(trainer, net):
    """Load best.pth into a new network and return how far its outputs lie from the trained one's (float)."""
    path = Path(trainer.args.model_dir) / 'best.pth'
    load_weights(net, weights_of(load_checkpoint(path), path), path)
    net.to(trainer.device).eval()
    images, _ = trainer.to_device((trainer.val_loader or trainer.train_loader).batch)
    trainer.model.eval()
    with torch.inference_mode(), trainer.eval_weights():
        expected = forward(trainer.model, images, trainer.amp)
        found = forward(net, images.contiguous(), trainer.amp)
    difference, largest = (found - expected).abs().max().item(), expected.abs().max().item()
    if not difference <= SAME[trainer.amp] * max(largest, 1.0):
        raise DanluError(
            f'the network that was saved computes something else when it is loaded: largest difference {difference:.3g}'
            f' at outputs up to {largest:.3g}; what it computes depends on more than its parameters and buffers'
        )
    return difference
