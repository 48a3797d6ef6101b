"""runs.py list: every state that a run can be left in, what is shown, in which order and form."""

import csv
import datetime
import io
import json
import shutil
import subprocess
import sys

import pytest

from scripts.dev.measure_runs import FIRST, make_runs
from scripts.run_commands import listing
from utils.base.registry import PROJECT
from utils.base.text_table import table, truncate_cell, width_of
from utils.runs.lock import RunLock
from utils.runs.run_index import find_runs

DAY = datetime.timedelta(days=1)


def rows_of(called):
    """Return the rows of `list --json`, by name."""
    assert called.status == 0, called.error
    return {row['name']: row for row in json.loads(called.text)}


def states_of(called):
    return {name: row['state'] for name, row in rows_of(called).items()}


def log(directory, *lines):
    (directory / 'log.txt').write_text('\n'.join(lines) + '\n', encoding='utf-8')


def damage(directory, name, data):
    (directory / name).write_bytes(data)


def test_how_runs_ended(maker, call):
    maker.run('finished', [0.5, 0.75])
    log(
        maker.run('early', [0.5], epochs=9),
        'epoch 1/9 ...',
        'stopped after epoch 1: (--patience 2)',
        'best: val/acc 0.5 in epoch 1',
    )
    log(
        maker.run('by_hand', [0.5], epochs=9),
        'epoch 1/9 ...',
        'stopped by KeyboardInterrupt',
        'last.pth holds epoch 1; to go on',
    )
    log(maker.run('by_system', [0.5], epochs=9), 'stopped by SystemExit 143')
    log(maker.run('by_fault', [], epochs=9), 'stopped by DanluError the training loss became nan: 0.1')
    log(maker.run('power_cut', [0.5], epochs=9), 'epoch 1/9 ...')
    log(
        maker.run('goes_on', [0.5, 0.6], epochs=9),
        'stopped by KeyboardInterrupt',
        'resumed after epoch 1',
        'epoch 2/9 ...',
    )
    assert states_of(call('list', '--json')) == {
        'finished': 'finished',
        'early': 'stopped',
        'by_hand': 'interrupted',
        'by_system': 'interrupted',
        'by_fault': 'failed',
        'power_cut': 'killed',
        'goes_on': 'killed',
    }


def test_a_run_that_goes_on_is_running_and_keeps_its_lock(maker, call):
    directory = maker.run('going', [0.5], epochs=9)
    maker.run('was_killed', [0.5], epochs=9).joinpath('lock').write_text('{"pid": 1, "host": "x"}')
    code = (
        f'import sys\nfrom utils.runs.lock import RunLock\nlock = RunLock({str(directory)!r})\n'
        'print("has it", flush=True)\nsys.stdin.read()'
    )
    with subprocess.Popen([sys.executable, '-c', code], cwd=PROJECT, stdin=-1, stdout=-1, text=True) as owner:
        assert owner.stdout.readline() == 'has it\n'
        states = states_of(call('list', '--json'))
        assert (states['going'], states['was_killed']) == ('running', 'killed')
        with pytest.raises(Exception, match='is using this run'):
            RunLock(directory)
        owner.communicate()
    assert states_of(call('list', '--json'))['going'] == 'killed'


GARBAGE = bytes(range(256))


@pytest.mark.slow_after(14, 'each content in each file')
@pytest.mark.parametrize('name', ['args.txt', 'history.csv', 'record.json', 'env.txt', 'log.txt', 'note.txt', 'lock'])
@pytest.mark.parametrize('data', [b'', GARBAGE, b'{"a": [', b'epoch,val/acc\n1,', b'--lr="half\n', b'[' * 10_000, None])
def test_a_broken_file_never_breaks_the_table(maker, call, name, data):
    maker.run('whole', [0.5, 0.75])
    broken = maker.run('broken', [0.5, 0.75])
    if data is None:
        (broken / name).unlink(missing_ok=True)
        (broken / name).mkdir()
    else:
        damage(broken, name, data)
    for words in (['--json'], ['--csv'], [], ['--sort', 'best'], ['--where', 'lr=0.001'], ['--columns', 'lr']):
        called = call('list', *words)
        assert called.status == 0, called.error
        assert 'whole' in called.text
    assert rows_of(call('list', '--json'))['whole']['best'] == 0.75
    for words in (
        ['diff', 'whole', 'broken'],
        ['diff', 'whole', 'broken', '--code'],
        ['find-value', '0.75'],
        ['note', 'broken'],
    ):
        assert call(*words).error is None


