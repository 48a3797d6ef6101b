"""runs.py find-value: the patterns of a number, where values are searched, and what is printed of their sources."""

import datetime
import shlex
import shutil

import pytest

from scripts.dev.measure_runs import FIRST
from scripts.run_commands.number_patterns import number_patterns
from scripts.run_commands.run_code import code_today
from utils.base.registry import PROJECT

HOUR = datetime.timedelta(hours=1)


def rows(called):
    """Return the rows (list of str) of the table of matches; without a table the first line, of the only match."""
    if not called.lines[0].startswith('value '):
        return called.lines[:1]
    return called.lines[1 : called.lines.index('')]


def values(called):
    """Return the values (list of str) of the matches, in their order."""
    return [row.split()[0] for row in rows(called)]


def descriptions(number, *texts):
    """Return how a number matches each text (list of str), None where it does not match."""
    patterns = number_patterns(number)
    return [next((each.description for each in patterns if each.matches(text)), None) for text in texts]


def test_numbers_that_begin_so():
    assert descriptions('0.7431', '0.7431', '0.74312', '0.743199') == ['', '', '']
    assert (
        descriptions('0.7431', '0.74', '0.743', '0.7432', '10.7431', '-0.7431', '0.7431e-05', '7.431e-01') == [None] * 7
    )
    assert descriptions('-0.25', '-0.253', '0.253') == ['', None]
    assert descriptions('74', '74', '74.0', '74.9', '740.0', '7.4') == ['', '', '', None, None]


def test_zeros_at_the_end_need_not_be_in_the_text():
    assert descriptions('0.7500', '0.75', '0.750', '0.75001', '0.751') == ['', '', '', None]
    assert descriptions('1.0000', '1.0', '1', '1.00004', '1.5') == ['', '', '', None]
    assert descriptions('0.0000', '0.0', '0.5') == ['', None]


def test_percent():
    assert descriptions('74.31%', '0.74312', '74.31') == ['74.31% is 0.7431', None]
    assert descriptions('74.31', '74.319', '0.74319') == ['', '74.31% is 0.7431']
    assert descriptions('100', '1.0', '100.0') == ['100% is 1.00', '']
    assert descriptions('0.5', '0.005') == [None], 'half a percent is hardly meant'


def test_rounded():
    assert descriptions('0.7432', '0.74316', '0.74315', '0.743149') == ['rounded to 0.7432'] * 2 + [None]
    assert descriptions('0.75', '0.7451', '0.7449') == ['rounded to 0.75', None]
    assert descriptions('0.7500', '0.749951', '0.74994') == ['rounded to 0.7500', None]
    assert descriptions('1.00', '0.996', '0.99') == ['rounded to 1.00', None]
    assert descriptions('74.32%', '0.743162') == ['74.32% is 0.7432, rounded']
    assert descriptions('-0.26', '-0.257', '-0.252') == ['rounded to -0.26', None]
    assert descriptions('3', '2.6', '2.4') == ['rounded to 3', None]


def test_small_numbers_have_an_exponent():
    assert descriptions('2.5e-05', '2.5e-05', '2.5123e-05', '2.5e-06', '2.46e-05') == [
        '',
        '',
        None,
        'rounded to 2.5e-05',
    ]
    assert descriptions('0.000025', '2.5e-05', '0.000025') == ['', None]
    assert descriptions('1e-05', '1e-05', '1.7e-05') == ['', '']


@pytest.mark.parametrize('text', ['', 'abc', '1,5', '0.7.4', 'nan', 'inf', '--', '1e9999', '%'])
def test_what_is_no_number(call, text):
    called = call('find-value', '--', text)
    assert called.status == 2
    assert 'is not a number' in called.error


def test_a_test_is_named_with_all_that_is_known(maker, call):
    run = maker.run('lenet_exp', [0.5, 0.6])
    maker.test(run, {'acc': 0.74312, 'f1_macro': 0.74312, 'loss': 0.9}, FIRST + HOUR, code=code_today())
    called = call('find-value', '0.7431')
    assert called.status == 0
    date = (FIRST + HOUR).astimezone()
    assert called.lines == [
        '0.74312  acc, f1_macro, test of best.pth, lenet_exp',
        '  run         lenet_exp',
        f'  checkpoint  {run}/best.pth, epoch 5, sha256 aaaaaaaaaaaa',
        '  list        /data/test.txt, samples 1000, sha256 bbbbbbbbbbbb',
        f'  date        {date:%Y-%m-%d %H:%M:%S}',
        f'  command     python eval.py --load_model_path {shlex.quote(f"{run}/best.pth")}',
        f'  directory   {PROJECT}',
        f'  result      {run}/best/val_test_exp',
        '  code        the same as today',
        "  run's code  has changed since",
        '',
    ]


