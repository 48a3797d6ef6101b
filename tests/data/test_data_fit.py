"""--fit: how pictures of another shape are brought to the size of the network."""

import numpy as np
import pytest
import torch
from PIL import Image

from data.data_entry import complete_args
from data.list_dataset import ListDataset
from data.lists.pictures import read_mask, read_picture
from data.mem_list import MemList
from data.stream import Stream
from options import parse_test_args
from utils.base.errors import DanluError
from utils.options.fit import Fit

WIDE = (120, 40)  # width x height
PLACES = (4, 60, 110)  # of a white square of 6 pixels, across


def squares(save):
    """Save pictures with a white square at different places, and return their names."""
    names = []
    for place in PLACES:
        pixels = np.zeros((WIDE[1], WIDE[0], 3), np.uint8)
        pixels[17:23, place : place + 6] = 255
        names.append(save(f'{place}.png', pixels).name)
    return names


def build(args, split='train', kind=ListDataset):
    complete_args(args)
    return kind(args, split)


@pytest.mark.parametrize(
    ('task', 'targets'),
    [('regression', PLACES), ('multilabel', ('left', 'left,right', 'right')), ('classification', 'abc')],
)
@pytest.mark.parametrize('kind', [ListDataset, MemList])
def test_no_object_is_lost_where_the_target_is_about_the_whole(save, list_args, kind, task, targets):
    text = '\n'.join(f'{name}\t{target}' for name, target in zip(squares(save), targets, strict=True))
    args = list_args(text, '--task', task, '--image_size', 32)
    assert args.fit == ('crop' if task == 'classification' else 'stretch')
    data = build(args, kind=kind)
    brightest = [int(data[index][0].max()) for index in range(3)]
    assert [level > 100 for level in brightest] == ([False, True, False] if task == 'classification' else [True] * 3)


@pytest.mark.parametrize('how', ['crop', 'stretch', 'pad'])
@pytest.mark.parametrize('kind', [ListDataset, MemList])
def test_each_way_shows_what_it_says(save, list_args, kind, how):
    text = '\n'.join(f'{name} {index}' for index, name in enumerate(squares(save)))
    words = ['--image_size', 40, 40, '--fit', how, '--mean', 0.5, 0.25, 1, '--std', 1, 1, 1]
    data = build(list_args(text, *words), kind=kind)
    seen = [picture[0, 19:21].float().mean(0) for picture, _ in (data[index] for index in range(3))]
    found = [None if row.max() < 250 else int(row.argmax()) for row in seen]
    if how == 'crop':
        assert found == [None, 20, None]
    elif how == 'stretch':
        assert [round(float((row * torch.arange(40.0)).sum() / row.sum())) for row in seen] == [2, 20, 37]
    else:
        picture = data[0][0]
        assert picture[:, 0, 0].tolist() == picture[:, -1, -1].tolist() == [128, 64, 255]
        shown = (picture[0] != 128).nonzero()
        assert (shown[:, 0].min(), shown[:, 0].max()) == (13, 25)  # 40 pixels wide, 13 high
        assert picture[0, 13:26].shape == (13, 40)
        assert int(picture[0, 13:26, 0].max()) == 0


@pytest.mark.parametrize('how', ['crop', 'stretch', 'pad'])
@pytest.mark.parametrize('size', [(40, 40), (30, 90), (13, 17)])
def test_masks_stay_in_step_with_their_pictures(save, how, size):
    mask = np.kron(np.random.default_rng(0).integers(0, 3, (4, 12), dtype=np.uint8), np.ones((10, 10), np.uint8))
    picture = np.eye(3, dtype=np.uint8)[mask] * 200
    fit = Fit(how, (9, 9, 9), 77)
    pixels = read_picture(save('picture.png', picture), 3, size, fit)
    labels = read_mask(save('mask.png', mask), size, None, fit)
    margin = (pixels == 9).all(0)
    assert torch.equal(margin, labels == 77)
    assert bool(margin.any()) == (how == 'pad' and size != (30, 90))
    sure = (pixels.max(0).values > 190) & ~margin  # away from the borders of the blocks
    assert int(sure.sum()) > 20
    assert torch.equal(pixels.argmax(0)[sure], labels[sure].long())


