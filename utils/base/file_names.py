"""One rule for names of files and classes: they are UTF-8, and a class is the same class in every Unicode form."""

import os
import unicodedata

RENAME_HINT = (
    'rename it, for example with "convmv -r -f gbk -t utf-8 --notest DIRECTORY", or unpack the archive again with its '
    'encoding, "unzip -O gbk FILE.zip" (gbk: of a Chinese Windows)'
)


def to_nfc(text):
    """Return a class name (str) in Unicode form NFC, by which class names are compared.

    macOS and some archives spell 'é' as 'e' with a combining accent (NFD); both look the same and are the same class.
    """
    return unicodedata.normalize('NFC', text)


def unicode_form_hint(path):
    """Return a hint (str) for a file that is not there: that the same name stands there in another Unicode form."""
    for form in ('NFC', 'NFD'):
        if os.path.exists(unicodedata.normalize(form, os.fspath(path))):
            return f'; a file there has this name in the Unicode form {form}: write the name so, or rename the file'
    return ''


def name_fault(name):
    """Return why the name of a file (str, as Python gives it) cannot be used (str), or None.

    Results, logs and checkpoints are UTF-8 text, which cannot hold such a name.
    """
    try:
        os.fsencode(name).decode('utf-8')
    except UnicodeError:
        return f'its name is not UTF-8; {RENAME_HINT}'
    return None


def printable(name):
    """Return the name of a file (str) as text that can be printed: bytes that are not UTF-8 become escape sequences."""
    try:
        return name.encode('utf-8', 'surrogateescape').decode('utf-8', 'backslashreplace')
    except UnicodeEncodeError:  # half of a surrogate pair, as JSON can spell it
        return name.encode('utf-8', 'backslashreplace').decode('utf-8')
