"""What every version wrote, in tests/formats, means to today's code what it meant then."""

import csv
import hashlib
import math
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import options
from tests.program_server import run_forked
from tests.train.helpers import bits
from utils.base.errors import DanluError
from utils.base.known_archives import note_archive
from utils.base.registry import PROJECT
from utils.options import migrations
from utils.options.args_file import options_of
from utils.runs.checkpoint import load_checkpoint

STORED = Path(__file__).parent
FORMATS = sorted(path.parent.name for path in STORED.glob('*/args.txt'))
FIRST = FORMATS[0]
RECORDED = [name for name in FORMATS if (STORED / name / 'source.zip').exists()]  # each with a record and its code
LATER = 'args file {!r} is older than --later (then 1, today 3)'


@pytest.fixture
def copied(tmp_path):
    """Return a function: the name of a format -> its run (directory, best, args, test) in a place of its own."""

    def copy(name):
        directory = tmp_path / 'runs' / name
        shutil.copytree(STORED / name, directory, ignore=shutil.ignore_patterns('history.csv'))
        best = load_checkpoint(directory / 'best.pth')
        for path in directory.rglob('args.txt'):
            path.write_text(path.read_text().replace(best['args']['model_dir'], str(directory)))
        return SimpleNamespace(directory=directory, best=best, args=directory / 'args.txt', test=directory / 'test')

    return copy


@pytest.fixture
def later(monkeypatch):
    """Add two options to both parsers: --later, 3 today and 1 before the option existed, and --plain."""
    common = options.add_common_args

    def with_later(parser):
        common(parser)
        parser.add_argument('--later', default=3, before=1, from_checkpoint=True, type=int, help='of the test')
        parser.add_argument('--plain', default=3, type=int, help='an option that declares nothing')

    monkeypatch.setattr(options, 'add_common_args', with_later)


@pytest.fixture
def changed(monkeypatch):
    """Return a function that says which options and values have changed: see utils/options/migrations.py."""

    def change(names=None, values=None):
        monkeypatch.setattr(migrations, 'CHANGED_OPTIONS', names or {})
        monkeypatch.setattr(migrations, 'CHANGED_VALUES', values or {})

    return change


def named(path):
    """Return the options (set of str) that an args.txt names, those in comments too."""
    return set(re.findall(r'^(?:# )?--(?:no_)?(\w+)', path.read_text(), re.MULTILINE))


def parsed(args, *words):
    return options.parse_train_args([f'@{args}', *words])


def line_replaced(path, pattern, line):
    """Replace the line of a file that a pattern matches the beginning of; '' removes it."""
    text, count = re.subn(rf'^{re.escape(pattern)}.*\n', line, path.read_text(), flags=re.MULTILINE)
    assert count == 1
    path.write_text(text)


def refused(capsys, parse, *words):
    """Return the one line (str) in which a mistake ends."""
    with pytest.raises(SystemExit) as ended:
        parse(*words)
    assert ended.value.code == 2
    return capsys.readouterr().err


# --- every version


@pytest.mark.parametrize('name', FORMATS)
def test_a_stored_checkpoint_tests_as_it_did(name, copied, eval_here):
    run = copied(name)
    test = eval_here('--load_model_path', run.directory / 'best.pth')
    lines = (run.test / 'result.txt').read_text().splitlines()
    then = dict(line.split(': ') for line in lines if not line.startswith('# '))
    now = {value: float(test.values[value]) for value in then}
    assert now == pytest.approx({value: float(text) for value, text in then.items()}, rel=1e-5)
    assert 'option changed since training' not in test.stdout.replace('device: ', '')


@pytest.mark.slow_after(2, 'two starts each')
@pytest.mark.parametrize('name', FORMATS)
def test_a_stored_run_goes_on(name, copied, train_here, eval_here):
    run = copied(name)
    state = load_checkpoint(run.directory / 'last.pth')
    loss = state['recorder']['history'][-1]['val/loss']
    test = eval_here('--load_model_path', run.directory / 'last.pth')
    assert float(test.values['loss']) == pytest.approx(loss, rel=1e-5)
    train_here('--resume', run.directory, '--epochs', state['epoch'] + 1, '--no_report')
    then, now = rows_of(STORED / name), rows_of(run.directory)
    assert [row['epoch'] for row in now] == [row['epoch'] for row in then]
    for row, of_then in zip(now, then, strict=True):
        values = {name: float(value) for name, value in of_then.items() if name.startswith(('train/', 'val/', 'lr'))}
        # Another processor or torch rounds in another way, which a learning rate of 0.2 amplifies within the new epoch.
        tolerance = 1e-2 if row is now[-1] else 1e-12
        assert {name: float(row[name]) for name in values} == pytest.approx(values, rel=tolerance)
    assert named(run.args) == {action.dest for action in options_of(options.train_parser())}


