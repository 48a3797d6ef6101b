"""The test of best.pth at the end of a run, as `eval.py --report` tests it."""

import copy
import os
import shlex
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from options import prepare_test_args
from utils.base.errors import DanluError, first_line
from utils.base.notebook import NotebookReport
from utils.base.record_schema import recorded_args
from utils.base.write_errors import WriteError, suppress_cleanup_errors
from utils.options.arguments import from_keywords
from utils.runs.checkpoint import load_checkpoint, unwrap_model
from utils.runs.lock import LockedError, RunLock
from utils.runs.result_directory import REPORT, is_tested, recover_partial
from utils.runs.run_directory import remove_unstarted
from utils.training.engine import Engine
from utils.training.error_hints import explain_machine_errors

TESTED = ('step', 'compute_loss', 'compute_metrics')  # methods that decide what a test gives


def complete_test(given):
    """Do the test of a run's best.pth that an interruption has left undone; return the path of its page as report_on.

    Args:
        given: options of the run.
    """
    best = Path(given.model_dir, 'best.pth')
    tested = SimpleNamespace(load_model_path=str(best), checkpoints_dir=given.checkpoints_dir)
    for folder in filter(Path.is_dir, best.with_suffix('').glob('*')):
        try:
            lock = RunLock(folder)
        except LockedError:  # another process is testing there
            continue
        try:
            recover_partial(tested, folder)
        finally:
            lock.release()
    return Path(given.model_dir, REPORT) if is_tested(best) else report_on(given)


def report_on(given, loader=None, net=None):
    """Test the best.pth of a run that has ended; return the path of its page (Path), or None where it fails, saying so.

    Args:
        given, loader, net: as for `test_best`.
    """
    try:
        page = test_best(given, loader, net)
        linked = Path(given.model_dir, REPORT)
        return linked if linked.exists() and linked.samefile(page) else page
    except WriteError as error:
        raise WriteError(f'the training is complete, but not the test of best.pth: {error}') from error
    except Exception as error:  # whatever it is, the run is complete, and its result not lost
        path = shlex.quote(os.path.join(given.model_dir, 'best.pth'))
        print(f'no {REPORT}: {first_line(error)}; to try again: python eval.py --report --load_model_path {path}')
        return None


def test_best(given, loader=None, net=None, **parts):
    """Test the best.pth of a run, as `eval.py --report` does, and return the path (Path) of the page.

    Args:
        given: options of the run.
        loader: of its validation data, so that what is in memory is not decoded again, or None: a new one.
        net: its network, which gets the weights of best.pth, so that it is not compiled again, or None: a new one.
        parts: loss and metrics of the Evaluator, where they are ready-made.

    Raises:
        DanluError: there is no best.pth, or an option, the data or the checkpoint is at fault.
    """
    path = os.path.join(given.model_dir, 'best.pth')
    checkpoint = load_checkpoint(path)
    options = {'load_model_path': path, 'report': True, 'device': given.device, 'gpus': given.gpus or None}
    options |= {'lang': given.lang}
    options |= {'trust_checkpoint': True, 'model_source': given.model_source} if given.model_source else {}
    args = from_keywords(partial(prepare_test_args, trained=recorded_args(checkpoint)), options)
    from eval import Evaluator  # imported on use, as eval.py imports this package

    try:
        with explain_machine_errors(args):
            Evaluator(args, checkpoint, loader, say=lambda line: None, net=net, **parts).eval()
    except BaseException as error:
        with suppress_cleanup_errors(error):
            remove_unstarted(args.result_dir)
        raise
    return Path(args.result_dir, REPORT)


test_best.__test__ = False  # pytest would take it for a test


def report_of(trainer):
    """Test the best.pth of a Trainer's run and return its page (utils.base.notebook.PageInCell).

    Raises:
        DanluError: the Trainer has methods of its own of which a test knows nothing, or as for `test_best`.
    """
    if trainer.val_loader is None:
        raise DanluError('report(): there is no validation data to test best.pth on; give a val_loader')
    own = [name for name in TESTED if getattr(type(trainer), name) is not getattr(Engine, name)]
    if own:
        raise DanluError(
            f'report() tests as eval.py does, without {type(trainer).__name__}.{own[0]}: define that in a subclass of '
            'Evaluator too, and call its eval() with the option report'
        )
    parts = {role: trainer.handed_parts[role] for role in ('loss', 'metrics')}
    path = test_best(trainer.args, trainer.val_loader, copy.deepcopy(unwrap_model(trainer.net)), **parts)
    if not path.is_file():
        raise DanluError(f'{path} was not written; the lines above say why')
    print(f'report: {path}')
    return NotebookReport(path)