def test_what_is_half_there(maker, call):
    (maker.root / 'empty').mkdir()
    (maker.root / 'nothing_of_ours').mkdir()
    (maker.root / 'nothing_of_ours' / 'photo.png').write_bytes(b'')
    only_weights = maker.root / 'only_weights'
    only_weights.mkdir()
    (only_weights / 'best.pth').write_bytes(b'')
    cut = maker.run('cut', [0.5, 0.75])
    damage(cut, 'history.csv', (cut / 'history.csv').read_bytes()[:-20])
    old = maker.run('old', [0.5, 0.75])
    for name in ('record.json', 'env.txt'):
        (old / name).unlink()
    (maker.root / 'dangling').symlink_to(maker.root / 'gone')
    rows = rows_of(call('list', '--json'))
    assert {name: (row['state'], row['best']) for name, row in rows.items()} == {
        'empty': ('broken', None),
        'only_weights': ('broken', None),
        'cut': ('killed', 0.5),
        'old': ('finished', 0.75),
    }
    assert rows['old']['date'] is not None
    assert rows['old']['commit'] is None


def test_a_table(maker, call):
    run = maker.run('lenet_丹炉', [0.5, 0.71234567, 0.7], lr=0.01, mixup=0.2)
    maker.run('lenet_b', [0.5, 0.6, 0.7], FIRST + DAY, lr=0.1, balance=True)
    maker.test(run, {'acc': 0.6, 'loss': 1.0})
    maker.test(run, {'acc': 0.75, 'loss': 1.0}, FIRST + DAY, name='newer')
    assert call('note', 'lenet_b', 'too  large\nrates').status == 0
    lines = call('list').lines
    assert lines[0].split() == 'name date epochs best test time state commit options note'.split()
    assert [line.split()[0] for line in lines[1:]] == ['lenet_b', 'lenet_丹炉']
    assert 'val/acc 0.7123  0.7500  9.8 s  finished  0123456  lr=0.01 mixup=0.2' in lines[2]
    assert lines[1].endswith('lr=0.1 balance=on  too large rates')
    columns = {width_of(line[: line.index('finished')]) for line in lines[1:]}
    assert len(columns) == 1, 'the columns do not stand below each other'


def test_orders(maker, call):
    maker.run('b', [0.5, 0.75, 0.7], FIRST + DAY)
    maker.run('a', [0.8], FIRST)
    maker.run('loss', [0.9, 0.9], FIRST + 2 * DAY, monitor='val/loss')
    maker.run('none', [], FIRST - DAY)

    def order(*words):
        return [row['name'] for row in json.loads(call('list', '--json', *words).text)]

    assert order() == ['loss', 'b', 'a', 'none']
    assert order('--reverse') == ['none', 'a', 'b', 'loss']
    assert order('--sort', 'name') == ['a', 'b', 'loss', 'none']
    assert order('--sort', 'epochs') == ['b', 'loss', 'a', 'none']
    assert order('--sort', 'time') == ['b', 'loss', 'a', 'none']
    assert order('--sort', 'best')[:2] == ['a', 'b']
    assert order('--sort', 'best', '--reverse')[-1] == 'none', 'what has no value is not the best when turned round'
    assert order('--limit', '2') == ['loss', 'b']


