"""examples/notebook.ipynb runs from the first to the last cell and shows bars, curves and the report."""

import re

import pytest

from utils.base.registry import PROJECT

NOTEBOOK = PROJECT / 'examples' / 'notebook.ipynb'


def text_of(output):
    """Return the text (str) of a cell's output."""
    return output['text'] if output['output_type'] == 'stream' else output['data'].get('text/plain', '')


@pytest.fixture(scope='module')
def executed(tmp_path_factory):
    """Return the code cells of the executed notebook, the outputs that updated in place, and the runs' directory."""
    nbformat = pytest.importorskip('nbformat', reason='nbclient is not installed')
    nbclient = pytest.importorskip('nbclient', reason='nbclient is not installed')
    pytest.importorskip('ipykernel', reason='ipykernel is not installed')
    runs, updates = tmp_path_factory.mktemp('runs'), []

    class Client(nbclient.NotebookClient):
        """Keeps all outputs of a cell that replace each other."""

        def process_message(self, message, cell, index):
            """Process a message of the kernel."""
            if message['msg_type'] in ('display_data', 'update_display_data'):
                updates.append(message['content']['data'])
            return super().process_message(message, cell, index)

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get('outputs') for cell in notebook.cells), 'the notebook is stored without outputs'
    for cell in notebook.cells:
        if cell.cell_type == 'code':
            cell.source = cell.source.replace(
                'save_prefix=', f'checkpoints_dir={str(runs)!r}, device="cpu", save_prefix='
            )
    Client(notebook, timeout=600, resources={'metadata': {'path': str(PROJECT / 'examples')}}).execute()
    return [cell for cell in notebook.cells if cell.cell_type == 'code'], updates, runs


@pytest.mark.slow('starts a kernel, which trains two networks')
def test_the_notebook_runs_and_shows_bar_curves_and_report(executed):
    cells, updates, runs = executed
    outputs = {cell.source.splitlines()[-1]: cell.outputs for cell in cells}
    texts = {last: '\n'.join(map(text_of, shown)) for last, shown in outputs.items()}
    assert re.search(r'Trainer: Sequential, 101,770 parameters, on cpu\n  data: 5,000 to train on', texts['trainer'])
    bars = [shown['text/plain'] for shown in updates if shown.get('text/plain', '').startswith('epoch 1/3')]
    assert bars and re.match(r'epoch 1/3 +\d+% .* [\d,]+/5,000  [\d,]+ img/s  \S+ left', bars[0])
    trained = outputs['history = trainer.train(live=True)']
    assert [list(output['data']) for output in trained if 'image/png' in output.get('data', {})] == [
        ['image/png', 'text/plain']
    ]
    assert sum('image/png' in shown for shown in updates) == 6, 'three live ones, and one at the end of each train()'
    rows = re.findall(r'^ *(\d)/3 ', texts['history = trainer.train(live=True)'], re.MULTILINE)
    assert rows == ['1', '2', '3']
    (page,) = [
        output['data']['text/html'] for output in outputs['trainer.report()'] if 'text/html' in output.get('data', {})
    ]
    assert page.startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert list((runs / 'lenet_notebook' / 'best').glob('*/report.html'))
    assert float(texts["Evaluator(test_args(best)).eval()['acc']"].splitlines()[-1]) > 0.8
    assert 'Predictor: LeNet, 61,706 parameters' in texts['predictor']
    predicted, truth = re.search(r'\((\[.*\]), (\[.*\])\)', texts['predicted.tolist(), labels[:8].tolist()']).groups()
    assert sum(a == b for a, b in zip(eval(predicted), eval(truth), strict=True)) >= 5
