"""Numbers from .csv and .npz files: what is read, how it is scaled, and what is wrong with it."""

import zipfile

import numpy as np
import pytest
import torch

from data.array import ArrayData
from data.data_entry import complete_args, select_eval_loader, select_train_loader
from data.lists.table import read_table
from utils.base.errors import DanluError

X = np.array([[1, 10, 7], [2, -20, 7], [3, 30, 7], [6, 0, 7]], dtype=float)
Y = X.sum(1)
ROWS = [f'{a:g},{b:g},{c:g},{a + b + c:g}' for a, b, c in X]


@pytest.fixture
def array_args(write, make_args, files):
    """Return a function: content of the training and validation files (text, or arrays) -> options of train.py."""

    def array_args(train, *words, val=None, task='regression'):
        paths = []
        for name, content in (('train', train), ('val', train if val is None else val)):
            if isinstance(content, dict):
                paths.append(files / f'{name}.npz')
                np.savez(paths[-1], **content)
            else:
                paths.append(write(f'{name}.csv', content))
        lists = ('--train_list', paths[0], '--val_list', paths[1])
        return make_args('--data_type', 'array', '--task', task, '--model_type', 'mlp', *lists, *words)

    return array_args


def build(args, split='train'):
    complete_args(args)
    return ArrayData(args, split)


@pytest.mark.parametrize('separator', [',', ';', '\t', ', '])
@pytest.mark.parametrize('header', ['a,b,c,sum\n', '', '\ufeffa,b,c,sum\n\n'])
def test_a_csv_is_features_and_the_last_column_is_the_target(write, header, separator):
    text = (header + '\r\n'.join(ROWS) + '\n').replace(',', separator)
    table = read_table(write('train.csv', text))
    assert np.array_equal(table.features, X)
    assert np.array_equal(table.targets, Y[:, None])
    assert (table.header == ['a', 'b', 'c']) if header else (table.header is None)
    assert table.where(3).endswith(f'train.csv:{4 + header.count(chr(10))}')


@pytest.mark.parametrize('chosen', [['c', 'a'], ['3', '1'], ['c', '1']])
def test_target_columns_are_named_or_counted(write, chosen):
    table = read_table(write('train.csv', 'a,b,c,sum\n' + '\n'.join(ROWS)), chosen)
    assert np.array_equal(table.targets, X[:, [2, 0]])
    assert np.array_equal(table.features, np.stack([X[:, 1], Y], 1))
    assert table.header == ['b', 'sum']


def test_a_header_of_numbers_can_be_named(write):
    table = read_table(write('train.csv', '10,20,30\n1,2,3\n'), ['20'])
    assert table.header == ['10', '30']
    assert table.features.tolist() == [[1, 3]]


def test_unknown_target_columns_are_refused_with_those_there_are(write, array_args):
    with pytest.raises(
        DanluError, match=r'--target_columns y: .*train.csv has no such column; its 4 are: a, b, c, sum'
    ):
        read_table(write('train.csv', 'a,b,c,sum\n' + ROWS[0]), ['y'])
    with pytest.raises(DanluError, match=r'--target_columns z: .* has no such array; its arrays are: x, y'):
        build(array_args({'x': X, 'y': Y}, '--target_columns', 'z'))


def test_faults_of_a_csv_are_told_line_by_line(write):
    rows = ['a,b,y', '1,2,3', '1,x,3', '1,2', '1,,3', '1,2,nan', '1e40,2,3', 'inf,2,3']
    with pytest.raises(DanluError) as error:
        read_table(write('train.csv', '\n'.join(rows)))
    text = str(error.value)
    assert '6 invalid entries' in text
    for number, says in (
        (3, "column 'b': 'x' is not a number"),
        (4, '2 columns instead of 3'),
        (5, "column 'b' is empty"),
        (6, "column 'y': nan is not a finite number"),
        (7, "column 'a': 1e40 is not a finite number"),
        (8, "column 'a': inf is not"),
    ):
        assert f'train.csv:{number}: {says}' in text


