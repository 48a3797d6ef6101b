"""U-Net, a network from pictures to masks or pictures that learns from few and needs no pretrained weights."""

import torch
from torch import nn

from model.argument_ranges import CHANNELS, CLASSES, integer, one_of, takes
from model.submodules import DoubleConv, UpConv


class UNet(nn.Module):
    """U-Net: logits (N, num_classes, H, W) from float images (N, in_channels, H, W), H and W of any size.

    Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597, with padded convolutions and batch normalisation, and
    narrower: the paper's width is 64; 16 trains on a CPU.

    For restoration the outputs are pixels in 0..1, of num_classes channels. Where the input has as many it is added to
    the output, so that the network learns what to change (residual learning: Zhang et al. 2017, Beyond a Gaussian
    Denoiser, https://arxiv.org/abs/1608.03981).

    Args:
        num_classes: number of classes, the background included, or of channels to restore.
        in_channels: channels of the images.
        width: channels at full size; each level below has twice as many.
        depth: number of halvings of the size.
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
        # Rounding up keeps at least one pixel at every level, however small the picture.
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        upwards = widths[-2::-1]
        self.ups = nn.ModuleList(UpConv(2 * channels, channels) for channels in upwards)
        self.decoder = nn.ModuleList(DoubleConv(2 * channels, channels) for channels in upwards)
        self.head = nn.Conv2d(width, num_classes, 1)
        if self.residual:  # it begins by leaving pictures as they are
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)
        # Convolutions take over the layout of their weights: on two CPU cores this one takes half the time.
        self.to(memory_format=torch.channels_last)

    def forward(self, images):
        """Return the logits, or restored pictures, (N, num_classes, H, W) of float images (N, in_channels, H, W)."""
        features = self.encoder[0](images)
        skips = []
        for encode in self.encoder[1:]:
            skips.append(features)
            features = encode(self.pool(features))
        for up, decode, skip in zip(self.ups, self.decoder, reversed(skips), strict=True):
            features = decode(torch.cat((skip, up(features, skip)), dim=1))
        output = self.head(features)
        return images + output if self.residual else output
