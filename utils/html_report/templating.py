"""The Jinja2 environment of the pages."""

from pathlib import Path

from utils.base.errors import DanluError
from utils.html_report.confusion_matrix import short_count

TEMPLATES = Path(__file__).parent / 'templates'


def environment():
    """Return the jinja2.Environment of the pages.

    Raises:
        DanluError: Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise DanluError('an HTML page needs Jinja2, which is not installed: pip install "jinja2>=3.1.6"') from error
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters['short_count'] = short_count
    found.policies['json.dumps_kwargs'] = {'sort_keys': False}
    return found
