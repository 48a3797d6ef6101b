"""Add a note to a run, or print its notes: runs.py note RUN "text"."""

import datetime
import os

from utils.base.errors import DanluError
from utils.base.regular_files import open_handle
from utils.base.text_table import printable
from utils.base.write_errors import wrap_write_errors
from utils.runs.run_index import find_run


def add_arguments(parser):
    """Add the arguments of the command."""
    parser.add_argument('run', metavar='RUN', help='name of the run')
    parser.add_argument('text', nargs='*', metavar='TEXT', help='text to add, with the date; none: print the notes')


def run(args):
    """Add the note, or print the existing notes."""
    found = find_run(args.run, args.checkpoints_dir)
    if not args.text:
        for line in found.notes:
            print(printable(line))
        return
    text = ' '.join(' '.join(args.text).split())
    if not text:
        raise DanluError('the note is empty; to print the notes, give no text')
    line = add_note(found.path, text)
    print(f'{found.name}: {printable(line)}')


def add_note(directory, text):
    """Add a line with the date to the note.txt of a run and return the line (str).

    Raises:
        WriteError: the file cannot be written.
    """
    line = f'{datetime.datetime.now():%Y-%m-%d %H:%M} {text}'
    path = os.path.join(directory, 'note.txt')
    with wrap_write_errors(path):
        # One write in append mode is atomic, whoever else writes to the file.
        handle = open_handle(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(handle, f'{line}\n'.encode('utf-8', 'surrogateescape'))
        finally:
            os.close(handle)
    return line
