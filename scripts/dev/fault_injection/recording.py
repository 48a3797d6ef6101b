"""A Trainer that records the samples of each step and injects faults into its own process."""

import json
import os
import signal
import zlib
from contextlib import nullcontext
from pathlib import Path


def recording(own, samples, fault=None, left_out=None, phases=None):
    """Return a Trainer, derived from the class `own`, that writes down its steps; classes derived from it do so too.

    Args:
        own: train.Trainer.
        samples, fault, left_out: as for fault_injection.processes.Run.
        phases: fault_injection.strikes.Phases that are told what the Trainer does, or None.
    """
    within = nullcontext if phases is None else phases.within

    class Recording(own):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.learned, self.seen = 0, 0
            # Which epochs have images must not depend on the time.
            for allowance in self.session.drawing_budgets.values():
                allowance.due = lambda: True
            if left_out is not None:
                left_out(self)
            save = self.session.save

            def save_within(states):
                with within('saving'):
                    save(states)

            self.session.save = save_within

        def __init_subclass__(cls):
            super().__init_subclass__()
            if 'train_step' in vars(cls):
                cls.train_step = recorded(cls.train_step, phases)

        def note_step(self, done):
            self.learned += 1
            write_step(samples, self, done)
            strike(self, fault, self.learned, False)

        def compute_metrics(self, predictions, targets, metrics):
            super().compute_metrics(predictions, targets, metrics)
            if metrics is self.metrics['val']:
                self.seen += 1
                strike(self, fault, self.seen, True)

        def val_per_epoch(self, epoch):
            with within('validation'):
                super().val_per_epoch(epoch)

    Recording.train_step = recorded(own.train_step, phases)
    return Recording


def recorded(train_step, phases):
    """Return a train_step that tells the phases and the Trainer of each step; one within another counts once."""

    def step(trainer, batch):
        if getattr(trainer, 'is_stepping', False):
            return train_step(trainer, batch)
        if phases is not None:
            phases.enter('step')
        trainer.is_stepping = True
        try:
            done = train_step(trainer, batch)
        finally:
            trainer.is_stepping = False
        trainer.note_step(done)
        return done

    return step


def write_step(samples, trainer, done):
    """Add a line to the file `samples`: epoch, batch and a checksum per sample of what a train_step has returned."""
    from utils.distributed import processes

    # What stands in for an empty part of a batch counts for nothing.
    counts = not processes.is_padding(trainer.train_loader, trainer.update.batch_number - 1)
    sums = checksums(done[0], done[2]) if counts else []
    with open(samples, 'a', encoding='utf-8') as file:
        file.write(json.dumps([trainer.epoch + 1, trainer.batch + 1, sums]) + '\n')


def strike(trainer, fault, done, validating):
    """Do to this process what `fault` says (fault_injection.processes.Fault or None), if this is the moment.

    Args:
        done: how many training steps of this process, or batches of validation (int).
        validating: which of them (bool).
    """
    if fault is None or done < fault.step or validating != fault.validating:
        return
    if fault.written:
        trainer.logger.checkpoints.finish()
    if Path(trainer.args.model_dir, 'last.pth').exists() if fault.number == signal.SIGKILL else done == fault.step:
        for _ in range(fault.times):
            (os.killpg if fault.group else os.kill)(os.getpid(), fault.number)


def checksums(images, targets):
    """Return a CRC-32 (list of int) of each sample of a batch: its input as the network got it, with its target."""
    pairs = zip(images.contiguous(), targets, strict=True)
    return [zlib.crc32(target.numpy().tobytes(), zlib.crc32(image.numpy().tobytes())) for image, target in pairs]
