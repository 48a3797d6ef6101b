"""--track: what trackers get of a run, and what a run does without them."""

import json
import socket
import sqlite3
import sys
from types import SimpleNamespace

import pytest

import train
from options import parse_train_args
from programs import train_command
from utils.base.errors import DanluError
from utils.options import checks
from utils.training import trackers
from utils.training.hooks import Hook
from utils.training.trackers import FAILED, FINISHED, KILLED, Tracker

SHORT = ('--model_type', 'mlp', '--batch_size', 500, '--device', 'cpu')


class ListTracker(Tracker):
    """Keeps what it is sent."""

    sent = []
    fault = None

    def start(self, options):
        self.sent.append(('start', self.entry, self.project, self.name, options))
        self.entry = self.entry or f'entry of {self.name}'

    def log(self, values, step):
        if self.fault:
            raise self.fault
        self.sent.append(('log', step, values))

    def log_page(self, path):
        self.sent.append(('page', path))

    def end(self, status):
        self.sent.append(('end', status))


@pytest.fixture
def sent(monkeypatch):
    """Return the list of what --track mlflow sends in this process, to a ListTracker."""
    monkeypatch.setitem(trackers.TRACKERS, 'mlflow', ListTracker)
    monkeypatch.setattr(checks, 'find_spec', lambda name: True)
    monkeypatch.setattr(ListTracker, 'sent', [])
    return ListTracker.sent


def test_a_tracker_gets_options_values_final_values_and_the_page(sent, train_here, history_of, list_data, tmp_path):
    words = [*list_data, '--epochs', 2, '--num_workers', 0, '--checkpoints_dir', tmp_path]
    run = train_here(*words, '--report', '--track', 'mlflow', '--track_args', 'project=birds', 'name=first')
    start, first, second, best, test, page, end = sent
    assert start[:4] == ('start', None, 'birds', 'first')
    assert (start[4]['batch_size'], start[4]['model_type'], start[4]['epochs']) == (8, 'lenet', 2)
    rows = history_of(run)
    for (_, step, values), row in zip((first, second), rows, strict=True):
        assert step == int(row['epoch'])
        assert {name: str(value) for name, value in values.items()} == {k: v for k, v in row.items() if k != 'epoch'}
    assert best[2]['best/val_acc'] == max(float(row['val/acc']) for row in rows)
    assert test[2]['test/acc'] == best[2]['best/val_acc'] and not any('acc_class' in name for name in test[2])
    assert page[1].samefile(run.directory / 'report.html')
    assert end == ('end', FINISHED)


def test_a_resumed_run_goes_on_in_its_entry_and_a_copy_has_its_own(sent, train_here, tmp_path):
    words = [*SHORT, '--epochs', 1, '--track', 'mlflow', '--checkpoints_dir', tmp_path]
    run = train_here(*words)
    train_here('--resume', run.directory, '--epochs', 2)
    train_here('--resume', run.directory / 'last.pth', '--as', 'copy', '--epochs', 3)
    starts = [each[1] for each in sent if each[0] == 'start']
    assert starts == [None, 'entry of mlp_exp', None]
    assert [each[1] for each in sent if each[0] == 'log' and 'train/loss' in each[2]] == [1, 2, 3]


def test_a_tracker_that_fails_stops_and_the_run_goes_on(sent, train_here, monkeypatch, tmp_path):
    monkeypatch.setattr(ListTracker, 'fault', ConnectionError('no route\nto host'))
    run = train_here(*SHORT, '--epochs', 2, '--track', 'mlflow', '--checkpoints_dir', tmp_path)
    lines = [line for line in run.stdout.splitlines() if 'mlflow stops' in line]
    assert lines == ['mlflow stops: no route; the run continues']
    assert [each[0] for each in sent] == ['start'] and 'best.pth' in run.files


def test_the_entry_ends_also_if_the_last_test_is_interrupted(sent, train_here, list_data, monkeypatch, tmp_path):
    def interrupted(args, trainer):
        raise KeyboardInterrupt

    monkeypatch.setattr(train_command, 'test_best_epoch', interrupted)
    words = [*list_data, '--epochs', 1, '--num_workers', 0, '--checkpoints_dir', tmp_path, '--report']
    with pytest.raises(KeyboardInterrupt):
        train_here(*words, '--track', 'mlflow')
    assert sent[-1] == ('end', FINISHED)


