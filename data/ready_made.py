"""Ready-made data for train.Trainer: loaders, data sets, generator functions, lists of batches.

A loader yields batches (images, targets); see utils/tasks/tasks.py for the targets of each task. A DataLoader, a list
of batches and any object that can be iterated over once per epoch are used directly. Others are wrapped:

    a data set            batches of --batch_size, shuffled by --seed, with --num_workers (default: 0)
    an IterableDataset    the same in its own order: it yields samples
    a generator function  called once per epoch: it yields batches

Images and targets are tensors or numpy arrays; float64 becomes float32 unless the network has float64. Other batches
need a Trainer with its own `step`. --data_type is not used. Image sizes are determined from the first batch; the number
of classes from the labels of a TensorDataset or the outputs of the network.
"""

import copy
import inspect
import os

import numpy as np
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
)

from data.data_entry import Batches, select_eval_loader, select_train_loader
from data.lists.val_split import split_lists
from data.samplers import EpochBatches, random_keys
from utils.base.batches import (
    count_dropped_samples,
    count_loader_samples,
    fault_of_batch,
    images_and_targets,
    match_net_dtype,
)
from utils.base.errors import DanluError
from utils.base.seeding import get_rng_state, mix_seed, set_rng_state
from utils.options import given_parts
from utils.options.validation_options import has_validation
from utils.tasks.one_logit import BINARY_CLASSES
from utils.tasks.tasks import task_of
from utils.training.batch_transform import PICTURE_DIMENSIONS
from utils.training.preemption import prepare_worker
from utils.training.resume import loader_rng_state, set_loader_rng_state

RANDOM_SAMPLERS = RandomSampler, SubsetRandomSampler, WeightedRandomSampler
SIZE_OPTIONS = ('image_size', 'channels', 'mean', 'std')
FEATURE_DIMENSIONS = 2
PROBED_SAMPLES = 2  # samples to determine the number of outputs with


def select_loaders(args, model, train_loader=None, val_loader=None):
    """Return the loaders for training and validation; the latter is None if there is no validation.

    Args:
        args: options, completed by what the data determines.
        model: ready-made nn.Module, or None.
        train_loader, val_loader: ready-made, or None. Without a train_loader, --data_type names the data; with a
            train_loader, only val_loader is used for validation.

    Raises:
        DanluError: the data is invalid, or an option is needed.
    """
    if train_loader is None and getattr(args, 'data_faults', None):
        raise DanluError(args.data_faults[0])
    if train_loader is not None:
        train = as_loader(train_loader, args, training=True)
        val = None if val_loader is None else as_loader(val_loader, args, training=False)
        fault = complete_from_batches(args, model, train, val)
        needed = () if model is not None else ('image_size', 'channels')
        check_complete(args, (task_of(args).outputs, *needed), 'ready-made loaders do not tell everything: give', fault)
        return train, val
    with split_lists(args) as notes:
        train = select_train_loader(args)
        dataset = train.samples
        dataset.notes = [*getattr(dataset, 'notes', []), *notes]
        if val_loader is not None:
            return train, as_loader(val_loader, args, training=False)
        return train, select_eval_loader(args) if has_validation(args) else None


def as_loader(given, args, training):
    """Return an object that can be iterated over once per epoch.

    Args:
        given: see the module docstring.
        args: options; uses batch_size, num_workers and seed.
        training: whether a data set is shuffled (bool).

    Raises:
        DanluError: `given` can be iterated over only once, or not at all.
    """
    if isinstance(given, IterableDataset):
        generator = torch.Generator().manual_seed(args.seed)
        return DataLoader(given, args.batch_size, num_workers=args.num_workers or 0, generator=generator)
    if isinstance(given, Dataset):
        return _dataset_loader(given, args, training)
    _refuse_no_loader(given)
    if not training and (left_out := count_dropped_samples(given)):
        raise DanluError(
            f'drop_last leaves {left_out} of {count_loader_samples(given)} samples out: set drop_last=False, as only '
            'training can do without them'
        )
    if hasattr(given, '__next__'):
        raise DanluError(
            f'a loader of type {type(given).__name__} can be iterated over only once; pass a list, or the function '
            'that makes the loader, which is called for each epoch'
        )
    if hasattr(given, '__iter__') or hasattr(given, '__getitem__'):
        return given
    try:
        inspect.signature(given).bind()
    except (TypeError, ValueError) as error:
        raise DanluError(f'a generator function is called without arguments for each epoch: {error}') from None
    return GeneratorLoader(given)


def _refuse_no_loader(given):
    """Raise DanluError for objects that are not loaders, although some can be iterated over."""
    name, hint = type(given).__name__, ''
    if isinstance(given, str | os.PathLike):
        raise DanluError(
            f"'{given}' is not a loader: files and directories are named by options, data_type= and train_list= of "
            'train_args'
        )
    if inspect.isclass(given):
        raise DanluError(f'the class {given.__name__} is not a loader: give an instance of it')
    if isinstance(given, torch.Tensor | np.ndarray):
        hint = '; inputs and targets become a data set by TensorDataset(inputs, targets)'
    elif not isinstance(given, dict) and (
        callable(given) or hasattr(given, '__iter__') or hasattr(given, '__getitem__')
    ):
        return
    raise DanluError(
        f'{name} is not a loader: give a DataLoader, a data set, a list of batches, or a generator function that '
        f'yields batches{hint}'
    )


