"""Put a run into one archive, without data, which eval.py tests in another clone: runs.py pack RUN.

Files that show samples are left out: images, report.html, TensorBoard's files, diverged.pth. In another clone of the
project: python eval.py --load_model_path RUN.zip unpacks the run and says what is missing there.
"""

from pathlib import Path

from utils.base.text_table import count_text, printable, size_text
from utils.provenance.run_archive import SUFFIX, pack
from utils.runs.run_index import find_run


def add_arguments(parser):
    """Add the arguments of the command."""
    parser.add_argument('run', metavar='RUN', help='name of the run')
    parser.add_argument('--output', type=Path, metavar='FILE', help='the archive (default: <name of the run>.zip)')
    parser.add_argument(
        '--all_checkpoints', '--all-checkpoints', action='store_true',
        help='pack all checkpoints, with which the run can be resumed, and not only best.pth',
    )  # fmt: skip


def run(args):
    """Write the archive and print what it holds."""
    found = find_run(args.run, args.checkpoints_dir)
    target = args.output or Path(f'{found.path.name}{SUFFIX}')
    names = pack(found, target, args.all_checkpoints)
    checkpoints = [Path(name).name for name in names if name.endswith('.pth')]
    tests = sum(Path(name).name == 'result.txt' for name in names)
    size, files = size_text(target.stat().st_size), count_text(len(names), 'file')
    print(printable(f'{target}: {size}, {files}, {", ".join(checkpoints)}, {count_text(tests, "test")}; no data'))
    print(printable(f'in another clone: python eval.py --load_model_path {target.name}'))
