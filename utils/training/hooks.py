"""Hooks: user code that runs at named moments of a training.

    class Confidence(Hook):
        def after_step(self, trainer, images, predictions, targets):
            confidence = predictions.detach().softmax(1).amax(1).mean()
            trainer.logger.record('train/confidence', confidence, len(images))

    trainer = Trainer(args)
    trainer.hooks.append(Confidence())

The Trainer's own RunSession is called first, then `trainer.hooks` in their order. With several processes, each process
calls its own hooks. The design follows the hooks of detectron2's engine.
"""

from utils.base.errors import DanluError
from utils.metrics.base import can_be_saved


class Hook:
    """Base class of hooks: its methods do nothing; a hook overrides those that it needs."""

    def before_train(self, trainer):
        """Called when train() begins, also when it is called again or resumes a run."""

    def before_step(self, trainer):
        """Called before each batch; `trainer.batch` is the number of batches of the epoch that are done."""

    def after_step(self, trainer, images, predictions, targets):
        """Called after each batch with the results of train_step, except for batches that --on_nan skips.

        With --accumulate several batches make one optimizer step; `trainer.update.steps` counts optimizer steps.
        """

    def after_epoch(self, trainer, row):
        """Called after the validation of an epoch, before its checkpoints are saved.

        Args:
            row: the epoch's values (dict), as in history.csv.
        """

    def after_train(self, trainer):
        """Called when the last epoch is done, but not after an interruption or an error."""

    def after_error(self, trainer, error):
        """Called when an interruption or an error ends train(), before the run's log is closed.

        Args:
            error: the exception, which is raised afterwards.
        """

    def state_dict(self):
        """Return the hook's state for last.pth: dict of tensors and plain values."""
        return {}

    def load_state_dict(self, state):
        """Restore what `state_dict` returned; called before `before_train`, and when --on_nan rollback goes back."""


def state_of_hooks(hooks):
    """Return the states of hooks (list of dict), each with the name of its class, for last.pth.

    Raises:
        DanluError: a state holds a value that a checkpoint cannot hold.
    """
    states = []
    for hook in hooks:
        name, state = type(hook).__name__, hook.state_dict()
        if not can_be_saved(state):
            raise DanluError(
                f'{name}.state_dict() returns something that last.pth cannot hold; it may hold tensors, numbers, '
                'strings, bools and None, in lists and dicts'
            )
        states.append({'hook': name, 'state': state})  # also an empty one, which keeps its place in the order
    return states


def load_hooks(hooks, states):
    """Load the states that `state_of_hooks` returned, matched by class name and, within a class, by order.

    Returns:
        names (list of str) of the classes of states that match no hook.
    """
    states = list(states)
    for hook in hooks:
        names = [entry['hook'] for entry in states]
        if type(hook).__name__ in names:
            state = states.pop(names.index(type(hook).__name__))['state']
            if state:
                hook.load_state_dict(state)
    return [entry['hook'] for entry in states if entry['state']]
