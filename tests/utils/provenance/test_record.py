"""What a run records of itself, what is said of it when it goes on, and whether the same was run already."""

import hashlib
import importlib.metadata
import importlib.util
import json
import linecache
import shutil
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from options import parse_train_args
from tests import shortcuts
from train import Trainer
from utils.base.known_archives import note_archive
from utils.base.registry import PROJECT
from utils.distributed import processes
from utils.provenance import environment, record
from utils.provenance.contents import SampleHashes
from utils.provenance.duplicate_run import DuplicateCheck, run_summary
from utils.provenance.entry_points import definition_name, interactive_definitions
from utils.provenance.environment import git_state, versions_of
from utils.provenance.project_source import project_files, read_files
from utils.provenance.record import changed_versions, open_archive
from utils.runs import lock
from utils.runs.checkpoint import load_checkpoint
from utils.runs.run_directory import remove_unstarted
from utils.training.checkpoint_selector import CheckpointSelector

SMALL = ['--model_type', 'mlp', '--model_args', 'hidden=8', '--num_workers', '0', '--epochs', '1']
SAID = 'same options, code and files (names and sizes) as an earlier run'


@pytest.fixture(scope='module')
def run(train_here, list_data, tmp_path_factory):
    """Return a run of one epoch, augmented, made with a secret in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('API_KEY', 'open-sesame')
        folder = tmp_path_factory.mktemp('runs')
        return train_here(*list_data, *SMALL, '--augment', 'flip', '--checkpoints_dir', folder)


def copied(run, tmp_path):
    """Return a copy of a run's directory that may go on, beside no other run."""
    return shutil.copytree(run.directory, tmp_path / 'runs' / run.directory.name)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a copy of the project (Path), which a run then takes for its own."""
    for name in project_files():
        (tmp_path / 'project' / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, tmp_path / 'project' / name)
    monkeypatch.setattr(record, 'PROJECT', tmp_path / 'project')
    return tmp_path / 'project'


def env_of(directory, name='env.txt'):
    """Return the lines of env.txt (dict of str)."""
    return dict(line.split(': ', 1) for line in (directory / name).read_text(encoding='utf-8').splitlines())


def record_in(directory, name='record.json'):
    """Return a record (dict)."""
    return json.loads((directory / name).read_text(encoding='utf-8'))


# --- what there is at the start


def test_the_files_and_the_checkpoints_tell_the_same(run):
    found, env = record_in(run.directory), env_of(run.directory)
    for name in ('best.pth', 'last.pth'):
        assert load_checkpoint(run.directory / name)['record'] == found
    archive = (run.directory / 'source.zip').read_bytes()
    assert found['source'] == {'file': 'source.zip', 'sha256': hashlib.sha256(archive).hexdigest()}
    assert env['source sha256'] == found['source']['sha256']
    assert env['torch'] == found['versions']['torch']
    assert env['command'] == environment.command_line()
    assert {'date', 'host', 'platform', 'python', 'device', 'cores', 'threads', 'OMP_NUM_THREADS'} <= set(env)
    assert open_archive(found, run.directory).read('train.py') == (PROJECT / 'train.py').read_text(encoding='utf-8')
    assert open_archive(found, run.directory).files() == sorted(read_files())


def test_it_names_what_was_used_and_the_data(run, list_data):
    found = record_in(run.directory)
    for kind, name in {
        'model': 'model.mlp.mlp.MLP',
        'data': 'data.list_dataset.ListDataset',
        'augment': 'data.augment.Flip',
        'loss': 'utils.losses.classification.CrossEntropy',
        'metrics': 'utils.metrics.classification.ClassificationMetrics',
    }.items():
        assert name in found['components'][kind]
    assert set(found['components']) == {'model', 'data', 'augment', 'loss', 'metrics'}
    assert 'model.lenet.lenet.LeNet' not in str(found)
    assert [found['data'][split]['samples'] for split in ('train', 'val')] == [26, 13]
    assert found['data']['train']['list'] == list_data[3]


def test_no_environment_variable_is_written_down_unasked(run):
    for name in ('env.txt', 'record.json', 'args.txt', 'last.pth'):
        assert b'open-sesame' not in (run.directory / name).read_bytes()


def test_a_start_that_failed_leaves_nothing_and_others_are_kept(tmp_path, list_data, train_here, monkeypatch):
    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(record, 'environment_of', full)
    with pytest.raises(Exception, match='No space left on device; free some space, then start it again'):
        train_here(*list_data, *SMALL, '--checkpoints_dir', tmp_path)
    assert list(tmp_path.iterdir()) == []
    for name in ('args.txt', 'env.txt', 'log.txt'):
        (tmp_path / name).touch()
    remove_unstarted(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['args.txt', 'env.txt', 'log.txt']


class Net(nn.Module):
    """A network of a test's own."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3 * 20 * 16, 3)

    def forward(self, images):
        return self.layer(images.flatten(1))


