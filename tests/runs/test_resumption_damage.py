"""Runs whose files are damaged, or that have no space, and --resume auto."""

import os
import re
import shlex
import shutil
import signal

import pytest
import torch

from tests.runs.helpers import tampered
from utils.training.resume import newest_readable


def test_what_a_kill_has_left_half_written_is_removed_before_the_run_goes_on(stopped, faults, tmp_path):
    run = tmp_path / 'run'
    shutil.copytree(stopped('memory', 10), run)
    for name in ('last.pth.17.partial', 'history.csv.partial', 'curves.partial.png', 'partial.trace.json.gz'):
        (run / name).write_bytes(b'half')
    (run / 'notes_partial.txt').write_bytes(b'of a person')
    resumed = faults.Run(['--resume', run], tmp_path / 'samples')
    assert resumed.wait() == 0, resumed.said
    (run / 'curves.partial.png').write_bytes(b'half')  # by a kill after the last epoch
    curves = (run / 'curves.png').read_bytes()
    (run / 'curves.png').write_bytes(b'of an earlier epoch')
    os.utime(run / 'curves.png', (1, 1))
    finished = faults.Run(['--resume', 'auto', '--model_dir', run, '--checkpoints_dir', tmp_path], tmp_path / 'samples')
    assert finished.wait() == 0, finished.said
    assert finished.said.startswith('nothing to do: ')
    assert [path.name for path in run.iterdir() if 'partial' in path.name] == ['notes_partial.txt']
    assert (run / 'curves.png').read_bytes() == curves


