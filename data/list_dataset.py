"""Pictures named by a list file, decoded when they are needed."""

from concurrent.futures import ThreadPoolExecutor

from torch.utils.data import Dataset

from data.listing import Faults, is_integer, label_names, located, parse_labels, read_list
from data.pictures import check_picture, open_picture, read_mask, read_picture, upright_size
from utils.errors import DanluError
from utils.machine import cpu_cores

LARGEST_GUESS = 512
BLOCK = 8192


class ListDataset(Dataset):
    """`image<TAB or blank>target` per line; the target is a label, a class name, or for segmentation a mask picture.

    Every picture and target is checked when the data set is built, so that a fault is found before the first step.

    Args:
        args: options; data_root, task, num_classes, class_names, image_size, channels, ignore_index and augment count.
        split: 'train' (train_list) or 'val' (val_list).

    Raises:
        DanluError: naming file and line of the first 20 faults.
    """

    in_memory = False
    read = staticmethod(read_list)
    names_of = staticmethod(label_names)

    @classmethod
    def describe(cls, args):
        """Return what the options can take from the data (dict): classes, and the size of the first picture."""
        facts = {'channels': 3}
        train_list = getattr(args, 'train_list', None)
        # A model that is tested has its order of classes; that of the test list may be another.
        may_count = train_list is not None or args.num_classes is None
        classes_wanted = args.task == 'classification' and args.class_names is None and may_count
        if not classes_wanted and args.image_size is not None:
            return facts
        path = train_list or args.val_list
        # Lines that are no samples are passed over: building the data set reports them, with all the other faults.
        listing = cls.read(path, args.data_root, Faults(path))
        if classes_wanted:
            facts['class_names'] = cls.names_of(listing)
            facts['num_classes'] = _count_classes(listing, facts['class_names'], args.num_classes)
        if args.image_size is None:
            facts['image_size'] = _first_size(listing)
        return facts

    def __init__(self, args, split):
        path = args.train_list if split == 'train' else args.val_list
        faults = Faults(path)
        self.listing = self.read(path, args.data_root, faults)
        self.channels, self.size = args.channels, tuple(args.image_size)
        self.masks = args.task == 'segmentation'
        self.num_classes, self.ignore_index = args.num_classes, args.ignore_index
        self.labels = None
        if not self.masks:
            self.labels = parse_labels(self.listing, args.num_classes, args.class_names, faults)
        self.check(faults)
        faults.stop_if_any()

    def check(self, faults):
        """Look at every picture and mask, adding what is wrong to `faults`."""
        self.for_all(self.check_sample, faults)

    def for_all(self, function, faults):
        """Call `function(index)` for every sample, on all cores; a DanluError becomes a fault of the sample's line."""

        def attempt(index):
            try:
                function(index)
            except DanluError as error:
                return str(error)
            return None

        with ThreadPoolExecutor(cpu_cores()) as pool:
            # In blocks, as the pool keeps a kilobyte for everything that it has been asked for.
            for start in range(0, len(self), BLOCK):
                block = range(start, min(start + BLOCK, len(self)))
                for index, message in zip(block, pool.map(attempt, block), strict=True):
                    if message is not None:
                        faults.add(self.listing.where(index), message)

    def check_sample(self, index):
        """Raise DanluError if a sample's picture is not whole, or its mask does not fit it."""
        size = _naming(self.listing.image_path(index), check_picture)
        if self.masks:
            mask = self.read_mask_checked(index, None)
            if tuple(mask.shape) != tuple(size):
                raise DanluError(
                    f'the mask is {mask.shape[1]}x{mask.shape[0]}, its picture {size[1]}x{size[0]} (width x height)'
                )

    def read_mask_checked(self, index, size):
        """Return the mask (uint8, H, W) of a sample, having checked its labels."""
        path = self.listing.target_path(index)
        mask = _naming(path, read_mask, size)
        _naming(path, lambda _: check_values(mask, self.num_classes, self.ignore_index))
        return mask

    def __len__(self):
        return len(self.listing)

    def __getitem__(self, index):
        """Return one sample: picture uint8 (C, H, W), and a label (0-d int64) or a mask uint8 (H, W)."""
        return self.load(index)

    def load(self, index, part=None):
        """Return one sample as `__getitem__`; `part` chooses what to cut out, as data.augment.Augment.parts says."""
        try:
            # A photograph to be classified keeps its proportions; a mask must keep every pixel, so both are stretched.
            path = self.listing.image_path(index)
            image = _naming(path, read_picture, self.channels, self.size, not self.masks, part)
            if not self.masks:
                return image, self.labels[index]
            return image, _naming(self.listing.target_path(index), read_mask, self.size, part)
        except DanluError as error:
            raise DanluError(located(self.listing.where(index), str(error))) from None

    def content_hash(self):
        """Return the SHA-256 (str) of the list's names and targets."""
        return self.listing.content_hash()

    def name(self, index):
        """Return the path (str) of a sample's picture as the list names it."""
        return self.listing.images[index]


def check_values(mask, num_classes, ignore_index):
    """Raise DanluError if a mask (uint8 tensor) holds something other than classes and the ignore index."""
    wrong = [value for value in mask.unique().tolist() if value >= num_classes and value != ignore_index]
    if wrong:
        raise DanluError(
            f'mask values {wrong[:10]} are neither 0..{num_classes - 1} (--num_classes) nor {ignore_index} '
            '(--ignore_index)'
        )


def guessed_size(size, name):
    """Return [height, width] to train at: those of the first picture, called `name`, where it is small enough.

    Raises:
        DanluError: it is larger than LARGEST_GUESS.
    """
    height, width = size
    if max(height, width) > LARGEST_GUESS:
        raise DanluError(
            f'the first picture, {name}, is {width}x{height}: say what size to train at, --image_size 224 or '
            f'--image_size {height} {width} (height width)'
        )
    return [height, width]


def _naming(path, function, *args):
    try:
        return function(path, *args)
    except DanluError as error:
        raise DanluError(f'{path}: {error}') from None


def _count_classes(listing, names, given):
    if names is not None and given not in (None, len(names)) and not any(map(is_integer, names)):
        raise DanluError(
            f'--num_classes {given}: {listing.source} names {len(names)} ({", ".join(names[:20])}); leave it out, or '
            'give --class_names'
        )
    targets = set(listing.targets)
    if given is None and len(targets) == 1:
        raise DanluError(f'{listing.source}: all samples are of one class, {targets.pop()}: training takes two or more')
    return given or (max(map(int, targets)) + 1 if names is None else len(names))


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
