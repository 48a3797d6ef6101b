# PYTHON_ARGCOMPLETE_OK
"""Test a checkpoint.

    python eval.py --load_model_path checkpoints/lenet_exp/best.pth
    python eval.py --load_model_path checkpoints/unet_exp/best.pth --val_list road/test.txt --save_viz --viz_freq 10
    python eval.py --load_model_path checkpoints/lenet_exp/best.pth --predict photos/

Model, data, task, size and normalisation come from the checkpoint; what the command line gives wins and is reported.
result.txt, predictions.csv, the confusion matrix and the pictures go to <checkpoint>/val_<list>_<save_prefix>/.
Predictions of images without targets (utils/evaluation/unlabelled.py) go to <checkpoint>/predict_<name>_<save_prefix>/.
"""

import copy
import os
import re
import shlex
import warnings
from contextlib import contextmanager
from functools import cached_property, lru_cache, partial
from pathlib import Path
from types import SimpleNamespace

from options import (
    get_test_result_dir,
    parse_test_args,
    parse_test_command,
    prepare_test_args,
    save_args,
    test_args,
    test_parser,
    tested_options,
    trained_options,
)
from utils.base.errors import DanluError, run_main
from utils.base.process_setup import keep_freed_memory, share_busy_cores
from utils.provenance.used_files import watch_opened_files
from utils.runs.run_directory import remove_unstarted

if __name__ == '__main__':
    # --help and a wrong option are answered before torch is imported, which takes seconds
    command_line = run_main(parse_test_command, 'eval.py')
    share_busy_cores()
    keep_freed_memory()
    watch_opened_files()

import torch

from data.checks.class_notes import class_notes
from data.checks.contents_check import TestContents, contents_of_test
from data.checks.dataset_fingerprint import (
    changed_test_set,
    data_fingerprint,
    dataset_of,
    name_of,
    shared_with_training,
)
from data.data_entry import notes_of, select_eval_loader
from data.lists.table import feature_names
from data.predicting import predict
from data.ready_made import ready_test_loader, values_of
from data.unlabelled import unlabelled_loader
from loss import select_loss
from metrics import METRICS, select_metrics
from model.load_network import load_network
from model.model_entry import equip_multi_gpu
from utils import viz
from utils.base import rank_env
from utils.base.machine import describe_device, select_gpus, set_threads
from utils.base.notebook import NotebookReport
from utils.base.progress import Progress
from utils.base.record_schema import recorded_args
from utils.base.seeding import be_deterministic
from utils.base.streams import guarded_output
from utils.base.text_table import terminal_width
from utils.base.write_errors import WriteError, explain_write_errors, suppress_cleanup_errors
from utils.drawing.fonts import note_of_fonts
from utils.evaluation.ensemble import Ensemble, check_alike, table_lines, test_ensemble, test_of
from utils.evaluation.predictions import NAME as PREDICTIONS
from utils.evaluation.predictions import predictions_file
from utils.evaluation.saved_outputs import Outputs, check_outputs
from utils.evaluation.test_files import provenance_of, write_confusion_matrix, write_ledger_line, write_result
from utils.evaluation.tta import with_tta
from utils.evaluation.unlabelled import UnlabelledPass
from utils.evaluation.verdict import Judge
from utils.html_report.gallery_page import GalleryPage
from utils.html_report.page import Page
from utils.html_report.templating import environment
from utils.metrics.ready_metrics import ready_metrics
from utils.options import given_parts
from utils.options.arguments import from_keywords
from utils.options.decoders import notes_of_decoder
from utils.options.fit import described_pictures
from utils.options.migrations import migrate
from utils.options.predict_options import DATA_OF_RUN, as_ensemble, predicts, single_checkpoints
from utils.options.prediction_hint import hint_to_predict
from utils.options.record_parser import Options
from utils.provenance.checkpoint_check import record_of
from utils.provenance.contents import CONTENTS
from utils.provenance.environment import git_state
from utils.provenance.recorded_code import test_with_recorded_code
from utils.provenance.run_archive import with_unpacked
from utils.runs.checkpoint import file_hash, load_checkpoint, unwrap_model
from utils.runs.lock import LockedError, RunLock
from utils.runs.result_directory import REPORT, atomic_results, is_tested, recover_partial
from utils.runs.results import DIFFERS
from utils.runs.results_table import result_lines
from utils.runs.summaries import summary_of_evaluator, summary_of_predictor
from utils.tasks.one_logit import as_classes
from utils.tasks.target_scale import complete_target_scale
from utils.tasks.tasks import has_pictures
from utils.training.engine import Engine
from utils.training.error_hints import explain_machine_errors
from utils.training.network_device import data_device
from utils.training.override_checks import check_overrides
from utils.training.precision import first_line
from utils.training.ready_parts import check_model, ready_loss

