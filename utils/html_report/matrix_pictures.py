"""confusion_matrix.svg and confusion_matrix.png: the matrix of a page as files of their own, with counts and percent.

Both are drawn from the same shapes; no matplotlib, whose import would take longer than a small test.
"""

import math
from html import escape

import numpy as np
from PIL import Image, ImageDraw

from utils.base.language import ENGLISH, current_language, translate, use_language
from utils.base.regular_files import write_regular_text
from utils.drawing.fonts import length, missing_characters, write
from utils.html_report.confusion_matrix import matrix_layout, short_count
from utils.options.palette import hex_of
from utils.viz import save_picture

SVG_NAME, PNG_NAME = 'confusion_matrix.svg', 'confusion_matrix.png'
PNG_SCALE = 2  # pixels of the PNG per pixel of the SVG
TITLE_MARGIN = 24  # pixels for the names of the axes
MIN_SIDE_WITH_PERCENT = 40  # pixels of a cell that has the percent of the row below the count
COUNT_SIZE, PERCENT_SIZE, TITLE_SIZE = 12, 9, 14  # pixels
# The colours of the page's light theme; see templates/style.css.
PAPER, FIELD, INK, SOFT = (255, 255, 255), (246, 247, 249), (27, 31, 36), (91, 100, 112)
RIGHT, WRONG = (0, 114, 178), (200, 50, 30)
MIN_DARK_OPACITY = 0.6  # opacity from which the text of a cell is white


class SvgCanvas:
    """Shapes as SVG; `text` returns the file's text (str)."""

    def __init__(self, size):
        self.size, self.parts = size, []
        self.rect(0, 0, size, size, PAPER)

    def rect(self, x, y, width, height, colour):
        """Fill a rectangle."""
        self.parts.append(f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{hex_of(colour)}"/>')

    def write(self, x, y, text, size, colour, anchor='middle', upright=False):
        """Write text centred vertically at y; `upright`: rotated by 90 degrees, from bottom to top, around (x, y)."""
        turn = ' rotate(-90)' if upright else ''
        self.parts.append(
            f'<text transform="translate({x:g} {y:g}){turn}" y="{0.35 * size:.2f}" font-size="{size}" '
            f'text-anchor="{anchor}" fill="{hex_of(colour)}">{escape(text)}</text>'
        )

    def can_write(self, text):
        """Return whether the text is legible (bool): always, in the fonts of whoever opens the file."""
        return True

    @property
    def text(self):
        """The SVG file (str)."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.size}" height="{self.size}" '
            f'viewBox="0 0 {self.size} {self.size}" font-family="sans-serif">'
        )
        return '\n'.join([head, *self.parts, '</svg>', ''])


class PngCanvas:
    """The same shapes as pixels; `picture` is the image, uint8 (H, W, 3)."""

    def __init__(self, size):
        self.image = Image.new('RGB', (size * PNG_SCALE,) * 2, PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def rect(self, x, y, width, height, colour):
        """Fill a rectangle."""
        left, top, right, bottom = (round(PNG_SCALE * end) for end in (x, y, x + width, y + height))
        self.draw.rectangle((left, top, right - 1, bottom - 1), fill=colour)

    def write(self, x, y, text, size, colour, anchor='middle', upright=False):
        """Write text as SvgCanvas.write does."""
        x, y, size = PNG_SCALE * x, PNG_SCALE * y, PNG_SCALE * size
        width = length(text, size)
        start = {'start': 0, 'middle': width / 2, 'end': width}[anchor]
        if not upright:
            write(self.draw, (round(x - start), round(y - 0.65 * size)), text, size, colour)
            return
        mask = Image.new('L', (width, 2 * size))
        write(ImageDraw.Draw(mask), (0, round(0.35 * size)), text, size, 255)
        self.image.paste(colour, (round(x - size), round(y - width + start)), mask.rotate(90, expand=True))

    def can_write(self, text):
        """Return whether a font that is installed here has the characters of a text (bool)."""
        return not missing_characters(text)

    @property
    def picture(self):
        """The image, uint8 (H, W, 3)."""
        return np.asarray(self.image)


def write_matrix_pictures(folder, matrix, names):
    """Write confusion_matrix.svg and confusion_matrix.png.

    Of more classes than confusion_matrix.MAX_CLASSES, those with the most errors are drawn, and the pictures say so.

    Args:
        folder: Path of the directory.
        matrix: (K, K) int: truth by prediction.
        names: names of the classes (list of str).
    """
    layout = matrix_layout(matrix, names)
    svg, png = SvgCanvas(_size(layout)), PngCanvas(_size(layout))
    for canvas in (svg, png):
        draw_matrix(canvas, layout)
    write_regular_text(folder / SVG_NAME, svg.text)
    save_picture(folder / PNG_NAME, png.picture)


def _size(layout):
    """Return the width and height of the picture (int, pixels)."""
    return math.ceil(layout['size']) + TITLE_MARGIN + 8


def draw_matrix(canvas, layout):
    """Draw a confusion matrix.

    Args:
        canvas: SvgCanvas or PngCanvas.
        layout: dict that matrix_layout returned.
    """
    origin, side = TITLE_MARGIN + layout['margin'], layout['side']
    canvas.rect(origin, origin, layout['span'], layout['span'], FIELD)
    middle = origin + layout['span'] / 2
    with use_language(current_language() if canvas.can_write(translate('prediction')) else ENGLISH):
        columns, rows = translate('prediction'), translate('truth')
        if layout['left_out']:
            counts = {'shown': len(layout['labels']), 'others': layout['left_out']}
            columns = translate(
                '{title} (the {shown} classes with the most errors; {others} more are left out)',
                title=columns,
                **counts,
            )
    canvas.write(middle, TITLE_MARGIN / 2, columns, TITLE_SIZE, INK)
    canvas.write(TITLE_MARGIN / 2, middle, rows, TITLE_SIZE, INK, upright=True)
    for index, label in enumerate(layout['labels']):
        at = origin + (index + 0.5) * side
        canvas.write(origin - 6, at, label, layout['font_size'], INK, anchor='end')
        canvas.write(at, origin - 6, label, layout['font_size'], INK, anchor='start', upright=True)
    for cell in layout['cells']:
        _draw_cell(canvas, cell, side, layout['has_counts'])


def _draw_cell(canvas, cell, side, has_counts):
    """Draw a cell: the stronger its colour, the larger its share of the row; blue is right, red is wrong."""
    x, y, opacity = cell['x'] + TITLE_MARGIN, cell['y'] + TITLE_MARGIN, cell['opacity']
    full = RIGHT if cell['right'] else WRONG
    colour = tuple(round(opacity * a + (1 - opacity) * b) for a, b in zip(full, FIELD, strict=True))
    canvas.rect(x, y, side - 1, side - 1, colour)
    if not has_counts:
        return
    ink, middle = PAPER if opacity > MIN_DARK_OPACITY else INK, y + side / 2
    with_percent = side >= MIN_SIDE_WITH_PERCENT
    canvas.write(x + side / 2, middle - 7 * with_percent, short_count(cell['count']), COUNT_SIZE, ink)
    if with_percent:
        canvas.write(x + side / 2, middle + 9, percent(cell['share']), PERCENT_SIZE, ink)


def percent(share):
    """Return a share as text (str): 12 %, 3.4 %, < 0.1 %."""
    hundredths = 100 * share
    if 0 < hundredths < 0.05:
        return '< 0.1 %'
    return f'{hundredths:.0f} %' if hundredths >= 9.95 or not hundredths else f'{hundredths:.1f} %'
