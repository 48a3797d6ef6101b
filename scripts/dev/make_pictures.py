#!/usr/bin/env python
"""Make the pictures in README.md and docs/tutorial.md from runs on the bundled digits.

    python scripts/dev/make_pictures.py

It trains a few small runs in a temporary directory (some minutes on two cores) and writes docs/images/*.png. Pages are
photographed by Chromium (`apt-get install chromium`) or by the browser in the environment variable CHROMIUM.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project

from PIL import Image

from utils.base.errors import DanluError, run_main
from utils.base.registry import PROJECT

IMAGES = PROJECT / 'docs' / 'images'
MAX_BYTES = 300_000  # per picture, as all of them are in the repository
OPTIONS = '--batch_size 32 --label_smoothing 0.1'  # those of scripts/quickstart.sh
RUNS = (
    '--lr 5e-4 --epochs 8 --save_prefix slow',
    '--lr 1e-2 --epochs 8 --save_prefix fast',
    '--lr 2e-3 --epochs 8 --model_type mlp --save_prefix small',
    '--lr 2e-3 --epochs 8 --augment affine --save_prefix affine',
    '--lr 2e-3 --epochs 15 --save_prefix quickstart',
)
NUMBERS = (  # options of docs/tutorial.md
    '--data_type list --train_list numbers_split/train.txt --val_list numbers_split/val.txt --image_size 28 '
    '--channels 1 --mean 0.134 --std 0.312'
)


def browser():
    """Return the path (str) of Chromium.

    Raises:
        DanluError: there is none.
    """
    named = [os.environ.get('CHROMIUM'), 'chromium', 'chromium-browser', 'google-chrome']
    found = next((path for name in named if name and (path := shutil.which(name))), None)
    if found is None:
        raise DanluError('no Chromium found: install it, or name it in the environment variable CHROMIUM')
    return found


def photograph(page, path, size):
    """Save the top of a page (Path of an HTML file) as a PNG file of `size` (width, height)."""
    window = f'--window-size={size[0]},{size[1]}'
    words = [browser(), '--headless', '--no-sandbox', '--hide-scrollbars', '--force-color-profile=srgb', window]
    words += [f'--screenshot={path}', '--virtual-time-budget=5000', page.resolve().as_uri()]
    subprocess.run(words, check=True, capture_output=True, timeout=120)
    save(Image.open(path), path)


def save(picture, path):
    """Save an image (PIL) as a small PNG file.

    Raises:
        DanluError: the file has more than MAX_BYTES.
    """
    picture.convert('RGB').save(path, optimize=True)
    if path.stat().st_size > MAX_BYTES:
        raise DanluError(f'{path} has {path.stat().st_size:,} bytes, more than {MAX_BYTES:,}')


def run(words, place):
    """Run a program of the project (words: str, the first is its path) in a directory (Path)."""
    program, *rest = words.split()
    subprocess.run([sys.executable, PROJECT / program, *rest], cwd=place, check=True, stdout=subprocess.DEVNULL)


def make_runs(place):
    """Train on the bundled digits as quickstart.sh does, and with some options changed, in `place` (Path)."""
    for words in RUNS:
        run(f'train.py {OPTIONS} {words} --device cpu --checkpoints_dir checkpoints', place)
    runs = place / 'checkpoints'
    photograph(runs / 'lenet_quickstart' / 'report.html', IMAGES / 'report.png', (1200, 1150))
    photograph(runs / 'index.html', IMAGES / 'runs.png', (1200, 960))
    save(Image.open(runs / 'lenet_quickstart' / 'curves.png'), IMAGES / 'curves.png')


def follow_tutorial(place):
    """Run the commands of docs/tutorial.md that make pictures, in `place` (Path)."""
    text = (PROJECT / 'docs' / 'tutorial.md').read_text(encoding='utf-8')
    (code,) = re.findall(r'```python\n(# make_numbers\.py\n.*?)```', text, re.DOTALL)
    (place / 'data').symlink_to(PROJECT / 'data')
    subprocess.run([sys.executable, '-c', code], cwd=place, check=True)
    run('scripts/split.py numbers --val 0.2 --test 0.2', place)
    run(f'scripts/look.py {NUMBERS} --augment affine --count 12 --out {IMAGES}/look.png', place)
    more = '--device cpu --checkpoints_dir runs'
    run(f'train.py {NUMBERS} --find_lr --save_prefix find {more}', place)
    run(f'train.py {NUMBERS} --lr 0.003 --epochs 20 --augment affine --save_prefix affine {more}', place)
    run(f'eval.py --load_model_path lenet_affine --predict new_numbers {more}', place)
    save(Image.open(place / 'runs' / 'lenet_find' / 'find_lr.png'), IMAGES / 'find_lr.png')
    gallery = place / 'runs' / 'lenet_affine' / 'best' / 'predict_new_numbers_exp' / 'report.html'
    photograph(gallery, IMAGES / 'predictions.png', (1200, 700))


def main():
    """Make all pictures."""
    browser()
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        make_runs(Path(folder))
        follow_tutorial(Path(folder))
    for path in sorted(IMAGES.glob('*.png')):
        print(f'{path.relative_to(PROJECT)}: {path.stat().st_size:,} bytes')


if __name__ == '__main__':
    run_main(main, 'make_pictures.py')
