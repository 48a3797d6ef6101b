"""Images in a list file, decoded on demand."""

import os
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakValueDictionary

import numpy as np
from torch.utils.data import Dataset

from data.cache.decode_cache_key import pixel_key
from data.cache.reduced_cache import ReducedCache
from data.checks.duplicates import note_of_duplicates
from data.checks.preview import MAX_DECODED_IMAGES, MAX_MASKS, find_bits, find_mask_values
from data.checks.sample_facts import SampleFacts
from data.lists.bad_samples import SkippedSamples
from data.lists.decoders import decoder_version
from data.lists.file_stats import FILE_SIZE, MODIFIED_NS
from data.lists.labels import count_classes, label_names, parse_labels
from data.lists.list_file import ErrorCollector, random_positions, read_list, with_location
from data.lists.masks import ALPHA, FRAMES, ONLY_IMAGE_TURNED, OTHER_SIZE, SIXTEEN_BIT, MaskCoding
from data.lists.pictures import (
    SIDE_SWAPPING_ORIENTATIONS,
    inspect_mask,
    inspect_picture,
    open_picture,
    read_mask,
    read_palette,
    read_picture,
    read_reduced,
    read_reduced_mask,
    upright_size,
)
from data.lists.read_bytes import ReadHashes, read_bytes
from data.lists.resizing import resize_reduced, resize_reduced_labels
from data.lists.targets import count_label_sets, count_numbers, label_set_names, parse_label_sets, parse_numbers
from utils.base.content_hash import hash_bytes
from utils.base.errors import DanluError
from utils.base.machine import cpu_cores
from utils.base.parallel_map import can_fork, parallel_call
from utils.options.fit import Fit
from utils.tasks.tasks import task_of

MAX_GUESSED_SIDE = 512
SAMPLES_PER_BLOCK = 8192
MIN_SAMPLES_FOR_PROCESSES = 2000  # for fewer samples, threads are faster than starting processes
# Reading ten million lines takes seconds: a Listing in use is not read again, and `describe` keeps its Listing for the
# data set that is built next.
_OPEN_LISTINGS, _LAST_DESCRIBED = WeakValueDictionary(), []


