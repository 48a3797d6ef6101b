"""--decoder torchcodec_gpu: batches decoded on the device, here on the CPU by the same code."""

import numpy as np
import pytest
import torch
from PIL import Image

from data.data_entry import select_eval_loader, select_train_loader
from data.lists import decoders, encoded
from data.lists.encoded import EncodedBatch, EncodedPicture, check_device_decoder, encode_picture
from data.lists.pictures import read_picture
from data.lists.resizing import resize_box, resize_in_float
from tests.data.lists.test_decoders import smooth, unusual
from utils.base.errors import DanluError
from utils.options.fit import Fit

pytest.importorskip('torchcodec', exc_type=(ImportError, RuntimeError))

CPU, GPU, NAME = torch.device('cpu'), torch.device('cuda', 0), 'torchcodec_gpu'
PARTS = [('stretch', None), ('pad', None), ('crop', None), ('crop', lambda full: (3, 2, 30, 28))]


def decoded(paths, fit, part=None, channels=3, device=CPU):
    """Return the images of files in a batch decoded on `device`, and the places that were refused."""
    pictures = [encode_picture(path.read_bytes(), channels, (24, 20), fit, part) for path in paths]
    assert all(isinstance(picture, EncodedPicture) for picture in pictures)
    return EncodedBatch(pictures, (1, np.arange(len(paths)))).decode(device)


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
@pytest.mark.parametrize('channels', [1, 3])
def test_a_batch_has_the_pixels_of_its_images_alone(save, interpolation, channels, monkeypatch):
    paths = [save(f'{n}.jpg', smooth((45 + n, 37 - n), n), progressive=n % 2 > 0) for n in range(3)]
    paths.append(save('grey.jpg', smooth((41, 33)).convert('L')))
    for pixels_per_call in (2**26, 2000):
        monkeypatch.setattr(encoded, 'MAX_PIXELS_PER_CALL', pixels_per_call)
        for how, part in PARTS:
            fit = Fit(how, (7, 8, 9), interpolation=interpolation, decoder=NAME)
            images, refused = decoded(paths, fit, part, channels)
            expected = [read_picture(path, channels, (24, 20), fit, part) for path in paths]
            assert refused == []
            assert torch.equal(images, torch.stack(expected))
            if how != 'crop' or part is not None:  # these boxes are whole pixels
                usual = fit._replace(decoder='torchcodec')
                assert torch.equal(images[0], read_picture(paths[0], channels, (24, 20), usual, part))


def test_a_crop_is_rounded_to_whole_pixels(save):
    path = save('picture.jpg', smooth((41, 24)))  # the crop for 24x20 begins at row 6.1
    images, _ = decoded([path], Fit('crop', decoder=NAME))
    assert (images[0].float() - read_picture(path, 3, (24, 20), Fit('crop')).float()).abs().mean() < 2


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
def test_resizing_floats_differs_by_rounding(interpolation):
    pixels = torch.from_numpy(np.array(smooth((60, 80)))).permute(2, 0, 1).contiguous()
    for size in ((24, 20), (90, 100)):
        expected = resize_box(pixels, (0, 0, 60, 80), size, interpolation)
        found = resize_in_float(pixels, size, interpolation)
        assert found.dtype == torch.uint8
        assert (found.int() - expected.int()).abs().max() <= 1


def test_other_files_are_decoded_by_pillow(save):
    fit = Fit(decoder=NAME)
    rgb = save('rgb.jpg', smooth((30, 40)), keep_rgb=True)
    for path in (*unusual(save), rgb):
        content = path.read_bytes()
        assert torch.equal(encode_picture(content, 3, (24, 20), fit), read_picture(content, 3, (24, 20), fit))
    lanczos = fit._replace(interpolation='lanczos')
    assert torch.is_tensor(encode_picture(rgb.read_bytes(), 3, (24, 20), lanczos))


def outcome(read, content, decoder):
    """Return the pixels of a file (list), or the message (str) of an error."""
    try:
        return read(content, 3, (24, 20), Fit(decoder=decoder)).tolist()
    except DanluError as error:
        return str(error)


