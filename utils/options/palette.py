"""--palette: colours of the classes, from a file or the command line. Imports no torch.

A palette is a list of words '#rrggbb' or 'name=#rrggbb'; once the classes are known, one '#rrggbb' per class in the
order of the labels. args.txt and checkpoints keep these colours, not the path of the file.
"""

import re

from utils.base.errors import DanluError
from utils.base.file_names import to_nfc
from utils.base.regular_files import read_regular_bytes, regular

COLOUR = re.compile(r'#[0-9a-fA-F]{6}')
WORD = re.compile(r'(?:(.+)=)?(#[0-9a-fA-F]{6})', re.DOTALL)
PNG = b'\x89PNG'
HEADER = ['name', 'r', 'g', 'b']
LINES = 'name r g b, name #rrggbb, r g b name, or a colour without a name'


def is_palette(words):
    """Return whether all words (list of str) are colours, with or without names (bool)."""
    return all(WORD.fullmatch(word) for word in words)


def read_palette(path):
    """Return the colours in a file (list of '#rrggbb' or 'name=#rrggbb').

    Args:
        path: a text file with one line per class: a colour, #rrggbb or three numbers of 0..255, before or after the
            name of the class. Blanks, tabs or commas separate, `#` and a blank begin a comment, a first line
            `name,r,g,b` is a header. Or a PNG file with a palette, such as a mask of PASCAL VOC.

    Raises:
        DanluError: the file cannot be read, or a line is invalid.
    """
    try:
        content = read_regular_bytes(path)
    except OSError as error:
        raise DanluError(f'{path!r} cannot be read: {error.strerror}') from None
    if content.startswith(PNG):
        return _palette_of(path)
    try:
        lines = content.decode('utf-8-sig').splitlines()
    except UnicodeDecodeError:
        raise DanluError(f'{path!r} is neither UTF-8 text nor a PNG file') from None
    words, places = [], {}
    for number, line in enumerate(lines, 1):
        columns = re.split(r'[\s,]+', line.strip(' \t,'))
        if columns == [''] or (columns[0].startswith('#') and not COLOUR.fullmatch(columns[0])):
            continue
        if not words and [column.lower() for column in columns] == HEADER:
            continue
        try:
            name, colour = _name_and_colour(columns)
        except ValueError as error:
            raise DanluError(f'{path}, line {number}: {error}') from None
        if name and name in places:
            raise DanluError(f'{path}, line {number}: {name!r} occurs twice, also in line {places[name]}')
        places[name] = number
        words.append(f'{name}={colour}' if name else colour)
    if not words:
        raise DanluError(f'{path!r} holds no colour; give one line per class: {LINES}')
    unnamed = sum('=' not in word for word in words)
    if 0 < unnamed < len(words):
        raise DanluError(f'{path!r}: {unnamed} of {len(words)} colours have no name; name all or none of them')
    return words


def _name_and_colour(columns):
    """Return the name (str, '' for none) and the colour '#rrggbb' of a line, or raise ValueError."""
    for start, end in ((0, 1), (len(columns) - 1, len(columns))):
        if COLOUR.fullmatch(columns[start]):
            return ' '.join(columns[:start] + columns[end:]), columns[start].lower()
    for start in (0, len(columns) - 3):
        levels = columns[start : start + 3] if start >= 0 else []
        if len(levels) == 3 and all(re.fullmatch(r'[+-]?\d{1,9}', level) for level in levels):
            name = ' '.join(columns[:start] + columns[start + 3 :])
            wrong = [level for level in levels if not 0 <= int(level) <= 255]
            if wrong:
                raise ValueError(f'{wrong[0]} is not in 0..255')
            return name, hex_of(levels)
    raise ValueError(f'{" ".join(columns)!r} has no colour; {LINES}')


def _palette_of(path):
    """Return the colours (list of str) in the palette of a PNG file."""
    from PIL import Image

    try:
        with Image.open(regular(path), formats=['PNG']) as picture:
            mode, levels = picture.mode, picture.getpalette('RGB') if picture.mode == 'P' else None
    except (OSError, SyntaxError, ValueError) as error:
        raise DanluError(f'{path!r} cannot be read: {error}') from None
    if levels is None:
        raise DanluError(f'{path!r} is an image of mode {mode}, without a palette; give mode P or a text file')
    return [hex_of(levels[place : place + 3]) for place in range(0, len(levels), 3)]


def hex_of(colour):
    """Return '#rrggbb' for three levels of 0..255."""
    return '#{:02x}{:02x}{:02x}'.format(*map(int, colour))


def names_in(words):
    """Return the names (list of str) in a palette, or None if its colours have no names."""
    names = [WORD.fullmatch(word)[1] for word in words]
    return names if names and all(names) else None


def fitted(words, num_classes, class_names):
    """Return the colours of the classes (list of K '#rrggbb').

    Args:
        words: list of '#rrggbb', of which the first K count, or of 'name=#rrggbb', which are looked up by class name,
            ignoring case.
        num_classes: K.
        class_names: list of K str, or None.

    Raises:
        DanluError: a class has no colour, or two classes have the same colour.
    """
    names, colours = names_in(words), [WORD.fullmatch(word)[2].lower() for word in words]
    if names and class_names:
        forms = list(map(to_nfc, names))
        known = dict(zip(map(str.casefold, forms), colours, strict=True)) | dict(zip(forms, colours, strict=True))
        found = [known.get(form, known.get(form.casefold())) for form in map(to_nfc, class_names)]
        if None in found:
            lacking = class_names[found.index(None)]
            raise DanluError(f'no colour for the class {lacking!r}; there are colours for {", ".join(names[:20])}')
    elif len(colours) < num_classes or (names and len(colours) != num_classes):
        hint = '; --class_names selects among them' if names and len(colours) > num_classes else ''
        raise DanluError(f'{len(colours)} given for {num_classes} classes: give one colour per class{hint}')
    else:
        found = colours[:num_classes]
    for label, colour in enumerate(found):
        if found.index(colour) != label:
            raise DanluError(f'classes {found.index(colour)} and {label} have the same colour, {colour}')
    return found


def not_classes(words, colours, ignore_index):
    """Return the colours (list of '#rrggbb') of a palette whose pixels in masks are ignored, or None.

    Args:
        words: as for `fitted`.
        colours: of the classes, as `fitted` returns them.
        ignore_index: the label that is ignored (int).
    """
    all_colours = [WORD.fullmatch(word)[2].lower() for word in words]
    if not names_in(words):  # the position of a colour is its label
        all_colours = all_colours[ignore_index : ignore_index + 1]
    return sorted({*all_colours} - {*colours}) or None
