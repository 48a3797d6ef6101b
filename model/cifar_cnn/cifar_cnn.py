"""CIFAR-10 network with three 5x5 convolutions, as in the "quick" network of cuda-convnet."""

from torch import nn

from model.argument_ranges import CHANNELS, CLASSES, PROBABILITY, SIDES, takes
from model.submodules import refuse_smaller

MIN_SIDE = 8  # three poolings reduce 8 pixels to one


class CifarCNN(nn.Module):
    """Convolutions with 32, 32 and 64 channels, each with max-pooling, and the linear layers 64 and num_classes.

    After the 18 % error network of Krizhevsky's cuda-convnet (2012), with ReLU after every max-pooling and without
    average pooling.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
        image_size: (height, width) of the images, each at least 8.
        dropout: probability of dropping inputs of the linear layers in training, from 0 to below 1.

    Raises:
        DanluError: image_size is too small, or an argument is out of range.
    """

    tasks = ('classification', 'multilabel', 'regression')

    @takes(num_classes=CLASSES, in_channels=CHANNELS, image_size=SIDES, dropout=PROBABILITY)
    def __init__(self, num_classes=10, in_channels=3, image_size=(32, 32), dropout=0.0):
        super().__init__()
        refuse_smaller('cifar_cnn', image_size, MIN_SIDE)
        height, width = image_size
        layers = []
        for before, after in ((in_channels, 32), (32, 32), (32, 64)):
            layers += [nn.Conv2d(before, after, 5, padding=2), nn.MaxPool2d(2), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(64 * (height // 8) * (width // 8), 64),
            nn.ReLU(inplace=True),
            nn.Linear(64, num_classes),
        )

    def forward(self, images):
        """Return the logits (N, num_classes) of float images (N, in_channels, *image_size)."""
        return self.classifier(self.features(images))