def test_a_tracker_that_does_not_start_ends_the_run_before_the_first_step(sent, train_here, monkeypatch, tmp_path):
    monkeypatch.setattr(ListTracker, 'start', lambda self, options: 1 / 0)
    with pytest.raises(Exception, match='--track mlflow: division by zero'):
        train_here(*SHORT, '--track', 'mlflow', '--checkpoints_dir', tmp_path)
    assert sent == []  # there is no entry to end


def test_wandb_waits_seconds_for_a_network_and_the_error_says_what_to_do(train_here, monkeypatch, tmp_path):
    given = []

    def fail(**arguments):
        given.append(arguments)
        raise TimeoutError('deadline exceeded\nand more')

    offline = SimpleNamespace(settings=SimpleNamespace(mode='offline', base_url=None))
    monkeypatch.setitem(sys.modules, 'wandb', SimpleNamespace(init=fail, setup=lambda: offline))
    monkeypatch.setattr(checks, 'find_spec', lambda name: True)
    monkeypatch.delenv('WANDB_INIT_TIMEOUT', raising=False)
    said = '--track wandb: deadline exceeded; --track_args mode=offline keeps the run on this machine'
    for settings in ({'init_timeout': 15}, {}):  # then by the user's environment
        with pytest.raises(Exception, match=said):
            train_here(*SHORT, '--track', 'wandb', '--checkpoints_dir', tmp_path)
        assert given.pop()['settings'] == settings
        monkeypatch.setenv('WANDB_INIT_TIMEOUT', '200')


