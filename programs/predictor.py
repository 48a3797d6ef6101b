"""The trained network of a checkpoint, or of several, for samples that belong to no data set."""

import warnings

import torch

from data.predicting import predict
from model.load_network import load_network
from model.model_entry import equip_multi_gpu
from options import parse_test_args, test_args
from utils.base.machine import describe_device, select_gpus
from utils.base.record_schema import recorded_args
from utils.evaluation.ensemble import Ensemble, check_alike
from utils.evaluation.tta import with_tta
from utils.options.fit import described_pictures
from utils.runs.checkpoint import load_named_checkpoint
from utils.runs.summaries import summary_of_predictor
from utils.training.engine import Engine
from utils.training.network_device import data_device


class Predictor(Engine):
    """A trained network for images that belong to no data set: `load_predictor(path).predict(images)`.

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
    return Predictor(args, load_named_checkpoint(args), net)


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
    checkpoint = load_named_checkpoint(given)
    return checkpoint, parse_test_args(given, recorded_args(checkpoint))
