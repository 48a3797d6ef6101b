"""What processes other than the first one have instead of a Logger."""

import sys

from utils.base.progress import Progress
from utils.logger import Recorder


class Onlooker:
    """Does what a Logger does for the training itself, and writes nothing: the first process does.

    Args:
        history: rows (list of dicts) of earlier epochs when a run is resumed.
    """

    def __init__(self, history=()):
        self.history, self.recorder, self.checkpoints = [dict(row) for row in history], Recorder(), self

    def record(self, name, value, count=1):
        """Add a batch's mean to the epoch's: see Recorder.record."""
        self.recorder.record(name, value, count)

    record_scalar = record

    def record_sum(self, name, parts):
        """Add a batch's weighted sum of means to the epoch's: see Recorder.record_sum."""
        self.recorder.record_sum(name, parts)

    def save_curves(self, epoch):
        """End an epoch and return its row (dict)."""
        row = {'epoch': epoch, **self.recorder.summary()}
        self.history.append(row)
        return row

    def progress(self, loader, title):
        """Return an iterable over the loader's batches that shows nothing."""
        return Progress(loader, title, None, shown=False)

    def write(self, text):
        """Tell this process's own log how the run ended."""
        print(text, file=sys.stderr)

    def _nothing(self, *args, **kwargs):
        """Stand for what the first process does."""

    print = save_steps = save_imgs = save_histograms = save_graph = save_check_point = save_check_points = flush = (
        _nothing
    )
    draw = finish = close = _nothing
