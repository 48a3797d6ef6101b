"""Checks a subclass of Trainer or Evaluator for methods of other frameworks, which Danlu never calls.

Such a method would be ignored silently. The check runs in the constructor, and its error names Danlu's method for the
same purpose. A method with such a name that the subclass itself calls is a helper and is allowed.
"""

import inspect
from types import CodeType

from utils.base.errors import DanluError

_STEP = (
    'step(batch) returns (images, predictions, targets), compute_loss(predictions, targets) the loss, and '
    'train_step(batch) does both and learns'
)
_METRICS = (
    'Trainer(metrics={...}) takes metrics, and compute_metrics(predictions, targets, metrics) adds a batch to them'
)
_OPTIMIZER = 'Trainer(optimizer=..., scheduler=...) takes the objects, --optimizer and --schedule their names'
_LOADERS = 'Trainer(train_loader=..., val_loader=...) takes the loaders'
_EVALUATE = 'val_per_epoch(epoch) validates, by evaluate(batches, metrics), as eval.py tests'
_HOOKS = 'override train_per_epoch, val_per_epoch or end_epoch and call super()'
_STATE = 'last.pth has all that --resume needs; resume_state() and set_resume_state(state) add to it'
_PREDICT = 'predict(x) of the Trainer, or load_predictor(path).predict(images), predicts'
_NETWORK = 'step(batch) calls the network; forward belongs into the nn.Module'
_LOG = "logger.record('train/name', value, count) records a value"
_BACKWARD = 'train_step(batch) learns from one batch; select_update() returns what does backward and step'

# Name of a method in another framework -> what to use in Danlu.
COUNTERPARTS = {
    # torch_base and templates derived from it
    'viz_per_epoch': (
        "gen_imgs_to_write(images, predictions, targets, split) returns an epoch's images, and the Evaluator's "
        'viz_per_batch(start, images, predictions, targets) saves those of a test'
    ),
    # TemplateModel, both versions, and the usual names of loops
    **dict.fromkeys(
        ('train_loop', 'train_epoch', 'train_one_epoch', 'training_epoch'),
        'train_per_epoch(epoch) trains once over the data, and train() runs all epochs',
    ),
    **dict.fromkeys(('train_loss_per_batch', 'train_loss', 'loss_per_batch', 'train_batch', 'training_step'), _STEP),
    **dict.fromkeys(('eval_scores_per_batch', 'metric', 'metrics_per_batch', 'calc_metrics'), _METRICS),
    **dict.fromkeys(
        ('eval', 'eval_error', 'eval_loop', 'eval_epoch', 'val_epoch', 'val_loop', 'validate', 'validate_epoch'),
        _EVALUATE,
    ),
    # Trainer before its session and hooks
    **dict.fromkeys(
        'record_training save_within_epoch save_pictures show_first start_epoch run_epochs finite_loss'.split(),
        'trainer.session does it; a Hook in trainer.hooks adds to a run (utils/training/hooks.py)',
    ),
    'for_testing': 'eval_weights() gives the network the weights that are tested',
    'check_init': 'the constructor checks; --dry_run tries every part once',
    **dict.fromkeys(
        ('save_state', 'load_state', 'save_checkpoint', 'load_checkpoint', 'on_save_checkpoint', 'on_load_checkpoint'),
        _STATE,
    ),
    **dict.fromkeys(('inference', 'predict_step', 'prediction_step'), _PREDICT),
    'get_model_info': '--print_model prints the layers, --add_graph draws the graph in TensorBoard',
    'num_parameters': 'the log begins with the number of parameters, --print_model prints those of each layer',
    # Lightning
    **dict.fromkeys(('validation_step', 'test_step'), f'{_STEP.rpartition(", and")[0]}, in validation as in training'),
    **dict.fromkeys(('configure_optimizers', 'create_optimizer', 'create_scheduler'), _OPTIMIZER),
    'create_optimizer_and_scheduler': _OPTIMIZER,
    **dict.fromkeys(
        (
            *('train_dataloader', 'val_dataloader', 'test_dataloader', 'predict_dataloader'),
            *('get_train_dataloader', 'get_eval_dataloader', 'get_test_dataloader'),
        ),
        _LOADERS,
    ),
    **dict.fromkeys(('prepare_data', 'setup', 'teardown'), 'the data set class prepares data: see data/data_entry.py'),
    'forward': _NETWORK,
    **dict.fromkeys(('log', 'log_dict'), _LOG),
    **dict.fromkeys(('backward', 'optimizer_step', 'optimizer_zero_grad', 'lr_scheduler_step'), _BACKWARD),
    **dict.fromkeys(
        ('training_epoch_end', 'validation_epoch_end', 'test_epoch_end', 'training_step_end', 'configure_callbacks'),
        _HOOKS,
    ),
    'save_hyperparameters': 'args.txt and every checkpoint have the options',
    # torchkeras and Hugging Face's Trainer
    **dict.fromkeys(('StepRunner', 'EpochRunner'), f'{_STEP}; train_per_epoch(epoch) trains once over the data'),
    **dict.fromkeys(('save_ckpt', 'load_ckpt', 'save_model'), _STATE),
    **dict.fromkeys(('evaluation_loop', 'evaluation_step'), _EVALUATE),
}
# Method -> parameters that only other frameworks have, and how Danlu calls the method.
FOREIGN_PARAMETERS = {
    'gen_imgs_to_write': (
        ('is_train', 'train', 'training'),
        "the last argument is split, 'train' or 'val', and both are true: name it split and compare it",
    ),
    'compute_metrics': (
        ('is_train', 'train', 'training', 'eval_pred'),
        'it gets (predictions, targets, metrics) and adds the batch: metrics.update(predictions, targets)',
    ),
    'viz_per_batch': (
        ('step', 'batch_idx', 'idx', 'i'),
        "it gets (start, images, predictions, targets), start being the number of the batch's first sample",
    ),
    'compute_loss': (('model', 'inputs', 'return_outputs'), 'it gets (predictions, targets)'),
}


