"""The text of a PDF that Chromium printed: plain objects, deflated streams, fonts with tables of their characters."""

import re
import unicodedata
import zlib


def page_texts(path):
    """Return the text of each page of the PDF at `path` (list of str), without blanks."""
    objects = {
        int(number): body for number, body in re.findall(rb'(\d+) 0 obj\s(.*?)\sendobj', path.read_bytes(), re.DOTALL)
    }
    pages = [body for body in objects.values() if re.search(rb'/Type\s*/Page\b', body)]
    return [_text_of(body, objects) for body in pages]


def _text_of(page, objects):
    """Return the text (str) of a page (bytes of its object); objects: dict from a number to bytes."""
    fonts = {name: _characters(objects[int(font)], objects) for name, font in re.findall(rb'/(F\d+) (\d+) 0 R', page)}
    content = _stream(objects[int(re.search(rb'/Contents (\d+) 0 R', page)[1])])
    parts, font = [], {}
    for name, glyphs in re.findall(rb'/(F\d+) \S+ Tf|<([0-9A-F]+)>', content):
        font = fonts[name] if name else font
        parts += [font.get(int(code, 16), '?') for code in re.findall(rb'.{4}', glyphs)]
    return ''.join(unicodedata.normalize('NFKC', ''.join(parts)).split())  # NFKC: no ligatures


def _characters(font, objects):
    """Return the text of each glyph of a font: dict from int to str."""
    table = _stream(objects[int(re.search(rb'/ToUnicode (\d+)', font)[1])]).decode()
    found = {int(code, 16): chr(int(text, 16)) for code, text in re.findall(r'(?m)^<(\w+)> <(\w{4})>$', table)}
    for first, last, text in re.findall(r'<(\w+)> <(\w+)> <(\w{4})>', table):
        found |= {code: chr(int(text, 16) + code - int(first, 16)) for code in range(int(first, 16), int(last, 16) + 1)}
    return found


def _stream(body):
    head, _, content = body.partition(b'stream\n')
    content = content[: content.rindex(b'endstream')]
    return zlib.decompressobj().decompress(content) if b'FlateDecode' in head else content
