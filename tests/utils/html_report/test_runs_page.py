"""index.html, the page of all runs: its values, groups and links, as a script of the page reads them."""

import datetime
import json
import re
import subprocess
import sys
from urllib.parse import unquote

import pytest

from options import train_args
from programs import notebook_use
from programs.index_page import write_index
from scripts import runs
from scripts.dev.measure_runs import FIRST, Maker
from train import Trainer
from utils.base.errors import DanluError
from utils.base.registry import PROJECT
from utils.html_report import runs_page
from utils.html_report.runs_page import MAX_CURVE_POINTS, write_runs_page


@pytest.fixture
def maker(tmp_path):
    """Return a Maker of runs in an empty directory."""
    return Maker(tmp_path / 'runs')


def groups_of(path):
    """Return the groups (list of dict) that a page holds."""
    text = path.read_text(encoding='utf-8')
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)[1])


def written(maker):
    """Write the page of a Maker's runs and return its groups."""
    path, _ = write_runs_page(maker.root)
    assert path == maker.root / 'index.html'
    return groups_of(path)


def test_values_are_those_of_the_best_epoch_and_the_newest_test(maker):
    run = maker.run('lenet_a', [0.5, 0.8, 0.7], lr=0.01)
    maker.test(run, {'acc': 0.75})
    maker.test(run, {'acc': 0.76}, FIRST + datetime.timedelta(days=1), name='later')
    maker.run('lenet_b', [0.6], FIRST + datetime.timedelta(hours=1), lr=0.1)
    [group] = written(maker)
    assert (group['title'], group['metric'], group['mode']) == ('classification · digits', 'val/acc', 'max')
    assert group['options'] == ['lr']
    newest, run = group['runs']
    assert newest['name'] == 'lenet_b'
    assert (run['values']['val/acc'], run['values']['train/acc'], run['bestEpoch']) == (0.8, 0.776, 2)
    assert (run['test'], run['done'], run['epochs'], run['seconds']) == (0.76, 3, 3, 9.75)
    assert run['curve'] == [[1, 0.5], [2, 0.8], [3, 0.7]]
    assert (run['options'], run['state']) == ({'lr': '0.01'}, 'finished')


def test_a_test_that_does_not_give_the_recorded_values_is_marked(maker):
    run = maker.run('lenet_a', [0.8])
    test = maker.test(run, {'acc': 0.75})
    ledger = maker.root / 'ledger.jsonl'
    line = json.loads(ledger.read_text(encoding='utf-8').splitlines()[-1])
    text = 'acc 0.8000 when saved, 0.7500 now'
    ledger.write_text(json.dumps(line | {'verdict': 'differs', 'verdict_text': text}) + '\n', encoding='utf-8')
    [shown] = written(maker)[0]['runs']
    assert text in shown['warning'], test


def test_runs_of_different_data_or_tasks_are_different_groups(maker):
    digits = [maker.run(f'digits_{i}', [0.5]) for i in range(3)]
    maker.run('noise', [0.5], task='restoration', data_type='noisy_digits')
    record = json.loads((digits[2] / 'record.json').read_text(encoding='utf-8'))
    record['data']['val']['sha256'] = 'e' * 64
    (digits[2] / 'record.json').write_text(json.dumps(record), encoding='utf-8')
    groups = written(maker)
    assert [(group['title'], len(group['runs'])) for group in groups] == [
        ('classification · digits (data of digits_1)', 2),
        ('classification · digits (data of digits_2)', 1),
        ('restoration · digits', 1),
    ]


def test_runs_with_val_split_are_named_by_the_data_that_was_split(maker):
    run = maker.run('photos', [0.5], val_split=0.2, train_list='/data/my photos')
    record = json.loads((run / 'record.json').read_text(encoding='utf-8'))
    record['data']['val']['list'] = str(run / 'val_split' / 'val.txt')
    (run / 'record.json').write_text(json.dumps(record), encoding='utf-8')
    assert [group['title'] for group in written(maker)] == ['classification · my photos']


def test_runs_without_validation_are_grouped_by_their_training_data(maker):
    for name in ('cats', 'dogs'):
        run = maker.run(name, [0.5], val_list='none', train_list=f'/data/{name}')
        record = json.loads((run / 'record.json').read_text(encoding='utf-8'))
        record['data'] = {
            'train': {'list': f'/data/{name}', 'sha256': name * 16, 'samples': 8},
            'val': {'list': None, 'sha256': None, 'samples': 0},
        }
        (run / 'record.json').write_text(json.dumps(record), encoding='utf-8')
    assert [group['title'] for group in written(maker)] == ['classification · cats', 'classification · dogs']


def test_a_long_curve_is_thinned_and_keeps_its_best_and_last_epoch(maker):
    values = [0.5 + 0.001 * (epoch % 7) for epoch in range(200)]
    values[101] = 0.9
    maker.run('long', values)
    [curve] = [run['curve'] for run in written(maker)[0]['runs']]
    assert len(curve) <= MAX_CURVE_POINTS + 1
    assert [102, 0.9] in curve and curve[0][0] == 1 and curve[-1][0] == 200


