"""Decoding: every mode and orientation, and every kind of damage."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile, ImageOps
from PIL.PngImagePlugin import PngInfo

from data.lists import pictures
from data.lists.pictures import check_picture, open_picture, read_mask, read_picture, upright_size
from utils.base.errors import DanluError
from utils.options.fit import FITS, Fit

GREY = (np.arange(48, dtype=np.uint8) * 5).reshape(6, 8)
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], -1)
ORIENTATION = 0x0112


def as_grey(colour):
    """Return (H, W, 3) colours as grey by ITU-R 601-2, before rounding."""
    return colour @ np.array([0.299, 0.587, 0.114])


def palette(colours):
    """Return a picture with the colours of a (H, W, 3) array in its palette."""
    picture = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8), 'L')
    picture.putpalette(colours.reshape(-1, 3).tobytes())
    return picture


def with_alpha(pixels, mode):
    picture = Image.fromarray(pixels)
    picture.putalpha(Image.fromarray(GREY // 3))
    assert picture.mode == mode
    return picture


COLOURFUL = {
    'RGB': Image.fromarray(COLOUR),
    'RGBA': with_alpha(COLOUR, 'RGBA'),
    'P': palette(COLOUR),
    'CMYK': Image.fromarray(np.concatenate([255 - COLOUR, np.zeros_like(COLOUR[..., :1])], -1), 'CMYK'),
}
COLOURLESS = {'L': Image.fromarray(GREY), 'LA': with_alpha(GREY, 'LA')}


@pytest.mark.parametrize('mode', COLOURFUL)
@pytest.mark.parametrize('channels', [1, 3])
def test_modes_with_colour(save, mode, channels):
    path = save('picture.' + ('tif' if mode == 'CMYK' else 'png'), COLOURFUL[mode])
    pixels = read_picture(path, channels)
    assert (pixels.dtype, pixels.shape) == (torch.uint8, (channels, 6, 8))
    expected = COLOUR if channels == 3 else as_grey(COLOUR)[..., None]
    assert np.abs(pixels.permute(1, 2, 0).numpy() - expected.astype(float)).max() <= (0 if channels == 3 else 1)
    assert tuple(check_picture(path)) == (6, 8)


@pytest.mark.parametrize('mode', COLOURLESS)
@pytest.mark.parametrize('channels', [1, 3])
def test_modes_without_colour(save, mode, channels):
    pixels = read_picture(save('picture.png', COLOURLESS[mode]), channels)
    assert (pixels.dtype, pixels.shape) == (torch.uint8, (channels, 6, 8))
    assert all(np.array_equal(plane, GREY) for plane in pixels)


@pytest.mark.parametrize('transparency', [3, bytes(range(0, 240, 5))])
@pytest.mark.parametrize('channels', [1, 3])
def test_a_transparent_palette_keeps_its_colours_and_causes_no_warning(save, transparency, channels):
    path = save('picture.png', palette(COLOUR), transparency=transparency)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        pixels = read_picture(path, channels)
    expected = COLOUR if channels == 3 else as_grey(COLOUR)[..., None]
    assert np.abs(pixels.permute(1, 2, 0).numpy() - expected.astype(float)).max() <= 1


@pytest.mark.parametrize('channels', [1, 3])
def test_black_and_white(save, channels):
    pixels = read_picture(save('picture.png', Image.fromarray(GREY > 100)), channels)
    assert all(np.array_equal(plane, (GREY > 100) * 255) for plane in pixels)


@pytest.mark.parametrize('ending', ['png', 'tif', 'pgm'])
@pytest.mark.parametrize('channels', [1, 3])
def test_sixteen_bits_are_brought_to_eight(save, ending, channels):
    path = save(f'picture.{ending}', Image.fromarray(GREY.astype(np.uint16) * 257))
    check_picture(path)
    pixels = read_picture(path, channels)
    assert pixels.shape == (channels, 6, 8)
    assert all(np.array_equal(plane, GREY) for plane in pixels)


@pytest.mark.parametrize('dtype', [np.int32, np.float32])
def test_32_bits_are_refused_when_checked_and_when_read(save, dtype):
    path = save('picture.tif', Image.fromarray(GREY.astype(dtype)))
    for function in (check_picture, lambda path: read_picture(path, 3)):
        with pytest.raises(DanluError, match=r'32 bits per pixel \(mode [IF]\) have no known range: save it with 8'):
            function(path)


@pytest.mark.parametrize('channels', [1, 3])
def test_lab(save, channels):
    path = save('picture.tif', Image.fromarray(COLOUR).convert('LAB'))
    assert read_picture(path, channels).shape == (channels, 6, 8)


def test_the_first_frame_of_an_animation(save):
    frames = [Image.fromarray(np.full((6, 8, 3), value, np.uint8)) for value in (30, 130, 230)]
    for name in ('picture.gif', 'picture.webp', 'picture.png'):
        path = save(
            name, frames[0], save_all=True, append_images=frames[1:], **{'lossless': True} if 'w' in name else {}
        )
        assert Image.open(path).n_frames == 3
        assert tuple(check_picture(path)) == (6, 8)
        assert read_picture(path, 3).unique().tolist() == [30]


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('ending', ['png', 'tif', 'webp'])
def test_exif_orientation(save, orientation, ending):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {'lossless': True} if ending == 'webp' else {}
    path = save(f'picture.{ending}', Image.fromarray(COLOUR), exif=exif, **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert('RGB'))
    assert np.array_equal(read_picture(path, 3).permute(1, 2, 0).numpy(), expected)
    assert expected.shape[:2] == tuple(check_picture(path)) == tuple(upright_size(open_picture(path)))
    assert expected.shape[:2] == ((8, 6) if orientation >= 5 else (6, 8))


def test_exif_orientation_of_masks_and_sixteen_bits(save):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    mask = save('mask.png', Image.fromarray(GREY), exif=exif)
    assert np.array_equal(read_mask(mask).numpy(), np.rot90(GREY, -1))
    deep = save('deep.png', Image.fromarray(GREY.astype(np.uint16) * 257), exif=exif)
    assert np.array_equal(read_picture(deep, 1)[0].numpy(), np.rot90(GREY, -1))


def test_exif_orientation_behind_the_pixels_of_a_png(save):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = save('picture.png', Image.fromarray(COLOUR), exif=exif)
    data = path.read_bytes()
    start = data.index(b'eXIf') - 4
    end = start + 12 + struct.unpack('>I', data[start : start + 4])[0]
    tail = data.index(b'IEND') - 4
    path.write_bytes(data[:start] + data[end:tail] + data[start:end] + data[tail:])
    assert 'exif' not in Image.open(path).info
    assert tuple(check_picture(path)) == (8, 6)
    assert np.array_equal(read_picture(path, 3).permute(1, 2, 0).numpy(), np.rot90(COLOUR, -1))


def test_letters_that_look_like_exif_data_change_nothing(save):
    """Where a PNG says by XMP how it lies, which Pillow takes for EXIF data once it is asked for them."""
    notes = PngInfo()
    notes.add_text('Comment', 'eXIf')
    notes.add_itxt('XML:com.adobe.xmp', '<x:xmpmeta xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>')
    path = save('picture.png', Image.fromarray(COLOUR), pnginfo=notes)
    assert (
        tuple(check_picture(path)) == tuple(upright_size(open_picture(path))) == tuple(read_picture(path, 3).shape[1:])
    )


def test_damaged_exif_data_are_found_by_the_check(save):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = save('picture.webp', Image.fromarray(COLOUR), exif=exif)
    data = path.read_bytes()
    path.write_bytes(data.replace(b'MM\x00*', b'MM\x00?').replace(b'II*\x00', b'II?\x00'))
    assert path.read_bytes() != data
    for function in (check_picture, lambda path: read_picture(path, 3)):
        with pytest.raises(DanluError, match='its EXIF data is damaged'):
            function(path)


def test_a_picture_is_stretched_or_its_middle_cut_out(save):
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 200  # a white square between two black ones
    path = save('picture.png', pixels)
    assert read_picture(path, 1, (10, 10), fit=Fit('crop')).unique().tolist() == [200]
    stretched = read_picture(path, 1, (10, 10))[0]
    assert stretched[0, 0] == stretched[0, -1] == 0
    assert stretched[0, 5] == 200
    assert torch.equal(read_picture(path, 1, (10, 30)), read_picture(path, 1))


@pytest.mark.parametrize('size', [(1, 1), (1, 900), (900, 1)])
@pytest.mark.parametrize('how', FITS)
def test_tiny_and_narrow_pictures(save, size, how):
    assert read_picture(save('picture.png', size=size), 3, (28, 20), Fit(how)).shape == (3, 28, 20)


@pytest.mark.parametrize('mode', ['L', 'P'])
def test_a_masks_values_are_labels(save, mode):
    labels = np.array([[0, 1, 2], [255, 7, 11]], np.uint8)
    picture = Image.fromarray(labels)
    if mode == 'P':
        picture.putpalette(bytes(range(255, -1, -1)) * 3)
    mask = read_mask(save('mask.png', picture))
    assert (mask.dtype, mask.tolist()) == (torch.uint8, labels.tolist())


def test_a_black_and_white_mask_holds_0_and_1(save):
    assert read_mask(save('mask.png', Image.fromarray(GREY > 100))).tolist() == (GREY > 100).astype(int).tolist()


def test_a_resized_mask_has_no_new_labels(save):
    labels = np.random.default_rng(0).choice(np.array([0, 5, 255], np.uint8), (37, 53))
    for picture in (Image.fromarray(labels), Image.fromarray(labels).convert('P')):
        path = save('mask.png', picture)
        for size in ((20, 31), (64, 80), (37, 20)):
            mask = read_mask(path, size)
            assert tuple(mask.shape) == size
            assert set(mask.unique().tolist()) <= set(read_mask(path).unique().tolist())


@pytest.mark.parametrize('mode', ['RGB', 'RGBA'])
def test_a_colour_mask_is_refused(save, mode):
    picture = Image.fromarray(COLOUR).convert(mode)
    with pytest.raises(
        DanluError, match=f'a mask holds one label of 0..255 per pixel .mode L or P., this one is {mode}'
    ):
        read_mask(save('mask.png', picture))


def both_refuse(path, match):
    """Check that the check before the first step and the reading itself refuse a file."""
    for function in (check_picture, lambda path: read_picture(path, 3), read_mask):
        with pytest.raises(DanluError, match=match):
            function(path)


def test_no_file_and_no_picture(files, write):
    both_refuse(files / 'gone.png', 'no such file')
    both_refuse(write('empty.png', ''), 'not an image in a format that Pillow knows')
    both_refuse(write('text.jpg', 'I am no picture.\n'), 'not an image in a format that Pillow knows')
    both_refuse(files, 'cannot be opened: .*Is a directory')
    both_refuse('nul\0.png', 'cannot be opened: embedded null byte')


@pytest.mark.parametrize('ending', ['png', 'jpg', 'gif', 'bmp', 'tif', 'webp'])
@pytest.mark.parametrize('kept', [0.2, 0.5, 0.9])
def test_torn_files_are_refused(save, ending, kept):
    path = save(f'picture.{ending}', size=(64, 48))
    check_picture(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(DanluError, match=r'damaged|cannot be opened|not an image'):
        check_picture(path)


def test_a_jpeg_with_a_hole_at_its_end_is_refused(save):
    path = save('picture.jpg', size=(64, 48))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) // 2))  # what a crash leaves of a file not yet written
    with pytest.raises(DanluError, match='damaged'):
        check_picture(path)


def test_a_jpeg_with_bytes_behind_its_end_is_accepted(save):
    path = save('picture.jpg', size=(64, 48))
    expected = read_picture(path, 3)
    path.write_bytes(path.read_bytes() + b'\x00\x00a trailer that some cameras write')
    assert tuple(check_picture(path)) == (48, 64)
    assert torch.equal(read_picture(path, 3), expected)


def test_a_flipped_bit_in_a_png_is_found(save):
    path = save('picture.png', size=(64, 48))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DanluError, match='damaged'):
        check_picture(path)


@pytest.mark.parametrize(
    ('ending', 'width', 'decoded'),
    [('png', 129, 0), ('jpg', 129, 0), ('bmp', 129, 1), ('png', 128, 1), ('jpg', 128, 1)],
)
def test_a_large_whole_png_or_jpeg_is_told_without_decoding(save, monkeypatch, ending, width, decoded):
    path, calls, load = save(f'picture.{ending}', size=(width, 128)), [], ImageFile.ImageFile.load

    def counting(self):
        calls.append(self.filename)
        return load(self)

    monkeypatch.setattr(ImageFile.ImageFile, 'load', counting)
    assert tuple(check_picture(path)) == (128, width)
    assert len(calls) == decoded


@pytest.mark.parametrize(
    'change',
    [
        lambda pixels: pixels[: len(pixels) // 2],
        lambda pixels: zlib.compress(zlib.decompress(pixels)[:500]),
        lambda pixels: pixels[:20] + bytes([pixels[20] ^ 255]) + pixels[21:],
        lambda pixels: b'',
    ],
    ids=['half', 'short', 'changed', 'none'],
)
@pytest.mark.parametrize('size', [(32, 32), (160, 120)])
def test_wrong_pixels_with_right_checksums(save, with_data, size, change):
    path = with_data(save('picture.png', size=size), change)
    with pytest.raises(DanluError, match='damaged: '):
        read_picture(path, 3)
    if size[0] > 128:  # found when it is read
        assert tuple(check_picture(path)) == size[::-1]
    else:
        with pytest.raises(DanluError, match='damaged: '):
            check_picture(path)


@pytest.mark.parametrize('size', [(32, 32), (160, 120)])
def test_a_png_that_ends_behind_any_of_its_chunks_is_refused(save, size):
    path, position, refused = save('picture.png', size=size), 8, 0
    data = path.read_bytes()
    check_picture(path)
    while position < len(data):
        path.write_bytes(data[:position])
        with pytest.raises(DanluError):
            check_picture(path)
        position += 12 + struct.unpack('>I', data[position : position + 4])[0]
        refused += 1
    assert refused >= 3


def test_a_png_with_a_chunk_of_any_name_is_refused_in_one_line(save):
    path = save('picture.png')
    data = path.read_bytes()
    at = data.index(b'IEND')
    path.write_bytes(data[:at] + b'a\n\xff\0' + data[at + 4 :])
    with pytest.raises(DanluError) as error:
        check_picture(path)
    assert str(error.value).startswith('damaged: ')
    assert str(error.value).isprintable()


def test_a_decompression_bomb_is_refused_by_its_header(files):
    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

    header = struct.pack('>IIBBBBB', 50_000, 50_000, 8, 2, 0, 0, 0)
    body = chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(bytes(1000))) + chunk(b'IEND', b'')
    path = files / 'bomb.png'
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + body)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        both_refuse(path, '50000x50000 pixels: over 89,478,485 is taken for a decompression bomb; shrink it')


def test_the_limit_of_pixels_itself_is_allowed(save, monkeypatch):
    path = save('picture.png')
    monkeypatch.setattr(pictures, 'MAX_PIXELS', 48)
    assert read_picture(path, 3).shape == (3, 6, 8)
    monkeypatch.setattr(pictures, 'MAX_PIXELS', 47)
    with pytest.raises(DanluError, match='8x6 pixels: over 47 is taken for a decompression bomb'):
        read_picture(path, 3)


def mutated(data, rng):
    """Return the bytes of a file with an end torn off or a few bytes changed, as a rule in the header."""
    data = bytearray(data)
    if rng.integers(3) == 0:
        return data[: rng.integers(len(data))]
    for _ in range(rng.integers(1, 6)):
        data[rng.integers(min(len(data), rng.choice([60, 200, 10_000])))] = rng.integers(256)
    return data


@pytest.mark.filterwarnings('ignore')  # Pillow's about broken EXIF data
def test_nothing_but_danlu_errors_comes_from_any_damage(files):
    exif, originals, rng = Image.Exif(), [], np.random.default_rng(0)
    exif[ORIENTATION], exif[0x010F] = 6, 'a camera'
    for kind in ('PNG', 'JPEG', 'WEBP', 'TIFF', 'GIF', 'BMP', 'PPM'):
        for picture in (Image.fromarray(GREY), Image.fromarray(COLOUR)):
            buffer = io.BytesIO()
            picture.save(buffer, kind, **({'exif': exif} if kind in ('PNG', 'JPEG', 'WEBP', 'TIFF') else {}))
            originals.append(buffer.getvalue())
    refused = 0
    for number in range(1400):
        path = files / f'{number}'  # a file written anew waits for the disk
        path.write_bytes(mutated(originals[number % len(originals)], rng))
        sizes = []
        for function in (
            check_picture,
            lambda path: read_picture(path, 3).shape[1:],
            lambda path: read_mask(path, (4, 4)),
        ):
            try:
                sizes.append(tuple(function(path)))
            except DanluError:
                sizes.append(None)
        refused += sizes[0] is None
        assert None in sizes[:2] or sizes[0] == sizes[1]
    assert 300 < refused < 1300


@pytest.mark.parametrize('top_left', [(0, 0), (3, 2)])
def test_a_part_of_just_the_size_asked_for_is_cut_out(save, top_left):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    mask = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16)
    top, left = top_left
    rows, columns = slice(top, top + 6), slice(left, left + 8)

    def part(size):
        assert size == (12, 16)
        return top, left, 6, 8

    picture = read_picture(save('part.png', pixels), 3, (6, 8), part=part)
    assert np.array_equal(picture.permute(1, 2, 0), pixels[rows, columns])
    assert np.array_equal(read_mask(save('part_mask.png', mask), (6, 8), part), mask[rows, columns])