def test_without_a_network_a_run_ends_at_once_unless_it_stays_on_this_machine(train_here, monkeypatch, tmp_path):
    with socket.create_server(('localhost', 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(trackers, 'getproxies', dict)
        trackers.check_server(f'http://localhost:{port}')
    started, settings = [], SimpleNamespace(mode='online', api_host=f'http://localhost:{port}')
    run = SimpleNamespace(log=lambda *_, **__: None, finish=lambda **_: None)
    module = SimpleNamespace(init=lambda **given: started.append(given) or run, Settings=lambda: settings)
    monkeypatch.setitem(sys.modules, 'swanlab', module)
    monkeypatch.setattr(checks, 'find_spec', lambda name: True)
    words = [*SHORT, '--epochs', 1, '--checkpoints_dir', tmp_path, '--track', 'swanlab']
    with pytest.raises(Exception, match=f'--track swanlab: http://localhost:{port} cannot be reached .* mode=offline'):
        train_here(*words)
    assert started == []
    train_here(*words, '--track_args', 'mode=offline')
    monkeypatch.setattr(trackers, 'getproxies', lambda: {'https': 'http://proxy:8080'})
    train_here(*words)  # only the tracker knows how it gets out
    assert len(started) == 2


@pytest.mark.parametrize(('error', 'status'), [(ValueError('x'), FAILED), (KeyboardInterrupt(), KILLED)])
def test_an_entry_says_that_its_run_failed_or_was_stopped(sent, monkeypatch, tmp_path, error, status):
    class Fails(Hook):
        def after_step(self, trainer, images, predictions, targets):
            raise error

    words = [*SHORT, '--track', 'mlflow', '--checkpoints_dir', tmp_path]
    trainer = train.Trainer(parse_train_args(words))
    trainer.hooks.append(Fails())
    with pytest.raises(type(error)):
        trainer.train()
    assert sent[-1] == ('end', status)


def test_an_entry_of_mlflow_ends_if_its_options_are_refused(monkeypatch, tmp_path):
    args = parse_train_args([*map(str, SHORT), '--checkpoints_dir', str(tmp_path)])
    args.track, args.track_args, args.model_dir, ended = 'mlflow', [], str(tmp_path / 'run'), []
    tracker = trackers.MlflowTracker(args)

    def start(options):
        tracker.entry = 'opened'
        tracker.client = SimpleNamespace(set_terminated=lambda *values: ended.append(values))
        raise ConnectionError('log_batch failed')

    monkeypatch.setattr(tracker, 'start', start)
    with pytest.raises(DanluError, match='--track mlflow: log_batch failed'):
        tracker.before_train(None)
    assert ended == [('opened', 'FAILED')]


def test_without_the_option_there_is_no_tracker(tmp_path):
    trainer = train.Trainer(parse_train_args([*SHORT, '--checkpoints_dir', tmp_path]))
    trainer.close()
    assert trainer.hooks == []


def test_a_package_that_is_missing_is_a_usage_error(monkeypatch, capsys):
    monkeypatch.setattr(checks, 'find_spec', lambda name: None)
    with pytest.raises(SystemExit) as ended:
        parse_train_args(['--track', 'wandb'])
    assert ended.value.code == 2
    assert 'wandb is not installed: pip install wandb' in capsys.readouterr().err


def train_and_resume(run_program, data, folder, *words):
    """Train for two epochs with a tracker, resume for a third, and return the directory of the run (Path)."""
    common = [*data, '--num_workers', 0, '--device', 'cpu', '--report', '--checkpoints_dir', folder]
    first = run_program('train.py', *common, '--epochs', 2, *words)
    assert first.code == 0, first.stderr
    [run] = [path.parent for path in folder.glob('*/history.csv')]
    second = run_program('train.py', '--resume', run, '--epochs', 3, '--report')
    assert second.code == 0, second.stderr
    assert f'{words[1]} stops' not in first.stdout + second.stdout
    return run


@pytest.mark.slow('imports MLflow, which makes a database')
def test_mlflow_has_the_run_and_its_resumption_in_one_entry(run_program, history_of, list_data, tmp_path):
    mlflow = pytest.importorskip('mlflow')
    run = train_and_resume(run_program, list_data, tmp_path, '--track', 'mlflow')
    client = mlflow.MlflowClient(f'sqlite:///{tmp_path / "mlflow.db"}')
    experiment = client.get_experiment_by_name('danlu')
    [entry] = client.search_runs([experiment.experiment_id])
    assert (entry.info.status, entry.info.run_name) == ('FINISHED', run.name)
    assert entry.data.params['batch_size'] == '8'
    points = client.get_metric_history(entry.info.run_id, 'val/acc')
    assert [point.step for point in points] == [1, 2, 3]
    with open(run / 'history.csv', encoding='utf-8') as file:
        column = file.readline().strip().split(',').index('val/acc')
        assert [point.value for point in points] == [float(line.split(',')[column]) for line in file]
    assert [each.path for each in client.list_artifacts(entry.info.run_id)] == ['report.html']


@pytest.mark.slow('imports the tracker')
@pytest.mark.parametrize('name', ['wandb', 'swanlab'])
def test_offline_trackers_keep_a_run_and_its_resumption_under_one_id(run_program, list_data, tmp_path, name):
    pytest.importorskip(name)
    words = ['--track', name, '--track_args', 'mode=offline', 'project=birds']
    run = train_and_resume(run_program, list_data, tmp_path, *words)
    folders = sorted((run / name).glob('*run-*-*'))  # run-<time>-<id>, which the tracker's sync joins
    assert len(folders) == 2 and len({path.name.rpartition('-')[2] for path in folders}) == 1
    for folder in folders:
        kept = b''.join(path.read_bytes() for path in folder.rglob('*') if path.is_file())
        for word in (b'val/acc', b'test/acc', b'best/val_acc', b'batch_size', b'report'):
            assert word in kept, word


@pytest.mark.slow('imports the tracker')
def test_trackio_has_the_run_and_its_resumption_in_one_entry(run_program, list_data, tmp_path, monkeypatch):
    pytest.importorskip('trackio')
    monkeypatch.setenv('TRACKIO_DIR', str(tmp_path / 'store'))
    words = ['--track', 'trackio', '--track_args', 'project=birds']
    runs = [train_and_resume(run_program, list_data, tmp_path / folder, *words) for folder in 'ab']
    assert runs[0].name == runs[1].name, 'another run of this name gets an entry of its own'
    with sqlite3.connect(tmp_path / 'store' / 'birds.db') as database:
        configs = [json.loads(text) for [text] in database.execute('SELECT config FROM configs')]
        rows = database.execute('SELECT run_id, step, metrics FROM metrics ORDER BY id').fetchall()
    assert [config['batch_size'] for config in configs] == [8, 8]
    for entry in dict.fromkeys(each[0] for each in rows):
        sent = [(step, json.loads(values)) for each, step, values in rows if each == entry]
        assert [step for step, values in sent if 'val/acc' in values] == [1, 2, 3]
        assert [step for step, values in sent if 'test/acc' in values] == [2, 3]
        assert any('report' in values for _, values in sent)
    assert len({each[0] for each in rows}) == 2
