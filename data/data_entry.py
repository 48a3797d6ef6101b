"""DATASETS, the registry of data sets, and the loaders that make batches of them.

To add a data set, write a class in a file in data/ and add a line to DATASETS. The class needs `__init__(args, split)`
with split 'train' or 'val', or `__init__(args, is_train)` with a bool, as in torch_base (data/build_dataset.py);
`__len__`; and `__getitem__(index)`, which returns an image as uint8 tensor (C, H, W), or features as float32 tensor
(F,) where image_size is [], and a target (utils/tasks/tasks.py). Random numbers that `__getitem__` draws from torch's
global generator do not depend on the number of workers. Optional members:

    describe(args)        options that the data determines (dict): num_classes or num_targets, image_size, channels,
                          mean, std, class_names, mask_values, bits
    name(index)           name of a sample in results
    labels                int64 tensor (N,), for --balance
    notes                 list of lines printed at the start
    content_hash()        str that identifies the samples: tests and resumed runs compare it
    in_memory = True      nothing is decoded: no worker processes by default
    __getitems__(indices) a whole batch at once
    load(index, part)     instead of `__getitem__`: crops while decoding, uses no random generator, is called by threads
                          (data/list_dataset.py)
    fit                   utils.options.fit.Fit; if its decoder decodes on --device, `load` also takes `read`: a
                          function as data.lists.pictures.read_picture that may return an EncodedPicture
                          (data/lists/encoded.py)
    read_hashes           None, or a data.lists.read_bytes.ReadHashes, into which the hashes of all bytes read are put
    sample_hashes()       instead of these: hash of each sample, uint64 array (N,) (utils/provenance/contents.py)
    order(epoch)          instead of a length: yields arguments for `load` (data/stream.py), each with an `index` and,
                          where samples repeat within an epoch, a `repetition`
"""

import numpy as np
import torch
from torch.utils.data import Dataset, default_collate

from data.augment import Augment, refuse_non_geometric
from data.build_dataset import build_dataset
from data.cache.memory_check import refuse_large_batch
from data.checks.class_balance import balance
from data.checks.class_weights import balanced_weights
from data.lists.decoders import select_decoder
from data.lists.encoded import EncodedBatch, encode_picture, is_encoded
from data.lists.read_bytes import ReadHashes
from data.loader import Loader
from data.mixing import select_mixing
from data.samplers import EpochBatches, SampleRefs, StreamBatches, random_keys
from data.shared_buffers import SharedBuffers
from utils.base.errors import DanluError
from utils.base.machine import check_process_count, cpu_cores
from utils.base.registry import load_entry
from utils.base.seeding import mix_seed
from utils.options.arguments import BALANCED
from utils.options.fit import PICTURE_DATA, PILLOW, decodes_on_device
from utils.options.palette import fitted
from utils.tasks.target_scale import complete_target_scale, measure_targets
from utils.tasks.tasks import has_pictures, task_of
from utils.training.pretrained_config import pretrained_config_of

DATASETS = {
    'digits': 'data.digits.Digits',
    'list': 'data.list_dataset.ListDataset',
    'mem_list': 'data.mem_list.MemList',
    'pairs': 'data.list_dataset.ListDataset',
    'folder': 'data.folder.Folder',
    'stream': 'data.stream.Stream',
    'array': 'data.array.ArrayData',
    'noisy_digits': 'data.digits.NoisyDigits',
    'mnist': 'data.torchvision_data.MNIST',
    'fashion_mnist': 'data.torchvision_data.FashionMNIST',
    'cifar10': 'data.torchvision_data.CIFAR10',
    'cifar100': 'data.torchvision_data.CIFAR100',
}

# For images whose own mean and standard deviation are unknown.
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
MAX_DEFAULT_WORKERS = 8
OPTIONAL_FACTS = ('mask_values', 'bits', 'target_names')  # options that only some data sets determine


def select_train_loader(args):
    """Return the Loader of the training split, shuffled by (seed, epoch)."""
    return _loader(args, 'train')


def select_eval_loader(args):
    """Return the Loader of val_list, or of the data set's own test split, in order and without augmentation."""
    return _loader(args, 'val')


def complete_args(args):
    """Set the options that the data determines: the task's outputs, image_size, channels, mean, std, class_names.

    Raises:
        DanluError: the data does not determine an option, or an option does not fit the data.
    """
    needed = dict.fromkeys(('channels', task_of(args).outputs, 'image_size'))
    told = [name for name in (*needed, 'class_names', 'mean', 'std') if getattr(args, name) is None]
    describe = getattr(load_entry(DATASETS, args.data_type, 'kind of data'), 'describe', None)
    facts = describe(args) if describe else {}
    for name in OPTIONAL_FACTS:
        if getattr(args, name) is None and facts.get(name) is not None:
            setattr(args, name, facts[name])
            told.append(name)
    args.from_data = sorted({*getattr(args, 'from_data', []), *told})  # marked in args.txt
    for name in needed:
        if getattr(args, name) is None:
            setattr(args, name, facts.get(name))
        if getattr(args, name) is None:
            raise DanluError(f'{args.data_type} does not determine {name}: give --{name}')
    if args.num_classes is not None and args.num_classes < (facts.get('num_classes') or 0):
        raise DanluError(f'--num_classes {args.num_classes}: {args.data_type} has {facts["num_classes"]}; leave it out')
    found = facts.get('class_names')
    if args.class_names is None and found and len(found) == args.num_classes:
        args.class_names = found
    if args.palette is not None:
        args.palette = _fitted_palette(args)
    weights = pretrained_config_of(args) if getattr(args, 'pretrained_config', False) else {}
    for name, default in (('mean', IMAGENET_MEAN), ('std', IMAGENET_STD)):
        values = getattr(args, name) or weights.get(name) or facts.get(name) or default
        setattr(args, name, _fitting_channels(args, name, values))
    _complete_reading(args, weights)
    if not has_pictures(args):
        _refuse_for_features(args)


