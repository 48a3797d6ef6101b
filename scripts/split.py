#!/usr/bin/env python
r"""Split a directory of images or a list into lists for training, validation and test, or for cross-validation.

    python scripts/split.py photos --val 0.15 --test 0.15                 # photos_split/train.txt, val.txt, test.txt
    python scripts/split.py photos --folds 5                              # photos_split/fold_1/train.txt, val.txt ...
    python scripts/split.py scans.csv --val 0.2 --group patient           # all scans of a patient in the same list
    python scripts/split.py photos --val 0.2 --group 'IMG_(\d{8})'         # all photos of a day in the same list

No image is copied. Equal and similar images (copies, other sizes, qualities or brightness) are kept in the same list,
so that no test image is known from training; duplicates.csv names them.
"""

import os
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project

from utils.base.errors import DanluError, output_status, run_main
from utils.base.text_table import count_text
from utils.options.arguments import Flag, Parser, directory_path, existing_path, number

DEFAULT_SHARE = 0.15
MAX_CLASSES = 20  # whose samples are counted one by one


# fmt: off
def split_parser():
    """Return the Parser."""
    parser = Parser(prog='split.py', description=__doc__.partition('\n')[0])
    parser.add_argument('path', type=existing_path, metavar='PATH',
                        help='a directory with one subdirectory per class, or a list file')
    parser.add_argument('--val', type=number(float, above=0, below=1), metavar='X',
                        help=f'share of the samples for validation (default: {DEFAULT_SHARE} without --folds)')
    parser.add_argument('--test', type=number(float, above=0, below=1), metavar='X',
                        help='share of the samples for the test (default: no test list)')
    parser.add_argument('--folds', type=number(int, low=2, high=100), metavar='N',
                        help='write N pairs of lists for cross-validation: each sample is in one val.txt')
    parser.add_argument('--group', metavar='REGEX|COLUMN',
                        help='samples of a group stay in the same list: a column of the list, or a regular expression '
                             'whose match in the path of the image names the group')
    parser.add_argument('--stratify', action=Flag, default=None,
                        help='the same shares of each class in all lists (default: for a directory, not for a list)')
    parser.add_argument('--duplicates', choices=['similar', 'equal', 'ignore'], default='similar',
                        help='images that are kept in the same list: equal files and similar images, equal files only, '
                             'or none')
    parser.add_argument('--skip_bad', action=Flag, help='leave out images that cannot be read, instead of stopping')
    parser.add_argument('--seed', default=0, type=number(int, low=0), metavar='N', help='seed of the random order')
    parser.add_argument('--data_root', type=existing_path, metavar='DIR',
                        help='root of relative paths in a list (default: the directory of the list)')
    parser.add_argument('--out', type=directory_path, metavar='DIR',
                        help='directory of the lists (default: <PATH>_split, beside PATH)')
    return parser
# fmt: on


def parse_args(argv=None):
    """Return the options (Namespace)."""
    parser = split_parser()
    args = parser.parse_args(argv)
    if args.folds and args.val is not None:
        parser.error('argument --val: with --folds, each fold is the validation data of one pair; leave out --val')
    if args.data_root and os.path.isdir(args.path):
        parser.error('argument --data_root: PATH is a directory; only lists have a root')
    if args.skip_bad and args.duplicates == 'ignore':
        parser.error('argument --skip_bad: with --duplicates ignore, no image is read; leave one of them out')
    if not args.folds and args.val is None:
        args.val = DEFAULT_SHARE
    if (args.val or 0) + (args.test or 0) >= 1:
        parser.error(f'argument --val: {args.val:g} and --test {args.test:g} leave nothing for training')
    args.stratify = os.path.isdir(args.path) if args.stratify is None else args.stratify
    # A dot in the name of a directory, such as 2024.01, begins no extension.
    name = args.path if os.path.isdir(args.path) else os.path.splitext(args.path)[0]
    args.out = Path(args.out or f'{name}_split')
    return args


def main(argv=None):
    """Write the lists and print what is in them; exit with status 1 if images were left out."""
    args = parse_args(argv)
    # Imported here, so that --help and invalid options need no torch.
    import numpy as np

    from scripts.splitting.assignment import class_codes, merge_groups
    from scripts.splitting.duplicates import duplicate_lines, fault_lines, find_duplicates
    from scripts.splitting.lists import DUPLICATES, refuse_existing, write_duplicates
    from scripts.splitting.samples import group_samples, read_samples

    refuse_existing([args.out / name for name in list_names(args)])
    samples = read_samples(args.path, args.data_root, args.group)
    groups, notes, every = np.arange(len(samples)), list(samples.notes), np.arange(len(samples))
    if args.group is not None:
        groups, more = group_samples(samples, args.group, args.data_root)
        notes += more
    found = find_duplicates(samples, args.duplicates, args.skip_bad)
    alike, groups = (merge_groups(each, found.pairs) for each in (every, groups))
    classes, class_names = class_codes(samples.targets, args.stratify)
    kept = np.setdiff1d(every, [*found.faults])
    parts = parts_of(args, groups[kept], classes[kept], class_names)
    write_lists(args, samples, kept, parts)
    notes += duplicate_lines(samples, found.kinds, alike)
    if found.kinds:
        path = args.out / DUPLICATES
        write_duplicates(path, samples, alike, found.kinds, dict(zip(kept.tolist(), parts, strict=True)))
        notes.append(f'they are listed in {shown(path)}')
    elif args.duplicates != 'ignore':
        notes.append(f'no {"equal or similar" if args.duplicates == "similar" else "equal"} images')
    for line in [*notes, *fault_lines(samples, found.faults)]:
        print(line)
    report(args, samples, kept, parts, classes, class_names)
    sys.exit(output_status(1 if found.faults else 0))


