"""What files of others can do: be read as data. Nothing runs, nothing leaves its directory or goes to the network."""

import ast
import functools
import io
import json
import os
import platform
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from data.data_entry import complete_args, select_train_loader
from data.lists.shards import TarShard
from data.mem_list import MemList
from options import parse_train_args
from utils.base.errors import DanluError
from utils.base.registry import PROJECT

FOLDERS = ('data', 'model', 'programs', 'utils', 'scripts')
SOURCES = [path for part in ('*.py', *(f'{name}/**/*.py' for name in FOLDERS)) for path in sorted(PROJECT.glob(part))]
# Calls that run what a file or a server holds, and modules that do little else.
FORBIDDEN_CALLS = {
    *('eval', 'exec', 'os.system', 'os.popen', 'pickle.load', 'pickle.loads', 'pickle.Unpickler', 'marshal.loads'),
    *('yaml.load', 'joblib.load', 'torch.hub.load', 'runpy.run_path', 'shutil.unpack_archive'),
}
TRACKING = 'trackers.py'  # --track, off by default
FORBIDDEN_MODULES = {'urllib', 'http', 'requests', 'ftplib', 'smtplib', 'shelve', 'dill', 'cloudpickle'}
STARTS_PROGRAMS = (
    'scripts/dev/fault_injection/processes.py'  # the driver that kills runs, for programs that its user lists
)
TRUSTED = 'utils/runs/checkpoint.py: _trusted_weights'  # --trust_checkpoint, whose help says what it does


def dotted(node):
    """Return the name of what a call calls ('torch.load'), or '' where it has none."""
    if isinstance(node, ast.Attribute):
        return f'{dotted(node.value)}.{node.attr}'
    return node.id if isinstance(node, ast.Name) else ''


@functools.cache
def calls():
    """Return (place, name, keywords) of each call in the project's sources (list)."""
    return list(_calls())


def _calls():
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding='utf-8'))
        for function in [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))]:
            for node in ast.walk(function):
                if isinstance(node, ast.Call):
                    keywords = {word.arg: getattr(word.value, 'value', None) for word in node.keywords}
                    place = f'{path.relative_to(PROJECT).as_posix()}: {getattr(function, "name", "")}'
                    yield place, dotted(node.func), keywords


def test_the_sources_are_found():
    assert {'train.py', 'table.py', 'checkpoint.py', 'model_entry.py'} <= {path.name for path in SOURCES}


@pytest.mark.slow('reads all of the code')
def test_torch_load_reads_weights_only():
    found = [(place, words.get('weights_only')) for place, name, words in calls() if name == 'torch.load']
    places = {place for place, _ in found if not place.endswith(': ')}
    assert TRUSTED in places
    assert len(places) >= 2
    # Each call is met as part of the file too, where the function's name is empty.
    unsafe = [place for place, weights_only in found if weights_only is not True and not place.endswith(': ')]
    assert unsafe == [TRUSTED]
    assert sum(weights_only is not True for place, weights_only in found if place.endswith(': ')) == 1


def test_np_load_reads_no_objects():
    found = [(place, words) for place, name, words in calls() if name in ('np.load', 'numpy.load')]
    assert {place.split(':')[0] for place, _ in found} >= {'data/digits.py', 'data/lists/table.py'}
    assert [place for place, words in found if words.get('allow_pickle', True) is not False] == []


def test_nothing_is_called_that_runs_what_a_file_holds():
    found = [(place, name) for place, name, _ in calls() if name in FORBIDDEN_CALLS]
    assert [call for call in found if not call[0].startswith(STARTS_PROGRAMS)] == []
    assert {name for _, name in found} <= {'runpy.run_path'}
    assert [(place, name) for place, name, _ in calls() if name.endswith(('.extractall', '.extract'))] == []
    assert [place for place, _, words in calls() if words.get('shell')] == []


@pytest.mark.slow('reads all of the code')
def test_no_module_is_imported_that_talks_to_others():
    imported = {
        (path.name, name.split('.')[0] if name != 'urllib.parse' else name)  # which only splits and quotes text
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ''] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert {name for _, name in imported} >= {'torch', 'argparse'}
    assert [(path, name) for path, name in sorted(imported) if name in FORBIDDEN_MODULES] == [(TRACKING, 'urllib')]
    sockets = {name for place, name, _ in calls() if name.startswith('socket.') and TRACKING not in place}
    assert sockets <= {'socket.gethostname'}


