"""Colours of classes are the same everywhere and distinguishable by all readers."""

from types import SimpleNamespace

import numpy as np
import pytest

from utils.base.errors import DanluError
from utils.drawing import colours


def test_a_class_keeps_its_colour_and_no_other_has_it():
    many = colours.class_colours(1000)
    assert many.shape == (1000, 3)
    assert many.dtype == np.uint8
    assert len(np.unique(many, axis=0)) == 1000
    for num_classes in (1, 5, 7, 8, 21):
        assert np.array_equal(colours.class_colours(num_classes), many[:num_classes])
    assert many[:2].tolist() == [[0, 114, 178], [230, 159, 0]]


def lab_of(rgb):
    """Return colours (N, 3), 0..255, in CIELAB for normal, red-blind and green-blind vision: (3, N, 3)."""
    levels = np.asarray(rgb, dtype=float) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ colours.VISIONS.transpose(0, 2, 1), 0, 1)
    to_xyz = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175],
                       [0.0193339, 0.119192, 0.9503041]])  # fmt: skip
    x, y, z = np.moveaxis(seen @ to_xyz.T / [0.95047, 1, 1.08883], -1, 0)
    f = [np.where(v > (6 / 29) ** 3, np.cbrt(v), v / (3 * (6 / 29) ** 2) + 4 / 29) for v in (x, y, z)]
    return np.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])], -1)


def smallest_distances(rgb):
    """Return the distance of the two nearest of colours (N, 3) in CIELAB, for each kind of vision: (3,)."""
    lab = lab_of(rgb)
    return (np.linalg.norm(lab[:, :, None] - lab[:, None], axis=-1) + 999 * np.eye(len(rgb))).min((1, 2))


@pytest.mark.parametrize(('num_classes', 'opaque', 'overlaid'), [(7, (50, 15), (25, 8)), (12, (30, 6), (18, 8)),
                                                                 (21, (18, 5), (11, 3))])  # fmt: skip
def test_no_two_classes_of_a_picture_look_alike(num_classes, opaque, overlaid):
    # A difference of 2.3 is just noticeable; (normal, colour-blind).
    rgb = colours.class_colours(num_classes)
    for limits, shown in ((opaque, rgb), (overlaid, 0.55 * rgb + 0.45 * 128)):
        normal, *blind = smallest_distances(shown)
        assert normal > limits[0] and min(blind) > limits[1]


def test_cielab_is_right():
    white, red = lab_of([[255, 255, 255], [255, 0, 0]])[0]
    assert white == pytest.approx([100, 0, 0], abs=0.02)
    assert red == pytest.approx([53.24, 80.09, 67.2], abs=0.05)


def test_oklab_is_right_and_the_blind_do_not_see_red_and_green():
    white, red, green = colours.as_seen([[255, 255, 255], [255, 0, 0], [0, 255, 0]])[0]  # Ottosson's own figures
    assert white == pytest.approx([1, 0, 0], abs=1e-3)
    assert red == pytest.approx([0.628, 0.225, 0.126], abs=1e-3)
    assert green == pytest.approx([0.866, -0.234, 0.179], abs=1e-3)
    alike = colours.as_seen([[188, 102, 0], [102, 128, 0]])
    apart = np.linalg.norm(alike[:, 0] - alike[:, 1], axis=-1)
    assert apart[2] < 0.4 * apart[0]


def test_there_is_a_colour_for_any_number_of_classes():
    many = colours.class_colours(4000)
    assert many.max(axis=1).min() > 40
    assert np.array_equal(colours.class_colours(1644), many[:1644])
    assert len(np.unique(many, axis=0)) == 1644


def test_a_palette_takes_their_place():
    args = SimpleNamespace(num_classes=2, class_names=None, palette=['#0a0b0c', '#ffffff'])
    assert colours.colours_for(args).tolist() == [[10, 11, 12], [255, 255, 255]]
    args.palette = None
    assert np.array_equal(colours.colours_for(args), colours.class_colours(2))
    args.palette = ['#0a0b0c']
    with pytest.raises(DanluError, match='1 given for 2 classes'):
        colours.colours_for(args)


def test_ignored_pixels_are_black_unless_a_class_is():
    assert colours.ignored_colour(colours.class_colours(50)) == (0, 0, 0)
    assert colours.ignored_colour([[1, 0, 0], [0, 0, 0]]) == (224, 224, 192)
