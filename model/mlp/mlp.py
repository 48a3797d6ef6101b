"""Multi-layer perceptron: linear layers with ReLU, a baseline for convolutional networks."""

import itertools
import math

from torch import nn

from model.argument_ranges import CLASSES, PROBABILITY, integer, one_or_more, sides, takes


class MLP(nn.Module):
    """A multi-layer perceptron on flattened images or feature vectors: logits (N, num_classes).

    Args:
        num_classes: number of logits.
        in_channels, image_size: of the images; for vectors of in_channels features, image_size is ().
        hidden: widths of the hidden layers: a tuple of ints, or one int; () is a linear classifier.
        dropout: probability of dropping outputs of hidden layers in training, from 0 to below 1.

    Raises:
        DanluError: an argument is out of range.
    """

    tasks = ('classification', 'multilabel', 'regression')
    vectors = True

    @takes(
        num_classes=CLASSES,
        in_channels=integer(1, 2**31),  # or number of features
        image_size=sides(1, 2**16, empty=True),
        hidden=one_or_more(1, 2**24),
        dropout=PROBABILITY,
    )
    def __init__(self, num_classes=10, in_channels=1, image_size=(28, 28), hidden=(256,), dropout=0.0):
        super().__init__()
        hidden = (hidden,) if isinstance(hidden, int) else tuple(hidden)
        widths, layers = [in_channels * math.prod(image_size), *hidden], [nn.Flatten()]
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU(inplace=True), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], num_classes))

    def forward(self, images):
        """Return the logits (N, num_classes) of float images (N, in_channels, *image_size)."""
        return self.layers(images)
