"""--code then runs programs of the user's own runs without asking, others only with permission."""

import hashlib
import io
import json
import re
import shutil
import sys

import pytest
import torch

import eval as eval_py
from options import parse_test_args, save_args
from utils.base.errors import DanluError
from utils.base.known_archives import check_permission, find_known_run, is_own_run, note_archive
from utils.provenance.project_source import zip_bytes
from utils.runs.checkpoint import save_checkpoint

PROGRAM = """
import os, sys
from pathlib import Path

out = Path(os.environ['OUT'])
(out / 'ran').write_text(' '.join(sys.argv[1:]))
(out / 'result.txt').write_text('acc: 0.1\\n')
print(f'results: {out}')
"""


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """Return a checkpoint (Path) in the directory of a run of somebody else."""
    for name in ('XDG_CACHE_HOME', 'XDG_STATE_HOME', 'OUT'):
        monkeypatch.setenv(name, str(tmp_path / name))
    (tmp_path / 'OUT').mkdir()
    folder = tmp_path / 'checkpoints' / 'lenet_exp'
    folder.mkdir(parents=True)
    data = zip_bytes({'eval.py': PROGRAM.encode()})
    (folder / 'source.zip').write_bytes(data)
    source = {'file': 'source.zip', 'sha256': hashlib.sha256(data).hexdigest()}
    (folder / 'record.json').write_text(json.dumps({'format': 1, 'source': source, 'run': 'a'}))
    state = {'format': 1, 'model': {'w': torch.zeros(1)}, 'args': {}, 'record': {'format': 1, 'source': source}}
    save_checkpoint(folder / 'best.pth', state)
    return folder / 'best.pth'


def sha256_of(checkpoint):
    return hashlib.sha256(checkpoint.with_name('source.zip').read_bytes()).hexdigest()


def ran(tmp_path):
    return (tmp_path / 'OUT' / 'ran').exists()


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def answer(monkeypatch):
    """Return a function that replaces stdin and stderr by a terminal on which an answer is typed."""

    def type_in(text):
        monkeypatch.setattr(sys, 'stdin', Terminal(text))
        monkeypatch.setattr(sys, 'stderr', Terminal())

    return type_in


@pytest.mark.parametrize('code', ['then', 'both'])
def test_a_strangers_programs_are_not_run(stranger, tmp_path, code):
    with pytest.raises(DanluError) as refused:
        eval_py.main(['--load_model_path', str(stranger), '--code', code])
    message = str(refused.value)
    assert re.match(f'--code runs the programs in {stranger.with_name("source.zip")}, and no run of yours', message)
    assert message.endswith('If you trust whom they are from: --trust_code')
    assert '\n' not in message
    assert not ran(tmp_path)


def test_with_trust_code_they_are_run_and_it_is_said(stranger, tmp_path, capfd):
    eval_py.main(['--load_model_path', str(stranger), '--code', 'then', '--trust_code'])
    assert 'programs of nobody known, allowed by --trust_code' in capfd.readouterr().out
    assert '--trust_code' not in (tmp_path / 'OUT' / 'ran').read_text()
    with pytest.raises(DanluError):
        eval_py.main(['--load_model_path', str(stranger), '--code', 'then'])


def test_own_programs_are_run_wherever_the_run_was_moved(stranger, tmp_path, capfd):
    note_archive(sha256_of(stranger), stranger.parent)
    moved = shutil.move(stranger.parent, tmp_path / 'elsewhere')
    eval_py.main(['--load_model_path', str(moved / 'best.pth'), '--code', 'then'])
    assert f'the programs of your run {stranger.parent}, 20' in capfd.readouterr().out
    assert ran(tmp_path)


def test_files_of_a_run_do_not_make_its_archive_known(stranger, tmp_path):
    """A stranger could put anything there, also a copy of the user's state directory."""
    note_archive(sha256_of(stranger), 'x')
    shutil.copytree(tmp_path / 'XDG_STATE_HOME', stranger.parent, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / 'XDG_STATE_HOME')
    with pytest.raises(DanluError, match='--trust_code'):
        eval_py.main(['--load_model_path', str(stranger), '--code', 'then'])


@pytest.mark.parametrize(
    ('text', 'allowed'), [('y\n', True), ('yes\n', True), ('n\n', False), ('\n', False), ('', False)]
)
def test_on_a_terminal_it_is_asked(answer, stranger, text, allowed):
    answer(text)
    if allowed:
        assert 'allowed by the answer' in check_permission('source.zip', sha256_of(stranger), False)
    else:
        with pytest.raises(DanluError, match='are not run'):
            check_permission('source.zip', sha256_of(stranger), False)
    assert sys.stderr.getvalue().endswith('Run them? [y/N] ')
    assert sys.stdin.read() == ''


def test_a_run_notes_its_archive(digits_run):
    record = json.loads((digits_run.directory / 'record.json').read_text())
    assert find_known_run(record['source']['sha256'])
    assert is_own_run(digits_run.directory)


@pytest.mark.parametrize('sha256', ['', '../../etc/passwd', 'A' * 64, '0' * 63, '.'])
def test_only_a_hash_can_be_known(sha256):
    assert find_known_run(sha256) is None


def test_a_run_says_so_if_its_archive_cannot_be_recorded(tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'file'))
    (line,) = note_archive('0' * 64, tmp_path)
    assert 'eval.py --code then will ask' in line
    assert find_known_run('0' * 64) is None


def test_the_permission_is_for_one_start(tmp_path):
    (tmp_path / 'best.pth').write_text('')
    words = ['--load_model_path', str(tmp_path / 'best.pth'), '--num_classes', '3']
    args = parse_test_args([*words, '--code', 'then', '--trust_code'])
    save_args(args, tmp_path)
    assert not parse_test_args([f'@{tmp_path / "args.txt"}']).trust_code
    (tmp_path / 'more.txt').write_text('--trust_code\n--code=then\n')
    args = parse_test_args([*words, f'@{tmp_path / "more.txt"}'])
    assert not args.trust_code
    assert any('--trust_code is ignored' in line for line in args.past)
    assert not parse_test_args(words, {'trust_code': True, 'num_classes': 3}).trust_code


def test_trust_code_without_code_is_refused(tmp_path, capsys):
    (tmp_path / 'best.pth').write_text('')
    with pytest.raises(SystemExit):
        parse_test_args(['--load_model_path', str(tmp_path / 'best.pth'), '--trust_code', '--num_classes', '3'])
    assert 'argument --trust_code: requires --code then' in capsys.readouterr().err


@pytest.mark.parametrize('own', [False, True])
def test_code_is_advised_for_own_runs_only(stranger, own, capsys):
    if own:
        note_archive(sha256_of(stranger), stranger.parent)
    with pytest.raises(SystemExit):
        parse_test_args(['--load_model_path', str(stranger)], {'model_type': 'gone', 'num_classes': 3})
    assert ('--code then' in capsys.readouterr().err) == own
    assert is_own_run(stranger.parent) == own
