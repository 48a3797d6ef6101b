"""args.txt: its content, and that reading it gives the same options."""

from pathlib import Path

import pytest

from options import (
    changed_options,
    parse_test_args,
    parse_train_args,
    prepare_test_args,
    prepare_train_args,
    save_args,
)
from tests.options.helpers import ISSUE_COMMON, ISSUE_TEST, ISSUE_TRAIN, SEGMENTATION, new_run, train_args, tree


def read_back(args, directory):
    directory = Path(directory)
    directory.mkdir(exist_ok=True)
    save_args(args, directory)
    return parse_train_args([f'@{directory}/args.txt'])


@pytest.mark.parametrize(
    'words',
    [
        [],
        ['--save_prefix=two  blanks'],
        ["--save_prefix=it's"],
        ['--save_prefix=say "hi"'],
        ["""--save_prefix='"'"'"""],
        ['--save_prefix=#1 # not a comment'],
        ['--save_prefix=a#b'],
        ['--save_prefix=丹炉　全角'],
        ['--save_prefix=-x'],
        ['--save_prefix=--lr=3'],
        ['--save_prefix=@home'],
        ['--save_prefix=no=yes'],
        ['--save_prefix=%s%(default)s{}$HOME'],
        ['--save_prefix=a\u00a0b'],
        ['--class_names', 'red fox', "it's", '"q"', '#', '#a', '猫', 'T-shirt', '=', '\\', '\ufeffbom', 'tab\there'],
        ['--class_names', '-1', '0', '-1e-05'],
        ['--mean', '-1e-05', '-0.5', '1e+16', '--std', '1e-30', '0.1', '3'],
        ['--mean', '0.1', '--std', '0.30000000000000004'],
        ['--class_weights', '0', '1e-7', '123456789.123456789'],
        ['--image_size', '28'],
        ['--image_size', '180', '240', '--gpus', '0', '1', '--seed', '9223372036854775807'],
        ['--lr', '1e-05', '--weight_decay', '5e-324', '--label_smoothing', '0.1'],
        ['--load_not_strict', '--load_model_path', 'model.pth', '--pretrained', '--download', '--data_type', 'mnist'],
        ['--no_load_not_strict', '--no_pretrained', '--no_download'],
        ['--load_model_path', 'model.pth', '--save_freq', '5', '--channels', '1', '--ignore_index', '0'],
        ['--num_workers', '0', '--threads', '1', '--device', 'cpu', '--optimizer', 'sgd', '--augment', 'flip'],
        ['--mixup', '0.2', '--cutmix', '1'],
        ['--loss', '2 * ce + 1e-3 * focal', '--loss_args', 'gamma=1.5', '--metrics', 'auroc', 'acc_top5'],
        ['--model_type', 'torchvision:resnet18', '--epochs', '3', '--momentum', '0', '--beta', '0.5'],
        [*SEGMENTATION, '--num_classes', '11', '--ignore_index', '11', '--data_root', 'pictures', '--loss', 'dice'],
    ],
    ids=lambda words: ' '.join(words)[:50],
)
def test_args_txt_is_read_back_equal(words):
    args = train_args(*words)
    assert vars(read_back(args, 'record')) == vars(args)


def test_quotes_leave_plain_strings():
    Path('a.txt').write_text('--model_type "unet" --save_prefix "x" --class_names "a b" "c" --device "cpu" --lr "0.5"')
    args = parse_train_args(['@a.txt'])
    assert (args.model_type, args.save_prefix, args.device, args.lr) == ('unet', 'x', 'cpu', 0.5)
    values = [args.model_type, args.save_prefix, args.device, *args.class_names]
    assert {type(value) for value in values} == {str}  # a checkpoint takes nothing else


def test_class_names_that_look_like_options_or_files_are_read_back():
    names = ['-a', '--lr', '--no-such', '@home', '@', '-', 'red fox', '--class-names', '-1 0', '"', "'", '--lr=1']
    Path('classes.txt').write_text('\n'.join(names))
    args = train_args('--class_names', 'classes.txt')
    assert args.class_names == names
    assert vars(read_back(args, 'record')) == vars(args)


