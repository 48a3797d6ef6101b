"""Where validation data comes from: --val_list PATH, --val_list none, or --val_split X. Imports no torch."""

from pathlib import Path

from utils.options.arguments import NO_LIST

SPLIT_DIRECTORY = 'val_split'  # in a run's directory, with the lists that --val_split writes
SPLIT_DATA = ('folder', 'list', 'mem_list', 'pairs', 'array')  # whose samples are listed before training


def has_validation(args):
    """Return whether the options (Namespace) name validation data (bool): --val_list none says that there is none."""
    return args.val_list != NO_LIST


def is_split_list(path):
    """Return whether a path (str or None) is of a list that --val_split wrote into a run's directory (bool)."""
    return path is not None and Path(path).parent.name == SPLIT_DIRECTORY


def needs_list(args, name):
    """Return whether --train_list or --val_list (`name`) has to be given for data that the user names (bool)."""
    return name != 'val_list' or (has_validation(args) and getattr(args, 'val_split', None) is None)


def instead_of(name, parser):
    """Return what may be given instead of a list (str, for a message), '' where nothing can."""
    if name != 'val_list' or parser.prog != 'train.py':
        return ''
    return ', or --val_split 0.2 for a part of the training data, or --val_list none to train without validation'


def settle_val_split(args):
    """Let what was typed of --val_list and --val_split replace what a repeated record has of the other; changes args.

    What is left out then stands in args.past.
    """
    typed = getattr(args, 'typed', ())
    if getattr(args, 'val_split', None) is None or args.val_list is None:
        return
    if ('val_list' in typed) == ('val_split' in typed):
        return
    kept, other = ('val_list', 'val_split') if 'val_list' in typed else ('val_split', 'val_list')
    args.past.append(f'--{other} {getattr(args, other)} of the record does not count, as --{kept} is given')
    setattr(args, other, None)


def fault_of_val_split(args, own_data):
    """Return why the options (Namespace) cannot have their --val_split (str), or None.

    Args:
        args: options.
        own_data: kinds of data that bring their validation data along.
    """
    kind = args.data_type
    if args.val_list is not None:
        return 'there is --val_list, which names the validation data; leave one of the two out'
    if kind in SPLIT_DATA:
        return None
    if kind in own_data:
        return f'{kind} has its own validation data; leave it out'
    if kind == 'stream':
        return 'a stream is not read before training; put the shards for validation apart and name them by --val_list'
    return f'it cuts the lists of --data_type {", ".join(SPLIT_DATA)}, not of {kind}; leave it out'


def test_list(args, trained, typed):
    """Return the --val_list (str or None) of a test, where the checkpoint's own is none or has moved with its run.

    Args:
        args: options of the test; val_list and load_model_path count.
        trained: options of the run (dict).
        typed: whether the command line names --val_list (bool).

    Raises:
        ValueError: there is nothing to test on, with the reason.
    """
    path = args.val_list
    if path == NO_LIST:
        if typed:
            raise ValueError('a test needs data: give the path of a list, a directory or a table')
        if trained.get('train_list') is not None:
            raise ValueError('needed: the run had no validation data (--val_list none)')
        return None  # the data set's own test split
    if is_split_list(path) and not typed and not Path(path).exists():
        moved = Path(args.load_model_path).absolute().parent / SPLIT_DIRECTORY / Path(path).name
        return str(moved) if moved.exists() else path
    return path
