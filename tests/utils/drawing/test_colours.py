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