def test_an_epoch_is_named_with_its_checkpoint(maker, call):
    run = maker.run('lenet_exp', [0.51, 0.62, 0.57, 0.58])
    (run / 'epoch_0003.pth').write_bytes(b'')
    text = call('find-value', '0.62').text
    assert '0.62  val/acc, epoch 2, the best epoch, of lenet_exp' in text
    assert f'checkpoint  {run}/best.pth' in text
    assert 'command     python train.py --save_prefix lenet_exp' in text
    assert 'has changed since' in text
    assert f'checkpoint  {run}/epoch_0003.pth' in call('find-value', '0.57').text
    assert f'checkpoint  {run}/last.pth' in call('find-value', '0.58').text
    assert 'none was saved in this epoch' in call('find-value', '0.51').text


def test_results_that_no_ledger_knows(maker, call):
    run = maker.run('lenet_exp', [0.5])
    directory = maker.test(run, {'acc': 0.7431}, ledger=False)
    (directory / 'result.txt').rename(directory / 'result.1.txt')
    maker.test(run, {'acc': 0.25}, ledger=False)
    beside = maker.root / 'weights_tests' / 'val_test_exp'
    shutil.copytree(directory, beside)
    found = [line for line in call('find-value', '0.7431', '--long').lines if line.startswith('  result')]
    assert sorted(found) == sorted(f'  result      {where}/result.1.txt' for where in (directory, beside))
    assert '0.25  acc, test of best.pth' in call('find-value', '0.25').text


def test_the_code_of_results_that_no_ledger_knows(maker, call):
    run = maker.run('lenet_exp', [0.5])
    path = maker.test(run, {'acc': 0.7431}, ledger=False) / 'result.txt'
    for code, said in (('c' * 64, 'has changed since'), (code_today(), 'the same as today')):
        lines = ["# code: the run's own, source.zip", f'# code sha256: {code}', 'acc: 0.7431']
        path.write_text('\n'.join(lines), encoding='utf-8')
        assert f'  code        {said}' in call('find-value', '0.7431').lines


def test_ledger_and_result_are_one_test(maker, call):
    run = maker.run('lenet_exp', [0.5])
    maker.test(run, {'acc': 0.7431})
    assert call('find-value', '0.7431').text.count('test of best.pth') == 1


def test_a_test_that_was_repeated_is_shown_once(maker, call):
    a, b = maker.run('a', [0.5]), maker.run('b', [0.5])
    for hours in range(12):
        maker.test(a, {'acc': 0.7431, 'loss': 0.7431}, FIRST + hours * HOUR)
    maker.test(a, {'acc': 0.7431}, FIRST, code='d' * 64)
    maker.test(a, {'acc': 0.7431}, FIRST, data_sha256='not known')
    maker.test(a, {'acc': 0.7431}, FIRST, data_sha256='not known')
    maker.test(b, {'acc': 0.7431}, FIRST - HOUR)
    called = call('find-value', '0.7431', '--long')
    assert sum('test of best.pth' in row for row in rows(called)) == 5
    assert rows(called)[0].startswith('0.7431  acc, loss  test of best.pth  a  ')
    lines = called.lines[called.lines.index('') + 1 :]
    assert lines[0] == '0.7431  acc, loss, test of best.pth, a'
    assert f'  date        {(FIRST + 11 * HOUR).astimezone():%Y-%m-%d %H:%M:%S}' in lines[:9]
    first = f'{FIRST.astimezone():%Y-%m-%d %H:%M:%S}'
    assert [line for line in lines if line.startswith('  repeated')] == [
        f'  repeated    12 tests gave the same value, the first on {first}'
    ]
    assert '0.7431  acc, test of best.pth, b' in lines


def test_what_the_ledger_knows_of_a_removed_run(maker, call):
    run = maker.run('lenet_exp', [0.5])
    maker.test(run, {'acc': 0.7431})
    assert call('rm', 'lenet_exp', '--yes').status == 0
    assert 'run         lenet_exp (removed since)' in call('find-value', '0.7431').text


def test_exact_beginnings_come_first_then_percent_then_rounded(maker, call):
    run = maker.run('lenet_exp', [0.5])
    maker.test(run, {'psnr': 25.5312, 'acc': 0.25537, 'mae': 25.526}, name='one')
    called = call('find-value', '25.53')
    assert values(called) == ['25.5312', '0.25537', '25.526']
    assert 'acc (25.53% is 0.2553)' in rows(called)[1] and 'mae (rounded to 25.53)' in rows(called)[2]


def test_the_very_number_comes_before_longer_ones(maker, call):
    run = maker.run('lenet_exp', [0.5])
    for name, value in (('a', 0.28), ('b', 0.2825), ('c', 0.2814)):
        maker.test(run, {'acc': value}, name=name)
    for asked in ('0.28', '28%'):
        heads = values(call('find-value', asked))
        assert heads[0] == '0.28' and {*heads[1:]} == {'0.2825', '0.2814'}