class ListDataset(Dataset):
    """Data set of a list file, `image<TAB or space>target` per line; the targets depend on the task.

        classification   a label or a class name
        multilabel       labels or class names separated by commas, - for none
        regression       one or several numbers, separated by spaces or tabs, the same number in every line
        segmentation     a mask
        restoration      an image of the same size

    Every image and target is checked when the data set is built, before training starts; of millions of samples only
    those of `Listing.random_positions`, with --dry_run also whether all files exist.

    Args:
        args: options; uses data_root, task, num_classes, num_targets, class_names, image_size, fit, channels, mean and
            ignore_index.
        split: 'train' (train_list) or 'val' (val_list).

    Raises:
        DanluError: there are invalid lines; the first 20 are named with file and line.
    """

    in_memory = False
    cache = None
    read_hashes = None
    read = staticmethod(read_list)
    names_of = staticmethod(label_names)

    @classmethod
    def describe(cls, args):
        """Return the options that the data determines (dict): number of outputs, size of the first image."""
        facts, target = {'channels': 3}, task_of(args).target
        train_list = getattr(args, 'train_list', None)
        # A tested model has its own order of classes, which may differ from that of the test list.
        may_count = train_list is not None or args.num_classes is None
        classes_wanted = target in ('label', 'labels') and args.class_names is None and may_count
        numbers_wanted = target == 'numbers' and args.num_targets is None
        values_wanted = target == 'mask' and args.mask_values is None
        wanted = classes_wanted or numbers_wanted or values_wanted or args.bits is None or args.image_size is None
        if not wanted:
            return facts
        path = train_list or args.val_list
        # Invalid lines are skipped here; building the data set reports them.
        listing = _read(cls.read, path, args.data_root, faults := ErrorCollector(path), target == 'numbers')
        _LAST_DESCRIBED[:] = [listing] * (os.path.isfile(path) and not faults.count)  # others are read again
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
            facts['target_names'] = listing.target_names if train_list else None  # a test keeps the names of the model
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
        remedy = ', or add --skip_bad' if split == 'train' else ''
        faults = ErrorCollector(path, remedy) if self.skipped is None else self.skipped
        self.target, self.checks_all_files = task_of(args).target, getattr(args, 'dry_run', False)
        self.listing = _read(self.read, path, args.data_root, faults, self.target == 'numbers')
        _LAST_DESCRIBED.clear()
        self.channels, self.size, self.fit = args.channels, tuple(args.image_size), Fit.of(args)
        self.bits, self.coding = args.bits, MaskCoding.of(args) if self.target == 'mask' else None
        found = f'at most {MAX_DECODED_IMAGES:,} samples of the training data'
        self.bits_measured_in = found if 'bits' in getattr(args, 'from_data', []) else ''
        self.size_is_guessed = 'image_size' in getattr(args, 'from_data', [])
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
        self.cache = self.open_cache(args)

    def open_cache(self, args):
        """Return the ReducedCache of --cache_dir, or None without this option."""
        if self.in_memory or args.cache_dir is None or self.fit.short is None:
            return None
        kinds = ('images', 'targets')[: 1 + (self.labels is None)]
        files = np.zeros((len(self), 4), np.int64)
        for number, of in enumerate(kinds):
            files[:, 2 * number : 2 * number + 2] = self.listing.facts(of)[:, [FILE_SIZE, MODIFIED_NS]]
        coding, decoder = None if self.coding is None else tuple(self.coding), self.fit.decoder
        decoding = coding, self.bits, self.channels, self.fit.short, self.fit.interpolation, decoder
        key = pixel_key(self.listing, self.labels is None, (*decoding, decoder_version(decoder)), with_files=False)
        cache = ReducedCache(args.cache_dir, key, files, self.target if self.labels is None else None)
        self.notes.append(cache.note())
        return cache

    def summarise_checks(self):
        """Store the results of the check: `labels_in_masks` and notes."""
        if self.coding is not None:
            self.notes += self.coding.notes(self.listing.source)
            self.labels_in_masks = self.facts.labels_in_masks()
        self.notes += self.facts.notes(self.listing.source)
        if self.size_is_guessed:
            self.notes += self.facts.notes_of_size(self.listing.source, self.size, self.fit.how)
        self.notes += self.facts.notes_of_bits(self.listing.source, self.bits, self.bits_measured_in)
        del self.facts  # shared memory cannot be sent to a spawned process

    def parse(self, args, faults):
        """Return the targets in the list itself, a tensor with one row per sample, or None if targets are files."""
        if self.target == 'label':
            return parse_labels(self.listing, args.num_classes, args.class_names, faults, args.ignore_index)
        if self.target == 'labels':
            return parse_label_sets(self.listing, args.num_classes, args.class_names, faults)
        return parse_numbers(self.listing, args.num_targets, faults) if self.target == 'numbers' else None

    def drop_bad_samples(self):
        """Keep only the samples that are valid, in the list and in their files."""
        self.find_bad(self.skipped)
        kept = self.skipped.good_indices(len(self))
        self.notes.append(self.skipped.note(len(kept)))
        if len(kept) < len(self):
            self.listing = self.listing.subset_of(kept)
            self.labels = None if self.labels is None else self.labels[kept]

    def find_bad(self, faults):
        """Decode every image, mask and target image, adding errors to `faults`."""

        def decode(index):
            self.check_sample(index)
            self.read_image(index)
            self.read_target(index)

        self.for_all_in_processes(decode, faults)

    def check(self, faults):
        """Check every image, mask and target image, adding errors to `faults`.

        Of millions of samples, which would take an hour, only a random sample is checked; with --dry_run, also missing
        or empty files are found.
        """
        count, chosen = len(self), self.listing.random_positions()
        if len(chosen) == count:
            self.for_all_in_processes(self.check_sample, faults)
            return
        note = f'{self.listing.source}: of {count:,} samples {len(chosen):,}, drawn at random, were looked at'
        if self.checks_all_files:
            kinds = ('images', 'targets')[: 1 + (self.labels is None)]
            hollow = np.any([self.listing.facts(of)[:, FILE_SIZE] <= 0 for of in kinds], axis=0)
            self.notes.append(f'{note}; the files of all are there')
            chosen = np.union1d(chosen, np.flatnonzero(hollow))
        else:
            self.notes.append(f'{note}; --dry_run finds all that are absent or empty')
        self.for_all_in_processes(self.check_sample, faults, chosen.tolist())

    def for_all_in_processes(self, function, faults, indices=None):
        """Call `function(index)`, which changes nothing, as `for_all_in_threads`; many samples use processes.

        Opening small images is mostly Python code, which threads cannot run in parallel.
        """
        indices = range(len(self)) if indices is None else indices
        if len(indices) < MIN_SAMPLES_FOR_PROCESSES or cpu_cores() == 1 or not can_fork():
            self.for_all_in_threads(function, faults, indices)
            return
        for place, message in parallel_call(lambda place: function(indices[place]), len(indices), cpu_cores()):
            faults.add(self.listing.where(indices[place]), message, indices[place])

    def for_all_in_threads(self, function, faults, indices=None):
        """Call `function(index)` for samples on all cores; a DanluError is added to `faults` for the sample's line.

        Args:
            function: function(index).
            faults: ErrorCollector.
            indices: of the samples (sequence of int, sorted); None: all.
        """
        indices = range(len(self)) if indices is None else indices

        def attempt(index):
            try:
                function(index)
            except DanluError as error:
                return str(error)
            return None

        with ThreadPoolExecutor(cpu_cores()) as pool:
            # In blocks, as the pool keeps a kilobyte per task.
            for start in range(0, len(indices), SAMPLES_PER_BLOCK):
                block = indices[start : start + SAMPLES_PER_BLOCK]
                for index, message in zip(block, pool.map(attempt, block), strict=True):
                    if message is not None:
                        faults.add(self.listing.where(index), message, index)

    def check_sample(self, index):
        """Raise DanluError if a sample's image, mask or target image is invalid, or their sizes differ."""
        path = self.listing.image_path(index)
        picture = _with_path(path, inspect_picture, path, self.bits)
        flags = (ALPHA if picture.has_alpha else 0) | (SIXTEEN_BIT if picture.has_16_bits else 0)
        flags |= (FRAMES if picture.has_frames else 0) | (OTHER_SIZE if tuple(picture.size) != self.size else 0)
        if self.target == 'mask':
            path = self.listing.target_path(index)
            mask = _with_path(path, inspect_mask, path, self.coding, self.first_palette)
            self.facts.add_mask(index, mask.labels, self.coding.ignore_index)
            flags |= mask.flags | _check_same_size('mask', picture, mask.labels.shape, mask.orientation)
        elif self.target == 'picture':
            path = self.listing.target_path(index)
            target = _with_path(path, inspect_picture, path, self.bits)
            flags |= SIXTEEN_BIT if target.has_16_bits else 0
            flags |= _check_same_size('target', picture, target.size, target.orientation)
        self.facts.add_flags(index, flags)

    def __len__(self):
        return len(self.listing)

    def __getitem__(self, index):
        """Return one sample: image uint8 (C, H, W), and target.

        A label is 0-d int64, a label set float32 (K,), numbers float32 (T,), a mask uint8 (H, W), a target image uint8
        (C, H, W).
        """
        return self.load(index)

    def load(self, index, part=None, **how):
        """Return one sample as `__getitem__`; `part` is a random crop from data.augment.Augment.random_crops.

        `how` may have `read`, a function that reads images as `read_picture`.
        """
        try:
            if self.cache is not None:
                return self.load_cached(index, part)
            return self.read_image(index, part, **how), self.read_target(index, part, **how)
        except DanluError as error:
            where = with_location(self.listing.where(index), str(error))
            raise DanluError(f'{where}; fix or remove it') from None

    def load_cached(self, index, part):
        """Return one sample as `load`, from the cache, to which it is added if it is not there."""
        found = self.cache.get(index)
        if found is None:
            found = self.read_reduced(index)
            self.cache.put(index, *found)
        image, target, hashes = found
        image = resize_reduced(image, self.size, self.fit, part)
        if self.labels is not None:
            target = self.read_target(index)
        elif self.target == 'mask':
            target = resize_reduced_labels(target, self.size, self.fit, part)
        else:
            target = resize_reduced(target, self.size, self.fit, part)
        for number in (ReadHashes.PICTURE, ReadHashes.TARGET)[: 1 + (self.labels is None)]:
            if self.read_hashes is not None:
                self.read_hashes.put(index, number, hashes[number])
        return image, target

    def read_reduced(self, index):
        """Return a sample's reduced image, its reduced target or None, and the hashes of both files (list of int)."""
        path = self.listing.image_path(index)
        content = _with_path(path, read_bytes, path)
        hashes = [hash_bytes(content), 0]
        image = _with_path(path, read_reduced, content, self.channels, self.fit, self.bits)
        if self.labels is not None:
            return image, None, hashes
        path = self.listing.target_path(index)
        content = _with_path(path, read_bytes, path)
        hashes[1] = hash_bytes(content)
        if self.target == 'mask':
            return image, _with_path(path, read_reduced_mask, content, self.fit, self.coding), hashes
        return image, _with_path(path, read_reduced, content, self.channels, self.fit, self.bits), hashes

    def read_image(self, index, part=None, read=read_picture):
        """Return a sample's image, uint8 (C, H, W); see `load`."""
        path, fit = self.listing.image_path(index), self.fit
        content = self.read_content(path, index, ReadHashes.PICTURE)
        return _with_path(path, read, content, self.channels, self.size, fit, part, self.bits)

    def read_target(self, index, part=None, read=read_picture):
        """Return a sample's target; see `__getitem__` and `load`."""
        if self.labels is not None:
            target = self.labels[index]
            if self.read_hashes is not None:
                self.read_hashes.put(index, ReadHashes.TARGET, hash_bytes(target.numpy().tobytes()))
            return target
        path = self.listing.target_path(index)
        content = self.read_content(path, index, ReadHashes.TARGET)
        if self.target == 'mask':
            return _with_path(path, read_mask, content, self.size, part, self.fit, self.coding)
        return _with_path(path, read, content, self.channels, self.size, self.fit, part, self.bits)

    def read_content(self, path, index, part):
        """Return the content (bytes) of a file of a sample, and put its hash into `read_hashes`.

        All samples are read here, but those that go into the cache. `part`: ReadHashes.PICTURE or TARGET.
        """
        content = _with_path(path, read_bytes, path)
        if self.read_hashes is not None:
            self.read_hashes.put(index, part, hash_bytes(content))
        return content

    def full_size(self, index):
        """Return the upright (height, width) of a sample's image in its file."""
        with open_picture(self.listing.image_path(index)) as picture:
            return upright_size(picture)

    def content_hash(self):
        """Return the SHA-256 (str) of image names, targets and file sizes."""
        return self.listing.content_hash(self.labels is None)

    def content_parts(self):
        """Return the SHA-256 of image names, targets and file sizes (dict of str)."""
        return self.listing.content_parts(self.labels is None)

    def name(self, index):
        """Return the image path (str) of a sample as written in the list."""
        return self.listing.images[index]


