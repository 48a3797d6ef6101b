"""Digits, MNIST and CIFAR: what is in memory, at which size and with which channels."""

import pickle
import struct
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image

from data.data_entry import complete_args, select_eval_loader, select_train_loader
from data.digits import DIGITS_FILE, NOISE_STD, Digits, NoisyDigits, normal_draws
from data.tensor_dataset import InMemory, with_channels, with_size
from data.torchvision_data import CIFAR10, CIFAR100, MNIST, FashionMNIST
from utils.base.errors import DanluError
from utils.base.registry import PROJECT

CLASSES = {'mnist': MNIST, 'fashion_mnist': FashionMNIST, 'cifar10': CIFAR10, 'cifar100': CIFAR100}
MNIST_LIKE = ['mnist', 'fashion_mnist']


def build(kind, args, split='train'):
    complete_args(args)
    return kind(args, split)


def test_the_digits_are_small_and_balanced(make_args):
    assert DIGITS_FILE.stat().st_size < 2_000_000
    assert 'CC BY-SA 3.0' in DIGITS_FILE.with_name('digits.LICENSE.md').read_text(encoding='utf-8')
    for split, count in (('train', 5000), ('val', 1000)):
        data = build(Digits, make_args(), split)
        assert (data.images.dtype, data.images.shape) == (torch.uint8, (count, 1, 28, 28))
        assert (data.targets.dtype, data.targets.bincount().tolist()) == (torch.int64, [count // 10] * 10)
        assert len(data.images.flatten(1).unique(dim=0)) == count
        # In one order by class a batch would hold a single one.
        assert len(data.targets[:64].unique()) == 10


def test_noisy_digits_are_the_digits_with_the_same_noise_every_time(make_args):
    words = ('--data_type', 'noisy_digits', '--task', 'restoration')
    for split in ('train', 'val'):
        noisy, clean = build(NoisyDigits, make_args(*words), split), build(Digits, make_args(), split)
        assert torch.equal(noisy.targets, clean.images)
        assert noisy.images.dtype == torch.uint8
        assert torch.equal(noisy.images, build(NoisyDigits, make_args(*words, '--seed', 5), split).images)
        grey = (clean.images > 100) & (clean.images < 155)  # where hardly any noise is cut off
        noise = noisy.images[grey].float() - clean.images[grey].float()
        assert noise.mean().abs() < 2
        assert abs(noise.std() - NOISE_STD) < 1
    train, test = (build(NoisyDigits, make_args(*words), split) for split in ('train', 'val'))
    first = [data.images[:100].float() - data.targets[:100].float() for data in (train, test)]
    assert abs(np.corrcoef(first[0].flatten(), first[1].flatten())[0, 1]) < 0.2  # not one noise for both


def test_noisy_digits_take_sizes_and_channels(make_args):
    args = make_args('--data_type', 'noisy_digits', '--task', 'restoration', '--image_size', 20, '--channels', 3)
    data = build(NoisyDigits, args)
    assert data.images.shape == data.targets.shape == (5000, 3, 20, 20)


def test_normal_draws_are_normal_and_a_function_of_key_and_index():
    draws = normal_draws((1,), np.arange(400), 501)
    assert draws.shape == (400, 501)
    assert abs(draws.mean()) < 0.01
    assert abs(draws.std() - 1) < 0.01
    assert abs((np.abs(draws) < 1).mean() - 0.6827) < 0.005
    assert np.array_equal(normal_draws((1,), np.array([7, 3]), 501), draws[[7, 3]])
    assert not np.array_equal(normal_draws((2,), np.array([7]), 501), draws[[7]])


def test_the_digits_have_the_mean_and_deviation_they_are_normalised_by(make_args):
    args = make_args()
    data = build(Digits, args)
    pixels = data.images.double() / 255
    assert abs(pixels.mean() - args.mean[0]) < 0.005
    assert abs(pixels.std() - args.std[0]) < 0.005


def test_no_digit_to_test_is_one_to_train(make_args):
    train, test = (build(Digits, make_args(), split).images.flatten(1) for split in ('train', 'val'))
    assert len(torch.cat([train, test]).unique(dim=0)) == 6000


@pytest.mark.parametrize('words', [(), ('--channels', 3), ('--image_size', 32, 20)])
def test_digits_as_the_options_say(make_args, words):
    args = make_args(*words)
    data = build(Digits, args, 'val')
    assert data.images.shape == (1000, args.channels, *args.image_size)
    assert data.images.dtype == torch.uint8
    assert data.images.max() > 200
    assert len(args.mean) == len(args.std) == args.channels
    assert args.mean[0] == args.mean[-1] == 0.1307


def test_digits_come_in_whole_batches(make_args, monkeypatch):
    def refuse(self, index):
        raise AssertionError('a sample was asked for by itself')

    monkeypatch.setattr(InMemory, '__getitem__', refuse)
    args = make_args('--batch_size', 300)
    loader = select_eval_loader(args)
    images, labels = map(torch.cat, zip(*loader, strict=True))
    assert torch.equal(images, loader.dataset.dataset.images)
    assert torch.equal(labels, loader.dataset.dataset.targets)
    assert [len(labels) for _, labels in select_train_loader(args)] == [300] * 16 + [200]


@pytest.mark.parametrize('kind', ['digits', 'mnist', 'cifar100'])
def test_fewer_classes_than_the_data_has(make_args, kind, files):
    words = [] if kind == 'digits' else ['--data_root', files]
    with pytest.raises(DanluError, match=f'--num_classes 5: {kind} has 100?; leave it out'):
        select_train_loader(make_args('--data_type', kind, '--num_classes', 5, *words))


def test_channels():
    grey = torch.randint(0, 256, (4, 1, 5, 6), dtype=torch.uint8)
    assert with_channels(grey, 1) is grey
    repeated = with_channels(grey, 3)
    assert repeated.shape == (4, 3, 5, 6)
    assert all(torch.equal(repeated[:, channel], grey[:, 0]) for channel in range(3))
    colour = torch.randint(0, 256, (4, 3, 5, 6), dtype=torch.uint8)
    assert with_channels(colour, 3) is colour
    averaged = with_channels(colour, 1)
    assert (averaged.dtype, averaged.shape) == (torch.uint8, (4, 1, 5, 6))
    expected = [np.asarray(Image.fromarray(one.permute(1, 2, 0).numpy()).convert('L')) for one in colour]
    assert (averaged[:, 0].int() - torch.as_tensor(np.stack(expected)).int()).abs().max() <= 1
    white = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    assert with_channels(white, 1).unique().tolist() == [255]


def test_size():
    images = torch.randint(0, 256, (2500, 1, 6, 8), dtype=torch.uint8)  # more than two of the blocks it is done in
    assert with_size(images, [6, 8]) is images
    scaled = with_size(images, [3, 4])
    assert (scaled.dtype, scaled.shape) == (torch.uint8, (2500, 1, 3, 4))
    one_by_one = torch.cat([with_size(image[None], [3, 4]) for image in images])
    assert torch.equal(scaled, one_by_one)
    for value in (0, 7, 255):
        flat = torch.full((1, 3, 6, 8), value, dtype=torch.uint8)
        assert with_size(flat, [13, 5]).unique().tolist() == [value]


def test_the_hash_tells_data_apart():
    images, targets = torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 2])
    same = InMemory(images.clone(), targets.clone()).content_hash()
    assert InMemory(images, targets).content_hash() == same
    assert InMemory(images + 1, targets).content_hash() != same
    assert InMemory(images, targets.flip(0)).content_hash() != same


