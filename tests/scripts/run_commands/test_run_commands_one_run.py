"""runs.py diff, command, note and rm, and how a run is named."""

import datetime
import hashlib
import json
import os
import re
import shlex
import shutil
import zipfile

import pytest

from options import train_parser
from scripts.dev.measure_runs import FIRST
from scripts.run_commands.command import effective_value
from scripts.run_commands.diff import print_sections
from scripts.run_commands.run_code import MAX_FILE_BYTES, code_today
from utils.options.args_file import options_of
from utils.provenance.contents import SampleHashes, contents_file
from utils.provenance.kept_code import kept_archive
from utils.provenance.project_source import files_hash, zip_bytes
from utils.runs.lock import RunLock

DAY = datetime.timedelta(days=1)


def change_record(directory, **parts):
    path = directory / 'record.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | parts), encoding='utf-8')


def write_source(directory, **files):
    with zipfile.ZipFile(directory / 'source.zip', 'w') as archive:
        for name, text in files.items():
            archive.writestr(name.replace('__', '/') + '.py', text)
    change_record(directory, source={'file': 'source.zip', 'sha256': str(hash(tuple(files.items())))}, code=str(files))


def sections(text):
    """Return what diff printed: {title: {name: (A, B)}}, cells being parted by two blanks or more."""
    found, title = {}, None
    for line in text.splitlines():
        cells = re.split(r' {2,}', line)
        if cells[1:] == ['A', 'B']:
            title = found.setdefault(cells[0], {})
        elif title is not None and len(cells) == 3:
            title[cells[0]] = tuple(cells[1:])
    return found


def test_runs_that_are_the_same(maker, call):
    maker.run('a', [0.5, 0.6], lr=0.01)
    maker.run('b', [0.5, 0.6], lr=0.01, save_prefix='other')
    called = call('diff', 'a', 'b')
    assert called.status == 0
    assert called.lines[2:] == ['no difference']
    assert [line.split('  ')[:2] for line in called.lines[:2]] == [['A', 'a'], ['B', 'b']]


def test_the_lists_of_val_split_lie_in_the_run_directories(maker, call):
    for name in ('a', 'b'):
        path = f'/runs/{name}/val_split/val.txt'
        run = maker.run(name, [0.5], train_list='photos', val_split=0.2, val_list=path)
        record = json.loads((run / 'record.json').read_text(encoding='utf-8'))
        record['data']['val']['list'] = path
        (run / 'record.json').write_text(json.dumps(record), encoding='utf-8')
    assert call('diff', 'a', 'b').lines[2:] == ['no difference']


def test_only_what_differs(maker, call):
    a = maker.run('a', [0.5, 0.6, 0.7], lr=0.01, mixup=0.2, lr_steps=[1.0, 2.0])
    b = maker.run('b', [0.5, 0.65, 0.6], FIRST + DAY, lr=0.1, balance=True)
    change_record(
        b,
        components={'model': {'model.lenet.LeNet': '0' * 64, 'model.blocks.Block': '1' * 64}, 'loss': {}},
        data={'train': {'list': 'digits', 'sha256': 't' * 64, 'samples': 1000},
              'val': {'list': '/d/val.txt', 'sha256': 'w' * 64, 'samples': 900}},
        versions={'python': '3.11.2', 'torch': '2.16.0'},
        git={'commit': 'f' * 40, 'changed': ['train.py']},
    )  # fmt: skip
    maker.test(a, {'acc': 0.6, 'acc_class/1': 0.5}, name='one')
    maker.test(b, {'acc': 0.7, 'acc_class/1': 0.9}, FIRST + DAY, name='one')
    called = call('diff', 'a', 'b')
    assert sections(called.text) == {
        'options': {
            'balance': ('off', 'on'),
            'lr': ('0.01', '0.1'),
            'mixup': ('0.2', 'not set'),
            'lr_steps': ('1.0 2.0', 'not set'),
        },
        'components': {
            'model model.lenet.LeNet': ('e' * 12, '0' * 12),
            'model model.blocks.Block': ('not used', '1' * 12),
            'loss loss.CrossEntropy': ('f' * 12, 'not used'),
        },
        'code': {'git commit': ('0123456789ab', 'f' * 12 + '+')},
        'data': {
            'val list': ('digits', '/d/val.txt'),
            'val sha256': ('v' * 12, 'w' * 12),
            'val samples': ('1000', '900'),
        },
        'environment': {'torch': ('2.15.0', '2.16.0')},
        'results': {
            'best': ('val/acc 0.7000', 'val/acc 0.6500'),
            'in epoch': ('3', '2'),
            'time': ('9.8 s', '9.8 s'),
        },
        'test of best.pth on one.txt (bbbbbbbbbbbb)': {'acc': ('0.6000', '0.7000')},
    }
    assert 'best values are not comparable: the runs were validated on different data' in called.lines
    assert 'the values of the epochs are equal up to epoch 1' in called.lines


