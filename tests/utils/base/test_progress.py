"""The progress bar on a terminal, and lines elsewhere."""

import contextlib
import io
import re
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from utils.base import progress
from utils.base.progress import Bar, Progress


@pytest.fixture(autouse=True)
def at_a_terminal(monkeypatch):
    """Unset the variables of CI jobs and notebooks, in which the tests may run."""
    for name in ('CI', 'JPY_PARENT_PID', 'MPLBACKEND'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('TERM', 'xterm')


@pytest.fixture
def clock(monkeypatch):
    """Return a list with the time in seconds that a bar sees; only tests change it."""
    now = [100.0]
    monkeypatch.setattr(progress, 'time', SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr('tqdm.std.time', lambda: now[0])
    return now


@contextlib.contextmanager
def stderr(terminal):
    """Replace stderr by a file, perhaps one that claims to be a terminal, and return it.

    Not a fixture: pytest puts its own stderr back before the test begins.
    """
    file = io.StringIO()
    file.isatty = lambda: terminal
    with contextlib.redirect_stderr(file):
        yield file


def loader(samples=10, batch_size=4):
    """Return batches of 4, 4 and 2 images."""
    return DataLoader(TensorDataset(torch.zeros(samples, 1, 2, 2), torch.zeros(samples)), batch_size=batch_size)


def test_every_batch_comes_through_in_order():
    batches = [(torch.full((2, 1), float(i)), None) for i in range(5)]
    assert [batch[0][0].item() for batch in Progress(batches, 'epoch', print)] == [0, 1, 2, 3, 4]


def test_pictures_are_counted_and_not_batches():
    bar = Progress(loader(), 'epoch 1/2', print)
    assert bar.total == 10
    counts = [bar.done for _ in bar]
    assert counts == [4, 8, 10], 'a batch counts from when it is there: what is shown beside it says so'
    assert bar.done == 10


def test_a_loader_without_a_data_set_has_no_total():
    bar = Progress(iter([(torch.zeros(3, 1), None)]), 'epoch', print)
    assert bar.total is None
    assert len(list(bar)) == 1
    assert bar.done == 3


def test_a_terminal_gets_a_bar_with_count_rate_time_and_text(clock):
    lines = []
    bar = Progress(loader(), 'epoch 1/2', lines.append)
    with stderr(terminal=True) as screen:
        for step, _ in enumerate(bar):
            clock[0] += 0.125  # tqdm draws at most ten times a second
            bar.show(f'loss 0.{step}')
    drawn = screen.getvalue()
    assert re.search(r'epoch 1/2  80% \S+ +8/10  [\d,]+ img/s  00:00 left  loss 0\.1', drawn)
    assert lines == [], 'a terminal has the bar and needs no lines'
    assert drawn.endswith('\r'), 'the bar is gone when the epoch ends'


def bar_of(columns, done=25_344, total=60_000, seconds=30, text='loss 0.1234'):
    """Return a bar as text (str) on a terminal with a number of columns."""
    bar = Bar(total=total, desc='epoch 3/10', file=io.StringIO(), ncols=columns)
    bar.n, bar.start_t = done, bar.start_t - seconds
    bar.set_postfix_str(text, refresh=False)
    return str(bar)


def test_a_bar_keeps_to_the_width_of_the_terminal():
    for columns in range(20, 200):
        assert len(bar_of(columns)) < columns
        assert len(bar_of(columns, total=None)) < columns
    whole = bar_of(150)
    assert re.fullmatch(r'epoch 3/10  42% \S+ +25,344/60,000  \d{3} img/s  00:\d\d left  loss 0.1234', whole)
    assert '#' * 16 in whole
    assert '#' * 40 not in bar_of(150, done=59_000), 'a wide terminal is no reason for an endless bar'
    assert re.fullmatch(r'epoch 3/10  42% \S+ +00:\d\d left', bar_of(45)), 'what is most worth knowing stays'
    assert re.fullmatch(r'epoch 3/10  25,344 images  \d+ img/s  00:\d\d  loss 0.1234', bar_of(100, total=None))


def test_a_bar_shows_what_braces_a_text_has():
    assert bar_of(150, text='loss {0.1} {bar}').endswith('  loss {0.1} {bar}')


@pytest.mark.parametrize(
    'environ', [{'CI': 'true'}, {'CI': '1'}, {'TERM': 'dumb'}, {'JPY_PARENT_PID': '17'},
                {'MPLBACKEND': 'module://matplotlib_inline.backend_inline'}],
)  # fmt: skip
def test_an_unwatched_terminal_gets_no_bar(environ, clock, monkeypatch):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    bar = Progress(loader(), 'epoch 1/2', print)
    with stderr(terminal=True) as screen:
        for _ in bar:
            clock[0] += 0.125
            bar.show('loss 0.5')
    assert screen.getvalue() == ''


def test_without_a_terminal_nothing_is_drawn_and_short_epochs_are_silent(clock):
    lines = []
    bar = Progress(loader(), 'epoch 1/2', lines.append)
    with stderr(terminal=False) as file:
        for _ in bar:
            clock[0] += 0.125
            bar.show('loss 0.5')
    assert file.getvalue() == ''
    assert lines == []


def test_without_a_terminal_a_long_epoch_says_a_line_now_and_then(clock):
    lines = []
    bar = Progress(loader(samples=2000, batch_size=20), 'epoch 1/2', lines.append)
    with stderr(terminal=False) as file:
        for step, _ in enumerate(bar, 1):
            clock[0] += 1
            bar.show(f'loss {step}')
    assert progress.QUIET_SECONDS == 30
    assert lines == [
        'epoch 1/2: 620 of 2,000 images, 20 images per second, loss 31',
        'epoch 1/2: 1,240 of 2,000 images, 20 images per second, loss 62',
        'epoch 1/2: 1,860 of 2,000 images, 20 images per second, loss 93',
    ]
    assert file.getvalue() == ''


def test_no_line_comes_after_every_step_when_a_step_is_slow(clock):
    lines = []
    bar = Progress(loader(samples=12, batch_size=1), 'test', lines.append)
    with stderr(terminal=False):
        for _ in bar:
            clock[0] += progress.QUIET_SECONDS / 2 + 1
            bar.show('')
    assert len(lines) == 6


def test_rate_is_pictures_per_second(clock):
    bar = Progress(loader(), 'test', print)
    for _ in bar:
        clock[0] += 0.5
    assert bar.rate() == pytest.approx(10 / 1.5)


def test_time_spent_waiting_for_batches_is_measured(clock):

    def slow_loader():
        for _ in range(4):
            clock[0] += 1  # decoding
            yield torch.zeros(2, 1), None

    bar = Progress(slow_loader(), 'test', print)
    for _ in bar:
        clock[0] += 3  # computing
    assert bar.wait_share() == pytest.approx(0.25)
