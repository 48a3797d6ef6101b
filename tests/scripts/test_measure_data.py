"""scripts/measure_data.py: what it prints is what numpy finds."""

import io
import tarfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from options import parse_train_args
from scripts.measure_data import main


@pytest.fixture
def measured(capsys):
    """Return a function: words of the command line -> exit status and what was printed (list of lines)."""

    def measured(*words):
        with pytest.raises(SystemExit) as end:
            main([*map(str, words)])
        return end.value.code, capsys.readouterr().out.splitlines()

    return measured


@pytest.fixture
def photos(tmp_path):
    """Return a directory of two classes with pictures of several sizes and modes, and what numpy finds in them."""
    random, pixels = np.random.default_rng(0), []
    for number, (height, width) in enumerate([(4, 6), (4, 6), (5, 8), (3, 3), (9, 7), (4, 6), (5, 8)]):
        picture = random.integers(0, 200, (height, width, 3)).astype(np.uint8) + np.uint8([0, 20, 50])
        if number == 3:
            picture[:] = picture[..., :1]  # grey
        pixels.append(picture.reshape(-1, 3))
        path = tmp_path / 'photos' / ('ape', 'bee')[number % 3 == 0] / f'{number}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture[..., 0] if number == 3 else picture).save(path)
    pixels = np.concatenate(pixels) / 255
    return tmp_path / 'photos', pixels.mean(0), pixels.std(0)


def values(line):
    return [float(word) for word in line.rpartition(': ')[2].split()]


def test_a_folder_is_measured_exactly(measured, photos):
    folder, mean, std = photos
    code, lines = measured(folder)
    assert code == 0
    assert lines[0] == f'{folder}: 7 images'
    assert lines[1] == 'sizes (width x height): 3x3 smallest, 6x4 median, 7x9 largest by area'
    assert lines[2] == 'modes: RGB 6, L 1'
    assert values(lines[3]) == pytest.approx(mean, abs=6e-7)
    assert values(lines[4]) == pytest.approx(std, abs=6e-7)
    assert lines[5:8] == ['classes: 2', '  ape: 4', '  bee: 3']
    words = lines[8].removeprefix('options: ').split()
    args = parse_train_args([*words, '--data_type', 'folder', '--train_list', str(folder), '--val_list', str(folder)])
    assert (args.mean, args.std) == ([round(x, 4) for x in mean], [round(x, 4) for x in std])
    assert args.image_size == [4, 6]


def test_lists_and_shards_give_what_the_folder_gives(measured, photos, tmp_path):
    folder = photos[0]
    expected = measured(folder)[1][1:]
    files = sorted(folder.glob('*/*.png'))
    listed = '\n'.join(f'{path.relative_to(folder)}\t{path.parent.name}' for path in files)
    (tmp_path / 'list.txt').write_text(listed)
    (tmp_path / 'lines.csv').write_text('image,label\n' + listed.replace('\t', ','))
    with tarfile.open(tmp_path / 'shard.tar', 'w') as archive:
        for path in files:
            archive.add(path, path.name)
            info = tarfile.TarInfo(f'{path.stem}.cls')
            info.size = 3
            archive.addfile(info, io.BytesIO(path.parent.name.encode()))
    assert measured(tmp_path / 'list.txt', '--data_root', folder)[1][1:] == expected
    with_names = [*expected[:-1], expected[-1] + ' --class_names ape bee']
    assert measured(tmp_path / 'lines.csv', '--data_root', folder)[1][1:] == with_names
    assert measured(tmp_path / 'shard.tar')[1][1:] == with_names


def test_one_channel(measured, photos, tmp_path):
    folder, mean, _ = photos
    line = measured(folder, '--channels', 1)[1][3]
    assert values(line) == pytest.approx([mean @ [0.299, 0.587, 0.114]], abs=0.003)
    for path in folder.glob('*/*.png'):
        with Image.open(path) as picture:
            grey = picture.convert('L')
        grey.save(path)
    lines = measured(folder)[1]
    assert lines[2] == 'modes: L 7'
    assert 'all images are grey: use --channels 1 to measure and train on one channel' in lines
    assert measured(folder, '--channels', 1)[1][-1].startswith('options: --channels 1 --mean ')