TESTED = ('step', 'compute_loss', 'compute_metrics')  # methods that decide what a test gives
MAX_REMEMBERED_NAMES = 2**14  # of samples, more than a batch has


class Evaluator(Engine):
    """One pass over a test set.

    Args:
        args: options, from options.prepare_test_args.
        checkpoint: what utils.runs.checkpoint.load_checkpoint returned for args.load_model_path, or None to read it.
        loader: of the test set, where it is at hand already; None: it is made by the options.
        say: function(line), which prints what the test says.
        net: of the run or one's own, into which the checkpoint's weights are loaded, compiled or not; None: a new one.
        loss, metrics: ready-made, as train.Trainer takes them; None: those of the options.

    Raises:
        DanluError: an option, the data or the checkpoint is at fault.
    """

    def __init__(self, args, checkpoint=None, loader=None, say=print, net=None, *, loss=None, metrics=None):
        check_overrides(self, Evaluator)
        if checkpoint is None:
            checkpoint = load_checkpoint(args.load_model_path, args.trust_checkpoint, args.model_source)
        if args.deterministic:
            be_deterministic()
        self.say = say
        self.build_loader(args, loader, net)
        device, gpus = select_gpus(args)
        threads = set_threads(args.threads, getattr(self.loader, 'num_workers', 0))
        net, notes, self.check = load_network(args, checkpoint, device, 'test', net)
        notes += getattr(args, 'past', [])  # what an older record has otherwise
        super().__init__(
            args,
            equip_multi_gpu(net, gpus),
            select_loss(args) if loss is None else ready_loss(loss),
            data_device(device),
        )
        self.bind_transforms(self.loader)
        self.apply_speed_options()
        self.model = with_tta(self.model, args)
        self.metrics = select_metrics(args) if metrics is None else ready_metrics(metrics, args, device)
        # By class, for the page and the confusion matrix, which ready-made metrics do not have.
        self.class_metrics = select_metrics(args) if metrics is not None and args.task in METRICS else self.metrics
        self.shows_matrix = shows_matrix(self.class_metrics)
        self.page = Page(self, feature_names_of(args)) if args.report else None
        self.results = self.outputs = self.verdict = None
        data_notes = self.compare_data(checkpoint)
        self.judge = Judge(self, checkpoint, {'loss': loss, 'metrics': metrics})
        notes += [*self.judge.notes(), described_pictures(args), *data_notes]
        notes += given_parts.notes_on_lost(args, {'loss': loss, 'metrics': metrics})
        notes += note_of_fonts(args.class_names) if args.save_viz else []
        # Remembered, as a stream looks for each name that is not asked for in order from its beginning.
        self.name_of = lru_cache(MAX_REMEMBERED_NAMES)(getattr(dataset_of(self.loader), 'name', str))
        if args.result_dir is None:  # a notebook that did not call prepare_test_args
            args.result_dir = get_test_result_dir(args)
        for line in [*notes, f'device: {describe_device(gpus, device)}, threads: {threads}']:
            self.say(line)

    def build_loader(self, args, loader, net):
        """Build the loader of the test set, or take a ready-made one.

        Raises:
            DanluError: a ready-made part is missing, or an option does not fit the samples.
        """
        if args.report:
            environment()  # without which there is no page, before the test and not behind it
        if net is None:
            given_parts.needed_by_name(args, 'model')
        else:
            check_model(net)
        if loader is None:
            given_parts.needed_by_name(args, 'data')
        with hint_to_predict(args.load_model_path, args.val_list):
            self.loader = select_eval_loader(args) if loader is None else ready_test_loader(loader, args, net)
        complete_target_scale(args)
        self.data_name = f'ready-made: {given_parts.ready_data(args)}' if given_parts.ready_data(args) else None
        self.list_name = self.data_name or name_of(args, 'val')
        if args.save_viz and not has_pictures(args):
            raise DanluError('--save_viz: the samples are not pictures but features or the like; leave it out')
        if args.save_outputs:
            check_outputs(args)

    def compare_data(self, checkpoint):
        """Compare the test set with the data in the record of the checkpoint; return lines (list of str) on it."""
        args, record = self.args, record_of(checkpoint).get('data') or {}
        self.recorded_data, self.contents = record, TestContents()
        self.epoch, self.trained = checkpoint.get('epoch', 'not known'), recorded_args(checkpoint) or {}
        self.data, self.trained_on = data_fingerprint(self.loader, name_of(args, 'val')), record.get('train') or {}
        self.git = git_state() or {'commit': None, 'changed': []}
        self.shared = shared_with_training(record, self.trained, args, self.loader, self.data)
        return [
            *notes_of(self.loader),
            *notes_of_decoder(args, self.trained),
            *changed_test_set(record, self.trained, args, self.data),
            *self.shared,
            *class_notes(dataset_of(self.loader), args, 'val'),
        ]

    def compare_contents(self):
        """Set `contents`, a TestContents, after all samples were read."""
        self.contents = contents_of_test(self.loader, self.recorded_data, self.trained, self.args, self.data)
        if self.contents.record:
            self.contents.hashes.write(Path(self.args.result_dir, CONTENTS))

    def __repr__(self):
        return summary_of_evaluator(self)

    def evaluate(self, batches, metrics=None, on_batch=None):
        """Return the values of a loader or data set (dict); with `metrics` it is the evaluation of Engine."""
        if metrics is None:
            return values_of(self, batches, self.metrics)
        return super().evaluate(batches, metrics, on_batch)

    def eval(self):
        """Test, write what it gives into args.result_dir, and return the values (dict).

        Until all is written, args.result_dir is a directory in that one.

        Raises:
            ChangedValuesError: --strict_record is set, and the values are not those recorded for the checkpoint; the
                results are written all the same.
        """
        with guarded_output(), self.explaining(), atomic_results(self.args, get_test_result_dir) as place:
            save_args(self.args, self.args.result_dir, place=place)
            results, provenance = self.test()
            self.results = results
            there = self.page is not None and self.write_page(results, provenance)
            write_ledger_line(self, results, provenance, place)
            write_result(Path(self.args.result_dir) / 'result.txt', results, provenance)
        for line in self.verdict.lines:
            (print if self.verdict.state == DIFFERS else self.say)(line)
        for text in filter(None, [*self.contents.differences, self.contents.note]):
            self.say(f'changed since the run: {text}')
        for line in result_lines(results, getattr(self.metrics, 'monitor', None), terminal_width()):
            self.say(line)
        self.say(f'results: {self.args.result_dir}')
        if there:
            self.say(f'report: {Path(self.args.result_dir, REPORT)}')
        if self.args.strict_record:
            self.verdict.raise_if_differs(self.args.result_dir)
        return results

    @cached_property
    def checkpoint_sha256(self):
        """The hash of the checkpoint's file (hexadecimal str)."""
        return file_hash(self.args.load_model_path)

    @contextmanager
    def explaining(self):
        """Say in one line what the machine lacks where the body of the `with` fails for that: memory, space ..."""
        again = 'test again: python eval.py --load_model_path ' + shlex.quote(str(self.args.load_model_path))
        with explain_write_errors(self.args.result_dir, again=again), explain_machine_errors(self.args):
            yield

    def test(self):
        """Test, write all but result.txt, and return the values (dict) and what was tested (dict of str)."""
        progress = Progress(self.loader, 'test', print)
        self.class_metrics.reset()
        size_of = getattr(dataset_of(self.loader), 'full_size', None)
        if self.args.save_outputs:
            self.outputs = Outputs(self.args.result_dir, self.args, self.name_of, size_of)
        with predictions_file(Path(self.args.result_dir) / PREDICTIONS, self, self.name_of) as rows:
            results, seen = self.evaluate(progress, self.metrics, partial(self.note_batch, rows))
            if progress.total is not None and seen != progress.total:
                raise DanluError(f'the test saw {seen} of {progress.total} samples: the loader left some out')
        self.compare_contents()
        self.verdict = self.judge.verdict(results, seen, self.contents)
        if self.shows_matrix:
            write_confusion_matrix(self.args, self.class_metrics)
        elif hasattr(self.class_metrics, 'confusion_matrix'):
            print(f'confusion_matrix.csv is left out: {self.args.num_classes:,} classes would make too large a table')
        return results, self.provenance(seen)

    def note_batch(self, rows, start, images, predictions, targets):
        """Put a batch into predictions.csv (`rows`), and write and draw of it what is asked for."""
        rows.add(start, predictions, targets)  # with what the network gave, for the loss
        if self.class_metrics is not self.metrics and not rows.fault:
            self.class_metrics.update(*as_classes(self.args, predictions, targets))
        self.shows_matrix = self.shows_matrix and not (rows.fault and self.class_metrics is not self.metrics)
        if self.outputs is not None:
            self.outputs.add(start, predictions)
        if self.page is not None:
            self.page.add(*as_classes(self.args, predictions, targets))
        if self.args.save_viz:
            self.viz_per_batch(start, images, predictions, targets)

    def viz_per_batch(self, start, images, predictions, targets):
        """Save a picture of every viz_freq-th sample of a batch whose first sample is number `start` of the set."""
        chosen = [i for i in range(len(images)) if (start + i) % self.args.viz_freq == 0]
        if not chosen:
            return
        folder = Path(self.args.result_dir) / 'viz'
        folder.mkdir(exist_ok=True)
        pictures = self.draw_samples(images[chosen], predictions[chosen], targets[chosen])
        for i, picture in zip(chosen, pictures, strict=True):
            picture = self.with_legend(picture, predictions[i : i + 1], targets[i : i + 1])
            viz.save_picture(folder / f'{start + i:06d}_{self.sample_name(start + i)}.png', picture)

    def sample_name(self, index):
        """Return a sample's name fit for a file: the end of its path, without what file systems refuse."""
        name = self.name_of(index) if hasattr(dataset_of(self.loader), 'name') else ''
        return re.sub(r'[^\w.-]+', '_', os.path.splitext(name)[0])[-80:]

    def provenance(self, seen):
        """Return what was tested (dict of str), for the head of result.txt; `seen`: how many samples."""
        return provenance_of(self, seen)

    def write_page(self, results, provenance):
        """Write report.html and return whether it was (bool); where it fails, say so: there are the results anyway."""
        folder = Path(self.args.result_dir)
        options = [
            ('Options of the test that differ from their defaults', tested_options(self.args, self.trained)),
            ('Options of the training that differ from their defaults', trained_options(self.trained)),
        ]
        try:
            self.page.write(folder / REPORT, folder / PREDICTIONS, results, provenance, options)
        except (WriteError, OSError):  # the results have no space either
            raise
        except Exception as error:  # of a task of the project's own, whose samples no kind of page knows: all differ
            print(f'{REPORT} is left out: {type(error).__name__}: {first_line(error)}')
            return False
        return True