def test_a_first_row_with_some_numbers_is_no_header(write):
    with pytest.raises(DanluError, match=r"train.csv:1: column 1: 'x' is not a number"):
        read_table(write('train.csv', 'x,2,3\n1,2,3'))


@pytest.mark.parametrize(
    ('content', 'says'),
    [
        ('', 'no column besides the targets'),
        ('1\n2', 'no column besides the targets'),
        ('a,b\n', 'holds no sample'),
        ('狗,b\n1,2'.encode('gbk'), 'is not UTF-8 text'),
        (b'1,2\x00,3\n', 'is not a number'),
    ],
)
def test_files_that_are_no_table_are_refused(files, content, says):
    path = files / 'train.csv'
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DanluError, match=says):
        read_table(path)


def test_other_endings_and_damaged_archives_are_refused(files, write):
    with pytest.raises(DanluError, match=r'takes .csv, .tsv and .npz files, not .txt'):
        read_table(write('train.txt', '1,2'))
    with pytest.raises(DanluError, match=r'is not an .npz file: write it by numpy.savez'):
        read_table(write('train.npz', 'no archive'))
    np.savez(files / 'torn.npz', x=X, y=Y)
    whole = (files / 'torn.npz').read_bytes()
    (files / 'torn.npz').write_bytes(whole[:200] + b'\0' * 40 + whole[240:])
    with pytest.raises(DanluError, match=r'torn.npz cannot be read'):
        read_table(files / 'torn.npz')
    with pytest.raises(DanluError, match='cannot be read: No such file'):
        read_table(files / 'gone.csv')


@pytest.mark.parametrize(
    ('old', 'new', 'says'),
    [
        (b'\x93NUMPY', b'\x92NUMPY', 'x is not an array; write the file by numpy.savez'),
        (b'(4, 3)', b'(4* )', 'cannot be read: '),
        (b"'<f8'", b"'|O8'", 'cannot be read: '),  # Python objects
        (b'(4, 3), }             ', b'(4, 9300000000000), }', 'cannot be read: '),
    ],
)
def test_an_npz_with_a_changed_header(files, old, new, says):
    np.savez(files / 'whole.npz', x=X, y=Y)
    with zipfile.ZipFile(files / 'whole.npz') as whole, zipfile.ZipFile(files / 'train.npz', 'w') as changed:
        for name in whole.namelist():
            changed.writestr(name, whole.read(name).replace(old, new) if name == 'x.npy' else whole.read(name))
    assert b'(4, 3), }             ' in zipfile.ZipFile(files / 'whole.npz').read('x.npy')
    with pytest.raises(DanluError, match=says):
        read_table(files / 'train.npz')


def test_an_npz_whose_directory_asks_for_another_way_of_packing(files):
    np.savez(files / 'train.npz', x=X, y=Y)
    data = bytearray((files / 'train.npz').read_bytes())
    data[data.index(b'PK\x01\x02') + 8] |= 0x20  # "compressed patched data"
    (files / 'train.npz').write_bytes(data)
    with pytest.raises(DanluError, match=r'train.npz cannot be read: compressed patched data'):
        read_table(files / 'train.npz')


