"""Images within a page, as data URLs, and layers of masks over them."""

import base64
import io

import numpy as np
from PIL import Image

MAX_SIDE = 480  # pixels; larger images are scaled down
MAX_LOSSLESS_SIDE = 128  # pixels; larger images are stored as JPEG
JPEG_QUALITY = 88


def image_url(rgb):
    """Return an image (H, W, 3) as a data URL: PNG up to MAX_LOSSLESS_SIDE, else JPEG."""
    image = Image.fromarray(rgb)
    if (rgb == rgb[..., :1]).all():
        image = image.convert('L')
    if max(image.size) <= MAX_LOSSLESS_SIDE:
        return data_url(image, 'PNG', optimize=True)
    return data_url(image, 'JPEG', quality=JPEG_QUALITY)


def data_url(image, file_format, **options):
    """Return an image (PIL.Image) as a data URL (str); `options` are those of PIL.Image.save."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return f'data:image/{file_format.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}'


def mask_layer(mask, colours, size, style):
    """Return a layer (dict) of a mask: a palette PNG, transparent where a label has no colour.

    Args:
        mask: (H, W) labels, 0..255.
        colours: a colour (r, g, b) for each label, or None for no colour.
        size: (width, height) in the page.
        style: CSS class.
    """
    palette = np.zeros((256, 3), np.uint8)
    alpha = bytearray(256)
    for index, colour in enumerate(colours):
        if colour is not None:
            palette[index], alpha[index] = colour, 255
    image = Image.fromarray(mask.astype(np.uint8)).resize(size, Image.NEAREST)
    image.putpalette(palette.tobytes())
    return {'href': data_url(image, 'PNG', transparency=bytes(alpha), optimize=True), 'style': style}


def page_size(shape, max_side=MAX_SIDE):
    """Return the size (width, height) in the page of an image (H, W, 3); no side is larger than max_side."""
    height, width = shape[:2]
    factor = min(1.0, max_side / max(height, width))
    return max(1, round(width * factor)), max(1, round(height * factor))


def resized(rgb, size):
    """Return an image (H, W, 3) resized to (width, height)."""
    image = Image.fromarray(rgb)
    return rgb if image.size == size else np.asarray(image.resize(size, Image.BOX))
