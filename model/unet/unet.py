"""U-Net, a segmentation network that learns from few pictures and needs no pretrained weights."""

import torch
from torch import nn

from model.submodules import DoubleConv, UpConv


class UNet(nn.Module):
    """U-Net: logits (N, num_classes, H, W) from float images (N, in_channels, H, W), H and W of any size.

    Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597, with padded convolutions and batch normalisation, and
    narrower: the paper's width is 64; 16 trains on a CPU.

    Args:
        num_classes: number of classes, the background included.
        in_channels: channels of the images.
        width: channels at full size; each level below has twice as many.
        depth: number of halvings of the size.
    """

    tasks = ('segmentation',)

    def __init__(self, num_classes, in_channels=3, width=16, depth=4):
        super().__init__()
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
        # Convolutions take over the layout of their weights: on two CPU cores this one takes half the time.
        self.to(memory_format=torch.channels_last)

    def forward(self, images):
        """Return the logits (N, num_classes, H, W) of float images (N, in_channels, H, W)."""
        features = self.encoder[0](images)
        skips = []
        for encode in self.encoder[1:]:
            skips.append(features)
            features = encode(self.pool(features))
        for up, decode, skip in zip(self.ups, self.decoder, reversed(skips), strict=True):
            features = decode(torch.cat((skip, up(features, skip)), dim=1))
        return self.head(features)
