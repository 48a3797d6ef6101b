"""The data sets by name, and the loaders that turn them into batches.

To add a data set: write a file in data/ with a class like those there, and a line in DATASETS. It needs
`__init__(args, split)`, `__len__` and `__getitem__(index)`, which returns a picture as uint8 tensor (C, H, W) and its
target. It may have `__getitems__(indices)`, which returns a whole batch at once, `load(index, part)`, which cuts a
random part out of the file (as data/list_dataset.py), `describe(args)`, what the options can take from the data
(num_classes, image_size, channels, mean, std, class_names), and `name(index)`, what results call a sample.
What `__getitem__` draws from torch's global generator (torch.rand ...) is the same for any number of workers.
"""

import torch
from torch.utils.data import DataLoader, Dataset

from data.augment import Augment
from data.samplers import EpochBatches
from utils.errors import DanluError
from utils.machine import cpu_cores
from utils.registry import load_entry
from utils.seeding import mix_seed

DATASETS = {
    'digits': 'data.digits.Digits',
    'list': 'data.list_dataset.ListDataset',
    'mem_list': 'data.mem_list.MemList',
    'folder': 'data.folder.Folder',
    'mnist': 'data.torchvision_data.MNIST',
    'fashion_mnist': 'data.torchvision_data.FashionMNIST',
    'cifar10': 'data.torchvision_data.CIFAR10',
    'cifar100': 'data.torchvision_data.CIFAR100',
}

# Of ImageNet, for pictures whose own are not known.
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
MOST_WORKERS = 8
TOLD_BY_DATA = ('channels', 'num_classes', 'image_size')


def select_train_loader(args):
    """Return the DataLoader of the training split: shuffled by (seed, epoch), augmented; batches as `Batches` says."""
    return _loader(args, 'train')


def select_eval_loader(args):
    """Return the DataLoader of val_list, or of the data set's own test split: in order, never augmented."""
    return _loader(args, 'val')


def complete_args(args):
    """Fill in the options that were left to the data: num_classes, image_size, channels, mean, std, class_names.

    Raises:
        DanluError: the data does not tell what is needed.
    """
    told = [name for name in (*TOLD_BY_DATA, 'class_names', 'mean', 'std') if getattr(args, name) is None]
    args.from_data = sorted({*getattr(args, 'from_data', []), *told})  # save_args marks them
    describe = getattr(load_entry(DATASETS, args.data_type, 'kind of data'), 'describe', None)
    facts = describe(args) if describe else {}
    for name in TOLD_BY_DATA:
        if getattr(args, name) is None:
            setattr(args, name, facts.get(name))
        if getattr(args, name) is None:
            raise DanluError(f'{args.data_type} does not tell its {name}: give --{name}')
    if args.num_classes < (facts.get('num_classes') or 0):
        raise DanluError(f'--num_classes {args.num_classes}: {args.data_type} has {facts["num_classes"]}; leave it out')
    if args.class_names is None and len(facts.get('class_names') or []) == args.num_classes:
        args.class_names = facts['class_names']
    for name, default in (('mean', MEAN), ('std', STD)):
        values = getattr(args, name) or facts.get(name) or default
        if len(values) != args.channels:  # grey pictures shown as RGB, or RGB as grey
            values = values * 3 if len(values) == 1 else [round(sum(values) / len(values), 4)]
        setattr(args, name, list(values))


class Batches(Dataset):
    """Gives a DataLoader whole batches of a data set: pictures uint8 (B, C, H, W) and targets (B, ...).

    Args:
        dataset: as the file's docstring says.
        augment: Augment, or None.
        seed: the run's seed.
    """

    def __init__(self, dataset, augment, seed):
        self.dataset, self.augment, self.seed = dataset, augment, seed

    def __len__(self):
        return len(self.dataset)

    def __getitems__(self, key):
        """Return the batch of `key`, an (epoch, indices) pair of EpochBatches; for an augmentation with the key.

        The augmentation itself is left to the device, a batch at a time: see utils.engine.Engine.to_device.
        """
        epoch, indices = key
        if hasattr(self.dataset, '__getitems__'):
            batch = self.dataset.__getitems__(indices)
        else:
            state = torch.get_rng_state()  # in the main process it is the model's
            samples = [self._sample(epoch, index) for index in indices.tolist()]
            torch.set_rng_state(state)
            images, targets = zip(*samples, strict=True)
            batch = torch.stack(images), torch.stack([torch.as_tensor(target) for target in targets])
        return batch if self.augment is None else (*batch, key)

    def _sample(self, epoch, index):
        torch.default_generator.manual_seed(mix_seed(self.seed, epoch, index))
        if self.augment is not None and cuts_parts(self.dataset):
            return self.dataset.load(index, self.augment.part(epoch, index))
        return self.dataset[index]


def cuts_parts(dataset):
    """Return whether a data set cuts parts out of its pictures while it decodes them: has `load(index, part)`."""
    return getattr(dataset, 'load', None) is not None


def _as_it_is(batch):
    return batch


def _loader(args, split):
    complete_args(args)
    training = split == 'train'
    dataset = load_entry(DATASETS, args.data_type, 'kind of data')(args, split)
    augment = None
    if training and args.augment != 'none':
        ignore_index = args.ignore_index if args.task == 'segmentation' else None
        augment = Augment(args.augment, ignore_index, args.seed, cut=cuts_parts(dataset))
    workers = args.num_workers
    if workers is None:
        workers = 0 if getattr(dataset, 'in_memory', False) else min(MOST_WORKERS, cpu_cores())
    return DataLoader(
        Batches(dataset, augment, args.seed),
        batch_sampler=EpochBatches(len(dataset), args.batch_size, shuffle=training, seed=args.seed),
        collate_fn=_as_it_is,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=args.device != 'cpu' and torch.cuda.is_available(),
        # Without its own generator each pass would draw a number from the model's.
        generator=torch.Generator().manual_seed(args.seed),
    )