def test_a_damaged_last_pth_is_passed_over_for_the_newest_whole_file(stopped, faults, whole_runs, tmp_path):
    whole, source = whole_runs('memory'), stopped('memory', 10)
    (source / 'last.pth').rename(source / 'epoch_0001.pth')  # stands for one of --save_freq
    (source / 'last.prev.pth').unlink(missing_ok=True)
    data = (source / 'epoch_0001.pth').read_bytes()
    for number, content in enumerate(
        [b'', data[:100], data[: len(data) // 2], data[:-1], flipped(data, len(data) // 3)]
    ):
        (source / 'last.pth').write_bytes(content)
        state, path, note = newest_readable(source)
        assert (path.name, state['epoch']) == ('epoch_0001.pth', 1), f'damage {number}'
        assert note.startswith('resuming from epoch_0001.pth instead: ')
        assert 'last.pth' in note
    run = tmp_path / 'run'
    shutil.copytree(source, run)
    resumed = faults.Run(['--resume', run], tmp_path / 'samples')
    assert resumed.wait() == 0, resumed.said
    assert 'resuming from epoch_0001.pth instead: ' in resumed.said
    (run / 'epoch_0001.pth').unlink()  # the uninterrupted run has none
    assert faults.differences(run, whole.directory) == ['left: last.damaged.pth'], 'it may be of use to somebody'
    shutil.copytree(source, tmp_path / 'previous')
    (tmp_path / 'previous' / 'last.prev.pth').write_bytes(data)
    assert newest_readable(tmp_path / 'previous')[1].name == 'last.prev.pth'
    (source / 'epoch_0001.pth').unlink()
    refused = faults.Run(['--resume', source], tmp_path / 'samples')
    assert refused.wait() == 2
    assert re.fullmatch(r'train\.py: error: --resume: no readable checkpoint in .*: .*last\.pth .*\n', refused.said)
    (source / 'last.pth').write_bytes(data)


def flipped(data, place):
    """Return bytes with one of them changed."""
    return data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :]


def test_files_of_ten_thousand_epochs_are_in_the_order_of_their_numbers(tmp_path):
    for epoch in (9999, 10000):
        torch.save({'epoch': epoch}, tmp_path / f'epoch_{epoch:04d}.pth')
    assert newest_readable(tmp_path)[0]['epoch'] == 10000


@pytest.mark.slow_after(1, 'two starts each')
@pytest.mark.parametrize('share', [0.02, 0.1, 0.5, 0.99])
def test_a_full_disk_ends_in_one_line_and_the_run_can_go_on(share, faults, whole_runs, tmp_path):
    whole = whole_runs('memory')
    words = [*whole.words, '--checkpoints_dir', tmp_path / 'runs', '--save_steps', 2, '--resume', 'auto']
    size = int(share * (whole.directory / 'last.pth').stat().st_size)
    run = faults.Run([*words, '--num_workers', 0], tmp_path / 'samples', file_size=size)
    assert run.wait() in (1, 2), run.said  # 2: in the first file, args.txt
    [line] = [line for line in run.said.splitlines() if 'error' in line]
    assert 'cannot write' in line
    place = re.escape(shlex.quote(str(tmp_path))[:-1])
    advice = f'(or --checkpoints_dir|then --resume {place}|then start it again)'
    assert re.search(rf'File too large; allow larger files \(ulimit -f\), {advice}', line)
    assert not list((tmp_path / 'runs').glob('*/*.partial*'))
    again = faults.Run([*words, '--num_workers', 0], tmp_path / 'samples')
    assert again.wait() == 0, again.said
    directory = max((tmp_path / 'runs').iterdir())
    assert faults.differences(directory, whole.directory) == []


def test_a_disk_that_is_full_from_the_start_is_said_in_one_line_and_nothing_is_left(faults, whole_runs, tmp_path):
    words = [*whole_runs('memory').words, '--checkpoints_dir', tmp_path / 'runs']
    run = faults.Run(words, tmp_path / 'samples', file_size=1000)
    assert run.wait() == 2, run.said
    assert re.search(
        r'error: cannot write .*/mlp_exp/args.txt: File too large; allow larger files .*, or --checkpoints',
        run.said,
    )
    assert 'Traceback' not in run.said
    assert list((tmp_path / 'runs').iterdir()) == []


def test_auto_goes_on_with_the_newest_run_of_the_name(faults, whole_runs, tmp_path):
    words = [*whole_runs('memory').words, '--checkpoints_dir', tmp_path]
    for _ in range(2):
        assert faults.Run([*words, '--epochs', 1], tmp_path / 's').wait() == 0
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ['mlp_exp', 'mlp_exp_2']
    on = faults.Run([*words, '--resume', 'auto', '--epochs', 2], tmp_path / 's')
    assert on.wait() == 0
    assert [len(faults.history(tmp_path / name)) for name in ('mlp_exp', 'mlp_exp_2')] == [1, 2]
    named = [*words, '--model_dir', tmp_path / 'mine', '--resume', 'auto']
    for epochs in (1, 2, 2):
        run = faults.Run([*named, '--epochs', epochs], tmp_path / 's')
        assert run.wait() == 0, run.said
    assert run.said.startswith('nothing to do: ')
    assert len(faults.history(tmp_path / 'mine')) == 2
    assert not (tmp_path / 'mine_2').exists()


def record_changed(state):
    """Be of another list and of other code, of which no archive is at hand."""
    state['record']['data']['train']['sha256'] = state['record']['code'] = state['record']['source']['sha256'] = 'other'


def of_before_records(state):
    """Be of a version that kept hashes in `identity` instead of a record; those of lists saw no sizes of files."""
    del state['record']
    state['identity'] = {'training data': 'other', 'validation data': 'other', 'code': 'other'}


@pytest.mark.parametrize(
    ('change', 'said'), [(record_changed, ('training data', 'code')), (of_before_records, ('code',))]
)
def test_a_changed_list_and_changed_code_are_said(change, said, stopped, faults, tmp_path):
    run = tampered(stopped('gathering', 10), tmp_path / 'run', change)
    resumed = faults.Run(['--resume', run], tmp_path / 's', faults.Fault(signal.SIGTERM, 1))
    assert resumed.wait() == 143, resumed.said
    for what in ('training data', 'validation data', 'code'):
        assert (f'changed since the run was interrupted: the {what}; ' in resumed.said) == (what in said)
    assert (run / 'record_2.json').is_file(), 'from here on it is another run'