def _complete_reading(args, weights):
    """Set how image files are read: by the configuration (dict) of pretrained weights, or the defaults."""
    if args.data_type not in PICTURE_DATA:
        return
    select_decoder(args.decoder or PILLOW)  # imported once, before worker processes are forked
    told = [name for name in ('interpolation', 'crop_share') if getattr(args, name) is None]
    args.from_data = sorted({*args.from_data, *told})
    if args.interpolation is None:
        args.interpolation = weights.get('interpolation', 'bilinear')
    if args.crop_share is None:
        args.crop_share = weights.get('crop_share', 1.0) if args.fit == 'crop' else 1.0


def _fitting_channels(args, name, values):
    """Return mean or std (list of float), one value per channel or feature."""
    if task_of(args).target == 'picture':  # inputs and outputs are pixels in 0..1
        return [0.0 if name == 'mean' else 1.0] * args.channels
    if len(values) == args.channels:
        return list(values)
    if len(values) == 1:  # grey images read as RGB, or one value for all features
        return list(values) * args.channels
    if args.channels > 1 or not has_pictures(args):
        raise DanluError(f'--{name}: {len(values)} given for {args.channels} channels or features; leave it out')
    return [round(sum(values) / len(values), 4)]  # RGB images read as grey


def _fitted_palette(args):
    """Return the colours of the classes (list of str)."""
    try:
        return fitted(args.palette, args.num_classes, args.class_names)
    except DanluError as error:
        raise DanluError(f'--palette: {error}') from None


def _refuse_for_features(args):
    """Refuse options that apply only to images."""
    for name, off in (('augment', 'none'), ('mixup', None), ('cutmix', None), ('channels_last', None)):
        if getattr(args, name, off) not in (off, False):
            raise DanluError(f'--{name}: the samples are vectors of features, not images; leave it out')


class Batches(Dataset):
    """Makes batches of a data set: images uint8 (B, C, H, W) and targets (B, ...).

    Args:
        dataset: see the module docstring.
        augment: Augment, or None.
        seed: the run's seed.
        mixing: Mixing, or None.
    """

    def __init__(self, dataset, augment, seed, mixing=None):
        self.dataset, self.augment, self.seed, self.mixing = dataset, augment, seed, mixing
        self.shared = SharedBuffers()
        self.crops_while_decoding, self.skipped = crops_while_decoding(dataset), getattr(dataset, 'skipped', None)
        decoder = getattr(getattr(dataset, 'fit', None), 'decoder', None)
        self.device_decoder = decoder if self.crops_while_decoding and decodes_on_device(decoder) else None
        if not hasattr(dataset, 'sample_hashes') and getattr(dataset, 'read_hashes', ReadHashes) is None:
            dataset.read_hashes = ReadHashes()

    def __len__(self):
        return len(self.dataset)

    def __getitems__(self, key, encoded=False):
        """Return the batch of `key`, an (epoch, indices) pair from EpochBatches; indices of a stream are SampleRefs.

        If `encoded`, images and targets may be EncodedBatches, which `decode` decodes. With augmentation or mixing the
        batch also has (epoch, random_keys(indices)). Both are applied on the device, to whole batches: see
        utils.training.batch_transform and data.loader.Loader.
        """
        epoch, indices = key
        if hasattr(self.dataset, '__getitems__'):
            positions = indices if isinstance(indices, SampleRefs) else np.asarray(indices)
            return self._with_key(self.dataset.__getitems__(positions), key)
        if self.crops_while_decoding:
            return self.collate_samples(self.load(key, encoded), key)
        state = torch.get_rng_state()  # in the main process, the generator belongs to the model
        keys = random_keys(indices).tolist()
        samples = [self._sample(epoch, *each) for each in zip(keys, indices.tolist(), strict=True)]
        torch.set_rng_state(state)
        return self.collate_samples(samples, key)

    def take_hashes(self, samples):
        """Return the hashes of the bytes that samples were just read from, as ReadHashes.take, or None if unknown."""
        hashes = getattr(self.dataset, 'read_hashes', None)
        return None if hashes is None else hashes.take(samples)

    def load(self, key, encoded=False):
        """Return the samples (list) of `key` from a data set that crops while decoding; thread-safe.

        If `encoded`, images and target images are EncodedPictures where --device can decode them.
        """
        epoch, indices = key
        how = {'read': encode_picture} if encoded else {}
        parts = (
            [None] * len(indices) if self.augment is None else self.augment.random_crops(epoch, random_keys(indices))
        )
        return [self.dataset.load(index, part, **how) for index, part in zip(indices.tolist(), parts, strict=True)]

    def collate_samples(self, samples, key):
        """Return samples, a list of (image, target), as the batch of `key`."""
        images, targets = zip(*samples, strict=True)
        if is_encoded(images) or is_encoded(targets):
            self.shared.used = False
            batch = tuple(
                EncodedBatch(each, key) if is_encoded(each) else default_collate(each) for each in (images, targets)
            )
            return self._with_key(batch, key)
        return self._with_key(self.shared.collate(images, targets), key)

    def decode(self, batch, device):
        """Return a batch whose EncodedBatches are decoded on `device` (torch.device): uint8 (B, C, H, W).

        An image that the device does not decode is read again and decoded on the CPU.

        Raises:
            DanluError: an image is damaged, as `load`.
        """
        return tuple(
            self._decode(each, number, device) if isinstance(each, EncodedBatch) else each
            for number, each in enumerate(batch)
        )

    def _decode(self, encoded, number, device):
        """Return the images (number 0) or targets (1) of an EncodedBatch as `decode`."""
        pixels, refused = encoded.decode(device)
        epoch, samples = encoded.key
        for place in refused:
            sample = samples[place : place + 1]
            pixels[place] = self.load((epoch, sample))[0][number]
            self.take_hashes(sample)  # known from the first reading
        return pixels

    def _with_key(self, batch, key):
        return batch if self.augment is None and self.mixing is None else (*batch, (key[0], random_keys(key[1])))

    def _sample(self, epoch, key, index):
        torch.default_generator.manual_seed(mix_seed(self.seed, epoch, key))
        return self.dataset[index]


