"""Text in any script: fonts, line breaks, and characters without a font."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from utils.drawing import fonts

MISSING = '\U0001fffd'  # a place that no character will ever have


def drawn(text, size=20):
    """Return a line of text as a grey array, ink below 255."""
    canvas = Image.new('RGB', (400, 2 * size), 'white')
    fonts.write(ImageDraw.Draw(canvas), (5, 0), text, size, (0, 0, 0))
    return np.asarray(canvas.convert('L'))


@pytest.fixture
def no_system_fonts(monkeypatch):
    """Hide all fonts except those of Pillow and matplotlib."""
    monkeypatch.setattr('matplotlib.font_manager.findSystemFonts', lambda: [])
    for cached in (fonts._files, fonts.face_of):
        cached.cache_clear()
    yield
    for cached in (fonts._files, fonts.face_of):
        cached.cache_clear()


def test_ascii_takes_no_other_font():
    assert fonts.drawable('pred: cat') == (fonts.BUNDLED_FONT, 'pred: cat')
    assert fonts.length('cat', 20) == pytest.approx(fonts.length('cat', 40) / 2, abs=2)


def test_accents_are_of_the_font_of_their_word_and_however_they_are_stored():
    face, text = fonts.drawable('pred: A\u0308gypten')  # as macOS names files
    assert (face.path.endswith('DejaVuSans.ttf'), text) == (True, 'pred: Ägypten')
    assert fonts.class_label(0, ['Ägypten']) == 'Ägypten'


def test_characters_that_no_font_has_are_not_drawn_as_boxes(no_system_fonts):
    assert fonts.missing_characters('猫 cat') == '猫'
    assert fonts.class_label(2, ['a', 'b', '猫']) == '2'
    assert fonts.class_label(0, ['猫 (cat)']) == '0 (cat)'
    assert np.array_equal(drawn('猫 é'), drawn('? é'))
    assert fonts.drawable('a猫')[1] == 'a?'


def test_missing_fonts_are_reported_once_with_a_remedy(no_system_fonts):
    [note] = fonts.note_of_fonts(['cat', '猫', '狗'])
    assert "no font here has 猫 of the class name '猫' (and 1 more)" in note
    assert 'fonts-noto-cjk' in note
    assert fonts.note_of_fonts(['cat', 'Ägypten']) == fonts.note_of_fonts(None) == []


def test_invisible_characters_and_tabs_are_no_boxes():
    assert fonts.drawable('a\u200db\tc')[1] == 'ab c'
    assert fonts.drawable(MISSING)[1] == '?'


def test_chinese_is_drawn_where_a_font_has_it():
    face, missing = fonts.face_of('猫')
    if missing:
        pytest.skip('no font with Chinese is installed here')
    assert fonts.class_label(0, ['猫']) == '猫'
    assert fonts.drawable('猫 cat') == (face, '猫 cat')
    ink, other = drawn('猫'), drawn('狗')
    assert 30 < (ink < 128).sum() < 300
    assert not np.array_equal(ink, other)  # as two boxes would be
    rows = np.flatnonzero((ink < 128).any(1))
    assert rows[0] >= 0
    assert rows[-1] < fonts.line_height(20)
    assert fonts.length('猫', 20) == 20


def test_a_collection_gives_the_face_of_simplified_chinese():
    face, missing = fonts.face_of('直')
    if missing or 'CJK' not in face.path or not face.path.endswith('.ttc'):
        pytest.skip('Noto Sans CJK is not installed here')
    assert fonts._font(face, 16).getname()[0].endswith('SC')


def test_a_damaged_font_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / 'torn.ttf').write_bytes(b'\0\1\0\0' + b'x' * 50)
    monkeypatch.setattr(fonts, '_files', lambda: [str(tmp_path / 'torn.ttf'), str(tmp_path / 'gone.ttf')])
    fonts.face_of.cache_clear()
    assert fonts.face_of('é') == (fonts.BUNDLED_FONT, 'é')
    fonts.face_of.cache_clear()


def test_lines_are_broken_where_words_end():
    width = fonts.length('straight stroke', 13)
    assert fonts.wrapped('straight stroke going down', 13, width, 2) == ['straight stroke', 'going down']
    assert fonts.wrapped('straight_stroke_going_down', 13, width, 2) == ['straight_', 'strok..._down']
    assert fonts.wrapped('cat', 13, width, 2) == ['cat']
    lines = fonts.wrapped('W' * 100, 13, 100, 3)
    assert len(lines) == 3
    assert all(fonts.length(line, 13) <= 100 for line in lines)
    assert 'W...W' in lines[-1]


def test_text_that_is_too_wide_loses_its_middle():
    short = fonts.shortened('pred: ' + 'W' * 200 + 'end', 13, 100)
    assert short.startswith('pred')
    assert short.endswith('Wend')
    assert 85 < fonts.length(short, 13) <= 100
    assert fonts.shortened('pred: cat', 13, 100) == 'pred: cat'


def test_a_class_without_a_name_is_written_as_its_number():
    assert [fonts.class_label(index, ['cat', 'dog']) for index in (0, -1, 255)] == ['cat', '-1', '255']
    assert fonts.class_label(2, None) == '2'


def test_matplotlib_gets_families_that_have_the_characters():
    families = fonts.families_of(['cat', 'Ägypten', '猫'])
    assert families[0] == 'DejaVu Sans'
    assert len(families) == 1 + (not fonts.missing_characters('猫'))