def _read(read, path, root, faults, many):
    """Return the result of `read` (such as read_list), from an earlier call for the same file if still in use."""
    if not os.path.isfile(path):  # changes of a directory cannot be detected
        return read(path, root, faults, many)
    before, facts = faults.count, os.stat(path)
    # A file replaced by another may keep its time and size.
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
    """Return ONLY_IMAGE_TURNED if EXIF orientation turns the image but not its mask or target, otherwise 0.

    Raises:
        DanluError: the sizes differ.
    """
    alone = picture.orientation != 1 and orientation == 1
    if tuple(size) == tuple(picture.size):
        return ONLY_IMAGE_TURNED if alone else 0
    (rows, columns), (height, width), why = size, picture.size, ''
    if alone and picture.orientation in SIDE_SWAPPING_ORIENTATIONS and tuple(size[::-1]) == tuple(picture.size):
        why = (
            f'; the EXIF orientation {picture.orientation} of the image turns it, and the {what} has none: save both '
            'upright'
        )
    raise DanluError(f'the {what} is {columns}x{rows}, its image {width}x{height} (width x height){why}')


def _sampled_image_paths(listing, with_targets):
    """Yield the paths (str) of images of randomly drawn samples, with those of target images if requested."""
    for index in random_positions(len(listing), MAX_DECODED_IMAGES).tolist():
        yield listing.image_path(index)
        if with_targets:
            yield listing.target_path(index)


def guessed_size(size, name):
    """Return [height, width] of the first image, called `name`, as training size.

    Raises:
        DanluError: a side is larger than MAX_GUESSED_SIDE.
    """
    height, width = size
    if max(height, width) > MAX_GUESSED_SIDE:
        raise DanluError(
            f'the first image, {name}, is {width}x{height}: give the training size, --image_size 224 or '
            f'--image_size {height} {width} (height width)'
        )
    return [height, width]


def _with_path(path, function, *args):
    try:
        return function(*args)
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
            continue  # reported when the data set is built
        return guessed_size(size, path)
    return [1, 1]  # no image can be opened, which is reported when the data set is built
