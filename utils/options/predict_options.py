"""--predict: what it may name, which other options it excludes, and the name of its result directory.

Imports no torch. data/lists/unlabelled_files.py reads what is named here.
"""

import argparse
import copy
import glob
import os
import re
from pathlib import Path

from utils.options.arguments import UNRECORDABLE, shorten_text, with_metavar

STDIN = '-'  # paths are read from standard input
DATA_OF_RUN = ('val_list', 'data_root')  # not used by --predict unless typed
# Options in which the checkpoints of one command may differ.
OWN_OF_EACH = ('model_type', 'model_args', 'mean', 'std', 'loss', 'loss_args', 'label_smoothing', 'class_weights',
               'target_mean', 'target_std')  # fmt: skip
# Options of targets, and of tests on the data of a run.
WITHOUT_EFFECT = (
    *('val_list', 'loss', 'loss_args', 'label_smoothing', 'class_weights', 'metrics', 'mask_values'),
    *('ignored_colours', 'cache_dir', 'download'),
)


def is_pattern(text):
    """Return whether a word of --predict is a pattern such as photos/*.jpg (bool), and not the name of a file."""
    return glob.has_magic(text) and not os.path.exists(text)


@with_metavar('PATH')
def predictable(text):
    """Check a word of --predict and return it (str): an existing path, a pattern with a match, or - ."""
    path = os.path.expanduser(text)
    if UNRECORDABLE.search(path):
        raise argparse.ArgumentTypeError(f'{shorten_text(path)!r} is not UTF-8 or contains a line break')
    if path == STDIN or (path and os.path.exists(path)):
        return path
    if is_pattern(path):
        if next(glob.iglob(path, recursive=True), None) is None:
            raise argparse.ArgumentTypeError(f'{shorten_text(text)!r} matches no file (looked in {os.getcwd()})')
        return path
    raise argparse.ArgumentTypeError(f'{shorten_text(text)!r} does not exist (looked in {os.getcwd()})')


def predicts(args):
    """Return whether options (Namespace) ask for predictions instead of a test or a training (bool)."""
    return getattr(args, 'predict', None) is not None


def leave_out_test_data(args):
    """Unset the options that name the data of the run, and ask for the page unless --no_report was given."""
    args.val_list = None
    if 'data_root' not in args.typed:
        args.data_root = None
    if 'report' not in args.typed:
        args.report = True


def check_code(parser, args):
    """Refuse --predict with the code of the run, which may not know this option."""
    if predicts(args) and args.code != 'now':
        parser.error('argument --code: --predict uses the current code; leave one of the two out')


def single_checkpoints(given):
    """Return the Options of a command line for each of its checkpoints (list); those of one checkpoint themselves."""
    others = getattr(given, 'other_checkpoints', [])
    parts = [copy.copy(given) for _ in range(1 + len(others))] if others else [given]
    for part, path in zip(parts, [given.load_model_path, *others], strict=True):
        part.load_model_path, part.other_checkpoints, part.ensemble = path, [], False
    for part in parts[1:]:  # a record, @args.txt, has these options of the first checkpoint
        part.given = {name for name in part.given if name in part.typed or name not in OWN_OF_EACH}
    return parts


def as_ensemble(parts):
    """Return the Options of an ensemble, from those of its checkpoints (list of Options)."""
    given = copy.copy(parts[0])
    given.ensemble, given.other_checkpoints = True, [part.load_model_path for part in parts[1:]]
    return given


def with_members(args):
    """Return options as args.txt holds them: those of an ensemble with all its checkpoints."""
    if not getattr(args, 'ensemble', False):
        return args
    args = copy.copy(args)
    args.load_model_path = [args.load_model_path, *args.other_checkpoints]
    return args


def check_several(parser, args):
    """Refuse options that do not suit several checkpoints, or only them."""
    if not args.other_checkpoints:
        if args.ensemble:
            parser.error('argument --ensemble: needs several checkpoints: --load_model_path A B')
        return
    if len({args.load_model_path, *args.other_checkpoints}) <= len(args.other_checkpoints):
        parser.error('argument --load_model_path: a checkpoint is named twice')
    if args.code != 'now':
        parser.error('argument --code: only with one checkpoint; name the others in tests of their own')
    if predicts(args) and not args.ensemble:
        parser.error('argument --predict: with several checkpoints give --ensemble, which averages them, or name one')
    if args.result_dir and not predicts(args):
        parser.error('argument --result_dir: each of several checkpoints has a directory of its own; leave it out')


def check_predict(parser, args):
    """Refuse typed options that have no effect on predictions without targets."""
    if not predicts(args):
        return
    if args.predict.count(STDIN) > 1:
        parser.error('argument --predict: - stands for standard input, which can be read once')
    for name in WITHOUT_EFFECT:
        if name in args.typed:
            parser.error(f'argument --{name}: --predict has no targets and does not use it; leave it out')


def source_name(words):
    """Return the name (str) of what --predict names, as part of a directory name: that of its first word."""
    first = words[0]
    if first == STDIN:
        return 'stdin'
    path = Path(os.path.abspath(first))
    if is_pattern(first):
        path = path.parent
        while glob.has_magic(path.name):
            path = path.parent
    name = path.name if path.is_dir() else path.stem
    return re.sub(r'[^\w.-]+', '_', name).strip('.')[:80] or 'images'
