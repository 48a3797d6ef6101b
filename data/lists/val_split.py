"""--val_split: splits validation data from the training data and writes two lists into the run's directory.

    checkpoints/<run>/val_split/train.txt, val.txt      for folder, list, mem_list and pairs: absolute paths and targets
                                train.csv, val.csv      for array, or .npz: the rows

The lists are written once, at the start of a run; resuming the run and testing its checkpoints read them. The split is
a function of the seed and the listed training data. For classification it is stratified, and each class keeps at least
one training sample. Lines with the same image stay in the same part. Samples skipped by --skip_bad stay in the training
part.
"""

import copy
import csv
import os
import re
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from data.build_dataset import build_dataset
from data.checks.duplicates import hashes_of_paths
from data.data_entry import DATASETS, complete_args
from data.lists.bad_samples import SkippedSamples
from data.lists.list_file import ErrorCollector
from data.lists.list_format import encoding_of
from data.lists.string_array import StringArray
from data.lists.table import SEPARATORS, csv_rows, read_table
from utils.base.atomic_write import atomic_writer
from utils.base.errors import DanluError
from utils.base.file_names import to_nfc
from utils.base.registry import load_entry
from utils.base.regular_files import open_regular, regular
from utils.base.text_table import count_text
from utils.distributed import processes
from utils.options.validation_options import SPLIT_DIRECTORY
from utils.tasks.tasks import task_of

SPLIT_KEY = 0x73706C6974  # makes the split independent of the order of an epoch
SPLIT_PARTS = ('train', 'val')


@contextmanager
def split_lists(args):
    """In the `with` block, args.train_list is the training part; args.val_list becomes the validation part for good.

    Does nothing without args.val_split. The lists are written to args.model_dir if it has none. Yields notes (list of
    str) for the log.

    Raises:
        DanluError: the training data is invalid, or too small to be split.
    """
    if args.val_split is None:
        yield []
        return
    whole = args.train_list
    notes = processes.broadcast_from_rank0(lambda: [] if find_split_lists(args.model_dir) else write_lists(args))
    args.train_list, args.val_list = map(str, find_split_lists(args.model_dir))
    args.from_data = sorted({*getattr(args, 'from_data', []), 'val_list'})
    folder = str(Path(args.model_dir, SPLIT_DIRECTORY))
    try:
        yield [*notes, f'{_option_text(args)}: the lists of {whole} are in {folder}']
    except DanluError as error:
        if folder in str(error):  # the run's directory is removed, with its lists
            raise DanluError(f'{whole}, split by --val_split: {without_lists(str(error), folder)}') from error
        raise
    finally:
        args.train_list = whole


def without_lists(message, folder):
    """Return a message (str) without the lists in `folder` (str), which the reader will not find.

    Args:
        folder: directory with the two lists, in the run's directory.
    """
    message = re.sub(rf'{re.escape(folder)}{re.escape(os.sep)}\w+\.txt:\d+: (?=(/|\w:))', '', message)  # before paths
    return re.sub(rf'^{re.escape(folder)}{re.escape(os.sep)}(\w+)\.\w+ has', r'the \1 part has', message)


def find_split_lists(run):
    """Return the two lists (Path of the training part, Path of the validation part) in a run's directory, or None."""
    for ending in ('.txt', '.csv', '.npz'):
        paths = [Path(run, SPLIT_DIRECTORY, part + ending) for part in SPLIT_PARTS]
        if all(path.is_file() for path in paths):
            return paths
    return None


def write_lists(args):
    """Split args.train_list, write both parts to args.model_dir, and return notes (list of str) for the log."""
    folder = Path(args.model_dir, SPLIT_DIRECTORY)
    folder.mkdir(exist_ok=True)
    if args.data_type == 'array':
        table = read_table(args.train_list, args.target_columns, task_of(args).has_classes)
        groups = _class_codes(args, table.targets) if task_of(args).target == 'label' else None
        chosen = draw_validation(groups, len(table), args)
        _write_tables(args.train_list, folder, chosen, len(table))
        return []
    kind = load_entry(DATASETS, args.data_type, 'kind of data')
    faults = SkippedSamples(args.train_list) if args.skip_bad else ErrorCollector(args.train_list)
    listing = kind.read(args.train_list, args.data_root, faults, task_of(args).target == 'numbers')
    if args.skip_bad:
        listing.notes += [f'skip_bad: in neither part of --val_split: {line}' for line in faults.lines()]
    else:
        faults.stop_if_any()
    groups = _class_codes(args, listing.targets) if task_of(args).target == 'label' else None
    chosen = _draw_images(listing, groups, _bad_samples(args, kind), args)
    for part, indices in zip(SPLIT_PARTS, train_and_val(chosen, len(listing)), strict=True):
        head = f'# {len(indices)} of {len(listing)} samples of {args.train_list}, by {_option_text(args)}'
        with atomic_writer(folder / f'{part}.txt') as file:
            file.write('\n'.join([head, *_lines(listing, indices, task_of(args).target)]) + '\n')
    return listing.notes


def _bad_samples(args, kind):
    """Return the samples of the training data that --skip_bad skips (int64 array), which stay in the training part.

    Args:
        args: options; a copy of them is completed from all of the data.
        kind: class of the data set.
    """
    if not args.skip_bad:
        return np.empty(0, np.int64)
    args = copy.copy(args)
    complete_args(args)
    return np.array(sorted(build_dataset(kind, args, 'train').skipped.indices), np.int64)


