"""Entry points of a run: the classes and functions it was built from, from which code_fingerprint starts."""

import ast
import hashlib
import inspect
import os
import sys
import textwrap
from pathlib import Path

from utils.base.registry import PROJECT, read_registry
from utils.distributed.fsdp import unsharded_class
from utils.losses.function_loss import FunctionLoss
from utils.metrics.ready_metrics import ReadyMetrics
from utils.options.loss_options import parse_terms
from utils.options.model_source import SOURCE
from utils.provenance.source_ast import canonical
from utils.provenance.symbol_resolver import EXTERNAL_MARK, HASH_DIGITS
from utils.provenance.used_files import PACKAGE_DIRECTORIES, is_installed

MODELS, LIBRARIES = 'model.model_entry.MODELS', 'model.model_entry.LIBRARIES'
DATASETS, AUGMENTS = 'data.data_entry.DATASETS', 'data.augment.AUGMENTS'
LOSSES, METRICS = 'loss.LOSSES', 'metrics.METRICS'
TRAINER = 'train.Trainer'


def find_entry_points(trainer):
    """Return the entry points of a train.Trainer: {kind: [class, function or name of a registry entry (str)]}.

    Objects passed to the Trainer count by their classes, all other parts by their registry entries too.
    """
    args = trainer.args
    loaders = [loader for loader in (trainer.train_loader, trainer.val_loader) if loader is not None]
    library, colon, _ = args.model_type.partition(':')
    names = {
        'model': [
            f'{MODELS}[{args.model_type}]',
            *([f'{LIBRARIES}[{library}:]'] if colon and not args.model_type.startswith(SOURCE) else []),
        ],
        'train_loader': [f'{DATASETS}[{args.data_type}]'],
        'loss': [f'{LOSSES}[{name}]' for name in parse_terms(args.loss)],
    }
    names = {kind: [] if kind in trainer.given else entries for kind, entries in names.items()}
    augment, mixing = trainer.prepare.augment, getattr(_dataset(loaders[0]), 'mixing', None)
    roots = {
        'model': names['model'] + _types(trainer.net.modules()),
        'data': names['train_loader'] + [part for loader in loaders for part in _loader_parts(loader)],
        'augment': [f'{AUGMENTS}[{args.augment}]'] * (augment is not None) + _types(filter(None, (augment, mixing))),
        'loss': names['loss'] + _types(trainer.loss.modules()),
        'metrics': _metrics_of(trainer.metrics['val']),
    }
    if isinstance(trainer.loss, FunctionLoss):
        roots['loss'].append(class_or_function(trainer.loss.function))
    ready = (trainer.optimizer, trainer.given_scheduler)
    roots |= {
        name: [type(part)]
        for name, part in zip(('optimizer', 'scheduler'), ready, strict=True)
        if name in trainer.given
    }
    roots['data'].append(type(trainer.prepare))
    if not isinstance(trainer.metrics['val'], ReadyMetrics):
        registered = read_registry('metrics', 'METRICS').get(args.task, '').rpartition('.')[2]
        if registered == roots['metrics'][0].__name__:  # else a subclass of Trainer has its own metrics
            roots['metrics'].append(f'{METRICS}[{args.task}]')
    if definition_name(type(trainer)) != TRAINER:
        roots['trainer'] = [type(trainer)]
    return {kind: list(dict.fromkeys(things)) for kind, things in roots.items()}


def _dataset(loader):
    return getattr(loader, 'dataset', None)


def _loader_parts(loader):
    """Return the classes and functions behind the batches of a loader (list): data sets, samplers, collate function."""
    parts, waiting = [], [_dataset(loader), getattr(loader, 'batch_sampler', None), getattr(loader, 'sampler', None)]
    if not hasattr(loader, 'dataset'):  # a generator function or a custom loader
        parts.append(class_or_function(getattr(loader, 'function', loader)))
    while waiting:
        part = waiting.pop(0)
        if part is not None and len(parts) < 100:  # nested data sets may be cyclic
            parts.append(type(part))
            waiting += [getattr(part, 'dataset', None), *_as_sequence(getattr(part, 'datasets', None))]
    collate = getattr(loader, 'collate_fn', None)
    return parts + ([collate] if inspect.isfunction(collate) else [])


def _as_sequence(parts):
    return parts if isinstance(parts, list | tuple) else []


def _metrics_of(metrics):
    """Return the class of the metrics (list), and for metric objects their classes and functions too."""
    given = metrics.metric_sources() if isinstance(metrics, ReadyMetrics) else []
    return [type(metrics), *map(class_or_function, given)]


def class_or_function(thing):
    """Return a class or function unchanged, and the class of any other object."""
    return thing if inspect.isclass(thing) or inspect.isfunction(thing) else type(thing)


def _types(things):
    return [unsharded_class(thing) for thing in things]


def definition_name(thing):
    """Return the name of a class or function for symbol_resolver (str), or None if installed or in no file."""
    path = _file_of(thing)
    if path is None or is_installed(path):
        return None
    name = thing.__qualname__.partition('.')[0]  # of a nested definition the outermost one
    if path.is_relative_to(PROJECT):
        return f'{str(path.relative_to(PROJECT).with_suffix("")).replace(os.sep, ".").removesuffix(".__init__")}.{name}'
    return f'{path.with_suffix("")}{EXTERNAL_MARK}{name}'


def _file_of(thing):
    file = getattr(sys.modules.get(thing.__module__), '__file__', None)
    return None if file is None else Path(file).resolve()


def packages_of(roots):
    """Return the installed packages (set of str) of the classes and functions in `roots`."""
    things = [thing for those in roots.values() for thing in those if not isinstance(thing, str)]
    files = {thing.__module__.partition('.')[0]: _file_of(thing) for thing in things}
    return {
        name
        for name, path in files.items()
        if path is not None and any(part in PACKAGE_DIRECTORIES for part in path.parts)
    }


def interactive_definitions(things):
    """Return the hashes of definitions from a notebook or console, which are in no file: {name: hash}."""
    found = {}
    for thing in things:
        if not isinstance(thing, str) and thing.__module__ == '__main__' and _file_of(thing) is None:
            try:
                tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
            except (OSError, TypeError, SyntaxError):  # the console does not keep the source
                continue
            text = canonical(tree.body)
            found[f'__main__.{thing.__qualname__}'] = hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]
    return found
