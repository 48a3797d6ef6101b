"""Fingerprint of the data of a run: recorded in checkpoints and compared with the data of later tests."""

import os
from argparse import Namespace
from pathlib import Path

from data.array import ArrayData
from data.checks.leakage import Shards, shared_samples
from data.data_entry import DATASETS, Batches
from data.list_dataset import ListDataset
from data.lists.list_file import ErrorCollector
from data.lists.shards import find_shards
from data.ready_made import SeededSamples
from data.stream import Stream
from utils.base.batches import count_loader_samples
from utils.base.errors import DanluError
from utils.base.registry import load_entry
from utils.base.text_table import count_text
from utils.options.validation_options import is_split_list
from utils.tasks.tasks import task_of

# Limits of the search for test samples in the training data, if training did not search for them.
MAX_TRAINING_LINES = 100_000  # whose files are looked up, which is slow on a file server
MAX_TABLE_BYTES = 2**26  # size of a table
PART_CHANGES = {  # wording for the keys of content_parts
    'names': 'other names or another order',
    'sizes': 'files of other sizes',
    'pictures': 'other images',
    'features': 'other features',
    'targets': 'other targets',
}
SAMPLE_PARTS = ('names', 'pictures', 'features')  # parts that no two data sets share by chance


def name_of(args, split):
    """Return the name of a split's data (str): its list file, directory or shards, otherwise the data type."""
    return getattr(args, f'{split}_list', None) or args.data_type


def dataset_of(loader):
    """Return the data set behind a loader, without Danlu's own wrapper Batches."""
    dataset = getattr(loader, 'dataset', None)
    return dataset.dataset if isinstance(dataset, Batches | SeededSamples) else dataset


def data_fingerprint(loader, name):
    """Return the fingerprint of a loader's data, as plain values.

    Args:
        loader: from data.data_entry or ready-made, or None if there is no such data.
        name: of the data (str), from `name_of`.

    Returns:
        dict: list (str, the name; None for a ready-made loader), sha256 (str, `content_hash` of the data set, or None),
        samples (int, or None if unknown), parts (dict of str, hashes of parts of the data, which show what changed).
    """
    dataset = dataset_of(loader)
    return {
        'list': name if isinstance(getattr(loader, 'dataset', None), Batches) else None,
        'sha256': dataset.content_hash() if hasattr(dataset, 'content_hash') else None,
        'samples': 0 if loader is None else count_loader_samples(loader),
        'parts': dataset.content_parts() if hasattr(dataset, 'content_parts') else {},
    }


def data_record(args, train_loader, val_loader):
    """Return the fingerprints of a run's data for its checkpoints, as plain values.

    Returns:
        dict: train and val, each a `data_fingerprint`; val also has shared, notes (list of str) on samples in both.
    """
    train, val = (
        data_fingerprint(loader, name_of(args, split))
        for loader, split in ((train_loader, 'train'), (val_loader, 'val'))
    )
    shared = shared_samples(dataset_of(val_loader), dataset_of(train_loader), _names(args))
    return {'train': train, 'val': val | {'shared': shared}}


def changed_test_set(recorded, trained, args, found):
    """Return a note (list of str, one or none) if a test set differs from when the run was validated on it.

    A list that was moved is compared if its samples have the recorded names, a table if its features are the recorded
    ones. A test on other samples is not reported.

    Args:
        recorded: `data_record` of the run, or None if recorded by an older version without it.
        trained: options of the run (dict).
        args: options of the test.
        found: `data_fingerprint` of the test set.
    """
    then = (recorded or {}).get('val') or {}
    known = then.get('sha256') and found['sha256'] and found['list'] is not None and then.get('list') is not None
    if not (known and has_same_targets(trained, args)) or then['sha256'] == found['sha256']:
        return []
    parts = parts_of(then, found)
    is_moved = then['list'] != found['list']
    if is_moved and not any(part in parts and parts[part] == found['parts'][part] for part in SAMPLE_PARTS):
        return []
    what = [words for part, words in PART_CHANGES.items() if parts.get(part) != found['parts'].get(part)]
    if then['samples'] != found['samples']:
        what = [f'{_sample_count(then["samples"])} then, {_sample_count(found["samples"])} now']
    where = f'{found["list"]} (then {then["list"]})' if is_moved else found['list']
    return [
        f'changed since the run: the test set {where}: {", ".join(what) or "other content"} (sha256 '
        f"{then['sha256'][:12]} then, {found['sha256'][:12]} now); its numbers are not to be compared with the run's"
    ]


def has_same_targets(trained, args):
    """Return whether a test reads targets as the run did (bool).

    Args:
        trained: options of the run (dict).
        args: options of the test.
    """
    return all(trained.get(name) == getattr(args, name) for name in ('task', 'target_columns'))


def parts_of(then, found):
    """Return the hashes of parts (dict) in a recorded fingerprint under the keys of `found`, today's fingerprint."""
    parts = then.get('parts') or {}
    if 'features' in found['parts'] and 'pictures' in parts:  # an older version called them so
        return {'features': parts['pictures'], 'targets': parts.get('targets')}
    return parts


def shared_with_training(recorded, trained, args, loader, found):
    """Return notes (list of str) on test samples that the run was trained on, as far as can be determined.

    For the run's own validation data, the notes come from the checkpoint. Other data is compared with the run's
    train_list, if it still exists.

    Args:
        recorded, trained, args, found: as for `changed_test_set`.
        loader: of the test.
    """
    then = (recorded or {}).get('val') or {}
    if 'shared' in then and found['sha256'] and then['sha256'] == found['sha256']:
        return then['shared']
    path = trained_list(trained)
    if path is None or found['list'] is None:
        return []
    try:
        # records of older versions may lack options
        data = _training_data(Namespace(**{**vars(args), **trained, 'train_list': path}))
        return shared_samples(dataset_of(loader), data, (found['list'], path), MAX_TRAINING_LINES)
    except DanluError as error:
        reason = str(error).splitlines()[0]
        return [f'not known whether the run was trained on samples of this test: {reason}']


def trained_list(trained):
    """Return the list (str or None) that a run was trained on; with --val_split its training part.

    Args:
        trained: options of the run (dict).
    """
    val_list = trained.get('val_list')
    if is_split_list(val_list) and os.path.exists(part := str(Path(val_list).with_stem('train'))):
        return part
    return trained.get('train_list')


def _training_data(args):
    """Return the training data of a run, as far as the comparison needs it, or None if that is unknown."""
    path, kind = args.train_list, load_entry(DATASETS, args.data_type, 'kind of data')
    if issubclass(kind, ListDataset):
        return kind.read(path, args.data_root, ErrorCollector(path), task_of(args).target == 'numbers')
    if issubclass(kind, Stream):
        return Shards(path, find_shards(path, args.data_root))
    if not issubclass(kind, ArrayData):
        return None  # may be expensive to build
    if os.path.isfile(path) and os.path.getsize(path) > MAX_TABLE_BYTES:
        raise DanluError(f'{path} is too large to be compared')
    return kind(args, 'train')


def _names(args):
    names = [name_of(args, split) for split in ('val', 'train')]
    return [f'the test part of {names[0]}', 'its training part'] if names[0] == names[1] else names


def _sample_count(samples):
    return 'an unknown number of samples' if samples is None else count_text(samples, 'sample')
