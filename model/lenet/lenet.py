"""LeNet-5, for small images such as MNIST's."""

from torch import nn

from model.argument_ranges import CHANNELS, CLASSES, SIDES, integer, takes
from model.submodules import refuse_smaller

MIN_SIDE = 12  # two poolings and an unpadded 5x5 convolution reduce 12 pixels to one; 16 without padding


class LeNet(nn.Module):
    """LeNet-5 with ReLU and max-pooling: logits (N, num_classes) from float images (N, in_channels, *image_size).

    LeCun et al. 1998, Gradient-based learning applied to document recognition,
    http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf. ReLU, max-pooling and a linear last layer, as common today,
    learn faster than the paper's tanh, average pooling and radial basis functions.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
        image_size: (height, width) of the images, each at least 12, or 16 without padding.
        padding: of the first convolution, 0 to 256 pixels. 2 replaces the margin that the paper adds to 28x28 digits;
            with 0, images of 32x32 have the paper's layer sizes, 400-120-84.

    Raises:
        DanluError: image_size is too small, or an argument is out of range.
    """

    tasks = ('classification', 'multilabel', 'regression')

    @takes(num_classes=CLASSES, in_channels=CHANNELS, image_size=SIDES, padding=integer(0, 256))
    def __init__(self, num_classes=10, in_channels=1, image_size=(28, 28), padding=2):
        super().__init__()
        refuse_smaller('LeNet', image_size, MIN_SIDE + 4 - 2 * padding)
        height, width = (((side + 2 * padding - 4) // 2 - 4) // 2 for side in image_size)  # of the feature maps
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 6, 5, padding=padding),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * height * width, 120),
            nn.ReLU(inplace=True),
            nn.Linear(120, 84),
            nn.ReLU(inplace=True),
            nn.Linear(84, num_classes),
        )

    def forward(self, images):
        """Return the logits (N, num_classes) of float images (N, in_channels, *image_size)."""
        return self.classifier(self.features(images))
