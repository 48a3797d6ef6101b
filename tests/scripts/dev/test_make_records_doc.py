"""docs/records.md: its example prints what stands there, apart from dates, hashes, times and other numbers."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from scripts.dev import make_records_doc
from tests.forked_python import forked_python


@pytest.mark.slow('runs every command of docs/records.md')
@pytest.mark.skipif(not hasattr(os, 'fork'), reason='forks')
def test_the_example_prints_what_the_document_says(monkeypatch):
    environment = make_records_doc.environment()
    monkeypatch.setattr(sys, 'argv', ['make_records_doc.py', '--check'])
    with tempfile.TemporaryDirectory() as folder, forked_python(Path(folder)):
        environment['PATH'] = f'{folder}{os.pathsep}{environment["PATH"]}'
        monkeypatch.setattr(make_records_doc, 'environment', lambda: environment)
        make_records_doc.main()
