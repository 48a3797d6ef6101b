#!/usr/bin/env python
"""Store what a version of Danlu writes, for tests/formats: train and test shortly with that version's own code.

    python scripts/dev/make_format.py 2026-11-21_1341 --commit bbc093b -- --model_type mlp --image_size 14 --epochs 2

The name is the time of the commit. What follows -- are options of train.py; let the network be of a few thousand
parameters, as the files stay in the repository.

It writes into tests/formats/<name>: args.txt, best.pth, last.pth, record.json and source.zip of the run, args.txt and
result.txt of its test in test/, and the history.csv of the run resumed for one more epoch. The version runs without its
tests, scripts and documents, so that source.zip is small.
"""

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
FORMATS = PROJECT / 'tests' / 'formats'
MAX_BYTES = 750_000  # of one format
PRODUCT = ('*.py', 'data', 'model', 'programs', 'utils', 'requirements.txt')


def main():
    """Make one format by the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name', help='of the format: date and time of the commit')
    parser.add_argument('--commit', default='HEAD', help='the version whose code runs')
    where = 'where it runs, which checkpoints record: new, and of a name that says nothing of you'
    parser.add_argument('--directory', type=Path, default=Path(tempfile.gettempdir(), 'danlu'), help=where)
    split = sys.argv.index('--') if '--' in sys.argv else len(sys.argv)
    args = parser.parse_args(sys.argv[1:split])
    args.words = sys.argv[split + 1 :]
    if args.directory.exists() or (FORMATS / args.name).exists():
        parser.error(f'{args.directory} or {FORMATS / args.name} is there already')
    commit = subprocess.run(['git', 'rev-parse', args.commit], cwd=PROJECT, check=True, capture_output=True, text=True)
    try:
        unpack(commit.stdout.strip(), args.directory)
        files = written_by(args.directory, args.words)
        if faults := faults_of(files):
            parser.error('; '.join(faults))
        for name, path in files.items():
            target = FORMATS / args.name / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    finally:
        shutil.rmtree(args.directory, ignore_errors=True)


def unpack(commit, directory):
    """Put what takes part in a run of a version into a new directory (Path)."""
    subprocess.run(['git', 'clone', '--quiet', '--no-checkout', PROJECT, directory], check=True)
    files = [f':(glob){name}' for name in PRODUCT]
    subprocess.run(['git', 'checkout', '--quiet', commit, '--', *files], cwd=directory, check=True)
    shutil.rmtree(directory / '.git')


def written_by(code, words):
    """Train, test and go on with the code (Path) of a version; return what is worth storing (dict of Path by name)."""
    start(code, 'train.py', *words, '--threads', '1')
    [run] = (path for path in (code / 'checkpoints').iterdir() if path.is_dir())
    start(code, 'eval.py', '--load_model_path', f'checkpoints/{run.name}/best.pth')
    kept = Path(shutil.copytree(run, code / 'kept'))
    [result] = kept.glob('best/*/result.txt')
    epochs = len((run / 'history.csv').read_text().splitlines()) - 1
    start(code, 'train.py', '--resume', f'checkpoints/{run.name}', '--epochs', str(epochs + 1))
    files = {name: kept / name for name in ('args.txt', 'best.pth', 'last.pth')}
    files |= {name: kept / name for name in ('record.json', 'source.zip') if (kept / name).exists()}
    files |= {f'test/{name}': result.parent / name for name in ('args.txt', 'result.txt')}
    return files | {'history.csv': run / 'history.csv'}


def start(code, *words):
    """Start train.py or eval.py of a version on the CPU."""
    subprocess.run([sys.executable, *words, '--device', 'cpu'], cwd=code, check=True)


def faults_of(files):
    """Return why files (dict of Path) should not be stored (list of str): too large, or naming who made them."""
    size = sum(path.stat().st_size for path in files.values())
    faults = [f'{size:,} bytes are more than {MAX_BYTES:,}: take a smaller network'] if size > MAX_BYTES else []
    private = (str(PROJECT), str(Path.home()), socket.gethostname())
    for path in files.values():
        found = [word for word in private if len(word) > 2 and any(word.encode() in text for text in contents(path))]
        faults += [f'{path} names {word}' for word in found]
    return faults


def contents(path):
    """Return what is in a file (list of bytes); of a checkpoint, which is an archive, what is in its records."""
    if not zipfile.is_zipfile(path):
        return [path.read_bytes()]
    with zipfile.ZipFile(path) as archive:
        return [archive.read(name) for name in archive.namelist()]


if __name__ == '__main__':
    main()