def test_the_best_epoch_is_the_one_that_training_chose(maker, call):
    maker.run('most', [0.5, 0.75, 0.75])
    least = maker.run('least', [0.5, 0.75, 0.7], monitor='val/loss')
    log(least, 'epoch 3/3')
    turned = maker.run('turned', [0.5, 0.75, 0.7], monitor='val/acc', mode='min')
    log(turned, 'epoch 3/3')
    found = {
        name: (row['metric'], row['best'], row['best_epoch']) for name, row in rows_of(call('list', '--json')).items()
    }
    assert found == {'most': ('val/acc', 0.75, 2), 'least': ('val/loss', 0.25, 2), 'turned': ('val/acc', 0.5, 1)}


@pytest.mark.parametrize(
    ('words', 'names'),
    [
        (['lenet'], ['lenet_a', 'lenet_b']),
        (['*_b', 'mlp*'], ['lenet_b', 'mlp_c']),
        (['--where', 'lr=1e-2'], ['lenet_a', 'mlp_c']),
        (['--where', 'lr=0.01', 'model_type=mlp'], ['mlp_c']),
        (['--where', 'lr>0.01'], ['lenet_b']),
        (['--where', 'lr!=0.01'], ['lenet_b']),
        (['--where', 'mixup=none'], ['lenet_b', 'mlp_c']),
        (['--where', 'balance=true'], ['lenet_b']),
        (['--where', 'balance=off', '--where', 'lr<=0.01'], ['lenet_a', 'mlp_c']),
        (['--where', 'model_args=hidden=32'], ['mlp_c']),
        (['--where', 'state=finished', 'best>0.65'], ['lenet_b']),
        (['--since', '2026-01-02'], ['lenet_b', 'mlp_c']),
        (['--since', '5m'], []),
    ],
)
def test_choosing(maker, call, words, names):
    maker.run('lenet_a', [0.5], lr=0.01, mixup=0.2)
    maker.run('lenet_b', [0.7], FIRST + DAY, lr=0.1, balance=True)
    maker.run('mlp_c', [0.6], FIRST + 2 * DAY, lr=0.01, model_type='mlp', model_args=['hidden=32', 'depth=2'])
    assert sorted(rows_of(call('list', '--json', *words))) == names


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--where', 'epoch=3'], "--where: unknown option 'epoch'; did you mean epochs"),
        (['--columns', 'batchsize'], "--columns: unknown option 'batchsize'; did you mean batch_size"),
    ],
)
def test_unknown_names(maker, call, words, message):
    maker.run('lenet_a', [0.5])
    called = call('list', *words)
    assert (called.status, called.text) == (2, '')
    assert message in called.error


@pytest.mark.parametrize(
    'words', [['--where', 'lr'], ['--where', 'lr>much'], ['--since', 'monday'], ['--limit', '0'], ['--csv', '--json']]
)
def test_wrong_words_are_one_line(call, capsys, words):
    with pytest.raises(SystemExit) as ended:
        call('list', *words)
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_columns_of_options(maker, call):
    maker.run('a', [0.5], lr=0.01, threads=2)
    maker.run('b', [0.7], FIRST + DAY, lr=0.1, lr_steps=[1.0, 2.0], schedule='multistep', threads=1)
    lines = call('list', '--columns', 'lr,lr_steps', 'val/loss').lines
    assert lines[0].split()[-3:] == ['lr', 'lr_steps', 'val/loss']
    assert lines[1].split()[-4:] == ['0.1', '1.0', '2.0', '0.3000']
    table = list(csv.DictReader(io.StringIO(call('list', '--csv').text)))
    assert [(row['name'], row['lr'], row['lr_steps']) for row in table] == [('b', '0.1', '1.0 2.0'), ('a', '0.01', '')]
    assert table[1]['best'] == '0.5'
    assert 'threads' not in table[0], 'it changes nothing about the result'
    assert 'lr_steps' in call('list', '--differing').lines[0]


def test_json_has_no_nan_and_numbers_as_numbers(maker, call):
    maker.run('nan', [float('nan'), float('nan')], lr=0.01, save_prefix='007')
    row = rows_of(call('list', '--json'))['nan']
    assert (row['best'], row['best_epoch']) == (None, None)
    assert (row['options']['lr'], row['options']['save_prefix'], row['options']['mixup']) == (0.01, '007', None)


