"""scripts/split.py: the lists that it writes train, and no image, group or copy is in two of them."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.split import main
from utils.base.errors import DanluError
from utils.base.registry import PROJECT

CLASSES = {'cat': 24, 'dog': 12}


def picture(random):
    """Return an image (PIL) of 6 x 8 coloured squares."""
    return Image.fromarray(np.kron(random.integers(0, 256, (6, 8, 3)), np.ones((10, 10, 1))).astype(np.uint8))


@pytest.fixture
def photos(tmp_path):
    """Return a directory with two classes of images; the name of each begins with the day, of which there are six."""
    random = np.random.default_rng(0)
    for name, count in CLASSES.items():
        (tmp_path / 'photos' / name).mkdir(parents=True)
        for index in range(count):
            picture(random).save(tmp_path / 'photos' / name / f'day{index % 6}_{name}{index}.png')
    return tmp_path / 'photos'


@pytest.fixture
def split(capsys):
    """Return a function: words of the command line -> exit status, lines that were printed."""

    def run(*words):
        with pytest.raises(SystemExit) as end:
            main([*map(str, words)])
        return end.value.code, capsys.readouterr().out.splitlines()

    return run


def read(path):
    """Return the images (paths, resolved) and targets of a list (dict), and its comment."""
    comment, *lines = path.read_text(encoding='utf-8').splitlines()
    pairs = [line.split('\t') for line in lines if not line.startswith('image\t')]
    return {(path.parent / image).resolve(): ' '.join(targets) for image, *targets in pairs}, comment


def lists_of(folder):
    """Return the samples (dict) of each list below a directory: {'train.txt': {image: target}}."""
    return {path.relative_to(folder).as_posix(): read(path)[0] for path in sorted(folder.rglob('*.txt'))}


def counts(samples):
    return [list(samples.values()).count(name) for name in CLASSES]


def test_a_dot_in_the_name_of_a_directory_is_no_extension(split, photos):
    for name in ('2024.01', '2024.02'):
        shutil.copytree(photos, photos.parent / name)
        code, _ = split(photos.parent / name)
        assert code == 0 and (photos.parent / f'{name}_split' / 'train.txt').is_file()


def test_three_lists_have_the_shares_of_each_class_and_no_image_in_common(split, photos):
    code, lines = split(photos, '--val', 0.25, '--test', 0.25)
    lists = lists_of(photos.parent / 'photos_split')
    assert code == 0
    assert {name: counts(samples) for name, samples in lists.items()} == {
        'train.txt': [12, 6], 'val.txt': [6, 3], 'test.txt': [6, 3]}  # fmt: skip
    images = [image for samples in lists.values() for image in samples]
    assert sorted(images) == sorted(photos.rglob('*.png'))
    assert all(image.parent.name == target for samples in lists.values() for image, target in samples.items())
    assert re.fullmatch(r'all +18 \(50.0%\) +9 \(25.0%\) +9 \(25.0%\)', lines[2])
    assert lines[0] == 'no equal or similar images'


def test_the_same_seed_gives_the_same_lists_and_another_seed_others(split, photos, tmp_path):
    for seed, name in ((0, 'a'), (0, 'b'), (1, 'c')):
        split(photos, '--val', 0.25, '--seed', seed, '--out', tmp_path / name)
    a, b, c = (lists_of(tmp_path / name) for name in 'abc')
    assert a == b
    assert a != c


def test_the_printed_command_trains_on_the_lists(split, photos, train_here, tmp_path):
    _, lines = split(photos, '--val', 0.25)
    words = lines[-1].removeprefix('train with: python train.py ').split()
    run = train_here(*words, '--image_size', 16, '--epochs', 1, '--checkpoints_dir', tmp_path / 'runs')
    assert '27 to train on, 9 to validate' in run.stdout


def test_copies_of_an_image_are_in_one_list_and_told(split, photos, tmp_path):
    originals = sorted((photos / 'cat').iterdir())
    for number, original in enumerate(originals[:8]):
        with Image.open(original) as image:
            image.resize((40, 30)).save(photos / 'cat' / f'small{number}.jpg', quality=60)
    for number, original in enumerate(originals[8:10]):
        (photos / 'dog' / f'copy{number}.png').write_bytes(original.read_bytes())
    code, lines = split(photos, '--val', 0.3, '--test', 0.3)
    parts = {image.name: name for name, samples in lists_of(tmp_path / 'photos_split').items() for image in samples}
    twins = [*((originals[n].name, f'small{n}.jpg') for n in range(8)), *((originals[8 + n].name, f'copy{n}.png')
             for n in range(2))]  # fmt: skip
    assert code == 0
    assert [pair for pair in twins if parts[pair[0]] != parts[pair[1]]] == []
    assert lines[0].startswith('equal images: 4 in 2 groups, each in one list (the first: cat/')
    assert lines[1].startswith('similar images: 16 in 8 groups, each in one list')
    assert lines[2].startswith('warning: 2 groups of equal images with different targets (cat/')
    with open(tmp_path / 'photos_split' / 'duplicates.csv', newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert sorted(row['kind'] for row in rows) == ['equal'] * 4 + ['similar'] * 16
    groups = {}
    for row in rows:
        assert parts[row['image'].partition('/')[2]] == f'{row["part"]}.txt'
        groups.setdefault(row['group'], []).append(row['image'].partition('/')[2])
    assert sorted(map(sorted, groups.values())) == sorted(map(sorted, twins))


def test_without_the_check_copies_are_split_like_other_images(split, photos, tmp_path):
    for original in sorted((photos / 'cat').iterdir()):
        original.with_name(f'copy_{original.name}').write_bytes(original.read_bytes())
    split(photos, '--val', 0.5, '--duplicates', 'ignore')
    parts = {image.name: name for name, samples in lists_of(tmp_path / 'photos_split').items() for image in samples}
    assert any(parts[name] != parts[f'copy_{name}'] for name in parts if f'copy_{name}' in parts)
    assert not (tmp_path / 'photos_split' / 'duplicates.csv').exists()


def test_groups_by_a_regular_expression_stay_together(split, photos, tmp_path):
    (photos / 'cat' / 'stray.png').write_bytes((photos / 'cat' / 'day0_cat0.png').read_bytes()[:-1] + b'\x82')
    _, lines = split(photos, '--val', 0.3, '--group', r'(day\d)_')
    days = [{image.name[:4] for image in samples if image.name != 'stray.png'}
            for samples in lists_of(tmp_path / 'photos_split').values()]  # fmt: skip
    assert days[0] | days[1] == {f'day{number}' for number in range(6)}
    assert not days[0] & days[1]
    assert len(days[1]) == 2
    assert lines[0] == 'groups by --group: 7, of 1 to 6 samples'
    assert lines[1].startswith('--group matches no part of 1 of 37 names, such as cat/stray.png')


def test_groups_by_a_column_of_a_table_and_several_targets(split, photos, tmp_path):
    rows = [(image.relative_to(tmp_path).as_posix(), index, 2 * index, f'patient {index // 4}')
            for index, image in enumerate(sorted(photos.rglob('*.png')))]  # fmt: skip
    path = tmp_path / 'scans.csv'
    path.write_text('image,age,weight,patient\n' + ''.join(f'{",".join(map(str, row))}\n' for row in rows))
    _, lines = split(path, '--val', 0.25, '--group', 'patient')
    lists = lists_of(tmp_path / 'scans_split')
    patient = {(tmp_path / row[0]).resolve(): row[3] for row in rows}
    train, val = ({patient[image] for image in samples} for samples in lists.values())
    assert not train & val
    assert len(lists['val.txt']) in (8, 12)
    assert {image: target for samples in lists.values() for image, target in samples.items()} == {
        (tmp_path / row[0]).resolve(): f'{row[1]} {row[2]}' for row in rows}  # fmt: skip
    assert 'image\tage\tweight\n' in (tmp_path / 'scans_split' / 'val.txt').read_text()
    assert 'groups by --group: 9, of 4 to 4 samples' in lines


def test_masks_keep_their_place_relative_to_the_lists(split, mask_data, tmp_path):
    path = mask_data[mask_data.index('--train_list') + 1]
    split(path, '--val', 0.3, '--out', tmp_path / 'lists')
    for samples in lists_of(tmp_path / 'lists').values():
        assert samples
        assert all((tmp_path / 'lists' / mask).is_file() for mask in samples.values())


def test_each_sample_is_in_the_validation_list_of_one_fold(split, photos, tmp_path):
    _, lines = split(photos, '--folds', 4, '--test', 0.25)
    lists = lists_of(tmp_path / 'photos_split')
    rest = set(photos.rglob('*.png')) - set(lists['test.txt'])
    folds = [(lists[f'fold_{fold}/train.txt'], lists[f'fold_{fold}/val.txt']) for fold in range(1, 5)]
    assert counts(lists['test.txt']) == [6, 3]
    assert sorted(image for _, val in folds for image in val) == sorted(rest)
    for train, val in folds:
        assert set(train) | set(val) == rest
        assert not set(train) & set(val)
        assert counts(val)[0] in (4, 5)
        assert counts(val)[1] in (2, 3)
    assert lines[-1] == f'train with: bash scripts/crossval.sh 4 {tmp_path / "photos_split"}'


@pytest.mark.slow('trains two networks')
def test_crossval_trains_on_the_folds_and_joins_their_predictions(split, photos, tmp_path):
    split(photos, '--folds', 2)
    words = ['--model_type', 'cifar_cnn', '--image_size', '16', '--epochs', '1', '--checkpoints_dir', tmp_path / 'runs']
    environment = {
        **os.environ,
        'VIRTUAL_ENV': sys.prefix,
        'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
    }
    script = [shutil.which('bash'), PROJECT / 'scripts' / 'crossval.sh', '2', 'photos_split', *words, '--device', 'cpu']
    done = subprocess.run(
        script, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert 'all 36 samples, each predicted by the run that was not trained on it:' in done.stdout
    with open(tmp_path / 'runs' / 'cifar_cnn_exp_folds' / 'predictions.csv', newline='', encoding='utf-8-sig') as file:
        rows = list(csv.DictReader(file))
    assert {(photos.parent / 'photos_split' / 'fold_1' / row['name']).resolve() for row in rows} == {
        *photos.rglob('*.png')}  # fmt: skip
    assert (tmp_path / 'runs' / 'cifar_cnn_exp_folds' / 'report.html').is_file()


def test_unreadable_images_stop_it_or_are_left_out(split, photos, tmp_path):
    (photos / 'dog' / 'day1_dog1.png').write_bytes(b'no image')
    with pytest.raises(DanluError, match=r'cannot be read: 1; fix or remove them, or add --skip_bad\n.*day1_dog1'):
        main([str(photos)])
    assert not (tmp_path / 'photos_split').exists()
    code, lines = split(photos, '--skip_bad')
    assert code == 1
    assert 'images that cannot be read: 1' in lines
    assert sum(map(len, lists_of(tmp_path / 'photos_split').values())) == 35


def test_names_of_directories_that_are_numbers_stay_names(split, photos, tmp_path):
    (photos / 'cat').rename(photos / '30')
    (photos / 'dog').rename(photos / '7')
    assert split(photos)[1][-1].endswith('--class_names 7 30')


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--folds', 2, '--val', 0.1], 'leave out --val'),
        (['--val', 0.5, '--test', 0.5], 'leave nothing for training'),
        (['--skip_bad', '--duplicates', 'ignore'], 'no image is read'),
        (['--data_root', '.'], 'PATH is a directory'),
    ],
)
def test_options_that_exclude_each_other(photos, words, message, capsys):
    with pytest.raises(SystemExit, match='2'):
        main([str(photos), *map(str, words)])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--group', '(day'], 'not a valid regular expression'),
        (['--group', 'month'], 'it matches no name of .*, such as cat/day0_cat0.png'),
        (['--folds', 40], 'there are only 36 groups'),
        (['--group', 'day', '--val', 0.2], 'val would be empty: 36 samples in 1 group'),
        (['--folds', 3, '--group', '^(cat|dog/day.)'], 'all 24 samples of class cat are in one group'),
    ],
)
def test_what_cannot_be_split_is_refused(photos, words, message, tmp_path):
    with pytest.raises(DanluError, match=message):
        main([str(photos), *map(str, words)])
    assert not (tmp_path / 'photos_split').exists()


def test_a_table_of_numbers_is_refused(tmp_path):
    (tmp_path / 'houses.csv').write_text('rooms,size,price\n1,2,3\n2,3,4\n')
    with pytest.raises(DanluError, match=r'names no image .*; a table of numbers is split by --val_split of train.py'):
        main([str(tmp_path / 'houses.csv')])


def test_directories_that_are_split_already_are_refused(photos):
    for name, part in (('cat', 'train'), ('dog', 'val')):
        (photos / name).rename(photos / part)
    with pytest.raises(DanluError, match='is split already: it has the directories train, val; give one of them'):
        main([str(photos)])


def test_lists_are_never_written_over(split, photos):
    split(photos)
    with pytest.raises(DanluError, match=r'photos_split/train.txt exists already'):
        main([str(photos)])


def test_targets_that_are_no_classes_are_not_stratified(photos, tmp_path):
    lines = [f'{image}\t{index}.5\n' for index, image in enumerate(sorted(photos.rglob('*.png')))]
    (tmp_path / 'ages.txt').write_text(''.join(lines))
    with pytest.raises(DanluError, match='36 different targets of 36 samples, such as'):
        main([str(tmp_path / 'ages.txt'), '--stratify'])
