"""scripts/look.py: the sheet shows what a run trains on, and leaves nothing else."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scripts import look
from utils import viz
from utils.drawing.colours import class_colours
from utils.drawing.sample_grid import target_text


@pytest.fixture
def sheet(tmp_path, monkeypatch, capsys):
    """Return a function that calls look.py in an empty directory: words -> the sheet (H, W, 3), and what it printed."""
    monkeypatch.chdir(tmp_path)

    def draw(*words):
        look.main([*map(str, words), '--checkpoints_dir', 'runs'])
        assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ['look.png']
        assert not (tmp_path / 'runs').exists()
        return np.asarray(Image.open('look.png').convert('RGB')).astype(int), capsys.readouterr().out

    return draw


def count(picture, colour):
    return (picture == colour).all(-1).sum()


def test_it_shows_the_samples_that_a_run_begins_with(sheet):
    picture, printed = sheet('--count', 1, '--seed', 5)
    from options import train_args

    args = train_args(seed=5)
    images, targets, plain = look.first_samples(args_with(args, count=1, epoch=1), loader_of(args))
    assert plain is None
    digit = viz.enlarged(viz.rgb_of(viz.denormalise(images[:1], args.mean, args.std)[0]))
    places = np.lib.stride_tricks.sliding_window_view(picture[..., 0], (112, 112))
    assert (places[:, 12] == digit[..., 0]).all((1, 2)).any()
    assert '5,000 training samples: 28x28, grey; drawn: 1 of epoch 1' in printed
    assert 'samples of each class: 0 500, 1 500' in printed
    assert 'sheet: ' in printed
    assert (len(images), len(targets)) == (64, 64)


def args_with(args, **more):
    for name, value in more.items():
        setattr(args, name, value)
    return args


def loader_of(args):
    from data.data_entry import select_train_loader

    return select_train_loader(args)


def test_the_batches_are_those_of_the_trainer(list_data, tmp_path):
    import train
    from options import parse_train_args

    words = [*list_data, '--augment', 'strong', '--mixup', '0.4', '--num_workers', '0', '--device', 'cpu']
    trainer = train.Trainer(parse_train_args([*words, '--checkpoints_dir', str(tmp_path)]))
    trainer.train_loader.batch_sampler.set_epoch(3)
    theirs = [tensor for _, tensor in zip(range(2), trainer.train_loader, strict=False)]
    trainer.close()
    args = args_with(parse_train_args(words), count=10, epoch=3)
    images, targets, plain = look.first_samples(args, loader_of(args))
    for ours, place in ((images, 0), (targets, 1)):
        assert torch.equal(ours, torch.cat([batch[place] for batch in theirs]))
    assert plain.shape == images.shape
    assert not torch.equal(plain, images)
    assert targets.shape == (16, 3)


def test_masks_lie_over_their_pictures_with_a_legend(sheet, mask_data):
    picture, printed = sheet(*mask_data, '--augment', 'flip', '--count', 4, '--class_names', 'sky', 'road', 'car')
    assert 'drawn: 4 of epoch 1' in printed
    assert 'pixels of each class in 4 masks: sky ' in printed
    legend = picture[-40:]
    assert all(count(legend, colour) > 100 for colour in class_colours(3))
    again, _ = sheet(*mask_data, '--count', 4, '--palette', '#010203', '#aabbcc', '#112233')
    assert all(count(again[-40:], colour) > 100 for colour in ([1, 2, 3], [170, 187, 204], [17, 34, 51]))
    assert again.size < picture.size  # without augmentation each is there once


def test_restoration_and_regression(sheet, tmp_path):
    picture, printed = sheet('--data_type', 'noisy_digits', '--task', 'restoration', '--count', 3, '--augment', 'crop')
    assert picture.shape[1] > 3 * 112
    assert 'pixels are in 0..1, without normalisation' in printed
    rows = ''.join(f'{k},{k % 7},{k % 5}\n' for k in range(40))
    Path('look.png').unlink()
    data = tmp_path / 'data'
    data.mkdir()
    (data / 'a.csv').write_text(f'height,weight,price\n{rows}')
    words = [
        '--data_type',
        'array',
        '--model_type',
        'mlp',
        '--train_list',
        data / 'a.csv',
        '--val_list',
        data / 'a.csv',
    ]
    picture, printed = sheet(*words, '--task', 'regression')
    assert '40 training samples: 2 features' in printed
    assert 'target price: 0 to 4, mean 2, standard deviation 1.414' in printed
    assert 'mean 0.00 0.00' in printed.replace('-0.00', '0.00')
    assert (picture[100:-50, 80:-100].max(-1) - picture[100:-50, 80:-100].min(-1) > 50).any()  # coloured dots
    picture, printed = sheet(*words, '--task', 'classification')
    assert count(picture, class_colours(5)[3]) > 20


def test_several_labels_and_a_stream(sheet, tmp_path, list_data):
    folder = Path(list_data[3]).parent
    data = tmp_path / 'data'
    data.mkdir()
    lines = [f'{folder}/train{k}.png\t{("a", "a,b", "-")[k % 3]}\n' for k in range(12)]
    (data / 'sets.txt').write_text(''.join(lines))
    lists = ['--train_list', data / 'sets.txt', '--val_list', data / 'sets.txt']
    _, printed = sheet('--data_type', 'list', '--task', 'multilabel', *lists, '--augment', 'affine')
    assert 'samples with each class: a 8, b 4' in printed
    with tarfile.open(data / 's.tar', 'w') as shard:
        for k in range(6):
            (data / 'cls').write_text(str(k % 2))
            shard.add(folder / f'train{k}.png', f'{k}.png')
            shard.add(data / 'cls', f'{k}.cls')
    lists = ['--train_list', data / 's.tar', '--val_list', data / 's.tar']
    _, printed = sheet('--data_type', 'stream', *lists, '--num_classes', 2, '--augment', 'flip', '--count', 3)
    assert 'drawn: 3 of epoch 1' in printed


def test_targets_are_written_as_people_read_them(list_data):
    from options import train_args

    args = train_args(class_names=['cat', 'dog', 'cow'])
    assert target_text(args, torch.tensor(1)) == 'dog'
    assert target_text(args, torch.tensor(255)) == '255'
    assert target_text(args, torch.tensor([0.25, 0.0, 0.75])) == 'cow 75%, cat 25%'
    args.task = 'multilabel'
    assert target_text(args, torch.tensor([1.0, 0.0, 1.0])) == 'cat, cow'
    assert target_text(args, torch.zeros(3)) == 'none'
    args.task, args.num_targets = 'regression', 2
    assert target_text(args, torch.tensor([1.5, -2])) == '1.5, -2'
    args.target_columns = ['height', 'weight']
    assert target_text(args, torch.tensor([1.5, -2])) == 'height 1.5, weight -2'


def test_wrong_normalisation_is_told(sheet):
    _, printed = sheet('--mean', 0.9, '--std', 0.05, '--count', 2)
    assert 'warning: mean or standard deviation is far off; check --mean and --std' in printed


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--out', 'x.jpg'], "argument --out: 'x.jpg' does not end in .png"),
        (['--count', '0'], 'argument --count: must be at least 1'),
        (['--data_type', 'list'], 'argument --train_list: needed for data_type list'),
        (['--resume', '.'], 'argument --resume: nothing is resumed here; give @<run>/args.txt'),
    ],
)
def test_wrong_options_are_refused_in_one_line(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        look.main(words)
    assert left.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith('look.py: error: ')
    assert said in line


@pytest.mark.slow('a new interpreter')
def test_it_runs_from_anywhere(run_program, tmp_path):
    done = run_program('scripts/look.py', '--out', tmp_path / 'new' / 'sheet.png', '--count', 4, '--num_workers', 1)
    assert done.code == 0, done.stderr
    assert f'sheet: {tmp_path}/new/sheet.png (' in done.stdout
    (tmp_path / 'file').write_text('')
    done = run_program('scripts/look.py', '--out', tmp_path / 'file' / 'sheet.png', '--count', 1)
    assert done.code == 2
    assert '--out: ' in done.stderr.splitlines()[-1]