def test_paths_of_any_sort_are_read_back(place):
    folder = place / 'a b # \'c\' "d" 数据　集 @ -x'
    folder.mkdir()
    (folder / 'train.txt').write_text('')
    args = train_args('--data_type', 'list', '--train_list', f'{folder}/train.txt', '--val_list', f'{folder}/train.txt',
                      '--checkpoints_dir', f'{folder}/runs')  # fmt: skip
    assert args.train_list == str(folder / 'train.txt')
    assert vars(read_back(args, folder)) == vars(args)


def test_args_txt_has_every_option_with_the_changed_ones_marked(place):
    args = new_run('--lr', '0.01', '--gpus', '0', '1', '--save-prefix', 'my run', '--download', '--data_type', 'mnist')
    lines = Path(args.model_dir, 'args.txt').read_text(encoding='utf-8').splitlines()
    assert lines[0] == f"# python train.py '@{place}/runs/lenet_my run/args.txt'"
    for name in vars(args):
        assert len([line for line in lines if line.lstrip('# ').startswith((f'--{name}', f'--no_{name}'))]) >= 1
    assert len(lines) == 3 + len(vars(args))
    assert '--lr=0.01  # default: 0.001' in lines
    assert '--gpus 0 1  # default: not set' in lines
    assert '--save_prefix="my run"  # default: exp' in lines
    assert '--download  # default: off' in lines
    assert '--momentum=0.9' in lines
    assert '--no_load_not_strict' in lines
    assert '# --num_classes (not set)' in lines
    assert '# --resume (not set)' in lines
    assert f'# --model_dir="{args.model_dir}"' in lines
    assert sorted(line.split('=')[0].split()[0] for line in lines if '# default: ' in line) == [
        '--checkpoints_dir', '--data_type', '--download', '--gpus', '--lr', '--save_prefix'
    ]  # fmt: skip
    assert sorted(changed_options(args)) == sorted(
        ['lr=0.01', 'gpus=0 1', 'save_prefix=my run', 'download=on', 'data_type=mnist', f'checkpoints_dir={place}/runs']
    )


def test_the_options_of_torch_base_exist():
    assert set(ISSUE_COMMON + ISSUE_TRAIN) <= set(vars(parse_train_args([])))
    assert set(ISSUE_COMMON + ISSUE_TEST) <= set(vars(parse_test_args(['--load_model_path', 'model.pth'])))


def test_args_txt_has_a_note_and_replaces_an_older_file():
    args = train_args('--lr', '0.5')
    Path('record').mkdir()
    Path('record/args.txt').write_text('--lr=0.1\n' * 1000)
    save_args(args, 'record', note='resumed after epoch 3')
    assert '# resumed after epoch 3\n' in Path('record/args.txt').read_text()
    assert vars(parse_train_args(['@record/args.txt'])) == vars(args)
    assert tree('record') == ['record/args.txt']


def test_args_txt_of_a_test_is_read_back():
    args = prepare_test_args(
        ['--load_model_path', 'model.pth', '--save_viz', '--viz_freq', '10', '--save_prefix', 'a b']
    )
    again = parse_test_args([f'@{args.result_dir}/args.txt'])
    assert vars(args) == {**vars(again), 'result_dir': args.result_dir}
    again = prepare_test_args([f'@{args.result_dir}/args.txt', '--no-save-viz'])
    assert again.result_dir == args.result_dir + '_2'
    assert again.save_viz is False


def test_a_repeated_run_has_equal_options_and_a_new_directory(place):
    first = new_run('--lr', '0.02', '--image_size', '28', '--class_names', 'names.txt', '--mean', '-1e-05')
    second = prepare_train_args([f'@{first.model_dir}/args.txt'])
    third = prepare_train_args([f'@{second.model_dir}/args.txt', '--lr', '1e-4'])
    assert first.model_dir == str(place / 'runs' / 'lenet_exp')
    assert second.model_dir == str(place / 'runs' / 'lenet_exp_2')
    assert third.model_dir == str(place / 'runs' / 'lenet_exp_3')
    assert {**vars(second), 'model_dir': first.model_dir} == vars(first)
    assert {**vars(third), 'model_dir': first.model_dir, 'lr': 0.02} == vars(first)
