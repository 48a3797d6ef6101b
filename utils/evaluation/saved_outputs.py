"""--save_outputs: the network's output for each image of a test, as PNG files.

    segmentation    pixel values are class indices, with a palette of the class colours, as in PASCAL VOC. The mask has
                    the size of the original image (nearest-neighbour resampling; pixels that --fit cropped are
                    ignored), or of the network's output if the samples of a data set are not files.
    restoration     8 bits per channel, grey or RGB, in the size of the network's output: the pixels that psnr and the
                    other metrics in result.txt are computed from.

The files are in result_dir/outputs/ and have the names of the samples, with the directories given in the list file.
"""

import re
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from utils import viz
from utils.base.errors import DanluError
from utils.base.regular_files import open_regular
from utils.drawing.colours import colours_for, ignored_colour
from utils.options.fit import Fit
from utils.tasks.tasks import task_of

NAME = 'outputs'
MAX_NAME_LENGTH = 200  # characters; file systems allow at least 255 bytes
INVALID_CHARACTERS = r'[<>:"|?*\x00-\x1f]'  # in file names on some systems
PALETTE_SIZE = 256


def check_outputs(args):
    """Raise DanluError if the outputs of a task are not images."""
    if not task_of(args).by_pixel:
        raise DanluError(
            f'--save_outputs writes masks and restored images; predictions of task {args.task} are in predictions.csv, '
            'so omit the option'
        )


class Outputs:
    """Writes the outputs of a test, batch by batch.

    Args:
        directory: Path of the test; the outputs are written to its subdirectory outputs/.
        args: options; task, fit, and for masks num_classes, class_names and palette are used.
        name_of: function(index of a sample) -> its name (str).
        size_of: function(index of a sample) -> (height, width) of its original image, or None if samples are not files.
    """

    def __init__(self, directory, args, name_of, size_of):
        self.folder, self.name_of, self.size_of = Path(directory) / NAME, name_of, size_of
        self.masks = task_of(args).target == 'mask'
        self.palette = _palette(colours_for(args)) if self.masks else None
        self.fit = Fit.of(args) if self.masks and size_of else None

    def add(self, first, predictions):
        """Write a batch, as Engine.step returns it, whose first sample has the index `first`; synchronises.

        Returns:
            the files, relative to the directory of the test, with / (list of str).
        """
        if self.masks:
            pixels = predictions.max(1).indices.byte().cpu().numpy()
        else:
            pixels = viz.denormalise(predictions, [0.0], [1.0]).permute(0, 2, 3, 1).numpy()
        files = []
        for index, array in enumerate(pixels, first):
            image = Image.fromarray(array[..., 0] if array.shape[-1:] == (1,) and not self.masks else array)
            path = self._save(self._mask(image, index) if self.masks else image, self.name_of(index))
            files.append(path.relative_to(self.folder.parent).as_posix())
        return files

    def _mask(self, mask, index):
        """Return a mask (PIL.Image) with the palette, in the size of the original image."""
        full = self.size_of and self.size_of(index)
        if full:
            size = mask.height, mask.width
            top, left, height, width = self.fit.target_box(full, size)
            mask = mask.crop((left, top, left + width, top + height))
            top, left, height, width = map(round, self.fit.source_box(full, size))
            resized = mask.resize((max(1, width), max(1, height)), Image.NEAREST)
            mask = Image.new('L', (full[1], full[0]), self.fit.label)
            mask.paste(resized, (left, top))
        mask.putpalette(self.palette)
        return mask

    def _save(self, image, name):
        """Write a PNG file with the name of the sample, and a number if the file exists; return its path (Path)."""
        path = self.folder / file_name(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        number, free_path = 1, path
        while True:
            try:
                with open_regular(free_path, 'xb') as file:
                    # 8 bits for small palettes too: few programs read pixels smaller than a byte.
                    image.save(file, format='PNG', **({'bits': 8} if image.mode == 'P' else {}))
                return free_path
            except FileExistsError:  # for example of a.jpg and a.png
                number += 1
                free_path = path.with_name(f'{path.stem}_{number}.png')


def file_name(name):
    """Return the path (str, with /) of a sample's output relative to outputs/: its name with the extension .png.

    Parts that would lead out of the directory (a leading /, a drive, ..) are removed.
    """
    parts = [
        part for part in re.split(r'[\\/]', name) if part not in ('', '.', '..') and not re.fullmatch('[A-Za-z]:', part)
    ]
    *folders, last = parts or ['sample']
    stem = PurePosixPath(last).stem
    return '/'.join(re.sub(INVALID_CHARACTERS, '_', part)[-MAX_NAME_LENGTH:] for part in (*folders, stem)) + '.png'


def _palette(colours):
    """Return a palette (bytes): colours (K, 3), then the colour of ignored pixels."""
    rest = np.tile(np.uint8(ignored_colour(colours)), (PALETTE_SIZE - len(colours), 1))
    return np.concatenate([colours, rest]).tobytes()