# --- the network

GUARD = """
import os, socket

def refuse(self, address, *more):
    if self.family != socket.AF_UNIX:  # between the processes of one run
        with open(os.environ['GUARD_LOG'], 'a') as log:
            log.write(f'{address}\\n')
        raise PermissionError(f'a connection to {address}')
    return connect(self, address, *more)

connect = socket.socket.connect
socket.socket.connect = socket.socket.connect_ex = refuse
with open(os.environ['GUARD_LOG'], 'a') as log:
    log.write('guarded\\n')
"""


@pytest.fixture
def guarded(tmp_path):
    """Return a function that runs Python where no connection can be opened -> code, attempts (list of str)."""
    (tmp_path / 'sitecustomize.py').write_text(GUARD)
    log = tmp_path / 'attempts'

    def run(*words):
        log.write_text('')
        environment = {**os.environ, 'PYTHONPATH': str(tmp_path), 'GUARD_LOG': str(log), 'OMP_NUM_THREADS': '1'}
        environment['CUDA_VISIBLE_DEVICES'] = ''
        command = [sys.executable, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
        seen = log.read_text().splitlines()
        assert 'guarded' in seen, done.stderr
        return done, [line for line in seen if line != 'guarded']

    return run


def test_the_guard_sees_connections(guarded):
    done, attempts = guarded('-c', 'import urllib.request; urllib.request.urlopen("http://127.0.0.1:9/x")')
    assert done.returncode == 1
    assert attempts == ["('127.0.0.1', 9)"]


@pytest.mark.slow('two new interpreters')
def test_training_and_testing_open_no_connection(guarded, tmp_path):
    words = ['--epochs', 1, '--batch_size', 256, '--num_workers', 1, '--checkpoints_dir', tmp_path / 'runs']
    done, attempts = guarded(PROJECT / 'train.py', *words)
    assert (done.returncode, attempts) == (0, []), done.stderr
    best = tmp_path / 'runs' / 'lenet_exp' / 'best.pth'
    done, attempts = guarded(PROJECT / 'eval.py', '--load_model_path', best, '--save_viz', '--viz_freq', 100)
    assert (done.returncode, attempts) == (0, []), done.stderr


# --- what lists, archives and lines name


@pytest.fixture
def save(tmp_path):
    """Return a function that saves a small picture and returns its path."""

    def save(name):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 8, 3), 99, np.uint8)).save(path)
        return path

    return save


def list_args(folder, lines, *words):
    path = folder / 'lists' / 'train.txt'
    path.parent.mkdir(exist_ok=True)
    path.write_text(lines)
    common = ['--data_type', 'list', '--train_list', path, '--val_list', path, '--device', 'cpu', '--num_workers', 0]
    return parse_train_args([str(word) for word in (*common, '--num_classes', 2, '--image_size', 8, *words)])


def test_a_list_may_name_pictures_anywhere_and_they_are_only_read(save, tmp_path):
    above, absolute = save('above.png'), save('elsewhere/b.png')
    before = {path: path.read_bytes() for path in tmp_path.rglob('*.png')}
    loader = select_train_loader(list_args(tmp_path, f'../above.png 0\n{absolute} 1\n'))
    assert sum(len(images) for images, *_ in loader) == 2
    assert {path: path.read_bytes() for path in tmp_path.rglob('*.png')} == before
    assert above in before


