"""U-Net, for segmentation from scratch."""

from model.unet.unet import UNet

__all__ = ['UNet']