class Predictor(Engine):
    """A trained network for pictures that belong to no data set: `load_predictor(path).predict(pictures)`.

    Args:
        args: options, from options.test_args.
        checkpoint: what utils.runs.checkpoint.load_checkpoint returned for args.load_model_path.
        net: one's own, into which the checkpoint's weights are loaded; None: a new one, by --model_type.
        say: function(line), what is told of the checkpoint; None: a warning if its outputs have changed.

    Attributes:
        class_names: names of the classes (list of str), or None.
    """

    def __init__(self, args, checkpoint, net=None, say=None):
        device, gpus = select_gpus(args)
        net, notes, self.check = load_network(args, checkpoint, device, 'weights', net)
        self.epoch, self.members = checkpoint.get('epoch', 'not known'), []  # members: paths, of an ensemble
        for line in (
            [] if say is None else [*notes, described_pictures(args), f'device: {describe_device(gpus, device)}']
        ):
            say(line)
        if self.check.failure_lines and say is None:
            warnings.warn('\n'.join(self.check.failure_lines), stacklevel=3)  # of the line that calls load_predictor
        super().__init__(args, equip_multi_gpu(net, gpus), torch.nn.Identity(), data_device(device))
        self.apply_speed_options()
        self.model = with_tta(self.model, args)
        self.model.eval()
        self.class_names = args.class_names

    def __repr__(self):
        return summary_of_predictor(self)

    def predict(self, pictures):
        """Return what the network makes of pictures, on the CPU: see data.predicting.predict."""
        return predict(self, pictures)