def _draw_images(listing, groups, bad, args):
    """Return the validation samples (int64 array, sorted); samples with the same image stay together.

    Args:
        listing: data.lists.list_file.Listing of the training data.
        groups, args: as for `draw_validation`.
        bad: samples (int64 array) that must stay in the training part.
    """
    good = np.setdiff1d(np.arange(len(listing)), bad)
    names = hashes_of_paths(listing.images)[good] if len(listing) else good
    _, first, units = np.unique(names, return_index=True, return_inverse=True)
    if len(first) == len(good):  # each image is named once
        return good[draw_validation(None if groups is None else groups[good], len(good), args)]
    order = np.argsort(first)  # in the order of the list
    firsts = good[first[order]]
    drawn = draw_validation(None if groups is None else groups[firsts], len(firsts), args)
    return good[np.isin(units, order[drawn])]


def _option_text(args):
    return f'--val_split {args.val_split:g} --seed {args.seed}'


def draw_validation(groups, count, args):
    """Return the validation samples (int64 array, sorted).

    Args:
        groups: class of each sample (int64 array (N,)), or None: not stratified.
        count: N.
        args: options; uses val_split, seed and train_list.

    Raises:
        DanluError: no sample can be taken from the training data.
    """
    groups = np.zeros(count, np.int64) if groups is None else groups
    sizes = np.bincount(groups)
    room = np.maximum(sizes - 1, 0)  # each class keeps a training sample
    wanted = min(max(1, round(args.val_split * count)), int(room.sum()))
    if not wanted:
        raise DanluError(
            f'--val_split {args.val_split:g}: {args.train_list} has {count_text(count, "sample")}, too few to '
            'split: each class keeps one for training'
        )
    exact = args.val_split * sizes
    parts = np.minimum(np.floor(exact).astype(np.int64), room)
    for group in np.lexsort((np.arange(len(sizes)), parts - exact)):  # largest remainders first
        if parts.sum() >= wanted:
            break
        parts[group] += parts[group] < room[group]
    while parts.sum() < wanted:  # single-sample classes contribute nothing
        parts[int(np.argmax(room - parts))] += 1
    random = np.random.default_rng([args.seed, SPLIT_KEY])
    order = random.permutation(count)
    order = order[np.argsort(groups[order], kind='stable')]
    starts = np.cumsum(sizes) - sizes
    return np.sort(np.concatenate([order[s : s + n] for s, n in zip(starts, parts, strict=True)]))


def train_and_val(chosen, count):
    """Return the training and validation samples (two int64 arrays) of `count` samples."""
    return np.setdiff1d(np.arange(count), chosen), chosen


def _class_codes(args, targets):
    """Return the class of each sample (int64 array (N,)) by the text of its label, after Unicode normalisation."""
    strings = targets if isinstance(targets, StringArray) else StringArray(targets)
    texts, codes = strings.distinct()
    names = sorted({to_nfc(text) for text in texts})
    places = {name: place for place, name in enumerate(names)}
    return np.array([places[to_nfc(text)] for text in texts], np.int64)[codes.numpy()]


def _lines(listing, indices, target):
    """Return the lines (list of str) of a list file: absolute paths, a tab, and the target."""
    lines, names = [], listing.target_names if target == 'numbers' else None
    if names:
        lines.append('\t'.join(['image', *names]))
    for index in indices.tolist():
        files = target in ('mask', 'picture')
        text = os.path.abspath(listing.target_path(index)) if files else listing.targets[index]
        cells = [os.path.abspath(listing.image_path(index)), *(text.split() if target == 'numbers' else [text])]
        for cell in cells:
            if '\t' in cell or '\n' in cell or '\r' in cell or cell != cell.strip().strip('"'):
                raise DanluError(
                    f'--val_split: {listing.where(index)}: {cell!r} cannot be written to a list, as it has a tab, a '
                    'line break, or a space or quote at an end; rename it'
                )
        lines.append('\t'.join(cells))
    return lines


def _write_tables(path, folder, chosen, count):
    """Write the rows of a .csv or .npz file to train and val files of the same type."""
    if Path(path).suffix.lower() == '.npz':
        with np.load(regular(path), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        for part, indices in zip(SPLIT_PARTS, train_and_val(chosen, count), strict=True):
            own = {
                name: values[indices] if values.ndim and len(values) == count else values
                for name, values in arrays.items()
            }
            with atomic_writer(folder / f'{part}.npz', binary=True) as file:
                np.savez(file, **own)
        return
    with open_regular(path, 'r', newline='', encoding=encoding_of(path)) as file:
        first = file.readline()
        separator = next((sign for sign in SEPARATORS if sign in first), ',')
        file.seek(0)
        rows = [cells for _, cells in csv_rows(file)]
    head, rows = rows[: len(rows) - count], rows[len(rows) - count :]
    for part, indices in zip(SPLIT_PARTS, train_and_val(chosen, count), strict=True):
        with atomic_writer(folder / f'{part}.csv') as file:
            writer = csv.writer(file, delimiter=separator, lineterminator='\n')
            writer.writerows([*head, *(rows[index] for index in indices.tolist())])