def test_names_of_samples():
    images, targets = torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 2])
    assert InMemory(images, targets).name(2) == '00002'
    assert InMemory(images, targets, ['a', 'b', 'c']).name(2) == 'c'


@pytest.fixture
def downloads(monkeypatch):
    """Return the list of what torchvision was asked to download; each of them fails as it does without a network."""
    asked = []

    def fail(url, *args, **kwargs):
        asked.append(url)
        raise URLError('Temporary failure in name resolution')

    for module in ('mnist', 'cifar'):
        monkeypatch.setattr(f'torchvision.datasets.{module}.download_and_extract_archive', fail)
    return asked


EXPECTED = {
    'mnist': 'MNIST/raw/train-images-idx3-ubyte, MNIST/raw/train-labels-idx1-ubyte, MNIST/raw/t10k-images-idx3-ubyte, '
    'MNIST/raw/t10k-labels-idx1-ubyte',
    'fashion_mnist': 'FashionMNIST/raw/train-images-idx3-ubyte, FashionMNIST/raw/train-labels-idx1-ubyte, '
    'FashionMNIST/raw/t10k-images-idx3-ubyte, FashionMNIST/raw/t10k-labels-idx1-ubyte',
    'cifar10': 'cifar-10-batches-py/data_batch_1 .. data_batch_5, cifar-10-batches-py/test_batch, '
    'cifar-10-batches-py/batches.meta',
    'cifar100': 'cifar-100-python/train, cifar-100-python/test, cifar-100-python/meta',
}


@pytest.mark.parametrize('kind', CLASSES)
def test_absent_data_are_named_and_not_downloaded(make_args, files, downloads, kind):
    with pytest.raises(DanluError) as error:
        select_train_loader(make_args('--data_type', kind, '--data_root', files))
    assert str(error.value).startswith(f'{CLASSES[kind].__name__} is not in {files}, or damaged (')
    assert str(error.value).endswith(
        f'Expected files: {EXPECTED[kind]}. Give their directory with --data_root, or add --download on a machine with '
        'internet'
    )
    assert '\n' not in str(error.value)
    assert downloads == []
    assert list(files.iterdir()) == []