class GeneratorLoader:
    """Iterates over a generator function, which is called once per epoch.

    Args:
        function: without arguments; yields batches.
    """

    def __init__(self, function):
        self.function = function

    def __iter__(self):
        return iter(self.function())


class SeededSamples(Dataset):
    """Samples of a data set for a DataLoader, each with torch's generator seeded by (seed, epoch, sample).

    Augmentation with torch's generator then does not depend on the number of workers or on resuming.

    Args:
        dataset: with a length; default_collate makes batches of its samples.
        seed: the run's seed (int).
    """

    def __init__(self, dataset, seed):
        self.dataset, self.seed = dataset, seed

    def __len__(self):
        return len(self.dataset)

    def __getitems__(self, key):
        """Return the batch of `key`, an (epoch, indices) pair from EpochBatches."""
        epoch, indices = key
        if type(self.dataset) is TensorDataset:
            return tuple(tensor[torch.as_tensor(indices)] for tensor in self.dataset.tensors)
        state = torch.get_rng_state()  # in the main process, the generator belongs to the model
        samples = []
        for number, index in zip(random_keys(indices).tolist(), indices.tolist(), strict=True):
            torch.default_generator.manual_seed(mix_seed(self.seed, epoch, number))
            samples.append(self.dataset[index])
        torch.set_rng_state(state)
        return default_collate(samples)


def _dataset_loader(dataset, args, training):
    """Return the DataLoader of a data set; with EpochBatches, a resumed run can start in the middle of an epoch."""
    workers = args.num_workers or 0
    return DataLoader(
        SeededSamples(dataset, args.seed),
        batch_sampler=EpochBatches(len(dataset), args.batch_size, training, args.seed),
        collate_fn=_no_collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available() and args.device != 'cpu',
        # otherwise each pass would draw from the model's generator
        generator=torch.Generator().manual_seed(args.seed),
        worker_init_fn=prepare_worker,
    )


def _no_collate(batch):
    return batch


def complete_from_batches(args, model, train, val):
    """Set image sizes and the number of outputs from the first training batch, unless the options have them.

    Args:
        args: options; image_size, channels, num_classes and num_targets are set if the batch determines them.
        model: ready-made nn.Module, or None.
        train, val: loaders; val may be None.

    Returns:
        why the batch is not usable (str), or None. A Trainer with its own `step` may accept such batches.

    Raises:
        DanluError: there is no batch.
    """
    outputs = task_of(args).outputs
    wanted = [name for name in dict.fromkeys((*SIZE_OPTIONS, outputs)) if getattr(args, name) is None]
    if not wanted:
        return None
    batch = first_batch(train)
    if batch is None:
        raise DanluError('there is no batch: the loader is empty')
    if fault := fault_of_batch(batch):
        return fault
    images, targets = batch = images_and_targets(batch)
    found = _sizes_of(images)
    if model is None and images.dim() not in (
        FEATURE_DIMENSIONS,
        PICTURE_DIMENSIONS,
    ):  # no built-in network takes these
        found = {}
    if outputs == 'num_targets' and targets.dim() <= 2:
        found['num_targets'] = targets.shape[1] if targets.dim() == 2 else 1
    if outputs == 'num_classes' and outputs in wanted:
        found['num_classes'] = _count_classes(args, model, batch, train, val)
    told = [name for name in wanted if found.get(name) is not None]
    for name in told:
        setattr(args, name, found[name])
    args.from_data = sorted({*getattr(args, 'from_data', []), *told})
    return None


def check_complete(args, needed, ask, fault):
    """Raise DanluError if options are missing that the data does not determine.

    Args:
        args: options.
        needed: names of the options, in the order of the message.
        ask: beginning of the message (str).
        fault: why a batch is not usable (str), or None.
    """
    if missing := [f'--{name}' for name in dict.fromkeys(needed) if getattr(args, name) is None]:
        raise DanluError('; '.join([f'{ask} {", ".join(missing)}', *([fault] if fault else [])]))


def _sizes_of(images):
    """Return the options of SIZE_OPTIONS (dict) for inputs (tensor); uint8 images get mean 0, std 1: pixels in 0..1."""
    found = {'image_size': []}  # features, signals, tokens
    if images.dim() == PICTURE_DIMENSIONS and (images.is_floating_point() or images.dtype == torch.uint8):
        found = {'channels': images.shape[1], 'image_size': list(images.shape[2:])}
        if images.dtype == torch.uint8:
            found |= {'mean': [0.0] * images.shape[1], 'std': [1.0] * images.shape[1]}
    elif images.dim() == FEATURE_DIMENSIONS and (images.is_floating_point() or images.dtype == torch.uint8):
        found['channels'] = images.shape[1]
    return found


