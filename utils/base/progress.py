"""The progress of a pass: a bar on a terminal or in a notebook, a line every half minute elsewhere."""

import io
import sys
import time

from tqdm import tqdm

from utils.base.batches import count_batch_samples, count_loader_samples
from utils.base.notebook import is_notebook, show_line
from utils.base.terminal import is_watched
from utils.base.text_table import count_text, number_text

QUIET_SECONDS = 30
SECONDS_IN_CELL = 0.25  # between two updates in a notebook cell, each of which is a message to the browser
METRICS_IN_BAR = 3
BAR = (10, 40)  # minimum and maximum width of a bar in columns


def running_text(loss, metrics):
    """Return the mean loss and the metrics so far (str): 'loss 0.1234 acc 0.9321'.

    Args:
        loss: float.
        metrics: metrics; without a `running` method (see metrics.Metrics) there are no values before the end of a pass.
    """
    values = list(metrics.running().items())[:METRICS_IN_BAR] if hasattr(metrics, 'running') else []
    return ' '.join(f'{name} {number_text(value)}' for name, value in [('loss', loss), *values])


class Bar(tqdm):
    """A bar as wide as the terminal allows, followed by the most important values that fit.

    epoch 3/10  42% ████████▍            25,344/60,000  8,512 img/s  00:04 left  loss 0.1234 acc 0.9321
    """

    @property
    def format_dict(self):
        """The values of tqdm, with a bar_format for the current width of the terminal."""
        known = super().format_dict
        rate = known['rate'] or (known['n'] / known['elapsed'] if known['elapsed'] else 0)
        if self.total:
            left = tqdm.format_interval((self.total - self.n) / rate) if rate else '?'
            total = f'{self.total:,}'
            head, bar = f'{self.desc} {self.n / self.total:4.0%} ', BAR
            parts = {'count': f'{self.n:>{len(total)},}/{total}', 'rate': f'{rate:,.0f} img/s', 'time': f'{left} left'}
        else:
            head, bar = self.desc, (0, 0)
            elapsed = tqdm.format_interval(known['elapsed'])
            parts = {'count': count_text(self.n, 'image'), 'rate': f'{rate:,.0f} img/s', 'time': elapsed}
        parts['text'] = self.postfix or ''
        return known | {'bar_format': self._format(head, parts, bar, known['ncols'])}

    @staticmethod
    def _format(head, parts, bar, columns):
        """Return a bar_format with head, bar and the parts that fit into `columns` (None: all parts)."""
        kept = [name for name in ('time', 'text', 'rate', 'count') if parts[name]]
        least, most = bar

        def needed():
            return len(head) + least + sum(2 + len(parts[name]) for name in kept)

        while columns and kept and needed() >= columns:
            kept.pop()
        rest = ''.join(f'  {text}' for name, text in parts.items() if name in kept)
        wide = min(most, columns - 1 - len(head) - len(rest)) if columns else most
        drawn = f'{{bar:{wide}}}' if wide >= least > 0 else ''
        return (head + '\0' + rest).replace('{', '{{').replace('}', '}}').replace('\0', drawn)


class NotebookBar(Bar):
    """The bar in a notebook cell, updated in place without widgets."""

    def __init__(self, **keywords):
        super().__init__(file=io.StringIO(), ascii=False, mininterval=SECONDS_IN_CELL, **keywords)

    @staticmethod
    def status_printer(file):
        """Return the function(text) that shows the bar."""
        return lambda text: show_line(text.strip())


class Progress:
    """Iterates over a loader's batches and shows progress, speed and remaining time.

    Args:
        loader: iterable of batches (see utils.base.batches.count_batch_samples).
        title: the text before the bar ('epoch 3/10').
        say: function that prints one line, used without a terminal.
        shown: whether to show anything (bool).
        times: number of processes that share the batches; rank 0, which shows the bar, has the largest share.
    """

    def __init__(self, loader, title, say, shown=True, times=1):
        self.loader, self.title, self.say, self.shown, self.times = loader, title, say, shown, times
        self.total = count_loader_samples(loader)
        self.done, self.waited, self.started = 0, 0.0, time.perf_counter()
        self.said = self.started

    def __iter__(self):
        # The bar goes to stderr, so that `python train.py > out.txt` shows a bar and writes a clean file.
        in_cell = is_notebook()
        watched, kind = in_cell or is_watched(sys.stderr), NotebookBar if in_cell else Bar
        with kind(total=self.total, desc=self.title, leave=False, dynamic_ncols=True,
                  disable=not (self.shown and watched)) as self.bar:  # fmt: skip
            asked = time.perf_counter()
            for batch in self.loader:
                self.waited += time.perf_counter() - asked
                size = self.times * count_batch_samples(batch)
                if self.times > 1 and self.total is not None:
                    size = min(size, self.total - self.done)
                self.done += size
                yield batch
                asked = time.perf_counter()
                self.bar.update(size)

    def show(self, text):
        """Show `text` (such as 'loss 0.1234') beside the bar, or print a line if the last one is half a minute old."""
        self.bar.set_postfix_str(text, refresh=False)
        now = time.perf_counter()
        if self.shown and self.bar.disable and now - self.said > QUIET_SECONDS:
            self.said = now
            share = f' of {self.total:,}' if self.total else ''
            self.say(f'{self.title}: {self.done:,}{share} images, {self.rate():,.0f} images per second, {text}')

    def wait_share(self):
        """Return the share of the time so far (float, 0 to 1) that the loop waited for batches."""
        return self.waited / max(time.perf_counter() - self.started, 1e-9)

    def rate(self):
        """Return images per second since the start (float)."""
        return self.done / max(time.perf_counter() - self.started, 1e-9)
