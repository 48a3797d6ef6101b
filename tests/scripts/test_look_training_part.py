"""What look.py shows of runs whose training data is a part, or was handed over."""

import numpy as np
import pytest
from PIL import Image

from options import save_args, train_args
from scripts import look
from utils.base.errors import DanluError


@pytest.fixture
def photos(tmp_path):
    for kind in 'ab':
        (tmp_path / 'photos' / kind).mkdir(parents=True)
        for number in range(5):
            pixels = np.full((12, 12, 3), 20 * number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / 'photos' / kind / f'{number}.png')
    return tmp_path / 'photos'


def test_of_a_split_the_training_part_alone_is_shown(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    look.main(['--data_type', 'folder', '--train_list', str(photos), '--val_split', '0.2', '--out', 'sheet.png'])
    said = capsys.readouterr().out
    assert said.startswith('8 training samples: ')
    assert 'lists of' not in said
    assert (tmp_path / 'sheet.png').is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ['photos', 'sheet.png']


@pytest.mark.parametrize('validation', [('--val_split', '0.2'), ('--val_list', 'none')], ids=['split', 'whole'])
def test_invalid_images_are_named_by_their_own_paths_once(photos, tmp_path, capsys, validation):
    (photos / 'a' / '2.png').write_bytes(b'torn')
    words = ['--data_type', 'folder', '--train_list', str(photos), *validation, '--skip_bad']
    look.main([*words, '--out', str(tmp_path / 'sheet.png')])
    note = capsys.readouterr().out.splitlines()[0]
    assert note.startswith('skip_bad: 1 of ') and 'left out, the first is ' in note
    assert note.endswith(f'the first is {photos}/a/2.png: not an image in a format that Pillow knows')


def test_ready_made_data_cannot_be_shown(tmp_path):
    args = train_args(task='regression')
    args.given_parts = {'train_loader': {'class': 'list of 3 batches'}}
    save_args(args, tmp_path)
    with pytest.raises(DanluError, match=r'ready-made parts \(train_loader list of 3 batches\), which look.py cannot'):
        look.main([f'@{tmp_path}/args.txt'])
