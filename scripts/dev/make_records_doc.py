#!/usr/bin/env python
"""Run the example of docs/records.md, command by command, and write what each prints below it.

    python scripts/dev/make_records_doc.py            # takes about two minutes
    python scripts/dev/make_records_doc.py --check    # writes nothing; exits with 1 where the output differs

The commands stand in the document, in its blocks of the kind `console`, behind `$ `. They run in a copy of the project
which is a git repository with one commit, so that the example can change the code.
"""

import argparse
import difflib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project

from utils.base.registry import PROJECT
from utils.provenance.project_source import read_files

DOCUMENT = PROJECT / 'docs' / 'records.md'
CONSOLE_BLOCK = re.compile(r'^```console\n(.*?)^```$', re.DOTALL | re.MULTILINE)
HOME = '/home/you/danlu'  # where the document has it
COMMIT = ['git', '-c', 'user.name=You', '-c', 'user.email=you@example.org', 'commit', '--quiet', '--all']
# What differs from one time and one machine to the next: hashes, numbers, the width of what they stand in.
VARYING = ((r'\b[0-9a-f]{7,64}\b', 'HASH'), (r'[-+]?\d[\d,.:]*(e[-+]?\d+)?', 'N'), (r'[ -]+', ' '))


def refreshed(text, folder):
    """Return the document (str) with what its commands print when they run in `folder` (Path), one after the other."""
    return CONSOLE_BLOCK.sub(lambda block: f'```console\n{printed(block[1], folder)}```', text)


def printed(block, folder):
    """Run the commands of a block and return it (str) with their output."""
    lines = []
    for command in re.findall(r'^\$ (.*(?:\n> .*)*)$', block, flags=re.MULTILINE):
        done = subprocess.run(
            ['bash', '-c', command.replace('\n> ', '\n')],
            cwd=folder,
            env=environment(),
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        lines += [f'$ {command}', *done.stdout.replace(str(folder), HOME).splitlines()]
    return ''.join(f'{line}\n'.replace(' \n', '\n') for line in lines)


def environment():
    """Return the variables (dict of str) with which the commands run: one thread, lines of 120, this Python."""
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    return {
        **os.environ,
        'PATH': path,
        'OMP_NUM_THREADS': '1',
        'OMP_WAIT_POLICY': 'PASSIVE',
        'COLUMNS': '120',
        'CUDA_VISIBLE_DEVICES': '',
    }


def copy_project(folder):
    """Make a copy of the project in `folder` (Path), a git repository with one commit."""
    files = {name: content for name, content in read_files().items() if not name.startswith('tests/')}
    for name in ('.gitignore', 'data/digits.npz'):  # no sources, and needed
        files[name] = (PROJECT / name).read_bytes()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for command in (['git', 'init', '--quiet'], ['git', 'add', '--all'], [*COMMIT, '--message', 'begin']):
        subprocess.run(command, cwd=folder, check=True)


def differing(old, new):
    """Return the lines (list of str) in which two documents differ, apart from what always does."""
    for pattern, word in VARYING:
        old, new = (re.sub(pattern, word, text) for text in (old, new))
    return list(difflib.unified_diff(old.splitlines(), new.splitlines(), 'as it is', 'as it runs', lineterm='', n=1))


def main():
    """Refresh or check the document."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--check', action='store_true', help='change nothing, exit with 1 where it is outdated')
    checking, text = parser.parse_args().check, DOCUMENT.read_text(encoding='utf-8')
    with tempfile.TemporaryDirectory(prefix='danlu_example_') as scratch:
        folder = Path(scratch).resolve() / 'danlu'
        copy_project(folder)
        new = refreshed(text, folder)
    if not checking:
        DOCUMENT.write_text(new, encoding='utf-8')
    elif lines := differing(text, new):
        sys.exit('\n'.join([*lines, f'{DOCUMENT} is outdated: python scripts/dev/make_records_doc.py']))


if __name__ == '__main__':
    main()
