"""The data of a test: its loader, and how it compares with the data of the run."""

from functools import lru_cache
from pathlib import Path

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
from data.ready_made import ready_test_loader
from utils.base.errors import DanluError
from utils.base.record_schema import recorded_args
from utils.evaluation.saved_outputs import check_outputs
from utils.html_report.templating import environment
from utils.options import given_parts
from utils.options.decoders import notes_of_decoder
from utils.options.prediction_hint import hint_to_predict
from utils.provenance.checkpoint_check import record_of
from utils.provenance.contents import CONTENTS
from utils.provenance.environment import git_facts
from utils.tasks.target_scale import complete_target_scale
from utils.tasks.tasks import has_pictures
from utils.training.ready_parts import check_model

MAX_REMEMBERED_NAMES = 2**14  # of samples, more than a batch has


class TestSet:
    """Base of EvaluatorBuild: loads the test set, and compares it with the record of the run.

    Attributes:
        loader: of the test set.
        name_of, size_of: function(index of a sample) -> its name (str), and the (height, width) of its original image;
            without names in the data set (has_names: bool) a name is the index; size_of is None if no sample is a file.
        data_name, list_name: what it is called: the first is None unless the loader is ready-made.
        data: its data_fingerprint. contents: TestContents, after the test.
        recorded_data, trained_on: records of the data of the run, and of its training data (dict).
        trained: options of the run (dict). epoch: of the checkpoint.
        shared: lines (list of str) on samples that the training had too.
    """

    __test__ = False  # not a pytest class

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
        dataset = dataset_of(self.loader)
        self.has_names, self.size_of = hasattr(dataset, 'name'), getattr(dataset, 'full_size', None)
        # Remembered, as a stream looks for each name that is not asked for in order from its beginning.
        self.name_of = lru_cache(MAX_REMEMBERED_NAMES)(getattr(dataset, 'name', str))
        self.data_name = f'ready-made: {given_parts.ready_data(args)}' if given_parts.ready_data(args) else None
        self.list_name = self.data_name or name_of(args, 'val')
        if args.save_viz and not has_pictures(args):
            raise DanluError('--save_viz: the samples are not images but features or the like; leave it out')
        if args.save_outputs:
            check_outputs(args)

    def compare_data(self, checkpoint):
        """Compare the test set with the data in the record of the checkpoint; return lines (list of str) on it."""
        args, record = self.args, record_of(checkpoint).get('data') or {}
        self.recorded_data, self.contents = record, TestContents()
        self.epoch, self.trained = checkpoint.get('epoch', 'not known'), recorded_args(checkpoint) or {}
        self.data, self.trained_on = data_fingerprint(self.loader, name_of(args, 'val')), record.get('train') or {}
        self.git = git_facts()
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