@pytest.mark.parametrize(
    ('arrays', 'says'),
    [
        ({'y': Y}, 'has no array features or x; its arrays are: y'),
        ({'x': X}, 'has no array targets or y'),
        ({'x': X, 'y': Y[:3]}, r'their shapes are \(4, 3\), \(3,\)'),
        ({'x': X, 'y': np.float64(3)}, 'need the same number of rows'),
        ({'x': X.astype(str), 'y': Y}, 'features of <U32 are not numbers'),
        ({'x': X, 'y': Y.astype(complex)}, 'targets of complex128 are not numbers'),
        ({'x': X.reshape(4, 1, 3, 1), 'y': Y}, r'neither numbers \(N, F\) nor images'),
        ({'x': X, 'y': Y.reshape(4, 1, 1)}, r'numbers are \(N,\) or \(N, T\)'),
        ({'x': np.where(X == -20, np.nan, X), 'y': Y}, r'sample 1: features: nan \(column 2\) is not finite'),
        ({'x': X, 'y': np.array([1, 2, np.inf, 4])}, r'sample 2: targets: inf \(column 1\) is not finite'),
        ({'x': np.array([None, 'a', 2, 3], dtype=object), 'y': Y}, 'cannot be read: Object arrays cannot be loaded'),
        ({'x': X[:0], 'y': Y[:0]}, 'holds no sample'),
    ],
)
def test_faults_of_an_npz(files, arrays, says):
    np.savez(files / 'train.npz', **arrays)
    with pytest.raises(DanluError, match=says):
        read_table(files / 'train.npz')


@pytest.mark.parametrize('names', [('features', 'targets'), ('x', 'y')])
def test_arrays_go_by_either_name(files, names):
    np.savez(files / 'train.npz', **dict(zip(names, (X.astype(np.float32), np.stack([Y, -Y], 1)), strict=True)))
    table = read_table(files / 'train.npz')
    assert np.array_equal(table.features, X)
    assert np.array_equal(table.targets, np.stack([Y, -Y], 1))


def test_several_arrays_can_be_the_targets(files):
    np.savez(files / 'train.npz', x=X, age=Y.astype(np.int32), price=np.stack([Y, -Y], 1))
    assert np.array_equal(read_table(files / 'train.npz', ['age', 'price']).targets, np.stack([Y, Y, -Y], 1))


def test_features_are_scaled_as_those_of_the_training_file(array_args):
    args = array_args('\n'.join(ROWS), val='9,9,9,27\n0,0,0,0')
    train, val = build(args), build(args, 'val')
    assert (args.channels, args.image_size, args.num_targets, args.num_classes) == (3, [], 1, None)
    assert args.mean == X.mean(0).tolist()
    assert args.std == [X[:, 0].std(), X[:, 1].std(), 1.0]  # the third is constant
    scaled = (X - args.mean) / args.std
    assert train.images.dtype == train.targets.dtype == torch.float32
    assert np.allclose(train.images.numpy(), scaled, atol=1e-6)
    assert np.allclose(val.images[0].numpy(), (9 - np.array(args.mean)) / args.std, atol=1e-6)
    assert train.targets.tolist() == [[value] for value in Y]


def test_a_constant_feature_is_no_rounding_error_blown_up(array_args):
    data = build(array_args({'x': np.full((7, 1), 0.1), 'y': np.arange(7)}))
    assert data.images.abs().max() < 1e-6


def test_given_mean_and_deviation_are_kept(array_args):
    data = build(array_args('\n'.join(ROWS), '--mean', 0, '--std', 1))
    assert np.array_equal(data.images.numpy(), X)
    with pytest.raises(DanluError, match='--mean: 2 given for 3 channels or features'):
        build(array_args('\n'.join(ROWS), '--mean', 0, 1))


@pytest.mark.parametrize('labels', [['dog', 'cat', 'dog', 'ant'], ['2', '0', '2', '1']])
@pytest.mark.parametrize('form', ['csv', 'npz'])
def test_labels_are_integers_or_names(array_args, form, labels):
    named = not labels[0].isdigit()
    content = '\n'.join(f'{a:g},{b:g},{label}' for (a, b, _), label in zip(X, labels, strict=True))
    if form == 'npz':
        content = {'x': X, 'y': np.array(labels if named else list(map(int, labels)))}
    args = array_args(content, task='classification')
    data = build(args)
    assert args.num_classes == 3
    assert args.class_names == (['ant', 'cat', 'dog'] if named else None)
    assert data.targets.dtype == torch.int64
    assert data.targets.tolist() == ([2, 1, 2, 0] if named else [2, 0, 2, 1])


