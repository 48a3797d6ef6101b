"""How the examples start: with the options of train.py, and in a run directory of their own name."""

import os

from options import AUTO, parse_train_args, train_parser
from utils.base.errors import DanluError
from utils.runs.run_directory import make_new_directory


def prepare_args(name, defaults, argv):
    """Return the options (Namespace) of an example; a new run's directory is made, checkpoints/<name>_<save_prefix>.

    Args:
        name: of the example.
        defaults: its options (str, as on the command line) where they are others than train.py's.
        argv: words of the command line (list of str).

    Raises:
        DanluError: with --resume auto, which looks for runs of train.py.
    """
    resume = train_parser().parse_args(argv).resume
    if resume == AUTO:
        raise DanluError(f'--resume {AUTO} looks for runs of train.py; give the directory, checkpoints/{name}_exp')
    args = parse_train_args(argv if resume else [*defaults.split(), *argv])
    if not args.resume:
        args.model_dir = make_new_directory(os.path.join(args.checkpoints_dir, f'{name}_{args.save_prefix}'))
    return args
