"""Lists as pandas, Excel and Windows write them: headers, index columns, commas, backslashes, names with #."""

import pytest

from data.data_entry import complete_args, select_train_loader
from data.list_dataset import ListDataset
from data.lists import list_file as listing_py
from data.lists.list_file import ErrorCollector, read_list
from data.stream import Stream
from utils.base.errors import DanluError

SAMPLES = [('img/a.png', '0'), ('img/b c.png', '1'), ('#1.png', '1')]


@pytest.fixture
def pictures(save):
    """Save the images that SAMPLES names."""
    for name, _ in SAMPLES:
        save(name)


def samples(listing):
    return list(zip(listing.images, listing.targets, strict=True))


FORMS = {
    'tabs': 'img/a.png\t0\nimg/b c.png\t1\n#1.png\t1\n',
    'a header': 'path\tlabel\nimg/a.png\t0\nimg/b c.png\t1\n#1.png\t1\n',
    'a header in other words': 'Bild\tKlasse\nimg/a.png\t0\nimg/b c.png\t1\n#1.png\t1\n',
    'a comment and a header': '# mine\n\nimage\ttarget\nimg/a.png\t0\nimg/b c.png\t1\n#1.png\t1\n',
    'commas': 'img/a.png,0\nimg/b c.png,1\n#1.png,1\n',
    'commas and a header': 'image,label\nimg/a.png,0\nimg/b c.png,1\n#1.png,1\n',
    'the target first': 'label,image\n0,img/a.png\n1,img/b c.png\n1,#1.png\n',
    'semicolons': 'path;label\nimg/a.png;0\nimg/b c.png;1\n#1.png;1\n',
    'pandas to_csv': ',path,label\n0,img/a.png,0\n1,img/b c.png,1\n2,#1.png,1\n',
    'pandas to_csv without a header': '0,img/a.png,0\n1,img/b c.png,1\n2,#1.png,1\n',
    'pandas to_csv of tabs': '\tpath\tlabel\n0\timg/a.png\t0\n1\timg/b c.png\t1\n2\t#1.png\t1\n',
    'pandas to_csv of blanks': '"" path label\n0 img/a.png 0\n1 "img/b c.png" 1\n2 #1.png 1\n',
    'other columns': 'id,path,width,label\n7,img/a.png,8,0\n8,img/b c.png,8,1\n9,#1.png,8,1\n',
    'quotes': '"path","label"\n"img/a.png","0"\n"img/b c.png","1"\n"#1.png","1"\n',
    'backslashes': 'img\\a.png\t0\nimg\\b c.png\t1\n#1.png\t1\n',
    'backslashes and commas': 'img\\a.png,0\nimg\\b c.png,1\n#1.png,1\n',
}


@pytest.mark.usefixtures('pictures')
@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize(
    ('encoding', 'end', 'size'), [('utf-8', '\n', 2**20), ('utf-8-sig', '\r\n', 40), ('utf-16', '\r\n', 2**20)]
)
def test_the_same_samples_in_every_form(write, form, encoding, end, size, monkeypatch):
    monkeypatch.setattr(listing_py, 'READ_BYTES', size)
    found = read_list(write('list.txt', FORMS[form].replace('\n', end), encoding))
    assert samples(found) == SAMPLES
    assert [found.where(2).rpartition(':')[2]] == [str(len(FORMS[form].splitlines()))]


@pytest.mark.usefixtures('pictures')
def test_what_is_no_plain_list_is_said(write):
    path = write('list.csv', FORMS['pandas to_csv'])
    assert read_list(path).notes[0] == (
        f"{path}: columns separated by ','; the first line is a header (, path, label); the first column counts the "
        'lines and is left out; image: path, target: label'
    )
    path = write('list.txt', FORMS['backslashes'])
    assert read_list(path).notes == [
        f'{path}: 1 line begins with # and names a file: read as a sample',
        f'{path}: 2 paths with backslashes: read with slashes, as only those name files',
    ]


def test_plain_lists_say_nothing(save, write):
    save('a.png')
    assert read_list(write('list.txt', '# a comment\na.png 0\n#a.png 1\n# a.png 1\na.png 1\n')).notes == []


def test_a_name_with_a_backslash_that_exists_stays(save, write):
    save('a\\b.png')
    save('a/b.png')
    save('a/c.png')
    found = read_list(write('list.txt', 'a\\b.png 0\na\\c.png 1\na\\gone.png 1\n'))
    assert list(found.images) == ['a\\b.png', 'a/c.png', 'a\\gone.png']


def test_backslashes_of_masks(save, write):
    save('a.png')
    save('masks/a.png')
    assert samples(read_list(write('list.txt', 'a.png masks\\a.png\n'))) == [('a.png', 'masks/a.png')]


