"""Similar images: the same picture at another size, quality or brightness, and nothing else."""

import itertools

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from scripts.splitting import perceptual_hash
from utils.base.registry import PROJECT

COUNT = 40


@pytest.fixture(scope='module')
def scenes():
    """Return images (list of PIL.Image) with the spectrum of photographs, whose amplitudes fall with the frequency."""
    random, found = np.random.default_rng(0), []
    distance = np.hypot(np.fft.fftfreq(120)[:, None], np.fft.fftfreq(160)[None])
    for _ in range(COUNT):
        spectrum = np.fft.fft2(random.normal(size=(120, 160))) / np.maximum(distance, 1 / 160) ** 1.2
        pixels = np.fft.ifft2(spectrum).real
        found.append(Image.fromarray((pixels / pixels.std() * 40 + 128).clip(0, 255).astype(np.uint8)))
    return found


def looks(images, folder, ending='.png', **options):
    """Return the Looks of images after saving them."""
    folder.mkdir()
    paths = [str(folder / f'{number}{ending}') for number in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        image.save(path, **options)
    return perceptual_hash.look_at(paths, lambda count: None)


@pytest.mark.parametrize('change', ['jpeg', 'small', 'bright'])
def test_changed_copies_are_found_and_only_these(scenes, change, tmp_path):
    changed = {
        'jpeg': lambda image: image,
        'small': lambda image: image.resize((40, 30)),
        'bright': lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    }[change]
    both = looks(scenes, tmp_path / 'a'), looks([*map(changed, scenes)], tmp_path / 'b', '.jpg', quality=50)
    hashes, thumbnails = (np.concatenate([getattr(each, name) for each in both]) for name in ('hashes', 'thumbnails'))
    found = perceptual_hash.similar_pairs(hashes, thumbnails, np.arange(2 * COUNT))
    assert found == [(index, index + COUNT) for index in range(COUNT)]


def test_digits_of_a_class_are_not_taken_for_copies(tmp_path):
    with np.load(PROJECT / 'data' / 'digits.npz') as digits:
        images = [Image.fromarray(pixels) for pixels in digits['train_images'][:400]]
    found = looks(images, tmp_path / 'digits')
    assert len(perceptual_hash.similar_pairs(found.hashes, found.thumbnails, np.arange(400))) <= 2


def test_close_hashes_are_those_that_a_comparison_of_all_pairs_finds():
    random = np.random.default_rng(0)
    hashes = np.unique(random.integers(0, 2**64, 60, dtype=np.uint64))
    flips = [np.bitwise_xor.reduce(np.uint64(1) << random.choice(64, n, replace=False).astype(np.uint64))
             for n in random.integers(1, 10, 60)]  # fmt: skip
    hashes = np.unique(np.concatenate([hashes, hashes[:60] ^ np.array(flips[: len(hashes)], np.uint64)]))
    wanted = {(i, j) for i, j in itertools.combinations(range(len(hashes)), 2)
              if int(hashes[i] ^ hashes[j]).bit_count() <= perceptual_hash.MAX_DISTANCE_BITS}  # fmt: skip
    found = {tuple(sorted(pair)) for pairs in perceptual_hash._close_hashes(hashes) for pair in pairs.tolist()}
    assert len(wanted) > 20
    assert found == wanted


def test_equal_files_are_equal_and_unreadable_ones_are_not(tmp_path):
    Image.new('L', (8, 8), 9).save(tmp_path / 'a.png')
    for name, content in (('b.png', (tmp_path / 'a.png').read_bytes()), ('c.png', b'x'), ('d.png', b'x')):
        (tmp_path / name).write_bytes(content)
    found = perceptual_hash.look_at([str(tmp_path / f'{name}.png') for name in 'abcde'], lambda count: None)
    assert perceptual_hash.equal_pairs(found.contents) == [(0, 1)]
    assert found.faults == {2: 'not an image in a format that Pillow knows', 3: 'not an image in a format that Pillow '
                            'knows', 4: 'cannot be read: No such file or directory'}  # fmt: skip
