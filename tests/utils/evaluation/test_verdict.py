"""Whether a test gives the values recorded for its checkpoint, and what is said if it does not."""

import json
import math
import shutil
from pathlib import Path

import pytest

import eval as eval_py
from scripts import runs as runs_py
from utils.evaluation.verdict import describe_rounding
from utils.metrics.classification import ClassificationMetrics
from utils.provenance.causes import NO_CAUSE
from utils.provenance.earlier_values import Conditions, Difference, describe_differences, differences
from utils.runs.checkpoint import load_checkpoint, save_checkpoint
from utils.runs.ledger import read

# --- the comparison of numbers

CPU = Conditions('0' * 64, '1' * 64, 1000, {}, 'cpu')


def differing(then, now, conditions=CPU):
    """Return the names (list of str) of the values that differ."""
    earlier = {name: (value, 'when saved') for name, value in then.items()}
    return [each.name for each in differences(now, earlier, conditions)]


@pytest.mark.parametrize(
    ('then', 'now', 'found'),
    [
        ({'loss': 0.5, 'acc': 0.9}, {'loss': 0.5, 'acc': 0.9}, []),
        ({'loss': 0.5, 'acc': 0.9}, {'loss': 0.5 * (1 + 5e-6), 'acc': 0.9}, []),
        ({'loss': 0.5, 'acc': 0.9}, {'loss': 0.5001, 'acc': 0.9}, ['loss']),
        # One sample more is rounding only if the loss was rounded as well.
        ({'loss': 0.5, 'acc': 0.9}, {'loss': 0.5, 'acc': 0.901}, ['acc']),
        ({'loss': 0.5, 'acc': 0.9}, {'loss': 0.5 * (1 + 5e-6), 'acc': 0.901}, []),
        ({'loss': 0.5, 'acc': 0.9}, {'loss': 0.5 * (1 + 5e-6), 'acc': 0.91}, ['acc']),
        ({'loss': math.nan, 'f1': math.nan}, {'loss': math.nan, 'f1': math.nan}, []),
        ({'loss': math.inf, 'f1': 0.5}, {'loss': math.inf, 'f1': math.nan}, ['f1']),
        ({'loss': 0.5, 'gone': 0.5}, {'loss': 0.5, 'new': 0.1}, []),
        ({'loss': 0.5, 'rmse': 12000.0}, {'loss': 0.5, 'rmse': 12001.0}, ['rmse']),
    ],
)
def test_values_differ_beyond_rounding(then, now, found):
    assert differing(then, now) == found


def test_a_gpu_and_mixed_precision_may_round_more():
    then, now = {'loss': 0.5, 'acc': 0.9}, {'loss': 0.5002, 'acc': 0.902}
    assert differing(then, now) == ['loss', 'acc']
    for conditions in (CPU._replace(device='cuda'), CPU._replace(amp='bf16')):
        assert differing(then, now, conditions) == []
        assert differing(then, {'loss': 0.6, 'acc': 0.902}, conditions) == ['loss', 'acc']


@pytest.mark.parametrize(
    ('gaps', 'text'),
    [
        ({'acc': 0.0, 'loss': 0.0}, ''),
        ({'acc': math.nan, 'loss': 0.0}, ''),
        ({'f1': math.nan, 'acc': 0.0, 'loss': 1.62e-6}, ' to rounding (loss differs by 1.620e-06)'),
    ],
)
def test_rounding_is_named_with_the_value_that_differs_most(gaps, text):
    assert describe_rounding(gaps) == text


def test_values_that_look_equal_are_told_in_full():
    found = [Difference('acc', 0.98, 'when saved', 0.9755), Difference('loss', 0.5, 'when saved', 0.5000000001)]
    assert describe_differences(found) == 'acc 0.9800 when saved, 0.9755 now; loss 0.5 when saved, 0.5000000001 now'
    assert describe_differences(found * 3).endswith('; 3 more values differ')


# --- tests


def copy_run(run, path):
    """Copy a run without the tests that other tests made of it; return the copy (Path)."""
    return shutil.copytree(run.directory, path, symlinks=True, ignore=shutil.ignore_patterns('best'))


@pytest.fixture
def run(mask_run, tmp_path):
    """Return a copy (Path) of a run, in a directory of its own, whose ledger is empty."""
    return copy_run(mask_run, tmp_path / 'runs' / 'unet_exp')


def last_line(run):
    lines, _ = read(run.parent / 'ledger.jsonl')
    return lines[-1]


def halved(monkeypatch, cls=ClassificationMetrics):
    """Let metrics give half of each value, as a changed line in a file that nobody knows."""
    compute = cls.compute
    monkeypatch.setattr(cls, 'compute', lambda self: {name: value / 2 for name, value in compute(self).items()})


@pytest.fixture
def digits(digits_run, tmp_path):
    """Return a copy (Path) of the run on the digits."""
    return copy_run(digits_run, tmp_path / 'runs' / 'lenet_exp')


def test_equal_values_are_recorded_and_not_mentioned(run, eval_here):
    test = eval_here('--load_model_path', run / 'best.pth', '--strict_record')
    assert test.head['verdict'] == 'equal'
    assert test.head['compared with recorded values'].endswith('values are equal to those recorded when saved')
    assert ' when saved' not in test.stdout
    line = last_line(run)
    assert (line['verdict'], line['device'], line['changed_options'], line['causes']) == ('equal', 'cpu', {}, [])


