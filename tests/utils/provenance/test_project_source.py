"""The project's own files: which they are, and an archive of them with stable bytes."""

import io
import os
import shutil
import time
import zipfile

import pytest

from utils.provenance import project_source
from utils.provenance.project_source import code_hash, project_files, read_files, zip_bytes


@pytest.fixture
def project(tmp_path):
    """Return a small project (Path): a package, a script and a page."""
    files = {
        'train.py': 'x = 1\n',
        'data/__init__.py': '',
        'data/sets.py': 'y = 2\n',
        'tests/test_x.py': '',
        'README.md': '# page\n',
        '.ci/run': 'pytest\n',
    }
    for name, text in files.items():
        written(tmp_path / 'project' / name, text)
    return tmp_path / 'project'


def written(path, text):
    """Write a text file, with the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')


def test_the_project_s_own_files_are_all_there_and_nothing_else():
    files = project_files()
    assert files == sorted(files)
    for name in ('train.py', 'data/augment.py', 'model/lenet/__init__.py', 'scripts/test.sh', '.ci/run', 'LICENSE'):
        assert name in files
    assert 'data/digits.npz' not in files
    assert not [name for name in files if name.startswith(('checkpoints/', '.git/')) or '__pycache__' in name]


def test_untracked_files_are_packed_and_what_is_no_source_is_not(project):
    before = project_files(project)
    left_out = [
        *('picture.png', 'weights.pth', 'credentials.json', '.env', '.venv/lib.py', 'venv/pyvenv.cfg', 'venv/lib.py'),
        *('checkpoints/x/notes.txt', 'datasets/read.py', 'data/__pycache__/a.py', 'wandb/run.json'),
    ]
    for name in left_out:
        written(project / name, 'text\n')
    written(project / 'mine/runs/lenet_exp/args.txt', '# python train.py @args.txt\n')
    written(project / 'mine/runs/lenet_exp/record.json', '{}')
    written(project / 'large.txt', 'x' * (project_source.MAX_TEXT_BYTES + 1))
    (project / 'binary').write_bytes(b'\0\1')
    assert project_files(project) == before
    for name in ('model/new.py', 'notes.txt', 'tokens.py', 'deep/er/still/config.yaml', 'datasets/__init__.py'):
        written(project / name, 'text\n')
        before.append(name)
    assert project_files(project) == sorted([*before, 'datasets/read.py'])


def test_two_packings_are_the_same_bytes_whatever_the_dates_and_modes(project, tmp_path):
    first = zip_bytes(read_files(project))
    other = shutil.copytree(project, tmp_path / 'other')
    for path in other.rglob('*.py'):
        os.utime(path, (time.time() + 5000,) * 2)
        path.chmod(0o755)
    assert zip_bytes(read_files(other)) == first
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == project_files(project)
        assert archive.read('data/sets.py') == b'y = 2\n'
    written(other / 'data/sets.py', 'y = 3\n')
    assert zip_bytes(read_files(other)) != first


def test_a_data_directory_is_not_walked_through(project, monkeypatch):
    """Classes by the hundred, none of whose pictures is looked at once the sources are found."""
    monkeypatch.setattr(project_source, 'DATA_DIRECTORY_ENTRIES', 20)
    monkeypatch.setattr(project_source, 'MAX_ENTRIES', 200)
    for name in range(100):
        for picture in range(30):
            written(project / f'data/photos/train/{name:03d}/{picture}.xml', '')
    written(project / 'zoo/deep/net.py', '')
    looked, scandir = [], os.scandir
    monkeypatch.setattr(os, 'scandir', lambda path: looked.append(str(path)) or scandir(path))
    files = project_files(project)
    assert 'zoo/deep/net.py' in files, 'sources come before data, wherever they stand'
    assert 'data/sets.py' in files
    assert not [name for name in files if name.startswith('data/photos')]
    assert len(looked) < 30


def test_a_crowded_directory_with_sources_of_the_project_is_still_read(project, monkeypatch):
    monkeypatch.setattr(project_source, 'DATA_DIRECTORY_ENTRIES', 20)
    monkeypatch.setattr(project_source, 'MAX_TEXTS_OF_ONE_KIND', 10)
    for number in range(50):
        written(project / f'data/{number}.jpg', '')
        written(project / f'data/{number}.txt', '0 1 1')
    files = project_files(project)
    assert 'data/sets.py' in files
    assert 'data/0.txt' not in files, 'a label for each picture is data'


def test_the_hash_of_the_code_is_of_what_runs_and_of_nothing_else(project):
    before = code_hash(read_files(project))
    written(project / 'tests/test_x.py', 'assert True\n')
    written(project / 'README.md', 'other')
    assert code_hash(read_files(project)) == before
    written(project / 'lab/net.py', '')
    added = code_hash(read_files(project))
    (project / 'lab/net.py').rename(project / 'lab/other.py')
    assert len({before, added, code_hash(read_files(project))}) == 3


@pytest.mark.skipif(os.name == 'nt', reason='names are Unicode there')
def test_names_that_no_archive_can_hold_stop_no_run(project):
    (project / os.fsdecode(b'n\xe4me.py')).write_text('x = 1\n')
    (project / os.fsdecode(b'ordner_\xe4')).mkdir()
    (project / os.fsdecode(b'ordner_\xe4') / 'inner.py').write_text('x = 1\n')
    (project / '名字.py').write_text('x = 1\n')
    assert '名字.py' in packed_names(project) and 'inner.py' not in ' '.join(packed_names(project))


def packed_names(project):
    """Return the names in an archive of the project."""
    with zipfile.ZipFile(io.BytesIO(zip_bytes(read_files(project)))) as archive:
        return archive.namelist()


def test_links_do_not_lead_out_or_around(project, tmp_path):
    written(tmp_path / 'elsewhere/net.py', '')
    before = project_files(project)
    (project / 'linked').symlink_to(tmp_path / 'elsewhere')
    (project / 'data/round').symlink_to(project)
    (project / 'gone.py').symlink_to(tmp_path / 'nothing')
    assert project_files(project) == before
