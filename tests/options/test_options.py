"""The programs as a user starts them, and how options are parsed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import options
from options import (
    parse_common_args,
    parse_test_args,
    parse_test_command,
    parse_train_args,
    prepare_test_args,
    prepare_train_args,
)
from tests.options.helpers import (
    ISSUE_COMMON,
    ISSUE_TEST,
    ISSUE_TRAIN,
    OWN_LISTS,
    REGISTRIES,
    SEGMENTATION,
    new_run,
    train_args,
    trained,
    tree,
)
from utils.base.registry import PROJECT, read_registry


def danlu(program, *argv, cwd=None, flags=()):
    """Run train.py or eval.py as a user does."""
    command = [sys.executable, *flags, str(PROJECT / program), *argv]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'COLUMNS': '200'}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)


@pytest.mark.parametrize(
    ('program', 'words', 'says'),
    [
        ('train.py', ['--lr', 'fast'], 'argument --lr'),
        ('train.py', ['--model-type', 'lenett'], 'did you mean lenet'),
        ('train.py', ['--task', 'segmentation'], 'argument --num_classes'),
        ('train.py', ['--resume', 'pictures'], 'needs args.txt and last.pth'),
        ('train.py', ['@none.txt'], "args file 'none.txt' does not exist"),
        ('train.py', ['--weigth-decay=1'], 'did you mean --weight_decay?'),
        ('eval.py', [], 'argument --load_model_path: needed'),
        ('eval.py', ['--load-model-path', 'none.pth'], "'none.pth' does not exist"),
        ('eval.py', ['--load_model_path', 'model.pth', '--viz_freq', '0'], 'argument --viz_freq'),
    ],
)
def test_an_error_is_one_line_and_exit_code_2_before_torch_is_imported(place, program, words, says):
    before = tree()
    done = danlu(program, '--checkpoints_dir', 'runs', *words, flags=['-X', 'importtime'])
    imported = [line for line in done.stderr.splitlines() if line.startswith('import time:')]
    said = [line for line in done.stderr.splitlines() if not line.startswith('import time:')]
    assert done.returncode == 2
    assert done.stdout == ''
    assert len(said) == 1
    assert said[0].startswith(f'{program}: error: ')
    assert says in said[0]
    assert any(line.endswith(' options') for line in imported)
    assert not [line for line in imported if line.split()[-1].split('.')[0] in ('torch', 'numpy', 'PIL', 'torchvision')]
    assert tree() == before


@pytest.mark.parametrize('program', ['train.py', 'eval.py'])
def test_help_lists_every_option_and_name_without_importing_torch(program):
    done = danlu(program, '--help', 'all', flags=['-X', 'importtime'])
    assert done.returncode == 0
    assert ' options' in done.stderr
    imported = {line.rpartition('|')[2].strip().partition('.')[0] for line in done.stderr.splitlines()}
    assert not imported & set('torch torchvision torchmetrics numpy PIL matplotlib tensorboard jinja2 tqdm'.split())
    parser = options.train_parser() if program == 'train.py' else options.test_parser()
    words = [word.rstrip('.;,') for word in done.stdout.replace(',', ' ').split()]
    for action in parser.options():
        assert set(action.option_strings) <= set(words)
        assert action.help
    for option, module, registry in REGISTRIES:
        if program == 'train.py' or option not in ('augment', 'optimizer', 'schedule'):
            assert set(read_registry(module, registry)) <= set(words)
    assert {'torchvision:<name>', 'timm:<name>'} <= set(words)
    wanted = [*ISSUE_COMMON, *(ISSUE_TRAIN if program == 'train.py' else ISSUE_TEST)]
    assert {f'--{name}' for name in wanted} <= set(words)
    for title in ('model, data and task:', 'data files:', 'machine:'):
        assert title in done.stdout


def test_without_arguments_lenet_trains_on_the_digits():
    args = parse_train_args([])
    assert (args.model_type, args.data_type, args.task) == ('lenet', 'digits', 'classification')
    assert args.checkpoints_dir == str(PROJECT / 'checkpoints')
    assert args.model_dir is None
    assert args.load_not_strict is False


@pytest.mark.parametrize('spelling', ['--weight_decay', '--weight-decay'])
@pytest.mark.parametrize('joined', [True, False])
def test_both_spellings_of_a_name(spelling, joined):
    words = [f'{spelling}=1e-4'] if joined else [spelling, '1e-4']
    assert parse_train_args(words).weight_decay == 1e-4
    Path('a.txt').write_text(' '.join(words))
    assert parse_train_args(['@a.txt']).weight_decay == 1e-4


@pytest.mark.parametrize('spelling', ['--no_load_not_strict', '--no-load-not-strict', '--no_load-not_strict'])
def test_a_flag_of_an_args_file_is_undone(spelling):
    Path('on.txt').write_text('--load-not-strict --load_model_path model.pth\n')
    Path('off.txt').write_text(f'{spelling}\n')
    assert parse_train_args(['@on.txt']).load_not_strict is True
    assert parse_train_args(['@on.txt', spelling]).load_not_strict is False
    assert parse_train_args(['@on.txt', '@off.txt']).load_not_strict is False
    assert parse_train_args(['@off.txt', '@on.txt']).load_not_strict is True
    both = [spelling, '--load-not-strict', '--load_model_path', 'model.pth']
    assert parse_train_args(both).load_not_strict is True


def test_dashes_in_values_stay():
    args = train_args('--save-prefix=my-run--2', '--class-names', 'T-shirt', 'a-b')
    assert args.save_prefix == 'my-run--2'
    assert args.class_names == ['T-shirt', 'a-b']


def test_options_after_an_args_file_win_and_lists_are_replaced_whole():
    Path('a.txt').write_text('--lr=0.5 --epochs 7\n--image_size 10 20\n--gpus 0 1\n')
    args = parse_train_args(['@a.txt', '--lr', '1e-4', '--gpus', '2'])
    assert (args.lr, args.epochs, args.image_size, args.gpus) == (1e-4, 7, [10, 20], [2])
    args = parse_train_args(['--lr', '1e-4', '@a.txt'])  # what comes last counts
    assert args.lr == 0.5


def test_numbers_that_begin_with_a_minus_are_values():
    args = parse_train_args(['--mean', '-1e-05', '-.5', '-2', '--class_names', '-1', '0', '1'])
    assert args.mean == [-1e-05, -0.5, -2.0]
    assert args.class_names == ['-1', '0', '1']


def test_one_number_gives_both_sides():
    assert parse_train_args(['--image_size', '32']).image_size == [32, 32]
    assert parse_train_args(['--image_size', '32', '48']).image_size == [32, 48]


@pytest.mark.parametrize(
    'content',
    [
        b'cat\ndog\nred fox\n',
        b'cat\r\ndog\r\nred fox',
        b'\xef\xbb\xbfcat\n\n  dog \nred fox\n\n',
        b'cat\rdog\rred fox\r',
    ],
    ids=['lf', 'crlf', 'bom, blank lines', 'cr'],
)
def test_class_names_from_a_file(content):
    Path('classes.txt').write_bytes(content)
    args = train_args('--class_names', 'classes.txt')
    assert args.class_names == ['cat', 'dog', 'red fox']
    assert args.num_classes == 3
    assert parse_test_args(['--load_model_path', 'model.pth', '--class_names', 'classes.txt']).num_classes == 3


def test_two_classes_are_enough():
    Path('classes.txt').write_text('yes\nno\n')
    assert train_args('--class_names', 'classes.txt').num_classes == 2


def test_a_palette_is_recorded_by_its_colours():
    Path('palette.txt').write_text('dog #00FF00\nbird 1 2 3\n200 100 0 Cat\n')
    args = new_run(*SEGMENTATION, '--class_names', 'cat', 'dog', '--palette', 'palette.txt')
    assert args.palette == ['#c86400', '#00ff00']
    Path('palette.txt').unlink()
    again = parse_train_args([f'@{args.model_dir}/args.txt'])
    assert again.palette == args.palette
    recorded = trained(*SEGMENTATION, '--class_names', 'cat', 'dog', '--palette', *args.palette)
    model = ['--load_model_path', 'model.pth']
    assert parse_test_args(model, recorded).palette == args.palette
    assert parse_test_args([*model, '--palette', '#000001', '#000002'], recorded).palette == ['#000001', '#000002']
    assert parse_test_args([*model, '--class_names', *'abc', '--num_classes', 3], recorded).palette is None


def test_the_names_of_a_palette_are_those_of_the_classes_of_masks():
    Path('palette.txt').write_text('sky 1 2 3\n路 4 5 6\n')
    args = train_args(*SEGMENTATION, '--palette', 'palette.txt')
    assert (args.class_names, args.num_classes, args.palette) == (['sky', '路'], 2, ['#010203', '#040506'])
    assert train_args(*SEGMENTATION, '--palette', 'palette.txt', '--class_names', '路', 'sky').palette == [
        '#040506',
        '#010203',
    ]


def test_a_repeated_run_does_not_need_the_file_of_class_names():
    args = new_run('--class_names', 'names.txt')
    Path('names.txt').unlink()
    assert parse_train_args([f'@{args.model_dir}/args.txt']).class_names == ['cat', 'dog', 'red fox']


def test_names_may_occur_twice():
    assert parse_train_args(['--class_names', 'crane', 'crane']).num_classes == 2  # as in ImageNet: a bird, a machine


def test_counts_that_fit_are_taken():
    args = parse_train_args(['--class_names', 'a', 'b', '--class_weights', '1', '0', '--num_classes', '2'])
    assert (args.class_names, args.class_weights, args.num_classes) == (['a', 'b'], [1.0, 0.0], 2)
    assert parse_train_args(['--mean', '.1', '.2', '.3', '--std', '1', '1', '1', '--channels', '3']).channels == 3
    assert parse_train_args(['--mean', '.1', '--channels', '1']).mean == [0.1]
    assert parse_train_args(['--class_weights', '1', '2']).class_weights == [1.0, 2.0]  # the data says how many


def test_a_custom_data_set_may_have_any_lists(monkeypatch, place):
    read = options.read_registry
    own = {'DATASETS': {'mine': 'data.mine.Mine'}}
    monkeypatch.setattr(options, 'read_registry', lambda module, name: read(module, name) | own.get(name, {}))
    for task in ([], ['--task', 'segmentation', '--num_classes', '3']):
        args = train_args('--data_type', 'mine', '--train_list', 'pictures', '--val_list', 'val.txt', *task)
        assert (args.train_list, args.val_list) == (str(place / 'pictures'), str(place / 'val.txt'))
        assert train_args('--data_type', 'mine', '--data_root', 'pictures', *task).val_list is None


def test_segmentation_ignores_255_unless_told_otherwise():
    assert parse_train_args([*SEGMENTATION, '--num_classes', '3']).ignore_index == 255
    assert parse_train_args([*SEGMENTATION, '--num_classes', '3', '--ignore_index', '11']).ignore_index == 11
    assert parse_train_args([]).ignore_index is None


def test_values_of_a_notebook_need_not_be_strings():
    args = parse_train_args(['--lr', 0.01, '--train_list', Path('train.txt'), '--val_list', Path('val.txt'),
                             '--data_type', 'list', '--gpus', 0, 1])  # fmt: skip
    assert (args.lr, args.gpus) == (0.01, [0, 1])
    assert args.train_list == str(Path('train.txt').absolute())


def test_without_argv_the_command_line_is_read(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['train.py', '--lr', '0.25', '--checkpoints_dir', 'runs'])
    assert parse_train_args().lr == 0.25
    assert prepare_train_args().lr == 0.25
    monkeypatch.setattr(sys, 'argv', ['eval.py', '--load_model_path', 'model.pth', '--save_viz', '--viz_freq', '3'])
    assert parse_test_args().viz_freq == 3
    assert parse_test_command().load_model_path == str(Path('model.pth').absolute())
    assert prepare_test_args().viz_freq == 3
    monkeypatch.setattr(sys, 'argv', ['tool.py', '--seed', '3'])
    assert parse_common_args().seed == 3


def test_the_common_options_stand_alone(refusal):
    args = parse_common_args(['--image-size', '32', '--val_list', 'val.txt', '--data_type', 'list'])
    assert args.image_size == [32, 32]
    assert not hasattr(args, 'lr')
    assert not hasattr(args, 'save_viz')
    assert 'unknown option --lr' in refusal(parse_common_args, ['--lr', '1'])


def test_relative_paths_are_seen_from_the_working_directory_and_recorded_absolute(place, monkeypatch):
    home = place / 'home'
    home.mkdir()
    (home / 'start.pth').write_text('')
    monkeypatch.setenv('HOME', str(home))
    (place / 'deep' / 'er').mkdir(parents=True)
    monkeypatch.chdir('deep/er')
    words = '--data_type mem_list --train_list ../../train.txt --val_list ../../val.txt --data_root ../../pictures'
    args = parse_train_args([*words.split(), '--load_model_path=~/start.pth', '--checkpoints_dir', 'not/yet'])
    assert args.train_list == str(place / 'train.txt')
    assert args.val_list == str(place / 'val.txt')
    assert args.data_root == str(place / 'pictures')
    assert args.load_model_path == str(home / 'start.pth')
    assert args.checkpoints_dir == str(place / 'deep' / 'er' / 'not' / 'yet')
    assert not Path('not').exists()


PRINT_ARGS = f"""
import json, sys
sys.path.insert(0, {str(PROJECT)!r})
import options
assert 'torch' not in sys.modules
print(json.dumps(vars(options.prepare_train_args())))
"""


def test_a_run_is_repeated_from_another_directory(place):
    def start(cwd, *argv):
        return json.loads(subprocess.check_output([sys.executable, '-c', PRINT_ARGS, *argv], text=True, cwd=cwd))

    first = start(place, *OWN_LISTS, '--checkpoints-dir', 'runs', '--lr', '0.02', '--save_prefix', 'my run')
    assert first['model_dir'] == str(place / 'runs' / 'lenet_my run')
    second = start(place / 'pictures', '@../runs/lenet_my run/args.txt')
    assert second['model_dir'] == str(place / 'runs' / 'lenet_my run_2')
    assert {**first, 'model_dir': None} == {**second, 'model_dir': None}
    third = start('/', f'@{place}/runs/lenet_my run_2/args.txt', '--lr', '1e-4')
    assert third['lr'] == 1e-4
    assert {**third, 'lr': 0.02, 'model_dir': None} == {**first, 'model_dir': None}