def shown(path):
    """Return a path (str) relative to the current directory if it lies in it."""
    relative = os.path.relpath(path) if Path(path).is_relative_to(os.getcwd()) else path
    return str(relative)


def list_names(args):
    """Return the names (list of str) of the lists that are written, relative to the directory."""
    names = ['test.txt'] if args.test else []
    if args.folds:
        return [f'fold_{fold}/{part}.txt' for fold in range(1, args.folds + 1) for part in ('train', 'val')] + names
    return ['train.txt', 'val.txt', *names]


def parts_of(args, groups, classes, class_names):
    """Return the name of the part of each sample (list of str): train, val, test, fold_1 ...

    Raises:
        DanluError: a part would be empty, or a class has too few samples for the folds.
    """
    import numpy as np

    from scripts.splitting.assignment import assign_parts, check_folds

    classes = classes if args.stratify else np.zeros_like(classes)
    test = args.test or 0
    if args.folds:
        names, shares = ['rest', 'test'], [1 - test, test]
    else:
        names, shares = ['train', 'val', 'test'], [1 - args.val - test, args.val, test]
    used = [position for position, share in enumerate(shares) if share]
    names = [names[position] for position in used]
    parts = assign_parts(groups, classes, [shares[position] for position in used], args.seed)
    found = np.array(names)[parts]
    if args.folds:
        rest = np.flatnonzero(found == 'rest')
        check_folds(groups[rest], classes[rest], args.folds, class_names if args.stratify else [''])
        shares = [1 / args.folds] * args.folds
        own = np.unique(groups[rest], return_inverse=True)[1]
        folds = assign_parts(own, classes[rest], shares, args.seed, keep_in_first=False)
        found = found.astype(object)
        found[rest] = [f'fold_{fold + 1}' for fold in folds]
        names = [*(f'fold_{fold + 1}' for fold in range(args.folds)), *names[1:]]
    if empty := [name for name in names if not (found == name).any()]:
        sizes = np.bincount(groups)
        units = count_text(np.count_nonzero(sizes), 'group')
        raise DanluError(
            f'{empty[0]} would be empty: {count_text(len(found), "sample")} in {units} that must stay together, the '
            f'largest of {count_text(sizes.max(), "sample")}'
        )
    return found.tolist()


def write_lists(args, samples, kept, parts):
    """Write the lists; `kept`: indices of the samples, `parts`: their parts (list of str)."""
    import numpy as np

    from scripts.splitting.lists import write_list

    command = shlex.join(['split.py', *map(str, words_of(args))])
    by_part = {name: kept[np.array(parts) == name] for name in sorted(set(parts))}
    lists = {f'{name}.txt': own for name, own in by_part.items() if not name.startswith('fold_')}
    folds = [name for name in by_part if name.startswith('fold_')]
    for name in folds:
        lists[f'{name}/val.txt'] = by_part[name]
        lists[f'{name}/train.txt'] = np.sort(np.concatenate([by_part[other] for other in folds if other != name]))
    for name, own in lists.items():
        write_list(args.out / name, samples, own, f'{len(own)} of {len(samples)} samples, by {command}')


def words_of(args):
    """Return the words of the command (list) that defines the split, without the directory of the lists."""
    words = [os.path.basename(args.path)]
    for name in ('val', 'test', 'folds', 'group'):
        if getattr(args, name) is not None:
            words += [f'--{name}', getattr(args, name)]
    words += ['--stratify' if args.stratify else '--no_stratify', '--duplicates', args.duplicates]
    return [*words, '--seed', args.seed]


def report(args, samples, kept, parts, classes, class_names):
    """Print the number of samples of each part and class, and the command that trains on the lists."""
    from collections import Counter

    from utils.base.text_table import table, terminal_width

    order = sorted(set(parts), key=lambda name: (['train', 'val', 'test'].index(name) if name[:4] != 'fold' else -1,
                                                 int(name[5:]) if name[:4] == 'fold' else 0))  # fmt: skip
    counts = Counter(zip(parts, classes[kept].tolist(), strict=True))
    totals = Counter(parts)
    rows = [['all', *(f'{totals[name]:,} ({totals[name] / len(parts):.1%})' for name in order)]]
    if len(class_names) <= min(MAX_CLASSES, len(samples) / 2) and not samples.has_target_files:
        rows += [[text, *(f'{counts[name, code]:,}' for name in order)] for code, text in enumerate(class_names)]
    print('\n'.join(table(['samples', *order], rows, terminal_width(), right=order)[0]))
    print(f'lists: {shown(args.out)}')
    print(f'train with: {train_command(args, samples, class_names)}')


def train_command(args, samples, class_names):
    """Return the command (str) that trains on the lists."""
    if args.folds:
        words = ['bash', 'scripts/crossval.sh', args.folds, shown(args.out)]
    else:
        lists = (item for name in ('train', 'val') for item in (f'--{name}_list', shown(args.out / f'{name}.txt')))
        words = ['python', 'train.py', '--data_type', 'list', *lists]
    indices = [str(index) for index in range(len(class_names))]
    if os.path.isdir(args.path) and all(map(str.isdecimal, class_names)) and sorted(class_names, key=int) != indices:
        words += ['--class_names', *sorted(class_names, key=int)]  # the names of the directories are no indices
    return shlex.join(map(str, words))


if __name__ == '__main__':
    run_main(main, 'split.py')