def test_ready_made_parts_are_named_by_where_they_are_defined(tmp_path, list_data):
    script = tmp_path / 'mine.py'
    script.write_text('from torch import nn\n\nclass Loss(nn.CrossEntropyLoss): pass\n', encoding='utf-8')
    spec = importlib.util.spec_from_file_location('mine', script)
    sys.modules['mine'] = mine = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mine)
    args = parse_train_args(
        [*list_data, *SMALL, '--checkpoints_dir', str(tmp_path / 'runs'), '--image_size', '20', '16']
    )
    args.num_classes, args.channels = 3, 3
    trainer = Trainer(args, model=Net(), loss=mine.Loss())
    values = trainer.record.values
    trainer.close()
    del sys.modules['mine']
    assert list(values['components']['model']) == ['tests.utils.provenance.test_record.Net']
    assert list(values['components']['loss']) == [f'{script}:Loss']
    assert values['experiment'] is None, 'what a part was built with is not in the options'
    assert definition_name(nn.Linear) is None


def test_what_was_typed_into_a_notebook_is_hashed_where_its_text_is_kept(monkeypatch):
    notebook = ModuleType('__main__')
    monkeypatch.setitem(sys.modules, '__main__', notebook)
    hashes = []
    for number, text in enumerate(
        ['def act(x):\n    return x\n', 'def act(x):\n    return x  # so\n', 'def act(x):\n    return -x\n']
    ):
        linecache.cache[f'<cell {number}>'] = (len(text), None, text.splitlines(True), f'<cell {number}>')
        exec(compile(text, f'<cell {number}>', 'exec'), vars(notebook))
        hashes.append(interactive_definitions([notebook.act, 'model.lenet.LeNet', nn.Linear])['__main__.act'])
    assert hashes[0] == hashes[1] != hashes[2]


# --- git


def git(folder, *words):
    """Run git in a directory."""
    settings = ['-c', 'user.name=n', '-c', 'user.email=e@x', '-c', 'init.defaultBranch=main']
    subprocess.run(['git', *settings, *words], cwd=folder, check=True, capture_output=True)


def test_git_is_asked_for_the_project_alone(tmp_path):
    project = tmp_path / 'a b' / 'project'
    project.mkdir(parents=True)
    assert git_state(project) is None
    (project / 'train.py').touch()
    (tmp_path / 'other.txt').touch()
    git(tmp_path, 'init')
    assert git_state(project) is None, 'of another repository, which does not have the project'
    git(tmp_path, 'add', '.')
    assert git_state(project) == {'commit': None, 'changed': ['train.py']}
    git(tmp_path, 'commit', '-m', 'x')
    state = git_state(project)
    assert len(state['commit']) == 40
    assert state['changed'] == []
    (tmp_path / 'other.txt').write_text('changed', encoding='utf-8')
    (project / 'train.py').write_text('changed', encoding='utf-8')
    (project / 'ünew file.py').touch()
    assert git_state(project) == state | {'changed': ['train.py', 'ünew file.py']}


def test_git_that_is_not_there_or_does_not_answer_is_no_obstacle(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, 'GIT_TIMEOUT_SECONDS', 0.2)
    monkeypatch.setattr(environment, '_git', shortcuts.real_git)
    monkeypatch.setenv('PATH', str(tmp_path))
    assert git_state() is None
    (tmp_path / 'git').write_text('#!/bin/sh\nexec /bin/sleep 20\n', encoding='utf-8')
    (tmp_path / 'git').chmod(0o755)
    assert git_state() is None


def test_a_run_of_several_processes_is_another_than_that_of_one(tmp_path, monkeypatch):
    """Its sums have other last digits."""
    trainer = Trainer(parse_train_args(['--checkpoints_dir', str(tmp_path), '--device', 'cpu']))
    trainer.close()
    found = []
    for count in (1, 2, 3):
        monkeypatch.setattr(processes, 'count', lambda count=count: count)
        found.append(record.experiment_of(trainer, trainer.record.values))
    assert len({*found}) == 3 and found[0] == trainer.record.values['experiment']


