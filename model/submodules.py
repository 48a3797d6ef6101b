"""Blocks shared by several models, for float tensors (N, C, H, W), and a check of image sizes."""

from torch import nn
from torch.nn import functional as F

from model.argument_ranges import CHANNELS, FLAG, integer, takes
from utils.base.errors import DanluError

FEATURES = integer(1, 2**31)  # channels within a network


def refuse_smaller(name, image_size, smallest):
    """Raise DanluError if a side of image_size (height, width) is smaller than `smallest`; `name`: of the model."""
    height, width = image_size
    if min(height, width) < smallest:
        raise DanluError(f'{name}: --image_size {height} {width} is too small: the smallest is {smallest} {smallest}')


class ConvBnRelu(nn.Module):
    """Convolution, batch normalisation, ReLU: (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ...).

    The padding keeps the size at stride 1 for any kernel and dilation. Batch normalisation: Ioffe and Szegedy 2015,
    https://arxiv.org/abs/1502.03167.

    Args:
        in_channels, out_channels: numbers of channels.
        kernel_size, stride, dilation: int, at least 1, the same for both directions.
        bias: whether the convolution has a bias; not by default, as batch normalisation removes it.
    """

    @takes(
        in_channels=FEATURES,
        out_channels=FEATURES,
        kernel_size=integer(1, 255),
        stride=integer(1, 255),
        dilation=integer(1, 255),
        bias=FLAG,
    )
    def __init__(self, in_channels, out_channels, kernel_size=3, *, stride=1, dilation=1, bias=False):
        super().__init__()
        total = dilation * (kernel_size - 1)
        # An even kernel with an odd dilation needs one more row on one side, which Conv2d does not support.
        self.pad = nn.ZeroPad2d((0, 1, 0, 1)) if total % 2 else nn.Identity()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride=stride, padding=total // 2, dilation=dilation, bias=bias
        )
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, features):
        """Return the activations (N, out_channels, ceil(H / stride), ceil(W / stride)), at least 0."""
        return F.relu(self.norm(self.conv(self.pad(features))), inplace=True)


class DoubleConv(nn.Sequential):
    """Two 3x3 ConvBnRelu in a row: (N, in_channels, H, W) -> (N, out_channels, H, W)."""

    @takes(in_channels=FEATURES, out_channels=FEATURES)
    def __init__(self, in_channels, out_channels):
        super().__init__(ConvBnRelu(in_channels, out_channels), ConvBnRelu(out_channels, out_channels))


class UpConv(nn.Module):
    """Convert features to the channels and the exact size of a skip connection, so that odd sizes need no cropping."""

    @takes(in_channels=FEATURES, out_channels=FEATURES)
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = ConvBnRelu(in_channels, out_channels, kernel_size=1)

    def forward(self, features, skip):
        """Return features (N, in_channels, h, w) as (N, out_channels, H, W), where skip is (N, any, H, W)."""
        # A 1x1 convolution before 'nearest' upsampling gives the same result at a quarter of the cost. In contrast to
        # 'bilinear', 'nearest' has a deterministic gradient on the GPU.
        return F.interpolate(self.conv(features), size=skip.shape[-2:], mode='nearest')


class Stem(nn.Module):
    """Map in_channels to the three channels of an ImageNet backbone: (N, in_channels, H, W) -> (N, 3, H, W).

    A residual block whose last convolution is initialised with zero. With three channels the stem starts as the
    identity, so that the pretrained weights of the backbone stay useful. With other numbers it starts as the mean of
    the channels, repeated three times: a grey image becomes the same image in RGB. Zero initialisation: Goyal et al.
    2017, https://arxiv.org/abs/1706.02677, section 5.1.
    """

    @takes(in_channels=CHANNELS, width=FEATURES)
    def __init__(self, in_channels, width=16):
        super().__init__()
        self.shortcut = nn.Identity() if in_channels == 3 else nn.Conv2d(in_channels, 3, 1, bias=False)
        self.expand = nn.Conv2d(in_channels, width, 3, padding=1)
        self.project = nn.Conv2d(width, 3, 3, padding=1)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        if in_channels != 3:
            nn.init.constant_(self.shortcut.weight, 1 / in_channels)

    def forward(self, images):
        """Return images (N, in_channels, H, W) as (N, 3, H, W)."""
        return self.shortcut(images) + self.project(F.relu(self.expand(images), inplace=True))
