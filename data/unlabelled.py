"""Data without targets for eval.py --predict: the loader of a test, which yields whether each sample could be read.

    loader, walk = unlabelled_loader(args)
    for images, status in loader:
        samples = walk.taken(len(images))       # their names and sources

A sample that cannot be read is a batch row of zeros with the status DAMAGED instead of READ, 0; walk.fault_of(sample)
says why. Nothing is kept of samples that were predicted, so their number does not matter.
"""

import csv
from collections import deque
from itertools import chain, islice

import numpy as np
import torch
from torch.utils.data import Dataset

from data.cache.memory_check import refuse_large_batch
from data.data_entry import MAX_DEFAULT_WORKERS, Batches
from data.lists.pictures import open_picture, read_picture, upright_size
from data.lists.table import feature_rows, read_features
from data.lists.unlabelled_files import TABLE_EXTENSIONS, UnlabelledFiles, UnlabelledImage, content_of
from data.loader import Loader
from data.predicting import images_of
from data.samplers import StreamBatches
from data.tensor_dataset import with_channels, with_size
from utils.base.errors import DanluError
from utils.base.machine import check_process_count, cpu_cores
from utils.options.fit import Fit
from utils.options.predict_options import STDIN

READ, DAMAGED = 0, 1
MAX_IMAGES_WITHOUT_WORKERS = 64  # starting worker processes takes longer than decoding these
DEFAULT_BITS = 16
NPZ = '.npz'


def unlabelled_loader(args):
    """Return the Loader of what --predict names and its UnlabelledWalk, which has the samples of each batch.

    Args:
        args: options of eval.py; predict, data_root, image_size, channels, mean, std, fit, bits, batch_size and
            num_workers are used.

    Raises:
        DanluError: there is no sample, or the checkpoint does not say how images were brought to the network.
    """
    if args.image_size is None or not args.channels or args.mean is None or args.std is None:
        raise DanluError(
            '--predict: the checkpoint does not say what inputs the network takes, as its data was ready-made: '
            'give --image_size, --channels, --mean and --std (0 and 1: pixels in 0..1)'
        )
    refuse_large_batch(args, None, training=False)
    tables = not args.image_size or all(word.lower().endswith(NPZ) for word in args.predict)
    walk = UnlabelledWalk(UnlabelledRows(args) if tables else UnlabelledFiles(args.predict, args.data_root))
    reader = RowReader(args) if tables else ImageReader(args, walk.count)
    workers = args.num_workers
    if workers is None:
        workers = min(MAX_DEFAULT_WORKERS, cpu_cores())
    check_process_count('num_workers', workers)
    if tables or walk.count is not None:
        workers = 0
    walk.reader = reader
    batches = StreamBatches(walk, args.batch_size, shuffle=False)
    return Loader(Batches(reader, None, args.seed), batches, workers, args.seed), walk


class UnlabelledWalk:
    """The samples in order, and those of the batches that are being made.

    Args:
        samples: iterable of UnlabelledImage.

    Attributes:
        samples: as given; its `notes` tell what the walk left out.
        count: number of samples, or None for more than MAX_IMAGES_WITHOUT_WORKERS.
        reader: ImageReader or RowReader.

    Raises:
        DanluError: there are none.
    """

    def __init__(self, samples):
        self.samples, self.rest, self.waiting = samples, iter(samples), deque()
        self.first = list(islice(self.rest, MAX_IMAGES_WITHOUT_WORKERS + 1))
        self.count = len(self.first) if len(self.first) <= MAX_IMAGES_WITHOUT_WORKERS else None
        if not self.first:
            named = 'standard input' if samples.words == [STDIN] else ' '.join(samples.words)
            missing = 'there is no image to predict; give a directory with images, or image files'
            raise DanluError('\n'.join([f'--predict {named}: {missing}', *samples.notes]))

    def order(self, epoch):
        """Yield the samples, once: only epoch 1."""
        first, self.first = self.first, []
        for sample in chain(first, self.rest):
            self.waiting.append(sample)
            yield sample

    def taken(self, count):
        """Return the next `count` samples (list) that `order` yielded."""
        return [self.waiting.popleft() for _ in range(count)]

    def fault_of(self, sample):
        """Return why a sample cannot be read (str)."""
        return self.reader.fault_of(sample)

    def full_size(self, sample):
        """Return the upright (height, width) of the image of a sample in its file, or None if it has no file."""
        return self.reader.full_size(sample)


