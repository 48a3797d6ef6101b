"""Palette files in their usual formats, and their errors."""

import re

import pytest
from PIL import Image

from utils.base.errors import DanluError
from utils.options.palette import fitted, names_in, read_palette

FORMS = {
    'name r g b': 'sky 70 130 180\nroad 128 64 128\n',
    'name #rrggbb': '# of our own\nsky #4682b4\n\n  road\t#804080  \n',
    'r g b name, as CamVid has it': '70 130 180\tsky\r\n128 64 128\troad\r\n',
    'csv with a heading': 'name,r,g,b\nsky,70,130,180\nroad, 128, 64, 128\n',
    'byte order mark': '\ufeff#4682B4 sky\n#804080 road\n',
}


def written(tmp_path, text):
    path = tmp_path / 'palette.txt'
    path.write_text(text, encoding='utf-8')
    return str(path)


@pytest.mark.parametrize('text', FORMS.values(), ids=FORMS)
def test_the_usual_forms_are_read(text, tmp_path):
    assert read_palette(written(tmp_path, text)) == ['sky=#4682b4', 'road=#804080']


def test_colours_alone_and_names_with_blanks(tmp_path):
    assert read_palette(written(tmp_path, '0 0 0\n#ffffff\n255 0 1\n')) == ['#000000', '#ffffff', '#ff0001']
    words = read_palette(written(tmp_path, 'traffic light 1 2 3\n人行道 4 5 6\n7 8 9 lane 2\n'))
    assert words == ['traffic light=#010203', '人行道=#040506', 'lane 2=#070809']
    assert names_in(words) == ['traffic light', '人行道', 'lane 2']
    assert names_in(['#000000']) is None


@pytest.mark.parametrize(
    ('text', 'fault'),
    [
        ('sky 1 2 3\nroad 1 2\n', "line 2: 'road 1 2' has no colour; name r g b"),
        ('sky 1 2 256\n', 'line 1: 256 is not in 0..255'),
        ('# head\n\nsky -1 2 3\n', 'line 3: -1 is not in'),
        ('sky #12345\n', "line 1: 'sky #12345' has no colour"),
        ('sky 0.1 0.2 0.3\n', 'has no colour'),
        ('sky 1 2 3\nroad 1 2 4\nsky 4 5 6\n', "line 3: 'sky' occurs twice, also in line 1"),
        ('sky 1 2 3\n1 2 4\n', '1 of 2 colours have no name; name all or none of them'),
        ('# nothing\n', 'holds no colour; give one line per class'),
    ],
)
def test_errors_name_their_lines(text, fault, tmp_path):
    path = written(tmp_path, text)
    with pytest.raises(DanluError, match=re.escape(fault)) as raised:
        read_palette(path)
    assert path in str(raised.value)


def test_the_palette_of_a_png_is_read(tmp_path):
    mask = Image.new('P', (4, 4))
    mask.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    mask.save(tmp_path / 'mask.png')
    words = read_palette(str(tmp_path / 'mask.png'))
    assert words[:3] == ['#000000', '#800000', '#008000']
    assert fitted(words, 3, ['background', 'aeroplane', 'bicycle']) == words[:3]
    Image.new('RGB', (4, 4)).save(tmp_path / 'rgb.png')
    with pytest.raises(DanluError, match=r"rgb.png' is an image of mode RGB, without a palette"):
        read_palette(str(tmp_path / 'rgb.png'))
    (tmp_path / 'torn.png').write_bytes((tmp_path / 'mask.png').read_bytes()[:20])
    with pytest.raises(DanluError, match=r"torn.png' cannot be read"):
        read_palette(str(tmp_path / 'torn.png'))


def test_colours_are_fitted_to_the_classes():
    named = ['Sky=#4682b4', 'road=#804080', 'car=#00008e']
    assert fitted(named, 2, ['car', 'sky']) == ['#00008e', '#4682b4']
    assert fitted(named, 3, None) == ['#4682b4', '#804080', '#00008e']
    assert fitted(['#010101', '#020202', '#020202'], 2, ['a', 'b']) == ['#010101', '#020202']
    for words, count, names, fault in (
        (named, 2, ['car', 'bus'], "no colour for the class 'bus'; there are colours for Sky, road, car"),
        (named, 2, None, '3 given for 2 classes: give one colour per class; --class_names selects'),
        (['#010101'], 2, None, '1 given for 2 classes'),
        (['#010101', '#020202', '#010101'], 3, None, 'classes 0 and 2 have the same colour, #010101'),
    ):
        with pytest.raises(DanluError, match=re.escape(fault)):
            fitted(words, count, names)