# --- going on


def test_a_run_that_goes_on_unchanged_notes_only_that(run, train_here, tmp_path):
    directory = copied(run, tmp_path)
    resumed = train_here('--resume', directory, '--epochs', '2')
    assert 'changed since' not in resumed.stdout
    assert [name for name in resumed.files if '_2' in name] == []
    assert (directory / 'env.txt').read_text(encoding='utf-8').splitlines()[-1].startswith('resumed: 2')
    now, before = record_in(directory), record_in(run.directory)
    assert now == before | {'experiment': now['experiment']}
    assert now['experiment'] != before['experiment'], 'of two epochs'
    assert load_checkpoint(directory / 'last.pth')['record'] == now


def test_changed_code_is_named_and_recorded_anew(run, train_here, tmp_path, project):
    directory = copied(run, tmp_path)
    model, optim = project / 'model/mlp/mlp.py', project / 'utils/training/optim.py'
    model.write_text(model.read_text(encoding='utf-8').replace('nn.ReLU(', 'nn.GELU('), encoding='utf-8')
    optim.write_text(optim.read_text(encoding='utf-8') + '\nEXTRA = 1\n', encoding='utf-8')
    resumed = train_here('--resume', directory, '--epochs', '2')
    assert (
        'changed since the run was interrupted: the code of model/mlp/mlp.py: MLP (model), utils/training/optim.py; '
        in resumed.stdout
    )
    assert {'env.txt', 'source.zip', 'record.json', 'env_2.txt', 'source_2.zip', 'record_2.json'} <= set(resumed.files)
    now = record_in(directory, 'record_2.json')
    assert load_checkpoint(directory / 'last.pth')['record'] == now
    assert now['source']['file'] == 'source_2.zip'
    assert 'GELU' in open_archive(now, directory).read('model/mlp/mlp.py')
    assert record_in(directory) == record_in(run.directory)
    again = train_here('--resume', directory, '--epochs', '3')
    assert 'changed since' not in again.stdout
    assert 'resumed' in env_of(directory, 'env_2.txt')
    assert 'env_3.txt' not in again.files


@pytest.mark.slow('two starts in a copy of the project')
def test_a_changed_comment_is_recorded_without_a_word(run, train_here, tmp_path, project):
    directory = copied(run, tmp_path)
    with open(project / 'model/mlp/mlp.py', 'a', encoding='utf-8') as file:
        file.write('# a comment\n')
    resumed = train_here('--resume', directory, '--epochs', '2')
    assert 'changed since' not in resumed.stdout
    assert 'source_2.zip' in resumed.files


def test_versions_do_not_depend_on_what_is_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchvision', SimpleNamespace(__version__='0.29.2+cu132'))
    monkeypatch.setitem(sys.modules, 'uninstalled', SimpleNamespace(__version__='1.0'))
    found = versions_of(['uninstalled', 'neither'])
    assert found['torchvision'] == importlib.metadata.version('torchvision')
    assert found['uninstalled'] == '1.0' and 'neither' not in found
    assert found['torch'] == torch.__version__


def test_other_versions_are_named_and_another_archive_is_not_taken(run):
    then = {'versions': {'torch': '2.1', 'numpy': '2.0', 'gone': '1'}}
    assert changed_versions(then, {'versions': {'torch': '2.2', 'numpy': '2.0'}}) == ['torch 2.1 -> 2.2']
    assert open_archive({'source': {'file': 'source.zip', 'sha256': 'x'}}, run.directory) is None
    shutil.copy(run.directory / 'source.zip', run.directory.parent / 'other.zip')
    sha256 = record_in(run.directory)['source']['sha256']
    assert open_archive({'source': {'file': '../other.zip', 'sha256': sha256}}, run.directory) is None


# --- the same again


@pytest.mark.parametrize(
    ('words', 'same'),
    [
        ((), True),
        (('--save_prefix', 'other', '--print_freq', '7', '--save_freq', '1', '--threads', '1'), True),
        (('--lr', '0.004'), False),
        (('--epochs', '2'), False),
        (('--seed', '1'), False),
    ],
)
def test_the_same_run_is_told_from_another(words, same, run, train_here, list_data, tmp_path):
    directory = copied(run, tmp_path)
    again = train_here(*list_data, *SMALL, '--augment', 'flip', '--checkpoints_dir', directory.parent, *words)
    assert (SAID in again.stdout) is same
    if same:
        assert f'{directory}, finished after epoch 1, best val/acc ' in again.stdout
        log = (again.directory / 'log.txt').read_text(encoding='utf-8')
        assert SAID in log
        assert f'the data has the same bytes as in the earlier run {directory}' in log


