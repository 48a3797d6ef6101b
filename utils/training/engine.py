"""The engine of training and testing: batches to the device and through the network, loss, metrics, evaluation."""

from functools import cached_property

import torch

from utils import viz
from utils.base.batches import images_and_targets, match_net_dtype
from utils.base.errors import DanluError
from utils.base.progress import running_text
from utils.distributed import processes
from utils.distributed.fsdp import is_sharded
from utils.drawing.colours import colours_for
from utils.drawing.scatter import scatter
from utils.logger import Recorder
from utils.metrics.ready_metrics import ReadyMetrics
from utils.runs.checkpoint import unwrap_model
from utils.tasks.one_logit import as_classes, for_loss
from utils.tasks.target_scale import TargetScale
from utils.tasks.targets import check_outputs, check_same_shape, shaped_targets, with_axis
from utils.tasks.tasks import TASKS, target_names, task_of
from utils.training.batch_transform import PICTURE_DIMENSIONS, BatchTransform
from utils.training.precision import compile_network, forward

TORCH_LOSS_MODULE = 'torch.nn.modules.loss'
ELEMENTWISE_LOSSES = (torch.nn.MSELoss, torch.nn.L1Loss, torch.nn.SmoothL1Loss, torch.nn.HuberLoss)  # which only warn


