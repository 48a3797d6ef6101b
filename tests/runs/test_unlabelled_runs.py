"""eval.py --predict: predictions of images without targets are those of a test on the same images."""

import contextlib
import csv
import io
import json
import re
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import eval as eval_py
from utils.base.errors import DanluError
from utils.html_report import gallery_page


def rows_of(test):
    with open(test.directory / 'predictions.csv', newline='', encoding='utf-8-sig') as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope='module')
def tested(list_run, eval_here):
    """Return the checkpoint of `list_run`, the directory of its images, and the rows of a test on them."""
    checkpoint = list_run.directory / 'best.pth'
    test = eval_here('--load_model_path', checkpoint, '--num_workers', 0)
    return checkpoint, Path(test.head['list']).parent, rows_of(test)


def check_same(rows, expected):
    """Check that rows of predictions have the classes and confidences of a test, in any order."""
    found = {Path(row['name']).name: row for row in rows}
    assert {*found} == {row['name'] for row in expected} and len(found) == len(rows)
    for row in expected:
        assert found[row['name']]['prediction'] == row['prediction']
        # The position in a batch changes the last digits.
        assert float(found[row['name']]['confidence']) == pytest.approx(float(row['confidence']), rel=1e-5)


def pack(path, names, folder):
    with tarfile.open(path, 'w') as archive:
        for name in names:
            archive.add(folder / name, name)


def given_as(kind, names, folder, place, monkeypatch):
    """Return the words (list) that name images in one of the ways that --predict takes."""
    lines = [f'{folder / name}' for name in names]
    texts = {
        'list': ('names.txt', '# images\n' + '\n'.join(lines) + '\n'),
        'list with targets': ('val.txt', ''.join(f'{line}\tyak\n' for line in lines)),
        'csv': ('images.csv', 'id,image,note\n' + ''.join(f'{k},{line},"a, b"\n' for k, line in enumerate(lines))),
        'jsonl': ('images.jsonl', ''.join(json.dumps({'image': line}) + '\n' for line in lines)),
    }
    if kind == 'files':
        return lines
    if kind == 'pattern':
        return [str(folder / 'val*.png')]
    if kind == 'shard':
        pack(place / 'images.tar', names, folder)
        return [str(place / 'images.tar')]
    if kind == 'standard input':
        monkeypatch.setattr(sys, 'stdin', io.StringIO('\n'.join(lines) + '\n'))
        return ['-']
    name, text = texts[kind]
    (place / name).write_text(text, encoding='utf-8')
    return [str(place / name)]


WAYS = ['files', 'pattern', 'list', 'list with targets', 'csv', 'jsonl', 'shard', 'standard input']


@pytest.mark.parametrize('kind', WAYS)
def test_each_way_to_name_images_gives_the_predictions_of_a_test(tested, predict_here, kind, tmp_path, monkeypatch):
    checkpoint, folder, expected = tested
    names = [row['name'] for row in expected]
    words = given_as(kind, names, folder, tmp_path, monkeypatch)
    result_dir = ('--result_dir', checkpoint.parent / 'ways' / kind.replace(' ', '_'))
    done = predict_here('--load_model_path', checkpoint, '--no_report', *result_dir, '--predict', *words)
    check_same(done.rows, expected)
    assert done.summary['damaged'] == '0'


def test_a_directory_with_worker_processes(tested, predict_here, tmp_path):
    checkpoint, folder, expected = tested
    for copy in range(6):
        for row in expected:
            target = tmp_path / 'photos' / str(copy) / row['name']
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(folder / row['name'])
    words = ['--num_workers', 2, '--predict', tmp_path / 'photos']
    done = predict_here('--load_model_path', checkpoint, *words)
    confidence = {row['name']: row['confidence'] for row in expected}
    assert [row['name'] for row in done.rows] == sorted(row['name'] for row in done.rows)
    assert len(done.rows) == 6 * len(expected)
    for row in done.rows:
        assert float(row['confidence']) == pytest.approx(float(confidence[Path(row['name']).name]), rel=1e-5)
        others = [float(row[f'confidence_{place}']) for place in (2, 3)]
        assert sum(others) + float(row['confidence']) == pytest.approx(1, rel=1e-5)
    counts = {name: sum(row['prediction'] == name for row in done.rows) for name in ('yak', 'ant', 'cat')}
    for name, count in counts.items():
        assert done.summary.get(f'count/{name}', '0') == str(count)
    assert f'predicted: {len(done.rows)}' in done.stdout
    assert (done.directory / 'report.html').is_file()
    assert done.directory.name == 'predict_photos_exp'


