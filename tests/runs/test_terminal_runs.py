"""What a person sees of a run and of a test, on a real terminal, and what is left of it in log.txt."""

import os
import re

import pytest

pytestmark = pytest.mark.skipif(os.name == 'nt', reason='there is no pty')


@pytest.fixture(scope='module')
def shown(run_program, list_data, tmp_path_factory):
    """Return a run with stdout and stderr on a terminal, and the directory of all runs."""
    folder = tmp_path_factory.mktemp('shown')
    words = ['--epochs', 2, '--num_workers', 0, '--print_freq', 1, '--checkpoints_dir', folder, '--device', 'cpu']
    words += [
        '--batch_size',
        1,
        '--image_size',
        224,
    ]  # an epoch that takes longer than the bar's 0.1 s between two drawings
    done = run_program('train.py', *list_data, *words, terminal='both')
    assert done.code == 0, done.stderr
    (directory,) = folder.glob('lenet*')
    return done, directory


def test_a_run_has_a_bar_and_a_green_word_on_the_terminal_and_neither_in_the_log(shown):
    done, directory = shown
    assert re.search(
        r'epoch 1/2 +\d+% \S* +\d+/26  [\d,]+ img/s  \S+ left  loss [\d.]{5,6} acc [\d.]{5,6}', done.stderr
    )
    assert '  \x1b[1;32mbest\x1b[0m\r\n' in done.stderr
    log = (directory / 'log.txt').read_text(encoding='utf-8')
    assert re.search(r'^epoch 1/2 .* \| \d{4}-\d\d-\d\d \d\d:\d\d:\d\d, .* s  best$', log, re.MULTILINE)
    head = r'epoch  train/loss   val/loss .*time\r\n +1/2 .* s(?:  \x1b|\r)'
    assert len(re.findall(head, done.stderr)) == 1, 'one header above all epochs'
    assert not re.search(r'[\r\x1b\x08]|img/s  \S+ left', log)
    assert '\r' not in (directory / 'history.csv').read_text(encoding='utf-8').replace('\r\n', '')


def test_a_test_ends_with_a_table_without_colour_where_none_is_wanted(shown, run_program):
    _, directory = shown
    words = ['--load_model_path', directory / 'best.pth', '--num_workers', 0, '--device', 'cpu']
    seen = run_program('eval.py', *words, terminal='both', NO_COLOR='1').stderr
    assert re.search(r'  +acc_class\r\n  ant +[\d.-]+\r\n', seen)
    assert re.search(r'\r\n  acc: +[\d.]{5,6}\r\n  f1_macro: +[\d.]{5,6}\r\n', seen)
    assert re.search(r'\rtest +\d+%', seen), 'the bar needs no colour'
    assert not re.search(r'\x1b\[[\d;]*m', seen)
