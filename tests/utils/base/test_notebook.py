"""Output in notebook cells, recorded by a fake IPython."""

import sys
import types
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from options import train_args
from train import Trainer
from utils.base import notebook, progress
from utils.base.notebook import CellCurves, NotebookReport, is_notebook
from utils.base.progress import Progress


class Handle:
    """Records what one display handle of a cell has shown."""

    def __init__(self, first):
        self.shown = [first]

    def update(self, content, raw=False):
        """Replace what is shown."""
        self.shown.append(content)


@pytest.fixture
def kernel(monkeypatch):
    """Replace IPython by a fake kernel; return its execution count and the handles of its cells."""
    kernel = SimpleNamespace(execution_count=1, kernel=object(), places=[])

    def display(content, raw=False, display_id=False):
        kernel.places.append(Handle(content))
        return kernel.places[-1]

    ipython, shown = types.ModuleType('IPython'), types.ModuleType('IPython.display')
    ipython.get_ipython, shown.display = lambda: kernel, display
    shown.Image = lambda data, format: (format, data)
    monkeypatch.setitem(sys.modules, 'IPython', ipython)
    monkeypatch.setitem(sys.modules, 'IPython.display', shown)
    monkeypatch.setattr(notebook, 'PROGRESS_LINES', {})
    return kernel


@pytest.fixture
def clock(monkeypatch):
    """Return a list of the time in seconds that a bar sees."""
    now = [100.0]
    monkeypatch.setattr(progress, 'time', SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr('tqdm.std.time', lambda: now[0])
    return now


def test_a_kernel_is_a_notebook_and_a_shell_of_ipython_is_not(kernel):
    assert is_notebook()
    kernel.kernel = None
    assert not is_notebook()


def test_without_ipython_there_is_no_notebook(monkeypatch):
    monkeypatch.delitem(sys.modules, 'IPython', raising=False)
    assert not is_notebook() and 'IPython' not in sys.modules


def test_the_bars_of_a_cell_are_drawn_in_one_place_and_those_of_the_next_cell_in_another(kernel, clock, capsys):
    for title in ('epoch 1/2', 'validate 1/2'):
        loader = DataLoader(TensorDataset(torch.zeros(8, 1), torch.zeros(8)), batch_size=2)
        bar = Progress(loader, title, print)
        for _ in bar:
            clock[0] += 1
            bar.show('loss 0.5000 acc 0.7500')
    (place,) = kernel.places
    texts = [content['text/plain'] for content in place.shown]
    assert any(text.startswith('epoch 1/2  50% █') and 'loss 0.5000 acc 0.7500' in text for text in texts)
    assert any(text.startswith('validate 1/2  75%') for text in texts)
    assert texts[-1] == '', 'the bar is gone at the end'
    kernel.execution_count = 2
    for _ in Progress(loader, 'test', print):
        clock[0] += 1
    assert len(kernel.places) == 2 and kernel.places[1].shown[0]['text/plain'].startswith('test   0%')
    assert capsys.readouterr() == ('', ''), 'nothing goes to the streams'


def run_of(tmp_path, live=False):
    """Train for two short epochs and return the Trainer."""
    data = TensorDataset(torch.rand(8, 1, 8, 8), torch.arange(8) % 2)
    options = {'num_classes': 2, 'image_size': 8, 'channels': 1, 'epochs': 2, 'device': 'cpu'}
    args = train_args(model_type='mlp', checkpoints_dir=str(tmp_path), mean=[0.5], std=[0.5], **options)
    loaders = {name: DataLoader(data, batch_size=4) for name in ('train_loader', 'val_loader')}
    trainer = Trainer(args, **loaders)
    trainer.train(live=live)
    return trainer


def pictures(kernel):
    """Return the handles of a cell that hold images (list of lists)."""
    return [place.shown for place in kernel.places if isinstance(place.shown[0], tuple)]


def test_the_curves_are_shown_at_the_end(kernel, tmp_path, capsys):
    trainer = run_of(tmp_path)
    curves = (trainer.logger.directory / 'curves.png').read_bytes()
    assert pictures(kernel) == [[('png', curves)]]
    lines = capsys.readouterr().out.splitlines()
    header = next(i for i, line in enumerate(lines) if line.startswith('epoch  train/loss '))
    assert [line.split()[0] for line in lines[header + 1 : header + 3]] == ['1/2', '2/2']
    assert max(map(len, lines[header : header + 3])) <= 100, 'a cell is narrow'


def test_live_curves_are_updated_after_each_epoch(kernel, tmp_path, monkeypatch):
    drawn, draw = [], notebook.CellCurves.epoch_ended
    monkeypatch.setattr(CellCurves, 'epoch_ended', lambda self, logger: drawn.append(draw(self, logger)))
    run_of(tmp_path, live=True)
    (place,) = pictures(kernel)
    assert len(drawn) == 2 and len(place) == 3


def test_live_curves_without_a_notebook_are_those_of_the_file(tmp_path, monkeypatch):
    there = []
    shown = CellCurves.show
    monkeypatch.setattr(
        CellCurves,
        'show',
        lambda self, logger: there.append((logger.directory / 'curves.png').exists()) or shown(self, logger),
    )
    run_of(tmp_path, live=True)
    assert there == [True] * 3


def test_a_report_is_an_iframe(tmp_path):
    path = tmp_path / 'report.html'
    path.write_text('<p title="a">1 & 2</p>', encoding='utf-8')
    page = NotebookReport(path)
    assert repr(page) == f'report: {path}'
    assert 'srcdoc="&lt;p title=&quot;a&quot;&gt;1 &amp; 2&lt;/p&gt;"' in page._repr_html_()
