"""What a command line of eval.py does: test one checkpoint or several, or predict samples without targets."""

import os
from functools import partial

from data.checks.dataset_fingerprint import dataset_of
from data.data_entry import select_eval_loader
from data.unlabelled import unlabelled_loader
from loss import select_loss
from metrics import select_metrics
from options import parse_test_command, prepare_test_args, test_parser
from programs.predictor import Predictor, checkpoint_and_options, ensemble_of
from utils.base import rank_env
from utils.base.errors import DanluError
from utils.base.machine import set_threads
from utils.base.record_schema import recorded_args
from utils.base.seeding import be_deterministic
from utils.base.text_table import print_line, terminal_width
from utils.base.write_errors import suppress_cleanup_errors
from utils.evaluation.ensemble import check_alike, table_lines, test_ensemble, test_of
from utils.evaluation.saved_outputs import check_outputs
from utils.evaluation.unlabelled import UnlabelledPass
from utils.html_report.gallery_page import GalleryPage
from utils.options.from_checkpoint import overrides
from utils.options.migrations import migrate
from utils.options.predict_options import as_ensemble, predicts, single_checkpoints
from utils.options.record_parser import Options
from utils.provenance.recorded_code import test_with_recorded_code
from utils.provenance.run_archive import with_unpacked
from utils.runs.checkpoint import load_named_checkpoint
from utils.runs.run_directory import remove_unstarted
from utils.tasks.target_scale import complete_target_scale
from utils.training.error_hints import explain_machine_errors


def run(argv, evaluator):
    """Do what the command line says; return the exit status (int): 1 if --predict could not read some samples, else 0.

    Args:
        argv: list of str, None for the command line, or what options.parse_test_command returned.
        evaluator: function(args, checkpoint) -> eval.Evaluator.

    Raises:
        DanluError: the process is one of several, or an option, the data or a checkpoint is at fault.
    """
    if rank_env.rank_info().count > 1:
        raise DanluError('a test is done by one process: start eval.py without torchrun (--gpus takes several GPUs)')
    given = argv if isinstance(argv, Options) else parse_test_command(argv)
    parts = [with_unpacked(part) for part in single_checkpoints(given)]
    if predicts(given):
        others = partial(predict_unlabelled, others=parts[1:]) if len(parts) > 1 else None
        return run_command(as_ensemble(parts) if others else parts[0], evaluator, others)
    if len(parts) == 1:
        run_command(parts[0], evaluator)
    else:
        test_several(parts, given.ensemble, evaluator)
    return 0


def run_command(given, evaluator, work=None):
    """Test one checkpoint, or predict by it.

    Args:
        given: Options of the command line, with one checkpoint.
        evaluator: as for `run`.
        work: function(args, checkpoint), to be done instead.

    Returns:
        the Evaluator, or what `work` returned; None after a test by other code.
    """
    checkpoint = load_named_checkpoint(given)
    then = None if given.code == 'now' else test_with_recorded_code(test_parser(), given, checkpoint)
    if given.code not in ('now', 'both'):
        return None
    args = prepare_test_args(given, recorded_args(checkpoint))
    args.code = 'now'
    try:
        for line in overrides(test_parser(), args, migrate(recorded_args(checkpoint) or {}, args.__contains__)):
            print_line(f'option changed since training: {line}')
        with explain_machine_errors(args):
            if work is not None or predicts(args):
                return (work or predict_unlabelled)(args, checkpoint)
            test = evaluator(args, checkpoint)
            try:
                test.eval()
            finally:
                if then is not None and test.results is not None:
                    print(*test.judge.comparison(then, test.results), sep='\n')
            return test
    except BaseException as error:
        if os.path.isdir(args.result_dir):  # or another test of the same thing has removed it already
            with suppress_cleanup_errors(error):
                remove_unstarted(args.result_dir)
        raise


def predict_unlabelled(args, checkpoint, others=()):
    """Predict what --predict names, write the predictions into args.result_dir, and return the exit status (int).

    The status is 0, or 1 if samples could not be read and have no prediction.

    Args:
        args, checkpoint: options, and what utils.runs.checkpoint.load_checkpoint returned.
        others: of an ensemble, see `ensemble_of`.
    """
    if args.save_outputs:
        check_outputs(args)
    loader, walk = unlabelled_loader(args)
    set_threads(args.threads, loader.num_workers)
    if args.deterministic:
        be_deterministic()
    predictor = (
        ensemble_of(args, checkpoint, others, print_line) if others else Predictor(args, checkpoint, say=print_line)
    )
    predictor.bind_transforms(loader)
    work = UnlabelledPass(predictor, loader, walk, GalleryPage(predictor) if args.report else None)
    work.run()
    return int(work.damaged_count > 0)


def check_ensemble(parts):
    """Raise DanluError if the outputs of several checkpoints (list of Options) cannot be averaged."""
    _, first = checkpoint_and_options(parts[0])
    for given in parts[1:]:
        check_alike(first, checkpoint_and_options(given)[1])


def test_several(parts, with_ensemble, evaluator):
    """Test several checkpoints and print one table.

    Args:
        parts: options of the command line for each checkpoint (list of Options).
        with_ensemble: also test their ensemble (bool).
        evaluator: as for `run`.
    """
    if with_ensemble:
        check_ensemble(parts)  # before the first test, which may take long
    tests = []
    for given in parts:
        print(f'checkpoint: {given.load_model_path}')
        tests.append(test_of(run_command(given, evaluator)))
    lines = []
    if with_ensemble:
        if len({test.data for test in tests}) > 1:
            raise DanluError(
                '--ensemble: the checkpoints were tested on different data; give the same --val_list to all'
            )
        given = as_ensemble(parts)
        own, lines = run_command(
            given, evaluator, lambda args, checkpoint: evaluate_ensemble(args, checkpoint, parts[1:], tests)
        )
        tests.append(own)
    for line in [*table_lines(tests, terminal_width()), *lines]:
        print(line)
    if with_ensemble:
        print(f'results of the ensemble: {tests[-1].directory}')


test_several.__test__ = False


def evaluate_ensemble(args, checkpoint, others, tests):
    """Test the ensemble of a checkpoint and others; return what utils.evaluation.ensemble.test_ensemble does."""
    loader = select_eval_loader(args)
    complete_target_scale(args)
    predictor = ensemble_of(args, checkpoint, others, say=lambda line: None)
    predictor.loss = select_loss(args).to(predictor.device)
    predictor.bind_transforms(loader)
    return test_ensemble(predictor, loader, select_metrics(args), getattr(dataset_of(loader), 'name', str), tests)
