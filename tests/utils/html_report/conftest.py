"""A browser that opens pages as a reader does."""

import os
import shutil
from pathlib import Path

import pytest

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
SIZES = {'desktop': (1200, 900), 'phone': (390, 844)}


@pytest.fixture(scope='module')
def browser():
    """Return a Chromium that is driven as a reader would."""
    playwright = pytest.importorskip(
        'playwright.sync_api', reason='playwright drives the browser: pip install playwright'
    )
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f'none of {", ".join(BROWSERS)} is installed')
    with playwright.sync_playwright() as driver:
        # As root, as in most containers, its own sandbox does not start.
        words = ['--no-sandbox'] if os.geteuid() == 0 else []
        started = driver.chromium.launch(executable_path=program, args=words)
        yield started
        started.close()


@pytest.fixture
def opened(browser):
    """Return a function: a test, or the path of a page -> the page in a browser.

    What goes wrong in there, or asks for a network, fails.
    """
    faults, contexts = [], []

    def note(request):
        if not request.url.startswith(('file:', 'data:')):
            faults.append(request.url)

    def open_page(test, size='desktop', **given):
        context = browser.new_context(viewport=dict(zip(('width', 'height'), SIZES[size], strict=True)), **given)
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(120_000)
        tab.on('pageerror', lambda error: faults.append(str(error)))
        tab.on('console', lambda message: faults.append(message.text) if message.type == 'error' else None)
        tab.on('request', note)
        path = test if isinstance(test, Path) else test.directory / 'report.html'
        tab.goto(path.as_uri())
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []
