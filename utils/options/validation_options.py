"""Where validation data comes from: --val_list PATH, --val_list none, or --val_split X. Imports no torch."""

from pathlib import Path

from utils.options.arguments import NO_LIST
from utils.options.predict_options import predicts

SPLIT_DIRECTORY = 'val_split'  # in a run directory; holds the lists that --val_split writes
SPLIT_DATA = ('folder', 'list', 'mem_list', 'pairs', 'array')  # kinds of data that --val_split can split


def has_validation(args):
    """Return whether there is validation data (bool), by options (Namespace)."""
    return args.val_list != NO_LIST


def is_split_list(path):
    """Return whether a path (str or None) is that of a list written by --val_split (bool)."""
    return path is not None and Path(path).parent.name == SPLIT_DIRECTORY


def needs_list(args, name):
    """Return whether --train_list or --val_list (`name`) is required for data in the user's files (bool)."""
    if name != 'val_list':
        return True
    return has_validation(args) and getattr(args, 'val_split', None) is None and not predicts(args)


def alternatives_to(name, parser):
    """Return the alternatives to a list (str, for a message), or ''."""
    if name != 'val_list' or parser.prog != 'train.py':
        return ''
    return ', or --val_split 0.2 to validate on a part of the training data, or --val_list none for no validation'


def resolve_val_split(args):
    """Unset --val_list or --val_split of a record if the other is typed; changes args and says so in args.past."""
    typed = getattr(args, 'typed', ())
    if getattr(args, 'val_split', None) is None or args.val_list is None:
        return
    if ('val_list' in typed) == ('val_split' in typed):
        return
    kept, other = ('val_list', 'val_split') if 'val_list' in typed else ('val_split', 'val_list')
    args.past.append(f'--{other} {getattr(args, other)} of the record is ignored, as --{kept} is given')
    setattr(args, other, None)


def fault_of_val_split(args, own_data):
    """Return why --val_split does not go with the other options (str), or None.

    Args:
        args: options.
        own_data: kinds of data that have their own validation data.
    """
    kind = args.data_type
    if args.val_list is not None:
        return '--val_list already names the validation data; leave one of the two out'
    if kind in SPLIT_DATA:
        return None
    if kind in own_data:
        return f'{kind} has its own validation data; leave it out'
    if kind == 'stream':
        return 'a stream is not read before training; keep shards for validation and give them as --val_list'
    return f'only for --data_type {", ".join(SPLIT_DATA)}, not {kind}; leave it out'


def test_list(args, trained, typed):
    """Return the --val_list (str or None) of a test; a split list of the run is also looked for beside the checkpoint.

    Args:
        args: options of the test; val_list and load_model_path count.
        trained: options of the run (dict).
        typed: whether the command line names --val_list (bool).

    Raises:
        ValueError: there is no test data, with the reason.
    """
    path = args.val_list
    if path == NO_LIST:
        if typed:
            raise ValueError('a test needs data: give a list file, a directory or a table')
        if trained.get('train_list') is not None:
            raise ValueError('needed: the run had no validation data (--val_list none)')
        return None  # the data set's own test split
    if is_split_list(path) and not typed and not Path(path).exists():
        moved = Path(args.load_model_path).absolute().parent / SPLIT_DIRECTORY / Path(path).name
        return str(moved) if moved.exists() else path
    return path
