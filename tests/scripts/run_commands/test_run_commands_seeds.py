"""runs.py seeds: what a table says of runs that differ in their seed alone, and what it warns of."""

import csv
import io
import json
import math

import pytest

from scripts.dev.measure_runs import FIRST
from utils.statistics.significance import mean_interval, t_quantile

# Of every table of Student's t, for instance NIST's Engineering Statistics Handbook, 1.3.6.7.2.
TABLE = {(0.95, 1): 12.706, (0.95, 2): 4.303, (0.95, 4): 2.776, (0.95, 9): 2.262, (0.95, 30): 2.042, (0.95, 100): 1.984,
         (0.99, 1): 63.657, (0.99, 5): 4.032, (0.99, 10): 3.169, (0.8, 7): 1.415}  # fmt: skip


@pytest.mark.parametrize(('level', 'freedom'), TABLE)
def test_students_t_is_that_of_the_tables(level, freedom):
    assert t_quantile(level, freedom) == pytest.approx(TABLE[level, freedom], abs=6e-4)


def test_the_interval_of_a_mean():
    mean, deviation, low, high = mean_interval([0.5, 0.7, 0.6])
    assert (mean, deviation) == pytest.approx((0.6, 0.1))
    assert (low, high) == pytest.approx((0.6 - 0.2484, 0.6 + 0.2484), abs=1e-4)  # 4.303 * 0.1 / sqrt(3)
    assert all(math.isnan(number) for number in mean_interval([0.5])[1:])


def seeds(maker, values, prefix='exp', **options):
    """Make a run for each of some values of val/acc, in the second of three epochs the best."""
    return [maker.run(f'lenet_{prefix}_seed{seed}', [0.1, value, 0.2], seed=seed, save_prefix=f'{prefix}_seed{seed}',
                      **options) for seed, value in enumerate(values)]  # fmt: skip


def test_runs_that_differ_in_their_seed_alone(maker, call):
    seeds(maker, [0.5, 0.7, 0.6])
    done = call('seeds', 'lenet_exp_seed*')
    assert done.status == 0
    assert '3 runs, seeds 0, 1, 2; values of the best epoch by val/acc' in done.lines[0]
    (row,) = [line.split() for line in done.lines if line.startswith('val/acc ')]
    assert row == 'val/acc 0.6000 0.1000 0.3516 .. 0.8484 0.5000 0.7000'.split()
    assert 'warning' not in done.text


def test_the_interval_of_a_proportion_stays_within_0_and_1_and_that_of_a_loss_does_not(maker, call):
    seeds(maker, [0.9, 1.0])
    rows = {line.split()[0]: line.split() for line in call('seeds', 'lenet_exp_seed*').lines}
    assert rows['val/acc'][3:6] == '0.3147 .. 1.000'.split()
    assert float(rows['val/loss'][3]) < 0


def test_as_json_and_csv(maker, call):
    directories = seeds(maker, [0.5, 0.7])
    (group,) = json.loads(call('seeds', *map(str, directories), '--json').text)
    assert group['values']['val/acc']['each'] == [0.5, 0.7]
    assert (group['seeds'], group['differing']) == (['0', '1'], [])
    (row,) = [r for r in csv.DictReader(io.StringIO(call('seeds', '*', '--csv').text)) if r['value'] == 'val/acc']
    assert float(row['mean']) == group['values']['val/acc']['mean'] == pytest.approx(0.6)


def test_groups_of_other_options_are_kept_apart(maker, call):
    seeds(maker, [0.5, 0.7])
    seeds(maker, [0.8, 0.9], 'fast', lr=0.1)
    done = call('seeds', '*')
    assert [line.split(':')[1].split(',')[0] for line in done.lines if ' runs, seeds' in line] == [' 2 runs', ' 2 runs']
    assert done.lines[-1] == 'warning: the runs differ in more than the seed and form 2 groups: lr'


def test_what_differs_besides_the_options_is_warned_of(maker, call):
    _, second = seeds(maker, [0.5, 0.7])
    record = json.loads((second / 'record.json').read_text())
    record['code'], record['versions']['torch'], record['data']['train']['sha256'] = 'x' * 64, '2.16.0', 'y' * 64
    (second / 'record.json').write_text(json.dumps(record))
    assert 'warning: not the same in all runs: the code, the train data, torch' in call('seeds', '*').lines


def test_unfinished_runs_and_the_same_seed_again_are_left_out(maker, call):
    seeds(maker, [0.5, 0.7, 0.6])
    maker.run('lenet_exp_seed2_2', [0.1, 0.62, 0.2], begun=FIRST.replace(year=2027), seed=2, save_prefix='exp_seed2')
    killed = maker.run('lenet_exp_seed3', [0.1, 0.5], seed=3, save_prefix='exp_seed3')
    text = (killed / 'args.txt').read_text()
    (killed / 'args.txt').write_text(text.replace('--epochs=2', '--epochs=9'))
    done = call('seeds', 'lenet_exp_*')
    assert '3 runs, seeds 0, 1, 2;' in done.lines[0]
    assert 'warning: lenet_exp_seed3 is ignored: it is killed' in done.lines
    assert any(
        line.startswith('warning: lenet_exp_seed2 is ignored: lenet_exp_seed2_2 is newer') for line in done.lines
    )
    assert '0.6067' in done.text  # (0.5 + 0.7 + 0.62) / 3


def test_tests_on_other_data_have_rows_of_their_own(maker, call):
    for run, value in zip(seeds(maker, [0.5, 0.7]), (0.4, 0.6), strict=True):
        maker.test(run, {'acc': value})
        maker.test(run, {'acc': 0.99}, name='on_val', date=FIRST.replace(year=2025), data_sha256='v' * 64)
    assert [line.split()[2] for line in call('seeds', '*').lines if line.startswith('test acc')] == ['0.5000']


def test_one_run_and_none(maker, call):
    seeds(maker, [0.5])
    assert 'scripts/seeds.sh 5' in call('seeds', 'lenet_exp_seed0').lines[-1]
    assert 'matches' in call('seeds', 'mlp*').error
