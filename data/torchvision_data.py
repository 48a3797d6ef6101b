"""MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100 from torchvision, held in memory."""

from pathlib import Path

import torch

from data.tensor_dataset import InMemory, with_channels, with_size
from utils.base.errors import DanluError
from utils.base.registry import PROJECT

MNIST_FILES = [f'{part}-{kind}-ubyte' for part in ('train', 't10k') for kind in ('images-idx3', 'labels-idx1')]


class TorchvisionData(InMemory):
    """Base class: loads `torchvision.datasets.<dataset>` into one uint8 tensor."""

    dataset = ''
    files = ()
    facts = {}

    @classmethod
    def describe(cls, args):
        """Return the options that the data set determines (dict)."""
        return cls.facts

    def __init__(self, args, split):
        loaded = self._load(Path(args.data_root) if args.data_root else PROJECT / 'datasets', args.download, split)
        images, labels = torch.as_tensor(loaded.data), torch.as_tensor(loaded.targets).long()
        # torchvision holds grey images as (N, H, W) and colour ones as (N, H, W, C).
        images = images.unsqueeze(1) if images.dim() == 3 else images.permute(0, 3, 1, 2).contiguous()
        fitted = with_size(with_channels(images, args.channels), args.image_size)
        super().__init__(fitted, labels, source=(images, labels))

    def _load(self, root, download, split):
        from torchvision import datasets  # slow to import

        wanted = ', '.join(self.files)
        try:
            return getattr(datasets, self.dataset)(str(root), train=split == 'train', download=download)
        except Exception as error:  # torchvision raises RuntimeError, OSError, URLError, EOFError and more
            if download:
                reason = f'cannot be downloaded or unpacked into {root} ({type(error).__name__}: {error})'
            else:
                reason = f'is not in {root}, or damaged ({type(error).__name__}: {error})'
            raise DanluError(
                f'{self.dataset} {reason}. Expected files: {wanted}. Give their directory with --data_root, '
                'or add --download on a machine with internet'
            ) from error


class MNIST(TorchvisionData):
    """60,000 and 10,000 handwritten digits, 28x28, grey (LeCun et al., 1998)."""

    dataset = 'MNIST'
    files = [f'MNIST/raw/{name}' for name in MNIST_FILES]
    facts = {'num_classes': 10, 'image_size': [28, 28], 'channels': 1, 'mean': [0.1307], 'std': [0.3081]}


class FashionMNIST(TorchvisionData):
    """60,000 and 10,000 articles of clothing, 28x28, grey (Xiao et al., 2017)."""

    dataset = 'FashionMNIST'
    files = [f'FashionMNIST/raw/{name}' for name in MNIST_FILES]
    facts = {
        **{'num_classes': 10, 'image_size': [28, 28], 'channels': 1, 'mean': [0.2860], 'std': [0.3530]},
        'class_names': 'T-shirt Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Boot'.split(),
    }


class CIFAR10(TorchvisionData):
    """50,000 and 10,000 photographs, 32x32, colour, 10 classes (Krizhevsky, 2009)."""

    dataset = 'CIFAR10'
    files = [f'cifar-10-batches-py/{name}' for name in ('data_batch_1 .. data_batch_5', 'test_batch', 'batches.meta')]
    facts = {
        **{'num_classes': 10, 'image_size': [32, 32], 'channels': 3},
        **{'mean': [0.4914, 0.4822, 0.4465], 'std': [0.2470, 0.2435, 0.2616]},
        'class_names': 'airplane automobile bird cat deer dog frog horse ship truck'.split(),
    }


class CIFAR100(TorchvisionData):
    """50,000 and 10,000 photographs, 32x32, colour, 100 classes (Krizhevsky, 2009)."""

    dataset = 'CIFAR100'
    files = [f'cifar-100-python/{name}' for name in ('train', 'test', 'meta')]
    facts = {
        **{'num_classes': 100, 'image_size': [32, 32], 'channels': 3},
        **{'mean': [0.5071, 0.4865, 0.4409], 'std': [0.2673, 0.2564, 0.2762]},
    }
