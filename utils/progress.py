"""What a person sees while batches go by: a bar on a terminal, a rare line elsewhere."""

import sys
import time

from tqdm import tqdm

QUIET_SECONDS = 30


def length_of(thing):
    """Return len(thing), or None where it has none or does not know it: of a stream."""
    try:
        return len(thing)
    except TypeError:
        return None


class Progress:
    """Iterates over a loader's batches and shows how far it is, how fast, and how long it will take.

    Args:
        loader: iterable of batches whose first element is a tensor (B, ...).
        title: what stands before the bar ('epoch 3/10').
        say: function that prints one line, used where there is no terminal.
    """

    def __init__(self, loader, title, say):
        self.loader, self.title, self.say = loader, title, say
        self.total = length_of(getattr(loader, 'dataset', None))
        self.done, self.waited, self.started = 0, 0.0, time.perf_counter()
        self.said = self.started

    def __iter__(self):
        # The bar goes to stderr, so that `python train.py > out.txt` keeps both a bar and a clean file.
        with tqdm(total=self.total, desc=self.title, unit='img', unit_scale=True, leave=False, dynamic_ncols=True,
                  disable=not sys.stderr.isatty()) as self.bar:  # fmt: skip
            asked = time.perf_counter()
            for batch in self.loader:
                self.waited += time.perf_counter() - asked
                self.done += len(batch[0])
                yield batch
                asked = time.perf_counter()
                self.bar.update(len(batch[0]))

    def show(self, text):
        """Put `text` (such as 'loss 0.1234') beside the bar, or into a line if none was printed for half a minute."""
        self.bar.set_postfix_str(text, refresh=False)
        now = time.perf_counter()
        if self.bar.disable and now - self.said > QUIET_SECONDS:
            self.said = now
            share = f' of {self.total:,}' if self.total else ''
            self.say(f'{self.title}: {self.done:,}{share} images, {self.rate():,.0f} per second, {text}')

    def wait_share(self):
        """Return the share of the time so far (float, 0 to 1) in which the loop had none: reading and preparing."""
        return self.waited / max(time.perf_counter() - self.started, 1e-9)

    def rate(self):
        """Return images per second since the start (float)."""
        return self.done / max(time.perf_counter() - self.started, 1e-9)
