"""runs.py why: one page on a run."""

import datetime
import hashlib
import json
import os
import re
import shutil

import pytest

from scripts import runs
from scripts.dev.measure_runs import FIRST
from scripts.run_commands.run_code import code_today
from utils.base.registry import PROJECT
from utils.provenance.contents import CONTENTS, SampleHashes, contents_file
from utils.provenance.kept_code import kept_archive
from utils.provenance.project_source import files_hash, kept_files, read_files, zip_bytes

HOUR = datetime.timedelta(hours=1)
LENET = 'model/lenet/lenet.py'


def sections(text):
    """Return the page (dict from a title to the lines below it); the first line has the title ''."""
    head, *parts = text.rstrip('\n').split('\n\n')
    return {'': [head]} | {part.splitlines()[0]: [line[2:] for line in part.splitlines()[1:]] for part in parts}


@pytest.fixture
def run(maker):
    """Return a run of the current code, with the hash of its best.pth."""
    directory = maker.run('lenet_exp', [0.5, 0.62], lr=0.01)
    change_record(directory, code=code_today())
    digest = hashlib.sha256((directory / 'best.pth').read_bytes()).hexdigest()
    return directory, {'checkpoint_sha256': digest, 'code': code_today(), 'data_sha256': 'v' * 64}


def change_record(directory, **parts):
    path = directory / 'record.json'
    path.write_text(json.dumps(json.loads(path.read_text(encoding='utf-8')) | parts), encoding='utf-8')


def answer(call):
    """Return whether the run still holds, as the page says it, and why (str, str)."""
    [line] = sections(call('why', 'lenet_exp').text)['does it still hold?']
    return line.split(': ', 1)


def test_what_ran_and_what_it_gave(maker, call, run):
    directory, facts = run
    maker.test(directory, {'acc': 0.62, 'loss': 0.38}, FIRST + HOUR, **facts)
    maker.test(directory, {'acc': 0.5}, FIRST + 2 * HOUR, name='other', code='d' * 64, verdict='code changed')
    page = sections(call('why', 'lenet_exp').text)
    assert page[''][0].startswith('lenet_exp: finished, 2 of 2 epochs, started ')
    assert page['what ran'][:3] == [
        'command     python train.py --save_prefix lenet_exp',
        f'directory   {PROJECT}',
        'options     lr=0.01',
    ]
    assert 'code        no source.zip, commit 0123456' in page['what ran']
    assert f'val data    digits, 1,000 samples, sha256 {"v" * 12}' in page['what ran']
    best, head, *rows = page['what it gave']
    assert best == 'best val/acc 0.6200 in epoch 2 of the training'
    assert head.split()[:5] == ['tested', 'checkpoint', 'list', 'value', 'code']
    assert [re.split(' {2,}', row)[1:] for row in rows] == [
        ['best.pth', 'other.txt', 'acc 0.5000', "neither the run's nor today's", 'code changed'],
        ['best.pth', 'test.txt', 'acc 0.6200', "the run's, as today"],
    ]


def test_does_it_still_hold(maker, call, run):
    directory, facts = run
    assert answer(call)[0] == 'not known' and 'was not tested with the current code' in answer(call)[1]
    maker.test(directory, {'acc': 0.62}, FIRST, **facts | {'code': 'd' * 64})
    maker.test(directory, {'acc': 0.62}, FIRST, **facts | {'source': 'd' * 64})
    assert answer(call)[0] == 'not known', 'tests with other code'
    maker.test(directory, {'acc': 0.9}, FIRST + HOUR, **facts | {'data_sha256': 'b' * 64})
    assert 'on other data' in answer(call)[1]
    maker.test(directory, {'acc': 0.62, 'loss': 0.38}, FIRST + 2 * HOUR, **facts)
    assert answer(call)[0] == 'yes' and answer(call)[1].endswith(': 2 values as in the training')
    maker.test(directory, {'acc': 0.62, 'loss': 0.39}, FIRST + 3 * HOUR, **facts)
    assert answer(call)[0] == 'no' and answer(call)[1].endswith(': loss 0.3900, and 0.3800 in the training')
    other = {'verdict': 'differs', 'verdict_text': 'acc 0.62 when saved', 'causes': ['model/x.py: Net']}
    maker.test(directory, {'acc': 0.6}, FIRST + 4 * HOUR, **facts, **other)
    assert answer(call)[0] == 'no' and answer(call)[1].endswith(', acc 0.62 when saved, model/x.py: Net')
    maker.test(directory, {'acc': 0.6}, FIRST + 5 * HOUR, **facts, verdict='equal', verdict_text='2 values are equal')
    assert answer(call)[0] == 'yes' and answer(call)[1].endswith(', 2 values are equal')
    (directory / 'best.pth').write_bytes(b'other weights')
    assert answer(call)[0] == 'not known', 'the tests were of other weights'
    (directory / 'best.pth').unlink()
    assert answer(call) == ['not known', 'there is no best.pth to test']


