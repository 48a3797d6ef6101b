"""What the contestants share, so that they differ in their loop alone: network, loss, optimizer, data, loaders."""

import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from model.lenet import LeNet
from scripts.dev.bench.task import CLASSES, CROP_SCALE, INPUT, NORMALISATION, RESNETS, SIZES

LEARNING_RATE = 1e-3
STRIDE = 8  # of the network and the loss over masks, so that the input is what takes time


def network(task):
    """Return the work's network (nn.Module) on the task's device."""
    if task.work == 'small':
        net = LeNet(CLASSES, in_channels=1, image_size=SIZES['small'])
    elif task.work in RESNETS:
        from torchvision.models import resnet18

        net = resnet18(num_classes=CLASSES)
    elif task.work == 'photos':
        net = nn.Sequential(Thinned(32), nn.Flatten(), nn.Linear(3 * 7 * 7, CLASSES))
    elif task.work == 'tiny':
        net = nn.Sequential(Thinned(STRIDE), nn.Flatten(), nn.Linear(3 * 4 * 4, CLASSES))
    else:
        net = nn.Sequential(Thinned(STRIDE), nn.Conv2d(3, CLASSES, 1))
    return net.to(task.device)


class Thinned(nn.Module):
    """Takes one pixel of so many each way, so that what comes after it takes no time."""

    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, images):
        """Return (B, C, H / stride, W / stride) of images (B, C, H, W)."""
        return images[..., :: self.stride, :: self.stride]


def loss_of(predictions, targets):
    """Return the mean cross-entropy; of masks every eighth pixel each way counts, as the network makes them."""
    return F.cross_entropy(predictions, targets[:, ::STRIDE, ::STRIDE] if targets.dim() == 3 else targets)


def optimizer(parameters, task):
    """Return Adam as torch builds it by default, or fused."""
    return torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=task.fused or None)


def to_device(batch, task):
    """Return a batch's tensors on the task's device."""
    return [tensor.to(task.device, non_blocking=True) for tensor in batch]


def accuracy_of(net, batches):
    """Return the share (float) of right predictions of `net` over (images, labels) batches on its device."""
    net.eval()
    right = seen = 0
    with torch.inference_mode():
        for images, labels in batches:
            right = right + (net(images).argmax(1) == labels).sum()
            seen += len(labels)
    return float(right) / seen


def loaders(task):
    """Return the DataLoaders to train and to validate as a user makes them; without the latter for work on input."""
    options = {'batch_size': task.batch_size, 'num_workers': task.workers, 'pin_memory': task.device == 'cuda'}
    options['persistent_workers'] = task.workers > 0
    training = DataLoader(dataset(task, 'train'), shuffle=True, **options)
    if task.work in INPUT:
        return training, None
    return training, DataLoader(dataset(task, 'test'), **options)


def dataset(task, split):
    """Return a split's data set in torchvision's usual way: one picture at a time, by torchvision's transforms."""
    from torchvision import datasets, transforms

    usual = [transforms.ToTensor(), transforms.Normalize(**NORMALISATION[task.work])]
    if task.work == 'small':
        return datasets.MNIST(task.data, train=split == 'train', transform=transforms.Compose(usual))
    if task.work in RESNETS:
        return Pictures(*arrays(task, split), transforms.Compose(usual))
    if task.work == 'photos':
        crop = transforms.RandomResizedCrop(SIZES['photos'], scale=CROP_SCALE)
        return Files(task, transforms.Compose([crop, transforms.RandomHorizontalFlip(), *usual]))
    if task.work == 'tiny':
        return Files(task, transforms.Compose([transforms.RandomHorizontalFlip(), *usual]))
    return Masks(task)


def arrays(task, split):
    """Return a split's pictures, uint8 (N, H, W, C), and labels, int64 (N,), as numpy arrays."""
    if task.work == 'small':
        from torchvision.datasets import MNIST

        data = MNIST(task.data, train=split == 'train')
        return data.data.unsqueeze(-1).numpy(), data.targets.numpy()
    paths, labels = zip(*read_lines(task, split), strict=True)
    return np.stack([np.asarray(Image.open(path)) for path in paths]), np.array([int(label) for label in labels])


def ready_tensors(task, split):
    """Return a split as two tensors on the task's device: normalised float32 (N, C, H, W), and labels."""
    images, labels = (torch.from_numpy(array) for array in arrays(task, split))
    mean, std = (torch.tensor(NORMALISATION[task.work][name]).view(-1, 1, 1) for name in ('mean', 'std'))
    images = images.permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(std).contiguous()
    return images.to(task.device), labels.to(task.device)


def read_lines(task, split='train'):
    """Return the (path, target) pairs of a list file of the work's own making (see pictures.py)."""
    folder = Path(task.data)
    pairs = (line.split('\t') for line in (folder / f'{split}.txt').read_text().splitlines())
    return [(str(folder / image), target) for image, target in pairs]


class Pictures(Dataset):
    """Pictures in memory, handed out one by one as torchvision.datasets.MNIST and CIFAR10 do."""

    def __init__(self, images, labels, transform):
        self.images, self.labels, self.transform = images, labels.tolist(), transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


class Files(Dataset):
    """Pictures in files, read as torchvision.datasets.ImageFolder does."""

    def __init__(self, task, transform):
        self.samples = [(path, int(label)) for path, label in read_lines(task)]
        self.transform = transform

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        path, label = self.samples[index]
        with open(path, 'rb') as file:
            picture = Image.open(file).convert('RGB')
        return self.transform(picture), label


class Masks(Dataset):
    """Pictures with masks, mirrored together, as in torchvision's references/segmentation."""

    def __init__(self, task):
        folder = Path(task.data)
        self.samples = [(path, str(folder / mask)) for path, mask in read_lines(task)]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        from torchvision.transforms import functional

        picture, mask = (Image.open(path) for path in self.samples[index])
        picture = picture.convert('RGB')
        if random.random() < 0.5:
            picture, mask = functional.hflip(picture), functional.hflip(mask)
        picture = functional.normalize(functional.to_tensor(picture), **NORMALISATION['masks'])
        return picture, torch.from_numpy(np.array(mask)).long()
