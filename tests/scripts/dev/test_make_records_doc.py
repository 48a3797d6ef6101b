"""docs/records.md: its example prints what stands there, apart from dates, hashes, times and other numbers."""

import subprocess
import sys

import pytest

from utils.base.registry import PROJECT


@pytest.mark.slow('runs every command of docs/records.md')
def test_the_example_prints_what_the_document_says():
    command = [sys.executable, str(PROJECT / 'scripts' / 'dev' / 'make_records_doc.py'), '--check']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
