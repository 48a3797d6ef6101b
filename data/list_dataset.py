"""Pictures named by a list file, decoded when they are needed."""

import os
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakValueDictionary

import numpy as np
from torch.utils.data import Dataset

from data.checks.duplicates import note_of_duplicates
from data.checks.preview import MAX_DECODED_IMAGES, MAX_MASKS, find_bits, find_mask_values
from data.checks.sample_facts import SampleFacts
from data.lists.bad_samples import SkippedSamples
from data.lists.file_stats import SIZE
from data.lists.labels import count_classes, label_names, parse_labels
from data.lists.list_file import ErrorCollector, random_positions, read_list, with_location
from data.lists.masks import ALPHA, DEEP, FRAMES, ONLY_IMAGE_TURNED, OTHER_SIZE, MaskCoding
from data.lists.pictures import (
    SIDE_SWAPPING_ORIENTATIONS,
    inspect_mask,
    inspect_picture,
    open_picture,
    read_mask,
    read_palette,
    read_picture,
    upright_size,
)
from data.lists.targets import count_label_sets, count_numbers, label_set_names, parse_label_sets, parse_numbers
from utils.base.errors import DanluError
from utils.base.machine import cpu_cores
from utils.base.parallel_map import can_fork, parallel_call
from utils.options.fit import Fit
from utils.tasks.tasks import task_of

MAX_GUESSED_SIDE = 512
SAMPLES_PER_BLOCK = 8192
MIN_SAMPLES_FOR_PROCESSES = 2000  # samples for which it is worth while to start processes
# Ten million lines take seconds to be read: a Listing that is still in use is not read anew, and `describe` keeps the
# last one for the data set that is built next.
_OPEN_LISTINGS, _LAST_DESCRIBED = WeakValueDictionary(), []


