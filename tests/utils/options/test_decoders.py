"""--decoder: which library is used, what records of older runs imply, and what a test says."""

import pytest

from options import parse_train_args
from utils.options import decoders

LIST = ['--data_type', 'list', '--num_classes', '3', '--train_list', __file__, '--val_list', __file__]


@pytest.fixture
def installed(monkeypatch):
    """Return a function that makes only these packages look installed."""

    def only(*names):
        monkeypatch.setattr(decoders, 'find_spec', lambda name: name if name in names else None)

    return only


def chosen(*words):
    return parse_train_args([*LIST, *words]).decoder


@pytest.mark.parametrize('words', [(), ('--decoder', 'auto')])
def test_the_fastest_that_is_installed_is_chosen(installed, words):
    for names in (('simplejpeg', 'torchcodec'), ('simplejpeg',), ('torchcodec',), ()):
        installed(*names)
        assert chosen(*words) == (*names, 'pillow')[0]


@pytest.mark.parametrize(
    ('words', 'fault'),
    [
        (('--data_type', 'mem_list'), 'mem_list keeps decoded images'),
        (('--cache_dir', 'cache', '--cache_size', '64'), '--cache_dir keeps decoded images'),
    ],
)
def test_images_that_are_decoded_once_are_not_decoded_on_the_device(installed, capsys, words, fault):
    installed('torchcodec')
    assert chosen('--decoder', 'torchcodec_gpu') == 'torchcodec_gpu'
    with pytest.raises(SystemExit):
        chosen('--decoder', 'torchcodec_gpu', *words)
    assert f'argument --decoder: {fault}' in (said := capsys.readouterr().err)
    assert 'give --decoder torchcodec' in said
    installed()
    with pytest.raises(SystemExit):
        chosen('--decoder', 'torchcodec_gpu')
    assert 'torchcodec is not installed: pip install torchcodec, or give' in capsys.readouterr().err


def test_a_choice_stays(installed):
    installed('simplejpeg', 'torchcodec')
    for name in ('pillow', 'torchcodec', 'simplejpeg'):
        assert chosen('--decoder', name) == name


def test_a_library_that_is_not_installed_is_refused_in_one_line(installed, capsys):
    installed()
    with pytest.raises(SystemExit) as error:
        chosen('--decoder', 'simplejpeg')
    assert error.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert 'argument --decoder: simplejpeg is not installed: pip install simplejpeg, or give --decoder pillow' in line


@pytest.mark.parametrize('words', ['--data_type digits', '--data_type mnist'])
def test_data_without_image_files_has_none(words, capsys):
    assert parse_train_args(words.split()).decoder is None
    assert parse_train_args([*words.split(), '--decoder', 'auto']).decoder is None
    with pytest.raises(SystemExit):
        parse_train_args([*words.split(), '--decoder', 'pillow'])
    assert f'argument --decoder: {words.split()[1]} reads no image files; leave it out' in capsys.readouterr().err