def test_other_data_and_another_network_fit_on_a_page(maker, call):
    for name, parts, shared, files in (
        ('a', {'pictures': '1' * 64, 'targets': '2' * 64}, [], ('digits', 'tensor_dataset')),
        ('b', {'names': '3' * 64, 'targets': '4' * 64}, ['one is in both'], ('a', 'b', 'c', 'd', 'e', 'f')),
    ):
        data = {'list': name, 'sha256': name * 64, 'samples': 10, 'parts': parts}
        change_record(
            maker.run(name, [0.5]),
            components={
                'data': {f'data.{file}.part_{i}': 'e' * 64 for file in files for i in range(2)} | {'x.y': name}
            },
            data={'train': data, 'val': data | {'shared': shared}},
        )
    found = sections(call('diff', 'a', 'b').text)
    assert found['components'] == {
        'data x.y': ('a', 'b'),
        'data 4 of data.digits, data.tensor_dataset': ('used', 'not used'),
        'data 12 of data.a, data.b, data.c, data.d and 2 more': ('not used', 'used'),
    }
    assert {name: row for name, row in found['data'].items() if name.startswith('val')} == {
        'val list': ('a', 'b'),
        'val sha256': ('a' * 12, 'b' * 12),
        'val pictures': ('1' * 12, 'not known'),
        'val names': ('not known', '3' * 12),
        'val targets': ('2' * 12, '4' * 12),
        'val shared': ('none', 'one is in both'),
    }


def test_samples_with_other_bytes_are_counted_and_numbered(maker, call):
    for name, last in (('a', 7), ('b', 8), ('c', 7)):
        directory, hashes = maker.run(name, [0.5]), SampleHashes([5 << 32, last << 32])
        data = {'list': 'val.txt', 'sha256': 'a' * 64, 'samples': 2, 'parts': {}, 'contents': hashes.record()}
        change_record(directory, data={'train': data, 'val': data})
        hashes.write(contents_file(directory, 'val'))
    called = call('diff', 'a', 'b')
    assert {*sections(called.text)['data']} == {'train bytes', 'val bytes'}
    assert 'from A to B, the validation data: 1 of 2 samples changed: number 2 (1 image)' in called.lines
    assert call('diff', 'a', 'c').lines[2:] == ['no difference']
    record = json.loads((directory / 'record.json').read_text())
    change_record(directory, data=record['data'] | {'val': data | {'contents': {'sha256': 'x', 'samples': 1}}})
    assert call('diff', 'a', 'c').lines[2:] == ['no difference'], 'it has not read all yet'


def test_options_that_an_older_version_had_not(maker, call):
    maker.run('a', [0.5], lr=0.01)
    old = maker.run('old', [0.5], lr=0.1)
    lines = (old / 'args.txt').read_text(encoding='utf-8').splitlines()
    left = [line for line in lines if not re.search('mixup|balance|accumulate|patience|gamma', line)]
    assert len(left) < len(lines) - 4
    (old / 'args.txt').write_text('\n'.join([*left, '--hidden=3']), encoding='utf-8')
    assert sections(call('diff', 'a', 'old').text)['options'] == {'lr': ('0.01', '0.1'), 'hidden': ('not set', '3')}


def test_tests_of_different_sets_are_not_compared(maker, call):
    for name, data in (('a', 'x' * 64), ('b', 'y' * 64)):
        maker.test(maker.run(name, [0.5]), {'acc': 0.6, 'f1_macro': 0.5}, data_sha256=data)
    text = call('diff', 'a', 'b').text
    assert 'test results are not comparable: the test sets differ' in text
    assert sections(text)['test of best.pth on test.txt (xxxxxxxxxxxx)'] == {'acc': ('0.6000', 'none')}


