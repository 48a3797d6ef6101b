"""No two classes of a picture look alike; a palette of one's own in which two do is noted."""

from types import SimpleNamespace

import pytest

from utils.drawing import colour_distance
from utils.drawing.colours import class_colours


@pytest.mark.parametrize(('num_classes', 'opaque', 'overlaid'), [(7, (50, 15), (25, 8)), (12, (30, 6), (18, 8)),
                                                                 (21, (18, 5), (11, 3))])  # fmt: skip
def test_no_two_classes_of_a_picture_look_alike(num_classes, opaque, overlaid):
    # A difference of 2.3 is just noticeable; (normal, colour-blind).
    rgb = class_colours(num_classes)
    for limits, shown in ((opaque, rgb), (overlaid, 0.55 * rgb + 0.45 * 128)):
        normal, *blind = colour_distance.distances(shown).min((1, 2))
        assert normal > limits[0] and min(blind) > limits[1]


def test_cielab_is_right():
    white, red = colour_distance.cielab([[255, 255, 255], [255, 0, 0]])[0]
    assert white == pytest.approx([100, 0, 0], abs=0.02)
    assert red == pytest.approx([53.24, 80.09, 67.2], abs=0.05)


def note_of(*palette, class_names=('road', 'car', 'tree')):
    args = SimpleNamespace(num_classes=3, class_names=class_names and list(class_names), palette=list(palette))
    return colour_distance.note_of_palette(args)


def test_two_colours_of_a_palette_that_look_alike_are_noted():
    assert note_of('#804080', '#00008e', '#6b8e23') == []
    [note] = note_of('#804080', '#00008e', '#82427e')
    told = "--palette: the colours of the classes 'road' and 'tree' look alike (distance 2.421 in CIELAB, less than 10)"
    assert note == told
    [note] = note_of('#804080', '#814181', '#82427e', class_names=None)
    assert "'0' and '1'" in note and 'so do 2 more pairs)' in note


def test_so_are_two_that_look_alike_to_colour_blind_readers():
    [note] = note_of('#0000ff', '#bc6600', '#667f00')
    assert "'car' and 'tree' look alike to " in note and '-blind readers (distance ' in note


def test_the_colours_that_the_project_chooses_need_no_note():
    assert colour_distance.note_of_palette(SimpleNamespace(palette=None)) == []
