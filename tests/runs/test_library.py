"""Danlu without a command line: options by keyword, ready-made parts, a predictor, and tasks of one's own."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eval import Evaluator, load_predictor
from options import parse_train_args, test_args, train_args
from train import Trainer
from utils.base.errors import DanluError


def test_options_by_keyword_are_those_of_the_command_line():
    words = ['--lr', '0.01', '--gpus', '0', '1', '--augment', 'flip', '--no_download', '--save_prefix', '-x y']
    words[-2:] = ['--save_prefix=-x y']
    given = train_args(lr=0.01, gpus=[0, 1], augment='flip', download=False, save_prefix='-x y', num_classes=None)
    assert vars(given) == vars(parse_train_args(words))


@pytest.mark.parametrize(
    ('options', 'says'),
    [
        ({'lr': 0}, r'^argument --lr: must be more than 0, got 0'),
        ({'epoch': 3}, r'^unknown option --epoch; did you mean --epochs'),
        ({'task': 'segmentation'}, '^argument --num_classes: needed for segmentation'),
    ],
)
def test_a_wrong_option_by_keyword_is_an_exception_and_says_nothing_else(options, says, capsys):
    with pytest.raises(DanluError, match=says):
        train_args(**options)
    assert capsys.readouterr() == ('', '')


def test_a_notebook_tests_a_checkpoint(digits_run, history_of, capsys, tmp_path):
    folder = digits_run.directory.parent
    args = test_args(digits_run.directory / 'best.pth', device='cpu', save_prefix='notebook', checkpoints_dir=folder)
    values = Evaluator(args).eval()
    assert values['acc'] == max(float(row['val/acc']) for row in history_of(digits_run))
    with pytest.raises(DanluError, match='does not exist'):
        test_args(tmp_path / 'none.pth')


def accuracy(predictor, dataset, pictures):
    labels = [int(dataset[index][1]) for index in range(len(dataset))]
    return (predictor.predict(pictures).argmax(1) == torch.tensor(labels)).double().mean().item()


def test_a_predictor_gives_what_the_test_measured(digits_run, history_of, tmp_path):
    from data.digits import Digits

    predictor = load_predictor(digits_run.directory / 'best.pth', device='cpu')
    dataset = Digits(predictor.args, 'val')
    arrays = [dataset[index][0][0].numpy() for index in range(len(dataset))]
    expected = max(float(row['val/acc']) for row in history_of(digits_run))
    assert accuracy(predictor, dataset, arrays) == expected
    some = [Image.fromarray(arrays[0]), arrays[1][..., None], np.stack([arrays[2]] * 3, -1), tmp_path / 'three.png']
    Image.fromarray(arrays[3]).save(some[3])
    probabilities = predictor.predict(some)
    torch.testing.assert_close(probabilities, predictor.predict(arrays[:4]))
    assert probabilities.dtype == torch.float32 and probabilities.sum(1).tolist() == pytest.approx([1.0] * 4)
    with pytest.raises(DanluError, match='nothing to predict'):
        predictor.predict([])
    for one in ('0.png', Path('0.png'), Image.new('L', (28, 28))):
        with pytest.raises(DanluError, match=r'a list of images, also for a single one: predict\(\[image\]\)'):
            predictor.predict(one)
    with pytest.raises(DanluError, match=r'none.png: no such file'):
        predictor.predict([tmp_path / 'none.png'])
    with pytest.raises(DanluError, match=r'an image is a path, .* not float64 of shape \(28, 28\)'):
        predictor.predict([np.zeros((28, 28))])


def test_a_predictor_of_masks_gives_labels(mask_run, mask_data):
    predictor = load_predictor(mask_run.directory / 'best.pth', device='cpu')
    lines = open(predictor.args.val_list).read().split()  # noqa: SIM115
    paths = [Path(predictor.args.val_list).with_name(name) for name in lines[::2]]
    labels = predictor.predict(paths)
    assert labels.shape == (len(paths), *predictor.args.image_size) and labels.dtype == torch.int64
    assert set(labels.unique().tolist()) <= set(range(predictor.args.num_classes))


def test_the_history_is_a_list_of_rows(tmp_path):
    args = train_args(epochs=1, max_steps=3, device='cpu', checkpoints_dir=tmp_path)
    rows = Trainer(args).train()
    with open(tmp_path / 'lenet_exp' / 'history.csv', newline='') as file:
        assert [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)] == rows


@pytest.mark.parametrize('option', ['dry_run', 'find_lr'])
def test_training_is_refused_where_something_else_was_asked_for(option, tmp_path):
    trainer = Trainer(train_args(**{option: True}, device='cpu', checkpoints_dir=tmp_path))
    with pytest.raises(DanluError, match=f'--{option}'):
        trainer.train()
    assert trainer.logger.history == []
