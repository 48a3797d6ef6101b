"""confusion_matrix.svg and confusion_matrix.png."""

from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from utils.base.language import use_language
from utils.html_report.matrix_pictures import FIELD, PNG_SCALE, RIGHT, percent, write_matrix_pictures

NAMES = ['cat', 'dog & <fox>', '鸟']
MATRIX = np.array([[30, 0, 10], [0, 7, 0], [0, 0, 0]])


@pytest.fixture
def drawn(tmp_path):
    """Return a function: matrix, names -> the root of the SVG, the pixels of the PNG (H, W, 3)."""

    def draw(matrix, names):
        write_matrix_pictures(tmp_path, matrix, names)
        root = ElementTree.parse(tmp_path / 'confusion_matrix.svg').getroot()
        return root, np.asarray(Image.open(tmp_path / 'confusion_matrix.png'))

    return draw


def texts_of(root):
    """Return the texts (list of str) of an SVG."""
    return [element.text for element in root if element.text and element.text.strip()]


def test_a_cell_has_its_count_and_percent_of_the_true_class(drawn):
    root, _ = drawn(MATRIX, NAMES)
    texts = texts_of(root)
    assert texts[:2] == ['prediction', 'truth']
    assert texts[2:8] == [name for name in NAMES for _ in range(2)], 'of rows and columns'
    assert texts[8:] == ['30', '75 %', '10', '25 %', '7', '100 %']


def test_both_files_show_the_same_cells(drawn):
    root, pixels = drawn(MATRIX, NAMES)
    assert pixels.shape == (PNG_SCALE * int(root.get('height')), PNG_SCALE * int(root.get('width')), 3)
    assert len(root.findall('{*}rect')) == 2 + 3, 'the paper, the field and a rectangle for each cell above 0'
    for rect in root.findall('{*}rect'):
        ends = (('y', 'height'), ('x', 'width'))
        corner = [PNG_SCALE * sum(float(rect.get(name)) for name in pair) - 2 for pair in ends]  # not at the first cell
        assert rect.get('fill') == '#{:02x}{:02x}{:02x}'.format(*pixels[tuple(map(round, corner))])
    assert (pixels == RIGHT).all(-1).any(), 'a class without errors has the full colour'
    assert (pixels == FIELD).all(-1).any()


def test_of_very_many_classes_those_with_errors_are_drawn_and_the_picture_says_so(drawn):
    matrix = np.diag(np.full(130, 50))
    matrix[3, 125] = 4
    root, _ = drawn(matrix, [f'class{index}' for index in range(130)])
    texts = texts_of(root)
    assert texts[0] == 'prediction (the 100 classes with the most errors; 30 more are left out)'
    assert texts.count('class3') == texts.count('class125') == 2
    assert len(texts) == 2 + 200, 'and no numbers, for which cells are too small'


def test_the_axes_are_chinese_in_svg_and_in_png_if_a_font_has_the_characters(drawn, monkeypatch):
    written = []
    monkeypatch.setattr('utils.html_report.matrix_pictures.write', lambda draw, at, text, *rest: written.append(text))
    with use_language('zh'):
        for missing, axes in (('', ['预测', '真实值']), ('预测', ['prediction', 'truth'])):
            monkeypatch.setattr('utils.html_report.matrix_pictures.missing_characters', lambda text, gap=missing: gap)
            root, _ = drawn(MATRIX, NAMES)
            assert texts_of(root)[:2] == ['预测', '真实值']
            assert written[:2] == axes
            written.clear()
        root, _ = drawn(np.eye(130, dtype=int), [str(index) for index in range(130)])
    assert texts_of(root)[0] == '预测（错误最多的 100 个类别，省略其余 30 个）'


def test_small_shares_are_not_called_0():
    assert [percent(share) for share in (0.0, 1e-5, 0.034, 0.0996, 1.0)] == ['0 %', '< 0.1 %', '3.4 %', '10 %', '100 %']
