# PYTHON_ARGCOMPLETE_OK
"""Test a checkpoint.

    python eval.py --load_model_path checkpoints/lenet_exp/best.pth
    python eval.py --load_model_path checkpoints/unet_exp/best.pth --val_list road/test.txt --save_viz --viz_freq 10
    python eval.py --load_model_path checkpoints/lenet_exp/best.pth --predict photos/

Model, data, task, size and normalisation come from the checkpoint; what the command line gives wins and is reported.
result.txt, predictions.csv, the confusion matrix and the images go to <checkpoint>/val_<list>_<save_prefix>/.
Predictions of images without targets (utils/evaluation/unlabelled.py) go to <checkpoint>/predict_<name>_<save_prefix>/.
The exit status is 0; 1 if --predict could not read some of the files, or the machine failed; 2 for a usage error.
"""

import shlex
import sys
from contextlib import contextmanager
from functools import cached_property, lru_cache, partial
from pathlib import Path

from options import (
    get_test_result_dir,
    parse_test_command,
    save_args,
    tested_options,
    trained_options,
)
from utils.base.errors import DanluError, run_main
from utils.base.process_setup import keep_freed_memory, share_busy_cores
from utils.provenance.used_files import watch_opened_files

if __name__ == '__main__':
    # --help and a wrong option are answered before torch is imported, which takes seconds
    command_line = run_main(parse_test_command, 'eval.py')
    share_busy_cores()
    keep_freed_memory()
    watch_opened_files()


from data.checks.dataset_fingerprint import (
    dataset_of,
)
from data.lists.table import feature_names_of
from data.ready_made import values_of
from loss import select_loss
from metrics import METRICS, select_metrics
from model.load_network import load_network
from model.model_entry import equip_multi_gpu
from programs.eval_command import run
from programs.predictor import Predictor, load_predictor
from programs.test_set import TestSet
from utils import viz
from utils.base import rank_env
from utils.base.file_names import file_name_of
from utils.base.language import deferred, labelled, translate, use_language
from utils.base.machine import describe_device, select_gpus, set_threads
from utils.base.progress import Progress
from utils.base.seeding import be_deterministic
from utils.base.streams import guarded_output
from utils.base.text_table import terminal_width
from utils.base.write_errors import WriteError, explain_write_errors
from utils.drawing.fonts import note_of_fonts
from utils.evaluation.predictions import NAME as PREDICTIONS
from utils.evaluation.predictions import predictions_file
from utils.evaluation.saved_outputs import Outputs
from utils.evaluation.test_files import (
    provenance_of,
    shows_matrix,
    write_confusion_matrix,
    write_ledger_line,
    write_result,
)
from utils.evaluation.tta import with_tta
from utils.evaluation.verdict import Judge
from utils.html_report.page import Page
from utils.metrics.ready_metrics import ready_metrics
from utils.options import given_parts
from utils.options.fit import described_pictures
from utils.options.record_parser import Options
from utils.provenance.recorded_code import output_language
from utils.runs.checkpoint import file_hash, load_checkpoint
from utils.runs.result_directory import REPORT, atomic_results
from utils.runs.results import DIFFERS
from utils.runs.results_table import result_lines
from utils.runs.summaries import summary_of_evaluator
from utils.tasks.one_logit import as_classes
from utils.training.engine import Engine
from utils.training.error_hints import explain_machine_errors
from utils.training.network_device import data_device
from utils.training.override_checks import check_overrides
from utils.training.precision import first_line
from utils.training.ready_parts import ready_loss

__all__ = ['Evaluator', 'Predictor', 'load_predictor', 'main']
MAX_REMEMBERED_NAMES = 2**14  # of samples, more than a batch has


class Evaluator(TestSet, Engine):
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
        with use_language(output_language(self.args.lang)):
            for line in result_lines(results, getattr(self.metrics, 'monitor', None), terminal_width()):
                self.say(line)
            self.say(labelled(translate('results'), self.args.result_dir))
            if there:
                self.say(labelled(translate('report'), Path(self.args.result_dir, REPORT)))
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
        """Save an image of every viz_freq-th sample of a batch whose first sample is number `start` of the set."""
        chosen = [i for i in range(len(images)) if (start + i) % self.args.viz_freq == 0]
        if not chosen:
            return
        folder = Path(self.args.result_dir) / 'viz'
        folder.mkdir(exist_ok=True)
        pictures = self.draw_samples(images[chosen], predictions[chosen], targets[chosen])
        for i, picture in zip(chosen, pictures, strict=True):
            picture = self.with_legend(picture, predictions[i : i + 1], targets[i : i + 1])
            name = self.name_of(start + i) if hasattr(dataset_of(self.loader), 'name') else ''
            viz.save_picture(folder / f'{start + i:06d}_{file_name_of(name)}.png', picture)

    def provenance(self, seen):
        """Return what was tested (dict of str), for the head of result.txt; `seen`: how many samples."""
        return provenance_of(self, seen)

    def write_page(self, results, provenance):
        """Write report.html and return whether it was (bool); where it fails, say so: there are the results anyway."""
        folder = Path(self.args.result_dir)
        options = [
            (deferred('Options of the test that differ from their defaults'), tested_options(self.args, self.trained)),
            (deferred('Options of the training that differ from their defaults'), trained_options(self.trained)),
        ]
        try:
            self.page.write(folder / REPORT, folder / PREDICTIONS, results, provenance, options)
        except (WriteError, OSError):  # the results have no space either
            raise
        except Exception as error:  # of a task of the project's own, whose samples no kind of page knows: all differ
            print(f'{REPORT} is left out: {type(error).__name__}: {first_line(error)}')
            return False
        return True


def main(argv=None):
    """Test or predict by the command line, or `argv`: list of str, or what options.parse_test_command returned.

    Returns:
        the exit status (int): 1 if --predict could not read some of the samples, else 0.
    """
    if rank_env.rank_info().count > 1:
        raise DanluError('a test is done by one process: start eval.py without torchrun (--gpus takes several GPUs)')
    return run(argv if isinstance(argv, Options) else parse_test_command(argv), Evaluator)


if __name__ == '__main__':
    sys.exit(run_main(lambda: main(command_line), 'eval.py'))