@pytest.mark.parametrize('name', RECORDED)
def test_a_recorded_network_computes_what_it_did(name, copied, eval_here):
    test = eval_here('--load_model_path', copied(name).directory / 'best.pth')
    assert test.head['outputs for the probe'].startswith('as when saved (2 inputs of noise')


@pytest.mark.slow('two starts of an earlier version')
@pytest.mark.parametrize('name', RECORDED)
def test_a_recorded_run_ends_and_tests_with_the_bits_of_its_own_code(name, copied, train_here, eval_here, tmp_path):
    run = copied(name)
    shutil.unpack_archive(run.directory / 'source.zip', tmp_path / 'then')
    for data in (PROJECT / 'data').glob('*.npz'):
        shutil.copy(data, tmp_path / 'then/data')
    theirs = shutil.copytree(run.directory, tmp_path / 'then/checkpoints' / run.directory.name)
    words = ['--threads', '1', '--device', 'cpu']
    started = [sys.executable, 'train.py', '--resume', theirs, '--epochs', '3', '--no_report', *words]
    run_forked(started, cwd=tmp_path / 'then').check_returncode()
    test = [sys.executable, 'eval.py', '--load_model_path', theirs / 'best.pth', '--save_prefix', 'then', *words]
    run_forked(test, cwd=tmp_path / 'then').check_returncode()
    train_here('--resume', run.directory, '--epochs', 3, '--no_report', *words)
    now = eval_here('--load_model_path', run.directory / 'best.pth', *words)
    states = [load_checkpoint(directory / 'last.pth') for directory in (theirs, run.directory)]
    assert states[0]['epoch'] == states[1]['epoch'] == 3
    for part in ('model', 'ema', 'optimizer'):
        assert bits(states[0][part]) == bits(states[1][part]), part
    [then] = theirs.glob('best/*_then/result.txt')
    values = dict(line.split(': ') for line in then.read_text().splitlines() if not line.startswith('# '))
    assert values == now.values


def rows_of(directory):
    """Return the rows (list of dict of str) of a history.csv."""
    with open(directory / 'history.csv', newline='') as file:
        return list(csv.DictReader(file))


@pytest.mark.slow_after(2, 'a run each')
@pytest.mark.parametrize('name', FORMATS)
def test_a_stored_args_txt_repeats_its_run(name, copied, train_here, tmp_path):
    run = copied(name)
    args, then = vars(parsed(run.args)), run.best['args']
    then = migrations.migrate(then, args.__contains__)
    for action in options_of(options.train_parser()):
        if not action.repeated or action.dest in then['from_data']:
            continue
        expected = then.get(action.dest, migrations.value_before(action, then))
        assert args[action.dest] == expected, action.dest
    again = train_here(f'@{run.args}', '--epochs', 1, '--checkpoints_dir', tmp_path / 'again')
    assert math.isfinite(load_checkpoint(again.directory / 'last.pth')['metrics']['train/loss'])


@pytest.mark.parametrize('name', FORMATS)
def test_a_stored_test_repeats(name, copied):
    run = copied(name)
    args = options.parse_test_args([f'@{run.test / "args.txt"}'], run.best['args'])
    for action in options_of(options.test_parser()):
        assert hasattr(args, action.dest)
    assert args.model_args == run.best['args'].get('model_args')


@pytest.mark.parametrize('name', FORMATS)
def test_a_stored_checkpoint_has_the_options_of_its_args_txt(name):
    assert named(STORED / name / 'args.txt') <= {*load_checkpoint(STORED / name / 'best.pth')['args']}


def test_what_has_changed_is_an_option_no_longer():
    known = {action.dest for parser in (options.train_parser(), options.test_parser()) for action in options_of(parser)}
    assert not known & {*migrations.CHANGED_OPTIONS}
    assert {*migrations.CHANGED_VALUES} <= known


def test_no_format_names_the_machine_that_made_it():
    for path in STORED.rglob('*.pth'):
        assert load_checkpoint(path)['args']['model_dir'].startswith('/tmp/danlu/'), path


# --- options that were added


def test_an_option_added_later_is_as_it_was_before_it(later, copied, train_here, eval_here):
    run = copied(FIRST)
    record = str(run.args)
    assert (parsed(record).later, parsed(record).plain) == (1, 3)
    assert parsed(record).past[0].startswith(LATER.format(record))
    assert parsed(record, '--later', '2').later == 2
    assert not any('--later' in line for line in parsed(record, '--later', '2').past)
    assert options.test_args(str(run.directory / 'best.pth')).later == 1
    assert options.test_args(str(run.directory / 'best.pth'), later=2).later == 2
    test = eval_here('--load_model_path', run.directory / 'best.pth')
    assert f'{run.directory / "best.pth"} is older than --later (then 1, today 3)\n' in test.stdout
    going_on = train_here('--resume', run.directory, '--epochs', 3)
    more = ', --save_minutes (then not set, today 1.0), --report (then off, today on)\n'
    assert LATER.format(record) + more in going_on.stdout
    assert load_checkpoint(run.directory / 'last.pth')['args']['later'] == 1
    # From now on it is an option like any other.
    assert (parsed(record).later, parsed(record).past) == (1, [])
    assert options.test_args(str(run.directory / 'last.pth')).later == 1


