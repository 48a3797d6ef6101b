"""Masks that are coded by colour, and what is said where a viewer shows something else than is stored."""

import numpy as np
import pytest
from PIL import Image

from data.data_entry import notes_of, select_eval_loader, select_train_loader
from data.lists.masks import MaskCoding
from data.lists.pictures import read_mask
from scripts.measure_data import main as measure_data
from utils.base.errors import DanluError

COLOURS = np.array([[128, 128, 128], [128, 0, 0], [0, 0, 0]], np.uint8)  # sky, building, void
LABELS = np.array([[0, 0, 1, 2], [0, 1, 1, 2], [1, 1, 0, 0]], np.uint8)
TEXT = 'sky 128 128 128\nbuilding 128 0 0\nvoid 0 0 0\n'
EXIF = Image.Exif()
EXIF[0x0112] = 3


@pytest.fixture
def colour_coded(save, write, list_args):
    """Return a function: options for three pictures with masks, PIL.Image, that `mask(labels)` makes of LABELS."""

    def colour_coded(mask, *words, kind='list', mask_options=(), **picture_options):
        lines = []
        for n in range(3):
            stored = mask(np.roll(LABELS, n, axis=1))
            name = save(f'{n}_mask.png', stored, **dict(mask_options)).name
            lines.append(f'{save(f"{n}.png", size=(4, 3), seed=n, **picture_options).name} {name}')
        return list_args('\n'.join(lines), '--task', 'segmentation', *words, kind=kind)

    return colour_coded


def rgb(labels):
    return Image.fromarray(COLOURS[labels])


def masks_of(loader):
    return np.concatenate([targets.numpy() for _, targets, *_ in loader])


def expected(void=255):
    return np.stack([np.where(np.roll(LABELS, n, axis=1) == 2, void, np.roll(LABELS, n, axis=1)) for n in range(3)])


@pytest.mark.parametrize('kind', ['list', 'mem_list'])
@pytest.mark.parametrize('mode', ['RGB', 'RGBA'])
def test_a_palette_with_names_reads_masks_by_colour(colour_coded, write, kind, mode):
    palette = write('palette.txt', TEXT)
    words = ['--palette', palette, '--class_names', 'sky', 'building']
    args = colour_coded(lambda labels: rgb(labels).convert(mode), *words, kind=kind)
    loader = select_eval_loader(args)
    assert (masks_of(loader) == expected()).all()
    assert args.ignored_colours == ['#000000'], 'so that a test, which has no file, ignores it too'
    assert f'{args.val_list}: pixels of masks with the colours #000000 are ignored' in notes_of(loader)


def test_the_names_of_a_palette_are_the_classes(colour_coded, write):
    args = colour_coded(rgb, '--palette', write('palette.txt', TEXT), '--num_classes', 3)
    assert (masks_of(select_eval_loader(args)) == expected(void=2)).all()
    assert args.class_names == ['sky', 'building', 'void']


def test_colours_without_names_count_by_their_position(colour_coded):
    words = ['--num_classes', 2, '--ignore_index', 2]
    args = colour_coded(rgb, '--palette', '#808080', '#800000', '#000000', *words)
    assert (masks_of(select_eval_loader(args)) == expected(void=2)).all()
    assert args.palette == ['#808080', '#800000']


def test_ignored_colours_are_given(colour_coded):
    palette = ['--palette', '#808080', '#800000', '--num_classes', 2]
    args = colour_coded(rgb, *palette, '--ignored_colours', '#000000', '#FF00FF')
    assert (masks_of(select_eval_loader(args)) == expected()).all()
    with pytest.raises(DanluError) as caught:
        select_train_loader(colour_coded(rgb, *palette))
    first = next(line for line in str(caught.value).splitlines() if 'train.txt:2' in line)
    assert '1_mask.png: colour #000000 at x 0, y 0 is not in --palette; add it there, or name it in --ign' in first


def test_colours_are_read_exactly_at_every_size(save):
    coding = MaskCoding(2, 255, colours=('#808080', '#800000'), ignored=('#000000',))
    path = save('mask.png', rgb(np.kron(LABELS, np.ones((5, 5), np.uint8))))
    assert (read_mask(path, (3, 4), coding=coding).numpy() == expected()[0]).all()
    near = np.array([[[128, 128, 129]]], np.uint8)
    with pytest.raises(DanluError, match='colour #808081 at x 0, y 0 is not in --palette'):
        read_mask(save('near.png', near), coding=coding)


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--ignored_colours', '#000000'], 'requires --palette'),
        (['--ignored_colours', '#808080', '--palette', '#808080', '#800000'], '#808080 is the colour of a class'),
        (['--ignored_colours', 'black', '--palette', '#808080', '#800000'], "'black' is no colour #rrggbb"),
        (['--mask_values', 0], '1 given for 2 classes'),
        (['--mask_values', 7, 7], 'a value occurs twice'),
        (['--mask_values', 'stored', 7], 'give stored alone or one value per class'),
        (['--mask_values', 0, 70000], 'must be at least 0 and at most 65535, got 70000'),
        (['--task', 'multilabel', '--mask_values', 0, 255], '--task multilabel has no masks; leave it out'),
    ],
)
def test_options_that_contradict_each_other(colour_coded, words, message, capsys):
    with pytest.raises(SystemExit):
        colour_coded(rgb, '--num_classes', 2, *words)
    assert message in capsys.readouterr().err


