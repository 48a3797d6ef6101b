"""LeNet-5, the first network to try on small pictures such as MNIST's."""

from torch import nn

from utils.errors import DanluError

SMALLEST = 12  # two poolings and one unpadded 5x5 convolution leave one pixel of 12


class LeNet(nn.Module):
    """LeNet-5 with ReLU and max-pooling: logits (N, num_classes) from float images (N, in_channels, *image_size).

    LeCun et al. 1998, Gradient-based learning applied to document recognition,
    http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf; ReLU, max-pooling and a linear last layer, as it is usually
    built today, learn faster than the tanh, the average pooling and the radial basis functions of the paper.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
        image_size: (height, width) of the images, each at least 12.

    Raises:
        DanluError: image_size is too small.
    """

    tasks = ('classification',)

    def __init__(self, num_classes=10, in_channels=1, image_size=(28, 28)):
        super().__init__()
        height, width = image_size
        if min(height, width) < SMALLEST:
            raise DanluError(
                f'LeNet: --image_size {height} {width} is too small: the smallest is {SMALLEST} {SMALLEST}'
            )
        self.features = nn.Sequential(
            # The padding stands for the two blank rows that the paper adds around a digit of 28x28.
            nn.Conv2d(in_channels, 6, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * ((height // 2 - 4) // 2) * ((width // 2 - 4) // 2), 120),
            nn.ReLU(inplace=True),
            nn.Linear(120, 84),
            nn.ReLU(inplace=True),
            nn.Linear(84, num_classes),
        )

    def forward(self, images):
        """Return the logits (N, num_classes) of float images (N, in_channels, *image_size)."""
        return self.classifier(self.features(images))