def test_the_report_of_an_earlier_test_is_linked_if_the_newest_has_none(maker):
    run = maker.run('lenet', [0.5])
    (maker.test(run, {'acc': 0.5}) / 'report.1.html').write_text('', encoding='utf-8')
    [shown] = written(maker)[0]['runs']
    assert shown['links']['report'].endswith('/report.1.html')


def test_links_lead_to_files_that_are_there(maker):
    run = maker.run('lenet #1 50%', [0.5])
    (run / 'curves.png').write_bytes(b'')
    report = maker.test(run, {'acc': 0.5}) / 'report.html'
    report.write_text('', encoding='utf-8')
    [shown] = written(maker)[0]['runs']
    assert list(shown['links']) == ['report', 'curves', 'log', 'files']
    for url in shown['links'].values():
        assert '#' not in url and (maker.root / unquote(url)).exists()
    assert (maker.root / unquote(shown['links']['report'])) == report


def test_damaged_runs_and_strange_names_are_shown_and_break_nothing(maker):
    maker.run('</script><b>', [0.5])
    broken = maker.run('broken', [0.5])
    for name in ('args.txt', 'record.json', 'history.csv'):
        (broken / name).write_bytes(b'\xff\x00{')
    (maker.root / 'empty').mkdir()
    nan = maker.run('nan', [0.5])
    (nan / 'history.csv').write_text('epoch,val/acc\n1,nan\n2,inf\n', encoding='utf-8')
    shown = [run for group in written(maker) for run in group['runs']]
    assert {run['name']: run['state'] for run in shown} == {
        '</script><b>': 'finished', 'broken': 'broken', 'empty': 'broken', 'nan': 'finished'}  # fmt: skip
    assert {run['name']: run['curve'] for run in shown}['nan'] == []


def test_without_runs_the_page_says_so(tmp_path, capsys):
    runs.main(['page', '--checkpoints_dir', str(tmp_path), '--html', str(tmp_path / 'all.html')])
    assert capsys.readouterr().out == f'written: {tmp_path / "all.html"} (0 runs)\n'
    assert 'There are no runs yet' in (tmp_path / 'all.html').read_text(encoding='utf-8')


def test_a_page_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / 'page').mkdir()
    with pytest.raises(DanluError, match='cannot write'):
        runs.main(['page', '--checkpoints_dir', str(tmp_path), '--html', str(tmp_path / 'page')])


def test_it_imports_no_torch():
    lines = (
        f'import sys; sys.path.insert(0, {str(PROJECT)!r})',
        'from utils.html_report import runs_page',
        "runs_page.environment(); sys.exit('torch' in sys.modules)",
    )
    assert subprocess.run([sys.executable, '-c', '\n'.join(lines)], check=False).returncode == 0


def test_each_run_writes_it_at_its_end(train_here, list_data, tmp_path):
    run = train_here(
        *list_data, '--epochs', 1, '--num_workers', 0, '--index', '--report', '--checkpoints_dir', tmp_path
    )
    assert f'all runs: {tmp_path / "index.html"}' in run.stdout.splitlines()
    [group] = groups_of(tmp_path / 'index.html')
    [shown] = group['runs']
    assert group['title'] == 'classification · val.txt'
    assert (shown['name'], shown['state'], shown['test']) == (
        run.directory.name, 'finished', shown['values']['val/acc'])  # fmt: skip
    assert shown['links']['report'].startswith(f'{run.directory.name}/best/')


def test_a_run_whose_page_fails_is_complete_and_says_why(train_here, list_data, monkeypatch, tmp_path):
    def fail(name):
        raise DanluError('no templates')

    monkeypatch.setattr(runs_page, 'environment', lambda: fail('x'))
    run = train_here(*list_data, '--epochs', 1, '--num_workers', 0, '--index', '--checkpoints_dir', tmp_path)
    assert 'the page of all runs is left out: no templates' in run.stdout.splitlines()
    assert 'best.pth' in run.files


@pytest.mark.slow('trains twice and tests')
def test_a_trainer_in_a_notebook_writes_it_too_and_a_report_is_linked(list_data, tmp_path, capsys, monkeypatch):
    lists = dict(zip((name.removeprefix('--') for name in list_data[::2]), list_data[1::2], strict=True))
    given = {**lists, 'epochs': 1, 'num_workers': 0, 'device': 'cpu', 'checkpoints_dir': str(tmp_path)}
    trainer = Trainer(train_args(**given))
    monkeypatch.setattr(notebook_use, 'write_index', write_index)
    trainer.train()
    assert f'all runs: {tmp_path / "index.html"}' in capsys.readouterr().out
    [[shown]] = (group['runs'] for group in groups_of(tmp_path / 'index.html'))
    assert shown['state'] == 'finished' and 'report' not in shown['links']
    trainer.report()
    [[shown]] = (group['runs'] for group in groups_of(tmp_path / 'index.html'))
    assert 'report' in shown['links']
    (tmp_path / 'index.html').unlink()
    Trainer(train_args(**given, index=False)).train()
    assert not (tmp_path / 'index.html').exists()


def test_no_index_leaves_it_out(train_here, list_data, tmp_path):
    run = train_here(*list_data, '--epochs', 1, '--num_workers', 0, '--no_index', '--checkpoints_dir', tmp_path)
    assert 'all runs: ' not in run.stdout
    assert [path.name for path in tmp_path.iterdir()] == [run.directory.name]
