"""Runs of regression, multilabel and restoration: what is learned, tested, resumed, drawn, and refused."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from data.data_entry import select_eval_loader
from metrics import select_metrics
from options import parse_train_args
from utils.base.errors import DanluError
from utils.drawing.fonts import missing_characters

SMALL_UNET = ('--model_type', 'unet', '--model_args', 'width=8', 'depth=2')
COLOURS = {'blue': (0, 0, 220), 'green': (0, 200, 0), 'red': (220, 0, 0)}


def write_lists(folder, sample):
    """Write train.txt and val.txt of `sample(name, random) -> target (str)`, and return the options that name them."""
    words = []
    for split, count in (('train', 26), ('val', 13)):
        random = np.random.default_rng(len(split))
        lines = [f'{split}{n}.png\t{sample(folder / f"{split}{n}.png", random)}\n' for n in range(count)]
        (folder / f'{split}.txt').write_text(''.join(lines), encoding='utf-8')
        words += [f'--{split}_list', str(folder / f'{split}.txt')]
    return words


def shade(path, random):
    level = random.integers(0, 256)
    Image.fromarray(np.full((20, 24, 3), level, dtype=np.uint8)).save(path)
    return f'{level / 255:.4f} {1 - level / 255:.4f}'


def squares(path, random):
    pixels = np.full((24, 24, 3), 60, dtype=np.uint8)
    names = [name for name in COLOURS if random.random() < 0.5]
    for name in names:
        place = random.integers(0, 16, 2)
        pixels[place[0] : place[0] + 8, place[1] : place[1] + 8] = COLOURS[name]
    Image.fromarray(pixels).save(path)
    return ','.join(names) or '-'


def grainy(path, random):
    clean = random.integers(0, 256, (5, 6, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    noisy = np.clip(clean + random.normal(0, 40, clean.shape), 0, 255).astype(np.uint8)
    target = path.with_name(f'{path.stem}_clean.png')
    for file, pixels in ((path, noisy), (target, clean)):
        Image.fromarray(pixels).save(file)
    return target.name


@pytest.fixture(scope='session')
def sums(tmp_path_factory):
    """Return the options of a regression of y = a + b + c."""
    folder, random, words = tmp_path_factory.mktemp('sums'), np.random.default_rng(0), []
    for split, count in (('train', 512), ('val', 203)):
        features = random.normal(size=(count, 3)) * (1, 2, 0.5) + (0, 1, -3)
        with open(folder / f'{split}.csv', 'w', newline='', encoding='utf-8') as file:
            writer = csv.writer(file)
            writer.writerow(['a', 'b', 'c', 'y'])
            writer.writerows([*row, row.sum()] for row in features)
        words += [f'--{split}_list', str(folder / f'{split}.csv')]
    return ['--task', 'regression', '--data_type', 'array', '--model_type', 'mlp', *words]


@pytest.fixture(scope='session')
def task_data(tmp_path_factory, sums):
    """Return the options of a small run by name."""

    def listed(sample):
        return write_lists(tmp_path_factory.mktemp(sample.__name__), sample)

    common = ('--batch_size', '8', '--num_workers', '0')
    return {
        'features': [*sums, '--lr', '0.01'],
        'numbers': ['--task', 'regression', '--data_type', 'list', '--model_type', 'cifar_cnn', *listed(shade),
                    *common],
        'labels': ['--task', 'multilabel', '--data_type', 'mem_list', '--model_type', 'cifar_cnn', *listed(squares),
                   '--lr', '0.003', *common],
        'pairs': ['--task', 'restoration', '--data_type', 'pairs', *SMALL_UNET, *listed(grainy),
                  '--lr', '0.003', *common],
    }  # fmt: skip


@pytest.fixture(scope='session')
def task_runs(train_here, task_data, tmp_path_factory):
    """Return a function: name in task_data -> its run of two epochs, made once."""
    runs = {}

    def run_of(name):
        if name not in runs:
            folder = tmp_path_factory.mktemp(f'{name}_run')
            runs[name] = train_here(*task_data[name], '--epochs', 2, '--checkpoints_dir', folder)
        return runs[name]

    return run_of


NAMES = ('features', 'numbers', 'labels', 'pairs')


def weights_of(run):
    return torch.load(run.directory / 'last.pth', weights_only=True)['model']


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_sum_of_three_features_is_learned(train_here, eval_here, sums, tmp_path):
    run = train_here(*sums, '--lr', 0.01, '--epochs', 15, '--checkpoints_dir', tmp_path)
    test = eval_here('--load_model_path', run.directory / 'best.pth')
    assert float(test.values['r2']) > 0.99
    assert int(test.head['samples']) == 203


@pytest.mark.slow('trains a U-Net on the digits until it takes the noise off')
def test_unet_takes_the_noise_off_the_digits(train_here, eval_here, tmp_path):
    words = ('--task', 'restoration', '--data_type', 'noisy_digits', '--loss', 'mse')
    options = ('--lr', 0.01, '--batch_size', 32, '--epochs', 1, '--checkpoints_dir', tmp_path)
    run = train_here(*words, *SMALL_UNET, *options)
    test = eval_here('--load_model_path', run.directory / 'best.pth')
    args = parse_train_args([*words, *SMALL_UNET])
    digits, metrics = select_eval_loader(args).dataset.dataset, select_metrics(args)
    metrics.update(digits.images / 255, digits.targets / 255)
    assert float(test.values['psnr']) - metrics.compute()['psnr'] >= 6


@pytest.mark.slow('trains for 15 and 40 epochs')
@pytest.mark.parametrize(
    ('name', 'epochs', 'metric'),
    [('numbers', 15, 'r2'), ('labels', 40, 'map')],
)
def test_pictures_with_numbers_or_sets_of_labels_are_learned(
    train_here, eval_here, task_data, tmp_path, name, epochs, metric
):
    run = train_here(*task_data[name], '--epochs', epochs, '--checkpoints_dir', tmp_path)
    test = eval_here('--load_model_path', run.directory / 'best.pth')
    assert float(test.values[metric]) > 0.9


@pytest.mark.parametrize('name', NAMES)
def test_a_test_gives_the_values_of_the_training(eval_here, task_runs, history_of, name):
    run = task_runs(name)
    row = torch.load(run.directory / 'best.pth', weights_only=True)['metrics']
    test = eval_here('--load_model_path', run.directory / 'best.pth')
    values = {key.removeprefix('val/'): value for key, value in row.items() if key.startswith('val/')}
    assert len(values) > 1
    assert {key: float(test.values[key]) for key in values} == values
    again = eval_here(f'@{test.directory / "args.txt"}')
    assert again.values == test.values
    assert (test.directory / 'confusion_matrix.csv').exists() is False


@pytest.mark.parametrize('name', NAMES)
def test_a_resumed_run_ends_with_the_same_bits(train_here, task_data, task_runs, tmp_path, name):
    first = train_here(*task_data[name], '--epochs', 1, '--checkpoints_dir', tmp_path)
    resumed = train_here('--resume', first.directory, '--epochs', 2)
    assert same(weights_of(resumed), weights_of(task_runs(name)))


@pytest.mark.parametrize('name', ['features', 'labels'])
def test_args_txt_repeats_the_run(train_here, task_runs, tmp_path, name):
    run = task_runs(name)
    again = train_here(f'@{run.directory / "args.txt"}', '--checkpoints_dir', tmp_path)
    assert same(weights_of(again), weights_of(run))


@pytest.mark.slow('two runs')
def test_the_number_of_workers_does_not_change_a_restoration(train_here, task_data, tmp_path):
    words = (*task_data['pairs'], '--augment', 'standard', '--epochs', 2, '--checkpoints_dir', tmp_path)
    none, two = (train_here(*words, '--num_workers', count) for count in (0, 2))
    assert same(weights_of(none), weights_of(two))
    assert not same(weights_of(none), weights_of(train_here(*words, '--augment', 'none')))


@pytest.mark.parametrize(
    ('name', 'line'),
    [
        ('features', 'targets: 1 per sample: y'),
        ('numbers', 'targets: 2 per sample'),
        ('labels', 'classes: 3: blue, green, red'),
        ('pairs', 'targets: images of 3 channels'),
    ],
)
def test_the_start_says_what_is_to_be_learned(task_runs, name, line):
    assert line in task_runs(name).stdout.splitlines()


@pytest.mark.parametrize(
    ('name', 'size'),
    # 8 samples, the first of a batch: points, four in a row with lines of text, panels with names below each other.
    [
        ('features', (420, 420)),
        ('numbers', None),
        ('labels', None),
        ('pairs', (8 * (19 + 120 + 21 + 4) - 4, 3 * 144 + 8)),
    ],
)
def test_tensorboard_gets_a_picture_of_each_split(events_of, task_runs, name, size):
    images = events_of(task_runs(name)).images
    assert set(images) == {'train/samples', 'val/samples'}
    for events in images.values():
        assert size in (None, (events[-1].height, events[-1].width))


@pytest.mark.parametrize('name', NAMES[1:])
def test_pictures_of_a_test_are_saved(eval_here, task_runs, name):
    test = eval_here('--load_model_path', task_runs(name).directory / 'best.pth', '--save_viz', '--viz_freq', 6)
    files = sorted((test.directory / 'viz').iterdir())
    assert [file.name for file in files] == [f'{n:06d}_val{n}.png' for n in (0, 6, 12)]
    with Image.open(files[0]) as picture:
        shown = np.asarray(picture)
    with Image.open(task_file(task_runs(name), 'val0.png')) as picture:
        pixels = np.asarray(picture)
    factor = -(-112 // min(pixels.shape[:2]))
    shown = shown[19 if name == 'pairs' else 0 :]  # below the title of a panel
    assert np.array_equal(shown[: factor * len(pixels) : factor, : factor * pixels.shape[1] : factor], pixels)
    if name == 'pairs':
        with Image.open(task_file(task_runs(name), 'val0_clean.png')) as picture:
            assert np.array_equal(shown[::factor, -factor * pixels.shape[1] :: factor], np.asarray(picture))


def task_file(run, name):
    """Return the path of a file beside the validation list of a run."""
    args = torch.load(run.directory / 'best.pth', weights_only=True)['args']
    return args['val_list'].replace('val.txt', name)


def test_there_are_no_pictures_of_features(eval_here, task_runs):
    with pytest.raises(DanluError, match='--save_viz: the samples are not images but features'):
        eval_here('--load_model_path', task_runs('features').directory / 'best.pth', '--save_viz')


def test_features_are_trained_on_with_every_help(train_here, sums, tmp_path):
    run = train_here(*sums, '--epochs', 1, '--fast', '--profile', '--checkpoints_dir', tmp_path)
    assert 'fast on this device: ' in run.stdout
    assert 'channels_last' not in run.stdout.split('fast on this device: ')[1].splitlines()[0]
    assert 'advice: ' in run.stdout


def test_the_start_says_which_names_cannot_be_drawn(train_here, tmp_path):
    names = ['--class_names', '猫', *'bcdefghij']
    run = train_here('--max_steps', 1, *names, '--checkpoints_dir', tmp_path)
    noted = [line for line in run.stdout.splitlines() if line.startswith('no font here has 猫')]
    assert len(noted) == bool(missing_characters('猫'))
