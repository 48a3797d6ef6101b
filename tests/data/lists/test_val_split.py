"""--val_split: which samples are taken, the lists in the run's directory, and who reads them."""

import csv
import re
import shutil
from argparse import Namespace
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.lists.val_split import draw_validation, find_split_lists, train_and_val, write_lists
from options import parse_train_args, train_args
from train import Trainer
from utils.base.errors import DanluError
from utils.options.validation_options import is_split_list

KINDS = {'cat': 12, 'dog': 6, 'yak': 1}


def options_of(share, seed=0):
    return Namespace(val_split=share, seed=seed, train_list='photos')


# --- the draw


@pytest.mark.parametrize('share', [0.1, 0.2, 0.37, 0.5])
def test_each_class_gives_the_same_share_and_keeps_a_sample(share):
    groups = np.repeat([0, 1, 2, 3], [100, 40, 7, 1])
    chosen = draw_validation(groups, len(groups), options_of(share))
    assert len(chosen) == len(set(chosen.tolist())) == round(share * len(groups))
    assert chosen.tolist() == sorted(chosen.tolist())
    counts = np.bincount(groups[chosen], minlength=4)
    assert np.abs(counts - share * np.bincount(groups)).max() < 1.01
    assert counts[3] == 0


def test_the_draw_is_a_function_of_the_seed_alone():
    groups = np.arange(60) % 3
    one, same, other = (draw_validation(groups, 60, options_of(0.2, seed)) for seed in (0, 0, 1))
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    train, val = train_and_val(one, 60)
    assert sorted([*train.tolist(), *val.tolist()]) == list(range(60))


def test_without_classes_any_sample_may_be_taken():
    assert len(draw_validation(None, 10, options_of(0.25))) == 2
    assert len(draw_validation(None, 2, options_of(0.01))) == 1
    assert len(draw_validation(None, 3, options_of(0.99))) == 2


def test_classes_of_one_sample_cannot_be_split():
    with pytest.raises(DanluError, match=r'--val_split 0\.5: photos has 3 samples, too few to split'):
        draw_validation(np.arange(3), 3, options_of(0.5))
    with pytest.raises(DanluError, match='has 1 sample, too few'):
        draw_validation(None, 1, options_of(0.5))