def test_a_test_set_is_the_same_by_its_contents(maker, call):
    for name, where, accuracy in (('a', '/d/test.txt', 0.5), ('b', '/moved/all.txt', 0.6)):
        maker.test(maker.run(name, [0.5]), {'acc': accuracy}, list=where)
    text = call('diff', 'a', 'b').text
    assert sections(text)['test of best.pth on test.txt (bbbbbbbbbbbb)'] == {'acc': ('0.5000', '0.6000')}
    assert 'cannot be compared' not in text


def test_the_code_of_two_runs(maker, call):
    a, b = maker.run('a', [0.5]), maker.run('b', [0.5])
    write_source(a, train='equal\n', model__net='relu\n', gone='x\n', tests__test_net='1')
    write_source(b, train='equal\n', model__net='gelu\n', new='y\n', tests__test_net='2')
    called = call('diff', 'a', 'b', '--code')
    code = sections(called.text)['code']
    assert list(code) == ['model/net.py', 'gone.py', 'new.py']
    assert (code['gone.py'][1], code['new.py'][0]) == ('missing', 'missing')
    assert {'--- a/model/net.py', '+++ b/model/net.py', '-relu', '+gelu', '-x', '+y'} <= set(called.lines)
    assert called.lines[-1] == 'other files that differ and do not affect runs: tests/test_net.py'
    assert 'equal' not in called.text
    assert 'the source files are equal' in call('diff', 'a', 'a', '--code').text


def test_an_archive_is_not_trusted(maker, call, tmp_path):
    a, b = maker.run('a', [0.5]), maker.run('b', [0.5])
    write_source(a, train='one\n')
    change_record(b, source={'file': 'source.zip', 'sha256': 'other'})
    with zipfile.ZipFile(b / 'source.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('../../outside.py', 'escaped\n')
        archive.writestr('bomb.py', b'\0' * (MAX_FILE_BYTES + 1))
        archive.writestr('train.py', 'two\x1b[2J\n')
    called = call('diff', 'a', 'b', '--code')
    assert called.status == 0
    assert '+two?[2J' in called.lines
    assert 'bomb' not in called.text
    assert not list(tmp_path.rglob('outside.py'))
    (b / 'source.zip').write_bytes((b / 'source.zip').read_bytes()[:100])
    assert 'no readable source.zip: b' in call('diff', 'a', 'b', '--code').text
    change_record(b, source={'file': '../a/source.zip', 'sha256': 'other'})
    assert 'no readable source.zip: b' in call('diff', 'a', 'b', '--code').text


@pytest.mark.parametrize('part', [None, 3, 'x', [], {}, {'val': 3}, {'file': [], 'sha256': {}, 'commit': 5}])
def test_records_of_another_form(maker, call, part):
    maker.run('a', [0.5])
    change_record(
        maker.run('b', [0.5]),
        **dict.fromkeys(('source', 'git', 'versions', 'components', 'data', 'code', 'date'), part),
    )
    for words in (
        ['diff', 'a', 'b', '--code'],
        ['diff', 'b', 'a'],
        ['list'],
        ['list', '--json'],
        ['command', 'b'],
        ['find-value', '0.5'],
    ):
        assert call(*words).status == 0


def test_a_run_that_went_on_with_other_code(maker, call):
    run = maker.run('a', [0.5], FIRST)
    maker.test(run, {'acc': 0.25}, FIRST + DAY)
    later = json.loads((run / 'record.json').read_text()) | {'date': (FIRST + 2 * DAY).isoformat(), 'code': 'later'}
    (run / 'record_2.json').write_text(json.dumps(later))
    (run / 'env_2.txt').write_text('command: python train.py --resume a\n')
    row = json.loads(call('list', '--json').text)[0]
    assert row['date'] == FIRST.astimezone().strftime('%Y-%m-%d %H:%M:%S')
    assert row['test'] == 0.25
    assert 'started with: python train.py --save_prefix a' in call('command', 'a').text


def repeated(call, name):
    """Return the words of the command that `command` prints (list of str), and the lines behind it."""
    called = call('command', name)
    assert called.status == 0, called.error
    words = shlex.split(called.lines[0])
    assert words[:2] == ['python', 'train.py']
    return words[2:], called.lines[1:]


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'lr': 1e-05, 'balance': True, 'lr_steps': [1.0, 2.5], 'schedule': 'multistep'},
        {'model_type': 'mlp', 'model_args': ['hidden=32,16', 'dropout=0.1'], 'save_prefix': "it's 丹炉 #1 $HOME"},
        {'class_names': ['a b', 'c"d', '#e'], 'num_classes': 3, 'mean': [-0.5], 'std': [1e-05]},
        {'task': 'segmentation', 'loss': 'dice', 'ignore_index': 255},
        {'task': 'segmentation', 'loss': 'ce', 'ignore_index': 0},
        {'train_list': '/gone/a list.txt', 'val_list': '/gone/val.txt', 'gpus': [0, 1]},
        {'class_names': ['-a', '@b']},
    ],
)
def test_the_command_repeats_the_run(maker, call, options):
    run = maker.run('a', [0.5], **options)
    words, remarks = repeated(call, 'a')
    parser = train_parser()
    for action in options_of(parser):
        if action.dest.endswith('_list'):
            action.type = str
    again, recorded = parser.parse_args(words), parser.parse_args([f'@{run / "args.txt"}'])
    compared = [action for action in options_of(parser) if action.repeated and action.dest != 'loss']
    ours, theirs = ({each.dest: effective_value(each, of) for each in compared} for of in (again, recorded))
    assert ours == theirs
    assert again.loss in (None, recorded.loss)
    assert all(line.startswith('#') for line in remarks)
    assert any('args.txt' in line for line in [*words, *remarks])
    assert any('missing now: --train_list /gone/a list.txt' in line for line in remarks) == ('train_list' in options)


