"""A run in one archive: what is packed, what eval.py makes of it elsewhere, and archives of strangers."""

import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts import runs
from utils.base.errors import DanluError
from utils.provenance.kept_code import kept_archive
from utils.provenance.run_archive import MANIFEST, missing_here, pack, unpack
from utils.runs.run import Run


@pytest.fixture(scope='module')
def home(train_here, tmp_path_factory):
    """Return a run that was tested, on pictures that are gone by now, and its archive."""
    folder = tmp_path_factory.mktemp('home')
    random = np.random.default_rng(0)
    for n in range(6):
        Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f'{n}.png')
    (folder / 'val.txt').write_text(''.join(f'{n}.png {n % 2}\n' for n in range(6)))
    words = ['--data_type', 'list', '--train_list', folder / 'val.txt', '--val_list', folder / 'val.txt', '--report']
    words += ['--model_type', 'mlp', '--epochs', 2, '--save_freq', 1, '--num_workers', 0]
    run = train_here(*words, '--save_prefix', 'home', '--checkpoints_dir', folder / 'runs').directory
    (folder / 'val.txt').rename(folder / 'moved.txt')
    (run / 'diverged.pth').write_bytes(b'with a batch in it')
    pack(Run(run), folder / 'home.zip')
    return run, folder / 'home.zip', folder / 'moved.txt'


def names_in(path):
    """Return the names (set of str) in an archive."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return set(archive.namelist())


def test_no_samples_and_one_checkpoint_are_packed(home, tmp_path):
    run, archive, _ = home
    names = names_in(archive)
    test = 'run/best/val_val_exp'
    assert {'run/args.txt', 'run/source.zip', 'run/record.json', 'run/history.csv', 'run/log.txt'} < names
    assert {f'{test}/result.txt', f'{test}/predictions.csv', f'{test}/args.txt'} < names
    assert (run / 'best' / 'val_val_exp' / 'report.html').exists() and list(run.glob('events*'))
    assert not [name for name in names if 'events' in name or name.endswith(('.html', 'lock'))]
    assert [name for name in names if name.endswith('.pth')] == ['run/best.pth']
    kept = [name for name in names if name.startswith('.code/')]
    assert len(kept) == 1 and (run.parent / kept[0]).is_file()
    pack(Run(run), tmp_path / 'all.zip', all_checkpoints=True)
    weights = {name for name in names_in(tmp_path / 'all.zip') if name.endswith('.pth')}
    assert weights == {f'run/{path.name}' for path in run.glob('*.pth')} - {'run/diverged.pth'}


def test_eval_takes_the_archive_and_says_what_is_missing(home, eval_here, tmp_path):
    run, archive, moved = home
    words = ['--load_model_path', archive, '--checkpoints_dir', tmp_path, '--val_list', moved]
    test = eval_here(*words)
    assert test.stdout.startswith(f'{archive}: unpacked into {tmp_path / run.name}\n')
    assert 'missing' not in test.stdout
    then = (run / 'best' / 'val_val_exp' / 'result.txt').read_text(encoding='utf-8').splitlines()
    assert [f'{name}: {value}' for name, value in test.values.items()] == [line for line in then if line[0] != '#']
    assert test.directory.is_relative_to(tmp_path / run.name / 'best')
    assert kept_archive(tmp_path, test.head['source sha256']).is_file()
    again = eval_here(*words)
    assert again.stdout.startswith(f'{archive}: the run is already in {tmp_path / run.name}\n')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['.code', 'ledger.jsonl', run.name]


def test_a_missing_list_is_said_before_the_error(home, eval_here, tmp_path, capsys):
    _, archive, moved = home
    with pytest.raises((DanluError, SystemExit)):
        eval_here('--load_model_path', archive, '--checkpoints_dir', tmp_path)
    [line] = missing_here(Run(tmp_path / 'mlp_home'))
    assert line.startswith(f'missing here: --val_list {moved.with_name("val.txt")}, 6 samples, sha256 ')
    assert line.endswith('; give --val_list')


def test_packages_and_code_that_differ_are_named(home, tmp_path):
    run = Run(shutil.copytree(home[0], tmp_path / 'run'))
    record = json.loads((run.path / 'record.json').read_text(encoding='utf-8'))
    record |= {'code': 'c' * 64, 'versions': record['versions'] | {'no-such-package': '1.2'}}
    (run.path / 'record.json').write_text(json.dumps(record), encoding='utf-8')
    lines = missing_here(run, given={'val_list'})
    assert lines == [
        'missing here: the package no-such-package, 1.2 in the run: pip install no-such-package',
        'the code of this project is not that of the run; to test with the code of the run: --code then',
    ]


def test_a_run_of_that_name_is_not_written_over(home, tmp_path):
    run, archive, _ = home
    (tmp_path / run.name).mkdir()
    assert unpack(archive, tmp_path) == (tmp_path / f'{run.name}_2', True)
    assert unpack(archive, tmp_path) == (tmp_path / f'{run.name}_2', False)
    assert unpack(archive, run.parent) == (run, False)
    assert list((tmp_path / run.name).iterdir()) == []


def test_the_command(home, tmp_path, capsys):
    run, _, _ = home
    words = ['pack', run.name, '--checkpoints_dir', run.parent, '--output', tmp_path / 'a.zip']
    assert runs.main(words) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f'{tmp_path / "a.zip"}: ') and first.endswith(' files, best.pth, 1 test; no data')
    assert second == 'in another clone: python eval.py --load_model_path a.zip'
    with pytest.raises(DanluError, match=r'a\.zip exists; --output'):
        runs.main(words)
    with pytest.raises(DanluError, match=r'no best\.pth to pack'):
        (tmp_path / 'none').mkdir()
        (tmp_path / 'none' / 'log.txt').touch()
        pack(Run(tmp_path / 'none'), tmp_path / 'b.zip')
    with pytest.raises(DanluError, match='cannot be written: No such file'):
        pack(Run(run), tmp_path / 'no' / 'b.zip')
    assert [path.name for path in tmp_path.glob('*.zip*')] == ['a.zip']


def changed(archive, target, replaced=(), manifest=None):
    """Copy an archive with files added or replaced (list of (name, bytes)) and another manifest (dict)."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(target, 'w') as made:
        for name in source.namelist():
            if name == MANIFEST and manifest is not None:
                made.writestr(name, json.dumps(json.loads(source.read(name)) | manifest))
            elif name not in dict(replaced):
                made.writestr(name, source.read(name))
        for name, data in replaced:
            made.writestr(name, data)
    return target


