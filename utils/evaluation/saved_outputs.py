"""--save_outputs: what a network gives for each picture of a test, as a file that other programs read.

    segmentation    a PNG whose pixel values are the classes, with a palette of their colours: what PASCAL VOC's masks
                    are. It is as large as the sample's own picture, so that it fits over it: the network's classes are
                    brought there by nearest neighbour; what --fit cut off of the picture is ignored. Data sets whose
                    samples are no files give it as it is.
    restoration     a PNG of 8 bits per channel, grey or RGB, as large as the network's output, pixel by pixel what
                    psnr and the others in result.txt are about.

The files are in result_dir/outputs/ and called as the samples are, with the directories that a list names them by.
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
LONGEST = 200  # letters of a file's name; file systems take 255 bytes or more
REFUSED = r'[<>:"|?*\x00-\x1f]'  # in names of files, by one system or another
LEVELS = 256  # of a palette


def check_outputs(args):
    """Raise DanluError where a task's outputs are no pictures."""
    if not task_of(args).by_pixel:
        raise DanluError(
            f'--save_outputs writes masks and restored pictures; what task {args.task} predicts is in predictions.csv, '
            'a row per sample, so leave it out'
        )


class Outputs:
    """Writes the outputs of a test, batch by batch.

    Args:
        directory: Path of the test; outputs/ is made in it.
        args: options; task, fit, and of masks num_classes, class_names and palette, count.
        name_of: function(number of a sample) -> its name (str).
        size_of: function(number of a sample) -> (height, width) of its own picture, or None: there is no such thing.
    """

    def __init__(self, directory, args, name_of, size_of):
        self.folder, self.name_of, self.size_of = Path(directory) / NAME, name_of, size_of
        self.masks = task_of(args).target == 'mask'
        self.palette = _palette(colours_for(args)) if self.masks else None
        self.fit = Fit.of(args) if self.masks and size_of else None

    def add(self, first, predictions):
        """Write a batch, as Engine.step returns it, whose first sample has this number; waits for the device."""
        if self.masks:
            pixels = predictions.max(1).indices.byte().cpu().numpy()
        else:
            pixels = viz.denormalise(predictions, [0.0], [1.0]).permute(0, 2, 3, 1).numpy()
        for index, array in enumerate(pixels, first):
            picture = Image.fromarray(array[..., 0] if array.shape[-1:] == (1,) and not self.masks else array)
            self._save(self._mask(picture, index) if self.masks else picture, self.name_of(index))

    def _mask(self, picture, index):
        """Return a mask (PIL.Image) with the palette, in the size of the sample's own picture."""
        full = self.size_of and self.size_of(index)
        if full:
            size = picture.height, picture.width
            top, left, height, width = self.fit.target_box(full, size)
            picture = picture.crop((left, top, left + width, top + height))
            top, left, height, width = map(round, self.fit.source_box(full, size))
            shown = picture.resize((max(1, width), max(1, height)), Image.NEAREST)
            picture = Image.new('L', (full[1], full[0]), self.fit.label)
            picture.paste(shown, (left, top))
        picture.putpalette(self.palette)
        return picture

    def _save(self, picture, name):
        """Write a PNG file that is called as the sample, or as that with a number where there is one already."""
        path = self.folder / file_name(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        number, place = 1, path
        while True:
            try:
                with open_regular(place, 'xb') as file:
                    # All 8 bits: programs that read fewer per pixel than a byte are rare.
                    picture.save(file, format='PNG', **({'bits': 8} if picture.mode == 'P' else {}))
                return
            except FileExistsError:  # a.jpg and a.png
                number += 1
                place = path.with_name(f'{path.stem}_{number}.png')


def file_name(name):
    """Return the path (str, with /) of a sample's output in the directory of all: its name with the ending .png.

    What leads out of a directory, as the / of an absolute path and .. do, is left out.
    """
    parts = [
        part for part in re.split(r'[\\/]', name) if part not in ('', '.', '..') and not re.fullmatch('[A-Za-z]:', part)
    ]
    *folders, last = parts or ['sample']
    stem = PurePosixPath(last).stem
    return '/'.join(re.sub(REFUSED, '_', part)[-LONGEST:] for part in (*folders, stem)) + '.png'


def _palette(colours):
    """Return a palette (bytes): colours (K, 3), and for all others that of what is ignored."""
    rest = np.tile(np.uint8(ignored_colour(colours)), (LEVELS - len(colours), 1))
    return np.concatenate([colours, rest]).tobytes()
