"""--fit from training to test and Predictor: all see a picture in the same way."""

import csv

import numpy as np
import pytest
from PIL import Image

from eval import load_predictor


@pytest.fixture(scope='module')
def wide(tmp_path_factory):
    """Return a list file of pictures of 60x20 with a square whose place is the target, and the images."""
    folder = tmp_path_factory.mktemp('wide')
    pictures = []
    for place in range(2, 54, 6):
        pixels = np.zeros((20, 60, 3), np.uint8)
        pixels[8:12, place : place + 4] = 255
        pictures.append(folder / f'{place}.png')
        Image.fromarray(pixels).save(pictures[-1])
    (folder / 'list.txt').write_text(''.join(f'{path.name} {path.stem}\n' for path in pictures), encoding='utf-8')
    return folder / 'list.txt', pictures


@pytest.mark.parametrize('fit', [None, 'pad', 'crop'])
def test_a_test_and_a_predictor_see_what_training_saw(wide, train_here, eval_here, tmp_path, fit):
    listed, pictures = wide
    words = ['--task', 'regression', '--data_type', 'list', '--train_list', listed, '--val_list', listed]
    words += ['--image_size', 32, '--epochs', 1, '--num_workers', 0, '--checkpoints_dir', tmp_path]
    run = train_here(*words, *(['--fit', fit] if fit else []))
    assert f'--fit={fit or "stretch"}' in (run.directory / 'args.txt').read_text()
    assert f'images: 32x32 (width x height), RGB, --fit {fit or "stretch"}, mean 0.485' in run.stdout
    test = eval_here('--load_model_path', run.directory / 'best.pth')
    assert f'--fit {fit or "stretch"}, ' in test.stdout
    with open(test.directory / 'predictions.csv', newline='', encoding='utf-8-sig') as file:
        found = [float(row['prediction']) for row in csv.DictReader(file)]
    predictor = load_predictor(str(run.directory / 'best.pth'), device='cpu')
    assert predictor.predict(pictures)[:, 0].tolist() == pytest.approx(found, rel=1e-4)
    other = load_predictor(str(run.directory / 'best.pth'), device='cpu', fit='crop' if fit != 'crop' else 'stretch')
    assert other.predict(pictures)[:, 0].tolist() != pytest.approx(found, rel=1e-4)