def test_wrong_labels_are_told(array_args):
    val = '1,2,dog\n1,2,cow\n1,2,'
    with pytest.raises(DanluError, match=r'val.csv:3: the label is empty'):
        build(array_args('1,2,dog\n3,4,cat', val=val, task='classification'), 'val')
    with pytest.raises(DanluError, match=r"val.csv:2: unknown class 'cow'"):
        build(array_args('1,2,dog\n3,4,cat', val=val[:-5], task='classification'), 'val')
    with pytest.raises(DanluError, match='numbers are for --task regression'):
        build(array_args({'x': X, 'y': Y}, task='classification'))
    with pytest.raises(DanluError, match='a sample has one label, so give one column'):
        build(array_args('1,2,dog\n3,4,cat', '--target_columns', 2, 3, task='classification'))


@pytest.mark.parametrize(
    ('val', 'says'),
    [
        ('1,2,3', 'val.csv has 2 features, the training data 3'),
        ('b,a,c,sum\n1,2,3,6', 'has the columns b, a, c; .*train.csv has a, b, c: give both the same ones'),
        ({'x': np.zeros((2, 8, 8), dtype=np.uint8), 'y': Y[:2]}, 'val.npz holds images, the training data features'),
        ({'x': X, 'y': np.stack([Y, Y], 1)}, 'has 2 targets per sample instead of 1'),
    ],
)
def test_other_columns_than_those_trained_on_are_refused(array_args, val, says):
    args = array_args('a,b,c,sum\n' + '\n'.join(ROWS), val=val)
    complete_args(args)
    with pytest.raises(DanluError, match=says):
        ArrayData(args, 'val')


@pytest.mark.parametrize('shape', [(5, 8, 9), (5, 1, 8, 9), (5, 3, 8, 9), (5, 8, 9, 3)])
def test_arrays_of_pixels_are_pictures(array_args, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    args = array_args({'x': pixels, 'y': np.arange(5.0)}, '--augment', 'flip')
    data = build(args)
    expected = pixels[:, None] if len(shape) == 3 else pixels.transpose(0, 3, 1, 2) if shape[3] == 3 else pixels
    assert (args.channels, args.image_size) == (expected.shape[1], [8, 9])
    assert len(args.mean) == args.channels
    assert np.array_equal(data.images.numpy(), expected)


@pytest.mark.parametrize('words', [('--augment', 'flip'), ('--channels_last',), ('--mixup', 0.2), ('--cutmix', 1)])
def test_what_only_pictures_can_use_is_refused(array_args, words):
    args = array_args('1,2,dog\n3,4,cat', *words, task='classification')
    with pytest.raises(DanluError, match=f'{words[0]}: the samples are vectors of features, not images; leave it out'):
        complete_args(args)


def test_without_options_of_the_training_the_scale_has_to_be_given(array_args):
    args = array_args('\n'.join(ROWS))
    del args.train_list  # as in eval.py
    with pytest.raises(DanluError, match='--mean and --std: required'):
        complete_args(args)


def test_batches_come_in_blocks_and_whole(array_args):
    random = np.random.default_rng(0)
    args = array_args({'x': random.normal(size=(500, 4)), 'y': np.arange(500)}, '--batch_size', 7)
    train, val = select_train_loader(args), select_eval_loader(args)
    assert [len(images) for images, _ in val] == [7] * 71 + [3]
    assert sorted(target.item() for _, targets in train for target in targets) == list(range(500))


def test_the_hash_is_that_of_the_numbers_however_they_are_written(array_args):
    known = build(array_args('\n'.join(ROWS))).content_hash()
    assert build(array_args('\r\n'.join(ROWS).replace(',', ' , '))).content_hash() == known
    changed = [*ROWS[:-1], ROWS[-1].replace(ROWS[-1].split(',')[0], '123', 1)]
    relabelled = [*ROWS[:-1], ROWS[-1].rpartition(',')[0] + ',7']
    hashes = {build(array_args('\n'.join(rows))).content_hash() for rows in (changed, relabelled, ROWS[:-1])}
    assert len(hashes | {known}) == 4
