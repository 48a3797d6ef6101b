"""--dry_run: runs each stage of a training once, in seconds, so that errors of its end appear at once."""

import time
from pathlib import Path

import torch

from utils.base.batches import count_loader_samples
from utils.base.errors import DanluError
from utils.base.text_table import number_text
from utils.runs.checkpoint import load_checkpoint, load_weights, weights_of
from utils.training.precision import forward

OUTPUT_TOLERANCE = {None: 1e-4, 'bf16': 5e-2, 'fp16': 5e-3}  # by --amp, as a share of the largest output


class TwoBatches:
    """Two batches of a loader: the first, and the same cut to the size of an epoch's last batch."""

    def __init__(self, loader):
        self.loader, self.batch = loader, None

    def __len__(self):
        return 2

    def __iter__(self):
        self.batch = next(iter(self.loader), None)
        if self.batch is None:
            return
        yield self.batch
        if all(torch.is_tensor(part) for part in self.batch):  # batches of other types cannot be cut
            yield tuple(part[: last_batch_size(self.loader, len(self.batch[0]))] for part in self.batch)


def last_batch_size(loader, batch_size):
    """Return the number of samples (int) in an epoch's last batch; if not known, the smallest possible number."""
    sampler = getattr(loader, 'batch_sampler', None)
    length, size = getattr(sampler, 'length', None), getattr(sampler, 'batch_size', batch_size)
    joins = getattr(sampler, 'shuffle', False)  # data.samplers add a single last sample to the batch before
    length = count_loader_samples(loader) if length is None else length
    if length is None:
        return min(2 if joins else 1, batch_size)
    rest = length % size
    if joins and rest == 1:
        rest = 0
    return rest if rest and not getattr(loader, 'drop_last', False) else batch_size


def dry_run(trainer, build):
    """Train and validate on two batches, draw, save, load best.pth, and compare the outputs.

    Args:
        trainer: train.Trainer, ready to train; its network cannot be used afterwards.
        build: function() -> nn.Module on the CPU: a new network of the same kind.

    Raises:
        DanluError: the loaded network gives other outputs; or any error of a run.
    """
    started = time.perf_counter()
    trainer.train_loader = TwoBatches(trainer.train_loader)
    trainer.val_loader = None if trainer.val_loader is None else TwoBatches(trainer.val_loader)
    trainer.args.epochs = 1  # images of the last epoch are always drawn
    trainer.update.batches = len(trainer.train_loader)
    trainer.run_epoch(1)
    trainer.logger.checkpoints.finish()
    difference = check_reloaded(trainer, build())
    memory = torch.cuda.max_memory_allocated(trainer.device) if trainer.device.type == 'cuda' else None
    trainer.close()
    used = '' if memory is None else f', {memory / 2**30:.1f} GiB of GPU memory'
    print(
        f'dry run: trained, validated, drew, saved and loaded in {time.perf_counter() - started:.1f} s{used}; the '
        f'loaded network computes the same (largest difference {number_text(difference)}). Nothing of it is kept.'
    )


def check_reloaded(trainer, net):
    """Load best.pth into a new network and return the largest difference of its outputs to the trained one (float)."""
    path = Path(trainer.args.model_dir) / 'best.pth'
    load_weights(net, weights_of(load_checkpoint(path), path), path)
    net.to(trainer.device).eval()
    images, _ = trainer.to_device((trainer.val_loader or trainer.train_loader).batch)
    trainer.model.eval()
    with torch.inference_mode(), trainer.eval_weights():
        expected = forward(trainer.model, images, trainer.amp)
        found = forward(net, images.contiguous(), trainer.amp)
    difference, largest = (found - expected).abs().max().item(), expected.abs().max().item()
    if not difference <= OUTPUT_TOLERANCE[trainer.amp] * max(largest, 1.0):
        raise DanluError(
            'the network that was saved computes something else when it is loaded: largest difference '
            f'{number_text(difference)} at outputs up to {number_text(largest)}; what it computes depends on more '
            'than its parameters and buffers'
        )
    return difference
