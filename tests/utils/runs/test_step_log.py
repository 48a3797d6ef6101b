"""--log_steps: lines in log.txt while an epoch goes by."""

import re

import pytest

LINE = re.compile(
    r'step (\d+), epoch (\d)/2, ([\d,]+)/26 samples  loss ([\d.]{5,6}) acc ([\d.]{5,6}) lr ([\d.e-]+) '
    r'\| \d{4}-\d\d-\d\d \d\d:\d\d:\d\d, [\d,]+ img/s'
)


@pytest.fixture
def lines_of(train_here, list_data, tmp_path):
    """Return a function: options of a run over 2 epochs of 4 batches -> the steps, epochs and samples of its lines."""

    def run(*words):
        words = [*list_data, '--epochs', '2', '--num_workers', '0', *words]
        done = train_here(*words, *(() if '--resume' in words else ('--checkpoints_dir', tmp_path)))
        log = (done.directory / 'log.txt').read_text(encoding='utf-8')
        assert 'step ' not in done.stdout
        found = [LINE.fullmatch(line) for line in log.splitlines() if line.startswith('step ')]
        return done, [tuple(int(number) for number in match.groups()[:3]) for match in found]

    return run


def test_a_line_comes_every_so_many_steps_over_all_epochs(lines_of):
    _, lines = lines_of('--log_steps', '3')
    assert lines == [(3, 1, 24), (6, 2, 16)]


def test_the_steps_are_those_of_the_optimizer(lines_of):
    _, lines = lines_of('--log_steps', '1', '--accumulate', '2', '--print_freq', '1')
    assert lines == [(1, 1, 16), (2, 1, 26), (3, 2, 16), (4, 2, 26)]


def test_without_the_option_there_is_none_and_the_numbers_are_the_same(lines_of, history_of):
    plain, lines = lines_of()
    assert lines == []
    logged, _ = lines_of('--log_steps', '1')
    values = [[{name: row[name] for name in row if '/' in name} for row in history_of(run)] for run in (plain, logged)]
    assert values[0] == values[1]


def test_the_last_line_of_an_epoch_is_what_the_epoch_comes_to(lines_of, history_of):
    run, _ = lines_of('--log_steps', '4')
    last = [line for line in (run.directory / 'log.txt').read_text().splitlines() if line.startswith('step ')]
    for line, row in zip(last, history_of(run), strict=True):
        assert f'loss {float(row["train/loss"]):#.4g} acc {float(row["train/acc"]):#.4g}' in line


def test_a_resumed_run_takes_another_number(lines_of):
    run, _ = lines_of('--epochs', '1')
    _, lines = lines_of('--resume', str(run.directory), '--log_steps', '3')
    assert lines == [(6, 2, 16)]


def test_each_epoch_has_the_time_in_the_log(lines_of):
    run, _ = lines_of()
    log = (run.directory / 'log.txt').read_text(encoding='utf-8')
    assert (
        len(re.findall(r'^epoch \d/2 .* \| \d{4}-\d\d-\d\d \d\d:\d\d:\d\d, [\d,]+ img/s, .* s(?:  best)?$', log, re.M))
        == 2
    )
