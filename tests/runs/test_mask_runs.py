"""Runs on masks of 0 and 255 and pictures of 12 bits: tests and resumed runs read them as the training did."""

import csv

import numpy as np
import pytest
from PIL import Image

from options import parse_train_args
from utils.runs.checkpoint import load_checkpoint

SIZE = 16
SHORT = ['--batch_size', 2, '--model_type', 'unet', '--model_args', 'width=4', 'depth=1', '--save_freq', 1]


@pytest.fixture(scope='module')
def lists(tmp_path_factory):
    """Return a directory with train.txt and val.txt: pictures of 12 bits, masks of 0 and 255."""
    folder, random = tmp_path_factory.mktemp('lists'), np.random.default_rng(0)
    for split, count in (('train', 5), ('val', 3)):
        lines = []
        for n in range(count):
            mask = np.zeros((SIZE, SIZE), np.uint8)
            top, left = random.integers(0, SIZE // 2, 2)
            mask[top : top + SIZE // 2, left : left + SIZE // 2] = 255
            values = random.integers(0, 1000, mask.shape) + 12 * mask.astype(int)
            Image.fromarray(values.astype(np.uint16)).save(folder / f'{split}{n}.png')
            Image.fromarray(mask).save(folder / f'{split}{n}_mask.png')
            lines.append(f'{split}{n}.png {split}{n}_mask.png')
        (folder / f'{split}.txt').write_text('\n'.join(lines))
    return folder


@pytest.fixture(scope='module')
def run(lists, train_here, tmp_path_factory):
    """Return a run of one epoch on them."""
    words = ['--task', 'segmentation', '--num_classes', 2, '--data_type', 'list', '--channels', 1]
    words += ['--train_list', lists / 'train.txt', '--val_list', lists / 'val.txt', '--epochs', 1, *SHORT]
    return train_here(*words, '--checkpoints_dir', tmp_path_factory.mktemp('runs'))


def rows_of(directory):
    with open(directory / 'history.csv', newline='') as file:
        return list(csv.DictReader(file))


def test_what_was_found_is_said_and_recorded(run, lists):
    args = load_checkpoint(run.directory / 'best.pth')['args']
    assert (args['mask_values'], args['bits']) == ([0, 255], 12)
    text = (run.directory / 'args.txt').read_text()
    assert '# --mask_values 0 255  (found in the data' in text
    assert '# --bits=12  (found in the data' in text
    for split, count in (('train', 5), ('val', 3)):
        assert f'{lists / split}.txt: of the values stored in the masks 0 is class 0, 255 is class 1' in run.stdout
        assert f'{lists / split}.txt: {count} of {count} samples have images of 16 bits: values 0..4095' in run.stdout
    assert 'ignored' not in run.stdout
    assert 'no pixel' not in run.stdout


def test_a_test_reads_masks_and_pictures_alike(run, eval_here, lists, tmp_path):
    row = rows_of(run.directory)[0]
    test = eval_here('--load_model_path', run.directory / 'best.pth')
    assert float(test.values['miou']) == float(row['val/miou'])
    assert float(test.values['loss']) == pytest.approx(float(row['val/loss']), rel=1e-6)
    assert float(test.values['iou/0']) + float(test.values['iou/1']) > 0
    # Alone, this mask and picture would be taken for others.
    full, dark = np.full((SIZE, SIZE), 255, np.uint8), np.full((SIZE, SIZE), 500, np.uint16)
    Image.fromarray(full).save(tmp_path / 'm.png')
    Image.fromarray(dark).save(tmp_path / 'p.png')
    (tmp_path / 'one.txt').write_text('p.png m.png')
    test = eval_here('--load_model_path', run.directory / 'best.pth', '--val_list', tmp_path / 'one.txt')
    assert f'{tmp_path / "one.txt"}: 1 of 1 samples have images of 16 bits: values 0..4095 become' in test.stdout
    assert f'{tmp_path / "one.txt"}: no pixel of class 0 (1 of 2 classes)' in test.stdout


def test_a_run_of_before_goes_on_as_it_was(run, train_here, tmp_path):
    text = (run.directory / 'args.txt').read_text().splitlines()
    older = [line for line in text if '--mask_values' not in line and '--bits' not in line and ' options' not in line]
    record = tmp_path / 'args.txt'
    record.write_text('\n'.join(older))
    args = parse_train_args([f'@{record}'])
    assert (args.mask_values, args.bits) == (['stored'], 16)
    assert any('--mask_values (then stored, today not set)' in line for line in args.past)
    again = train_here(f'@{record}', '--checkpoints_dir', tmp_path / 'runs')
    assert '; if 255 is class 1: --mask_values 0 255' in again.stdout
    assert 'values 0..65535 become 0..255 (--bits 16)' in again.stdout


def test_a_resumed_run_goes_on_with_what_was_found(run, train_here):
    going_on = train_here('--resume', run.directory, '--epochs', 2)
    assert 'resume differs' not in going_on.stdout
    args = load_checkpoint(run.directory / 'last.pth')['args']
    assert (args['mask_values'], args['bits'], len(rows_of(run.directory))) == ([0, 255], 12, 2)