@pytest.mark.parametrize(
    ('replaced', 'manifest', 'said'),
    [
        ([('run/../../out.txt', b'x')], None, 'is not a valid path'),
        ([('/out.txt', b'x')], None, 'is not a valid path'),
        ([], {'run': '../out'}, 'is not one that runs.py pack writes'),
        ([], {'run': '.code'}, 'is not one that runs.py pack writes'),
        ([], {'checkpoint': '../x.pth'}, 'is not one that runs.py pack writes'),
        ([(MANIFEST, b'[1]')], None, 'is not one that runs.py pack writes'),
        ([(MANIFEST, b'{')], None, 'is damaged'),
    ],
)
def test_archives_of_strangers_write_nowhere_else(home, replaced, manifest, said, tmp_path):
    archive = changed(home[1], tmp_path / 'strange.zip', replaced, manifest)
    (tmp_path / 'runs').mkdir()
    with pytest.raises(DanluError, match=said):
        unpack(archive, tmp_path / 'runs')
    assert list((tmp_path / 'runs').iterdir()) == [] and not list(tmp_path.rglob('out*'))


def test_code_under_a_hash_that_it_does_not_have_is_not_kept(home, tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as made:
        made.writestr('eval.py', 'print(1)')
    strange = [(f'.code/{"a" * 64}.zip', buffer.getvalue()), (f'.code/{"b" * 64}.zip', b'no archive')]
    unpack(changed(home[1], tmp_path / 'strange.zip', strange), tmp_path)
    assert len(list((tmp_path / '.code').iterdir())) == 1


def test_a_damaged_archive_leaves_nothing(home, tmp_path):
    data = bytearray(Path(home[1]).read_bytes())
    middle = data.index(b'run/best.pth') + 2000
    data[middle : middle + 50] = b'x' * 50
    (tmp_path / 'damaged.zip').write_bytes(data)
    with pytest.raises(DanluError, match='is damaged'):
        unpack(tmp_path / 'damaged.zip', tmp_path / 'runs')
    assert not (tmp_path / 'runs' / 'mlp_home').exists()


def test_a_run_in_use_is_not_packed(home, tmp_path, monkeypatch):
    run = Run(shutil.copytree(home[0], tmp_path / 'run'))
    monkeypatch.setattr(Run, 'holder', 'process 1 on x')
    with pytest.raises(DanluError, match='is in use by process 1 on x'):
        pack(run, tmp_path / 'a.zip')