def load_predictor(load_model_path, net=None, **options):
    """Return the Predictor of a checkpoint; `options` are those of eval.py, such as device='cpu'.

    Args:
        load_model_path: of the checkpoint.
        net: nn.Module of one's own that gets the weights; None: it is built by --model_type.

    Raises:
        DanluError: an option or the checkpoint is at fault.
    """
    args = test_args(load_model_path, **options)
    return Predictor(args, load_checkpoint(args.load_model_path, args.trust_checkpoint, args.model_source), net)


def feature_names_of(args):
    """Return the names of the features of the test set (list of str), or None if it is not a table with a header."""
    is_table = args.data_type == 'array' and args.val_list and not given_parts.ready_data(args)
    return feature_names(args.val_list, args.target_columns) if is_table and not args.image_size else None


def shows_matrix(metrics):
    """Return whether metrics have a confusion matrix to be shown (bool), having asked them to keep it."""
    if not hasattr(metrics, 'confusion_matrix'):
        return False
    return metrics.keep_table() if hasattr(metrics, 'keep_table') else True


def overrides(args, trained):
    """Return what the command line changed against the checkpoint (list of 'name: old -> new')."""
    return [
        f'{name}: {trained[name]} -> {getattr(args, name)}'
        for name in test_parser().names(from_checkpoint=True)
        if name in trained and getattr(args, name) != trained[name] and not (predicts(args) and name in DATA_OF_RUN)
    ]


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
    options |= {'trust_checkpoint': True, 'model_source': given.model_source} if given.model_source else {}
    args = from_keywords(partial(prepare_test_args, trained=recorded_args(checkpoint)), options)
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


