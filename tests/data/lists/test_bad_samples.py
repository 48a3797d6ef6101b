"""--skip_bad: which samples are left out of the training, how that is told, and that nothing else changes."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data.data_entry import check_ready_made, notes_of, select_eval_loader, select_train_loader
from data.lists.bad_samples import check_skipped, write_skipped
from utils.base.errors import DanluError

KINDS = ['list', 'mem_list']


def torn(path):
    path.write_bytes(path.read_bytes()[:-30])
    return path


@pytest.fixture
def mixture(save, write):
    """Return the lines of a list of which 2, 4, 5, 6, 7 and 10 are faulty, having made the images."""
    for n in range(6):
        save(f'{n}.png', size=(12, 10), seed=n)
    torn(save('torn.png', size=(50, 50)))
    torn(save('torn.jpg', size=(250, 250)))
    write('text.png', 'no image')
    lines = ['0.png 0', 'torn.png 1', '1.png 1', 'gone.png 2', '2.png', '3.png 7', 'torn.jpg 0', '# comment', '4.png 2']
    return [*lines, 'text.png x', '5.png 0']


def samples(loader):
    """Return what a data set holds: names, and all samples as lists."""
    dataset = loader.dataset.dataset
    names = [dataset.name(index) for index in range(len(dataset))]
    return names, [[torch.as_tensor(part).tolist() for part in dataset[index]] for index in range(len(dataset))]


@pytest.mark.parametrize('words', [(), ('--cache_dir',)])
@pytest.mark.parametrize('kind', KINDS)
def test_what_is_left_is_the_list_without_the_faulty_lines(mixture, list_args, files, kind, words):
    if words and kind == 'list':
        pytest.skip('only mem_list has a cache')
    words = [*words, files / 'cache'] if words else []
    good = '\n'.join(line for n, line in enumerate(mixture, 1) if n in (1, 3, 9, 11))
    common = ['--num_classes', 3, '--batch_size', 2, '--augment', 'flip', *words]
    expected = select_train_loader(list_args(good, *common, kind=kind))
    for _ in range(2):  # with the cache the second start finds the pixels there
        loader = select_train_loader(list_args('\n'.join(mixture), '--skip_bad', *common, val=good, kind=kind))
        assert samples(loader) == samples(expected)
        assert [(key[0], key[1].tolist()) for *_, key in loader] == [(k[0], k[1].tolist()) for *_, k in expected]
    assert loader.dataset.dataset.content_hash() == expected.dataset.dataset.content_hash()
    assert loader.dataset.dataset.listing.where(3) == f'{files}/train.txt:11'  # messages name the list as it is


@pytest.mark.parametrize('kind', KINDS)
def test_it_is_told_and_written_down(mixture, list_args, files, kind):
    loader = select_train_loader(
        list_args('\n'.join(mixture), '--skip_bad', '--num_classes', 3, val='0.png 0', kind=kind)
    )
    note = next(line for line in notes_of(loader) if line.startswith('skip_bad'))
    assert note.startswith(f'skip_bad: 6 of 10 samples left out, the first is {files}/train.txt:2: {files}/torn.png: d')
    assert note.endswith('; skipped.txt names all')
    write_skipped(loader, SimpleNamespace(skip_bad=True, model_dir=str(files)))
    lines = [line.split('\t') for line in Path(files, 'skipped.txt').read_text().splitlines()]
    assert [where for where, _ in lines] == [f'{files}/train.txt:{n}' for n in (2, 4, 5, 6, 7, 10)]
    says = [
        'damaged: ',
        'no such file',
        '1 column instead',
        'label 7 is outside 0..2',
        'damaged: ',
        'unknown class',
    ]
    assert [text for text, (_, reason) in zip(says, lines, strict=True) if text not in reason] == [], lines
    assert 'not an image in a format that Pillow knows' in lines[-1][1]  # all that is wrong with a line


def test_nothing_faulty_leaves_no_file(labelled, files):
    loader = select_train_loader(labelled('--skip_bad'))
    assert f'skip_bad: nothing in {files}/train.txt is invalid' in notes_of(loader)
    write_skipped(loader, SimpleNamespace(skip_bad=True, model_dir=str(files)))
    assert not Path(files, 'skipped.txt').exists()


@pytest.mark.parametrize('kind', KINDS)
def test_every_picture_is_decoded_to_find_what_no_checksum_tells(save, with_data, list_args, kind):
    save('a.png', size=(300, 200))
    with_data(save('b.png', size=(300, 200)))
    words = ['--num_classes', 2, '--image_size', 32, '--skip_bad']
    loader = select_train_loader(list_args('a.png 0\nb.png 1', *words, val='a.png 0', kind=kind))
    assert samples(loader)[0] == ['a.png']


@pytest.mark.parametrize('kind', KINDS)
def test_validation_stops_as_ever(mixture, list_args, files, kind):
    args = list_args('0.png 0\n1.png 1', '--skip_bad', '--num_classes', 3, val='\n'.join(mixture), kind=kind)
    select_train_loader(args)
    with pytest.raises(DanluError, match=r'val.txt has 7 invalid entries; fix or remove them:'):
        select_eval_loader(args)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('lines', ['torn.png 0\ngone.png 1', 'torn.png\n0.png 9', '0.png\n1.png'])
def test_without_any_good_sample_it_stops(mixture, list_args, kind, lines):
    with pytest.raises(
        DanluError, match=r'has 2 invalid entries; fix or remove them:\n.*train.txt:1: .*\n.*train.txt:2: '
    ):
        select_train_loader(list_args(lines, '--skip_bad', '--num_classes', 3, '--image_size', 10, kind=kind))


@pytest.mark.parametrize('kind', KINDS)
def test_masks_and_target_pictures(save, list_args, files, kind):
    mask = np.ones((10, 12), np.uint8)
    for name, pixels in (('good', mask), ('wrong', mask * 9), ('wide', np.ones((10, 13), np.uint8))):
        save(f'{name}.png', pixels)
    for name in 'abcd':
        save(f'{name}.png', size=(12, 10))
    lines = 'a.png good.png\nb.png wrong.png\nc.png wide.png\nd.png good.png'
    words = ['--task', 'segmentation', '--num_classes', 3, '--skip_bad']
    loader = select_train_loader(list_args(lines, *words, val='a.png good.png', kind=kind))
    assert samples(loader)[0] == ['a.png', 'd.png']
    assert len(next(iter(loader))[1]) == 2
    words = ['--task', 'restoration', '--skip_bad']
    loader = select_train_loader(
        list_args('a.png b.png\nb.png wide.png\nc.png d.png', *words, val='a.png b.png', kind=kind)
    )
    assert samples(loader)[0] == ['a.png', 'c.png']


def test_numbers_and_sets_of_labels(save, list_args):
    for name in 'abc':
        save(f'{name}.png')
    lines = 'a.png 1 2\nb.png 1 x\nc.png 3 4'
    loader = select_train_loader(list_args(lines, '--task', 'regression', '--skip_bad', val='a.png 1 2'))
    assert loader.dataset.dataset.labels.tolist() == [[1, 2], [3, 4]]
    lines = 'a.png 0,1\nb.png 0,0\nc.png 2'
    loader = select_train_loader(list_args(lines, '--task', 'multilabel', '--skip_bad', val='a.png 1'))
    assert loader.dataset.dataset.labels.tolist() == [[1, 1, 0], [0, 0, 1]]


def test_a_folder(save, make_args, files):
    for name in ('train/cat/1.png', 'train/dog/2.png', 'val/cat/3.png', 'val/dog/3.png'):
        save(name, size=(40, 40))
    torn(save('train/dog/new\nline.png', size=(40, 40)))
    paths = ['--data_type', 'folder', '--train_list', files / 'train', '--val_list', files / 'val']
    loader = select_train_loader(make_args(*paths, '--skip_bad'))
    assert samples(loader)[0] == ['cat/1.png', 'dog/2.png']
    (line,) = loader.dataset.dataset.skipped.lines()
    assert line.startswith(f'{files}/train/dog/new line.png\t')


def test_a_resumed_run_leaves_out_the_same(mixture, save, list_args, files):
    def record(lines, function=check_skipped):
        loader = select_train_loader(list_args('\n'.join(lines), '--skip_bad', '--num_classes', 3, val='0.png 0'))
        function(loader, SimpleNamespace(skip_bad=True, model_dir=str(files)))

    record(mixture, write_skipped)
    record(mixture)
    save('gone.png', size=(12, 10))
    with pytest.raises(DanluError, match=r'--resume: 1 of the samples .* would change: .*train.txt:4 is valid now'):
        record(mixture)
    Path(files, 'gone.png').unlink()
    record(mixture)
    torn(files / '0.png')
    with pytest.raises(
        DanluError, match=r'train.txt:1 is invalid now: .*0.png: damaged.* --load_model_path .*last.pth'
    ):
        record(['0.png 0', *mixture[1:]])


def test_a_ready_made_loader_cannot_leave_out_anything(labelled):
    with pytest.raises(DanluError, match='--skip_bad needs the loader that --data_type names: leave out train_loader'):
        check_ready_made(object(), labelled('--skip_bad', '--num_classes', 3, '--image_size', 8, '--channels', 3))