class ListDataset(Dataset):
    """`image<TAB or blank>target` per line; what the target is depends on the task.

        classification   a label or a class name
        multilabel       labels or class names with commas between them, - for none
        regression       one number or several, blanks or tabs between them, as many in every line
        segmentation     a mask picture
        restoration      a picture of the same size

    Every picture and target is checked when the data set is built, so that a fault is found before the first step; of
    millions only those that `Listing.drawn` names, but with --dry_run that all files are there.

    Args:
        args: options; data_root, task, num_classes, num_targets, class_names, image_size, fit, channels, mean and
            ignore_index count.
        split: 'train' (train_list) or 'val' (val_list).

    Raises:
        DanluError: naming file and line of the first 20 faults.
    """

    in_memory = False
    read = staticmethod(read_list)
    names_of = staticmethod(label_names)

    @classmethod
    def describe(cls, args):
        """Return what the options can take from the data (dict): its outputs, and the size of the first picture."""
        facts, target = {'channels': 3}, task_of(args).target
        train_list = getattr(args, 'train_list', None)
        # A model that is tested has its order of classes; that of the test list may be another.
        may_count = train_list is not None or args.num_classes is None
        classes_wanted = target in ('label', 'labels') and args.class_names is None and may_count
        numbers_wanted = target == 'numbers' and args.num_targets is None
        values_wanted = target == 'mask' and args.mask_values is None
        wanted = classes_wanted or numbers_wanted or values_wanted or args.bits is None or args.image_size is None
        if not wanted:
            return facts
        path = train_list or args.val_list
        # Lines that are no samples are passed over: building the data set reports them, with all the other faults.
        listing = _read(cls.read, path, args.data_root, faults := ErrorCollector(path), target == 'numbers')
        _LAST_DESCRIBED[:] = [listing] * (os.path.isfile(path) and not faults.count)  # others are read anew
        if classes_wanted:
            if target == 'label':
                names = cls.names_of(listing, args.ignore_index)
                count = count_classes(listing, names, args.num_classes, args.ignore_index)
            else:
                names = label_set_names(listing)
                count = _count_in_sets(listing, names, args.num_classes)
            facts |= {'class_names': names, 'num_classes': count}
        if numbers_wanted:
            facts['num_targets'] = count_numbers(listing)
            facts['target_names'] = listing.target_names if train_list else None  # a tested model has its own
        if values_wanted:
            chosen = random_positions(len(listing), MAX_MASKS).tolist()
            facts['mask_values'] = find_mask_values(map(listing.target_path, chosen), args.num_classes)
        if args.bits is None:
            facts['bits'] = find_bits(_sampled_image_paths(listing, target == 'picture'))
        if args.image_size is None:
            facts['image_size'] = _first_size(listing)
        return facts

    def __init__(self, args, split):
        path = args.train_list if split == 'train' else args.val_list
        self.skipped = SkippedSamples(path) if split == 'train' and getattr(args, 'skip_bad', False) else None
        faults = ErrorCollector(path) if self.skipped is None else self.skipped
        self.target, self.checks_all_files = task_of(args).target, getattr(args, 'dry_run', False)
        self.listing = _read(self.read, path, args.data_root, faults, self.target == 'numbers')
        _LAST_DESCRIBED.clear()
        self.channels, self.size, self.fit = args.channels, tuple(args.image_size), Fit.of(args)
        self.bits, self.coding = args.bits, MaskCoding.of(args) if self.target == 'mask' else None
        found = f'at most {MAX_DECODED_IMAGES:,} samples of the training data'
        self.measured = found if 'bits' in getattr(args, 'from_data', []) else ''
        self.guessed = 'image_size' in getattr(args, 'from_data', [])
        self.notes = [*self.listing.notes, *note_of_duplicates(self.listing)]
        self.labels = self.parse(args, faults)
        self.first_palette = None if self.coding is None else read_palette(self.listing.target_path(0))
        if self.skipped is not None:
            self.facts = SampleFacts(len(self))
            self.drop_bad_samples()
            faults = ErrorCollector(path)
        self.facts = SampleFacts(len(self))
        self.check(faults)
        faults.stop_if_any()
        self.summarise_checks()

    def summarise_checks(self):
        """Keep what the check has found, `labels_in_masks` and a note for each kind of surprise."""
        if self.coding is not None:
            self.notes += self.coding.notes(self.listing.source)
            self.labels_in_masks = self.facts.labels_in_masks()
        self.notes += self.facts.notes(self.listing.source)
        if self.guessed:
            self.notes += self.facts.notes_of_size(self.listing.source, self.size, self.fit.how)
        self.notes += self.facts.notes_of_bits(self.listing.source, self.bits, self.measured)
        del self.facts  # as it is shared memory, and the data set may be sent to another process

    def parse(self, args, faults):
        """Return the targets that the list itself states, a tensor with a row per sample, or None: they are files."""
        if self.target == 'label':
            return parse_labels(self.listing, args.num_classes, args.class_names, faults, args.ignore_index)
        if self.target == 'labels':
            return parse_label_sets(self.listing, args.num_classes, args.class_names, faults)
        return parse_numbers(self.listing, args.num_targets, faults) if self.target == 'numbers' else None

    def drop_bad_samples(self):
        """Go on with the samples that have no fault, neither in the list nor in their files."""
        self.find_bad(self.skipped)
        kept = self.skipped.good_indices(len(self))
        self.notes.append(self.skipped.note(len(kept)))
        if len(kept) < len(self):
            self.listing = self.listing.part(kept)
            self.labels = None if self.labels is None else self.labels[kept]

    def find_bad(self, faults):
        """Decode every picture, mask and target picture, adding what is wrong to `faults`."""

        def decode(index):
            self.check_sample(index)
            self.read_image(index)
            self.read_target(index)

        self.for_all_in_processes(decode, faults)

    def check(self, faults):
        """Look at every picture, mask and target picture, adding what is wrong to `faults`.

        Of a list of millions that takes an hour: there it is samples drawn at random, with --dry_run also whatever is
        absent or empty.
        """
        count, chosen = len(self), self.listing.random_positions()
        if len(chosen) == count:
            self.for_all_in_processes(self.check_sample, faults)
            return
        note = f'{self.listing.source}: of {count:,} samples {len(chosen):,}, drawn at random, were looked at'
        if self.checks_all_files:
            kinds = ('images', 'targets')[: 1 + (self.labels is None)]
            hollow = np.any([self.listing.facts(of)[:, SIZE] <= 0 for of in kinds], axis=0)
            self.notes.append(f'{note}; the files of all are there')
            chosen = np.union1d(chosen, np.flatnonzero(hollow))
        else:
            self.notes.append(f'{note}; --dry_run finds all that are absent or empty')
        self.for_all_in_processes(self.check_sample, faults, chosen.tolist())

    def for_all_in_processes(self, function, faults, indices=None):
        """Call a function that changes nothing as `for_all_in_threads` does; of many samples by processes.

        Opening a small picture is mostly Python, which threads do not do at the same time.
        """
        indices = range(len(self)) if indices is None else indices
        if len(indices) < MIN_SAMPLES_FOR_PROCESSES or cpu_cores() == 1 or not can_fork():
            self.for_all_in_threads(function, faults, indices)
            return
        for place, message in parallel_call(lambda place: function(indices[place]), len(indices), cpu_cores()):
            faults.add(self.listing.where(indices[place]), message, indices[place])

    def for_all_in_threads(self, function, faults, indices=None):
        """Call `function(index)` for samples, on all cores; a DanluError becomes a fault of the sample's line.

        Args:
            function: of an index.
            faults: ErrorCollector.
            indices: of the samples (sequence of int, in order); None: all.
        """
        indices = range(len(self)) if indices is None else indices

        def attempt(index):
            try:
                function(index)
            except DanluError as error:
                return str(error)
            return None

        with ThreadPoolExecutor(cpu_cores()) as pool:
            # In blocks, as the pool keeps a kilobyte for everything that it has been asked for.
            for start in range(0, len(indices), SAMPLES_PER_BLOCK):
                block = indices[start : start + SAMPLES_PER_BLOCK]
                for index, message in zip(block, pool.map(attempt, block), strict=True):
                    if message is not None:
                        faults.add(self.listing.where(index), message, index)

    def check_sample(self, index):
        """Raise DanluError if a sample's picture is not whole, or its mask or target picture does not fit it."""
        picture = _with_path(self.listing.image_path(index), inspect_picture, self.bits)
        flags = (ALPHA if picture.has_alpha else 0) | (DEEP if picture.is_deep else 0)
        flags |= (FRAMES if picture.has_frames else 0) | (OTHER_SIZE if tuple(picture.size) != self.size else 0)
        if self.target == 'mask':
            mask = _with_path(self.listing.target_path(index), inspect_mask, self.coding, self.first_palette)
            self.facts.add_mask(index, mask.labels, self.coding.ignore_index)
            flags |= mask.flags | _check_same_size('mask', picture, mask.labels.shape, mask.orientation)
        elif self.target == 'picture':
            target = _with_path(self.listing.target_path(index), inspect_picture, self.bits)
            flags |= DEEP if target.is_deep else 0
            flags |= _check_same_size('target', picture, target.size, target.orientation)
        self.facts.add_flags(index, flags)

    def __len__(self):
        return len(self.listing)

    def __getitem__(self, index):
        """Return one sample: picture uint8 (C, H, W), and its target.

        A label is 0-d int64, a set of labels float32 (K,), numbers float32 (T,), a mask uint8 (H, W), a target picture
        uint8 (C, H, W).
        """
        return self.load(index)

    def load(self, index, part=None):
        """Return one sample as `__getitem__`; `part` chooses what to cut out, as data.augment.Augment.parts says."""
        try:
            return self.read_image(index, part), self.read_target(index, part)
        except DanluError as error:
            where = with_location(self.listing.where(index), str(error))
            raise DanluError(f'{where}; mend or remove it') from None

    def read_image(self, index, part=None):
        """Return a sample's picture, uint8 (C, H, W)."""
        path, fit = self.listing.image_path(index), self.fit
        return _with_path(path, read_picture, self.channels, self.size, fit, part, self.bits)

    def read_target(self, index, part=None):
        """Return a sample's target, as `__getitem__`."""
        if self.labels is not None:
            return self.labels[index]
        path = self.listing.target_path(index)
        if self.target == 'mask':
            return _with_path(path, read_mask, self.size, part, self.fit, self.coding)
        return _with_path(path, read_picture, self.channels, self.size, self.fit, part, self.bits)

    def full_size(self, index):
        """Return the upright (height, width) of a sample's picture in its file."""
        with open_picture(self.listing.image_path(index)) as picture:
            return upright_size(picture)

    def content_hash(self):
        """Return the SHA-256 (str) of the list's names and targets, and of the sizes of the files."""
        return self.listing.content_hash(self.labels is None)

    def content_parts(self):
        """Return the SHA-256 of each of these (dict of str)."""
        return self.listing.content_parts(self.labels is None)

    def name(self, index):
        """Return the path (str) of a sample's picture as the list names it."""
        return self.listing.images[index]