def test_the_command_is_short(maker, call):
    maker.run('a', [0.5], lr=0.01, epochs=10)
    words, remarks = repeated(call, 'a')
    assert words == [f'--checkpoints_dir={maker.root}', '--lr=0.01']
    assert '# started with: python train.py --save_prefix a, in' in remarks[1]
    assert 'git checkout 0123456789abcdef' in remarks[-1]


def test_the_command_of_an_older_version_is_short_too(maker, call):
    run = maker.run('a', [0.5], lr=0.01, epochs=10)
    lines = (run / 'args.txt').read_text().splitlines()
    (run / 'args.txt').write_text(
        '\n'.join(line for line in lines if 'save_minutes' not in line and 'options' not in line)
    )
    assert repeated(call, 'a')[0][-1] == '--lr=0.01'


def test_the_command_says_what_of_the_code_changed(maker, call):
    run = maker.run('a', [0.5])
    write_source(run, train='x')
    change_record(run, git={'commit': 'f' * 40, 'changed': ['train.py']})
    _, remarks = repeated(call, 'a')
    assert remarks[-1].endswith(
        f'to get the old code: unzip {shlex.quote(f"{run}/source.zip")} into an empty directory'
    )
    change_record(run, code=code_today())
    assert not any('code' in line for line in repeated(call, 'a')[1])


def test_the_command_of_a_script_with_parts_of_its_own(maker, call):
    run = maker.run('a', [0.5], lr=0.01)
    (run / 'first_steps.jsonl').write_text('{"threads": 1, "device": "cpu", "torch": "2.15.0", "ready_made": false}\n')
    assert call('command', 'a').lines[0].startswith('python train.py ')
    (run / 'first_steps.jsonl').write_text('{"threads": 1, "device": "cpu", "torch": "2.15.0", "ready_made": true}\n')
    (run / 'env.txt').write_text('command: python gan.py --lr 0.01\ndirectory: /home/me\n')
    called = call('command', 'a')
    assert called.lines[0] == 'python gan.py --lr 0.01'
    assert called.lines[1] == '# a script with parts that no options of train.py name'
    assert any(line.endswith('gan.py --lr 0.01, in /home/me') for line in called.lines)
    assert all(line.startswith('#') for line in called.lines[1:])
    (run / 'env.txt').unlink()
    assert (
        call('command', 'a').error == 'a was made by a script with ready-made parts, and its command was not recorded'
    )


def test_a_run_that_today_cannot_be_repeated(maker, call):
    run = maker.run('a', [0.5])
    text = (run / 'args.txt').read_text()
    (run / 'args.txt').write_text(text.replace('--model_type=lenet', '--model_type=mine'))
    assert re.match('a: .*argument --model_type: unknown model', call('command', 'a').error)
    (run / 'args.txt').unlink()
    assert 'no readable args.txt' in call('command', 'a').error


