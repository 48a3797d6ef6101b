"""The commands on what train.py and eval.py really leave."""

import json
import re

import pytest

from options import parse_train_args, train_parser
from scripts import runs


@pytest.fixture(scope='module')
def real(train_here, eval_here, tmp_path_factory):
    """Return a directory with two runs, which differ in the learning rate, and a test of the first."""
    root = tmp_path_factory.mktemp('runs')
    words = ['--model_type', 'mlp', '--epochs', '2', '--checkpoints_dir', root, '--num_workers', '0']
    first = train_here(*words, '--save_prefix', '第一', '--lr', '0.002')
    train_here(*words, '--save_prefix', 'two', '--lr', '0.004')
    eval_here('--load_model_path', first.directory / 'best.pth')
    return root


def said(capsys, root, command, *words):
    """Return what a command prints (str)."""
    assert runs.main([command, '--checkpoints_dir', root, *words]) == 0
    return capsys.readouterr().out


def test_list(real, capsys):
    two, first = json.loads(said(capsys, real, 'list', '--json', '--sort', 'date'))
    assert (first['name'], two['name']) == ('mlp_第一', 'mlp_two')
    for row in (first, two):
        assert (row['state'], row['epochs_done'], row['epochs'], row['metric']) == ('finished', 2, 2, 'val/acc')
        log = (real / row['name'] / 'log.txt').read_text(encoding='utf-8')
        assert f'best: val/acc {row["best"]!r} in epoch {row["best_epoch"]}' in log
    assert (first['test'], two['test']) == (first['best'], None)
    assert re.search(r'mlp_第一 .* finished .* lr=0\.002', said(capsys, real, 'list'))


def test_whence(real, capsys):
    best = json.loads(said(capsys, real, 'list', '--json', '第一'))[0]['best']
    text = said(capsys, real, 'find-value', repr(best), '--long')
    table, test, *others = text.split('\n\n')
    assert re.search(r'^0\.\d+ +acc.* +test of best\.pth +mlp_第一 +digits ', table, re.MULTILINE)
    assert test.startswith(f'{best!r}  acc')
    assert f'checkpoint  {real}/mlp_第一/best.pth' in test
    assert re.search('list +digits.*, samples 1000', test)
    [epoch] = [block for block in others if re.match('^0.* val/acc', block)]
    assert ', the best epoch, of mlp_第一' in epoch


def test_diff(real, capsys):
    text = said(capsys, real, 'diff', 'mlp_第', 'mlp_t', '--code')
    assert re.search(r'^options +A +B\nlr +0\.002 +0\.004\n\nresults', text, re.MULTILINE)
    assert 'the source files are equal' in text
    assert 'no difference' not in text


def test_command(real, capsys):
    line = said(capsys, real, 'command', 'mlp_two').splitlines()[0]
    words = line.removeprefix('python train.py ').split()
    given = {'model_type', 'save_prefix', 'checkpoints_dir', 'device', 'num_workers', 'epochs', 'lr'}
    assert {word.partition('=')[0] for word in words} >= {f'--{name}' for name in given}
    assert not any(word.startswith('--batch_size') for word in words), 'it has its default'
    again, recorded = (vars(parse_train_args(argv)) for argv in (words, [f'@{real}/mlp_two/args.txt']))
    repeated = train_parser().names(repeated=True)
    assert {name: again[name] for name in repeated} == {name: recorded[name] for name in repeated}