def test_what_equals_the_default_is_not_worth_a_line(copied):
    lines = parsed(copied(FIRST).args).past
    assert len(lines) == 1
    assert lines[0].endswith(' is older than --save_minutes (then not set, today 1.0), --report (then off, today on)')


def test_a_file_made_by_hand_has_the_defaults_of_today(later, tmp_path):
    file = tmp_path / 'args.txt'
    file.write_text('# python train.py with a few options\n--lr=0.1\n')
    assert (parsed(file).later, parsed(file).past) == (3, [])


def test_a_checkpoint_that_is_not_ours_has_the_defaults_of_today(later, copied):
    best = str(copied(FIRST).directory / 'best.pth')
    args = options.parse_test_args(['--load_model_path', best], {'image_size': [12, 12]})
    assert (args.later, args.image_size, args.past) == (3, [12, 12], [])
    assert options.parse_test_args(['--load_model_path', best], None).later == 3


def test_a_deleted_line_asks_for_the_default_of_today(later, tmp_path):
    args = options.prepare_train_args(['--later', '2', '--checkpoints_dir', str(tmp_path)])
    record = Path(args.model_dir, 'args.txt')
    line_replaced(record, '--later', '')
    assert (parsed(record).later, parsed(record).past) == (3, [])


def test_a_line_deleted_from_an_older_record_does_not_make_it_newer(tmp_path, monkeypatch, request):
    args = options.prepare_train_args(['--lr', '2', '--checkpoints_dir', str(tmp_path)])
    record = Path(args.model_dir, 'args.txt')
    line_replaced(record, '--lr=', '')
    request.getfixturevalue('later')
    assert (parsed(record).later, parsed(record).lr) == (1, 0.001)


def test_what_was_not_set_is_not_set_where_there_is_a_default_today(copied, tmp_path):
    old = parsed(copied(FIRST).args, '--checkpoints_dir', str(tmp_path / 'again'))
    assert old.save_minutes is None
    old.model_dir = options.get_train_model_dir(old)
    options.save_args(old, old.model_dir)
    record = Path(old.model_dir, 'args.txt')
    assert '# --save_minutes (not set)\n' in record.read_text()
    assert (parsed(record).save_minutes, parsed(record).past) == (None, [])
    assert parsed(record, '--save_minutes', '2').save_minutes == 2
    assert options.parse_train_args([]).save_minutes == 1


# --- options that have another name, or are gone


def test_a_renamed_option_means_what_it_meant(changed, copied, capsys):
    changed({'step_size': 'lr', 'pick': 'val_list', 'plain': 'skip_bad'})
    run = copied(FIRST)
    line_replaced(run.args, '--lr=', '--step_size=0.5\n--no_plain\n# --pick (not set)\n')
    args = parsed(run.args)
    assert (args.lr, args.skip_bad, args.val_list) == (0.5, False, None)
    assert sorted(line.partition(': ')[2] for line in args.past[1:]) == [
        '--plain off is --skip_bad off now',
        '--step_size 0.5 is --lr 0.5 now',
    ]
    assert '--step_size is called --lr now (see' in refused(capsys, options.parse_train_args, ['--step-size', '0.5'])
    assert '--no_plain is called --skip_bad now' in refused(capsys, options.parse_train_args, ['--no_plain']).replace(
        '--plain', '--no_plain'
    )


def test_a_changed_option_goes_by_its_value(changed, copied, capsys):
    changed({'side': lambda value: {'image_size': [value, value]}})
    run = copied(FIRST)
    line_replaced(run.args, '--image_size', '--side=12\n')
    assert parsed(run.args).image_size == [12, 12]
    recorded = {name: value for name, value in run.best['args'].items() if name != 'image_size'} | {'side': 12}
    words = ['--load_model_path', str(run.directory / 'best.pth')]
    args = options.parse_test_args(words, recorded)
    assert args.image_size == [12, 12]
    assert f'{words[1]}: --side 12 is --image_size 12 12 now' in args.past
    assert '--side is no option any more' in refused(capsys, options.parse_train_args, ['--side', '12'])


def make_own(run):
    """Let a run be one that this user has made."""
    (run.directory / 'source.zip').write_bytes(b'code')
    note_archive(hashlib.sha256(b'code').hexdigest(), run.directory)


