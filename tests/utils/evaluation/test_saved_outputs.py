"""eval.py --save_outputs: masks and pictures as files that other programs read."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from data.data_entry import select_eval_loader
from eval import load_predictor
from options import parse_test_args
from utils.base.errors import DanluError
from utils.drawing.colours import class_colours
from utils.evaluation.saved_outputs import Outputs, file_name
from utils.runs.checkpoint import load_checkpoint


def written(test):
    """Return what is in the outputs of a test: dict from a name to a PIL.Image."""
    folder = test.directory / 'outputs'
    files = sorted(path for path in folder.rglob('*') if path.is_file())
    pictures = {path.relative_to(folder).as_posix(): Image.open(path) for path in files}
    assert all(picture.format == 'PNG' for picture in pictures.values())
    return pictures


def test_masks_are_written_with_labels_as_values_and_the_colours_of_the_classes(mask_run, eval_here):
    best = mask_run.directory / 'best.pth'
    test = eval_here('--load_model_path', best, '--save_outputs', '--batch_size', 2)
    masks = written(test)
    assert list(masks) == [f'val{n}.png' for n in range(5)]
    args = parse_test_args(['--load_model_path', str(best)], load_checkpoint(best)['args'])
    listing = select_eval_loader(args).dataset.dataset.listing
    predicted = load_predictor(str(best), device='cpu').predict([listing.image_path(n) for n in range(5)])
    for mask, labels in zip(masks.values(), predicted, strict=True):
        assert mask.mode == 'P'
        assert np.array_equal(np.asarray(mask), labels)
        palette = np.reshape(mask.getpalette(), (-1, 3))
        assert np.array_equal(palette[:3], class_colours(3))
        assert not palette[3:].any(), 'what is no class is black'
    # and they give the metrics again
    truth = [np.asarray(Image.open(listing.target_path(n))) for n in range(5)]
    right = sum(((np.asarray(m) == t) & (t != 7)).sum() for m, t in zip(masks.values(), truth, strict=True))
    assert right / sum((t != 7).sum() for t in truth) == pytest.approx(float(test.values['pixel_acc']))


def test_masks_have_the_size_of_the_pictures_whatever_the_network_works_at(mask_run, eval_here):
    best = mask_run.directory / 'best.pth'
    test = eval_here('--load_model_path', best, '--save_outputs', '--image_size', 8, 16)
    args = parse_test_args(['--load_model_path', str(best), '--image_size', '8', '16'], load_checkpoint(best)['args'])
    listing = select_eval_loader(args).dataset.dataset.listing
    small = load_predictor(str(best), image_size=[8, 16], device='cpu').predict([listing.image_path(0)])[0]
    mask = written(test)['val0.png']
    assert mask.size == (24, 20)
    nearest = Image.fromarray(small.byte().numpy()).resize((24, 20), Image.NEAREST)
    assert np.array_equal(np.asarray(mask), np.asarray(nearest))


def test_a_palette_of_ones_own_is_that_of_the_masks(mask_run, eval_here):
    words = ['--palette', '#010203', '#ffffff', '#000000']
    test = eval_here('--load_model_path', mask_run.directory / 'best.pth', '--save_outputs', *words)
    palette = written(test)['val0.png'].getpalette()
    assert palette[:9] == [1, 2, 3, 255, 255, 255, 0, 0, 0]
    assert palette[9:12] != [0, 0, 0], 'black is a class here'


def test_a_second_test_keeps_the_outputs_of_the_first(mask_run, eval_here, tmp_path):
    words = ['--load_model_path', mask_run.directory / 'best.pth', '--save_outputs', '--save_prefix', 'twice']
    first = eval_here(*words)
    second = eval_here(*words)
    assert first.directory == second.directory
    for name in ('outputs', 'outputs.1'):
        assert len(list((first.directory / name).iterdir())) == 5


def test_restored_pictures_are_written_as_they_were_measured(train_here, eval_here, tmp_path):
    random = np.random.default_rng(0)
    for split, count in (('train', 6), ('val', 3)):
        for n in range(count):
            clean = random.integers(0, 256, (4, 5)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
            for name, pixels in ((f'{n}', clean // 2), (f'{n}_clean', clean)):
                (tmp_path / split).mkdir(exist_ok=True)
                Image.fromarray(pixels).save(tmp_path / split / f'{name}.png')
        lines = [f'{split}/{n}.png {split}/{n}_clean.png\n' for n in range(count)]
        (tmp_path / f'{split}.txt').write_text(''.join(lines))
    words = ['--task', 'restoration', '--data_type', 'list', '--train_list', tmp_path / 'train.txt', '--val_list']
    words += [tmp_path / 'val.txt', '--channels', 1, '--model_type', 'unet', '--model_args', 'width=4', 'depth=2']
    run = train_here(*words, '--epochs', 1, '--batch_size', 2, '--num_workers', 0, '--checkpoints_dir', tmp_path / 'c')
    test = eval_here('--load_model_path', run.directory / 'best.pth', '--save_outputs')
    pictures = written(test)
    assert list(pictures) == [f'val/{n}.png' for n in range(3)]
    with open(test.directory / 'predictions.csv', encoding='utf-8-sig') as file:
        rows = list(csv.DictReader(file))
    for n, (row, picture) in enumerate(zip(rows, pictures.values(), strict=True)):
        assert (picture.mode, picture.size) == ('L', (20, 16))
        clean = np.asarray(Image.open(tmp_path / 'val' / f'{n}_clean.png')).astype(float)
        error = ((np.asarray(picture) - clean) ** 2).mean()
        assert 10 * np.log10(255**2 / error) == pytest.approx(float(row['psnr']), abs=0.1)


def test_where_samples_give_no_picture_the_way_to_what_they_give_is_said(list_run, eval_here):
    with pytest.raises(
        DanluError, match=r'--save_outputs .* predictions of task classification are in predictions\.csv'
    ):
        eval_here('--load_model_path', list_run.directory / 'best.pth', '--save_outputs')


@pytest.mark.parametrize(
    ('name', 'file'),
    [
        ('val/a.jpg', 'val/a.png'),
        ('a b/图.1.tiff', 'a b/图.1.png'),
        ('/data/set/a.png', 'data/set/a.png'),
        ('../../etc/a.png', 'etc/a.png'),
        (r'C:\pictures\a.png', 'pictures/a.png'),
        ('a:b?.png', 'a_b_.png'),
        ('00017', '00017.png'),
        ('..', 'sample.png'),
        ('.hidden', '.hidden.png'),
        ('x' * 300 + '.png', 'x' * 200 + '.png'),
    ],
)
def test_a_file_is_called_as_its_sample_and_lies_in_the_directory(name, file):
    assert file_name(name) == file


def test_no_file_takes_the_place_of_another(tmp_path):
    args = SimpleNamespace(task='segmentation', num_classes=2, class_names=None, palette=None)
    names = ['a.jpg', 'a.png', 'b/a.png', 'a.tif']
    outputs = Outputs(tmp_path, args, names.__getitem__, None)
    logits = torch.zeros(4, 2, 3, 5)
    logits[1, 1, 0] = 1
    outputs.add(0, logits[:3])
    outputs.add(3, logits[3:])
    found = sorted(path.relative_to(tmp_path / 'outputs').as_posix() for path in tmp_path.rglob('*.png'))
    assert found == ['a.png', 'a_2.png', 'a_3.png', 'b/a.png']
    assert np.asarray(Image.open(tmp_path / 'outputs' / 'a_2.png')).tolist() == [[1] * 5, [0] * 5, [0] * 5]
