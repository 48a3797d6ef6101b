"""A size that is guessed from the first image is said, and so are files of several frames."""

import numpy as np
import pytest
from PIL import Image

from data.data_entry import complete_args
from data.list_dataset import ListDataset
from data.mem_list import MemList
from utils.options.fit import described_pictures

CLASSES = {'list': ListDataset, 'mem_list': MemList}


@pytest.fixture
def sizes(save, list_args):
    """Return a function: options for a list of images of 16x40 first, then of 64x40 (width x height)."""

    def options(*words, kind='list'):
        lines = [f'{save(f"{n}.png", size=(16 if n == 0 else 64, 40), seed=n).name} {n % 2}' for n in range(6)]
        args = list_args('\n'.join(lines), *words, kind=kind)
        complete_args(args)
        return args

    return options


@pytest.mark.parametrize('kind', CLASSES)
@pytest.mark.parametrize('split', ['train', 'val'])
@pytest.mark.parametrize(('fit', 'what'), [('crop', 'their middle is cut out'), ('pad', 'they get margins')])
def test_a_guessed_size_is_said_with_the_pictures_of_another(sizes, kind, split, fit, what):
    args = sizes('--fit', fit, kind=kind)
    data = CLASSES[kind](args, split)
    assert data.notes[-1] == (
        f'{data.listing.source}: 5 of 6 images have another size than 16x40, the size of the first training image: '
        f'{what} (--fit {fit}); --image_size chooses another size'
    )
    assert described_pictures(args).startswith('images: 16x40 (width x height, of the first image), RGB')


def test_a_size_that_was_given_is_no_guess(sizes):
    args = sizes('--image_size', 40, 16)
    assert [note for note in ListDataset(args, 'train').notes if 'another size' in note] == []
    assert '(width x height), ' in described_pictures(args)


@pytest.mark.parametrize('ending', ['gif', 'tif', 'webp', 'png'])
def test_files_of_several_frames_are_counted(save, list_args, files, ending):
    frames = [Image.fromarray(np.full((6, 8, 3), level, np.uint8)) for level in (40, 120, 200)]
    frames[0].save(files / f'many.{ending}', save_all=True, append_images=frames[1:])
    frames[0].save(files / f'one.{ending}')
    args = list_args(f'one.{ending} 0\nmany.{ending} 1\n', '--image_size', 6, 8)
    complete_args(args)
    data = ListDataset(args, 'train')
    assert abs(int(data[1][0].float().mean()) - 40) <= 3
    assert [note.partition(': ')[2] for note in data.notes] == [
        '1 of 2 images hold several frames or pages; the first of each is read'
    ]