def test_tests_are_of_the_run_and_not_of_one_before_it(maker, call):
    run = maker.run('again', [0.5], FIRST + DAY)
    shutil.rmtree(maker.test(run, {'acc': 0.25}, FIRST))  # of a run of the same name that was removed
    assert rows_of(call('list', '--json'))['again']['test'] is None
    older = maker.run('older', [0.5])
    maker.test(older, {'acc': 0.125}, ledger=False)
    assert rows_of(call('list', '--json'))['older']['test'] == 0.125


def test_values_of_different_data_are_not_comparable(maker, call):
    tested, validated = (
        f'not comparable: the runs were {verb} on 2 different data sets' for verb in ('tested', 'validated')
    )
    for name, data in (('a', 'x' * 64), ('b', 'y' * 64), ('c', 'not known')):
        run = maker.run(name, [0.5])
        maker.test(run, {'acc': 0.6}, data_sha256=data)
    assert call('list').lines[-1] == tested
    assert 'not comparable' not in call('list', 'a', 'c').text
    record = json.loads((run / 'record.json').read_text())
    record['data']['val']['sha256'] = 'z' * 64
    (run / 'record.json').write_text(json.dumps(record))
    assert call('list').lines[-2:] == [validated, tested]
    assert 'not comparable' not in call('list', '--csv').text + call('list', '--json').text


def test_runs_in_directories_of_runs(maker, call):
    maker.run('study/lenet_a', [0.5])
    run = maker.run('lenet_b', [0.6])
    maker.test(run, {'acc': 0.7})
    assert sorted(rows_of(call('list', '--json'))) == ['lenet_b', 'study/lenet_a']
    assert call('note', 'study/lenet_a', 'x').status == 0


def test_nothing_to_list(maker, call):
    assert call('list').text == f'no runs in {maker.root}\n'
    assert json.loads(call('list', '--json').text) == []
    assert call('list', '--csv').text.startswith('name,date,')
    maker.run('a', [0.5])
    assert call('list', 'b').text.startswith('none of 1 run ')
    called = call('list', '--checkpoints_dir', maker.root / 'nowhere')
    assert called.status == 2


def test_names_cannot_move_the_cursor(maker, call):
    run = maker.run('a', [0.5])
    (run / 'note.txt').write_text('2026-01-01 10:00 \x1b[2Jgone\n')
    assert '\x1b' not in call('list').text
    assert '?[2Jgone' in call('list').text


def test_many_runs_cost_one_look_at_each_file(maker, call, monkeypatch):
    make_runs(maker.root, 20, epochs=3)
    opened, builtin = [], open

    def counting(path, *words, **keywords):
        opened.append(str(path))
        return builtin(path, *words, **keywords)

    for words in (['list'], ['find-value', '0.7431'], ['find-value', '0.123456789123']):
        opened.clear()
        monkeypatch.setattr('builtins.open', counting)
        call(*words)
        monkeypatch.undo()
        files = [path for path in opened if str(maker.root) in path]
        assert len(files) >= 20
        assert len(set(files)) == len(files)
        assert not [path for path in files if path.endswith('.pth')]