def check_overrides(instance, base):
    """Check the methods that an object's class defines or overrides.

    Args:
        instance: the object that is being constructed.
        base: Trainer or Evaluator (class); its subclasses in the method resolution order are checked.

    Raises:
        DanluError: a method is of another framework, or has other parameters than the method of `base`.
    """
    own = type(instance).__mro__[: type(instance).__mro__.index(base)]
    defined = {name: value for each in reversed(own) for name, value in vars(each).items()}
    name_of_class = type(instance).__name__
    for name in _never_called(defined, base):
        what = COUNTERPARTS.get(name, _HOOKS)
        raise DanluError(
            f'{name_of_class}.{name} is never called here: {what}. Move its code there, or rename a helper of your own'
        )
    for name, value in defined.items():
        if not name.startswith('_') and inspect.isfunction(value) and inspect.isfunction(getattr(base, name, None)):
            _check_parameters(f'{name_of_class}.{name}', value, getattr(base, name))


def _never_called(defined, base):
    """Return the names (list of str) in `defined` that are of other frameworks and not used by other methods in it."""
    foreign = {name for name, value in defined.items() if _is_foreign(name, value) and not hasattr(base, name)}
    called = set()
    while True:
        used = {word for name, value in defined.items() if name not in foreign - called for word in _names_in(value)}
        if not (used & foreign) - called:
            return [name for name in defined if name in foreign - called]
        called |= used & foreign


def _is_foreign(name, value):
    """Return whether a class attribute is a method, property or class with a name of another framework (bool)."""
    return (name in COUNTERPARTS or name.startswith('on_')) and (
        callable(value) or isinstance(value, property | staticmethod | classmethod)
    )


def _names_in(value):
    """Return the attributes and globals (set of str) that the code of a method or property uses."""
    if isinstance(value, property):
        return {name for part in (value.fget, value.fset, value.fdel) if part for name in _names_in(part)}
    code = getattr(inspect.unwrap(getattr(value, '__func__', value)), '__code__', None)
    codes, names = [code] if isinstance(code, CodeType) else [], set()
    while codes:
        code = codes.pop()
        names |= set(code.co_names)
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return names


def _check_parameters(name, own, base):
    """Raise DanluError if a method cannot be called like that of the base class, or has another framework's meaning."""
    parameters = list(inspect.signature(own).parameters)
    words, why = FOREIGN_PARAMETERS.get(base.__name__, ((), ''))
    if foreign := [word for word in words if word in parameters and word not in inspect.signature(base).parameters]:
        raise DanluError(f'{name} has a parameter {foreign[0]!r}: here {why}')
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in inspect.signature(base).parameters.values() if p.default is p.empty and p.kind in positional]
    try:
        inspect.signature(own).bind(*needed)
    except TypeError as error:
        called = ', '.join(p.name for p in needed[1:])
        raise DanluError(
            f'{name}({", ".join(parameters[1:])}) is called here as {base.__name__}({called}): {error}'
        ) from None