def test_an_option_that_is_gone_is_refused_where_it_did_something(changed, copied, capsys):
    changed({'half': migrations.removed(False)})
    run = copied(FIRST)
    words = ['--load_model_path', str(run.directory / 'best.pth')]
    for harmless, value in (('--no_half', False), ('# --half (not set)', None)):
        line_replaced(run.args, '--seed=', f'--seed=7\n{harmless}\n')
        assert parsed(run.args).seed == 7
        assert options.parse_test_args(words, run.best['args'] | {'half': value}).seed == 0
        line_replaced(run.args, harmless, '')
    line_replaced(run.args, '--seed=', '--half\n')
    message = refused(capsys, parsed, run.args)
    assert re.search(r'args\.txt\', line \d+: --half on: there is no such option any more', message)
    message = refused(capsys, options.parse_test_args, words, run.best['args'] | {'half': True})
    assert f'{words[1]}: --half on: there is no such option any more' in message
    assert 'eval.py --code then' not in message  # the code may be a stranger's
    make_own(run)
    message = refused(capsys, options.parse_test_args, words, run.best['args'] | {'half': True})
    assert 'nothing that does the same; test it with the code of its run: eval.py --code then' in message


def test_a_renamed_model_tests_as_it_did(changed, copied, eval_here, capsys):
    changed(values={'model_type': {'letnet': 'lenet'}})
    run = copied(FIRST)
    run.best['args']['model_type'] = 'letnet'
    torch.save(run.best, run.directory / 'best.pth')
    line_replaced(run.args, '--model_type', '--model_type=letnet\n')
    assert parsed(run.args).model_type == 'lenet'
    test = eval_here('--load_model_path', run.directory / 'best.pth')
    then = re.search('^acc: (.*)$', (run.test / 'result.txt').read_text(), re.MULTILINE)[1]
    assert test.values['acc'] == then
    assert '--model_type letnet is --model_type lenet now' in test.stdout
    assert 'model_type: ' not in test.stdout
    message = refused(capsys, options.parse_train_args, ['--model_type', 'letnet'])
    assert "argument --model_type: 'letnet' is called 'lenet' now" in message


def test_renamed_losses_and_metrics_are_found_in_sums_and_lists(changed, copied):
    changed(values={'loss': {'xent': 'ce'}, 'metrics': {'auc': 'auroc'}})
    run = copied(FIRST)
    line_replaced(run.args, '--loss=', '--loss=xent+0.5*focal\n--metrics auc acc_top5\n')
    line_replaced(run.args, '--label_smoothing', '')
    args = parsed(run.args, '--metrics', 'auroc')
    assert (args.loss, args.metrics) == ('ce+0.5*focal', ['auroc'])


# --- values that are not valid any more


def test_a_value_that_is_no_longer_valid_is_said_with_its_place(copied, capsys):
    run = copied(FIRST)
    line_replaced(run.args, '--optimizer', '--optimizer=sdg\n')
    number = run.args.read_text().splitlines().index('--optimizer=sdg') + 1
    message = refused(capsys, parsed, run.args)
    assert f"args.txt', line {number}: argument --optimizer: unknown optimizer 'sdg'" in message
    best = run.directory / 'best.pth'
    for name, value, why in (
        ('model_type', 'mynet', "unknown model 'mynet'"),
        ('batch_size', 'many', "'many' is not a whole number"),
        ('download', 3, None),  # not taken from the checkpoint
    ):
        recorded = run.best['args'] | {name: value}
        if why is None:
            assert options.parse_test_args(['--load_model_path', str(best)], recorded).download is False
            continue
        message = refused(capsys, options.parse_test_args, ['--load_model_path', str(best)], recorded)
        assert f'{best}: argument --{name}: {why}' in message
        assert f'give another --{name} (see' in message  # no code that may be a stranger's
        make_own(run)
        message = refused(capsys, options.parse_test_args, ['--load_model_path', str(best)], recorded)
        assert f'give another --{name}, or test it with the code of its run: eval.py --code then' in message
        (run.directory / 'source.zip').unlink()
    with pytest.raises(DanluError, match='unknown optimizer'):
        options.from_keywords(lambda words: parsed(run.args, *words), {})


def test_what_the_command_line_replaces_need_not_be_valid(copied):
    run = copied(FIRST)
    recorded = run.best['args'] | {'model_type': 'mynet'}
    words = ['--load_model_path', str(run.directory / 'best.pth'), '--model_type', 'lenet']
    assert options.parse_test_args(words, recorded).model_type == 'lenet'


def test_an_unknown_option_in_a_file_is_said_with_its_place(tmp_path, capsys):
    file = tmp_path / 'mine.txt'
    file.write_text('--lr=0.1\n--leaning_rate=3\n')
    assert "mine.txt', line 2: unknown option --leaning_rate" in refused(capsys, parsed, file)