def predict_unlabelled(args, checkpoint, others=()):
    """Predict what --predict names, write the predictions into args.result_dir, and return their number (int).

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
    predictor = ensemble_of(args, checkpoint, others, print) if others else Predictor(args, checkpoint, say=print)
    predictor.bind_transforms(loader)
    return UnlabelledPass(predictor, loader, walk, GalleryPage(predictor) if args.report else None).run()


def ensemble_of(args, checkpoint, others, say):
    """Return the Predictor of several checkpoints, whose outputs are averaged.

    Args:
        args, checkpoint: of the first one.
        others: options of the command line for each of the others (list of Options).
        say: function(line).
    """
    predictor = Predictor(args, checkpoint, say=say)
    nets, options = [predictor.model], [args]
    for given in others:
        checkpoint, own = checkpoint_and_options(given)
        options.append(own)
        check_alike(args, own)
        nets.append(Predictor(options[-1], checkpoint, say=say).model)
    predictor.model, predictor.members = Ensemble(nets, options), [each.load_model_path for each in options]
    return predictor


def checkpoint_and_options(given):
    """Return a checkpoint (dict) and its options of a test (Options), for Options of the command line."""
    checkpoint = load_checkpoint(given.load_model_path, given.trust_checkpoint, given.model_source)
    return checkpoint, parse_test_args(given, recorded_args(checkpoint))


def check_ensemble(parts):
    """Raise DanluError if the outputs of several checkpoints (list of Options) cannot be averaged."""
    _, first = checkpoint_and_options(parts[0])
    for given in parts[1:]:
        check_alike(first, checkpoint_and_options(given)[1])


def test_several(parts, with_ensemble):
    """Test several checkpoints and print one table.

    Args:
        parts: options of the command line for each checkpoint (list of Options).
        with_ensemble: also test their ensemble (bool).
    """
    if with_ensemble:
        check_ensemble(parts)  # before the first test, which may take long
    tests = []
    for given in parts:
        print(f'checkpoint: {given.load_model_path}')
        tests.append(test_of(run_command(given)))
    lines = []
    if with_ensemble:
        if len({test.data for test in tests}) > 1:
            raise DanluError(
                '--ensemble: the checkpoints were tested on different data; give the same --val_list to all'
            )
        given = as_ensemble(parts)
        own, lines = run_command(given, lambda args, checkpoint: evaluate_ensemble(args, checkpoint, parts[1:], tests))
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


def main(argv=None):
    """Test by the command line, or `argv`: list of str, or what options.parse_test_command returned."""
    if rank_env.rank_info().count > 1:
        raise DanluError('a test is done by one process: start eval.py without torchrun (--gpus takes several GPUs)')
    given = argv if isinstance(argv, Options) else parse_test_command(argv)
    parts = [with_unpacked(part) for part in single_checkpoints(given)]
    if len(parts) == 1:
        run_command(parts[0])
    elif predicts(given):
        run_command(as_ensemble(parts), partial(predict_unlabelled, others=parts[1:]))
    else:
        test_several(parts, given.ensemble)


def run_command(given, work=None):
    """Test one checkpoint, or predict by it.

    Args:
        given: Options of the command line, with one checkpoint.
        work: function(args, checkpoint), to be done instead.

    Returns:
        the Evaluator, or what `work` returned; None after a test by other code.
    """
    checkpoint = load_checkpoint(given.load_model_path, given.trust_checkpoint, given.model_source)
    then = None if given.code == 'now' else test_with_recorded_code(test_parser(), given, checkpoint)
    if given.code not in ('now', 'both'):
        return None
    args = prepare_test_args(given, recorded_args(checkpoint))
    args.code = 'now'
    try:
        for line in overrides(args, migrate(recorded_args(checkpoint) or {}, args.__contains__)):
            print(f'instead of what the checkpoint says, {line}')
        with explain_machine_errors(args):
            if work is not None or predicts(args):
                return (work or predict_unlabelled)(args, checkpoint)
            evaluator = Evaluator(args, checkpoint)
            try:
                evaluator.eval()
            finally:
                if then is not None and evaluator.results is not None:
                    print(*evaluator.judge.comparison(then, evaluator.results), sep='\n')
            return evaluator
    except BaseException as error:
        if os.path.isdir(args.result_dir):  # or another test of the same thing has removed it already
            with suppress_cleanup_errors(error):
                remove_unstarted(args.result_dir)
        raise


if __name__ == '__main__':
    run_main(lambda: main(command_line), 'eval.py')
