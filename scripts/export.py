#!/usr/bin/env python
"""Export the network of a run for other programs, and verify that the file computes the same.

    python scripts/export.py lenet_exp --format onnx                             # checkpoints/lenet_exp/best.onnx
    python scripts/export.py lenet_exp --format pt2 --batch 1 --check_test       # compare the metrics of a test too
    python scripts/export.py lenet_exp --format onnx --with_preprocessing        # takes photos of any size
    python scripts/export.py lenet_exp --format safetensors                      # the weights alone

The file takes pixels 0..255 and contains the normalisation. Class names, sizes and the run are in its metadata. It is
run on samples of the validation data and refused if an output differs from the checkpoint's. docs/recipes.md has
programs that use the files without Danlu.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project

from utils.base.errors import DanluError, output_status, run_main
from utils.base.registry import PROJECT
from utils.base.text_table import terminal_width, wrap_lines
from utils.options.arguments import Flag, Parser, directory_path, existing_path, number

FORMAT_NAMES = ('onnx', 'pt2', 'torchscript', 'safetensors')
TOLERANCE, HALF_TOLERANCE = 1e-4, 2e-2
DYNAMIC = 'dynamic'
EXPORTED_SAMPLES = 16


def batch_size(text):
    """Return the number of samples of --batch (int), or DYNAMIC."""
    return text if text == DYNAMIC else number(int, low=1)(text)


# fmt: off
def export_parser():
    """Return the Parser."""
    parser = Parser(prog='export.py', description=__doc__.partition('\n')[0])
    parser.add_argument('run', metavar='RUN', help='name or directory of a run (best.pth is exported), or a checkpoint')
    parser.add_argument('--format', required=True, choices=FORMAT_NAMES,
                        help='onnx: ONNX Runtime and other runtimes; pt2: torch.export; torchscript: libtorch; '
                             'safetensors: weights alone')
    parser.add_argument('--batch', type=batch_size, metavar='N|dynamic',
                        help='number of samples that the file takes at once (default: dynamic, any number)')
    parser.add_argument('--half', action=Flag, help='compute in float16: half the size, less precise')
    parser.add_argument('--with_preprocessing', action=Flag,
                        help='take images (N, H, W, C) of any size, and resize them as the loaders do')
    parser.add_argument('--out', metavar='FILE',
                        help='file to write (default: beside the checkpoint, <checkpoint>.<format>); an earlier export '
                             'is replaced')
    parser.add_argument('--tolerance', type=number(float, above=0), metavar='X',
                        help='largest allowed difference of an output, relative to the largest output if that is above '
                             f'1 (default: {TOLERANCE:g}, with --half {HALF_TOLERANCE:g})')
    parser.add_argument('--samples', default=EXPORTED_SAMPLES, type=number(int, low=1), metavar='N',
                        help='number of validation samples to compare the outputs for')
    parser.add_argument('--check_test', action=Flag,
                        help='also test the file on the whole list, and print its metrics beside the checkpoint\'s')
    parser.add_argument('--val_list', type=existing_path, metavar='PATH',
                        help='data to compare on (default: the validation data of the run)')
    parser.add_argument('--data_root', type=existing_path, metavar='DIR', help='root of relative paths in the list')
    parser.add_argument('--trust_checkpoint', action=Flag, help='as for eval.py: unpickle a whole model')
    parser.add_argument('--model_source', type=existing_path, metavar='FILE',
                        help='as for eval.py: the file with the class of the model')
    parser.add_argument('--checkpoints_dir', default=str(PROJECT / 'checkpoints'), type=directory_path, metavar='DIR',
                        help='directory that contains the runs')
    return parser
# fmt: on


def parse_args(argv=None):
    """Return the options (Namespace)."""
    parser = export_parser()
    args = parser.parse_args(argv)
    weights_only = args.format == 'safetensors'
    for name in ('batch', 'with_preprocessing', 'check_test'):
        if weights_only and getattr(args, name):
            parser.error(f'argument --{name}: a safetensors file has weights only, no computation; leave it out')
    args.batch = None if args.batch in (None, DYNAMIC) else args.batch
    if args.tolerance is None:
        args.tolerance = HALF_TOLERANCE if args.half else TOLERANCE
    return args


def main(argv=None):
    """Export, verify, and print what was found."""
    args = parse_args(argv)
    # Imported here, so that --help and invalid options need no torch.
    from scripts.exporting.exporting import Export
    from scripts.exporting.formats import check_packages

    check_packages(args.format)
    export = Export(args, checkpoint_path(args))
    for line in export.run():
        print(wrap_lines(line, terminal_width()))
    print('how other programs use the file: docs/recipes.md, section Export')
    sys.exit(output_status(0))


def checkpoint_path(args):
    """Return the path (str) of the checkpoint that RUN means.

    Raises:
        DanluError: there is none.
    """
    from utils.runs.run_index import find_run

    if os.path.isfile(args.run):
        return os.path.abspath(args.run)
    path = find_run(args.run, args.checkpoints_dir).path / 'best.pth'
    if not path.is_file():
        raise DanluError(f'{path} does not exist: give a checkpoint of the run')
    return str(path)


if __name__ == '__main__':
    run_main(main, 'export.py')