def _read(read, path, root, faults, many):
    """Return what `read` (a function such as read_list) returns, or has returned for this file before."""
    if not os.path.isfile(path):  # of a directory nothing tells whether it is as it was
        return read(path, root, faults, many)
    before, facts = faults.count, os.stat(path)
    # Another file that is put in this one's place may have its time and its size.
    version = facts.st_dev, facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size
    key = read, os.path.abspath(path), version, root, many
    listing = _OPEN_LISTINGS.get(key)
    if listing is None:
        listing = read(path, root, faults, many)
        if faults.count > before:
            return listing
        _OPEN_LISTINGS[key] = listing
    return listing.with_fresh_stats()


def _check_same_size(what, picture, size, orientation):
    """Return TURNED_ALONE where a picture's EXIF orientation turns it and its mask or target has none, else 0.

    Raises:
        DanluError: they are not of the same size.
    """
    alone = picture.orientation != 1 and orientation == 1
    if tuple(size) == tuple(picture.size):
        return ONLY_IMAGE_TURNED if alone else 0
    (rows, columns), (height, width), why = size, picture.size, ''
    if alone and picture.orientation in SIDE_SWAPPING_ORIENTATIONS and tuple(size[::-1]) == tuple(picture.size):
        why = (
            f'; the EXIF orientation {picture.orientation} of the picture turns it, and the {what} has none: save both '
            'upright'
        )
    raise DanluError(f'the {what} is {columns}x{rows}, its picture {width}x{height} (width x height){why}')