def test_files_added_since_a_test_do_not_count_as_other_code(maker, call, run):
    """Lists that split.py writes into the project, for example."""
    directory, facts = run
    files = kept_files(read_files())
    for removed, said in (('requirements.txt', 'yes'), (None, 'not known')):
        then = {name: data for name, data in files.items() if name != removed}
        if removed is None:
            then['requirements.txt'] += b'changed'
        source = files_hash(then)
        archive = kept_archive(directory.parent, source)
        archive.parent.mkdir(exist_ok=True)
        archive.write_bytes(zip_bytes(then))
        (directory.parent / 'ledger.jsonl').unlink(missing_ok=True)
        maker.test(directory, {'acc': 0.62}, FIRST + HOUR, **facts | {'source': source})
        assert answer(call)[0] == said
    archive.write_bytes(b'damaged')
    assert answer(call)[0] == 'not known'


def test_what_has_changed(maker, call, run, tmp_path, monkeypatch):
    directory, _ = run
    (directory / 'source.zip').write_bytes(b'')
    change_record(directory, versions={})
    assert sections(call('why', 'lenet_exp').text)['what has changed since'] == ['nothing that was recorded']
    files = kept_files(read_files())
    files[LENET] = files[LENET].replace(b'nn.ReLU', b'nn.GELU')
    (directory / 'source.zip').write_bytes(zip_bytes(files))
    (tmp_path / 'val.txt').write_text('')
    lines = (directory / 'args.txt').read_text(encoding='utf-8').splitlines()
    (directory / 'args.txt').write_text(
        '\n'.join([*lines, '--data_root=/no/such', f'--val_list={tmp_path / "val.txt"}']), encoding='utf-8'
    )
    (tmp_path / 'beside.py').write_text('')
    for name, value in (('CAP', '4'), ('UNSET', '1'), ('SAME', '5')):
        monkeypatch.setenv(name, value)
    outside = {str(tmp_path / 'beside.py'): 'e' * 16, str(tmp_path / 'gone.py'): 'e' * 16}
    change_record(directory, outside=outside, variables={'CAP': '3', 'UNSET': None, 'SAME': '5'})
    change_record(directory, code='d' * 64, versions={'torch': '1.0', 'no-such-package': '2'},
                  components={'model': {'model.lenet.LeNet': 'e' * 64}})  # fmt: skip
    page = sections(call('why', 'lenet_exp').text)['what has changed since']
    assert page[0].startswith(f'code        {LENET}: LeNet (model')
    assert 'versions    no-such-package 2 -> not installed' in page
    assert [line for line in page if line.startswith('            torch 1.0 -> ')]
    assert [line for line in page if '--data_root /no/such does not exist' in line]
    written = datetime.datetime.fromtimestamp(os.stat(tmp_path / 'val.txt').st_mtime)
    assert [line for line in page if line.endswith('beside.py (outside the project)')]
    assert [line for line in page if line.endswith('gone.py (outside the project, gone)')]
    assert 'variables   CAP: 3 -> 4' in page and '            UNSET: not set -> 1' in page
    assert not [line for line in page if 'SAME' in line]
    assert any(f'val.txt was written on {written:%Y-%m-%d %H:%M}, after the start of the run' in line for line in page)
    (directory / 'source.zip').unlink()
    page = sections(call('why', 'lenet_exp').text)['what has changed since']
    assert any(line.endswith('compared by hashes only: there is no readable source.zip') for line in page)
    assert page[-1] == 'files       source.zip is missing'


def test_samples_with_other_bytes_in_the_newest_test_are_counted(maker, call, run):
    directory, facts = run
    then, now = SampleHashes([5 << 32, 7 << 32]), SampleHashes([5 << 32, 8 << 32])
    data = json.loads((directory / 'record.json').read_text())['data']
    change_record(directory, data=data | {'val': data['val'] | {'contents': then.record()}})

    def lines():
        return [
            line for line in sections(call('why', 'lenet_exp').text)['what has changed since'] if 'the test' in line
        ]

    maker.test(directory, {'acc': 0.62}, FIRST + HOUR, **facts, contents_sha256=then.record()['sha256'])
    assert lines() == []
    maker.test(directory, {'acc': 0.5}, FIRST + 2 * HOUR, **facts, contents_sha256=now.record()['sha256'])
    assert lines()[0].endswith(' of the validation data: the bytes of samples changed')
    then.write(contents_file(directory, 'val'))
    for folder in directory.glob('best/*/'):
        now.write(folder / CONTENTS)
    assert lines()[0].endswith(' of the validation data: 1 of 2 samples changed: number 2 (1 image)')


def test_a_real_run_is_tested_on_demand(digits_run, tmp_path, capsys):
    shutil.copytree(digits_run.directory, tmp_path / 'run', ignore=shutil.ignore_patterns('best'))  # tests of others
    words = ['why', 'run', '--checkpoints_dir', tmp_path]
    assert runs.main(words) == 0
    page = sections(capsys.readouterr().out)
    assert page['what has changed since'] == ['nothing that was recorded']
    assert page['does it still hold?'][0].startswith('not known: ')
    assert runs.main([*words, '--test']) == 0
    page = sections(capsys.readouterr().out)
    assert page['does it still hold?'][0].startswith('yes: tested with the current code on ')
    assert "the run's, as today" in page['what it gave'][2]


def test_a_directory_without_readable_records(maker, call):
    (maker.root / 'empty').mkdir()
    (maker.root / 'empty' / 'log.txt').write_text('x')
    page = sections(call('why', 'empty').text)
    assert page['what it gave'] == ['no tests']
    assert 'does it still hold?' in page
    assert call('why', 'empty', '--test').error.endswith('has no best.pth to test')
