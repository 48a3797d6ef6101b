"""File name extensions of the image formats that Danlu reads."""

from PIL import Image, features

# By Pillow's format name. Not supported: formats that start another program (EPS, PDF), that only Windows decodes
# (WMF), that Pillow only identifies (MPEG, GRIB, HDF5), or without a known value range (PFM, FITS).
EXTENSIONS_BY_FORMAT = {
    'PNG': ('.png', '.apng'),
    'JPEG': ('.jpg', '.jpeg', '.jpe', '.jfif'),
    'MPO': ('.mpo',),
    'BMP': ('.bmp',),
    'DIB': ('.dib',),
    'PPM': ('.ppm', '.pgm', '.pbm', '.pnm'),
    'TIFF': ('.tif', '.tiff'),
    'WEBP': ('.webp',),
    'GIF': ('.gif',),
    'AVIF': ('.avif', '.avifs'),
    'JPEG2000': ('.jp2', '.j2k', '.jpc', '.jpf', '.jpx', '.j2c'),
    'TGA': ('.tga', '.icb', '.vda', '.vst'),
    'PCX': ('.pcx',),
    'SGI': ('.sgi', '.rgb', '.rgba', '.bw'),
    'SUN': ('.ras',),
    'QOI': ('.qoi',),
    'ICO': ('.ico',),
}
OPTIONAL_CODECS = {'WEBP': 'webp', 'AVIF': 'avif', 'JPEG2000': 'jpg_2000'}  # missing in some builds of Pillow
PLUGIN_FORMATS = {'HEIF': ('.heic', '.heif')}  # from other packages, such as pillow_heif


def _readable_extensions():
    """Return the lower-case extensions (tuple of str) of all formats that this Pillow decodes."""
    lacking = {name for name, codec in OPTIONAL_CODECS.items() if codec not in features.get_supported()}
    formats = {name: endings for name, endings in EXTENSIONS_BY_FORMAT.items() if name not in lacking}
    formats |= {name: endings for name, endings in PLUGIN_FORMATS.items() if name in Image.OPEN}
    return tuple(ending for endings in formats.values() for ending in endings)


def readable_formats():
    """Return Pillow's names of the supported formats (tuple of str); no other format is tried, whatever the extension.

    Without this restriction Pillow decides by content, and runs Ghostscript for an EPS file named x.png.
    """
    return (*BUILT_IN_FORMATS, *(name for name in PLUGIN_FORMATS if name in Image.OPEN))


# Pillow opens MPO as JPEG, and has no plugin of that name.
BUILT_IN_FORMATS = tuple(
    name
    for name in EXTENSIONS_BY_FORMAT
    if name != 'MPO' and OPTIONAL_CODECS.get(name, 'zlib') in features.get_supported()
)
IMAGE_EXTENSIONS = _readable_extensions()
