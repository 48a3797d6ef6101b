"""--class_weights balanced: the weights by the counts of the training data, what they are refused for, their record."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from data.data_entry import select_train_loader
from options import parse_test_args, parse_train_args, train_args
from train import Trainer
from utils.base.errors import DanluError


def written(folder, targets, size=4):
    """Write a picture per target and a list of them; return the words of a command line."""
    for index, target in enumerate(targets):
        Image.fromarray(np.zeros((size, size, 3), np.uint8)).save(folder / f'{index}.png')
        if isinstance(target, np.ndarray):
            Image.fromarray(target.astype(np.uint8)).save(folder / f'{index}_mask.png')
            targets[index] = f'{index}_mask.png'
    lines = [f'{index}.png {target}\n' for index, target in enumerate(targets)]
    (folder / 'train.txt').write_text(''.join(lines))
    paths = ['--train_list', str(folder / 'train.txt'), '--val_list', str(folder / 'train.txt')]
    given = ['--class_weights', 'balanced', '--image_size', str(size), '--num_workers', '0']
    return ['--data_type', 'list', *paths, *given]


def weights_of(words):
    args = parse_train_args(words)
    loader = select_train_loader(args)
    return args.class_weights, loader.dataset.dataset.notes


@pytest.mark.parametrize('loss', ['ce', 'focal'])
def test_labels_are_weighed_as_scikit_learn_does(tmp_path, loss):
    labels = [0, 0, 0, 0, 1, 2, 2]
    weights, notes = weights_of([*written(tmp_path, list(labels)), '--loss', loss])
    assert weights == pytest.approx([7 / (3 * 4), 7 / (3 * 1), 7 / (3 * 2)])  # n_samples / (n_classes * bincount(y))
    assert any(note.startswith('class weights, balanced by samples: ') and '0.5833' in note for note in notes)


def test_ignored_labels_do_not_count(tmp_path):
    words = written(tmp_path, [0, 0, 0, 1, 2, 2])
    weights, _ = weights_of([*words, '--ignore_index', '9', '--num_classes', '3'])
    assert weights == pytest.approx([6 / (3 * 3), 6 / 3, 6 / (3 * 2)])


def test_pixels_are_counted_without_those_that_are_ignored(tmp_path):
    first, second = np.zeros((4, 4)), np.zeros((4, 4))
    first[0], second[0], second[1, :2] = 1, 255, 2  # counts: 0: 12 + 10, 1: 4, 2: 2
    words = written(tmp_path, [first, second])
    for kind in ('list', 'mem_list'):
        words[1] = kind
        weights, _ = weights_of([*words, '--task', 'segmentation', '--num_classes', '3', '--model_type', 'unet'])
        assert weights == pytest.approx([28 / (3 * 22), 28 / (3 * 4), 28 / (3 * 2)])


def test_sets_of_labels_count_the_samples_that_have_a_class(tmp_path):
    words = written(tmp_path, ['0', '0,1', '0,1', '0,2', '-'])
    weights, _ = weights_of([*words, '--task', 'multilabel'])
    assert weights == pytest.approx([7 / (3 * 4), 7 / (3 * 2), 7 / (3 * 1)])


def test_args_txt_has_the_numbers_and_repeats_them(tmp_path):
    words = written(tmp_path, [0, 0, 0, 1], size=28)
    args = parse_train_args([*words, '--device', 'cpu', '--no_report', '--checkpoints_dir', str(tmp_path / 'runs')])
    trainer = Trainer(args)
    trainer.close()
    expected = [4 / (2 * 3), 4 / 2]
    assert trainer.loss.class_weights.tolist() == pytest.approx(expected)
    again = parse_train_args([f'@{Path(args.model_dir, "args.txt")}'])
    assert again.class_weights == pytest.approx(expected)


def test_a_class_without_a_sample_is_refused(tmp_path):
    with pytest.raises(DanluError, match='balanced: the training data has no sample of class 2, so there is no weight'):
        weights_of([*written(tmp_path, [0, 1]), '--num_classes', '3'])


def test_where_nothing_can_be_counted_it_is_refused(tmp_path, capsys):
    data = DataLoader(TensorDataset(torch.zeros(8, 1, 12, 12), torch.zeros(8, dtype=torch.int64)), 4)
    args = train_args(class_weights='balanced', num_classes=2, image_size=12, channels=1, device='cpu')
    with pytest.raises(DanluError, match='--class_weights balanced counts the data that --data_type names'):
        Trainer(args, train_loader=data, val_loader=data)
    (tmp_path / 'x.pth').touch()
    for parse, words in (
        (parse_train_args, ['--class_weights', 'balanced', '1']),
        (parse_test_args, ['--load_model_path', str(tmp_path / 'x.pth'), '--class_weights', 'balanced']),
    ):
        with pytest.raises(SystemExit):
            parse(words)
        assert 'argument --class_weights: balanced stands alone' in capsys.readouterr().err