def test_damaged_files_have_the_outcome_of_pillow(save):
    data = save('picture.jpg', smooth((60, 80))).read_bytes()
    half = data[: len(data) // 2]
    contents = half, half + bytes(2000), data[:300], b'', b'GIF89a'
    outcomes = [outcome(encode_picture, each, NAME) for each in contents]
    assert outcomes == [outcome(read_picture, each, 'pillow') for each in contents]
    assert sum(isinstance(each, str) for each in outcomes) >= 4


@pytest.fixture
def files(save):
    """Return the lines of a list of JPEG files, one of them turned, and a PNG file."""
    exif = Image.Exif()
    exif[0x0112] = 6
    names = [save(f'{n}.jpg', smooth((40 + n, 60), n)).name for n in range(7)]
    names += [save('turned.jpg', smooth((44, 60)), exif=exif).name, save('picture.png', smooth((50, 60))).name]
    return [f'{name} {n % 3}' for n, name in enumerate(names)]


def batches_of(args, workers=0):
    """Return the batches (list) of a training loader as it gives them to a Trainer."""
    args.num_workers = workers
    loader = select_train_loader(args)
    loader.bind_transform(CPU, lambda images, targets, key=None: (images.clone(), targets.clone()))
    return loader, list(loader)


def compare_with_torchcodec(files, list_args, augment, workers):
    """Assert that the batches are those of --decoder torchcodec, and that the samples were hashed."""
    words = ['--batch_size', 4, '--augment', augment, '--image_size', 24, '--fit', 'stretch', '--decoder']
    _, usual = batches_of(list_args('\n'.join(files), *words, 'torchcodec'))
    loader, found = batches_of(list_args('\n'.join(files), *words, NAME), workers)
    for one, two in zip(usual, found, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert len(loader.contents()) == len(files)
    batch, _ = loader.rebuild_batch(1, 2)
    assert torch.equal(batch[0], found[1][0])


@pytest.mark.parametrize('augment', ['none', 'standard'])
def test_batches_are_those_of_torchcodec(files, list_args, augment):
    compare_with_torchcodec(files, list_args, augment, workers=0)


@pytest.mark.slow('starts worker processes')
def test_worker_processes_send_the_files_of_a_batch(files, list_args):
    compare_with_torchcodec(files, list_args, 'standard', workers=2)


def test_a_stream_is_decoded_as_a_list(files, write, list_args, make_args):
    words = ['--batch_size', 4, '--image_size', 24, '--decoder', NAME, '--num_classes', 3]
    shard = 'image,label\n' + ''.join(f'{line.replace(" ", ",")}\n' for line in files)
    path = write('shard.csv', shard)
    args = make_args('--data_type', 'stream', '--train_list', path, '--val_list', path, *words)
    expected = list_args('\n'.join(files), *words)
    for one, two in zip(all_images(args), all_images(expected), strict=True):
        assert torch.equal(one, two)


def all_images(args):
    """Return the images (list of tensors) of a validation loader."""
    loader = select_eval_loader(args)
    loader.bind_transform(CPU, lambda images, targets, key=None: (images.clone(), targets.clone()))
    return [image for images, _ in loader for image in images]


def test_an_image_that_the_device_refuses_is_decoded_alone_and_then_on_the_cpu(files, list_args, monkeypatch):
    args = list_args('\n'.join(files), '--batch_size', 4, '--image_size', 24, '--decoder', NAME)
    _, expected = batches_of(args)
    plain, calls = decoders.TorchCodecGpu.decode_batch, []
    content = torch.from_numpy(np.fromfile(f'{args.train_list.rpartition("/")[0]}/3.jpg', np.uint8))

    def decode_batch(self, contents, channels, device):
        calls.append(len(contents))
        if any(torch.equal(each, content) for each in contents):
            raise RuntimeError('nvjpegDecode failed: 5')
        return plain(self, contents, channels, device)

    monkeypatch.setattr(decoders.TorchCodecGpu, 'decode_batch', decode_batch)
    loader, found = batches_of(args)
    assert all(torch.equal(one[0], two[0]) for one, two in zip(expected, found, strict=True))
    assert calls.count(1) > 2
    assert len(loader.contents()) == len(files)


def test_a_file_that_is_damaged_after_the_check_is_named(files, list_args, save):
    args = list_args('\n'.join(files), '--batch_size', 4, '--image_size', 24, '--decoder', NAME)
    loader = select_train_loader(args)
    loader.bind_transform(CPU, lambda *batch: batch[:2])
    path = save('2.jpg', smooth((42, 60)))
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(DanluError, match=r'train\.txt:3: .*2\.jpg: damaged: .*; fix or remove it'):
        list(loader)


def test_target_images_are_decoded_as_their_inputs(files, list_args):
    lines = [f'{line.split()[0]} {line.split()[0]}' for line in files]
    words = ['--task', 'restoration', '--batch_size', 4, '--image_size', 24, '--augment', 'standard', '--decoder', NAME]
    for images, targets in batches_of(list_args('\n'.join(lines), *words))[1]:
        assert torch.equal(images, targets)


def test_without_a_device_the_loader_gives_pixels(files, list_args):
    loader = select_train_loader(list_args('\n'.join(files), '--image_size', 24, '--decoder', NAME))
    assert all(torch.is_tensor(images) for images, *_ in loader)


def test_a_device_that_decodes_nothing_is_refused_before_training(monkeypatch):
    def fail(*args):
        raise RuntimeError('decode_jpeg: torchcodec was not compiled with nvJPEG support\nmore')

    check_device_decoder(NAME, CPU)
    monkeypatch.setattr(decoders.TorchCodecGpu, 'decode_batch', fail)
    said = r'^--decoder torchcodec_gpu on cuda:0: .* compiled with nvJPEG support; give --decoder torchcodec$'
    with pytest.raises(DanluError, match=said):
        check_device_decoder(NAME, GPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU, and none is visible')
def test_a_gpu_decodes_crops_and_resizes_all_files(save):
    paths = [save(f'{n}.jpg', smooth((45 + n, 37 - n), n), progressive=n % 2 > 0, quality=95) for n in range(4)]
    paths.append(save('grey.jpg', smooth((41, 33)).convert('L')))
    check_device_decoder(NAME, GPU)
    for channels in (1, 3):
        for how, part in PARTS:
            fit = Fit(how, (7, 8, 9), decoder=NAME)
            images, refused = decoded(paths, fit, part, channels, GPU)
            assert refused == []
            assert images.is_cuda
            difference = (images.cpu().float() - decoded(paths, fit, part, channels)[0].float()).abs()
            assert difference.mean() < 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU, and none is visible')
@pytest.mark.parametrize('workers', [0, 2])
def test_a_loader_gives_batches_on_the_gpu(files, list_args, workers):
    args = list_args(
        '\n'.join(files), '--batch_size', 4, '--image_size', 24, '--augment', 'standard', '--decoder', NAME
    )
    _, expected = batches_of(args)
    args.num_workers = workers
    loader = select_train_loader(args)
    loader.bind_transform(GPU, lambda images, targets, key=None: (images.clone(), targets.clone()))
    for one, two in zip(expected, loader, strict=True):
        assert all(each.is_cuda for each in two)
        assert (one[0].float() - two[0].cpu().float()).abs().mean() < 3
