"""Images: exact pixels where they are defined, and size and colour of text."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from utils import viz
from utils.drawing.colours import class_colours

TITLE = viz.line_height(13) + viz.GAP // 2  # what stands above a small picture of a panel


def noise(channels, height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (channels, height, width), generator=generator, dtype=torch.uint8)


def as_rgb(picture):
    """Return a picture (C, H, W) as an (H, W, 3) array."""
    return picture.expand(3, -1, -1).permute(1, 2, 0).numpy()


@pytest.mark.parametrize(
    ('mean', 'std'), [((0.1307,), (0.3081,)), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))], ids=['grey', 'rgb']
)
def test_denormalise_gives_every_pixel_back(mean, std):
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(2, len(mean), 1, 1)
    normalised = (pixels.float() / 255 - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
    before = normalised.clone()
    back = viz.denormalise(normalised, mean, std)
    assert back.dtype == torch.uint8
    assert torch.equal(back, pixels)
    assert torch.equal(normalised, before)


def test_denormalise_rounds_and_clamps():
    images = torch.tensor([-0.5, 1.7, 0.6 / 255, 0.4 / 255]).view(1, 1, 2, 2)
    assert viz.denormalise(images, [0.0], [1.0]).flatten().tolist() == [0, 255, 1, 0]


def test_denormalise_takes_one_mean_for_all_channels():
    images = torch.tensor([0.0, 0.2, -0.2]).view(1, 3, 1, 1)
    assert viz.denormalise(images, [0.4], [0.5]).flatten().tolist() == [102, 128, 76]


def test_denormalise_needs_a_mean_for_each_channel():
    with pytest.raises(ValueError, match='1 channels, but 3 means'):
        viz.denormalise(torch.zeros(1, 1, 2, 2), [0, 0, 0], [1, 1, 1])


@pytest.mark.parametrize('kind', [torch.tensor, np.array], ids=['tensor', 'array'])
def test_colour_mask_paints_values_outside_the_classes_black(kind):
    painted = viz.colour_mask(kind([[0, 1, 2], [3, 255, -3]]), class_colours(3))
    blue, orange, green = class_colours(3).tolist()
    assert painted.dtype == np.uint8
    assert painted.tolist() == [[blue, orange, green], [[0, 0, 0]] * 3]
    assert viz.colour_mask(kind([[0, 1]]), class_colours(3), ignore_index=1).tolist() == [[blue, [0, 0, 0]]]


def test_colour_mask_keeps_a_black_class_apart_from_ignored_pixels():
    voc = np.array([[0, 0, 0], [128, 0, 0]], dtype=np.uint8)
    assert viz.colour_mask(np.array([[0, 1, 255]]), voc).tolist() == [[[0, 0, 0], [128, 0, 0], [224, 224, 192]]]


def test_a_class_has_one_colour_in_all_pictures():
    colours, colour = class_colours(12), class_colours(12)[7]
    for others in ((), (0,), range(12), (7, 255), (3, 11)):
        mask = np.full((6, 30), 7)
        mask[0, : len(others)] = others
        for panel in (
            viz.segmentation_panel(noise(3, 6, 30), mask, mask, colours),
            viz.segmentation_panel(noise(1, 6, 30, 3), torch.from_numpy(mask), torch.zeros(6, 30).long(), colours),
        ):
            width = (panel.shape[1] - 2 * viz.GAP) // 3
            assert (panel[-1, width + viz.GAP : 2 * width + viz.GAP] == colour).all()
        assert (viz.overlay(noise(3, 6, 30), mask, colours, alpha=1)[5] == colour).all()


def test_a_picture_of_background_only_is_drawn():
    black, background = torch.zeros(3, 40, 40, dtype=torch.uint8), torch.zeros(40, 40, dtype=torch.int64)
    panel = viz.segmentation_panel(black, background, background, class_colours(2))
    assert (panel[-40:, -40:] == class_colours(1)[0]).all()
    ignored = viz.segmentation_panel(black, background, background + 255, class_colours(2), 255)
    assert (ignored[-40:, -40:] == 0).all()
    assert np.array_equal(viz.denormalise(torch.zeros(1, 3, 4, 4), [0.5], [1e-9]), np.full((1, 3, 4, 4), 128))


def test_overlay_mixes_and_leaves_ignored_pixels():
    picture, mask, colours = torch.full((1, 1, 2), 100, dtype=torch.uint8), np.array([[1, 255]]), class_colours(2)
    assert viz.overlay(picture, mask, colours, alpha=0.25).tolist() == [[[132, 115, 75], [100, 100, 100]]]
    assert viz.overlay(picture, mask, colours, alpha=0).tolist() == [[[100] * 3, [100] * 3]]
    assert viz.overlay(picture, mask, colours, alpha=1).tolist() == [[[230, 159, 0], [100] * 3]]
    assert viz.overlay(picture, mask, colours, ignore_index=1, alpha=1).tolist() == [[[100] * 3, [100] * 3]]


def test_overlay_refuses_images_and_masks_of_different_sizes():
    with pytest.raises(ValueError, match='alpha'):
        viz.overlay(noise(3, 2, 2), np.zeros((2, 2)), class_colours(2), alpha=1.5)
    with pytest.raises(ValueError, match='differ in size'):
        viz.overlay(noise(3, 2, 1), np.zeros((2, 2)), class_colours(2))


def test_reduced_averages_pictures_and_takes_labels():
    images = torch.tensor([[[[0.0, 1.0], [2.0, 5.0]]]])
    assert viz.reduced(images, 2).tolist() == [[[[2.0]]]]
    masks = torch.tensor([[0, 0, 3, 3], [0, 0, 3, 3]]).repeat(1, 1, 1)
    assert viz.reduced(masks, 2).tolist() == [[[0, 3]]]
    assert viz.reduced(masks.to(torch.uint8), 100).shape == (1, 1, 1)


@pytest.mark.parametrize(
    ('shape', 'factor'),
    [((1, 28, 28), 4), ((3, 32, 48), 4), ((3, 100, 120), 2), ((3, 112, 112), 1), ((3, 300, 400), 1)],
)
def test_labelled_picture_is_enlarged_by_a_whole_factor(shape, factor):
    picture = noise(*shape)
    labelled = viz.labelled_picture(picture, 1, 1)
    expected = as_rgb(picture).repeat(factor, axis=0).repeat(factor, axis=1)
    assert labelled.dtype == np.uint8
    assert labelled.shape[1:] == (expected.shape[1], 3)
    assert np.array_equal(labelled[: expected.shape[0]], expected)
    assert labelled.shape[0] - expected.shape[0] >= 30  # two lines of text


def test_labelled_picture_of_a_sliver_stays_small_and_has_room_for_text():
    labelled = viz.labelled_picture(noise(1, 1000, 2), 3, 4)
    assert labelled.shape[1] == 112
    assert labelled.shape[0] < 1100
    assert (labelled[1000:] != 255).any()


def strip(prediction, target, names=None, width=120):
    """Return the text below a picture of height 112, (H, W, 3) int."""
    return viz.labelled_picture(torch.zeros(1, 112, width, dtype=torch.uint8), prediction, target, names)[112:].astype(
        int
    )


def test_text_is_green_when_right_and_red_when_wrong():
    right, wrong = strip(3, 3), strip(3, 4)
    ink = right[right.sum(-1) < 500], wrong[wrong.sum(-1) < 500]
    assert min(map(len, ink)) > 50
    assert (ink[0][:, 1] > ink[0][:, 0]).all()
    assert (ink[1][:, 0] > ink[1][:, 1]).all()


def test_text_says_both_classes():
    names = ['cat', 'dog', 'owl']
    half = strip(0, 1, names).shape[0] // 2
    assert not np.array_equal(strip(0, 1, names), strip(2, 1, names))
    assert np.array_equal(strip(0, 1, names)[half:], strip(2, 1, names)[half:])  # only the prediction changed
    assert np.array_equal(strip(0, 1, names)[:half], strip(0, 2, names)[:half])  # only the target changed
    assert not np.array_equal(strip(0, 1, names), strip(0, 1))  # indices
    assert np.array_equal(strip(torch.tensor(0), np.int64(1), names), strip(0, 1, names))


def test_long_names_take_two_lines_and_stay_within_the_picture():
    once, twice = strip(0, 0, ['W' * 4]), strip(0, 0, ['W' * 200])
    assert twice.shape[0] - once.shape[0] == 2 * viz.line_height(13)
    assert (twice[:, -4:] == 255).all()


def test_sets_of_labels_are_written_below_and_compared_as_a_whole():
    names = ['cat', 'dog', 'cow']
    assert np.array_equal(strip([2], [2], names), strip(2, 2, names))
    assert np.array_equal(strip([], [], ['none', 'x']), strip(0, 0, ['none', 'x']))
    right, wrong = strip([0, 2], [0, 2], names), strip([0, 2], [2], names)
    assert np.array_equal(right, strip(0, 0, ['cat, cow']))
    for text, colour in ((right, viz.RIGHT), (wrong, viz.WRONG)):
        assert (text.reshape(-1, 3) == colour).all(-1).sum() > 20


def test_numbers_are_written_below_in_black():
    picture = torch.full((1, 112, 200), 90, dtype=torch.uint8)
    first, same, other = (
        viz.numbered_picture(picture, [0.123456, 1e-9], true) for true in ([3, 1e6], [3, 1e6], [3, 2])
    )
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    assert (first[112:].reshape(-1, 3) == 0).all(-1).sum() > 20
    grey = first[112:].astype(int)
    assert (grey.max(-1) == grey.min(-1)).all()


def test_restoration_panel_stands_side_by_side_and_small_pictures_are_enlarged():
    parts = [noise(1, 28, 30, seed) for seed in range(3)]
    panel = viz.restoration_panel(*parts)
    top = panel.shape[0] - 112
    assert panel.shape == (112 + TITLE, 3 * 120 + 2 * viz.GAP, 3)
    for place, part in zip((0, 124, 248), parts, strict=True):
        assert np.array_equal(panel[top::4, place : place + 120 : 4], as_rgb(part))
        assert (panel[:top, place : place + 120] < 100).any()  # its title
    assert (panel[:, 120:124] == 255).all()
    assert viz.restoration_panel(*(noise(3, 200, 150) for _ in range(3))).shape == (200 + TITLE, 458, 3)


def test_segmentation_panel_stands_side_by_side_with_titles():
    picture = noise(3, 120, 130)
    said, truth = torch.zeros(120, 130, dtype=torch.int64), torch.ones(120, 130, dtype=torch.int64)
    truth[0] = 255
    panel = viz.segmentation_panel(picture, said, truth, class_colours(2), 0)
    assert panel.shape == (120 + TITLE, 3 * 130 + 2 * viz.GAP, 3)
    assert panel.dtype == np.uint8
    titles, panel = panel[:TITLE], panel[TITLE:]
    assert np.array_equal(panel[:, :130], as_rgb(picture))
    assert (panel[:, 130:134] == 255).all()
    assert np.array_equal(panel[:, 134:264], viz.colour_mask(said, class_colours(2)))  # predicted, though ignored
    assert (panel[:, 264:268] == 255).all()
    assert np.array_equal(panel[:, 268:], viz.colour_mask(truth, class_colours(2)))
    assert (panel[0, 268:] == 0).all()
    texts = [titles[:, start : start + 130] for start in (0, 134, 268)]
    assert all((text < 100).any() for text in texts)
    assert not np.array_equal(texts[0], texts[2])


def test_a_title_wider_than_its_picture_makes_it_wider():
    title = viz.titled(np.zeros((5, 20, 3), np.uint8), 'as the network sees it')
    assert title.shape[1] == viz.length('as the network sees it', 13)
    assert (title[-5:, :20] == 0).all()
    assert (title[-5:, 20:] == 255).all()


def swatches(legend, colours):
    """Return which of some colours fill a square of it (list of int)."""
    return [k for k, colour in enumerate(colours) if (legend.reshape(-1, 3) == colour).all(-1).sum() > 100]


def test_a_long_name_loses_its_first_directories():
    strip = np.zeros((5, 112, 3), np.uint8)
    end = viz.named(strip, 'photos/birds/0001.png')
    assert np.array_equal(viz.named(strip, '/home/somebody/data/of/2025/photos/birds/0001.png'), end)
    assert end.shape == (5 + 2 * 17 + viz.GAP, 112, 3), 'two lines'
    assert viz.named(strip, 'x' * 200).shape == end.shape, 'cut'


def test_the_legend_has_all_of_few_classes_below_the_picture():
    picture, names = np.full((90, 300, 3), 7, np.uint8), [f'class {k}' for k in range(12)]
    colours = class_colours(12)
    whole = viz.with_legend(picture, colours, names, classes=[3])
    assert np.array_equal(whole[:90], picture)
    legend = whole[90:]
    assert swatches(legend, colours) == list(range(12))
    assert (legend.reshape(-1, 3) == 0).all(-1).sum() > 100  # ignored, and the texts
    assert (legend[:, -1] == 255).all()  # nothing is cut off
    assert (legend[-2:] == 255).all()
    other = viz.with_legend(picture, colours, names[::-1])[90:]
    assert not np.array_equal(legend, other)  # the names are there


def test_the_legend_of_many_classes_has_those_that_occur():
    picture, colours = np.full((90, 300, 3), 7, np.uint8), class_colours(60)
    whole = viz.with_legend(picture, colours, None, classes=[41, 5, 5, 255])
    assert swatches(whole[90:], colours) == [5, 41]


def test_a_legend_narrower_than_its_names_cuts_them():
    whole = viz.with_legend(np.zeros((20, 30, 3), np.uint8), class_colours(2), ['W' * 40, 'short'])
    assert whole.shape[1] == 112
    assert (whole[20:, -1] == 255).all()


def test_grid_places_every_picture():
    pictures = [np.full((h, w, 3), value, np.uint8) for h, w, value in ((4, 6, 1), (8, 2, 2), (3, 3, 3))]
    sheet = viz.grid(iter(pictures), 2)
    assert sheet.shape == (8 + 4 + 8, 6 + 4 + 6, 3)
    assert (sheet[:4, :6] == 1).all()
    assert (sheet[:8, 10:12] == 2).all()
    assert (sheet[12:15, :3] == 3).all()
    assert [(sheet == value).sum() for value in (1, 2, 3)] == [4 * 6 * 3, 8 * 2 * 3, 3 * 3 * 3]
    assert (sheet == 255).sum() == sheet.size - sum(picture.size for picture in pictures)


def test_grid_is_no_wider_than_its_pictures():
    assert viz.grid([np.zeros((2, 2, 3), np.uint8)], 8).shape == (2, 2, 3)


@pytest.mark.parametrize(('pictures', 'columns'), [([], 2), ([np.zeros((2, 2, 3), np.uint8)], 0)])
def test_an_empty_grid_is_refused(pictures, columns):
    with pytest.raises(ValueError, match='needs images and columns'):
        viz.grid(pictures, columns)


def test_save_picture_writes_a_png_with_the_same_pixels(tmp_path):
    array = as_rgb(noise(3, 4, 7))
    path = tmp_path / 'new' / 'picture.dat'
    viz.save_picture(path, array)
    with Image.open(path) as image:
        assert image.format == 'PNG'
        assert np.array_equal(np.asarray(image), array)


@pytest.mark.parametrize('picture', [torch.zeros(3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.uint8)])
def test_pictures_of_another_kind_are_refused(picture):
    with pytest.raises(ValueError, match='expected a uint8 image'):
        viz.labelled_picture(picture, 0, 0)


def test_importing_pulls_in_neither_torchvision_nor_matplotlib():
    code = "import sys, utils.viz; print({'torchvision', 'matplotlib'} & set(sys.modules))"
    root = Path(viz.__file__).parents[1]
    result = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == 'set()'


def test_a_sheet_of_large_pictures_is_made_smaller():
    picture = np.random.default_rng(0).integers(0, 256, (900, 1400, 3), dtype=np.uint8)
    sheet = viz.grid([picture] * 4, 2)
    assert 0.98 * 2**20 < sheet.shape[0] * sheet.shape[1] <= 2**20
    assert sheet.shape[1] / sheet.shape[0] == pytest.approx(1400 / 900, rel=0.01)
    assert viz.grid([picture[:400, :600]] * 4, 2).shape == (804, 1204, 3)


def test_a_title_is_not_higher_than_a_long_picture():
    """A font size by the width only would need gigabytes for a strip."""
    strip = np.zeros((3, 60_000, 3), np.uint8)
    assert viz.titled(strip, 'input').shape[0] < 40
    assert viz.captioned(strip, [('a class', viz.INK)]).shape[0] < 40
