"""The page of all runs, written at the end of each training: by train.py after its test, else by RunSession."""

from utils.base.errors import DanluError
from utils.distributed import processes


def write_index(args):
    """Write the page of all runs, in the first process and without --no_index.

    Args:
        args: options of the run.

    Returns:
        its path (Path), or None where it is not written. If it cannot be, a line says why: the run is complete.
    """
    if not args.index or not processes.is_first():
        return None
    from utils.html_report.runs_page import write_runs_page  # imported on use: training does not need it

    try:
        return write_runs_page(args.checkpoints_dir, lang=args.lang)[0]
    except (DanluError, OSError) as error:
        print(f'the page of all runs is left out: {error}')
        return None
