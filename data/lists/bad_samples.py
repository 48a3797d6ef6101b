"""--skip_bad: invalid samples of a training list are skipped and listed in skipped.txt."""

import shlex
from pathlib import Path

import torch

from data.lists.list_file import ErrorCollector
from utils.base.errors import DanluError
from utils.base.regular_files import read_regular_text, write_regular_text
from utils.base.write_errors import wrap_write_errors

SKIPPED_FILE = 'skipped.txt'


class SkippedSamples(ErrorCollector):
    """ErrorCollector that does not stop the run and keeps all errors by location.

    Attributes:
        reasons: errors by location (dict, from 'train.txt:12' to list of str).
        indices: of the invalid samples (set of int); invalid lines without a sample have none.
    """

    def __init__(self, source):
        super().__init__(source)
        self.reasons, self.indices = {}, set()

    def add(self, where, what, index=None):
        """Add an error, of the sample `index` if there is one."""
        super().add(where, what, index)
        self.reasons.setdefault(where, []).append(what)
        if index is not None:
            self.indices.add(index)

    def good_indices(self, count):
        """Return the indices (int64 tensor) of the valid samples among `count`.

        Raises:
            DanluError: there are none; the message has the first errors.
        """
        kept = torch.ones(count, dtype=torch.bool)
        kept[list(self.indices)] = False
        if not kept.any():
            try:
                self.stop_if_any()
            except DanluError as error:
                raise DanluError(f'--skip_bad: no valid sample is left: {error}') from None
        return kept.nonzero()[:, 0]

    def lines(self):
        """Return one line per skipped sample (list of str), in list order: location, tab, errors."""
        places = sorted(self.reasons, key=lambda where: (len(where), where))  # line 9 before line 10
        # file names may contain line breaks
        return [' '.join(f'{where}\t{"; ".join(self.reasons[where])}'.splitlines()) for where in places]

    def note(self, left):
        """Return the note (str) at the start of a run with `left` samples."""
        count = len(self.reasons)
        if not count:
            return f'skip_bad: nothing in {self.source} is invalid'
        where, _, reason = self.lines()[0].partition('\t')
        first = reason if reason.startswith(f'{where}: ') else f'{where}: {reason}'
        return (
            f'skip_bad: {count:,} of {count + left:,} samples left out, the first is {first}; {SKIPPED_FILE} names all'
        )


def write_skipped(loader, args):
    """Write the skipped samples of the training data to skipped.txt in args.model_dir; no file if there are none.

    Args:
        loader: of the training data.
        args: options; uses skip_bad and model_dir.
    """
    lines = loader.dataset.skipped.lines() if args.skip_bad else []
    if lines:
        path = Path(args.model_dir, SKIPPED_FILE)
        with wrap_write_errors(path):
            write_regular_text(path, '\n'.join(lines) + '\n', errors='surrogateescape')


def check_skipped(loader, args):
    """Refuse to resume a run if other samples would be skipped than before.

    Args:
        loader: of the training data.
        args: options; uses skip_bad and model_dir.

    Raises:
        DanluError: an invalid sample was fixed, or a valid one became invalid.
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
        what = 'is valid now' if changed[0] in then else 'is invalid now: ' + now[changed[0]].partition('\t')[2]
        options, weights = (
            shlex.quote(str(word)) for word in (f'@{path.with_name("args.txt")}', path.with_name('last.pth'))
        )
        raise DanluError(
            f'--resume: {len(changed)} of the samples that --skip_bad left out, or kept, would change: {changed[0]} '
            f'{what}. Put it back as it was ({path} names what the run leaves out), or begin another run from its '
            f'weights: python train.py {options} --load_model_path {weights}'
        )
