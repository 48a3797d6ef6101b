"""Options and run directory of the examples."""

import os

from options import AUTO, parse_train_args, train_parser
from utils.base.errors import DanluError
from utils.runs.run_directory import make_new_directory


def prepare_args(name, defaults, argv):
    """Return the options (Namespace) of an example, and create checkpoints/<name>_<save_prefix> for a new run.

    Args:
        name: name of the example.
        defaults: options that differ from train.py's defaults (str, as on the command line).
        argv: command line (list of str).

    Raises:
        DanluError: for --resume auto, which looks for runs of train.py.
    """
    resume = train_parser().parse_args(argv).resume
    if resume == AUTO:
        raise DanluError(f'--resume {AUTO} looks for runs of train.py; give the directory, checkpoints/{name}_exp')
    args = parse_train_args(argv if resume else [*defaults.split(), *argv])
    if not args.resume:
        args.model_dir = make_new_directory(os.path.join(args.checkpoints_dir, f'{name}_{args.save_prefix}'))
    return args
