"""The lines that a run prints."""

import pytest

from options import train_args
from utils.training.run_messages import next_lines, run_word


@pytest.mark.parametrize(('width', 'beside'), [(None, True), (80, True), (60, False)])
def test_commands_that_do_not_fit_beside_their_labels_are_below_them(width, beside, tmp_path, monkeypatch):
    monkeypatch.setattr('utils.training.run_messages.terminal_width', lambda: width)
    monkeypatch.setattr('utils.training.run_messages.PROJECT', tmp_path)
    monkeypatch.chdir(tmp_path)
    args = train_args(lr=0.002, epochs=15)
    args.model_dir = str(tmp_path / 'checkpoints' / 'lenet_quickstart')
    lines = next_lines(args)
    commands = [line for line in lines if 'python ' in line]
    assert len(commands) == 4
    assert len(lines) == (4 if beside else 8)
    if beside:
        assert len({line.index('python ') for line in lines}) == 1 and max(map(len, lines)) <= 80
    else:
        assert lines[0] == 'predict' and lines[1].startswith('    python eval.py ')


@pytest.mark.parametrize(
    ('run', 'word'), [('checkpoints/my run', "'my run'"), ('elsewhere/my run', "'elsewhere/my run'")]
)
def test_a_run_in_the_usual_directory_is_called_by_its_name(run, word, tmp_path, monkeypatch):
    monkeypatch.setattr('utils.training.run_messages.PROJECT', tmp_path)
    monkeypatch.chdir(tmp_path)
    args = train_args()
    args.model_dir = str(tmp_path / run)
    assert run_word(args) == word