def values_of(engine, data, metrics):
    """Return the loss and metrics (dict) for data outside of a run; restores all random generators.

    Args:
        engine: utils.training.engine.Engine.
        data: see `as_loader`.
        metrics: the engine's metrics, of which a copy is used.
    """
    state, loader, metrics = get_rng_state(), as_loader(data, engine.args, training=False), copy.copy(metrics)
    engine.bind_transforms(loader)
    try:
        values, _ = engine.evaluate(loader, metrics)
    finally:
        set_rng_state(state)
    return values


def first_batch(loader):
    """Return the first batch of a loader, or None if it is empty; restores all random generators.

    For a DataLoader over a data set, the batch has one sample, and no worker process is started.
    """
    before = loader_rng_state(loader)
    try:
        dataset = getattr(loader, 'dataset', None)
        if isinstance(loader, list | tuple):
            return loader[0] if loader else None
        if isinstance(dataset, SeededSamples):
            return default_collate([dataset.dataset[0]]) if len(dataset) else None
        if isinstance(loader, DataLoader) and not isinstance(dataset, IterableDataset) and loader.batch_size:
            index = next(iter(loader.sampler), None)
            return None if index is None else loader.collate_fn([dataset[index]])
        return next(iter(loader), None)
    finally:
        set_loader_rng_state(loader, before)


def _count_classes(args, model, batch, train, val):
    """Return the number of classes (int), or None if unknown."""
    images, targets = batch
    kind = task_of(args).target
    if kind == 'labels' and targets.dim() == 2:
        return targets.shape[1]
    count = None if model is None else _count_outputs(model, images)
    if count is not None and (count > 1 or kind == 'label'):
        return max(count, BINARY_CLASSES)
    names = getattr(_innermost_dataset(train), 'classes', None)  # attribute of torchvision's data sets
    if isinstance(names, list | tuple) and len(names) > 1:
        return len(names)
    labels = [_labels_of(loader) for loader in (train, val) if loader is not None]
    if kind != 'label' or any(each is None for each in labels):
        return None
    counted = torch.cat(labels)
    if args.ignore_index is not None:
        counted = counted[counted != args.ignore_index]
    return max(2, int(counted.max()) + 1) if len(counted) and int(counted.min()) >= 0 else None


def _innermost_dataset(loader):
    """Return the data set behind a loader and any Subset, or None."""
    dataset = getattr(loader, 'dataset', None)
    while isinstance(getattr(dataset, 'dataset', None), Dataset):
        dataset = dataset.dataset
    return dataset


def _labels_of(loader):
    """Return the labels (int64 (N,)) of a TensorDataset or a list of batches, or None for other loaders."""
    dataset = _innermost_dataset(loader)
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) == 2:
        labels = dataset.tensors[1]
    elif isinstance(loader, list) and all(isinstance(batch, list | tuple) and len(batch) == 2 for batch in loader):
        labels = torch.cat([torch.as_tensor(targets).flatten() for _, targets in loader]) if loader else torch.empty(0)
    else:
        return None
    return None if labels.is_floating_point() else labels.flatten().long()


def _count_outputs(model, images):
    """Return the number of outputs of a network per sample or pixel (int), or None if unknown.

    Calls the network once, in evaluation mode, on two samples; restores random generators and modes.
    """
    parameter = next(iter(model.parameters()), torch.empty(0))
    modes = {module: module.training for module in model.modules()}
    state = get_rng_state()
    images = images[:PROBED_SAMPLES].to(parameter.device)
    images = images.float() / 255 if images.dtype == torch.uint8 else match_net_dtype(images, model)
    try:
        with torch.inference_mode():
            outputs = model.eval()(images)
    except Exception:  # of a user's network: training will show the error
        return None
    finally:
        set_rng_state(state)
        for module, mode in modes.items():
            module.training = mode
    if not torch.is_tensor(outputs) or outputs.dim() not in (1, 2, 4):
        return None
    return outputs.shape[1] if outputs.dim() > 1 else 1


def ready_test_loader(loader, args, net):
    """Return a ready-made loader or data set as a test reads it; options that are not given are found in it.

    Raises:
        DanluError: it shuffles, or it does not tell what has to be known.
    """
    if isinstance(getattr(loader, 'sampler', None), RANDOM_SAMPLERS):
        raise DanluError(
            'the loader shuffles, and the rows of a test are in the order of the data set: give shuffle=False; a part '
            'of a data set is Subset(data, indices)'
        )
    if not isinstance(getattr(loader, 'dataset', None), Batches):  # else it is what the options name
        args.ready_loader = given_parts.described(loader)['class']
    loader = as_loader(loader, args, training=False)
    fault = complete_from_batches(args, net, loader, None)
    check_complete(args, [task_of(args).outputs], 'the loader does not tell everything: give to test_args', fault)
    return loader
