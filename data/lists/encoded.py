"""Images in files that the device decodes, crops and resizes in batches: --decoder torchcodec_gpu.

Worker processes read the files, check their headers and choose the crops. A device gets the JPEG files that any other
decoder gets, if torch can resize them; the other files are decoded by the worker processes.
"""

import io
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from data.lists.bit_depth import MAX_BITS
from data.lists.decoders import MODES, select_decoder
from data.lists.pictures import DECODE_ERRORS, JPEG_END, JPEG_SCAN, open_picture, read_picture
from data.lists.resizing import TORCH_INTERPOLATIONS, resized_by_torch, source_and_target_box
from utils.base.errors import DanluError
from utils.options.decoders import package_of
from utils.options.fit import Fit

MAX_PIXELS_PER_CALL = 2**26  # 192 MiB of RGB; photographs of 12 megapixels are decoded five at a time
ORIENTATION, UPRIGHT = 0x0112, 1  # EXIF
RGB_COMPONENTS = [ord(letter) for letter in 'RGB']  # identifiers in JPEG files that are not stored as YCbCr


class EncodedPicture(NamedTuple):
    """An encoded image, and the crop and size to decode.

    Attributes:
        content: of the file (bytes); None in an EncodedBatch.
        full: (height, width).
        channels, size, fit: as for data.lists.pictures.read_picture.
        box, place: from data.lists.resizing.source_and_target_box.
    """

    content: bytes | None
    full: tuple
    channels: int
    size: tuple
    fit: Fit
    box: tuple
    place: tuple


def encode_picture(content, channels, size, fit, part=None, bits=MAX_BITS, checked=True):
    """Return an image as EncodedPicture if the device can decode it, otherwise as `read_picture`; arguments as there.

    Args:
        content: of the file (bytes).
    """
    with open_picture(content) as picture:
        if size is not None and fit.interpolation in TORCH_INTERPOLATIONS and _is_for_device(picture, content, fit):
            full = picture.height, picture.width
            return EncodedPicture(content, full, channels, size, fit, *source_and_target_box(full, size, fit, part))
    return read_picture(content, channels, size, fit, part, bits, checked)


def _is_for_device(picture, content, fit):
    """Return whether an opened image is a complete, upright JPEG of YCbCr or grey pixels (bool)."""
    if picture.format not in select_decoder(fit.decoder).formats or picture.mode not in MODES:
        return False
    is_rgb = picture.info.get('adobe_transform') == 0 or [layer[0] for layer in picture.layer] == RGB_COMPONENTS
    if (is_rgb and picture.mode == 'RGB') or content.rfind(JPEG_END) < content.rfind(JPEG_SCAN):
        return False
    try:
        return picture.getexif().get(ORIENTATION, UPRIGHT) == UPRIGHT
    except DECODE_ERRORS:  # of damaged EXIF data, which read_picture reports
        return False


def is_encoded(samples):
    """Return whether any of the images or targets of a batch is an EncodedPicture (bool)."""
    return any(isinstance(sample, EncodedPicture) for sample in samples)


class EncodedBatch:
    """A batch of images, of which `decode` decodes those that are EncodedPictures.

    Args:
        images: sequence of B EncodedPictures, and uint8 tensors (C, H, W) of the same size.
        key: (epoch, samples) of the batch.
    """

    def __init__(self, images, key):
        self.key, self.pictures = key, {}
        contents, pixels = [], []
        for place, image in enumerate(images):
            if isinstance(image, EncodedPicture):
                contents.append(np.frombuffer(image.content, np.uint8))
                self.pictures[place] = image._replace(content=None)
            else:
                pixels.append(image)
        self.pixels = torch.stack(pixels) if pixels else None
        # One tensor, which worker processes send as shared memory.
        self.contents, self.lengths = torch.from_numpy(np.concatenate(contents)), list(map(len, contents))
        self.count = len(images)

    def __len__(self):
        return self.count

    def decode(self, device):
        """Return the images, uint8 tensor (B, C, H, W) on `device`, and the places (list) that could not be decoded."""
        picture = next(iter(self.pictures.values()))
        images = torch.empty((self.count, picture.channels, *picture.size), dtype=torch.uint8, device=device)
        if self.pixels is not None:
            images[[place for place in range(self.count) if place not in self.pictures]] = self.pixels.to(device)
        contents, refused = dict(zip(self.pictures, self.contents.split(self.lengths), strict=True)), []
        for places in self._calls():
            decoded = _decode([self.pictures[place] for place in places], [contents[place] for place in places], device)
            for place, pixels in zip(places, decoded, strict=True):
                full, channels, size, fit = self.pictures[place][1:5]
                if pixels is None or tuple(pixels.shape) != (channels, *full):
                    refused.append(place)
                else:
                    images[place] = resized_by_torch(pixels, full, size, fit, *self.pictures[place][5:])
        return images, refused

    def _calls(self):
        """Yield the places (list) of the images that are decoded together: of at most MAX_PIXELS_PER_CALL, or one."""
        places, pixels = [], 0
        for place, picture in self.pictures.items():
            more = picture.full[0] * picture.full[1]
            if places and pixels + more > MAX_PIXELS_PER_CALL:
                yield places
                places, pixels = [], 0
            places.append(place)
            pixels += more
        yield places


def _decode(pictures, contents, device):
    """Return the pixels of EncodedPictures (list of uint8 tensors (C, H, W), None where the device refuses a file)."""
    decoder, channels = select_decoder(pictures[0].fit.decoder), pictures[0].channels
    try:
        return decoder.decode_batch(contents, channels, device)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError):
        if len(contents) == 1:
            return [None]
        # Alone, so that the pixels of an image do not depend on the other images of its batch.
        return [_decode([one], [content], device)[0] for one, content in zip(pictures, contents, strict=True)]


def check_device_decoder(name, device):
    """Raise DanluError if a decoder cannot decode on a device, by decoding a small image."""
    file = io.BytesIO()
    Image.new('RGB', (16, 16)).save(file, format='JPEG')
    content = torch.from_numpy(np.frombuffer(file.getvalue(), np.uint8).copy())
    try:
        select_decoder(name).decode_batch([content], 3, device)
    except RuntimeError as error:
        what = str(error).strip().partition('\n')[0]
        raise DanluError(f'--decoder {name} on {device}: {what}; give --decoder {package_of(name)}') from None