def test_the_default_directory_is_the_projects(make_args, monkeypatch):
    roots = []
    monkeypatch.setattr(
        'torchvision.datasets.MNIST.__init__', lambda self, root, **options: roots.append((root, options))
    )
    with pytest.raises(AttributeError):  # there are no pixels
        build(MNIST, make_args('--data_type', 'mnist'))
    assert roots == [(str(PROJECT / 'datasets'), {'train': True, 'download': False})]


@pytest.mark.parametrize('kind', CLASSES)
def test_a_failed_download_is_one_error(make_args, files, downloads, kind):
    with pytest.raises(DanluError) as error:
        select_train_loader(make_args('--data_type', kind, '--data_root', files, '--download'))
    text = str(error.value)
    assert text.startswith(f'{CLASSES[kind].__name__} cannot be downloaded or unpacked into {files} (')
    assert EXPECTED[kind] in text
    assert len(downloads) >= 1


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f'>4B{array.ndim}I', 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.mark.parametrize('kind', MNIST_LIKE)
@pytest.mark.parametrize('channels', [1, 3])
def test_mnist_files_are_read(make_args, files, downloads, kind, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 28, 28))
    for part, count in (('train', 12), ('t10k', 5)):
        write_idx(files / CLASSES[kind].dataset / 'raw' / f'{part}-images-idx3-ubyte', pixels[:count])
        write_idx(files / CLASSES[kind].dataset / 'raw' / f'{part}-labels-idx1-ubyte', np.arange(count) % 10)
    args = make_args('--data_type', kind, '--data_root', files, '--channels', channels)
    train, test = (build(CLASSES[kind], args, split) for split in ('train', 'val'))
    assert (train.images.shape, test.images.shape) == ((12, channels, 28, 28), (5, channels, 28, 28))
    assert (train.images.dtype, train.targets.dtype) == (torch.uint8, torch.int64)
    assert all(np.array_equal(plane, pixels[7]) for plane in train.images[7])
    assert test.targets.tolist() == [0, 1, 2, 3, 4]
    assert (args.num_classes, args.image_size, len(args.mean)) == (10, [28, 28], channels)
    assert downloads == []


def test_damaged_mnist_files(make_args, files, downloads):
    for part in ('train', 't10k'):
        write_idx(files / 'MNIST' / 'raw' / f'{part}-images-idx3-ubyte', np.zeros((12, 28, 28)))
        write_idx(files / 'MNIST' / 'raw' / f'{part}-labels-idx1-ubyte', np.arange(12) % 10)
    path = files / 'MNIST' / 'raw' / 'train-images-idx3-ubyte'
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DanluError, match=r'MNIST is not in .*, or damaged'):
        select_train_loader(make_args('--data_type', 'mnist', '--data_root', files))


def write_cifar(root, kind, pixels, labels):
    """Write pixels (N, H, W, 3) as both splits, in the files that CIFAR comes in."""
    rows = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
    folder = root / CLASSES[kind].files[0].split('/')[0]
    folder.mkdir()
    names = {'cifar10': [*(f'data_batch_{n}' for n in range(1, 6)), 'test_batch'], 'cifar100': ['train', 'test']}[kind]
    for name in names:
        content = {'data': rows, 'labels' if kind == 'cifar10' else 'fine_labels': list(labels)}
        (folder / name).write_bytes(pickle.dumps(content))
    meta = ('batches.meta', 'label_names') if kind == 'cifar10' else ('meta', 'fine_label_names')
    (folder / meta[0]).write_bytes(pickle.dumps({meta[1]: [f'class {n}' for n in range(100)]}))


@pytest.mark.parametrize('kind', ['cifar10', 'cifar100'])
@pytest.mark.parametrize('channels', [1, 3])
def test_cifar_files_are_read(make_args, files, downloads, monkeypatch, kind, channels):
    monkeypatch.setattr(
        'torchvision.datasets.cifar.check_integrity', lambda path, md5: True
    )  # these are not the real ones
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    write_cifar(files, kind, pixels, [3, 9, 0, 3])
    args = make_args('--data_type', kind, '--data_root', files, '--channels', channels)
    train, test = (build(CLASSES[kind], args, split) for split in ('train', 'val'))
    repeats = 5 if kind == 'cifar10' else 1
    assert (train.images.shape, test.images.shape) == ((4 * repeats, channels, 32, 32), (4, channels, 32, 32))
    assert (train.images.dtype, train.targets.tolist()) == (torch.uint8, [3, 9, 0, 3] * repeats)
    if channels == 3:
        assert np.array_equal(test.images.permute(0, 2, 3, 1).numpy(), pixels)
    assert (args.num_classes, len(args.mean)) == (10 if kind == 'cifar10' else 100, channels)
    if kind == 'cifar10':
        assert args.class_names[9] == 'truck'


def test_cifar_files_with_a_wrong_checksum_are_refused(make_args, files, downloads):
    write_cifar(files, 'cifar10', np.zeros((4, 32, 32, 3), np.uint8), [3, 9, 0, 3])
    with pytest.raises(DanluError, match=r'CIFAR10 is not in .*, or damaged'):
        select_train_loader(make_args('--data_type', 'cifar10', '--data_root', files))