def test_other_values_come_first_and_stay_marked(digits, eval_here, monkeypatch, capsys):
    best = digits / 'best.pth'
    eval_here('--load_model_path', best)
    with monkeypatch.context() as patch:
        halved(patch)
        test = eval_here('--load_model_path', best)
        with pytest.raises(eval_py.DanluError, match='the values are not those recorded for this checkpoint') as raised:
            eval_here('--load_model_path', best, '--strict_record')
    assert raised.value.status == 1, 'the test is complete'
    lines = test.stdout.splitlines()
    value = load_checkpoint(best)['metrics']['val/acc']
    at = lines.index(next(line for line in lines if line.startswith('acc ')))
    assert lines[at].startswith(f'acc {value:.4f} when saved, {value / 2:.4f} now; ')
    assert lines[at + 2] == f'  {NO_CAUSE}'
    assert at < lines.index(next(line for line in lines if line.startswith('  acc:')))
    line = last_line(digits)
    assert (line['verdict'], line['verdict_text']) == ('differs', lines[at])
    capsys.readouterr()
    runs_py.main(['list', '--checkpoints_dir', str(digits.parent)])
    listed = capsys.readouterr().out
    assert f'{value / 2:.4f}!' in listed
    assert f'! lenet_exp: the test of best.pth does not give the recorded values: {lines[at]}' in listed
    runs_py.main(['list', '--json', '--checkpoints_dir', str(digits.parent)])
    assert json.loads(capsys.readouterr().out)[0]['test_verdict'] == 'differs'
    runs_py.main(['find-value', str(value / 2), '--checkpoints_dir', str(digits.parent)])
    assert '  verdict     differs, acc ' in capsys.readouterr().out
    shutil.copytree(digits, digits.parent / 'lenet_two', symlinks=True)
    runs_py.main(['diff', 'lenet_exp', 'lenet_two', '--checkpoints_dir', str(digits.parent)])
    assert '! A: the test of best.pth on digits (' in capsys.readouterr().out
    earlier, later = (test.directory, test.directory.with_name('earlier'))
    shutil.copytree(earlier, later)
    runs_py.main(['compare-predictions', str(earlier), str(later), '--checkpoints_dir', str(digits.parent)])
    assert '! A does not give the recorded values: acc ' in capsys.readouterr().out
    # Without the change the test gives the recorded values again, also those per class, which only tests have.
    again = eval_here('--load_model_path', best, '--strict_record')
    assert again.head['verdict'] == 'equal'


def test_on_another_list_later_tests_are_compared_with_the_first(list_run, eval_here, tmp_path, monkeypatch):
    run = copy_run(list_run, tmp_path / 'runs' / 'lenet_exp')
    state = load_checkpoint(run / 'best.pth')
    lines = Path(state['args']['val_list']).read_text(encoding='utf-8').splitlines()
    (tmp_path / 'other.txt').write_text('\n'.join(lines[:7]) + '\n', encoding='utf-8')
    folder = str(tmp_path / 'other.txt')
    words = ['--load_model_path', run / 'best.pth', '--val_list', folder, '--num_workers', 0]
    words += ['--data_root', str(state['args']['val_list']).rpartition('/')[0]]
    first = eval_here(*words)
    assert first.head['verdict'] == 'not compared'
    reason = 'no earlier values to compare: other data than in the validation of the run'
    assert first.head['compared with recorded values'] == reason
    assert eval_here(*words).head['verdict'] == 'equal'
    halved(monkeypatch)
    test = eval_here(*words)
    assert test.head['verdict'] == 'differs'
    assert ' in the test of 20' in test.head['compared with recorded values']


def test_other_options_by_the_user_are_no_change(run, eval_here):
    test = eval_here('--load_model_path', run / 'best.pth', '--batch_size', 1)
    assert test.head['verdict'] == 'not compared'
    reason = 'no earlier values to compare: other options than in the training: --batch_size'
    assert test.head['compared with recorded values'] == reason
    assert last_line(run)['changed_options'] == {'--batch_size': 1}
    assert eval_here('--load_model_path', run / 'best.pth', '--batch_size', 1).head['verdict'] == 'equal'
    assert eval_here('--load_model_path', run / 'best.pth', '--batch_size', 2).head['verdict'] == 'equal', 'as trained'


@pytest.mark.parametrize('fault', ['within an epoch', 'no validation'])
def test_a_checkpoint_without_values_of_its_weights_is_not_compared(fault, run, eval_here):
    state = load_checkpoint(run / 'last.pth')
    if fault == 'within an epoch':
        state['loader']['batch'] = 1
    else:
        state['metrics'] = {name: value for name, value in state['metrics'].items() if not name.startswith('val/')}
    save_checkpoint(run / 'last.pth', state)
    test = eval_here('--load_model_path', run / 'last.pth')
    assert test.head['verdict'] == 'not compared'


def test_without_source_zip_it_is_said_what_is_not_compared(run, eval_here, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'state'))  # else it is found in the run that wrote it
    (run / 'source.zip').unlink()
    words = ['--load_model_path', run / 'best.pth']
    assert 'not compared' not in eval_here(*words, '--batch_size', 1).stdout, 'all files are as they were'
    state = load_checkpoint(run / 'best.pth')
    state['record']['code'] = '0' * 64
    save_checkpoint(run / 'best.pth', state)
    assert 'not compared' not in eval_here(*words).stdout, 'the values are'
    said = eval_here(*words, '--batch_size', 1).stdout
    assert (
        f'not compared: the code of the evaluation, as there is no readable source.zip beside {run}/best.pth; ' in said
    )


@pytest.mark.slow('three tests with pages')
def test_the_page_says_it(digits, eval_here, monkeypatch):
    pytest.importorskip('jinja2')
    words = ['--load_model_path', digits / 'best.pth', '--report']
    assert 'class="warning"' not in (eval_here(*words).directory / 'report.html').read_text(encoding='utf-8')
    halved(monkeypatch)
    page = (eval_here(*words).directory / 'report.html').read_text(encoding='utf-8')
    assert '<p class="warning" role="alert">This test does not give the recorded values: acc ' in page
