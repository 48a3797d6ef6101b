"""Opening a page in the browser of a desktop."""

import sys
import webbrowser

import pytest

from utils.base import desktop
from utils.base.desktop import has_desktop, open_in_browser


@pytest.mark.parametrize(
    ('platform', 'environ', 'has'),
    [
        ('linux', {}, False),
        ('linux', {'DISPLAY': ':0'}, True),
        ('linux', {'WAYLAND_DISPLAY': 'wayland-0'}, True),
        ('linux', {'DISPLAY': ':10', 'SSH_CONNECTION': '10.0.0.1 5 10.0.0.2 22'}, False),
        ('darwin', {}, True),
        ('darwin', {'SSH_CONNECTION': '10.0.0.1 5 10.0.0.2 22'}, False),
        ('win32', {}, True),
    ],
)
def test_a_desktop_is_known_by_the_platform_and_variables(platform, environ, has, monkeypatch):
    monkeypatch.setattr(sys, 'platform', platform)
    assert has_desktop(environ) == has


@pytest.mark.parametrize('is_watched', [True, False])
def test_a_file_is_opened_only_if_somebody_watches(is_watched, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, 'open', lambda address: opened.append(address) or True)
    monkeypatch.setattr(desktop, 'is_watched', lambda stream: is_watched)
    monkeypatch.setattr(desktop, 'has_desktop', lambda environ: True)
    path = tmp_path / 'a report.html'
    assert open_in_browser(path) == is_watched
    assert opened == [path.as_uri()] * is_watched and ' ' not in path.as_uri()