def test_another_code_is_another_run(run, train_here, list_data, tmp_path, project):
    directory = copied(run, tmp_path)
    (project / 'utils/training/optim.py').write_text('', encoding='utf-8')
    again = train_here(*list_data, *SMALL, '--augment', 'flip', '--checkpoints_dir', directory.parent)
    assert SAID not in again.stdout


@pytest.fixture
def runs(tmp_path):
    """Return a directory of a thousand runs of which one is asked for, and of things that are no runs."""
    for number in range(1000):
        made(tmp_path / f'run_{number}', 'ab' * 32 if number == 500 else f'{number:064d}')
    for name, text in (('broken', '{"format": 1, "exp'), ('empty', ''), ('list', '[]'), ('bytes', '\0\1')):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'record.json').write_text(text, encoding='utf-8')
    (tmp_path / 'older').mkdir()
    (tmp_path / 'ledger.jsonl').touch()
    (tmp_path / 'folder' / 'record.json').mkdir(parents=True)
    (tmp_path / 'gone').symlink_to(tmp_path / 'nowhere')
    return tmp_path


def made(directory, experiment, date='2026-01-01T00:00:00+00:00'):
    """Make a run's directory with a record and return it."""
    directory.mkdir()
    text = json.dumps({'format': 1, 'date': date, 'experiment': experiment, 'more': 'x' * 3000}, indent=1)
    (directory / 'record.json').write_text(text, encoding='utf-8')
    return directory


def test_one_among_a_thousand_runs_broken_ones_and_others_is_found(runs):
    args = SimpleNamespace(checkpoints_dir=str(runs), model_dir=str(runs / 'run_3'))

    def said(experiment='ab' * 32):
        record = {'experiment': experiment, 'data': {'val': {'samples': 3, 'parts': {'pictures': 'x'}}}}
        return DuplicateCheck(args, record, CheckpointSelector('val/acc', 'max')).start({})

    [line] = said()
    assert line == f'same options, code and data as an earlier run: {runs / "run_500"}, broken, no epoch'
    made(runs / 'newer', 'ab' * 32, '2026-02-01T00:00:00+00:00')
    assert str(runs / 'newer') in said()[0]
    assert said()[0].endswith('; 1 more')
    (runs / 'newer' / 'record_2.json').touch()
    assert str(runs / 'run_500') in said()[0], 'the other went on as another run'
    args.model_dir = str(runs / 'run_500')
    assert said() == said(None) == []
    args.checkpoints_dir = str(runs / 'not there')
    assert said() == []


@pytest.fixture
def earlier(tmp_path):
    """Return a function: hashes of the validation data or None -> DuplicateCheck of a run, and the run's directory.

    There are two earlier runs with the hashes 1, 2 and 1, 3, and one that recorded none.
    """

    def earlier(*names):
        for number, name in enumerate(names):
            made(tmp_path / name, 'ab' * 32, f'2026-01-0{number + 1}T00:00:00+00:00')
            if name != 'none':
                SampleHashes([1 << 32, int(name[-1]) << 32]).write(tmp_path / name / 'contents_val.bin')
        args = SimpleNamespace(checkpoints_dir=str(tmp_path), model_dir=str(tmp_path / 'new'))
        (tmp_path / 'new').mkdir()
        record = {'experiment': 'ab' * 32, 'data': {'val': {'samples': 2, 'parts': {'names': 'x'}}}}
        return DuplicateCheck(args, record, CheckpointSelector('val/acc', 'max')), tmp_path / 'new'

    return earlier


LOADERS = {'val': SimpleNamespace(sample_name='n{}.png'.format, input_kind='image')}


LATER = 'the bytes of the samples are compared after the first epoch'
OTHER = 'the validation data: 1 of 2 samples changed: n1.png (1 image)'


