"""--palette: colours of the classes, from a file or given. Imports no torch.

In the options a palette is a list of words '#rrggbb' or 'name=#rrggbb'; once the classes are known, of one '#rrggbb'
for each, in order: that is what args.txt and checkpoints keep, as the file may be gone.
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
    """Return whether all of some words (list of str) are colours, with names or without."""
    return all(WORD.fullmatch(word) for word in words)


def read_palette(path):
    """Return the words (list of str) that a file stands for.

    Args:
        path: a text file with a line per class: a colour, #rrggbb or three numbers of 0..255, with the class's name
            before or behind it; blanks, tabs or commas separate, `#` and a blank begin a comment, a first line
            `name,r,g,b` is a heading. Or a PNG file with a palette, as masks of PASCAL VOC are.

    Raises:
        DanluError: the file cannot be read, or naming it and the line that is wrong.
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
            raise DanluError(f'{path}, line {number}: {name!r} is there twice, in line {places[name]} too')
        places[name] = number
        words.append(f'{name}={colour}' if name else colour)
    if not words:
        raise DanluError(f'{path!r} holds no colour; a line per class: {LINES}')
    unnamed = sum('=' not in word for word in words)
    if 0 < unnamed < len(words):
        raise DanluError(f'{path!r}: {unnamed} of {len(words)} colours have no name; name all or none')
    return words


def _name_and_colour(columns):
    """Return the name (str, '' for none) and the colour '#rrggbb' of a line's columns; ValueError: what is wrong."""
    for start, end in ((0, 1), (len(columns) - 1, len(columns))):
        if COLOUR.fullmatch(columns[start]):
            return ' '.join(columns[:start] + columns[end:]), columns[start].lower()
    for start in (0, len(columns) - 3):
        levels = columns[start : start + 3] if start >= 0 else []
        if len(levels) == 3 and all(re.fullmatch(r'[+-]?\d{1,9}', level) for level in levels):
            name = ' '.join(columns[:start] + columns[start + 3 :])
            wrong = [level for level in levels if not 0 <= int(level) <= 255]
            if wrong:
                raise ValueError(f'{wrong[0]} is no level of a colour, which are 0..255')
            return name, '#{:02x}{:02x}{:02x}'.format(*map(int, levels))
    raise ValueError(f'{" ".join(columns)!r} has no colour; {LINES}')


def _palette_of(path):
    """Return the colours (list of str) of a PNG file's palette."""
    from PIL import Image

    try:
        with Image.open(regular(path), formats=['PNG']) as picture:
            mode, levels = picture.mode, picture.getpalette('RGB') if picture.mode == 'P' else None
    except (OSError, SyntaxError, ValueError) as error:
        raise DanluError(f'{path!r} cannot be read: {error}') from None
    if levels is None:
        raise DanluError(f'{path!r} is a picture of mode {mode}, which has no palette; give one of mode P or a text')
    return ['#{:02x}{:02x}{:02x}'.format(*levels[place : place + 3]) for place in range(0, len(levels), 3)]


def names_in(words):
    """Return the names (list of str) of a palette's words, or None: they have none."""
    names = [WORD.fullmatch(word)[1] for word in words]
    return names if names and all(names) else None


def fitted(words, num_classes, class_names):
    """Return the colours of the classes, list of K '#rrggbb'.

    Args:
        words: list of '#rrggbb', of which the first K count, or of 'name=#rrggbb', which are looked up by the names of
            the classes where these have some, small and capital letters being the same.
        num_classes: K.
        class_names: list of K str, or None.

    Raises:
        DanluError: a class has no colour, or two have the same.
    """
    names, colours = names_in(words), [WORD.fullmatch(word)[2].lower() for word in words]
    if names and class_names:
        forms = list(map(to_nfc, names))
        known = dict(zip(map(str.casefold, forms), colours, strict=True)) | dict(zip(forms, colours, strict=True))
        found = [known.get(form, known.get(form.casefold())) for form in map(to_nfc, class_names)]
        if None in found:
            lacking = class_names[found.index(None)]
            raise DanluError(f'no colour for the class {lacking!r}; there is one for {", ".join(names[:20])}')
    elif len(colours) < num_classes or (names and len(colours) != num_classes):
        hint = '; --class_names says which of them count' if names and len(colours) > num_classes else ''
        raise DanluError(f'{len(colours)} given for {num_classes} classes: give one colour per class{hint}')
    else:
        found = colours[:num_classes]
    for label, colour in enumerate(found):
        if found.index(colour) != label:
            raise DanluError(f'classes {found.index(colour)} and {label} have the same colour, {colour}')
    return found


def not_classes(words, colours, ignore_index):
    """Return the colours (list of '#rrggbb') of a palette whose pixels in masks do not count, or None: there are none.

    Args:
        words: as for `fitted`, before that.
        colours: of the classes, as `fitted` returns them.
        ignore_index: the label that does not count (int).
    """
    all_colours = [WORD.fullmatch(word)[2].lower() for word in words]
    if not names_in(words):  # the position is the label
        all_colours = all_colours[ignore_index : ignore_index + 1]
    return sorted({*all_colours} - {*colours}) or None
