"""Text on images in any script, each in one font that has all its characters.

ASCII is written in Pillow's own font. For other text, the first font that has all characters is used: the font that
comes with matplotlib, or a font of the system that matplotlib finds. matplotlib is imported only for such text.
"""

import unicodedata
from functools import cache
from typing import NamedTuple

from PIL import ImageFont

from utils.base.middle_cut import cut_middle
from utils.drawing.matplotlib_import import import_matplotlib

# Preferred fonts with Chinese characters, by the beginning of their file names, on Linux distributions, Windows and
# macOS.
PREFERRED = (
    *('notosanscjk', 'notosanssc', 'sourcehansans', 'wqy-microhei', 'wqy-zenhei', 'droidsansfallback'),
    *('msyh', 'simhei', 'pingfang', 'hiragino sans gb', 'stheiti', 'arialunicode', 'arial unicode'),
)
UNUSUAL = ('bold', 'black', 'thin', 'light', 'medium', 'italic', 'oblique', 'mono', 'condensed')
SIMPLIFIED = (' SC', ' CN', ' GB')  # endings of the names of faces with simplified Chinese glyphs in font collections
LINE = 4 / 3  # line height, as a multiple of the font size


class Face(NamedTuple):
    """A font file ('' for Pillow's own font), and the number of the face in it."""

    path: str
    number: int = 0


BUNDLED_FONT = Face('')


def length(text, size):
    """Return the width of a text in pixels (int)."""
    face, drawn = drawable(text)
    return round(_font(face, size).getlength(drawn))


def line_height(size):
    """Return the height of a line of text in pixels (int)."""
    return round(LINE * size)


def write(draw, place, text, size, colour):
    """Write a line of text.

    Args:
        draw: PIL.ImageDraw.Draw.
        place: (left, top), ints.
        text: str.
        size: of the font, pixels.
        colour: (r, g, b).
    """
    face, drawn = drawable(text)
    draw.text((place[0], place[1] + size), drawn, fill=colour, font=_font(face, size), anchor='ls')


def wrapped(text, size, width, most):
    """Return a text as lines (list of at most `most` str) of at most `width` pixels; the last may end with an ellipsis.

    Lines are broken after blanks and after _ - / , if possible.
    """
    lines, rest = [], text
    while rest and len(lines) < most - 1 and length(rest, size) > width:
        count = _fitting(rest, size, width)
        breaks = [place for place in range(1, count + 1) if rest[place - 1] in ' _-/,']
        breaks += [count + 1] if rest[count] == ' ' else []
        count = breaks[-1] if breaks and breaks[-1] > count // 3 else count
        lines.append(rest[:count].rstrip())
        rest = rest[count:].lstrip()
    return [*lines, shortened(rest, size, width)]


def shortened(text, size, width):
    """Return a text (str) of at most `width` pixels, without its middle if it is longer."""
    return cut_middle(text, width, lambda part: length(part, size), '...')