def test_of_very_long_lists_some_backslashes_are_looked_up(save, write, monkeypatch):
    monkeypatch.setattr(listing_py, 'MAX_CHECKED_SAMPLES', 5)
    monkeypatch.setattr(listing_py, 'SAMPLED_CHECKS', 3)
    lines = [f'{save(f"i/{n}.png").parent.name}\\{n}.png {n}' for n in range(8)]
    assert list(read_list(write('list.txt', '\n'.join(lines))).images) == [f'i/{n}.png' for n in range(8)]


@pytest.mark.usefixtures('pictures')
def test_numbers_to_predict_in_columns(write):
    found = read_list(write('list.csv', ',path,x,y\n0,img/a.png,1.5,2\n1,img/b c.png,3,4\n'), many=True)
    assert samples(found) == [('img/a.png', '1.5 2'), ('img/b c.png', '3 4')]


@pytest.mark.usefixtures('pictures')
def test_sets_of_labels_keep_their_commas(write):
    assert samples(read_list(write('list.txt', 'img/a.png 0,1\n#1.png 1,2\n'))) == [
        ('img/a.png', '0,1'),
        ('#1.png', '1,2'),
    ]
    assert list(read_list(write('list.csv', 'path,labels\nimg/a.png,"0,1"\n')).targets) == ['0,1']


def test_a_header_that_does_not_tell_the_target(write):
    with pytest.raises(DanluError) as error:
        read_list(write('list.csv', 'path,width,height\na.png,3,4\n'))
    assert 'call the one with the target "label" or "target", or remove the others' in str(error.value)


def test_a_missing_first_picture_is_no_header(save, write, list_args):
    save('b.png')
    args = list_args('gone.png 0\nb.png 1\n', '--image_size', 8)
    with pytest.raises(DanluError, match=r'train\.txt:1: .*gone\.png: no such file'):
        select_train_loader(args)


def test_zero_bytes_are_no_text(write):
    with pytest.raises(DanluError, match=r'holds bytes of 0, as UTF-16 does'):
        read_list(write('list.txt', 'a.png 0\n', 'utf-16-le'))


def test_wrong_lines_of_a_table_are_named(save, write):
    save('a.png')
    read_list(
        path := write('list.csv', 'path,label\na.png,0\na.png\na.png,1,2\na.png,\n'),
        None,
        faults := ErrorCollector('x'),
    )
    assert faults.count == 3
    assert [line.split(': ')[0] for line in faults.shown] == [f'  {path}:{number}' for number in (3, 4, 5)]


@pytest.mark.parametrize('kind', ['list', 'mem_list'])
@pytest.mark.usefixtures('pictures')
def test_a_data_set_says_how_its_list_was_read(list_args, kind):
    args = list_args(FORMS['backslashes and commas'], '--image_size', 8, kind=kind)
    loader = select_train_loader(args)
    assert sum('backslashes' in note for note in loader.dataset.dataset.notes) == 1
    assert len(next(iter(loader))[0]) == 3
    assert isinstance(loader.dataset.dataset, ListDataset)


@pytest.mark.parametrize(('name', 'text'), [
    ('train.csv', 'image,label\nimg\\a.png,0\nimg\\a.png,1\n'),
    ('train.jsonl', '{"image": "img\\\\a.png", "label": 0}\n{"image": "img\\\\a.png", "label": 1}\n'),
])  # fmt: skip
def test_backslashes_in_a_stream(save, write, make_args, name, text):
    save('img/a.png')
    path = write(name, text)
    args = make_args('--data_type', 'stream', '--train_list', path, '--val_list', path, '--num_classes', 2)
    complete_args(args)
    stream = Stream(args, 'val')
    assert [stream.load(place)[1].item() for place in stream.order(1)] == [0, 1]
    assert [note for note in stream.notes if 'with backslashes' in note] == [
        f'{path}: paths are written with backslashes, in 1 shard: read with slashes where only those name files'
    ]


def test_a_stream_in_utf16(save, write, make_args):
    save('a.png')
    path = write('train.csv', 'image,label\na.png,0\n', 'utf-16')
    args = make_args('--data_type', 'stream', '--train_list', path, '--val_list', path, '--num_classes', 2)
    complete_args(args)
    assert len(list(Stream(args, 'val').order(1))) == 1


def test_a_table_in_utf16_and_with_an_index_column(write, make_args):
    text = ',a,b,y\n' + ''.join(f'{n},{n * n % 7},{n % 3},{n % 2}\n' for n in range(8))
    path = write('train.csv', text, 'utf-16')
    args = make_args('--data_type', 'array', '--train_list', path, '--val_list', path)
    loader = select_train_loader(args)
    assert args.channels == 2
    assert any('the first column counts the rows' in note for note in loader.dataset.dataset.notes)
