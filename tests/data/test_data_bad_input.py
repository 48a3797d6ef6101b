"""What no check before the first step can find is named when it is read, in every way of loading."""

import multiprocessing

import pytest

from data.data_entry import select_eval_loader, select_train_loader
from utils.base.errors import DanluError, message_of

WHAT = 'image file is truncated'


def message(loader):
    with pytest.raises(DanluError) as error:
        list(loader)
    for process in multiprocessing.active_children():  # in a process that goes on, torch waits five seconds for each
        process.terminate()
    return message_of(error.value)


@pytest.fixture
def hollow(save, with_data, list_args):
    """Return a function: options for a list whose third line names a large PNG of half the pixels, checksums right."""

    def hollow(*words, kind='list'):
        for n in range(5):
            save(f'{n}.png', size=(160, 120), seed=n)
        with_data(save('2.png', size=(160, 120)))
        lines = '\n'.join(f'{n}.png {n % 2}' for n in range(5))
        return list_args(lines, '--image_size', 32, '--batch_size', 2, *words, kind=kind)

    return hollow


@pytest.mark.parametrize(('workers', 'worth'), [(0, 1000), (0, 0), (1, 1000), (2, 1000)])
@pytest.mark.parametrize('augment', ['none', 'standard'])
def test_a_png_of_half_its_pixels_is_named(hollow, files, monkeypatch, workers, worth, augment):
    monkeypatch.setattr('data.loader.MIN_DECODE_SECONDS', worth)  # 0: threads decode
    args = hollow('--num_workers', workers, '--augment', augment)
    for select, name in ((select_train_loader, 'train'), (select_eval_loader, 'val')):
        said = message(select(args))
        assert said.startswith(f'{files}/{name}.txt:3: {files}/2.png: damaged: {WHAT}')
        assert said.endswith('; fix or remove it')
        assert '\n' not in said


@pytest.mark.parametrize('words', [(), ('--cache_dir', 'cache')])
def test_data_in_memory_finds_it_at_the_start(hollow, files, words):
    words = [files / word if word == 'cache' else word for word in words]
    with pytest.raises(
        DanluError, match=rf'train.txt has 1 invalid entry.*\n  {files}/train.txt:3: {files}/2.png: damaged: {WHAT}'
    ):
        select_train_loader(hollow(*words, kind='mem_list'))


@pytest.mark.parametrize('workers', [0, 1])
def test_a_stream_names_its_line(hollow, write, make_args, files, workers):
    hollow()
    lines = ''.join(f'{{"image": "{n}.png", "label": {n % 2}}}\n' for n in range(5))
    path = write('train.jsonl', lines)
    words = ['--data_type', 'stream', '--train_list', path, '--val_list', path, '--num_classes', 2, '--image_size', 32]
    said = message(select_train_loader(make_args(*words, '--num_workers', workers)))
    assert said.startswith(f'{path}:3: damaged: {WHAT}')
    assert said.endswith('; fix or remove it')
