"""What a Trainer puts into its checkpoints: for testing, and for resuming."""

import copy
from contextlib import nullcontext

import torch

from utils.base.seeding import mix_seed, seed_everything
from utils.distributed import processes
from utils.distributed.fsdp import full_tensors, optimizer_state
from utils.provenance.output_fingerprint import standard_probe
from utils.runs.checkpoint import FORMAT, unwrap_model
from utils.training.hooks import state_of_hooks
from utils.training.resume import loader_rng_state, set_loader_rng_state


class TrainerState:
    """Base of train.Trainer with the state of a training: what checkpoints hold, and restoring it."""

    def eval_weights(self):
        """Return a context in which the network has the weights for testing and saving: with --ema the average."""
        return nullcontext() if self.update.ema is None else self.update.ema.in_network()

    def state(self, row):
        """Return the content of a checkpoint for testing (dict)."""
        args = dict(vars(self.args))
        return {'format': FORMAT, 'model': full_tensors(unwrap_model(self.net).state_dict()), 'args': args,
                'epoch': self.epoch, 'step': self.update.steps, 'metrics': row, 'device': self.device.type,
                'record': self.record.values if processes.is_first() else None}  # fmt: skip

    def probe(self):
        """Return the inputs for a checkpoint's output fingerprint: a tensor, or a tuple or dict of arguments.

        By default noise of a sample's shape; override it for a network with other inputs. See
        utils/provenance/output_fingerprint.py.
        """
        return standard_probe(self.args)

    def resume_state(self):
        """Return the additional content of a checkpoint for resuming (dict of tensors and plain values)."""
        update = self.update
        return {
            **({} if update.ema is None else {'ema': update.ema.state_dict()}),
            'optimizer': full_tensors(self.optimizer.state_dict()),
            'scheduler': update.schedule.state_dict(),
            'scaler': update.scaler.state_dict(),
            'loader': {
                'batch': self.batch,
                'rng': self.epoch_rng,
                'gradients': update.accumulation_state(),
                'shown': list(self.session.images_written),
                'drawing': {split: allowance.state_dict() for split, allowance in self.session.drawing_budgets.items()},
                'accumulates': 'as one batch',
            },
            'best': self.selection.best,
            'recorder': {
                'history': self.logger.history,
                'epoch': self.session.training_sums or self.logger.recorder.state_dict(),
            },
            'diverged': self.nonfinite.state_dict(),
            **({'hooks': hooks} if (hooks := state_of_hooks(self.hooks)) else {}),
            **rank_states(self),
        }

    def set_resume_state(self, state):
        """Restore what `resume_state` returned; the dict `state` also holds the content for testing.

        Raises:
            DanluError: the state does not fit. Errors that only the optimizer's first step shows are raised there.
        """
        with self.update.explain_state_errors():
            _load_state(self, state)


def rank_states(trainer):
    """Return the state that each process has for itself (dict): generators, and metrics of its share of an epoch.

    With several processes, `processes` lists the states by rank; the other keys hold that of rank 0, for readers that
    know only one process.
    """
    metrics = trainer.metrics['train']
    own = {
        'rng': loader_rng_state(trainer.train_loader),
        'train_metrics': metrics.state_dict() if trainer.batch and hasattr(metrics, 'state_dict') else None,
    }
    if processes.count() == 1:
        return own
    every = processes.all_gather(processes.on_cpu(own | {'epoch_rng': trainer.epoch_rng}))
    return {name: every[0][name] for name in own} | {'processes': every}


def _load_state(trainer, state):
    update = trainer.update
    trainer.optimizer.load_state_dict(optimizer_state(state['optimizer'], trainer.optimizer))
    _check_shapes(trainer.optimizer)
    update.schedule.load_state_dict(state.get('scheduler', {}))
    if update.scaler.is_enabled():
        update.scaler.load_state_dict(state['scaler'])
    if update.ema is not None:
        update.ema.load_state_dict(state['ema'])
    trainer.selection.best = state['best']
    loader = state.get('loader', {'batch': 0, 'rng': None})  # older checkpoints are saved between epochs only
    trainer.batch = trainer.resumed_at = loader['batch']
    trainer.epoch_rng = loader['rng']
    trainer.session.images_written = list(loader.get('shown', []))
    trainer.session.drawing_state = loader.get('drawing') or {}
    update.load_accumulation_state(loader.get('gradients'))
    trainer.nonfinite.load_state_dict(state.get('diverged', {}))
    trainer.session.preemption.mark_saved(update.steps)
    trainer.session.hook_states = state.get('hooks', [])
    load_rank_state(trainer, state)


def _check_shapes(optimizer):
    """Raise ValueError if the state of a fused optimizer does not fit its parameters, which torch does not check."""
    for group in optimizer.param_groups:
        for parameter in group['params'] if group.get('fused') else ():
            for name, value in optimizer.state.get(parameter, {}).items():
                wanted = torch.Size() if name == 'step' else parameter.shape
                if torch.is_tensor(value) and not (value.shape == wanted and value.is_floating_point()):
                    found = f'{str(value.dtype).removeprefix("torch.")} {tuple(value.shape)}'
                    raise ValueError(f'{name} of the optimizer is {found} and not of floats {tuple(wanted)}')


def load_rank_state(trainer, state):
    """Restore what `rank_states` returned for this process; `state` (dict) holds it.

    If the run had another number of processes, rank 0 merges all metrics, and the other ranks reseed their generators.
    """
    metrics, every = trainer.metrics['train'], state.get('processes', [{**state, 'epoch_rng': trainer.epoch_rng}])
    metrics.reset()  # some metrics create their attributes in reset()
    if len(every) == processes.count():
        own = every[processes.rank()]
        trainer.epoch_rng = own['epoch_rng']
        if trainer.batch and own['train_metrics'] is not None:
            metrics.load_state_dict(own['train_metrics'], trainer.device)
        set_loader_rng_state(trainer.train_loader, own['rng'])
        return
    if processes.is_first():
        set_loader_rng_state(trainer.train_loader, state['rng'])
        if trainer.batch and hasattr(metrics, 'merge') and all(each['train_metrics'] is not None for each in every):
            states = [reduced_state(metrics, each['train_metrics'], trainer.device) for each in every]
            metrics.merge(states, trainer.device)
    else:
        seed_everything(mix_seed(trainer.args.seed, processes.rank(), trainer.update.steps))


def reduced_state(metrics, state, device):
    """Return the `reduce_state` (dict) of metrics whose `state_dict` is `state`."""
    loaded = copy.copy(metrics)
    loaded.reset()
    loaded.load_state_dict(state, device)
    return loaded.reduce_state()
