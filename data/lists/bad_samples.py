"""--skip_bad: faulty samples of a training list are left out before the first step, and written down."""

import shlex
from pathlib import Path

import torch

from data.lists.list_file import ErrorCollector
from utils.base.errors import DanluError
from utils.base.regular_files import read_regular_text, write_regular_text
from utils.base.write_errors import wrap_write_errors

SKIPPED_FILE = 'skipped.txt'


class SkippedSamples(ErrorCollector):
    """ErrorCollector of a training list that do not stop the run: all are kept, by where they are.

    Attributes:
        reasons: what is wrong (dict, from 'train.txt:12' to list of str).
        indices: of the samples that have a fault (set of int); a line that is no sample has none.
    """

    def __init__(self, source):
        super().__init__(source)
        self.reasons, self.indices = {}, set()

    def add(self, where, what, index=None):
        """Note one fault, of the sample `index` if it is one."""
        super().add(where, what, index)
        self.reasons.setdefault(where, []).append(what)
        if index is not None:
            self.indices.add(index)

    def good_indices(self, count):
        """Return the indices (int64 tensor) of those of `count` samples that have no fault.

        Raises:
            DanluError: there are none; the first faults are named.
        """
        kept = torch.ones(count, dtype=torch.bool)
        kept[list(self.indices)] = False
        if not kept.any():
            try:
                self.stop_if_any()
            except DanluError as error:
                raise DanluError(f'--skip_bad: not one good sample is left: {error}') from None
        return kept.nonzero()[:, 0]

    def lines(self):
        """Return a line for each that is left out (list of str), in the order of the list: where, tab, reasons."""
        places = sorted(self.reasons, key=lambda where: (len(where), where))  # line 9 before line 10
        # Names of files in a directory may hold line breaks.
        return [' '.join(f'{where}\t{"; ".join(self.reasons[where])}'.splitlines()) for where in places]

    def note(self, left):
        """Return the line (str) for the start of a run that has `left` samples."""
        count = len(self.reasons)
        if not count:
            return f'skip_bad: nothing in {self.source} is faulty'
        first = self.lines()[0].replace('\t', ': ')
        return (
            f'skip_bad: {count:,} of {count + left:,} samples left out, the first is {first}; {SKIPPED_FILE} names all'
        )


def write_skipped(loader, args):
    """Write what is left out of the training data to skipped.txt in args.model_dir; where nothing is, there is no file.

    Args:
        loader: of the training data.
        args: options; skip_bad and model_dir count.
    """
    lines = loader.dataset.skipped.lines() if args.skip_bad else []
    if lines:
        path = Path(args.model_dir, SKIPPED_FILE)
        with wrap_write_errors(path):
            write_regular_text(path, '\n'.join(lines) + '\n', errors='surrogateescape')


def check_skipped(loader, args):
    """Refuse to resume a run that would leave out something else than it did: its samples would be others.

    Args:
        loader: of the training data.
        args: options; skip_bad and model_dir count.

    Raises:
        DanluError: a faulty sample was mended since, or one that was not faulty is now.
    """
    if not args.skip_bad:
        return
    path = Path(args.model_dir, SKIPPED_FILE)
    before = read_regular_text(path, errors='surrogateescape').split('\n') if path.is_file() else []
    then, now = (
        {line.partition('\t')[0]: line for line in found if line} for found in (before, loader.dataset.skipped.lines())
    )
    changed = sorted(then.keys() ^ now.keys(), key=lambda where: (len(where), where))
    if changed:
        what = 'is no longer faulty' if changed[0] in then else 'is faulty now: ' + now[changed[0]].partition('\t')[2]
        options, weights = (
            shlex.quote(str(word)) for word in (f'@{path.with_name("args.txt")}', path.with_name('last.pth'))
        )
        raise DanluError(
            f'--resume: {len(changed)} of the samples that --skip_bad left out, or kept, would change: {changed[0]} '
            f'{what}. Put it back as it was ({path} names what the run leaves out), or begin another run from its '
            f'weights: python train.py {options} --load_model_path {weights}'
        )
