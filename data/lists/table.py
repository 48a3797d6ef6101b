"""Reading features and targets from .csv and .npz files."""

import csv
import struct
import zipfile
import zlib
from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.lists.list_file import ErrorCollector
from data.lists.list_format import encoding_of
from data.lists.targets import MAX_FLOAT32, number_or_fault
from utils.base.errors import DanluError
from utils.base.regular_files import open_regular, regular
from utils.options.given_parts import ready_data

SEPARATORS = (';', '\t', ',')  # the first one in the first line of a .csv file is used
FEATURE_ARRAYS, TARGET_ARRAYS = ('features', 'x'), ('targets', 'y')  # names of the arrays in an .npz file
# Raised by numpy and zipfile for Python objects, damaged files, and headers of huge arrays.
NPZ_DAMAGE = (
    *(ValueError, EOFError, LookupError, TypeError, SyntaxError, RuntimeError, MemoryError, OverflowError),
    *(struct.error, zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True)
class Table:
    """Content of a file; its targets are parsed like those of a data.lists.list_file.Listing.

    Args:
        source: the file, for messages.
        features: float64 (N, F), or images, uint8 (N, C, H, W).
        targets: numbers, float64 (N, T); or labels and class names, list of N str.
        header: names of the features (list of str), or None.
        lines: line number of each sample in a .csv file (sequence of int); None: samples are numbered from 0.
        target_names: names of the target columns (list of str), or None.
        indexed: whether the first column, which counts the rows, was skipped.
    """

    source: str
    features: np.ndarray
    targets: np.ndarray | list
    header: list | None = None
    lines: array | None = None
    target_names: list | None = None
    indexed: bool = False

    def __len__(self):
        return len(self.features)

    @property
    def pictures(self):
        """Whether the features are images."""
        return self.features.ndim == 4

    def where(self, index):
        """Return the location of a sample (str)."""
        return f'{self.source}: sample {index}' if self.lines is None else f'{self.source}:{self.lines[index]}'


def read_table(path, columns=None, labels=False):
    """Return the Table of a .csv or .npz file.

    A .csv file contains numbers separated by commas, semicolons or tabs. Its first row is a header if none of its
    features is a number. An .npz file has the arrays features or x: numbers (N, F), or uint8 images (N, H, W), (N, C,
    H, W) or (N, H, W, C); and targets or y.

    Args:
        path: the file.
        columns: target columns: names or numbers from 1 in a .csv file, names of arrays in an .npz file; None: the last
            column, the array targets or y.
        labels: targets are labels or class names, one per sample; otherwise numbers.

    Raises:
        DanluError: the file cannot be read or has invalid lines or samples (the first 20 are named).
    """
    path, faults = Path(path), ErrorCollector(path)
    ending = path.suffix.lower()
    if ending not in ('.csv', '.tsv', '.npz'):
        raise DanluError(
            f'{path}: data_type array takes .csv, .tsv and .npz files, not {ending or "one without ending"}'
        )
    if labels and len(columns or []) > 1:
        raise DanluError(f'--target_columns {" ".join(columns)}: a sample has one label, so give one column')
    try:
        table = (_read_npz if ending == '.npz' else _read_csv)(path, columns, labels, faults)
    except UnicodeDecodeError as error:
        raise DanluError(f'{path} is not UTF-8 text ({error.reason}): save it as UTF-8') from None
    except csv.Error as error:
        raise DanluError(f'{path} is not a table of numbers: {error}') from None
    except OSError as error:
        raise DanluError(f'{path} cannot be read: {error.strerror or error}') from None
    faults.stop_if_any()
    if not len(table):
        raise DanluError(f'{path} holds no sample')
    return table


def read_features(path):
    """Return the features, float64 (N, F), or images, uint8 (N, C, H, W), of an .npz file, which may have no targets.

    Raises:
        DanluError: the file cannot be read, or has values that are not finite (the first 20 are named).
    """
    faults = ErrorCollector(path)
    try:
        with np.load(regular(path), allow_pickle=False) as file:
            features = _features(path, _first_array(file, FEATURE_ARRAYS, path), faults)
    except NPZ_DAMAGE as error:
        raise DanluError(f'{path} cannot be read: {error or type(error).__name__}') from None
    faults.stop_if_any()
    return features


def feature_rows(path, count, columns=None):
    """Yield (line number, features, fault) of each row of a .csv file, which may have no targets.

    Args:
        path: the file; its first row is a header if no cell is a number.
        count: number of features (int).
        columns: names of the target columns, which are skipped; None: with one column more than `count`, the last one.

    Yields:
        int, list of float, and None; or the reason (str) why the row is invalid, and then no features.

    Raises:
        DanluError: the number of columns does not fit.
    """
    with open_regular(path, 'r', newline='', encoding=encoding_of(path)) as file:
        first = chosen = None
        for line, cells in csv_rows(file):
            if first is None:
                header = not any(map(_is_number, cells))
                first, chosen = cells, _unlabelled_columns(path, cells, header, count, columns)
                if header:
                    continue
            yield line, *_numbers(cells, chosen, first, header)


def _unlabelled_columns(path, first, header, count, columns):
    """Return the positions of the features (list of int); arguments as for `feature_rows`."""
    targets = [first.index(name) for name in columns or [] if header and name in first]
    chosen = _features_of(first, targets)
    if columns is None and len(chosen) == count + 1:
        chosen = chosen[:-1]
    if len(chosen) != count:
        raise DanluError(f'{path}: {len(chosen)} columns of features instead of {count}, as in the training data')
    return chosen


def feature_names(path, columns=None):
    """Return the names of the features (list of str) of a file, as `read_table`, or None if it has none."""
    if Path(path).suffix.lower() == '.npz':
        return None
    first = _first_row(path)
    chosen, header = _columns(path, first, columns)
    return [first[column] for column in _features_of(first, chosen)] if header else None


def _first_row(path):
    with open_regular(path, 'r', newline='', encoding=encoding_of(path)) as file:
        return next(csv_rows(file), (0, []))[1]


def csv_rows(file):
    """Yield (line number, cells) of an open .csv file, without empty rows."""
    first = file.readline()
    file.seek(0)
    reader = csv.reader(file, delimiter=next((sign for sign in SEPARATORS if sign in first), ','))
    for row in reader:
        cells = [cell.strip() for cell in row]
        if any(cells):
            yield reader.line_num, cells


def _read_csv(path, columns, labels, faults):
    first = _first_row(path)
    chosen, header = _columns(path, first, columns)
    others = _features_of(first, chosen)
    if not others:
        raise DanluError(f'{path} has no column besides the targets: features are needed')
    features, targets, lines = array('d'), [] if labels else array('d'), array('q')
    with open_regular(path, 'r', newline='', encoding=encoding_of(path)) as file:
        rows = csv_rows(file)
        if header:
            next(rows)
        for line, cells in rows:
            found, fault = _numbers(cells, others if labels else [*others, *chosen], first, header)
            if fault is None and labels and not cells[chosen[0]]:
                fault = 'the label is empty'
            if fault is not None:
                faults.add(f'{path}:{line}', fault)
                continue
            features.extend(found[: len(others)])
            targets.extend([cells[chosen[0]]] if labels else found[len(others) :])
            lines.append(line)
    if not labels:
        targets = np.array(targets).reshape(len(lines), len(chosen))
    names = [first[column] for column in others] if header else None
    of_targets = [first[column] for column in chosen] if header else None
    features = np.array(features).reshape(len(lines), len(others))
    return Table(str(path), features, targets, names, lines, of_targets, has_index(first))


def _columns(path, first, columns):
    """Return the positions of the target columns (list of int), and whether the first row is a header (bool)."""
    chosen = [len(first) - 1]
    if columns:
        chosen = [first.index(name) if name in first else _position(path, first, name) for name in columns]
    header = any(name in first for name in columns or [])
    features = [first[column] for column in _features_of(first, chosen)]
    return chosen, header or all(cell and not _is_number(cell) for cell in features)


def has_index(first):
    """Return whether the first column of a .csv with this first row (list of str) counts the rows, as in pandas."""
    return len(first) > 2 and first[0].lower() in ('', 'unnamed: 0') and not any(map(_is_number, first[1:]))


def _features_of(first, chosen):
    """Return the positions of the feature columns (list of int)."""
    return [column for column in range(int(has_index(first)), len(first)) if column not in chosen]


def _position(path, first, name):
    if name.isdecimal() and 1 <= int(name) <= len(first):
        return int(name) - 1
    shown = ', '.join(first[:20]) + ' ...' * (len(first) > 20)
    raise DanluError(f'--target_columns {name}: {path} has no such column; its {len(first)} are: {shown}')


def _is_number(text):
    return not isinstance(number_or_fault(text), str) or text.lower() in ('nan', 'inf', '-inf')


def _numbers(cells, columns, first, header):
    """Return the numbers in the given columns of a row (list of float), and an error (str) or None."""
    if len(cells) != len(first):
        return [], f'{len(cells)} columns instead of {len(first)}'
    numbers = [number_or_fault(cells[column]) for column in columns]
    for column, number in zip(columns, numbers, strict=True):
        if isinstance(number, str):
            name = f'column {first[column]!r}' if header else f'column {column + 1}'
            return [], f'{name}: {number}' if cells[column] else f'{name} is empty'
    return numbers, None


def _read_npz(path, columns, labels, faults):
    try:
        if not zipfile.is_zipfile(regular(path)):
            raise DanluError(f'{path} is not an .npz file: write it by numpy.savez(path, features=..., targets=...)')
        with np.load(regular(path), allow_pickle=False) as file:
            features = _first_array(file, FEATURE_ARRAYS, path)
            targets = [_named_array(file, name, path) for name in columns or []] or [
                _first_array(file, TARGET_ARRAYS, path)
            ]
    except NPZ_DAMAGE as error:
        raise DanluError(f'{path} cannot be read: {error or type(error).__name__}') from None
    counts = {len(part) if part.ndim else None for part in (features, *targets)}
    if len(counts) > 1 or None in counts:
        shapes = ', '.join(str(part.shape) for part in (features, *targets))
        raise DanluError(f'{path}: features and targets need the same number of rows; their shapes are {shapes}')
    features = _features(path, features, faults)
    return Table(str(path), features, _labels(path, targets[0]) if labels else _targets(path, targets, faults))


def _first_array(file, names, path):
    name = next((name for name in names if name in file.files), None)
    if name is None:
        raise DanluError(f'{path} has no array {" or ".join(names)}; its arrays are: {", ".join(file.files) or "none"}')
    return _checked_array(file, name, path)


def _named_array(file, name, path):
    if name not in file.files:
        raise DanluError(f'--target_columns {name}: {path} has no such array; its arrays are: {", ".join(file.files)}')
    return _checked_array(file, name, path)


def _checked_array(file, name, path):
    array = file[name]
    if not isinstance(array, np.ndarray):  # numpy returns bytes if the array header is missing
        raise DanluError(f'{path} cannot be read: {name} is not an array; write the file by numpy.savez(path, ...)')
    return array


def _features(path, features, faults):
    """Return features as float64 (N, F), or images as uint8 (N, C, H, W)."""
    if features.ndim <= 2:
        return _finite(path, _rows_of(features), 'features', faults)
    if features.dtype == np.uint8 and features.ndim == 3:
        return features[:, None]
    if features.dtype == np.uint8 and features.ndim == 4 and features.shape[1] in (1, 3):
        return features
    if features.dtype == np.uint8 and features.ndim == 4 and features.shape[3] in (1, 3):
        return np.ascontiguousarray(features.transpose(0, 3, 1, 2))
    raise DanluError(
        f'{path}: features of shape {features.shape} and {features.dtype} are neither numbers (N, F) nor images, '
        'uint8 (N, H, W), (N, C, H, W) or (N, H, W, C) with 1 or 3 channels'
    )


def _targets(path, targets, faults):
    """Return the numbers of one or several arrays as float64 (N, T)."""
    wrong = next((part.shape for part in targets if part.ndim > 2), None)
    if wrong is not None:
        raise DanluError(f'{path}: targets of shape {wrong}; numbers are (N,) or (N, T)')
    return np.concatenate([_finite(path, _rows_of(part), 'targets', faults) for part in targets], axis=1)


def _rows_of(values):
    return values[:, None] if values.ndim == 1 else values


def _finite(path, values, what, faults):
    """Return values (N, ...) as float64, adding rows with non-finite values to `faults`."""
    if values.dtype.kind not in 'buif':
        raise DanluError(f'{path}: {what} of {values.dtype} are not numbers')
    values = values.astype(np.float64)
    for index in np.flatnonzero(~(np.abs(values) <= MAX_FLOAT32).all(1)).tolist():
        column = int(np.flatnonzero(~(np.abs(values[index]) <= MAX_FLOAT32))[0])
        faults.add(f'{path}: sample {index}', f'{what}: {values[index, column]} (column {column + 1}) is not finite')
    return values


def _labels(path, targets):
    """Return labels or class names as a list of str."""
    if targets.size != len(targets) or targets.dtype.kind not in 'biuUS':
        raise DanluError(
            f'{path}: targets of shape {targets.shape} and {targets.dtype} are not labels: integers or names (N,); '
            'numbers are for --task regression'
        )
    kind = np.int64 if targets.dtype.kind in 'biu' else str
    return [str(label) for label in targets.ravel().astype(kind).tolist()]


def feature_names_of(args):
    """Return the names of the features of the test set (list of str), or None if it is not a table with a header."""
    is_table = args.data_type == 'array' and args.val_list and not ready_data(args)
    return feature_names(args.val_list, args.target_columns) if is_table and not args.image_size else None