def test_what_is_no_picture_is_not_shown(save, tmp_path):
    (tmp_path / 'secret').write_text('password')
    save('a.png')
    with pytest.raises(DanluError) as error:
        select_train_loader(list_args(tmp_path, '../secret 0\n../a.png password\n'))
    assert 'secret: not an image in a format that Pillow knows' in str(error.value)


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='needs pipes')
def test_a_pipe_or_a_device_is_refused_and_not_waited_for(save, tmp_path):
    save('a.png')
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(DanluError) as error:
        select_train_loader(list_args(tmp_path, '../a.png 0\n../pipe 1\n/dev/zero 1\n'))
    assert 'train.txt:2: ' in str(error.value)
    assert str(error.value).count('a pipe or a device, not a file') == 2
    (tmp_path / 'lines.jsonl').write_text('{"image": "pipe", "label": 0}')
    words = ['--data_type', 'stream', '--train_list', tmp_path / 'lines.jsonl', '--val_list', tmp_path / 'lines.jsonl']
    with pytest.raises(DanluError, match='a pipe or a device, not a file'):
        select_train_loader(list_args(tmp_path, '', *words))


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='needs pipes')
def test_a_list_that_is_a_pipe_is_refused(tmp_path, capsys):
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(SystemExit):
        parse_train_args(['--data_type', 'list', '--train_list', str(tmp_path / 'pipe'), '--val_list', __file__])
    assert 'is a pipe or a device; it is read more than once, so give a file' in capsys.readouterr().err


def test_an_archive_is_read_and_never_unpacked(save, tmp_path):
    content, before = save('a.png').read_bytes(), set(tmp_path.rglob('*'))
    with tarfile.open(tmp_path / 'x.tar', 'w') as archive:
        for name in ('/etc/absolute', '../../above', 'inside'):
            for ending, data in (('.png', content), ('.cls', b'1')):
                info = tarfile.TarInfo(name + ending)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        for name, kind, target in (('b.png', tarfile.SYMTYPE, '/etc/passwd'), ('c.png', tarfile.LNKTYPE, 'inside.png')):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
        archive.addfile(tarfile.TarInfo('d.png'))
        info = tarfile.TarInfo('pipe.png')
        info.type = tarfile.FIFOTYPE
        archive.addfile(info)
    shard = TarShard(tmp_path / 'x.tar')
    assert [key for key, *_ in shard.walk(False)] == ['etc/absolute', '../../above', 'inside', 'd']  # no link, no pipe
    assert all(shard.picture(picture) in (content, b'') for _, picture, _ in shard.walk(False))
    assert set(tmp_path.rglob('*')) - before == {tmp_path / 'x.tar'}


@pytest.mark.parametrize(
    ('label', 'says'),
    [
        ('[' * 200_000, 'invalid JSON: nested too deeply'),
        ('9' * 10_000, 'invalid JSON: Exceeds the limit'),
        ('NaN', 'has nan for a target'),
        ('{"__class__": "os.system"}', 'for a target: it takes a label'),
        ('"__import__(\'os\')"', 'unknown class'),
    ],
    ids=['nested', 'digits', 'nan', 'object', 'code'],
)
def test_lines_of_json_are_data(save, tmp_path, label, says):
    save('a.png')
    path = tmp_path / 'x.jsonl'
    path.write_text(f'{{"image": "a.png", "label": {label}}}\n{json.dumps({"image": "a.png", "label": 0})}\n')
    with pytest.raises(DanluError, match=says):
        list(
            select_train_loader(
                list_args(tmp_path, '', '--data_type', 'stream', '--train_list', path, '--val_list', path)
            )
        )


def test_a_link_in_the_cache_of_others_leads_to_no_file_of_mine(save, tmp_path):
    save('a.png')
    mine, cache = tmp_path / 'mine', tmp_path / 'cache'
    mine.write_text('precious')

    def build():
        args = list_args(tmp_path, '../a.png 0\n', '--data_type', 'mem_list', '--cache_dir', cache)
        complete_args(args)
        return MemList(args, 'train')

    build()
    (name,) = os.listdir(cache)
    (cache / name).unlink()
    (cache / f'{name}.{platform.node()}.partial').symlink_to(mine)
    with pytest.raises(DanluError, match='cannot write the pixels of 1 image'):
        build()
    assert mine.read_text() == 'precious'


@pytest.mark.parametrize('name', ['torchvision:a\0b', 'torchvision:a\nb', 'timm:\ud800'])
def test_names_of_models_that_no_directory_can_have_are_refused(name, capsys):
    with pytest.raises(SystemExit):
        parse_train_args(['--model_type', name])
    assert 'unknown model' in capsys.readouterr().err