def test_notes(maker, call):
    run = maker.run('a', [0.5])
    assert call('note', 'a').text == ''
    call('note', 'a', 'first')
    call('note', 'a', 'the', 'second\n 一')
    lines = (run / 'note.txt').read_text(encoding='utf-8').splitlines()
    assert [re.sub(r'^\d{4}-\d\d-\d\d \d\d:\d\d ', '', line) for line in lines] == ['first', 'the second 一']
    assert call('note', 'a').lines == lines
    assert 'is empty' in call('note', 'a', ' ').error
    assert json.loads(call('list', '--json').text)[0]['note'] == lines[-1]


def test_removing(maker, call, monkeypatch):
    run = maker.run('a', [0.5])
    maker.run('b', [0.5])
    maker.test(run, {'acc': 0.25})
    monkeypatch.setattr('sys.stdin', open(os.devnull))  # noqa: SIM115 (no terminal)
    called = call('rm', 'a')
    assert called.status == 2
    assert 'add --yes' in called.error
    assert run.is_dir()
    assert 'checkpoints best.pth last.pth, 1 test' in called.text
    assert call('rm', 'a', 'b', '--yes').status == 0
    assert [path.name for path in maker.root.iterdir()] == ['ledger.jsonl']


@pytest.mark.parametrize(('answer', 'status'), [('y', 0), ('yes', 0), ('n', 1), ('', 1), ('x', 1)])
def test_asking(maker, call, monkeypatch, answer, status):
    run = maker.run('a', [0.5])
    monkeypatch.setattr('sys.stdin.isatty', lambda: True, raising=False)
    monkeypatch.setattr('builtins.input', lambda _: answer)
    assert call('rm', 'a').status == status
    assert run.is_dir() == bool(status)


def test_what_is_not_removed(maker, call, tmp_path, monkeypatch):
    run = maker.run('a', [0.5])
    (run / 'lock').write_text('')
    monkeypatch.setattr('utils.runs.run.lock_holder', lambda path: 'process 1 on here')
    assert 'is in use by process 1 on here' in call('rm', 'a', '--yes').error
    monkeypatch.undo()
    (maker.root / 'link').symlink_to(run)
    assert 'is a link' in call('rm', 'link', '--yes').error
    outside = tmp_path / 'photos'
    outside.mkdir()
    (outside / 'cat.png').write_bytes(b'')
    monkeypatch.chdir(run)
    assert call('rm', '..', '--yes').status == 2
    monkeypatch.chdir(maker.root)
    for name in ('x' * 300, '.', '..', '../photos', str(outside), str(maker.root), '', '/', 'nowhere', '*'):
        assert call('rm', name, '--yes').status == 2, name
    (tmp_path / 'log.txt').write_text('of something else')  # a run's file alone makes no run elsewhere
    assert call('rm', str(outside / 'cat.png'), '--yes').status == 2
    shutil.copy(run / 'args.txt', tmp_path)
    assert 'contains more than a run' in call('rm', str(tmp_path), '--yes').error
    assert sorted(path.name for path in maker.root.iterdir()) == ['a', 'link']
    assert (outside / 'cat.png').exists()


def test_a_run_that_is_being_removed_is_nobodys(maker, call):
    run = maker.run('a', [0.5])
    lock = RunLock(run)
    lock.release()
    assert call('rm', 'a', '--yes').status == 0
    assert not run.exists()


@pytest.mark.parametrize(
    'name',
    [
        'lenet_exp_10',
        'lenet_exp_1',
        'lenet_exp_10/',
        '{root}/lenet_exp_10',
        '{root}/lenet_exp_10/best.pth',
        '{root}/lenet_exp_10/best/val_test_exp/result.txt',
        'lenet_exp_10/best.pth',
        'ml',
    ],
)
def test_names(maker, call, name):
    for each in ('lenet_exp_1', 'lenet_exp_10', 'mlp_x'):
        maker.test(maker.run(each, [0.5]), {'acc': 0.5})
    called = call('note', name.format(root=maker.root), 'x')
    wanted = 'mlp_x' if name == 'ml' else 'lenet_exp_1' if name == 'lenet_exp_1' else 'lenet_exp_10'
    assert called.text.startswith(f'{wanted}: ')


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('lenet', "'lenet' is ambiguous; it matches 2 runs: lenet_exp_1, lenet_exp_10"),
        ('lenet_epx_1', 'did you mean lenet_exp_1'),
        ('exp_10', 'did you mean lenet_exp_10?'),
        ('zzz', 'list` shows all'),
        ('', 'no run'),
    ],
)
def test_wrong_names(maker, call, name, message):
    for each in ('lenet_exp_1', 'lenet_exp_10'):
        maker.run(each, [0.5])
    for words in (['note', name], ['diff', 'lenet_exp_1', name], ['command', name], ['rm', name, '--yes']):
        called = call(*words)
        assert called.status == 2
        assert message in called.error


