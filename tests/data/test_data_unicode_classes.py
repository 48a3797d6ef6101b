"""Class names in the Unicode forms NFC and NFD are the same class: macOS and some archives spell them otherwise."""

import io
import tarfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.checks.statistics import ListSource, measure
from data.data_entry import complete_args
from data.folder import Folder
from data.list_dataset import ListDataset
from data.stream import Stream
from utils.base.errors import DanluError
from utils.options.palette import fitted

NFC, NFD = (unicodedata.normalize(form, 'café') for form in ('NFC', 'NFD'))


def build(args, split, kind):
    complete_args(args)
    return kind(args, split)


def test_the_two_forms_differ():
    assert NFC != NFD


@pytest.mark.parametrize(('train', 'val'), [(NFC, NFD), (NFD, NFC)])
def test_a_folder_to_validate_may_have_the_other_form(save, files, make_args, train, val):
    for split, name in (('train', train), ('val', val)):
        save(f'{split}/{name}/0.png')
        save(f'{split}/bar/0.png')
    args = make_args('--data_type', 'folder', '--train_list', files / 'train', '--val_list', files / 'val')
    assert build(args, 'val', Folder).labels.tolist() == [0, 1]
    assert args.class_names == ['bar', NFC]
    assert build(args, 'train', Folder).labels.tolist() == [0, 1]


def test_two_directories_of_one_class(save, files, make_args):
    for name in (NFC, NFD, 'bar'):
        save(f'train/{name}/0.png')
    if len(list((files / 'train').iterdir())) < 3:
        pytest.skip('this file system takes both forms for one name')
    args = make_args('--data_type', 'folder', '--train_list', files / 'train', '--val_list', files / 'train')
    assert build(args, 'train', Folder).labels.tolist() == [0, 1, 1]
    assert args.num_classes == 2
    assert measure(ListSource(files / 'train', folder=True), 3, 'labels', lambda count: None).labels[NFC] == 2


@pytest.mark.parametrize('names', [[], ['--class_names', 'bar', NFC], ['--class_names', 'bar', NFD]])
@pytest.mark.parametrize('task', ['classification', 'multilabel'])
def test_lists(save, list_args, names, task):
    save('a.png')
    text = f'a.png {NFC}\na.png {NFD}\na.png bar\n'
    data = build(list_args(text, '--task', task, *names), 'train', ListDataset)
    labels = data.labels if task == 'classification' else data.labels.argmax(1)
    assert labels.tolist() == [1, 1, 0]
    assert task == 'classification' or data.labels.sum(1).tolist() == [1, 1, 1]


def test_a_label_twice_in_two_forms(save, list_args):
    save('a.png')
    args = list_args(f'a.png {NFC},{NFD}\na.png bar\n', '--task', 'multilabel')
    with pytest.raises(Exception, match='has a label twice'):
        build(args, 'train', ListDataset)


def test_a_stream(files, make_args):
    picture = io.BytesIO()
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(picture, format='PNG')
    with tarfile.open(files / 'a.tar', 'w') as archive:
        for number, name in enumerate((NFC, NFD, 'bar')):
            for ending, content in (('png', picture.getvalue()), ('cls', name.encode())):
                member = tarfile.TarInfo(f'{number}.{ending}')
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    lists = ['--train_list', files / 'a.tar', '--val_list', files / 'a.tar']
    args = make_args('--data_type', 'stream', *lists, '--class_names', 'bar', NFD)
    stream = build(args, 'val', Stream)
    assert [int(stream.load(place)[1]) for place in stream.order(1)] == [1, 1, 0]


def test_a_palette():
    assert fitted([f'{NFD}=#000001', 'bar=#000002'], 2, ['bar', NFC]) == ['#000002', '#000001']


@pytest.mark.parametrize(('stored', 'listed', 'form'), [(NFC, NFD, 'NFC'), (NFD, NFC, 'NFD')])
def test_a_file_whose_name_has_the_other_form_is_pointed_out(save, list_args, stored, listed, form):
    save(f'{stored}.png')
    if Path(save('x.png').parent, f'{listed}.png').exists():
        pytest.skip('this file system takes both forms for the same name')
    with pytest.raises(DanluError, match=f'no such file; a file there has this name in the Unicode form {form}'):
        build(list_args(f'{listed}.png\t0\nx.png\t1'), 'train', ListDataset)
