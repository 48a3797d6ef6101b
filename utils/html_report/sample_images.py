"""Draw the samples of a page: read them again, run the network on them, and embed the images as data URLs.

An image is an <svg> with layers, so that a layer that several images share is in the file once.
"""

import numpy as np
import torch

from utils import viz
from utils.base.errors import first_line
from utils.base.language import deferred
from utils.drawing.matplotlib_import import import_matplotlib
from utils.html_report.embedded_images import image_url, mask_layer, page_size, resized
from utils.tasks.one_logit import as_classes
from utils.tasks.tasks import task_of

TOP_CLASSES = 5  # number of classes whose probabilities are shown
WRONG, RIGHT, IGNORED = 1, 0, 2
ERROR_COLOUR = (230, 40, 20)


class DrawnSample:
    """A sample as the page shows it.

    Attributes:
        index: index of the sample in the test set.
        fault: why the sample cannot be drawn (str), or None.
        size: (width, height) of the image in pixels.
        panes: list of (title, layers); a layer is a dict: href or `of` (id of another layer), style (a CSS class).
        scores: list of (class index, probability), the highest first, or [].
    """

    def __init__(self, index):
        self.index, self.fault, self.size, self.panes, self.scores = index, None, (1, 1), [], []


class SamplePainter:
    """Draws samples of an Evaluator's test set.

    Args:
        engine: eval.Evaluator.
        colours: (K, 3) uint8 array, colours of the classes, or None.
    """

    def __init__(self, engine, colours):
        self.engine, self.args, self.colours = engine, engine.args, colours
        self.target_kind = task_of(engine.args).target
        self.error_scale = None  # in restoration: the error, in 0..255, at the end of the error map's colour scale

    def draw(self, indices):
        """Return dict from index to DrawnSample; samples that cannot be drawn have a `fault`."""
        found, outputs = {}, []
        for index, sample in self._read(sorted(set(map(int, indices)))):
            drawn = found[index] = DrawnSample(index)
            try:
                if isinstance(sample, Exception):
                    raise sample
                outputs.append((drawn, *self._predict(drawn, *sample)))
            except Exception as error:  # any exception of a custom data set or network is shown in the page
                drawn.fault = first_line(error)
        if self.target_kind == 'picture' and outputs:
            errors = [np.abs(output.astype(int) - truth).mean(-1) for _, _, output, truth in outputs]
            self.error_scale = max(1.0, float(np.percentile(np.concatenate([e.ravel() for e in errors]), 99.5)))
        for drawn, *output in outputs:
            try:
                self._paint(drawn, *output)
            except Exception as error:  # for example an image of two channels, or a mask of another size
                drawn.fault = first_line(error)
        return found

    def _read(self, indices):
        """Yield (index, (image (C, H, W), target)) of samples, or (index, exception) for unreadable samples."""
        batches = getattr(self.engine.loader, 'dataset', None)
        is_indexed = hasattr(getattr(self.engine.loader, 'batch_sampler', None), 'set_epoch')  # of data.samplers
        if is_indexed and not hasattr(batches.dataset, 'order'):
            for index in indices:
                try:
                    images, targets, *_ = batches.__getitems__((1, np.array([index])))
                    sample = images[0], targets[0]
                except Exception as error:  # any exception of a custom data set is shown in the page
                    sample = error
                yield index, sample
            return
        wanted, first = set(indices), 0  # a stream has to be read from the start
        for images, targets, *_ in self.engine.loader:
            for index in sorted(wanted.intersection(range(first, first + len(images)))):
                yield index, (images[index - first], targets[index - first])
            first += len(images)
            if first > indices[-1]:
                return

    @torch.inference_mode()
    def _predict(self, drawn, image, target):
        """Return the image (C, H, W) uint8, and prediction and target as arrays (H, W, ...), None if not per pixel.

        Sets drawn.scores for tasks with classes.
        """
        images, *both = self.engine.step((image[None], target[None]))
        predictions, targets = as_classes(self.engine.args, *both)
        pixels = image.cpu() if image.dtype == torch.uint8 else self._denormalised(images)[0]
        if self.target_kind in ('label', 'labels'):
            scores = predictions[0].double()
            scores = scores.softmax(0) if self.target_kind == 'label' else scores.sigmoid()
            values, classes = scores.cpu().topk(min(TOP_CLASSES, len(scores)))
            drawn.scores = list(zip(classes.tolist(), values.tolist(), strict=True))
        if self.target_kind == 'mask':
            return pixels, predictions[0].max(0).indices.cpu().numpy(), targets[0].cpu().numpy()
        if self.target_kind == 'picture':
            both = (viz.rgb_of(viz.denormalise(images, [0.0], [1.0])[0]) for images in (predictions, targets))
            return (pixels, *both)
        return pixels, None, None

    def _denormalised(self, images):
        return viz.input_pixels(images, self.args)

    def _paint(self, drawn, image, prediction, target):
        """Set the panes of a sample."""
        rgb = viz.rgb_of(image)
        size = page_size(rgb.shape)
        drawn.size, name = size, f'p{drawn.index}'
        input_layer = {'href': image_url(resized(rgb, size)), 'id': name}
        if self.target_kind == 'mask':
            drawn.panes = self._mask_panes(input_layer, name, prediction, target, size)
        elif self.target_kind == 'picture':
            panes = [
                (deferred('input'), rgb),
                (deferred('output'), prediction),
                (deferred('truth'), target),
                (deferred('error'), self._error_map(prediction, target)),
            ]
            drawn.panes = [(title, [{'href': image_url(resized(pixels, size))}]) for title, pixels in panes]
        else:
            drawn.panes = [('', [input_layer])]

    def _mask_panes(self, input_layer, name, prediction, target, size):
        """Return the panes input, truth, prediction and errors; the masks are layers over the shared input."""
        ignored = (target < 0) | (target >= len(self.colours))
        if self.args.ignore_index is not None:
            ignored |= target == self.args.ignore_index
        wrong = np.where(ignored, IGNORED, np.where(prediction == target, RIGHT, WRONG))
        truth = np.where(ignored, 255, target)
        shared_input, errors = {'of': name}, mask_layer(wrong, [None, ERROR_COLOUR], size, 'error')
        return [
            (deferred('input'), [input_layer]),
            (deferred('truth'), [shared_input, mask_layer(truth, self.colours, size, 'mask')]),
            (deferred('prediction'), [shared_input, mask_layer(prediction, self.colours, size, 'mask')]),
            (deferred('errors'), [shared_input | {'style': 'dim'}, errors]),
        ]

    def _error_map(self, prediction, target):
        """Return the absolute error of each pixel in the colours of the map inferno, (H, W, 3) uint8."""
        colormaps = import_matplotlib().colormaps

        error = np.abs(prediction.astype(int) - target).mean(-1) / self.error_scale
        return (colormaps['inferno'](error.clip(0, 1))[..., :3] * 255).round().astype(np.uint8)