# --- the lists


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Return a directory with a sub-directory per class, of KINDS."""
    folder = tmp_path_factory.mktemp('data') / 'my photos'
    random = np.random.default_rng(0)
    for kind, count in KINDS.items():
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 255, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / kind / f'{number} a.png')
    return folder


def samples_in(path):
    """Return the (path, target) pairs in a list that --val_split wrote."""
    lines = path.read_text().splitlines()
    assert lines[0].startswith('# ')
    return [tuple(line.split('\t')) for line in lines[1:]]


def words_for(photos, folder):
    return ['--data_type', 'folder', '--train_list', photos, '--val_split', 0.2, '--model_type', 'mlp', '--model_args',
            'hidden=4', '--num_workers', 0, '--checkpoints_dir', folder, '--epochs', 1]  # fmt: skip


@pytest.fixture(scope='module')
def run(photos, tmp_path_factory, train_here):
    return train_here(*words_for(photos, tmp_path_factory.mktemp('runs')))


def test_the_lists_say_which_sample_is_in_which_part(run, photos):
    train, val = map(samples_in, find_split_lists(run.directory))
    assert (len(train), len(val)) == (15, 4)
    assert sorted(path for path, _ in [*train, *val]) == sorted(map(str, photos.rglob('*.png')))
    assert all(Path(path).parent.name == kind for path, kind in [*train, *val])
    assert Counter(kind for _, kind in val) == {'cat': 3, 'dog': 1}
    head = (run.directory / 'val_split' / 'val.txt').read_text().splitlines()[0]
    assert head == f'# 4 of 19 samples of {photos}, by --val_split 0.2 --seed 0'
    assert 'data: 15 to train on, 4 to validate' in run.stdout
    assert f'the lists of {photos} are in {run.directory}/val_split' in run.stdout
    assert 'no sample to validate of: yak' in run.stdout
    text = (run.directory / 'args.txt').read_text()
    assert '\n--val_split=0.2' in text and f'\n--train_list={photos}' in text.replace('"', '')
    assert f'\n# --val_list="{run.directory}/val_split/val.txt"' in text or f'\n# --val_list={run.directory}' in text


def test_a_test_takes_the_same_part_also_where_the_run_was_moved(run, eval_here, history_of, tmp_path):
    test = eval_here('--load_model_path', run.directory / 'best.pth')
    assert test.head['samples'] == '4'
    assert float(test.values['loss']) == float(history_of(run)[0]['val/loss'])
    moved = tmp_path / 'moved'
    shutil.copytree(run.directory, moved)
    away = run.directory.with_name('away')
    run.directory.rename(away)
    try:
        again = eval_here('--load_model_path', moved / 'best.pth', '--save_prefix', 'again')
    finally:
        away.rename(run.directory)
    assert again.head['list'] == str(moved / 'val_split' / 'val.txt')
    assert again.values == test.values
    assert 'shared' not in test.stdout


def test_a_repeated_run_makes_the_same_split_and_a_resumed_one_keeps_it(run, photos, train_here, tmp_path):
    again = train_here(f'@{run.directory / "args.txt"}', '--checkpoints_dir', tmp_path)
    assert [samples_in(path) for path in find_split_lists(again.directory)] == list(
        map(samples_in, find_split_lists(run.directory))
    )
    beside = photos / 'cat' / 'new.png'
    shutil.copy(photos / 'cat' / '0 a.png', beside)
    try:
        on = train_here('--resume', again.directory, '--epochs', 2)
    finally:
        beside.unlink()
    assert 'data: 15 to train on, 4 to validate' in on.stdout
    assert 'changed since' not in on.stdout
    assert '\n--val_split=0.2' in (again.directory / 'args.txt').read_text()


def test_the_same_command_again_is_known_as_the_same_run(run, photos, train_here):
    again = train_here(*words_for(photos, run.directory.parent))
    assert f'same options, code and files (names and sizes) as an earlier run: {run.directory}' in again.stdout


def test_a_list_of_ones_own_replaces_the_split_of_a_record(run, photos, capsys):
    args = parse_train_args([f'@{run.directory / "args.txt"}', '--val_list', str(photos)])
    assert (args.val_split, args.val_list) == (None, str(photos))
    assert '--val_split 0.2 of the record is ignored, as --val_list is given' in args.past
    with pytest.raises(SystemExit):
        parse_train_args(['--resume', str(run.directory), '--val_split', '0.3'])
    assert 'argument --val_split: cannot change in a resumed run (it is 0.2)' in capsys.readouterr().err


def test_a_notebook_gets_its_directory_before_the_data(photos, tmp_path):
    args = train_args(data_type='folder', train_list=photos, val_split=0.3, model_type='mlp', checkpoints_dir=tmp_path,
                      device='cpu', num_workers=0)  # fmt: skip
    trainer = Trainer(args)
    trainer.close()
    assert is_split_list(args.val_list) and args.train_list == str(photos)
    assert len(trainer.val_loader.dataset) == 6


def written(args, folder, **changes):
    """Write the lists of options into a folder and return their paths."""
    folder.mkdir(exist_ok=True)
    args.model_dir = str(folder)
    vars(args).update(changes)
    write_lists(args)
    return find_split_lists(folder)


def options_for(*words):
    return parse_train_args([*map(str, words), '--val_split', '0.25'])


def test_masks_and_pairs_are_named_by_their_own_paths(mask_data, tmp_path):
    words = [word for word in mask_data if word not in mask_data[4:6]]
    args = options_for(*words)
    train, val = map(samples_in, written(args, tmp_path / 'run'))
    assert (len(train), len(val)) == (5, 2)
    assert all(Path(image).with_name(Path(image).stem + '_mask.png') == Path(mask) for image, mask in [*train, *val])


def test_numbers_keep_the_names_of_their_columns(photos, tmp_path):
    lines = [f'cat/{number} a.png,{number}.5,{number % 2}' for number in range(8)]
    (photos / 'list.csv').write_text('\n'.join(['file,price,size', *lines]))
    args = options_for('--data_type', 'list', '--task', 'regression', '--train_list', photos / 'list.csv')
    (photos / 'list.csv').rename(tmp_path / 'list.csv')
    args.train_list, args.data_root = str(tmp_path / 'list.csv'), str(photos)
    train, val = written(args, tmp_path / 'run')
    assert train.read_text().splitlines()[1] == 'image\tprice\tsize'
    assert len(samples_in(train)) == 1 + 6
    from data.list_dataset import ListDataset

    listing = ListDataset.read(val, None, None, True)
    assert listing.target_names == ['price', 'size']
    expected = {str(photos / line.split(',')[0]): line.split(',')[1:] for line in lines}
    for index in range(len(listing)):
        assert listing.targets[index].split() == expected[listing.image_path(index)]


def test_tables_are_split_by_rows(tmp_path):
    rows = [['', 'a b', 'c', 'kind'], *([str(n), f'{n}.25', '1e3', 'cat' if n % 4 else 'dog, wild'] for n in range(12))]
    with open(tmp_path / 'all.csv', 'w', newline='') as file:
        csv.writer(file).writerows(rows)
    args = options_for('--data_type', 'array', '--train_list', tmp_path / 'all.csv', '--model_type', 'mlp')
    parts = []
    for path in written(args, tmp_path / 'run'):
        with open(path, newline='') as file:
            found = list(csv.reader(file))
        assert found[0] == rows[0]
        parts.append(found[1:])
    assert sorted(map(tuple, parts[0] + parts[1])) == sorted(map(tuple, rows[1:]))
    assert Counter(row[-1] for row in parts[1]) == {'cat': 2, 'dog, wild': 1}


def test_arrays_are_split_with_all_that_they_hold(tmp_path):
    np.savez(tmp_path / 'all.npz', x=np.arange(24.0).reshape(12, 2), y=np.arange(12.0), scale=np.array(3.0))
    words = ['--data_type', 'array', '--task', 'regression', '--train_list', tmp_path / 'all.npz']
    train, val = written(options_for(*words, '--model_type', 'mlp'), tmp_path / 'run')
    with np.load(train) as one, np.load(val) as other:
        assert one['scale'] == other['scale'] == 3
        assert (len(one['y']), len(other['y'])) == (9, 3)
        assert sorted([*one['y'], *other['y']]) == list(range(12))
        assert np.array_equal(other['x'][:, 0], 2 * other['y'])


def test_a_table_trains_on_its_part_and_is_scaled_by_it_alone(tmp_path, train_here, eval_here, history_of):
    lines = ['a,b,y', *(f'{n},{n * n % 7},{2 * n}' for n in range(20))]
    (tmp_path / 'all.csv').write_text('\n'.join(lines))
    words = ['--data_type', 'array', '--task', 'regression', '--train_list', tmp_path / 'all.csv', '--val_split', 0.25]
    words += ['--model_type', 'mlp', '--model_args', 'hidden=4', '--epochs', 1, '--checkpoints_dir', tmp_path / 'runs']
    run = train_here(*words)
    with open(run.directory / 'val_split' / 'train.csv', newline='') as file:
        values = [float(row['a']) for row in csv.DictReader(file)]
    text = (run.directory / 'args.txt').read_text()
    mean = next(line for line in text.splitlines() if line.startswith('# --mean ')).split()[2]
    assert len(values) == 15 and float(mean) == pytest.approx(np.mean(values))
    test = eval_here('--load_model_path', run.directory / 'best.pth')
    assert float(test.values['rmse']) == float(history_of(run)[0]['val/rmse'])


def test_a_picture_that_is_named_several_times_stays_in_one_part(photos, tmp_path):
    """As where rare classes are repeated in a list."""
    names = [f'{kind}/{number} a.png' for kind in ('cat', 'dog') for number in range(6)]
    lines = [f'{name}\t{name[:3]}' for name in [*names, *(f'dog/./{number} a.png' for number in range(6)), *names]]
    (tmp_path / 'list.txt').write_text('\n'.join(lines))
    args = options_for('--data_type', 'list', '--train_list', tmp_path / 'list.txt', '--data_root', photos)
    train, val = ([Path(path).parts[-2:] for path, _ in samples_in(each)] for each in written(args, tmp_path / 'run'))
    assert len(train) + len(val) == len(lines) and len(set(val)) == 3
    assert not {*train} & {*val}
    assert Counter(kind for kind, _ in {*val}) in ({'cat': 2, 'dog': 1}, {'cat': 1, 'dog': 2})


@pytest.fixture
def faulty(photos, tmp_path):
    """Return a directory as `photos`, in which half of the dogs are no pictures."""
    folder = tmp_path / 'faulty'
    shutil.copytree(photos, folder)
    for number in range(3):
        (folder / 'dog' / f'{number} a.png').write_text('no image')
    return folder


@pytest.mark.parametrize('form', ['folder', 'list'])
def test_what_skip_bad_leaves_out_is_not_validated_on(form, faulty, tmp_path, train_here):
    words = words_for(faulty, tmp_path / 'runs')
    if form == 'list':
        lines = [f'{path}\t{path.parent.name}' for path in sorted(faulty.rglob('*.png'))]
        (tmp_path / 'list.txt').write_text('\n'.join(['only-one-column', *lines]))
        words = [tmp_path / 'list.txt' if word == faulty else form if word == 'folder' else word for word in words]
    run = train_here(*words, '--skip_bad')
    train, val = map(samples_in, find_split_lists(run.directory))
    assert (len(train), len(val)) == (16, 3)
    assert all(Image.open(path) for path, _ in val)
    assert '3 of 16 samples left out' in run.stdout
    assert 'data: 13 to train on, 3 to validate' in run.stdout
    skipped = (run.directory / 'skipped.txt').read_text()
    assert all(f'{number} a.png' in skipped for number in range(3))
    on = train_here('--resume', run.directory, '--epochs', 2)
    assert 'epoch 2/2' in on.stdout


def test_a_fault_in_a_part_names_the_training_data(faulty, tmp_path):
    args = parse_train_args([*map(str, words_for(faulty, tmp_path / 'runs')), '--device', 'cpu'])
    with pytest.raises(
        DanluError, match=f'{re.escape(str(faulty))}, split by --val_split: the train part has [123] invalid entr'
    ) as said:
        Trainer(args)
    assert 'dog/' in str(said.value) and '--skip_bad' in str(said.value)
    assert 'val_split/' not in str(said.value), 'the lists are removed with the run'


def test_names_that_no_list_can_hold_are_refused(tmp_path):
    for kind in 'ab':
        (tmp_path / 'data' / kind).mkdir(parents=True)
        for number in range(3):
            Image.new('L', (4, 4)).save(tmp_path / 'data' / kind / f'{number}\t.png')
    args = options_for('--data_type', 'folder', '--train_list', tmp_path / 'data')
    with pytest.raises(DanluError, match=r'--val_split: .*cannot be written to a list, as it has a tab'):
        written(args, tmp_path / 'run')