def test_a_stream_fits_as_a_list_does(save, write, make_args, list_args):
    names = squares(save)
    text = '\n'.join(f'{name} {index}' for index, name in enumerate(names))
    lines = 'image,target\n' + '\n'.join(f'{name},{index}' for index, name in enumerate(names))
    shards = write('train.csv', lines)
    for how in ('crop', 'stretch', 'pad'):
        words = ['--image_size', 20, 28, '--fit', how, '--num_classes', 3]
        expected = build(list_args(text, *words))
        args = make_args('--data_type', 'stream', '--train_list', shards, '--val_list', shards, *words)
        stream = build(args, 'val', Stream)
        for index, place in enumerate(stream.order(1)):
            assert torch.equal(stream.load(place)[0], expected[index][0])


def test_the_cache_is_another_for_another_fit(save, list_args, files):
    text = '\n'.join(f'{name} {index}' for index, name in enumerate(squares(save)))
    for how in ('crop', 'stretch', 'pad', 'crop'):
        args = list_args(text, '--image_size', 24, '--fit', how, '--cache_dir', files / 'cache', kind='mem_list')
        cached = build(args, kind=MemList)
        expected = build(list_args(text, '--image_size', 24, '--fit', how))
        for index in range(3):
            assert torch.equal(cached[index][0], expected[index][0])
    assert len(list((files / 'cache').iterdir())) == 3


def test_the_target_picture_is_fitted_like_its_picture(save, list_args):
    names = squares(save)
    text = '\n'.join(f'{name} {name}' for name in names)
    for how in ('crop', 'stretch'):
        data = build(list_args(text, '--task', 'restoration', '--image_size', 24, '--fit', how))
        for picture, target in (data[index] for index in range(3)):
            assert torch.equal(picture, target)
    assert list_args(text, '--task', 'restoration').fit == 'stretch'


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--task', 'restoration', '--fit', 'pad'], 'with pad the margins would count'),
        (['--task', 'segmentation', '--num_classes', 2, '--ignore_index', 300, '--fit', 'pad'], 'must be 0..255'),
        (['--fit', 'squeeze'], 'invalid choice'),
    ],
)
def test_what_cannot_be_is_refused(list_args, capsys, words, message):
    with pytest.raises(SystemExit):
        list_args('a.png b.png', *words)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('kind', ['digits', 'array'])
def test_data_without_shapes_takes_no_fit(make_args, write, capsys, kind):
    table = write('a.csv', 'x,y\n1,2\n')
    lists = ['--train_list', table, '--val_list', table, '--task', 'regression']
    with pytest.raises(SystemExit):
        make_args('--data_type', kind, '--fit', 'pad', *(lists if kind == 'array' else []))
    assert 'argument --fit: ' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('then', 'fit'),
    [
        ({'task': 'regression'}, 'crop'),
        ({'task': 'multilabel', 'num_classes': 3}, 'crop'),
        ({'task': 'classification', 'num_classes': 3}, 'crop'),
        ({'task': 'segmentation', 'num_classes': 3}, 'stretch'),
        ({'task': 'restoration'}, 'stretch'),
        ({'task': 'regression', 'fit': 'pad'}, 'pad'),
    ],
)
def test_older_checkpoints_keep_what_they_had(save, write, then, fit, list_args):
    trained = vars(list_args('a.png 1', '--task', 'regression')).copy()
    trained |= {'loss': None, 'class_names': None}
    del trained['fit']
    listed = write('val.txt', 'a.png 1')
    checkpoint = write('best.pth', 'x')
    args = parse_test_args(
        ['--load_model_path', str(checkpoint)], {**trained, 'data_type': 'list', 'val_list': str(listed), **then}
    )
    assert args.fit == fit
    told = [line for line in args.past if '--fit' in line]
    assert bool(told) == (fit == 'crop' and then['task'] != 'classification')


def test_a_line_of_the_log_says_how_pictures_come_in(save, list_args):
    from utils.options.fit import described_pictures

    args = list_args(f'{squares(save)[0]} 1', '--task', 'regression', '--image_size', 20, 30)
    complete_args(args)
    assert described_pictures(args) == (
        'images: 30x20 (width x height), RGB, --fit stretch, mean 0.485 0.456 0.406, standard deviation 0.229 0.224 '
        '0.225'
    )
    with pytest.raises(DanluError):  # the size of the first image is too large to be guessed
        save('large.png', Image.new('RGB', (900, 600)))
        complete_args(list_args('large.png 1', '--task', 'regression'))
