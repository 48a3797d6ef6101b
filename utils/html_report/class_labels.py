"""Names of classes on a page: long ones are cut in the middle, to a width in pixels."""

from utils.base.middle_cut import cut_middle

CHARACTER_WIDTH = 7.0  # pixels, approximately
FULL_WIDTH = 11.5  # pixels of a full-width (CJK) character
MAX_LABEL_WIDTH = 130  # pixels, of the labels of a confusion matrix
MAX_NAME_WIDTH = 250  # pixels, of names in tables, legends and axis titles


def text_width(text):
    """Return the approximate width of a text in pixels (float)."""
    return sum(CHARACTER_WIDTH if ord(character) < 0x1100 else FULL_WIDTH for character in text)


def shortened(text, max_width=MAX_NAME_WIDTH):
    """Return a text (str) of at most `max_width` pixels, without its middle if it is longer."""
    return cut_middle(text, max_width, text_width)


def name_cell(name):
    """Return the table cell (dict) of a name: a long one is cut, and its title is the whole name."""
    short = shortened(name)
    return {'text': short} if short == name else {'text': short, 'title': name}