def crops_while_decoding(dataset):
    """Return whether a data set has `load(index, part)` and no subclass overrides only `__getitem__`."""
    if getattr(dataset, 'load', None) is None:
        return False
    owners = {name: cls for cls in reversed(type(dataset).__mro__) for name in vars(cls)}
    return issubclass(owners['load'], owners['__getitem__'])


def notes_of(*loaders):
    """Return the notes of the data sets of loaders (list of str)."""
    datasets = [getattr(getattr(loader, 'dataset', None), 'dataset', None) for loader in loaders]
    return [note for dataset in datasets for note in getattr(dataset, 'notes', [])]


def check_ready_made(loader, args):
    """Refuse options that a ready-made training loader does not support.

    If it does not determine the mean of the targets, args.target_scale becomes 'none'.
    """
    complete_target_scale(args)
    dataset = getattr(loader, 'dataset', None)
    for option, wanted, part in (
        ('--augment', args.augment != 'none', 'augment'),
        ('--mixup or --cutmix', args.mixup or args.cutmix, 'mixing'),
        ('--skip_bad', args.skip_bad, 'skipped'),
    ):
        if wanted and getattr(dataset, part, None) is None:
            raise DanluError(f'{option} needs the loader that --data_type names: leave out train_loader')
    if args.class_weights == [BALANCED]:
        raise DanluError('--class_weights balanced counts the data that --data_type names: leave out train_loader')
    if args.balance and getattr(getattr(loader, 'batch_sampler', None), 'draw_probabilities', None) is None:
        raise DanluError('--balance needs the loader that --data_type names: leave out train_loader')


def _loader(args, split):
    complete_args(args)
    training = split == 'train'
    augmented, target = training and args.augment != 'none', task_of(args).target
    if augmented and target == 'picture':
        refuse_non_geometric(args.augment)
    refuse_large_batch(args, 1, training)  # before any sample is read
    dataset = build_dataset(load_entry(DATASETS, args.data_type, 'kind of data'), args, split)
    if training:
        dataset.notes = [*getattr(dataset, 'notes', []), *measure_targets(args, dataset)]
    if training and args.class_weights == [BALANCED]:
        args.class_weights = balanced_weights(dataset, args)
    augment = None
    if augmented:
        ignore_index = args.ignore_index if target == 'mask' else None
        augment = Augment(args.augment, ignore_index, args.seed, crops_while_decoding(dataset), target == 'picture')
    workers = args.num_workers
    if workers is None:
        workers = 0 if getattr(dataset, 'in_memory', False) else min(MAX_DEFAULT_WORKERS, cpu_cores())
    check_process_count('num_workers', workers)
    refuse_large_batch(args, None if hasattr(dataset, 'order') else len(dataset), training)
    if hasattr(dataset, 'order'):
        batches = StreamBatches(dataset, args.batch_size, shuffle=training)
    else:
        weights = balance(dataset, args) if training and args.balance else None
        batches = EpochBatches(len(dataset), args.batch_size, training, args.seed, weights)
    mixing = select_mixing(args) if training else None
    return Loader(Batches(dataset, augment, args.seed, mixing), batches, workers, args.seed)
