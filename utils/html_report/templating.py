"""The Jinja2 environment of the pages."""

import re
from functools import cache
from pathlib import Path

from utils.base.errors import DanluError
from utils.base.language import catalogue, current_language, plural, sentence_gap, translate
from utils.html_report.class_labels import shortened
from utils.html_report.confusion_matrix import short_count

TEMPLATES = Path(__file__).parent / 'templates'


def environment():
    """Return the jinja2.Environment of the pages.

    Raises:
        DanluError: Jinja2 is not installed.
    """
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise DanluError('an HTML page needs Jinja2, which is not installed: pip install "jinja2>=3.1.6"') from error
    return _environment()


@cache  # it keeps the compiled templates
def _environment():
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {'short_count': short_count, 'shortened': shortened, 'breakable': _breakable}
    found.globals |= {'translate': _translate_markup, 'language': current_language, 'sentence_gap': sentence_gap}
    found.globals |= {'catalogue': catalogue, 'plural': plural}
    found.policies['json.dumps_kwargs'] = {'sort_keys': False}
    return found


def _breakable(name):
    """Return the name of a column (str) as Markup whose lines may break after '_' and '/'."""
    from markupsafe import Markup, escape

    return Markup(re.sub('(?<=[_/])', '<wbr>', escape(name)))


def _translate_markup(text, **values):
    """Return what `translate` does, as Markup: all is escaped but values that are Markup."""
    from markupsafe import Markup, escape  # comes with Jinja2

    found = Markup(escape(translate(text)))
    return found.format(**values) if values else found
