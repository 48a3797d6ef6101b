"""Building an Evaluator from options, a checkpoint and ready-made parts."""

from data.lists.table import feature_names_of
from loss import select_loss
from metrics import METRICS, select_metrics
from model.load_network import load_network
from model.model_entry import equip_multi_gpu
from options import get_test_result_dir
from programs.test_set import TestSet
from utils.base.machine import describe_device, select_gpus, set_threads
from utils.base.seeding import be_deterministic
from utils.drawing.colour_distance import note_of_palette
from utils.drawing.fonts import note_of_fonts
from utils.evaluation.test_files import shows_matrix
from utils.evaluation.tta import with_tta
from utils.evaluation.verdict import Judge
from utils.html_report.page import Page
from utils.metrics.ready_metrics import ready_metrics
from utils.options import given_parts
from utils.options.fit import described_pictures
from utils.runs.checkpoint import file_hash, load_named_checkpoint
from utils.training.engine import Engine
from utils.training.network_device import data_device
from utils.training.ready_parts import ready_loss


class EvaluatorBuild(TestSet):
    """Base of eval.Evaluator with the methods that build its attributes, in their order.

    Attributes:
        check: CheckpointCheck: whether the checkpoint gives the outputs it was saved with.
        checkpoint_sha256: the hash of the checkpoint's file (hexadecimal str).
        metrics: accumulator of the test. class_metrics: accumulator by class, for the page and the confusion matrix,
            which ready-made metrics do not have; otherwise `metrics`. shows_matrix: whether there is such a matrix.
        page: Page of report.html, or None. judge: Judge, which compares the test with recorded values.
    """

    def build(self, args, checkpoint, loader, net, parts):
        """Build all parts of the test; return lines (list of str) on them.

        Args:
            args, checkpoint, loader, net: as for Evaluator.
            parts: the ready-made loss and metrics (dict from the role to the object or None).
        """
        if checkpoint is None:
            checkpoint = load_named_checkpoint(args)
        if args.deterministic:
            be_deterministic()
        self.build_loader(args, loader, net)
        device, gpus = select_gpus(args)
        threads = set_threads(args.threads, getattr(self.loader, 'num_workers', 0))
        notes = self.build_network(args, checkpoint, net, parts['loss'], device, gpus)
        self.build_metrics(args, parts['metrics'], device)
        self.page = Page(self, feature_names_of(args)) if args.report else None
        data_notes = self.compare_data(checkpoint)
        self.checkpoint_sha256 = file_hash(args.load_model_path)
        self.judge = Judge(self, checkpoint, parts)
        notes += [*self.judge.notes(), described_pictures(args), *data_notes, *given_parts.notes_on_lost(args, parts)]
        notes += note_of_fonts(args.class_names) if args.save_viz else []
        notes += note_of_palette(args)
        if args.result_dir is None:  # a notebook that did not call prepare_test_args
            args.result_dir = get_test_result_dir(args)
        return [*notes, f'device: {describe_device(gpus, device)}, threads: {threads}']

    def build_network(self, args, checkpoint, net, loss, device, gpus):
        """Build network and loss on their devices, with the weights of the checkpoint; return lines on them."""
        net, notes, self.check = load_network(args, checkpoint, device, 'test', net)
        model, loss = equip_multi_gpu(net, gpus), select_loss(args) if loss is None else ready_loss(loss)
        Engine.__init__(self, args, model, loss, data_device(device))
        self.bind_transforms(self.loader)
        self.apply_speed_options()
        self.model = with_tta(self.model, args)
        return notes + getattr(args, 'past', [])  # what an older record has otherwise

    def build_metrics(self, args, ready, device):
        """Build the metrics; `ready`: ready-made ones or None."""
        self.metrics = select_metrics(args) if ready is None else ready_metrics(ready, args, device)
        self.class_metrics = select_metrics(args) if ready is not None and args.task in METRICS else self.metrics
        self.shows_matrix = shows_matrix(self.class_metrics)