def test_masks_are_counted_by_pixels(measured, tmp_path):
    random, counts, lines = np.random.default_rng(1), Counter(), []
    for number in range(40):
        mask = random.choice([0, 1, 4, 9], (6, 5), p=[0.5, 0.2, 0.2, 0.1]).astype(np.uint8)
        counts.update(mask.flatten().tolist())
        Image.fromarray(random.integers(0, 256, (6, 5, 3), dtype=np.uint8)).save(tmp_path / f'{number}.png')
        Image.fromarray(mask).save(tmp_path / f'{number}m.png')
        lines.append(f'{number}.png {number}m.png')
    (tmp_path / 'train.txt').write_text('\n'.join(lines))
    code, printed = measured(tmp_path / 'train.txt', '--ignore_index', 9)
    assert code == 0
    assert printed[5:10] == [
        'pixels of masks: 1,200',
        *(f'  {k}: {counts[k]:,} ({counts[k] / 1200:.2%}{", ignored" if k == 9 else ""})' for k in (0, 1, 4, 9)),
    ]
    assert printed[-1].endswith('--image_size 6 5 --num_classes 5 --ignore_index 9')
    assert not any('classes' in line for line in measured(tmp_path / 'train.txt', '--targets', 'none')[1][:-1])


def test_all_that_is_unreadable_is_listed_and_the_rest_measured(measured, photos, tmp_path):
    folder, mean, _ = photos
    lines = [f'{path.relative_to(folder)} {path.parent.name}' for path in sorted(folder.glob('*/*.png'))]
    (folder / 'torn.png').write_bytes((folder / 'ape/1.png').read_bytes()[:-20])
    (folder / 'text.jpg').write_text('no image')
    lines += ['torn.png ape', *('gone.png ape' for _ in range(50)), 'text.jpg bee', 'three columns here']
    (folder / 'train.txt').write_text('\n'.join(lines))
    code, printed = measured(folder / 'train.txt')
    assert code == 1
    assert printed[0] == 'unreadable: 53'
    faults = printed[1:54]
    assert faults[0].startswith(f'  {folder}/train.txt:60: 3 columns instead of image and target')
    assert faults[1].startswith(f'  {folder}/train.txt:8: {folder}/torn.png: damaged: ')
    assert faults[2:52] == [f'  {folder}/train.txt:{9 + n}: {folder}/gone.png: no such file' for n in range(50)]
    assert faults[52] == f'  {folder}/train.txt:59: {folder}/text.jpg: not an image in a format that Pillow knows'
    assert printed[54] == f'{folder / "train.txt"}: 7 images'
    assert values(printed[57]) == pytest.approx(mean, abs=6e-7)
    (folder / 'train.txt').write_text('text.jpg bee\n')
    assert len(measured(folder / 'train.txt')[1]) == 3


def test_faults_of_shards_are_named_by_key(measured, tmp_path):
    def encoded(size):
        buffer = io.BytesIO()
        Image.new('L', size, 3).save(buffer, format='PNG')
        return buffer.getvalue()

    with tarfile.open(tmp_path / 'a.tar', 'w') as archive:
        for name, content in (
            *(('a.png', encoded((4, 4))), ('a.mask.png', encoded((4, 4))), ('b.png', encoded((4, 4)))),
            *(('b.mask.png', encoded((5, 4))), ('c.png', encoded((4, 4))), ('d.mask.png', b'')),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    code, printed = measured(tmp_path)
    assert (code, printed[0]) == (1, 'unreadable: 3')
    assert printed[1] == f'  {tmp_path}/a.tar: b: its mask: 5x4, its image 4x4'
    assert printed[2].startswith(f'  {tmp_path}/a.tar: c: no mask: pack it behind the image')
    assert printed[3].startswith(f'  {tmp_path}/a.tar: d: no image among d.mask.png')
    assert 'a channel is constant and cannot be normalised: no --std is printed' in printed
    assert printed[-1] == 'options: --image_size 4 4 --num_classes 4 --ignore_index 255'


@pytest.mark.parametrize(
    ('words', 'says'),
    [
        (['nowhere'], "argument PATH: 'nowhere' does not exist"),
        (['.', '--data_type', 'list'], 'list takes a file'),
        ([__file__, '--data_type', 'folder'], 'folder takes a directory'),
        (['.', '--data_root', '.'], '--data_root: not used by data_type folder'),
    ],
)
def test_wrong_options_are_refused(tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert says in capsys.readouterr().err


def test_it_runs_from_anywhere_and_shows_progress_on_a_terminal(run_program, photos):
    done = run_program('scripts/measure_data.py', photos[0], terminal=True)
    assert (done.code, done.stdout.splitlines()[0]) == (0, f'{photos[0]}: 7 images')
    assert 'measure: ' in done.stderr
    done = run_program('scripts/measure_data.py', photos[0] / 'ape')
    assert done.code == 2
    assert done.stderr.startswith('measure_data.py: error: ')
    assert 'has no sub-directories' in done.stderr


def test_help_needs_no_torch(run_program, tmp_path):
    (tmp_path / 'torch.py').write_text('raise ImportError("torch is not to be imported")')
    done = run_program('scripts/measure_data.py', '--help', PYTHONPATH=str(tmp_path))
    assert (done.code, done.stderr) == (0, '')
    assert '--ignore_index' in done.stdout