def palette_mask(palette):
    def mask(labels):
        picture = Image.fromarray(labels).convert('L')
        picture = Image.frombytes('P', picture.size, picture.tobytes())
        picture.putpalette(palette)
        return picture

    return mask


def clear(labels):
    return Image.fromarray(np.dstack([COLOURS[labels], np.where(labels == 2, 0, 255).astype(np.uint8)]))


PALETTE = ['--palette', '#808080', '#800000', '#000000', '--num_classes', 3]
THREE = ['--num_classes', 3]


@pytest.mark.parametrize(
    ('mask', 'words', 'options', 'note'),
    [
        (palette_mask(bytes([0, 0, 0, 128, 128, 128, 255, 255, 255])), THREE, {}, 'masks have a grey palette'),
        (palette_mask(bytes(range(3)) * 3), THREE, {}, None),
        (palette_mask(COLOURS.tobytes()), THREE, {}, None),
        (palette_mask(COLOURS.tobytes()), PALETTE, {}, None),
        (palette_mask(COLOURS[::-1].tobytes()), PALETTE, {}, 'masks have a palette of their own'),
        (clear, PALETTE, {}, 'masks have transparent pixels'),
        (lambda labels: rgb(labels).convert('RGBA'), PALETTE, {}, None),
        (lambda labels: Image.merge('RGB', [Image.fromarray(labels)] * 3), THREE, {}, 'masks are stored as RGB'),
        (Image.fromarray, THREE, {'exif': EXIF}, 'images are turned by their EXIF'),
        (Image.fromarray, THREE, {'exif': EXIF, 'mask_options': {'exif': EXIF}}, None),
    ],
    ids=range(10),
)  # fmt: skip
def test_what_a_viewer_shows_otherwise_is_said_with_a_count(colour_coded, mask, words, options, note):
    args = colour_coded(mask, *words, **options)
    notes = notes_of(select_train_loader(args))
    assert [f'{args.train_list}: 3 of 3 {note}' in line for line in notes] == ([] if note is None else [True])


def test_transparent_pictures_are_counted(save, list_args):
    save('0.png', Image.fromarray(np.zeros((4, 5, 4), np.uint8)))
    save('1.png', size=(5, 4))
    dataset = select_train_loader(list_args('0.png 0\n1.png 1')).dataset.dataset
    assert [note.partition(': ')[2][:35] for note in dataset.notes] == ['1 of 2 images have an alpha channel']


def test_a_mask_that_is_not_turned_with_its_picture_is_named(save, list_args):
    exif = Image.Exif()
    exif[0x0112] = 6
    save('0.png', size=(5, 4), exif=exif)
    save('0_mask.png', np.zeros((4, 5), np.uint8))
    with pytest.raises(DanluError, match='the EXIF orientation 6 of the image turns it, and the mask has none: save'):
        select_train_loader(list_args('0.png 0_mask.png', '--task', 'segmentation', '--num_classes', 2))


def test_measuring_counts_the_classes_of_colours(colour_coded, write, capsys):
    palette = str(write('palette.txt', TEXT))
    args = colour_coded(rgb, '--num_classes', 2)
    words = ['--palette', palette, '--class_names', 'sky', 'building']
    with pytest.raises(SystemExit) as end:
        measure_data([args.train_list, *words])
    lines = capsys.readouterr().out.splitlines()
    assert end.value.code == 0
    assert '  1 building: 15 (41.67%)' in lines
    assert '  255: 6 (16.67%, ignored)' in lines
    assert lines[-1].endswith(f'--num_classes 2 --ignore_index 255 --palette {palette} --class_names sky building')


def test_masks_whose_values_have_another_colour_in_each_file_are_counted(save, list_args):
    """As GIF files and programs that save only the colours in use have it: a full mask then stores 0."""
    lines = []
    for n, palette in enumerate(([0, 0, 0, 9, 0, 0], [9, 0, 0], [0, 0, 0], [0, 0, 0, 9, 0, 0])):
        mask = Image.frombytes('P', (4, 3), bytes(11) + bytes([len(palette) // 3 - 1]))
        mask.putpalette(bytes(palette))
        lines.append(f'{save(f"{n}.png", size=(4, 3)).name} {save(f"{n}_mask.png", mask).name}')
    args = list_args('\n'.join(lines), '--task', 'segmentation', '--num_classes', 3)
    notes = [note for note in notes_of(select_train_loader(args)) if 'masks' in note]
    assert [note.split(': ')[1][:36] for note in notes] == ['1 of 4 masks have a palette in which']


def test_measuring_takes_the_first_colours_of_a_palette_as_training_does(colour_coded, capsys):
    palette = ['--palette', '#808080', '#800000', '#000000', '#000000']  # as a PNG has them, black to the end
    args = colour_coded(rgb, *palette, '--num_classes', 3)
    with pytest.raises(SystemExit) as stop:
        measure_data([args.train_list, *palette, '--num_classes', '3'])
    assert stop.value.code == 0
    assert '--num_classes 3' in capsys.readouterr().out.splitlines()[-1]