def _sampled_image_paths(listing, with_targets):
    """Yield the paths (str) of pictures, and of target pictures if wanted, of samples drawn from a listing."""
    for index in random_positions(len(listing), MAX_DECODED_IMAGES).tolist():
        yield listing.image_path(index)
        if with_targets:
            yield listing.target_path(index)


def guessed_size(size, name):
    """Return [height, width] to train at: those of the first picture, called `name`, where it is small enough.

    Raises:
        DanluError: it is larger than LARGEST_GUESS.
    """
    height, width = size
    if max(height, width) > MAX_GUESSED_SIDE:
        raise DanluError(
            f'the first picture, {name}, is {width}x{height}: say what size to train at, --image_size 224 or '
            f'--image_size {height} {width} (height width)'
        )
    return [height, width]


def _with_path(path, function, *args):
    try:
        return function(path, *args)
    except DanluError as error:
        raise DanluError(f'{path}: {error}') from None


def _count_in_sets(listing, names, given):
    if names is not None and given not in (None, len(names)):
        raise DanluError(
            f'--num_classes {given}: {listing.source} names {len(names)} ({", ".join(names[:20])}); leave it out, or '
            'give --class_names'
        )
    return given or (count_label_sets(listing) if names is None else len(names))


def _first_size(listing):
    for index in range(len(listing)):
        path = listing.image_path(index)
        try:
            with open_picture(path) as picture:
                size = upright_size(picture)
        except DanluError:
            continue  # building the data set reports it, with all the other faults
        return guessed_size(size, path)
    return [1, 1]  # not one can be opened: it will not come to that
