"""--decoder in runs: recorded, tested and resumed as it was used."""

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Return the options (list of str) of a classification of JPEG files of two classes."""
    folder, random = tmp_path_factory.mktemp('photos'), np.random.default_rng(0)
    lines = []
    for index in range(12):
        pixels = random.integers(0, 120, (20, 16, 3)) + 100 * (index % 2)
        Image.fromarray(pixels.astype(np.uint8)).resize((48, 40)).save(folder / f'{index}.jpg')
        lines.append(f'{index}.jpg {index % 2}\n')
    (folder / 'list.txt').write_text(''.join(lines), encoding='utf-8')
    path = str(folder / 'list.txt')
    words = ['--data_type', 'list', '--train_list', path, '--val_list', path, '--image_size', '20']
    return [*words, '--batch_size', '8', '--num_workers', '0']


def test_a_test_decodes_as_its_run_did_and_says_so_otherwise(train_here, eval_here, photos, tmp_path):
    run = train_here(*photos, '--epochs', 1, '--checkpoints_dir', tmp_path)
    assert '--decoder=simplejpeg' in (run.directory / 'args.txt').read_text()
    best = run.directory / 'best.pth'
    assert torch.load(best, weights_only=True)['args']['decoder'] == 'simplejpeg'
    test = eval_here('--load_model_path', best)
    assert '--decoder=simplejpeg' in (test.directory / 'args.txt').read_text()
    assert 'decoder' not in test.stdout
    said = eval_here('--load_model_path', best, '--decoder', 'pillow').stdout
    assert 'option changed since training: decoder: simplejpeg -> pillow' in said
    assert 'decoder: pillow, where the run used simplejpeg: resized images differ by less than 0.1' in said


def test_a_run_that_decodes_on_the_device_is_recorded_and_tested_alike(train_here, eval_here, photos, tmp_path):
    pytest.importorskip('torchcodec', exc_type=(ImportError, RuntimeError))
    words = ['--augment', 'standard', '--decoder', 'torchcodec_gpu', '--checkpoints_dir', tmp_path]
    run = train_here(*photos, *words, '--epochs', 1)
    assert '--decoder=torchcodec_gpu' in (run.directory / 'args.txt').read_text()
    best = run.directory / 'best.pth'
    test = eval_here('--load_model_path', best)
    assert '--decoder=torchcodec_gpu' in (test.directory / 'args.txt').read_text()
    assert float(test.values['loss']) == torch.load(best, weights_only=True)['metrics']['val/loss']
    said = eval_here('--load_model_path', best, '--decoder', 'torchcodec').stdout
    assert 'decoder: torchcodec, where the run used torchcodec_gpu: one of them rounds crops to whole pixels' in said


def test_an_older_checkpoint_is_tested_with_pillow(train_here, eval_here, photos, tmp_path):
    run = train_here(*photos, '--epochs', 1, '--decoder', 'pillow', '--checkpoints_dir', tmp_path)
    checkpoint = torch.load(run.directory / 'best.pth', weights_only=True)
    del checkpoint['args']['decoder']
    older = tmp_path / 'older.pth'
    torch.save(checkpoint, older)
    test = eval_here('--load_model_path', older)
    assert '--decoder=pillow' in (test.directory / 'args.txt').read_text()
    assert 'older.pth is older than --decoder (then pillow, today simplejpeg)' in test.stdout
    said = eval_here('--load_model_path', older, '--decoder', 'simplejpeg').stdout
    assert 'decoder: simplejpeg, where the run used pillow' in said


def test_a_run_resumes_to_the_same_bits_and_may_get_another_decoder(train_here, photos, tmp_path):
    words = [*photos, '--augment', 'standard', '--checkpoints_dir', tmp_path]
    whole = train_here(*words, '--epochs', 2)
    half = train_here(*words, '--epochs', 1)
    train_here('--resume', half.directory, '--epochs', 2)
    weights = [torch.load(run.directory / 'last.pth', weights_only=True)['model'] for run in (whole, half)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    train_here('--resume', half.directory, '--epochs', 3, '--decoder', 'pillow')
    assert '--decoder=pillow' in (half.directory / 'args.txt').read_text()