def test_a_few_are_printed_one_by_one_and_written_again_beside_the_first(tested, predict_here, tmp_path):
    checkpoint, folder, expected = tested
    words = ['--load_model_path', checkpoint, '--save_prefix', 'few', '--no_report', '--save_viz', '--predict']
    first = predict_here(*words, folder / 'val0.png', folder / 'val1.png')
    for row in expected[:2]:
        share = f'{float(row["confidence"]):.1%}'
        assert re.search(rf'val\d\.png  {row["prediction"]} {re.escape(share)}, ', first.stdout)
    drawn = [np.asarray(Image.open(path)) for path in sorted((first.directory / 'viz').iterdir())]
    assert len(drawn) == 2
    assert all(min(picture.shape[:2]) >= 112 for picture in drawn)
    again = predict_here(f'@{first.directory / "args.txt"}')
    assert again.rows == first.rows
    assert sorted(path.name for path in first.directory.iterdir() if 'pred' in path.name) == [
        'predictions.1.csv',
        'predictions.csv',
    ]
    assert predict_here(*words, folder / 'val0.png').directory.name == f'{first.directory.name}_2'


def test_damaged_files_are_listed_and_the_rest_is_done(tested, predict_here, tmp_path):
    checkpoint, folder, expected = tested
    photos = tmp_path / 'photos'
    photos.mkdir()
    content = (folder / 'val0.png').read_bytes()
    (photos / '0.png').write_bytes(content[: len(content) // 2])
    (photos / '1.png').write_bytes(content)
    (photos / '2.jpg').write_text('no image')
    (photos / 'readme.doc').write_text('left out')
    (tmp_path / 'list.txt').write_text('gone.png\nphotos/1.png\n')
    words = ['--load_model_path', checkpoint, '--predict', photos, tmp_path / 'list.txt']
    done = predict_here(*words)
    assert [row['name'] for row in done.rows] == [str(photos / '1.png'), 'photos/1.png']
    assert {row['confidence'] for row in done.rows} == {expected[0]['confidence']}
    damaged = dict(line.split('\t') for line in (done.directory / 'damaged.txt').read_text().splitlines())
    assert [*damaged] == [str(photos / '0.png'), str(photos / '2.jpg'), 'gone.png']
    assert damaged['gone.png'] == 'no such file'
    assert (done.summary['samples'], done.summary['damaged']) == ('2', '3')
    for name, why in damaged.items():
        assert f'  {name}: {why}' in done.stdout.splitlines()
    assert 'left out: 1 file (.doc 1)' in done.stdout
    assert '1.png' in (done.directory / 'report.html').read_text(encoding='utf-8')
    last = next(line for line in done.stdout.splitlines() if line.startswith('predicted: '))
    assert last.startswith('predicted: 2 images, ') and last.endswith(' per second, 3 images not readable')
    with contextlib.redirect_stdout(io.StringIO()):
        assert eval_py.main([*map(str, [*words, '--no_report']), '--device', 'cpu']) == 1
        assert eval_py.main([*map(str, [*words[:3], photos / '1.png', '--no_report']), '--device', 'cpu']) == 0


def test_nothing_that_can_be_read_leaves_nothing(tested, predict_here, tmp_path):
    checkpoint, _, _ = tested
    (tmp_path / 'bad.png').write_text('no image')
    words = ['--load_model_path', checkpoint, '--save_prefix', 'bad', '--predict']
    with pytest.raises(DanluError, match=r'none of 1 image could be read:\n  .*bad.png: not an image'):
        predict_here(*words, tmp_path / 'bad.png')
    (tmp_path / 'note.txt').write_text('Buy milk')
    with pytest.raises(DanluError, match=r'Buy: no such file\n\(read as a list, .*each line: .*note.txt\)'):
        predict_here(*words, tmp_path / 'note.txt')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(DanluError, match='empty: there is no image to predict; give a directory'):
        predict_here(*words, tmp_path / 'empty')
    assert not list(checkpoint.parent.glob('best/predict_*_bad'))


def test_masks_are_those_of_a_test(mask_run, eval_here, predict_here):
    checkpoint = mask_run.directory / 'best.pth'
    test = eval_here('--load_model_path', checkpoint, '--save_outputs')
    folder = Path(test.head['list']).parent
    images = sorted(path for path in folder.glob('val*.png') if 'mask' not in path.name)
    words = ['--load_model_path', checkpoint, '--save_outputs', '--save_viz', '--predict', *images]
    done = predict_here(*words)
    for row in done.rows:
        image = Path(row['name'])
        mask = np.asarray(Image.open(done.directory / row['output']))
        assert (mask == np.asarray(Image.open(test.directory / 'outputs' / image.name))).all()
        for label in range(3):
            assert float(row[f'share/{label}']) == pytest.approx((mask == label).mean(), abs=1e-6)
    assert len(done.rows) == len(images) == len(list((done.directory / 'viz').iterdir()))


def test_the_margins_of_pad_do_not_count(mask_run, predict_here, tmp_path):
    Image.new('RGB', (24, 10), (200, 10, 10)).save(tmp_path / 'wide.png')
    words = ['--load_model_path', mask_run.directory / 'best.pth', '--fit', 'pad', '--save_outputs', '--no_report']
    done = predict_here(*words, '--save_prefix', 'pad', '--predict', tmp_path / 'wide.png')
    mask = np.asarray(Image.open(done.directory / done.rows[0]['output']))
    assert mask.shape == (10, 24)
    shares = [float(done.rows[0][f'share/{label}']) for label in range(3)]
    assert shares == pytest.approx([(mask == label).mean() for label in range(3)], abs=1e-6)


@pytest.fixture(scope='module')
def table_run(train_here, tmp_path_factory):
    """Return a regression on a table of two features, and its validation file."""
    folder, random = tmp_path_factory.mktemp('table'), np.random.default_rng(0)
    for split in ('train', 'val'):
        rows = ''.join(f'{a:.4f},{b:.4f},{a + b:.4f}\n' for a, b in random.normal(size=(30, 2)))
        (folder / f'{split}.csv').write_text('rooms,size,price\n' + rows)
    words = ['--train_list', folder / 'train.csv', '--val_list', folder / 'val.csv', '--checkpoints_dir', folder]
    words += ['--task', 'regression', '--data_type', 'array', '--model_type', 'mlp', '--epochs', 1]
    return train_here(*words).directory / 'best.pth', folder / 'val.csv'


def test_numbers_of_a_table_with_and_without_targets(table_run, eval_here, predict_here, tmp_path):
    checkpoint, table = table_run
    expected = [row['prediction'] for row in rows_of(eval_here('--load_model_path', checkpoint))]
    lines = table.read_text().splitlines()
    (tmp_path / 'new.csv').write_text('\n'.join(line.rpartition(',')[0] for line in lines) + '\nx,1\n')
    features = np.array([line.split(',')[:2] for line in lines[1:]], float)
    np.savez(tmp_path / 'new.npz', features=features)
    for path in (table, tmp_path / 'new.csv', tmp_path / 'new.npz'):
        done = predict_here('--load_model_path', checkpoint, '--save_prefix', path.suffix[1:], '--predict', path)
        assert [row['prediction'] for row in done.rows] == expected
        assert done.rows[0]['name'] == (f'{path}:0' if path.suffix == '.npz' else f'{path}:2')
        numbers = np.array(expected, float)
        assert float(done.summary['mean/price']) == pytest.approx(numbers.mean(), rel=1e-5)
        assert float(done.summary['max/price']) == pytest.approx(numbers.max(), rel=1e-5)
    damaged = predict_here('--load_model_path', checkpoint, '--predict', tmp_path / 'new.csv').directory / 'damaged.txt'
    assert damaged.read_text().startswith(f"{tmp_path / 'new.csv'}:32\tcolumn 'rooms': 'x' is not a number")
    with pytest.raises(DanluError, match='1 columns of features instead of 2'):
        (tmp_path / 'one.csv').write_text('1\n2\n')
        predict_here('--load_model_path', checkpoint, '--predict', tmp_path / 'one.csv')
    with pytest.raises(DanluError, match='this network takes feature vectors'):
        predict_here('--load_model_path', checkpoint, '--predict', tmp_path)


def test_restored_images_are_those_of_a_test(train_here, eval_here, predict_here, tmp_path):
    random = np.random.default_rng(0)
    for index in range(4):
        Image.fromarray(random.integers(0, 255, (16, 16, 3), np.uint8)).save(tmp_path / f'{index}.png')
    (tmp_path / 'list.txt').write_text(''.join(f'{k}.png {k}.png\n' for k in range(4)))
    lists = ['--train_list', tmp_path / 'list.txt', '--val_list', tmp_path / 'list.txt', '--checkpoints_dir', tmp_path]
    model = ['--model_type', 'unet', '--model_args', 'width=4', 'depth=1', '--batch_size', 4, '--num_workers', 0]
    run = train_here('--task', 'restoration', '--data_type', 'pairs', *lists, *model, '--epochs', 1)
    checkpoint = run.directory / 'best.pth'
    test = eval_here('--load_model_path', checkpoint, '--save_outputs')
    words = ['--load_model_path', checkpoint, '--save_outputs', '--save_viz', '--predict', tmp_path / '?.png']
    done = predict_here(*words)
    assert [Path(row['name']).name for row in done.rows] == [f'{k}.png' for k in range(4)]
    for row in done.rows:
        restored = np.asarray(Image.open(done.directory / row['output']))
        assert (restored == np.asarray(Image.open(test.directory / 'outputs' / Path(row['name']).name))).all()
    assert 'output' in (done.directory / 'report.html').read_text(encoding='utf-8')


def test_sets_of_labels(train_here, eval_here, predict_here, tmp_path):
    random, lines = np.random.default_rng(0), []
    for index in range(8):
        Image.fromarray(random.integers(0, 255, (12, 12, 3), np.uint8)).save(tmp_path / f'{index}.png')
        lines.append(f'{index}.png {("-", "drama", "drama,comedy")[index % 3]}\n')
    (tmp_path / 'films.txt').write_text(''.join(lines))
    lists = [
        '--train_list',
        tmp_path / 'films.txt',
        '--val_list',
        tmp_path / 'films.txt',
        '--checkpoints_dir',
        tmp_path,
    ]
    words = ['--task', 'multilabel', '--data_type', 'list', '--model_type', 'mlp', '--epochs', 1, '--num_workers', 0]
    checkpoint = train_here(*words, *lists).directory / 'best.pth'
    expected = rows_of(eval_here('--load_model_path', checkpoint))
    done = predict_here('--load_model_path', checkpoint, '--predict', tmp_path / 'films.txt')
    for row, other in zip(done.rows, expected, strict=True):
        assert row == {name: other[name] for name in ('name', 'prediction', 'score/drama', 'score/comedy')}


def test_the_page_shows_a_bounded_selection(tested, predict_here, tmp_path, monkeypatch):
    monkeypatch.setattr(gallery_page, 'MAX_RANDOM_CARDS', 4)
    monkeypatch.setattr(gallery_page, 'MAX_UNSURE_CARDS', 2)
    checkpoint, folder, expected = tested
    done = predict_here('--load_model_path', checkpoint, '--save_prefix', 'page', '--predict', folder / 'val*.png')
    text = (done.directory / 'report.html').read_text(encoding='utf-8')
    data = json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)[1])
    assert 4 <= len(data) <= 6
    assert text.count('<figure class="card"') == len(data) == text.count('data:image/')
    shown = {Path(sample['name']).name: sample['numbers']['confidence'] for sample in data}
    confidence = {row['name']: float(row['confidence']) for row in expected}
    assert shown == pytest.approx({name: confidence[name] for name in shown})
    assert {*sorted(confidence, key=confidence.get)[:2]} <= {*shown}