def test_no_command_imports_torch(maker, call):
    make_runs(maker.root, 2, epochs=2)
    one, other = 'lenet_exp_1', 'lenet_exp_2'
    commands = [
        ['list'],
        ['find-value', '0.5'],
        ['diff', one, other],
        ['command', one],
        ['note', one],
        ['rm', one, '--yes'],
    ]
    code = (
        f'import sys\nfrom scripts import runs\nfor words in {commands!r}:\n'
        f'    runs.main([*words, "--checkpoints_dir", {str(maker.root)!r}])\n'
        'sys.exit(bool({"torch", "torchvision", "PIL"} & set(sys.modules)))'
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(find_runs(maker.root).runs) == 1


def test_a_closed_pipe_and_a_wrong_command(maker):
    make_runs(maker.root, 300, epochs=1, tests=0)
    script = f'"{sys.executable}" "{PROJECT}/scripts/runs.py"'
    piped = f'{script} list --csv --checkpoints_dir "{maker.root}" | head -n 1; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(['bash', '-c', piped], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) in ((141, ''), (0, ''))
    assert done.stdout.startswith('name,date')
    done = subprocess.run(['bash', '-c', f'{script} find-vale'], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count('\n')) == (2, 1)
    assert "no command 'find-vale'; did you mean find-value?" in done.stderr


@pytest.mark.parametrize('width', [None, 200, 50, 40, 30])
def test_a_table_fits_the_terminal(width):
    rows = [['丹炉' * 6, '2026-01-01', '0.5', 'lr=0.01 ' * 5], ['short', '2026-01-02', '0.75', '一个很长的说明' * 3]]
    lines, dropped = table(
        ['name', 'date', 'best', 'note'], rows, width, flexible=('note', 'name'), droppable=('date',)
    )
    assert dropped == (['date'] if width in (30,) else [])
    if width is None or width == 200:
        assert lines[1].endswith('lr=0.01')
    else:
        assert max(map(width_of, lines)) <= width
        assert '…' in lines[1]
    assert (
        len({width_of(line[: line.index(value)]) for line, value in zip(lines, ('best', '0.5', '0.75'), strict=True)})
        == 1
    )


def test_names_and_options_are_kept_while_something_else_can_be_left_out():
    head, name = ['name', 'date', 'epochs', 'best', 'commit', 'options'], 'cifar_cnn_with_a_long_name'
    rows = [[name, '2026-01-01 10:00', '1/1', '0.5', '4cb2172', 'model_type=cifar_cnn lr=0.01 val_list=photos/val']]
    given = {'flexible': ('options', 'name'), 'droppable': ('commit', 'date', 'epochs')}
    for width, left_out in ((100, []), (80, ['commit', 'date']), (60, ['commit', 'date', 'epochs'])):
        lines, dropped = table(head, rows, width, **given, kept={'name': 40, 'options': 24})
        assert dropped == left_out
        assert lines[1].startswith(f'{name}  ') and 'model_type=cifar_cnn' in lines[1] and len(lines[1]) <= width
    lines, _ = table(head, rows, 30, **given, kept={'name': 40, 'options': 24})
    assert len(lines[1]) <= 30


def test_text_is_shortened_by_columns():
    assert truncate_cell('abc', 3) == 'abc'
    assert truncate_cell('abcd', 3) == 'ab…'
    assert truncate_cell('丹炉丹', 4) == '丹…'
    assert truncate_cell('丹炉丹', 5) == '丹炉…'


def test_a_search_for_a_learning_rate_is_called_so(maker, call):
    (maker.run('a', []) / 'find_lr.png').write_bytes(b'')
    assert states_of(call('list', '--json')) == {'a': 'find_lr'}


def test_the_column_of_options_has_the_usual_ones_first_and_counts_the_rest(maker, call):
    many = {'seed': 7, 'weight_decay': 0.1, 'beta': 0.9, 'momentum': 0.8, 'patience': 3, 'clip_norm': 1, 'lr': 0.5}
    maker.run('a', [0.5])
    maker.run('b', [0.5], **many)
    [line] = [line for line in call('list').lines if line.startswith('b ')]
    assert 'lr=0.5 ' in line and line.index('lr=0.5') < line.index('=') + 1
    assert '+1 more' in line


def test_options_stay_readable_beside_long_names_on_a_narrow_terminal(maker, call, monkeypatch):
    names = [f'torchvision_resnet18_of_the_album_seed{seed}' for seed in (1, 2)]
    for name, rate in zip(names, (0.25, 0.5), strict=True):
        maker.run(name, [0.5], lr=rate)
        assert call('note', name, 'a note of some length').status == 0
    monkeypatch.setattr(listing, 'terminal_width', lambda: 80)
    lines = call('list').lines
    assert max(map(width_of, lines[:3])) <= 80
    assert all(' lr=0.' in line and '_seed' in line for line in lines[1:3])
    assert lines[-1].endswith('note; --csv shows all columns)')
