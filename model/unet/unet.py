"""U-Net, for segmentation and restoration; learns from few images without pretrained weights."""

import torch
from torch import nn

from model.argument_ranges import CHANNELS, CLASSES, integer, one_of, takes
from model.submodules import DoubleConv, UpConv


class UNet(nn.Module):
    """U-Net: logits (N, num_classes, H, W) from float images (N, in_channels, H, W), H and W of any size.

    Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597, with padded convolutions, batch normalisation and a
    smaller width: the paper's width is 64; 16 trains on a CPU.

    For restoration the outputs are pixels in 0..1 with num_classes channels. If the input has the same number of
    channels, it is added to the output (residual learning: Zhang et al. 2017, Beyond a Gaussian Denoiser,
    https://arxiv.org/abs/1608.03981).

    Args:
        num_classes: number of classes including background, or number of channels to restore.
        in_channels: channels of the images.
        width: channels at full size; they double at each level.
        depth: number of times that the size is halved.
        task: 'segmentation' or 'restoration'.

    Raises:
        DanluError: an argument is out of range.
    """

    tasks = ('segmentation', 'restoration')

    @takes(
        num_classes=CLASSES,
        in_channels=CHANNELS,
        width=integer(1, 2**14),
        depth=integer(0, 16),
        task=one_of('segmentation', 'restoration'),
    )
    def __init__(self, num_classes, in_channels=3, width=16, depth=4, task='segmentation'):
        super().__init__()
        self.residual = task == 'restoration' and num_classes == in_channels
        widths = [width * 2**level for level in range(depth + 1)]
        self.encoder = nn.ModuleList(
            DoubleConv(before, after) for before, after in zip([in_channels, *widths], widths, strict=False)
        )
        # Rounding up keeps at least one pixel at every level.
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        upwards = widths[-2::-1]
        self.ups = nn.ModuleList(UpConv(2 * channels, channels) for channels in upwards)
        self.decoder = nn.ModuleList(DoubleConv(2 * channels, channels) for channels in upwards)
        self.head = nn.Conv2d(width, num_classes, 1)
        if self.residual:  # starts as the identity
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)
        # The layout of the weights determines that of the convolutions: on two CPU cores, twice as fast.
        self.to(memory_format=torch.channels_last)

    def forward(self, images):
        """Return the logits, or restored images, (N, num_classes, H, W) of float images (N, in_channels, H, W)."""
        features = self.encoder[0](images)
        skips = []
        for encode in self.encoder[1:]:
            skips.append(features)
            features = encode(self.pool(features))
        for up, decode, skip in zip(self.ups, self.decoder, reversed(skips), strict=True):
            features = decode(torch.cat((skip, up(features, skip)), dim=1))
        output = self.head(features)
        return images + output if self.residual else output