@pytest.mark.slow_after(1, 'several tests each')
@pytest.mark.parametrize('tta', ['flip', 'five_crop'])
def test_tests_and_predictions_with_augmentation_agree_and_say_so(tested, eval_here, predict_here, tta):
    checkpoint, folder, plain = tested
    words = ['--load_model_path', checkpoint, '--tta', tta, '--num_workers', 0]
    test = eval_here(*words)
    assert [row['confidence'] for row in rows_of(test)] != [row['confidence'] for row in plain]
    assert test.head['test-time augmentation'] == tta
    right = sum(float(row['target'] == row['prediction']) for row in rows_of(test))
    assert float(test.values['acc']) == pytest.approx(right / len(plain))
    done = predict_here(*words, '--save_prefix', tta, '--predict', folder / 'val*.png')
    assert done.summary['test-time augmentation'] == tta
    check_same(done.rows, rows_of(test))


def test_masks_with_augmentation_have_the_size_of_the_images(mask_run, predict_here, mask_data):
    folder = Path(mask_data[mask_data.index('--val_list') + 1]).parent
    words = [
        '--load_model_path',
        mask_run.directory / 'best.pth',
        '--tta',
        'multiscale',
        '--save_outputs',
        '--no_report',
    ]
    done = predict_here(*words, '--save_prefix', 'tta', '--predict', folder / 'val0.png')
    assert Image.open(done.directory / done.rows[0]['output']).size == (24, 20)
