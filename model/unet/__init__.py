"""U-Net, for segmentation and restoration from scratch."""

from model.unet.unet import UNet

__all__ = ['UNet']
