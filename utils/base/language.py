"""The language of pages and of the summary in the terminal: English, or Chinese by --lang or the locale.

    with use_language(page_language(args.lang)):
        translate('Show all {count}', count=48)

chinese.json maps each English text to its Chinese one; tests/utils/base/test_language.py compares the file with the
code. Errors, logs and --help are English. Names of classes, metrics, options and files are never translated. Imports no
torch.
"""

import contextlib
import functools
import json
import os
import re
import sys
from contextvars import ContextVar
from pathlib import Path

from utils.base.regular_files import read_regular_text

ENGLISH, CHINESE = 'en', 'zh'
CHOICES = ('auto', ENGLISH, CHINESE)  # of --lang
# Arguments of add_argument for --lang of a script that writes a page.
PAGE_LANGUAGE = {
    'default': 'auto',
    'choices': CHOICES,
    'help': 'language of the page: en, zh (Chinese), or auto: zh where the locale says so',
}
CATALOGUE = Path(__file__).with_name('chinese.json')
LOCALE_VARIABLES = ('LC_ALL', 'LC_MESSAGES', 'LANG')  # the first that is set counts, as POSIX defines

_current = ContextVar('language', default=ENGLISH)


def page_language(choice):
    """Return the language of a page, ENGLISH or CHINESE; `choice`: one of CHOICES, 'auto' for that of the locale."""
    if choice != 'auto':
        return choice
    name = next(filter(None, map(os.environ.get, LOCALE_VARIABLES)), '')
    return CHINESE if re.match('zh([_.@-]|$)', name, re.IGNORECASE) else ENGLISH


def terminal_language(choice):
    """Return the language of text on stdout: as for `page_language`, but ENGLISH if stdout cannot encode Chinese."""
    try:
        '中文：，'.encode(getattr(sys.stdout, 'encoding', None) or 'utf-8')
    except (UnicodeEncodeError, LookupError):
        return ENGLISH
    return page_language(choice)


@contextlib.contextmanager
def use_language(language):
    """Let `translate` return texts of a language, ENGLISH or CHINESE, in the body of the `with`."""
    token = _current.set(language)
    try:
        yield
    finally:
        _current.reset(token)


def current_language():
    """Return the language that `translate` returns texts of, ENGLISH or CHINESE."""
    return _current.get()


def translate(text, **values):
    """Return an English text (str) in the current language, with the `values` of its {placeholders}."""
    text = catalogue().get(text, text)
    return text.format(**values) if values else text


def plural(count, one, many):
    """Return the English text to translate with a count (int): `one` for 1, else `many`; in Chinese `many`."""
    return one if count == 1 and current_language() == ENGLISH else many


def deferred(text):
    """Return a text (str) unchanged: marks it for the catalogue where `translate` gets it from a variable."""
    return text


def labelled(label, value):
    """Return 'label: value' (str) with the colon of the current language; `label` is translated already."""
    return translate('{label}: {value}', label=label, value=value)


def joined(sentences):
    """Return sentences (list of str) as one text (str): Chinese has no blanks between sentences."""
    return sentence_gap().join(filter(None, sentences))


def sentence_gap():
    """Return what separates two sentences (str)."""
    return '' if current_language() == CHINESE else ' '


def catalogue():
    """Return the texts of the current language (dict from English); {} for English."""
    return _chinese() if current_language() == CHINESE else {}


@functools.cache
def _chinese():
    return json.loads(read_regular_text(CATALOGUE))
