"""Tables from a .csv or .npz file, held in memory: feature vectors or images, with numbers or labels as targets."""

import numpy as np
import torch

from data.lists.labels import count_classes, label_names, parse_labels
from data.lists.list_file import ErrorCollector
from data.lists.table import feature_names, read_table
from data.tensor_dataset import InMemory, with_channels, with_size
from utils.base.errors import DanluError
from utils.base.text_table import count_text
from utils.tasks.tasks import task_of


class ArrayData(InMemory):
    """Data set of .csv or .npz files, named by train_list and val_list; formats: data.lists.table.read_table.

    Features are float32 vectors (F,), standardised by the mean and standard deviation of the training file (1 for
    constant features), which are recorded as args.mean and args.std. Regression targets are not scaled.

    Args:
        args: options; uses task, target_columns, channels (F), image_size ([] for features), mean, std, num_classes,
            class_names and num_targets.
        split: 'train' (train_list) or 'val' (val_list).

    Raises:
        DanluError: invalid lines (the first 20 with file and line), or columns that differ from the training data.
    """

    @classmethod
    def describe(cls, args):
        """Return the options that the data determines (dict): number of outputs; for features also number and scale."""
        task, train_list = task_of(args), getattr(args, 'train_list', None)
        if all(getattr(args, name) is not None for name in ('channels', 'image_size', 'mean', 'std', task.outputs)):
            return {}
        table = read_table(train_list or args.val_list, args.target_columns, task.has_classes)
        facts = {'channels': table.features.shape[1], 'image_size': list(table.features.shape[2:])}
        if not task.has_classes:
            facts['num_targets'] = table.targets.shape[1]
            facts['target_names'] = table.target_names if train_list else None  # a test keeps the names of the model
        elif args.class_names is None and (train_list or args.num_classes is None):
            facts['class_names'] = label_names(table, args.ignore_index)
            facts['num_classes'] = count_classes(table, facts['class_names'], args.num_classes, args.ignore_index)
        if table.pictures:
            return facts
        if train_list is None and (args.mean is None or args.std is None):
            raise DanluError(
                '--mean and --std: required, as the checkpoint does not contain those of the training features'
            )
        constant = table.features.max(0) == table.features.min(0)  # their standard deviation may be a rounding error
        deviations = np.where(constant, 1.0, table.features.std(0))
        return facts | {'mean': table.features.mean(0).tolist(), 'std': deviations.tolist()}

    def __init__(self, args, split):
        path, task = args.train_list if split == 'train' else args.val_list, task_of(args)
        table = read_table(path, args.target_columns, task.has_classes)
        _refuse_other_columns(args, table, split)
        if task.has_classes:
            faults = ErrorCollector(path)
            targets = parse_labels(table, args.num_classes, args.class_names, faults, args.ignore_index)
            faults.stop_if_any()
        else:
            targets = torch.from_numpy(table.targets.astype(np.float32))
        self.lines = table.lines
        super().__init__(_inputs(args, table), targets, source=_raw_tensors(table))
        self.notes = [f'{path}: the first column counts the rows and is left out'] * table.indexed

    def place(self, index):
        """Return the location of a sample in its file (str): 'line 18', or 'sample 17' of an .npz file."""
        return f'sample {index}' if self.lines is None else f'line {self.lines[index]}'

    def content_parts(self):
        """As InMemory, but vectors of features are not called pictures."""
        parts = super().content_parts()
        return parts if self.images.dim() > 2 else {'features': parts['pictures'], 'targets': parts['targets']}

    def hash_samples(self, images, targets):
        """As InMemory, for the features in the file, and the targets as they are used."""
        return super().hash_samples(images, self.targets)


def _inputs(args, table):
    """Return images, uint8 (N, C, H, W), or standardised features, float32 (N, F)."""
    if table.pictures:
        return with_size(with_channels(torch.from_numpy(table.features), args.channels), args.image_size)
    features = (table.features - np.array(args.mean)) / np.array(args.std)
    return torch.from_numpy(features.astype(np.float32))


def _raw_tensors(table):
    """Return the features and targets of a file as tensors for hashing, independent of how the file writes them."""
    if isinstance(table.targets, list):
        labels = torch.frombuffer(
            bytearray('\0'.join(table.targets).encode('utf-8', 'surrogatepass')), dtype=torch.uint8
        )
    else:
        labels = torch.from_numpy(table.targets)
    return torch.from_numpy(table.features), labels


def _refuse_other_columns(args, table, split):
    """Raise DanluError if the features or targets of a file differ from those of the training data."""
    if table.pictures != bool(args.image_size):
        kinds = ('features', 'images')
        raise DanluError(f'{table.source} holds {kinds[table.pictures]}, the training data {kinds[not table.pictures]}')
    found = table.features.shape[1]
    if not table.pictures and found != args.channels:
        raise DanluError(
            f'{table.source} has {count_text(found, "feature")}, the training data {args.channels} (--channels)'
        )
    if args.num_targets is not None and table.targets.shape[1] != args.num_targets:
        raise DanluError(
            f'{table.source} has {table.targets.shape[1]} targets per sample instead of {args.num_targets} '
            '(--num_targets); --target_columns selects them'
        )
    if split == 'val' and table.header and args.train_list and hasattr(args, 'model_dir'):  # training, not a test
        trained = feature_names(args.train_list, args.target_columns)
        if trained and trained != table.header:
            raise DanluError(
                f'{table.source} has the columns {", ".join(table.header[:20])}; {args.train_list} has '
                f'{", ".join(trained[:20])}: give both the same ones in the same order'
            )