def errors_apart(groups, correct):
    """Return `groups` with the group 'worst' split into 'errors' and 'uncertain', the right predictions.

    Args:
        groups: what `select_groups` returned.
        correct: (N,) float, 1 for right predictions, 0 for wrong ones.
    """
    worst = groups.get('worst', [])
    split = {
        'errors': [index for index in worst if correct[index] == 0],
        'uncertain': [index for index in worst if correct[index] != 0],
    }
    others = {name: indices for name, indices in groups.items() if name != 'worst'}
    return {name: indices for name, indices in (split | others).items() if indices}


def select_groups(badness, worst, best, others, seed):
    """Return the samples to draw: dict from a group's name to indices (list of int); the groups are disjoint.

    Args:
        badness: (N,) float, larger for worse samples; -inf for ignored samples, which are not drawn.
        worst, best, others: sizes of the groups; the others are random samples, or those around the median if seed is
            None.
        seed: seed of the random samples, or None.
    """
    order = np.argsort(-badness, kind='stable')
    order = order[badness[order] > -np.inf]
    count = len(order)
    groups = {'worst': order[: min(worst, count)].tolist()}
    remaining = order[len(groups['worst']) :]
    groups['best'] = remaining[::-1][:best].tolist()
    remaining = remaining[: len(remaining) - len(groups['best'])]
    if seed is None:
        start = max(0, min(count // 2 - others // 2 - len(groups['worst']), len(remaining) - others))
        groups['median'] = remaining[start : start + others].tolist()
    else:
        drawn = np.random.default_rng(seed).permutation(len(remaining))[:others]
        groups['others'] = remaining[np.sort(drawn)].tolist()
    return {name: indices for name, indices in groups.items() if indices}