# --- diff of tests


def kept(maker, **files):
    """Keep the code of a test, a dict from a name such as `model__net` to text, and return its hash."""
    files = {f'{name.replace("__", "/")}.py': text.encode() for name, text in files.items()}
    path = kept_archive(maker.root, files_hash(files))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(zip_bytes(files))
    return files_hash(files)


def test_two_tests_of_a_checkpoint_are_compared_in_code_data_and_values(maker, call):
    run = maker.run('a', [0.5, 0.6])
    facts = {'code': 'c' * 64, 'source': kept(maker, model__net='x = 1\n', eval='y\n')}
    first = maker.test(run, {'acc': 0.6, 'loss': 1.0, 'acc_class/1': 0.5}, name='one', **facts)
    facts = {'code': 'd' * 64, 'source': kept(maker, model__net='x = 2\n', eval='y\n')}
    second = maker.test(run, {'acc': 0.5, 'loss': 1.0}, name='two', data_sha256='e' * 64, **facts)
    for directory, size in ((first, 8), (second, 16)):
        (directory / 'args.txt').write_text(f'# python eval.py @args.txt\n--batch_size={size}\n--save_prefix=x\n')
    called = call('diff', 'a/best/val_one_exp', str(second), '--code')
    assert sections(called.text) == {
        'options': {'batch_size': ('8', '16')},
        'test': {
            'data_sha256': ('b' * 12, 'e' * 12),
            'list': ('/data/one.txt', '/data/two.txt'),
        },
        'code': {'model/net.py': (sha('x = 1\n'), sha('x = 2\n'))},
        'results': {'acc': ('0.6000', '0.5000')},
    }
    assert called.lines[0].startswith(f'A  test {first}  (2026-01-01')
    assert called.lines[-4:] == ['+++ B/model/net.py', '@@ -1 +1 @@', '-x = 1', '+x = 2']


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def test_an_earlier_result_and_one_whose_directory_is_gone_are_found(maker, call):
    run = maker.run('a', [0.5, 0.6])
    gone = maker.test(run, {'acc': 0.6}, name='gone', source=kept(maker, eval='1'))
    shutil.rmtree(gone)
    directory = maker.test(run, {'acc': 0.4}, name='one')
    (directory / 'result.txt').rename(directory / 'result.1.txt')
    maker.test(run, {'acc': 0.5}, name='one')
    called = call('diff', 'a/best/val_one_exp/result.1.txt', 'a/best/val_one_exp')
    assert sections(called.text) == {'results': {'acc': ('0.4000', '0.5000')}}
    assert 'the code of A was not kept, so its files are not compared; it has the same hash' in called.lines
    called = call('diff', 'a/best/val_gone_exp', 'a/best/val_one_exp')
    assert sections(called.text)['results'] == {'acc': ('0.6000', '0.5000')}
    assert 'the code of A' not in called.text and 'the code of B was not kept' in called.text


def test_a_test_is_compared_with_the_training_of_its_checkpoint(maker, call):
    run = maker.run('a', [0.5, 0.6])
    write_source(run, model__net='x = 1', tests__test_net='left out')
    test = maker.test(run, {'acc': 0.4}, name='one', source=kept(maker, model__net='x = 2'))
    found = sections(call('diff', 'a', str(test)).text)
    assert found == {'code': {'model/net.py': (sha('x = 1'), sha('x = 2'))}, 'results': found['results']}
    assert found['results']['acc'] == ('0.6000', '0.4000')


def test_names_of_options_stay_whole_in_a_narrow_diff(monkeypatch, capsys):
    monkeypatch.setattr('scripts.run_commands.diff.terminal_width', lambda: 50)
    print_sections(
        {'options': [['train_list', 'not set', '/data/a/long/path/to/photos'], ['label_smoothing', '0', '1']]}
    )
    head, first, second = capsys.readouterr().out.strip().splitlines()
    assert first.startswith('train_list ') and second.startswith('label_smoothing ')
    assert max(map(len, (head, first, second))) <= 50
