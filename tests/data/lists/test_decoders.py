"""--decoder: the same pixels as Pillow's, and all unusual files by Pillow."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from data.data_entry import select_train_loader
from data.lists import decoders
from data.lists.decoders import DECODERS, select_decoder
from data.lists.pictures import read_picture
from data.lists.resizing import planar, resize_box
from utils.base.errors import DanluError
from utils.options.fit import PILLOW, Fit, decodes_on_device

OTHERS = [name for name in DECODERS if name != PILLOW and not decodes_on_device(name)]
ORIENTATION = 0x0112


@pytest.fixture(params=OTHERS)
def decoder(request):
    """Return the name of each decoder but Pillow; skip the test if its package is not installed."""
    try:
        select_decoder(request.param)
    except DanluError as error:
        pytest.skip(str(error))
    return request.param


@pytest.fixture
def no_pillow(monkeypatch):
    """Let Pillow decode nothing."""
    monkeypatch.setattr(ImageFile.ImageFile, 'load', lambda self: pytest.fail('Pillow decoded the file'))


def smooth(size, seed=0):
    """Return a picture (PIL.Image) of coloured noise that is as smooth as photographs; size: (height, width)."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1]))
    frequency[0, 0] = 1
    planes = np.fft.irfft2(np.fft.rfft2(random.standard_normal((3, *size))) / frequency**1.6, size)
    return Image.fromarray((128 + 40 * planes / planes.std()).clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def difference(path, decoder, *words, how='stretch', part=None, **fit):
    """Return the absolute differences (float tensor, C x H x W) of a decoder's pixels and Pillow's."""
    first, second = (read_picture(path, *words, Fit(how, decoder=name, **fit), part) for name in (decoder, PILLOW))
    assert first.is_contiguous()
    assert first.dtype == torch.uint8
    return (first.float() - second.float()).abs()


@pytest.mark.parametrize('options', [{}, {'progressive': True}, {'subsampling': 0}, {'quality': 30}])
def test_without_resizing_the_pixels_are_those_of_pillow(save, decoder, no_pillow, monkeypatch, options):
    path = save('picture.jpg', smooth((45, 61)), **options)
    pixels = read_picture(path, 3, None, Fit(decoder=decoder))
    monkeypatch.undo()
    assert torch.equal(pixels, read_picture(path, 3))


def test_grey_files_have_the_pixels_of_pillow(save, decoder):
    path = save('picture.jpg', smooth((45, 61)).convert('L'))
    for channels in (1, 3):
        assert difference(path, decoder, channels, None).max() == 0


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
@pytest.mark.parametrize('channels', [1, 3])
def test_resized_pixels_differ_by_less_than_a_tenth_of_a_level(save, decoder, interpolation, channels):
    path = save('picture.jpg', smooth((150, 200)), quality=90)
    for how, part in (('stretch', None), ('pad', None), ('crop', None), ('stretch', lambda full: (20, 31, 96, 110))):
        found = difference(path, decoder, channels, (80, 96), how=how, part=part, interpolation=interpolation)
        assert found.mean() < 0.1
        assert found[:, 2:-2, 2:-2].max() <= (2 if channels == 3 else 6)


def test_a_random_crop_is_resized_without_pillow(save, decoder, no_pillow):
    path = save('picture.jpg', smooth((150, 200)))
    assert read_picture(path, 3, (64, 64), Fit(decoder=decoder), lambda full: (3, 5, 100, 120)).shape == (3, 64, 64)


def test_margins_have_the_levels_of_the_channels(save, decoder, no_pillow):
    path = save('picture.jpg', smooth((60, 30)))
    pixels = read_picture(path, 3, (40, 40), Fit('pad', (7, 8, 9), decoder=decoder))
    assert pixels[:, :, :10].amax((1, 2)).tolist() == pixels[:, :, 30:].amin((1, 2)).tolist() == [7, 8, 9]
    assert (pixels[:, :, 10:30] != pixels[:, :1, :1]).any()


@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear', 'bicubic', 'lanczos'])
def test_much_larger_files_and_parts_of_pixels_are_resized_by_pillow(save, decoder, interpolation):
    path = save('picture.jpg', smooth((331, 401)))
    for how, size in (('stretch', (40, 50)), ('crop', (100, 100)), ('crop', (300, 301))):
        assert difference(path, decoder, 3, size, how=how, interpolation=interpolation).max() == 0


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('box', [(0, 0, 40, 50), (3, 5, 30, 41), (7, 9, 1, 20), (7, 9, 20, 1)])
def test_interleaved_pixels_are_resized_as_planes_are(channels, box):
    pixels = torch.randint(0, 256, (40, 50, channels), dtype=torch.uint8).permute(2, 0, 1)
    for size in ((20, 31), (1, 8), (8, 1), (64, 50)):
        found = planar(resize_box(pixels, box, size, 'bilinear'))
        assert found.is_contiguous()
        assert torch.equal(found, resize_box(pixels.contiguous(), box, size, 'bilinear'))


def test_a_plain_jpeg_is_decoded_without_opening_it_by_pillow(save, monkeypatch):
    picture = smooth((45, 61))
    paths = [save('colour.jpg', picture, dpi=(72, 72), icc_profile=b'profile'), save('grey.jpg', picture.convert('L'))]
    cases = [(path, size, how) for path in paths for size in (None, (45, 61), (20, 30)) for how in ('stretch', 'pad')]
    monkeypatch.setattr(Image, 'open', lambda *args, **options: pytest.fail('Pillow opened the file'))
    found = [read_picture(path, 3, size, Fit(how, decoder='simplejpeg'), checked=False) for path, size, how in cases]
    monkeypatch.undo()
    monkeypatch.setattr(decoders.SimpleJpeg, 'plain_size', lambda self, content: None)
    for (path, size, how), pixels in zip(cases, found, strict=True):
        assert pixels.is_contiguous()
        assert torch.equal(pixels, read_picture(path, 3, size, Fit(how, decoder='simplejpeg')))


def test_a_jpeg_with_metadata_that_pillow_applies_is_opened_by_pillow(save):
    picture, exif = smooth((30, 40)), Image.Exif()
    exif[ORIENTATION] = 6
    turned = b'<x:xmpmeta tiff:Orientation="6"/>'
    save('several.mpo', picture, save_all=True, append_images=[picture])
    for options in ({'exif': exif}, {'xmp': turned}):
        path = save('turned.jpg', picture, **options)
        assert read_picture(path, 3, None, Fit(decoder='simplejpeg')).shape == (3, 40, 30)
    for other in (save('cmyk.jpg', picture.convert('CMYK')), path, path.with_name('several.mpo')):
        assert select_decoder('simplejpeg').plain_size(other.read_bytes()) is None


def unusual(save):
    """Yield the paths of files that decoders leave to Pillow."""
    picture, exif = smooth((30, 40)), Image.Exif()
    exif[ORIENTATION] = 6
    yield save('cmyk.jpg', picture.convert('CMYK'))
    yield save('turned.jpg', picture, exif=exif)
    yield save('picture.png', picture)
    yield save('palette.png', picture.convert('P'))
    yield save('deep.png', Image.fromarray(np.asarray(picture)[..., 0].astype(np.uint16) * 257))
    yield save('frames.gif', picture, save_all=True, append_images=[picture.rotate(180)])
    yield save('picture.webp', picture)


def test_unusual_files_are_decoded_by_pillow(save, decoder, monkeypatch):
    for path in unusual(save):
        with monkeypatch.context() as patch:
            patch.setattr(type(select_decoder(decoder)), 'decode', lambda *args: pytest.fail('decoded'), raising=True)
            for size in (None, (20, 20)):
                for channels in (1, 3):
                    assert difference(path, decoder, channels, size).max() == 0


def outcome(source, size, decoder):
    """Return the shape of the pixels (tuple), or the message (str) of an error."""
    try:
        return tuple(read_picture(source, 3, size, Fit(decoder=decoder)).shape)
    except DanluError as error:
        return str(error)


def test_damaged_files_are_refused_with_the_message_of_pillow(save, decoder):
    path = save('picture.jpg', smooth((60, 80)))
    data, refused = path.read_bytes(), 0
    half = data[: len(data) // 2]
    for content in (half, half + bytes(2000), data[:-2], data[:300], b'', b'GIF89a'):
        path.write_bytes(content)
        for source in (path, content):
            expected = outcome(source, (20, 20), PILLOW)
            assert outcome(source, (20, 20), decoder) == expected
            refused += isinstance(expected, str)
    assert refused >= 10
    for wrong in (path.with_name('gone.jpg'), path.parent, 'nul\0.jpg'):
        assert outcome(wrong, None, decoder) == outcome(wrong, None, PILLOW)


def test_a_file_that_only_pillow_reads_has_its_pixels(save, decoder):
    """Of a JPEG with a changed byte libjpeg-turbo warns, and Pillow returns what can be decoded."""
    path, read = save('picture.jpg', smooth((60, 80))), 0
    data = path.read_bytes()
    for at in range(700, len(data) - 2, 97):
        path.write_bytes(data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :])
        try:
            expected = read_picture(path, 3)
        except DanluError:
            continue
        pixels = read_picture(path, 3, None, Fit(decoder=decoder))
        read += 1
        assert pixels.shape == expected.shape
        assert decoder != 'simplejpeg' or torch.equal(pixels, expected)
    assert read


def test_a_package_that_cannot_be_imported_is_named(monkeypatch):
    def fail(module):
        raise ImportError('no libjpeg\nat all')

    monkeypatch.setattr(decoders.importlib, 'import_module', fail)
    with pytest.raises(DanluError, match=r'^--decoder torchcodec: no libjpeg; pip install torchcodec, or give --decod'):
        decoders.TorchCodec()


@pytest.mark.parametrize('augment', ['none', 'standard'])
def test_batches_depend_neither_on_threads_nor_on_worker_processes(save, list_args, decoder, augment):
    lines = [f'{save(f"{n}.jpg", smooth((40 + n, 60), n)).name} {n % 3}' for n in range(9)]
    words = ['--batch_size', 4, '--augment', augment, '--image_size', 24, '--decoder', decoder]
    first, *others = (
        [*_loader(list_args('\n'.join(lines), *words), *how)] for how in ((0, False), (0, True), (2, None))
    )
    for batches in others:
        for batch, expected in zip(batches, first, strict=True):
            assert torch.equal(batch[0], expected[0])
            assert torch.equal(batch[1], expected[1])


def _loader(args, workers, threads):
    args.num_workers = workers
    loader = select_train_loader(args)
    loader.uses_threads = threads
    return loader