def test_values_of_all_samples_come_before_those_of_classes_and_the_rest_is_counted(maker, call):
    run = maker.run('lenet_exp', [0.5])
    maker.test(run, {'iou/road': 0.7431, 'iou/sky': 0.7431}, name='a')
    maker.test(run, {'acc': 0.74311}, name='b')
    called = call('find-value', '0.7431', '--limit', '1')
    assert rows(called)[0].startswith('0.74311  acc ')
    assert rows(called)[-1].startswith('... 1 more')


def test_tests_come_before_epochs_and_validation_before_training(maker, call):
    run = maker.run('lenet_exp', [0.7431, 0.7439])
    path = run / 'history.csv'
    path.write_text(path.read_text(encoding='utf-8').replace(repr(0.7431 * 0.97), '0.743'), encoding='utf-8')
    maker.test(run, {'acc': 0.7432, 'acc_class/1': 0.743}, name='one', verdict='differs', code=code_today())
    called = call('find-value', '0.743')
    assert [row.split()[1] for row in rows(called)] == ['acc', 'val/acc', 'val/acc', 'acc_class/1', 'train/acc']
    assert values(called) == ['0.7432', '0.7439', '0.7431', '0.743', '0.743']
    assert called.lines[0].split() == ['value', 'metric', 'source', 'run', 'list', 'date', 'code', 'verdict']
    assert rows(called)[0].endswith('the same as today  differs') and 'epoch 2, the best epoch' in rows(called)[1]
    details = called.lines[called.lines.index('') + 1 :]
    assert details[0] == '0.7432  acc, test of best.pth, lenet_exp' and '  verdict     differs' in details
    assert called.text.count('command  ') == 1
    assert call('find-value', '0.743', '--long').text.count('command  ') == 5


def test_learning_rates_and_epochs_are_no_results(maker, call):
    maker.run('lenet_exp', [0.5, 0.6])
    assert call('find-value', '0.001').status == 1
    assert call('find-value', '20832').status == 1


def test_the_nearest_where_nothing_fits(maker, call):
    maker.run('lenet_exp', [0.5, 0.743])
    called = call('find-value', '0.74311')
    assert called.status == 1
    assert called.lines[0].startswith('no value in ')
    assert called.lines[2] == '  0.743  val/acc, epoch 2, the best epoch, of lenet_exp'


def test_a_ledger_with_lines_that_are_cut_off_or_strange(maker, call, capsys):
    run = maker.run('lenet_exp', [0.5])
    maker.test(run, {'acc': 0.7431})
    strange = ['{"values": {"acc": 0.7431', '[0.7431]', '{"values": [0.7431]}', '{"values": {"acc": "0.7431"}}',
               '0.7431', '{"values": {"acc": 0.74312}, "date": 5}', '{"values": {"acc": 0.74313}, "samples": {}}',
               '{"values": {"acc": true}}', '{"values": ' + '[' * 100_000, '{"values": {"acc": 1}, "epoch": -1}',
               '{"date": "2026-11-29"}']  # fmt: skip
    fit = ['{"values": {"acc": 0.74314, "f1": null}, "run": "a\\u0000b", "checkpoint": null, "later": [1]}',
           '{"values": {"acc": 0.74315}, "run": "../..\u2028"}']  # fmt: skip
    with open(maker.root / 'ledger.jsonl', 'a', encoding='utf-8') as file:
        file.write('\n'.join([*strange, *fit]))
    assert sorted(values(call('find-value', '0.7431'))) == ['0.7431', '0.74314', '0.74315']
    ignored = f'{maker.root / "ledger.jsonl"}: ignored invalid lines 2, 3, 4 and 8 more'
    for words, status in ((['list'], 0), (['list', '--json'], 0), (['find-value', '0.74312'], 1)):
        called = call(*words)
        assert (called.status, capsys.readouterr().err.splitlines()) == (status, [ignored])


@pytest.mark.parametrize(
    'line',
    ['# file: /etc/passwd', '# owner: x', '# values: 3', '# at: x', '# result_dir: ../x', '# run: another',
     '# samples: ²', '# samples: 9' + '9' * 5000, '# date: 5', '# checkpoint: \0', '\0: 0.5', 'acc/x: many',
     ': ', '# : '],
)  # fmt: skip
def test_a_result_with_facts_and_values_of_another_type(maker, call, line):
    runs = [maker.run(name, [0.5]) for name in ('one', 'two')]
    for run in runs:
        maker.test(run, {'acc': 0.7431}, ledger=False)
    for path in maker.root.glob('one/**/result.txt'):
        path.write_text(f'{line}\n{path.read_text(encoding="utf-8")}', encoding='utf-8')
    assert '0.7431' in call('list', '--csv').text
    assert call('find-value', '0.7431').status == 0
    assert call('diff', 'one', 'two').status == 0
    assert call('seeds', 'one', 'two').status == 0


def test_the_earlier_name_of_the_command_is_an_alias(maker, call):
    maker.test(maker.run('lenet_exp', [0.5]), {'acc': 0.7431})
    assert call('whence', '0.7431').text == call('find-value', '0.7431').text != ''