class ImageReader(Dataset):
    """Decodes images as data.list_dataset.ListDataset does, in any process or thread.

    Args:
        args: options.
        count: number of images, or None if unknown.
    """

    in_memory = False

    def __init__(self, args, count):
        self.channels, self.size, self.fit = args.channels, tuple(args.image_size), Fit.of(args)
        self.bits, self.count = args.bits or DEFAULT_BITS, count

    def __len__(self):
        if self.count is None:
            raise TypeError('the number of images is unknown before the end of the walk')
        return self.count

    def load(self, image, part=None):
        """Return (image, status): uint8 (C, H, W), and 0-d int64, READ or DAMAGED."""
        try:
            return self.read(image), torch.tensor(READ)
        except DanluError:
            return torch.zeros(self.channels, *self.size, dtype=torch.uint8), torch.tensor(DAMAGED)

    def read(self, image):
        """Return the pixels of an UnlabelledImage, uint8 (C, H, W).

        Raises:
            DanluError: it cannot be read; the message does not contain its name.
        """
        # The content, not the path, as then the end of a JPEG is checked, which other data sets do before training.
        return read_picture(content_of(image), self.channels, self.size, self.fit, bits=self.bits)

    def fault_of(self, image):
        """Return why an UnlabelledImage cannot be read (str)."""
        try:
            self.read(image)
        except DanluError as error:
            return str(error)
        return 'could not be read at first, and can be read now: predict it again'

    def full_size(self, image):
        """Return the upright (height, width) of an UnlabelledImage in its file."""
        with open_picture(content_of(image)) as picture:
            return upright_size(picture)


class UnlabelledRows:
    """Iterates over the rows of .csv and .tsv files and the arrays of .npz files, as UnlabelledImages.

    The source of a row is its features, list of F floats or array (F,), or an image, uint8 array (C, H, W). `notes` as
    for UnlabelledFiles.
    """

    def __init__(self, args):
        self.args, self.words, self.notes, self.lists = args, args.predict, [], []
        wrong = [word for word in self.words if not word.lower().endswith((NPZ, *TABLE_EXTENSIONS))]
        if wrong:
            raise DanluError(
                f'--predict {wrong[0]}: this network takes feature vectors: give .csv, .tsv or .npz files of '
                f'{args.channels} features'
            )

    def __iter__(self):
        for path in self.words:
            if path.lower().endswith(NPZ):
                for index, features in enumerate(self._array(path)):
                    yield UnlabelledImage(f'{path}:{index}', features)
                continue
            try:
                for line, features, fault in feature_rows(path, self.args.channels, self.args.target_columns):
                    yield UnlabelledImage(f'{path}:{line}', features, fault)
            except (UnicodeDecodeError, csv.Error, OSError) as error:
                raise DanluError(f'{path} cannot be read as a table: {error}') from None

    def _array(self, path):
        features = read_features(path)
        if features.ndim == 4 and self.args.image_size:
            images = with_channels(torch.from_numpy(features), self.args.channels)
            return with_size(images, self.args.image_size).numpy()
        if features.ndim != 2 or self.args.image_size or features.shape[1] != self.args.channels:
            wanted = f'images (N, {self.args.channels}, H, W)' if self.args.image_size else f'(N, {self.args.channels})'
            raise DanluError(f'{path}: features of shape {features.shape}; this network takes {wanted}')
        return features


class RowReader(Dataset):
    """Makes batches of the rows of UnlabelledRows: standardised features, float32 (B, F), or images, uint8."""

    in_memory = False

    def __init__(self, args):
        self.args, self.shape = args, (args.channels, *args.image_size)

    def __len__(self):
        raise TypeError('the number of rows is unknown before the end of the files')

    def __getitems__(self, rows):
        """Return (inputs, status) of a batch of UnlabelledImages."""
        rows = rows.tolist()
        empty = np.zeros(self.shape, np.uint8 if self.args.image_size else np.float64)
        values = np.stack([np.asarray(row.source) if row.fault is None else empty for row in rows])
        status = torch.tensor([READ if row.fault is None else DAMAGED for row in rows])
        return (torch.from_numpy(values) if self.args.image_size else images_of(values, self.args)), status

    def fault_of(self, row):
        """Return why a row is invalid (str)."""
        return row.fault

    def full_size(self, row):
        """Return None: a row is no file."""
        return
