"""What a command line of train.py does: the training, then the test of best.pth and the page of all runs."""

import shutil
from pathlib import Path

from model.model_entry import select_model
from options import parse_train_args, prepare_train_args, resumes_if_begun
from programs.index_page import write_index
from utils.base import rank_env
from utils.base.desktop import open_in_browser
from utils.base.language import terminal_language, use_language
from utils.base.machine import select_gpus
from utils.base.text_table import terminal_width, wrap_lines
from utils.base.write_errors import explain_write_errors, suppress_cleanup_errors
from utils.distributed import processes
from utils.options.validation_options import has_validation
from utils.runs.result_directory import is_tested
from utils.runs.run_directory import remove_unstarted
from utils.training.dry_run import dry_run
from utils.training.error_hints import explain_machine_errors
from utils.training.lr_finder import find_lr
from utils.training.resume import RunFinished
from utils.training.run_copy import without_failed_copy
from utils.training.run_messages import page_lines, summary_lines
from utils.training.trackers import finish_trackers


def run(argv, make_trainer):
    """Train, test best.pth, write the page of all runs, and print a summary; or do --dry_run or --find_lr.

    Args:
        argv: list of str; None: the command line.
        make_trainer: function(args) -> train.Trainer.
    """
    with processes.init_distributed(lambda: select_gpus(parse_train_args(argv))[0]):
        args, trainer = train(argv, make_trainer)
    if args is None or rank_env.rank_info().rank:
        return
    report = None
    try:
        report = test_best_epoch(args, trainer) if args.report else None
    finally:  # also after Ctrl-C: a tracker would show the run as running for ever
        if trainer is not None:
            finish_trackers(trainer, report)
    index = write_index(args)
    with use_language(terminal_language(args.lang)):
        lines = page_lines(report, index) if trainer is None else summary_lines(trainer, report, index)
    print('\n'.join(lines))
    if report and args.open:
        open_in_browser(report)


def train(argv, make_trainer):
    """Train, or run --dry_run or --find_lr; arguments as for `run`.

    Returns:
        args if best.pth is to be tested, else None; and the Trainer, or None if all epochs were done already.
    """
    args = processes.broadcast_from_rank0(lambda: prepare_train_args(argv))
    processes.move_log_into(args.model_dir or args.resume)
    try:
        with without_failed_copy(args), explain_write_errors(args.model_dir), explain_machine_errors(args):
            trainer = make_trainer(args)
            if args.dry_run:
                dry_run(trainer, lambda: select_model(args))
            elif args.find_lr:
                find_lr(trainer)
    except RunFinished as finished:
        if args.report and processes.broadcast_from_rank0(lambda: lacks_test(args)):
            if processes.is_first():
                print(f'{args.model_dir}: all epochs are done; testing best.pth, which was interrupted')
            return args, None
        if not resumes_if_begun(argv):
            raise
        if processes.is_first():
            print(f'nothing to do: {finished}')
        return None, None
    except BaseException as error:
        if not args.resume and processes.is_first():
            with suppress_cleanup_errors(error):
                remove_unstarted(args.model_dir)
        raise
    finally:
        if args.dry_run:
            shutil.rmtree(args.model_dir, ignore_errors=True)
    if args.dry_run or args.find_lr:
        return None, None
    trainer.session.has_summary = True
    trainer.train()
    return args, trainer


def test_best_epoch(args, trainer):
    """Test best.pth of a finished run as `eval.py --report` does; return the path of report.html, or None without it.

    Args:
        args: options of the run.
        trainer: its Trainer, or None if an earlier process trained.
    """
    if not has_validation(args):
        text = 'no report.html: there is no validation data (--val_list none) to test best.pth on'
        print(wrap_lines(text, terminal_width()))
        return None
    from programs.best_epoch import complete_test, report_on  # imported on use: training does not need it

    if trainer is None:
        return complete_test(args)
    # With several processes the loader has only this process's share of the samples.
    loader = trainer.val_loader if rank_env.rank_info().count == 1 else None
    return report_on(args, loader, trainer.net if args.compile else None)


test_best_epoch.__test__ = False  # pytest would collect it


def lacks_test(args):
    """Return whether the test at the end of a run with options `args` is missing (bool)."""
    best = Path(args.model_dir, 'best.pth')
    return has_validation(args) and best.exists() and not is_tested(best)