class Engine:
    """Base of Trainer and Evaluator. A new task overrides `step`, `compute_loss`, `compute_metrics`, `draw_samples`.

    Args:
        args: the run's options.
        model: nn.Module on its device, wrapped for several GPUs or not.
        loss: nn.Module: (predictions, targets) -> 0-d tensor. Its optional `count(predictions, targets)` is the number
            of values in that mean; its optional `last_parts` are the parts of a weighted sum (loss.WeightedSum).
        device: torch.device of the inputs.

    Attributes:
        drawn_names: names (list of str) of the samples that `draw_sample_grid` gets; empty if they are not known.
    """

    drawn_names = ()

    def __init__(self, args, model, loss, device):
        self.args, self.model, self.loss, self.device = args, model, loss.to(device), device
        self.prepare, self.amp = BatchTransform(args, device), None
        self.target_kind = TASKS[args.task].target if args.task in TASKS else None  # None: the project's own
        self.target_scale = TargetScale(args, device)

    def apply_speed_options(self):
        """Apply args.amp, args.channels_last and args.compile.

        Raises:
            DanluError: the network cannot be compiled here.
        """
        self.amp = self.args.amp if self.args.amp != 'off' else None
        if self.args.channels_last:
            self.prepare.memory_format = torch.channels_last
            self.model.to(memory_format=torch.channels_last)
        if self.args.compile:
            known = self.args.channels and self.args.image_size is not None
            image = torch.zeros(1, self.args.channels, *self.args.image_size, device=self.device) if known else None
            if getattr(self.args, 'accumulate', 1) > 1 and len({*self.loss_groups().values()}) > 1:
                torch._functorch.config.donated_buffer = False  # the backward pass runs once for each part
            compile_network(unwrap_model(self.model), image)

    def bind_transforms(self, *loaders):
        """Let Danlu's own loaders transform their batches, many small ones at once; other loaders are not changed."""
        for loader in loaders:
            if hasattr(loader, 'bind_transform'):
                loader.bind_transform(self.device, self.prepare)

    def to_device(self, batch):
        """Return (images, targets) of a loader's batch as the network takes them (batch_transform.py)."""
        images, targets = self.prepare(*images_and_targets(batch))
        return match_net_dtype(images, self.model), shaped_targets(targets, self.target_kind)

    def step(self, batch):
        """Return (images, predictions, targets) of a batch: the network's inputs, its outputs, and the targets."""
        images, targets = self.to_device(batch)
        (predictions,) = with_axis(self.target_kind, forward(self.model, images, self.amp))
        return images, predictions, targets

    def compute_loss(self, predictions, targets):
        """Return the batch's loss: 0-d tensor. For regression it is computed on standardised targets."""
        return self.loss(*self.loss_inputs(predictions, targets))

    def loss_inputs(self, predictions, targets):
        """Return predictions and targets as the loss takes them (see utils/tasks)."""
        predictions, targets = with_axis(self.target_kind, predictions, targets)
        if type(self.loss).__module__.startswith(TORCH_LOSS_MODULE):  # those of Danlu look themselves
            check_outputs('the loss', predictions)
        predictions, targets = for_loss(self.args, self.loss, predictions, targets)
        if isinstance(self.loss, ELEMENTWISE_LOSSES):
            check_same_shape(predictions, targets)
        return self.target_scale(predictions, targets)

    def loss_count(self, predictions, targets):
        """Return the number of values that the batch's loss is the mean of (int or 0-d tensor), for exact averages."""
        own = type(self).compute_loss is not Engine.compute_loss  # then self.loss may be another loss
        if own or not hasattr(self.loss, 'count'):
            return len(targets)
        return self.loss.count(*for_loss(self.args, self.loss, predictions, targets))

    def loss_parts(self, loss, predictions, targets):
        """Return the parts of a batch's loss: dict from a name ('' if it is no sum) to (weight, value, count)."""
        own = type(self).compute_loss is not Engine.compute_loss  # then the parts may be those of another loss
        parts = {} if own else getattr(self.loss, 'last_parts', {})
        return parts or {'': (1.0, loss, self.loss_count(predictions, targets))}

    def loss_groups(self):
        """Return groups of `loss_parts` with the same count: dict from each name to the first name of its group.

        A user's own sum without `counted_alike` (see loss.WeightedSum) has one group for each part.
        """
        if type(self).compute_loss is not Engine.compute_loss or not hasattr(self.loss, 'last_parts'):
            return {'': ''}
        if hasattr(self.loss, 'counted_alike'):
            return self.loss.counted_alike()
        return {name: name for name in self.loss.parts()}

    def record_loss(self, recorder, name, loss, predictions, targets, parts=None):
        """Record a batch's loss as `name`, the parts of a sum as `name`_ce and so on; into a Recorder or a Logger.

        Args:
            parts: result of `loss_parts`, if it is known already.
        """
        parts = self.loss_parts(loss, predictions, targets) if parts is None else parts
        if '' in parts:
            _, value, count = parts['']
            recorder.record(name, value, count)
        else:
            recorder.record_sum(name, {f'{name}_{part}': values for part, values in parts.items()})

    def check_preemption(self):
        """Called before each batch of an evaluation; may raise an exception to end it."""

    def compute_metrics(self, predictions, targets, metrics):
        """Add a batch to `metrics`: the accumulator of training or of validation."""
        predictions, targets = with_axis(self.target_kind, predictions, targets)
        if not isinstance(metrics, ReadyMetrics):
            predictions, targets = as_classes(self.args, predictions, targets)
        metrics.update(predictions, targets)

    def evaluate(self, batches, metrics, on_batch=None):
        """Evaluate the network on all batches once; used by validation and test alike.

        Args:
            batches: iterable of batches, usually a utils.base.progress.Progress.
            metrics: accumulator, which is reset first.
            on_batch: function(number of samples before, images, predictions, targets), for drawing.

        Returns:
            'loss' and the metrics (dict name -> float), and the number of samples seen (int).
        """
        self.model.eval()
        metrics.reset()
        recorder, seen = Recorder(), 0
        with without_gradients(self.model):
            for number, batch in enumerate(batches, 1):
                self.check_preemption()
                images, predictions, targets = self.step(batch)
                if processes.is_padding(getattr(batches, 'loader', None), number - 1):
                    continue  # the forward pass is needed all the same: a sharded network runs on all processes
                self.record_loss(recorder, 'loss', self.compute_loss(predictions, targets), predictions, targets)
                self.compute_metrics(predictions, targets, metrics)
                if on_batch is not None:
                    on_batch(seen, images, predictions, targets)
                seen += len(images)
                if number % self.args.print_freq == 0 and hasattr(batches, 'show'):
                    batches.show(running_text(recorder.mean('loss'), metrics))
        recorder, metrics, seen = processes.all_reduce_evaluation(recorder, metrics, seen, self.device)
        if not seen:
            raise DanluError('there is no sample to evaluate: the list or loader is empty')
        return {**recorder.summary(), **metrics.compute()}, seen

    def draw_samples(self, images, predictions, targets):
        """Return one image per sample (list of uint8 arrays (H, W, 3)): input with prediction and target.

        Args:
            images, predictions, targets: results of `step`; images are float32 (B, C, H, W).
        """
        predictions, targets = as_classes(self.args, predictions, targets)
        pictures = viz.drawable(viz.input_pixels(images, self.args))
        kind, targets = task_of(self.args).target, targets.cpu()
        if kind == 'numbers':
            samples = zip(pictures, predictions.tolist(), targets.tolist(), strict=True)
            return [viz.numbered_picture(*sample) for sample in samples]
        if kind == 'picture':
            restored = (viz.drawable(viz.denormalise(part, [0.0], [1.0])) for part in (predictions, targets))
            return [viz.restoration_panel(*sample) for sample in zip(pictures, *restored, strict=True)]
        if kind == 'labels':
            sets = ([row.nonzero().flatten().tolist() for row in part] for part in (predictions.cpu() > 0, targets))
            samples = zip(pictures, *sets, strict=True)
            return [viz.labelled_picture(*sample, self.args.class_names) for sample in samples]
        predicted = predictions.max(1).indices.cpu()
        if kind == 'mask':
            samples = zip(pictures, predicted, targets, strict=True)
            return [viz.segmentation_panel(*sample, self.colours, self.args.ignore_index) for sample in samples]
        if targets.dim() == 2:  # mixed labels: the class with the largest share
            targets = targets.argmax(1)
        samples = zip(pictures, predicted.tolist(), targets.tolist(), strict=True)
        return [viz.labelled_picture(*sample, self.args.class_names) for sample in samples]

    def gen_imgs_to_write(self, images, predictions, targets, split):
        """Return the images of a training for TensorBoard: dict from a tag to a uint8 array (H, W, 3)."""
        if images.dim() != PICTURE_DIMENSIONS:  # features, signals ..., which are not drawn
            if task_of(self.args).target != 'numbers':
                return {}
            points = scatter(predictions, targets, target_names(self.args))
            return {} if points is None else {f'{split}/samples': points}
        columns = 1 if task_of(self.args).by_pixel else 4
        return {f'{split}/samples': self.draw_sample_grid(images, predictions, targets, columns)}

    def draw_sample_grid(self, images, predictions, targets, columns):
        """Return samples, as for `draw_samples`, in one image of about a million pixels, with names and a legend."""
        parts = [images, predictions, targets]
        if type(self).draw_samples is Engine.draw_samples:  # an overriding method may need the original resolution
            pixels = images.shape[0] * images.shape[-2] * images.shape[-1] * (3 if task_of(self.args).by_pixel else 1)
            factor = max(1.0, (pixels / (0.8 * viz.MAX_SHEET_PIXELS)) ** 0.5)  # reduced before text is drawn
            if factor > 1:
                size = images.shape[-2:]
                parts = [viz.reduced(part, factor) if part.shape[-2:] == size else part for part in parts]
        pictures = self.draw_samples(*parts)
        if len(self.drawn_names) == len(pictures):
            pictures = [viz.named(*each) for each in zip(pictures, self.drawn_names, strict=True)]
        return self.with_legend(viz.grid(pictures, columns), *parts[1:])

    def with_legend(self, picture, predictions, targets):
        """Return an image, uint8 array (H, W, 3), with a legend of the classes below it if samples have masks.

        Args:
            predictions, targets: (B, K, H, W) and (B, H, W) of the drawn samples.
        """
        if task_of(self.args).target != 'mask':
            return picture
        classes = None
        if self.args.num_classes > viz.MAX_FULL_LEGEND:
            classes = torch.cat([predictions.max(1).indices.flatten(), targets.flatten()]).unique().tolist()
        return viz.with_legend(picture, self.colours, self.args.class_names, classes)

    @cached_property
    def colours(self):
        """The colours of the classes, (K, 3) uint8 array."""
        return colours_for(self.args)


def without_gradients(model):
    """Return the context (of `with`) of an evaluation of `model`, which records nothing for gradients."""
    # Parameters gathered from shards in inference mode could not be trained afterwards.
    return torch.no_grad() if is_sharded(model) else torch.inference_mode()
