"""Runs with --skip_bad: the same bits as without the faulty lines, told, written down, and kept when resumed."""

from pathlib import Path

import pytest
import torch

from utils.base.errors import DanluError


@pytest.fixture
def faulty(list_data, tmp_path):
    """Return the options (list of str) of `list_data` with two faulty lines put among those of the training list."""
    train = Path(list_data[list_data.index('--train_list') + 1])
    lines = train.read_text(encoding='utf-8').splitlines()
    lines[3:3] = ['gone.png\tcat']
    lines[9:9] = [lines[0].replace('\t', '\t\t\t')]
    (tmp_path / 'faulty.txt').write_text('\n'.join(lines), encoding='utf-8')
    words = [str(tmp_path / 'faulty.txt') if word == str(train) else word for word in list_data]
    return [*words, '--data_root', str(train.parent), '--augment', 'flip', '--num_workers', '0']


def weights(run):
    return torch.load(run.directory / 'last.pth', weights_only=True)['model']


def test_a_run_is_that_of_the_good_lines_and_goes_on_with_them(faulty, list_data, train_here, tmp_path):
    with pytest.raises(DanluError, match=r'faulty.txt has 2 invalid entries'):
        train_here(*faulty, '--epochs', 2, '--checkpoints_dir', tmp_path / 'runs')
    run = train_here(*faulty, '--epochs', 2, '--skip_bad', '--checkpoints_dir', tmp_path / 'runs')
    plain = [*list_data, '--augment', 'flip', '--num_workers', 0]
    expected = train_here(*plain, '--epochs', 2, '--checkpoints_dir', tmp_path / 'expected')
    assert all(torch.equal(a, b) for a, b in zip(weights(run).values(), weights(expected).values(), strict=True))
    assert 'data: 26 to train on, 13 to validate' in run.stdout
    assert f'skip_bad: 2 of 28 samples left out, the first is {tmp_path}/faulty.txt:4: ' in run.stdout
    lines = (run.directory / 'skipped.txt').read_text(encoding='utf-8').splitlines()
    assert [line.split('\t')[0] for line in lines] == [f'{tmp_path}/faulty.txt:{n}' for n in (4, 10)]
    assert '--skip_bad  # default: off' in (run.directory / 'args.txt').read_text(encoding='utf-8')
    resumed = train_here('--resume', run.directory, '--epochs', 3)
    expected = train_here('--resume', expected.directory, '--epochs', 3)
    assert all(torch.equal(a, b) for a, b in zip(weights(resumed).values(), weights(expected).values(), strict=True))


def test_a_run_whose_faulty_picture_was_mended_is_not_resumed(faulty, train_here, list_data, tmp_path):
    run = train_here(*faulty, '--epochs', 1, '--skip_bad', '--checkpoints_dir', tmp_path / 'runs')
    before = (run.directory / 'last.pth').read_bytes()
    gone = Path(faulty[faulty.index('--data_root') + 1], 'gone.png')
    gone.write_bytes(gone.with_name('train0.png').read_bytes())
    try:
        with pytest.raises(DanluError, match=r'faulty.txt:4 is valid now'):
            train_here('--resume', run.directory, '--epochs', 2)
    finally:
        gone.unlink()
    assert (run.directory / 'last.pth').read_bytes() == before
    train_here('--resume', run.directory, '--epochs', 2)


def test_validation_and_test_never_leave_out_a_sample(faulty, train_here, eval_here, tmp_path):
    words = list(faulty)
    words[words.index('--val_list') + 1] = words[words.index('--train_list') + 1]
    with pytest.raises(DanluError, match=r'faulty.txt has 2 invalid entries; fix or remove them:'):
        train_here(*words, '--skip_bad', '--epochs', 1, '--checkpoints_dir', tmp_path / 'runs')
    assert not any((tmp_path / 'runs').iterdir())
    run = train_here(*faulty, '--skip_bad', '--epochs', 1, '--checkpoints_dir', tmp_path / 'runs')
    best = ['--load_model_path', run.directory / 'best.pth']
    with pytest.raises(DanluError, match=r'faulty.txt has 2 invalid entries; fix or remove them:'):
        eval_here(*best, '--val_list', tmp_path / 'faulty.txt')
    assert eval_here(*best).head['samples'] == '13'
