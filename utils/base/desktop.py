"""Opens files in the browser of a desktop. Imports no torch."""

import os
import sys
import webbrowser
from pathlib import Path

from utils.base.terminal import is_watched


def open_in_browser(path):
    """Open a file (str or Path) in the browser if a person at a desktop watches the terminal; return whether (bool)."""
    return is_watched(sys.stdout) and has_desktop(os.environ) and webbrowser.open(Path(path).resolve().as_uri())


def has_desktop(environ):
    """Return whether windows can be shown (bool), by the variables of the process (mapping)."""
    if environ.get('SSH_CONNECTION'):  # the windows would open elsewhere, or slowly
        return False
    if sys.platform in ('win32', 'darwin'):
        return True
    return bool(environ.get('DISPLAY') or environ.get('WAYLAND_DISPLAY'))
