"""repr of Trainer, Evaluator and Predictor for notebooks and debuggers."""

import os

from utils.base.batches import count_loader_samples
from utils.base.text_table import count_text, number_text
from utils.distributed.fsdp import unsharded_class
from utils.drawing.curves import details
from utils.options.fit import described_pictures
from utils.runs.checkpoint import unwrap_model
from utils.tasks.tasks import describe_outputs


def model_line(net):
    """Return the class and size of a network (str): 'LeNet, 82,826 parameters'."""
    parameters = sum(parameter.numel() for parameter in net.parameters())
    return f'{unsharded_class(unwrap_model(net)).__name__}, {parameters:,} parameters'


def sizes_of(loaders):
    """Return the numbers of samples of loaders (str): '5,000 to train on, 1,000 to validate'.

    Args:
        loaders: dict from the use of the samples to a loader or None.
    """
    lengths = {use: count_loader_samples(loader) for use, loader in loaders.items() if hasattr(loader, 'dataset')}
    return ', '.join(f'{"a stream" if length is None else f"{length:,}"} {use}' for use, length in lengths.items())


def summary_of_trainer(trainer):
    """Return the model, data and progress of a Trainer (str, a few lines)."""
    if 'deferred_build' in vars(trainer):
        parts = trainer.deferred_build[1]
        return f'{type(trainer).__name__}: {model_line(parts["model"])}, waits for the data of fit()'
    if not trainer.is_open():  # its constructor has not finished
        return object.__repr__(trainer)
    args, best = trainer.args, trainer.selection.best
    loaders = {'to train on': trainer.train_loader, 'to validate': trainer.val_loader}
    done = f'{trainer.epoch} of {count_text(args.epochs, "epoch")}'
    if best and best.get('epoch'):
        done += f', best: {trainer.selection.monitor} {number_text(best["value"])} in epoch {best["epoch"]}'
    return _lines(
        f'{type(trainer).__name__}: {model_line(trainer.net)}, on {trainer.device}',
        f'data: {sizes_of(loaders) or "as the loaders give them"}',
        f'run: {_relative(args.model_dir)}, {done}',
    )


def summary_of_evaluator(evaluator):
    """Return the model, data and results of an Evaluator (str, a few lines)."""
    if 'outputs' not in vars(evaluator):
        return object.__repr__(evaluator)
    args, results = evaluator.args, evaluator.results
    shown = {name: value for name, value in (results or {}).items() if '/' not in name and not details(f'/{name}')}
    return _lines(
        f'{type(evaluator).__name__}: {model_line(evaluator.model)}, on {evaluator.device}',
        f'data: {sizes_of({"to test on": evaluator.loader}) or "as the loader gives them"}',
        f'checkpoint: {_relative(args.load_model_path)}, epoch {evaluator.epoch}',
        'not tested yet: eval()'
        if results is None
        else ', '.join(f'{name} {number_text(v)}' for name, v in shown.items()),
    )


def summary_of_predictor(predictor):
    """Return the model, task and input of a Predictor (str, a few lines)."""
    if 'class_names' not in vars(predictor):
        return object.__repr__(predictor)
    args = predictor.args
    return _lines(
        f'{type(predictor).__name__}: {model_line(predictor.model)}, on {predictor.device}',
        f'{args.task}, {describe_outputs(args)}',
        described_pictures(args),
        f'checkpoint: {_relative(args.load_model_path)}',
    )


def _lines(first, *others):
    return '\n'.join([first, *(f'  {line}' for line in others)])


def _relative(path):
    """Return a path (str), relative to the working directory if it is below."""
    if path is None:
        return 'none yet'
    relative = os.path.relpath(path)
    return str(path) if relative.startswith('..') else relative
