"""Tests of pictures without labels are refused with a command that predicts them."""

import os
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from options import test_args
from utils.base.errors import DanluError


@pytest.fixture(scope='module')
def folder_run(train_here, tmp_path_factory):
    """Return a run on a folder of two classes, and the directory of pictures without labels."""
    folder = tmp_path_factory.mktemp('folder_run')
    for split in ('train', 'val', 'new'):
        for shade, name in enumerate(('cat', 'dog')):
            path = folder / split / (f'{name}/0.png' if split != 'new' else f'{name}.png')
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((16, 16, 3), 50 + 100 * shade, np.uint8)).save(path)
    lists = ['--train_list', folder / 'train', '--val_list', folder / 'val']
    run = train_here('--data_type', 'folder', *lists, '--image_size', 32, '--epochs', 1, '--checkpoints_dir', folder)
    return run.directory / 'best.pth', folder / 'new'


def predicted(message, predict_here):
    """Return the rows of predictions.csv (list of dict) that the command at the end of a message writes."""
    command = shlex.split(message[message.index('to predict images without labels: ') + 34 :])
    assert command[0] == 'cd'
    assert Path(command[1], 'eval.py').is_file()
    assert command[2:5] == ['&&', 'python', 'eval.py']
    return predict_here(*command[5:]).rows


def test_a_directory_without_classes(folder_run, eval_here, predict_here):
    checkpoint, new = folder_run
    with pytest.raises(DanluError, match='has no sub-directories') as error:
        eval_here('--load_model_path', checkpoint, '--val_list', new)
    rows = predicted(str(error.value), predict_here)
    assert [row['name'] for row in rows] == [str(new / 'cat.png'), str(new / 'dog.png')]
    assert float(rows[0]['confidence']) + float(rows[0]['confidence_2']) == pytest.approx(1)


def test_a_list_of_pictures_alone(folder_run, eval_here, predict_here, tmp_path):
    checkpoint, new = folder_run
    names = tmp_path / 'names.txt'
    names.write_text(f'{new}/cat.png\n{new}/dog.png\n', encoding='utf-8')
    with pytest.raises(DanluError, match='1 column instead of image and target') as error:
        eval_here('--load_model_path', checkpoint, '--data_type', 'list', '--val_list', names)
    assert len(predicted(str(error.value), predict_here)) == 2


@pytest.mark.parametrize('what', ['directory', 'file'])
def test_what_is_no_list(folder_run, predict_here, what):
    checkpoint, new = folder_run
    kind, path = ('list', new) if what == 'directory' else ('folder', new / 'cat.png')
    with pytest.raises(DanluError, match=f'data_type {kind} takes') as error:
        test_args(str(checkpoint), data_type=kind, val_list=str(path))
    message = str(error.value).removesuffix(' (see eval.py --help)')
    assert len(predicted(message, predict_here)) == (2 if what == 'directory' else 1)


def test_training_is_told_nothing_of_it(folder_run, train_here, tmp_path):
    _, new = folder_run
    shutil.copytree(new.parent / 'train', tmp_path / 'train')
    words = ['--data_type', 'folder', '--train_list', tmp_path / 'train', '--val_list', new]
    with pytest.raises(DanluError, match='has no sub-directories') as error:
        train_here(*words, '--image_size', 32, '--epochs', 1, '--checkpoints_dir', tmp_path)
    assert 'predict' not in str(error.value).replace(os.fspath(new), '')
