"""Names of files and classes: files need UTF-8 names, and classes are equal in every Unicode form."""

import os
import re
import unicodedata

RENAME_HINT = (
    'rename it, for example with "convmv -r -f gbk -t utf-8 --notest DIRECTORY", or unpack the archive again with its '
    'encoding, "unzip -O gbk FILE.zip" (gbk: of a Chinese Windows)'
)
MAX_SAMPLE_CHARS = 80  # of the name of a sample in the name of a file


def to_nfc(text):
    """Return a class name (str) in Unicode form NFC, in which class names are compared.

    macOS and some archives store 'é' as 'e' with a combining accent (NFD); both look the same and are the same class.
    """
    return unicodedata.normalize('NFC', text)


def unicode_form_hint(path):
    """Return a hint (str) for a missing file whose name exists in another Unicode form."""
    for form in ('NFC', 'NFD'):
        if os.path.exists(unicodedata.normalize(form, os.fspath(path))):
            return f'; a file there has this name in the Unicode form {form}: write the name so, or rename the file'
    return ''


def name_fault(name):
    """Return why the name of a file (str, as Python gives it) cannot be used (str), or None.

    Results, logs and checkpoints are UTF-8 text, which cannot contain such names.
    """
    try:
        os.fsencode(name).decode('utf-8')
    except UnicodeError:
        return f'its name is not UTF-8; {RENAME_HINT}'
    return None


def file_name_of(sample):
    """Return the name of a sample (str) fit for a file: the end of its path, without what file systems refuse."""
    return re.sub(r'[^\w.-]+', '_', os.path.splitext(sample)[0])[-MAX_SAMPLE_CHARS:]


def printable(name):
    """Return the name of a file (str) as printable text: bytes that are not UTF-8 become escape sequences."""
    try:
        return name.encode('utf-8', 'surrogateescape').decode('utf-8', 'backslashreplace')
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can contain
        return name.encode('utf-8', 'backslashreplace').decode('utf-8')


def short_path(path):
    """Return a path (str) relative to the working directory if it is below it, else as it is."""
    return path if not path or os.path.relpath(path).startswith('..') else os.path.relpath(path)
