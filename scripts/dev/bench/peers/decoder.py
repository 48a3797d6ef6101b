"""The limit of work on input: Pillow alone, on all cores; pictures are decoded, cropped and resized, and dropped."""

import math
import multiprocessing
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from scripts.dev.bench.common import read_lines
from scripts.dev.bench.task import CROP_SCALE, SIZES

CHUNK = 16  # pictures per errand of a process


def train(task, turn):
    """Decode all files once per epoch, by `processes` or by `threads`."""
    decode = decode_whole if task.work == 'tiny' else decode_part
    folder = Path(task.data)
    samples = [(path, folder / target if task.work == 'masks' else None) for path, target in read_lines(task)]
    if task.style == 'threads':
        with ThreadPoolExecutor(task.workers) as pool:
            while True:
                turn()
                for _ in pool.map(decode, samples):
                    pass
    with multiprocessing.Pool(task.workers) as pool:
        while True:
            turn()
            for _ in pool.imap_unordered(decode, samples, CHUNK):
                pass


def decode_whole(sample):
    """Decode one picture as it is."""
    with Image.open(sample[0]) as picture:
        picture.load()


def decode_part(sample):
    """Decode one picture: of a photograph a random crop brought to size, or a picture and its mask as they are."""
    path, mask = sample
    with Image.open(path) as picture:
        picture.load()
        if mask is None:
            picture.resize(SIZES['photos'][::-1], Image.BILINEAR, box=random_box(*picture.size))
    if mask is not None:
        with Image.open(mask) as labels:
            labels.load()


def random_box(width, height):
    """Return the corners (left, top, right, bottom) of a crop drawn as torchvision's RandomResizedCrop draws them."""
    for _ in range(10):
        area = width * height * random.uniform(*CROP_SCALE)
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if wide <= width and high <= height:
            left, top = random.randint(0, width - wide), random.randint(0, height - high)
            return left, top, left + wide, top + high
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, (width + side) // 2, (height + side) // 2