@pytest.mark.parametrize(
    ('names', 'hashes', 'start', 'finish'),
    [
        (('run2',), None, LATER, 'the data has the same bytes as in the earlier run {}/run2'),
        (('none', 'run2', 'run3'), None, LATER, 'the data has the same bytes as in the earlier run {}/run2'),
        (('none',), None, 'the samples are not compared, as that run has no record of them', None),
        (('run3',), None, LATER, 'the data is not that of the earlier run {}/run3: ' + OTHER),
        (('run2',), 'known', 'same options, code and data as an earlier run: {}/run2, broken', None),
        (('run3',), 'known', 'as an earlier run, {}/run3, broken, no epoch, but other data: ' + OTHER, None),
    ],
)
def test_runs_with_other_bytes_are_not_called_the_same(earlier, names, hashes, start, finish, tmp_path):
    check, directory = earlier(*names)
    own = SampleHashes([1 << 32, 2 << 32])
    if hashes == 'known':
        own.write(directory / 'contents_val.bin')
    [line] = check.start(LOADERS)
    assert start.format(tmp_path) in line
    assert check.finish(LOADERS) == []
    own.write(directory / 'contents_val.bin')
    lines = check.finish(LOADERS)
    assert len(lines) == (finish is not None)
    assert finish is None or finish.format(tmp_path) in lines[0]
    assert check.finish(LOADERS) == []


def test_an_earlier_run_whose_record_of_the_samples_is_damaged_is_named_once(earlier, tmp_path):
    check, directory = earlier('run2')
    (tmp_path / 'run2' / 'contents_val.bin').write_bytes(b'damaged')
    check.start(LOADERS)
    SampleHashes([1 << 32, 2 << 32]).write(directory / 'contents_val.bin')
    [line] = check.finish(LOADERS)
    assert line.startswith(f'the data is not compared with the earlier run {tmp_path}/run2: ')
    assert check.finish(LOADERS) == []


def test_an_earlier_run_is_described_as_far_as_it_can_be_read(tmp_path, monkeypatch):
    low, high = CheckpointSelector('val/loss', 'min'), CheckpointSelector('val/acc', 'max')
    (tmp_path / 'args.txt').write_text('# python train.py \n--epochs=5\n', encoding='utf-8')
    (tmp_path / 'history.csv').write_text(
        'epoch,val/acc,val/loss\n1,0.5,nan\n2,0.75,0.25\n3,0.7,0.5\n4,0.', encoding='utf-8'
    )
    assert run_summary(tmp_path, high) == 'killed after epoch 3, best val/acc 0.7500 in epoch 2'
    assert run_summary(tmp_path, low) == 'killed after epoch 3, best val/loss 0.2500 in epoch 2'
    (tmp_path / 'lock').touch()
    assert run_summary(tmp_path, high).startswith('killed'), 'a lock that a killed process has left'
    with monkeypatch.context() as without_locks:
        without_locks.setattr(lock, 'fcntl', None)
        assert run_summary(tmp_path, high).startswith('running after epoch 3')
    (tmp_path / 'log.txt').write_text('epoch 3\nstopped after epoch 3 by --patience\n', encoding='utf-8')
    assert run_summary(tmp_path, high).startswith('stopped after epoch 3')
    (tmp_path / 'history.csv').unlink()
    assert run_summary(tmp_path, high) == 'stopped, no epoch'


@pytest.mark.parametrize(
    ('start', 'command'),
    [
        pytest.param(['package/task.py'], 'python package/task.py', marks=pytest.mark.slow('a new interpreter')),
        (['-m', 'package.task'], 'python -m package.task'),
        pytest.param(['-m', 'package'], 'python -m package', marks=pytest.mark.slow('a new interpreter')),
    ],
)
def test_the_command_is_one_that_can_be_repeated(tmp_path, start, command):
    (tmp_path / 'package').mkdir()
    text = f'import sys; sys.path.append({str(PROJECT)!r})\n'
    text += 'from utils.provenance.environment import command_line\nprint(command_line())'
    for name in ('__init__', '__main__', 'task'):
        (tmp_path / 'package' / f'{name}.py').write_text('' if name == '__init__' else text)
    printed = subprocess.check_output([sys.executable, *start, '--x', 'a b'], text=True, cwd=tmp_path)
    assert printed == f"{command} --x 'a b'\n"


def test_the_archive_of_a_checkpoint_that_was_copied_alone_is_found_in_its_run(digits_run, tmp_path):
    made = load_checkpoint(digits_run.directory / 'best.pth')['record']
    assert open_archive(made, digits_run.directory).place == digits_run.directory / 'source.zip'
    note_archive(made['source']['sha256'], digits_run.directory)
    assert open_archive(made, tmp_path).read_bytes('train.py') is not None
    unknown = made | {'source': made['source'] | {'sha256': 'a' * 64}}
    assert open_archive(unknown, digits_run.directory) is None
    (tmp_path / 'source.zip').write_bytes(b'of another run')
    assert open_archive(made, tmp_path).place != tmp_path / 'source.zip'
