"""--predict: what it may name, what it excludes, and the name of its directory."""

from pathlib import Path

import pytest

from options import get_test_result_dir, parse_test_args, parse_test_command
from utils.options.predict_options import source_name


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Change into a directory with a checkpoint, images and a list."""
    (tmp_path / 'photos' / 'new').mkdir(parents=True)
    for name in ('model.pth', 'photos/a.png', 'list.txt'):
        (tmp_path / name).write_text('x')
    monkeypatch.chdir(tmp_path)
    return tmp_path


TRAINED = {'data_type': 'folder', 'val_list': '/gone/val', 'data_root': '/gone', 'image_size': [8, 8], 'num_classes': 2}


def parsed(*words, trained=None):
    return parse_test_args(['--load_model_path', 'model.pth', *words], trained or TRAINED)


def refused(capsys, *words):
    with pytest.raises(SystemExit):
        parsed(*words)
    return capsys.readouterr().err


def test_the_data_of_the_run_need_not_exist(place):
    args = parsed('--predict', 'photos')
    assert (args.predict, args.val_list, args.data_root, args.report) == (['photos'], None, None, True)
    assert parsed('--predict', 'photos', '--no_report').report is False
    no_validation = {**TRAINED, 'val_list': 'none', 'train_list': 'x', 'data_root': None}
    assert parsed('--predict', '-', trained=no_validation).val_list is None
    assert parsed('--predict', 'list.txt', '--data_root', 'photos').data_root == str(place / 'photos')


@pytest.mark.parametrize('words, why', [
    ('--predict', '--predict: expected at least one argument'),
    ('--predict gone.png', "--predict: 'gone.png' does not exist"),
    ('--predict photos/*.jpg', "--predict: 'photos/*.jpg' matches no file"),
    ('--predict - -', '--predict: - stands for standard input'),
    ('--predict photos --val_list photos', '--val_list: --predict has no targets'),
    ('--predict photos --metrics auroc', '--metrics: --predict has no targets'),
    ('--predict photos --class_weights 1 2', '--class_weights: --predict has no targets'),
    ('--predict photos --code both', '--code: --predict uses the current code'),
    ('--predict photos --viz_freq 2', '--viz_freq: requires --save_viz'),
])  # fmt: skip
def test_what_is_refused(place, capsys, words, why):
    assert f'argument {why}' in refused(capsys, *words.split())


def test_the_code_of_the_run_is_refused_before_anything_starts(place, capsys):
    with pytest.raises(SystemExit):
        parse_test_command(['--load_model_path', 'model.pth', '--predict', 'photos', '--code', 'then'])
    assert 'argument --code: ' in capsys.readouterr().err


@pytest.mark.parametrize('words, name', [
    (['photos'], 'photos'),
    (['photos/'], 'photos'),
    (['list.txt', 'photos'], 'list'),
    (['-'], 'stdin'),
    (['photos/*.png'], 'photos'),
    (['photos/**/a*/*.png'], 'photos'),
    (['photos/a.png'], 'a'),
    (['photos/..'], None),
])  # fmt: skip
def test_the_name_of_the_directory(place, words, name):
    assert source_name(words) == (name or source_name([str(place)]))


def test_the_directory_lies_beside_the_checkpoint(place):
    args = parsed('--predict', 'photos', '--save_prefix', 'new')
    assert Path(get_test_result_dir(args)) == place / 'model' / 'predict_photos_new'
