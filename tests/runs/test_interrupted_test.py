"""The test at the end of a run, killed at any moment: resuming the run makes up for it and cleans up."""

import json
import os
import shutil
import signal
from types import SimpleNamespace

import pytest

import eval as eval_py
import train
from programs import best_epoch
from utils.base.errors import DanluError
from utils.runs import ledger, result_directory


@pytest.fixture(scope='module')
def finished(train_here, tmp_path_factory):
    """Return the directory of a run of one epoch whose end test has not begun."""
    folder = tmp_path_factory.mktemp('finished')
    return train_here('--epochs', 1, '--batch_size', 500, '--threads', 1, '--checkpoints_dir', folder).directory


@pytest.fixture
def run(finished, tmp_path):
    """Return a copy of that run."""
    return shutil.copytree(finished, tmp_path / 'runs' / finished.name)


def resume(run):
    """Resume a run that has finished, with its test."""
    train.main(['--resume', str(run), '--report', '--device', 'cpu'])


def killed(run, module, name):
    """Resume in another process, which kills itself as soon as it calls module.name."""
    process = os.fork()
    if not process:
        setattr(module, name, lambda *args, **options: os.kill(os.getpid(), signal.SIGKILL))
        try:
            resume(run)
        finally:
            os._exit(1)
    assert os.waitpid(process, 0)[1] == signal.SIGKILL


def lines_in(run):
    """Return the lines (list of dict) of the ledger beside a run."""
    path = run.parent / ledger.LEDGER_FILE
    return [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()] if path.exists() else []


MOMENTS = {
    'before it began': (best_epoch, 'prepare_test_args'),
    'with an empty directory': (eval_py, 'save_args'),
    'while it wrote its options': (os, 'replace'),
    'while it went on': (eval_py, 'provenance_of'),
    'while its page was written': (eval_py, 'write_page'),
    'before its results were there': (eval_py, 'write_result'),
    'before its files had their places': (result_directory, '_move_into_place'),
    'before the ledger had it': (ledger, 'append'),
}


@pytest.mark.slow_after(1, 'a killed and a resumed run each')
@pytest.mark.skipif(not hasattr(os, 'fork'), reason='kills a forked process')
@pytest.mark.parametrize('moment', MOMENTS)
def test_a_killed_end_test_is_made_up_for(moment, run, capsys):
    killed(run, *MOMENTS[moment])
    resume(run)
    assert 'testing best.pth, which was interrupted' in capsys.readouterr().out
    [folder] = (run / 'best').iterdir()
    files = {path.name for path in folder.iterdir()}
    assert {'args.txt', 'result.txt', 'report.html', 'predictions.csv'} <= files
    assert not files & {'lock', 'partial', 'ledger_line.json', 'result.1.txt'}
    [line] = lines_in(run)
    assert line['result_dir'] == str(folder)
    assert line['values']['acc'] > 0.1
    with pytest.raises(DanluError, match='is finished, at epoch 1 of 1'):
        resume(run)
    assert len(lines_in(run)) == 1


@pytest.mark.slow('a killed and a resumed run')
def test_a_process_killed_behind_its_ledger_line_does_not_add_it_twice(run, capsys):
    resume(run)
    [folder] = (run / 'best').iterdir()
    (folder / 'ledger_line.json').write_text(json.dumps(lines_in(run)[0]), encoding='utf-8')
    resume(run)
    assert len(lines_in(run)) == 1
    assert not (folder / 'ledger_line.json').exists()


def test_without_its_page_nothing_is_made_up_for(run):
    with pytest.raises(DanluError, match='is finished, at epoch 1 of 1'):
        train.main(['--resume', str(run), '--device', 'cpu'])
    assert not (run / 'best').exists()


def test_auto_makes_up_for_the_test_and_then_has_nothing_to_do(run, capsys):
    words = ['--epochs', '1', '--batch_size', '500', '--threads', '1', '--checkpoints_dir', str(run.parent)]
    for said in ('testing best.pth, which was interrupted', 'nothing to do: '):
        train.main([*words, '--resume', 'auto', '--report', '--device', 'cpu'])
        assert said in capsys.readouterr().out
    assert len(lines_in(run)) == 1


@pytest.mark.slow('a run with a page')
def test_a_ledger_that_cannot_be_written_is_said_once(run, capsys):
    (run.parent / ledger.LEDGER_FILE).mkdir()
    resume(run)
    assert 'so this test is recorded only in result.txt' in capsys.readouterr().out
    tested = SimpleNamespace(load_model_path=str(run / 'best.pth'), checkpoints_dir=str(run.parent))
    [folder] = (run / 'best').iterdir()
    result_directory.recover_partial(tested, folder)
    assert capsys.readouterr().out == ''
