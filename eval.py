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

import sys
from functools import partial
from pathlib import Path

from options import parse_test_command, save_args
from utils.base.errors import DanluError, run_main
from utils.base.process_setup import keep_freed_memory, share_busy_cores
from utils.provenance.used_files import watch_opened_files

if __name__ == '__main__':
    # --help and a wrong option are answered before torch is imported, which takes seconds
    command_line = run_main(parse_test_command, 'eval.py')
    share_busy_cores()
    keep_freed_memory()
    watch_opened_files()

from data.ready_made import values_of
from programs.eval_command import run
from programs.evaluator_build import EvaluatorBuild
from programs.predictor import Predictor, load_predictor
from utils import viz
from utils.base.file_names import file_name_of
from utils.base.progress import Progress
from utils.base.text_table import print_line
from utils.evaluation.predictions import PREDICTIONS, predictions_file
from utils.evaluation.saved_outputs import Outputs
from utils.evaluation.test_files import (
    print_results,
    provenance_of,
    result_files,
    write_confusion_matrix,
    write_ledger_line,
    write_page,
    write_result,
)
from utils.runs.summaries import summary_of_evaluator
from utils.tasks.one_logit import as_classes
from utils.training.engine import Engine
from utils.training.override_checks import check_overrides

__all__ = ['Evaluator', 'Predictor', 'load_predictor', 'main']


class Evaluator(EvaluatorBuild, Engine):
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

    def __init__(self, args, checkpoint=None, loader=None, say=print_line, net=None, *, loss=None, metrics=None):
        check_overrides(self, Evaluator)
        self.say = say
        lines = self.build(args, checkpoint, loader, net, {'loss': loss, 'metrics': metrics})
        self.results = self.outputs = self.verdict = None
        for line in lines:
            say(line)

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
        with result_files(self.args) as place:
            save_args(self.args, self.args.result_dir, place=place)
            results, provenance = self.test()
            self.results = results
            has_page = self.page is not None and write_page(self, results, provenance)
            write_ledger_line(self, results, provenance, place)
            write_result(Path(self.args.result_dir) / 'result.txt', results, provenance)
        print_results(self, results, has_page)
        if self.args.strict_record:
            self.verdict.raise_if_differs(self.args.result_dir)
        return results

    def test(self):
        """Test, write all but result.txt, and return the values (dict) and what was tested (dict of str)."""
        progress = Progress(self.loader, 'test', print)
        self.class_metrics.reset()
        if self.args.save_outputs:
            self.outputs = Outputs(self.args.result_dir, self.args, self.name_of, self.size_of)
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
        return results, provenance_of(self, seen)

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
            name = self.name_of(start + i) if self.has_names else ''
            viz.save_picture(folder / f'{start + i:06d}_{file_name_of(name)}.png', picture)


def main(argv=None):
    """Test or predict by the command line, or `argv`: list of str, or what options.parse_test_command returned.

    Returns:
        the exit status (int): 1 if --predict could not read some of the samples, else 0.
    """
    return run(argv, Evaluator)


if __name__ == '__main__':
    sys.exit(run_main(lambda: main(command_line), 'eval.py'))