def _fitting(text, size, width):
    """Return how many characters of a text (int, at least 1) fit into `width` pixels."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if length(text[:middle], size) <= width else (low, middle - 1)
    return low


def class_label(index, names):
    """Return the label of a class on an image (str): its name, or its index without a name.

    If no installed font has all characters of the name, the label is the index and the ASCII part of the name.

    Args:
        index: int.
        names: list of str, or None.
    """
    if names is None or not 0 <= index < len(names):  # an ignored target has no name
        return str(index)
    if not missing_characters(names[index]):
        return names[index]
    plain = unicodedata.normalize('NFKD', names[index]).encode('ascii', 'ignore').decode()
    return f'{index} {plain.strip()}'.strip()


def note_of_fonts(names):
    """Return a line (list of one str) on names that cannot be drawn, with a remedy; [] if all can be drawn.

    Args:
        names: list of str, or None.
    """
    missing = [name for name in names or () if missing_characters(name)]
    if not missing:
        return []
    return [
        f'no font here has {missing_characters(missing[0])} of the class name {missing[0]!r}'
        + (f' (and {len(missing) - 1} more)' if len(missing) > 1 else '')
        + ': images show the number of the class; install a font that has it, for Chinese fonts-noto-cjk or '
        'fonts-wqy-microhei (Debian, Ubuntu), or put its file into ~/.local/share/fonts'
    ]


def missing_characters(text):
    """Return the characters of a text (str) that the font of the text does not have: see `face_of`."""
    return face_of(_clean(text))[1]


def families_of(texts):
    """Return the font families (list of str) in which matplotlib has the characters of the texts."""
    import_matplotlib()
    from matplotlib import font_manager

    families = ['DejaVu Sans']
    for face in dict.fromkeys(face_of(_clean(text))[0] for text in texts):
        if face != BUNDLED_FONT:
            font_manager.fontManager.addfont(face.path)
            families.append(font_manager.FontProperties(fname=face.path).get_name())
    return list(dict.fromkeys(families))


def drawable(text):
    """Return the Face of a text, and the text (str) with '?' for each character that the font does not have."""
    text = _clean(text)
    face, missing = face_of(text)
    return face, ''.join('?' if character in missing else character for character in text)


def _clean(text):
    """Return a text in Unicode form NFC (names of files on macOS are not) without invisible characters."""
    text = unicodedata.normalize('NFC', text)
    kinds = ((character, unicodedata.category(character)) for character in text)
    return ''.join(' ' if kind in ('Cc', 'Zs', 'Zl', 'Zp') else character for character, kind in kinds if kind != 'Cf')


@cache
def face_of(text):
    """Return the Face that has the most characters of a text, and the characters (str) that it does not have."""
    if text.isascii():
        return BUNDLED_FONT, ''
    needed = list(dict.fromkeys(text))
    best = BUNDLED_FONT, ''.join(character for character in needed if not character.isascii())
    for path in _files():
        font = _coverage(path)
        missing = [] if font is None else [each for each in needed if not font.get_char_index(ord(each))]
        if font is not None and len(missing) < len(best[1]) and _draws(path, needed, missing):
            best = Face(path, _face_number(path)), ''.join(missing)
            if not missing:
                break
    return best


@cache
def _files():
    """Return the paths of all installed fonts (list of str), the preferred ones first."""
    import_matplotlib()
    from matplotlib import font_manager, get_data_path

    def rank(path):
        name = path.replace('\\', '/').rpartition('/')[2].lower()
        place = next((place for place, known in enumerate(PREFERRED) if name.startswith(known)), len(PREFERRED))
        return place, any(word in name for word in UNUSUAL), name

    return [f'{get_data_path()}/fonts/ttf/DejaVuSans.ttf', *sorted(font_manager.findSystemFonts(), key=rank)]


@cache
def _coverage(path):
    """Return the FT2Font of a font file, which knows its characters, or None if it cannot be read."""
    import_matplotlib()
    from matplotlib.ft2font import FT2Font

    try:
        return FT2Font(path)
    except (RuntimeError, OSError):  # a damaged font file
        return None


def _draws(path, needed, missing):
    """Return whether Pillow can draw the first character that a font has (bool): it cannot scale coloured bitmaps."""
    first = next(each for each in needed if each not in missing and not each.isascii())
    try:
        return _font(Face(path), 16).getmask(first).getbbox() is not None
    except OSError:
        return False


@cache
def _face_number(path):
    """Return the number (int) of the face with simplified Chinese in a font file, or 0."""
    for number in range(16 if path.lower().endswith(('.ttc', '.otc')) else 0):
        try:
            family = _font(Face(path, number), 16).getname()[0] or ''
        except OSError:  # after the last face
            break
        if family.endswith(SIMPLIFIED):
            return number
    return 0


@cache
def _font(face, size):
    """Return a font; cached, as Pillow unpacks its own font on each call."""
    return ImageFont.truetype(face.path, size, index=face.number) if face.path else ImageFont.load_default(size)
