"""The options: every refusal, what is recorded and read back, and the directories that runs and tests get."""

import json
import os
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest

import options
from options import (
    NOT_REPEATED,
    SAFE_ON_RESUME,
    TAKEN_FROM_CHECKPOINT,
    changed_options,
    get_load_model_path,
    get_test_result_dir,
    get_train_model_dir,
    parse_common_args,
    parse_test_args,
    parse_train_args,
    prepare_test_args,
    prepare_train_args,
    save_args,
)
from utils.registry import PROJECT, read_registry
from utils.run_directory import remove_unstarted

ISSUE_COMMON = (
    'model_type data_type task num_classes image_size save_prefix load_model_path load_not_strict val_list data_root '
    'gpus seed num_workers batch_size print_freq'
).split()
ISSUE_TRAIN = 'lr momentum beta weight_decay optimizer loss train_list epochs model_dir'.split()
ISSUE_TEST = 'save_viz viz_freq result_dir'.split()
REGISTRIES = [
    ('model_type', 'model.model_entry', 'MODELS'),
    ('data_type', 'data.data_entry', 'DATASETS'),
    ('loss', 'loss', 'LOSSES'),
    ('task', 'metrics', 'METRICS'),
    ('augment', 'data.augment', 'AUGMENTS'),
    ('optimizer', 'utils.optim', 'OPTIMIZERS'),
    ('schedule', 'utils.optim', 'SCHEDULES'),
]
SEGMENTATION = ['--task', 'segmentation', '--data_type', 'list', '--train_list', 'train.txt', '--val_list', 'val.txt']
STREAM = '--data_type stream --train_list pictures --val_list pictures'
OWN_LISTS = ['--data_type', 'list', '--train_list', 'train.txt', '--val_list', 'val.txt']


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """Work in an empty place with a few files; who looks at sys.argv although it was given an argv, fails."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['pytest', '--no-such-option'])
    for name in ('train.txt', 'val.txt', 'model.pth'):
        Path(name).write_text('')
    Path('pictures').mkdir()
    Path('names.txt').write_text('cat\ndog\nred fox\n')
    Path('empty.txt').write_text('\n \n')
    Path('gbk.txt').write_bytes('猫\n狗\n'.encode('gbk'))
    return tmp_path


def tree(folder='.'):
    return sorted(str(path) for path in Path(folder).rglob('*'))


def train_args(*argv):
    return parse_train_args(['--checkpoints_dir', 'runs', *argv])


def new_run(*argv):
    return prepare_train_args(['--checkpoints_dir', 'runs', *argv])


@pytest.fixture
def refusal(capsys):
    """Return a function that calls another, holds it to a refusal in one line without a trace on the disk."""

    def refused(function, argv, *more):
        before = tree()
        with pytest.raises(SystemExit) as stop:
            function(argv, *more)
        out, err = capsys.readouterr()
        assert stop.value.code == 2
        assert out == ''
        assert err.count('\n') == 1
        assert err.endswith('\n')
        assert tree() == before
        return err.rstrip('\n')

    return refused


def danlu(program, *argv, cwd=None, flags=()):
    """Run train.py or eval.py as a user does."""
    command = [sys.executable, *flags, str(PROJECT / program), *argv]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'COLUMNS': '200'}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)


# ---------------------------------------------------------------------------------------------------------------------
# what is refused

NOISY = '--task restoration --data_type noisy_digits'

# (words, the option that the message names, what else it says)
REFUSED_COMMON = [
    ('--model_type lenett', '--model_type', "unknown model 'lenett'; did you mean lenet"),
    ('--model_type LeNet', '--model_type', 'did you mean lenet?'),
    ('--model_type resnet', '--model_type', 'did you mean resnet50_fcn or resnet101_fcn?'),
    ('--model_type torchvision:', '--model_type', 'did you mean torchvision:<name>'),
    ('--model_type=', '--model_type', "unknown model ''"),
    ('--model_type=--', '--model_type', "'--' is no value"),  # argparse would leave an empty list
    ('--model_type resnet18', '--model_type', '), or torchvision:resnet18 or timm:resnet18, if it is one of theirs'),
    ('--model_type timm:', '--model_type', 'did you mean timm:<name>'),
    ('--model_type tim:resnet18', '--model_type', "unknown model 'tim:resnet18'"),
    ('--model_args width', '--model_args', "'width' is not NAME=VALUE, for example width=32"),
    ('--model_args 2=3', '--model_args', "'2=3' is not NAME=VALUE"),
    ('--model_args a= b=1', '--model_args', "'a=' is not NAME=VALUE"),
    ('--model_args a=1 b=1 a=2', '--model_args', 'a name is there twice'),
    ('--data_type folders', '--data_type', 'did you mean folder?'),
    ('--data_type imagenet', '--data_type', 'known: array, cifar10, cifar100, digits'),
    ('--task seg', '--task', 'did you mean segmentation?'),
    ('--task regres', '--task', 'did you mean regression? (known: classification, multilabel, regression, rest'),
    ('--num_classes ten', '--num_classes', "'ten' is not a whole number"),
    ('--num_classes 1', '--num_classes', 'must be at least 2, got 1'),
    ('--num_classes -3', '--num_classes', 'must be at least 2, got -3'),
    ('--task regression', '--data_type', 'digits has no numbers; regression takes list or mem_list or array'),
    ('--task restoration --data_type cifar10', '--data_type', 'cifar10 has no target pictures; restoration takes list'),
    ('--task multilabel --data_type array', '--data_type', 'array has no sets of labels; multilabel takes list or mem'),
    ('--task regression --data_type folder', '--data_type', 'folder has no numbers'),
    ('--task regression --data_type pairs', '--data_type', 'pairs has no numbers'),
    ('--data_type pairs', '--task', 'pairs is for restoration: add --task restoration'),
    ('--data_type noisy_digits', '--task', 'noisy_digits is for restoration: add --task restoration'),
    ('--task regression --num_classes 3', '--num_classes', 'task regression has numbers for targets; leave it out'),
    ('--task restoration --class_names a b', '--class_names', 'has target pictures for targets'),
    ('--num_targets 0', '--num_targets', 'must be at least 1, got 0'),
    ('--num_targets 2', '--num_targets', '--task classification has labels for targets; leave it out'),
    ('--target_columns y', '--target_columns', 'only data_type array has columns, not digits'),
    ('--data_type array --val_list val.txt --target_columns y y', '--target_columns', 'a column is there twice'),
    (f'{NOISY} --mean 0.1', '--mean', 'takes and gives pixels in 0..1, so it is 0; leave it out'),
    (f'{NOISY} --std 0.3', '--std', 'so it is 1'),
    (f'{NOISY} --val_list val.txt', '--val_list', 'noisy_digits has its own pictures'),
    (f'{NOISY} --data_root pictures', '--data_root', 'not used by data_type noisy_digits'),
    ('--task restoration --palette #000000', '--palette', 'has target pictures for targets'),
    ('--palette', '--palette', 'expected at least one argument'),
    ('--palette red', '--palette', "'red' is neither a file (looked in"),
    ('--palette #ff0000 red', '--palette', "'red' is no colour #rrggbb"),
    ('--palette #ff0000 #00ff00 --num_classes 3', '--palette', '2 given for 3 classes: give one colour per class'),
    ('--palette #ff0000 #FF0000 --num_classes 2', '--palette', 'classes 0 and 1 have the same colour, #ff0000'),
    ('--palette a=#ff0000 b=#0000ff --class_names a c', '--palette', "no colour for the class 'c'; there is one for a"),
    ('--palette empty.txt', '--palette', "'empty.txt' holds no colour; a line per class: name r g b"),
    ('--palette names.txt', '--palette', "names.txt, line 1: 'cat' has no colour"),
    ('--palette gbk.txt', '--palette', "'gbk.txt' is neither UTF-8 text nor a PNG file"),
    ('--class_names', '--class_names', 'expected at least one argument'),
    ('--class_names cat', '--class_names', 'is no file (looked in'),
    ('--class_names cat,dog', '--class_names', 'separated by blanks'),
    ('--class_names pictures', '--class_names', 'is no file'),
    ('--class_names empty.txt', '--class_names', 'holds 0 names'),
    ('--class_names gbk.txt', '--class_names', 'is not UTF-8 text'),
    ('--class_names names.txt --num_classes 4', '--class_names', '3 given for 4 classes'),
    ('--class_names a b --num_classes 3', '--class_names', '2 given for 3 classes: give one per class'),
    ('--image_size 0', '--image_size', 'must be at least 1, got 0'),
    ('--image_size 32 -32', '--image_size', 'must be at least 1, got -32'),
    ('--image_size 1 2 3', '--image_size', 'takes height and width or one number, got 3'),
    ('--image_size 32x32', '--image_size', "'32x32' is not a whole number"),
    ('--image_size 32,32', '--image_size', 'blanks separate several, no commas'),
    ('--image_size 28.5', '--image_size', 'not a whole number'),
    ('--channels 2', '--channels', 'choose from 1, 3'),
    ('--channels rgb', '--channels', "'rgb'"),
    ('--channels 0', '--channels', 'must be at least 1'),
    ('--mean x', '--mean', "'x' is not a number"),
    ('--mean nan', '--mean', 'must be finite, got nan'),
    ('--mean 0.5 0.5', '--mean', 'one number per channel (1 or 3)'),
    ('--mean 0.5 0.5 0.5 --channels 1', '--mean', 'one number per channel (1)'),
    ('--mean 0.5 --channels 3', '--mean', 'one number per channel (3)'),
    ('--std 0', '--std', 'must be more than 0, got 0'),
    ('--std 1 1', '--std', 'one number per channel'),
    ('--std 0.5 -1e-3 0.5', '--std', 'must be more than 0, got -1e-3'),
    ('--std inf', '--std', 'must be finite'),
    ('--ignore_index none', '--ignore_index', 'not a whole number'),
    ('--loss cross_entropy', '--loss', 'known: bce, ce, charbonnier, dice'),
    ('--loss CE', '--loss', 'did you mean ce?'),
    ('--loss ce+0.5*focel', '--loss', "unknown loss 'focel'; did you mean focal?"),
    ('--loss ce+', '--loss', 'is not NAME or WEIGHT*NAME, or several joined by +, for example ce+0.5*dice'),
    ('--loss ce*0.5', '--loss', 'is not NAME or WEIGHT*NAME'),
    ('--loss ce-0.5*focal', '--loss', 'is not NAME or WEIGHT*NAME'),
    ('--loss 0*ce', '--loss', 'the weight of ce must be more than 0 and finite, not 0'),
    ('--loss 1e999*ce', '--loss', 'must be more than 0 and finite'),
    ('--loss ce+2*ce', '--loss', 'ce is there twice'),
    ('--loss=', '--loss', 'is not NAME or WEIGHT*NAME'),
    ('--loss ce+dice', '--loss', 'dice is for segmentation, not for task classification (losses for it: ce, focal)'),
    ('--loss l1', '--loss', 'l1 is for regression and restoration, not for task classification'),
    ('--loss_args gamma', '--loss_args', "'gamma' is not NAME=VALUE"),
    ('--loss focal --loss_args gamma=1 gamma=2', '--loss_args', 'gamma=1 gamma=2: a name is there twice'),
    ('--loss focal --loss_args delta=1', '--loss_args', '--loss focal takes no delta (it takes: gamma, alpha)'),
    ('--loss_args gamma=1', '--loss_args', '--loss ce takes no gamma (it takes: nothing)'),
    ('--loss focal --label_smoothing 0.1', '--label_smoothing', 'has no effect on --loss focal: leave it out; of the'),
    ('--metrics aurok', '--metrics', "unknown metric 'aurok'; did you mean auroc?"),
    ('--metrics acc', '--metrics', 'acc is always there with task classification; --metrics names further ones'),
    ('--metrics psnr', '--metrics', 'psnr is not for task classification (further metrics for it: auroc, acc_top5)'),
    ('--metrics auroc auroc', '--metrics', 'auroc auroc: a name is there twice'),
    ('--metrics acc_top5 --num_classes 5', '--metrics', 'acc_top5 needs 6 classes or more, and there are 5'),
    ('--label_smoothing 1', '--label_smoothing', 'at least 0 and less than 1, got 1'),
    ('--label_smoothing -0.1', '--label_smoothing', 'got -0.1'),
    ('--class_weights 1 x', '--class_weights', "'x' is not a number"),
    ('--class_weights 1 -1', '--class_weights', 'must be at least 0, got -1'),
    ('--class_weights 0 0 0', '--class_weights', 'all are 0'),
    ('--class_weights 1 2 --num_classes 3', '--class_weights', '2 given for 3 classes'),
    ('--class_weights 1 2 --class_names names.txt', '--class_weights', '2 given for 3 classes'),
    ('--val_list none.txt', '--val_list', "'none.txt' does not exist (looked in"),
    ('--val_list=', '--val_list', "'' does not exist"),
    ('--val_list ~no_such_user_here/val.txt', '--val_list', 'does not exist'),
    (f'--val_list {"v" * 5000}', '--val_list', 'does not exist'),
    ('--data_root nowhere', '--data_root', "'nowhere' does not exist"),
    ('--data_root pictures', '--data_root', 'not used by data_type digits'),
    ('--data_type mnist --data_root val.txt', '--data_root', 'val.txt is not a directory'),
    ('--cache_dir cache', '--cache_dir', 'keeps the decoded pictures of mem_list, and digits has none; leave it out'),
    ('--cache_dir val.txt', '--cache_dir', "'val.txt' is not a directory"),
    ('--download', '--download', 'only mnist, fashion_mnist, cifar10, cifar100'),
    ('--download=yes', '--download', 'takes no value'),
    ('--no_download=1', '--no_download', 'takes no value'),
    ('--load_model_path none.pth', '--load_model_path', "'none.pth' does not exist"),
    ('--load_model_path pictures', '--load_model_path', f'name the file, {{place}}{os.sep}pictures{os.sep}best.pth'),
    ('--load_not_strict=1', '--load_not_strict', 'takes no value'),
    ('--trust_checkpoint=1', '--trust_checkpoint', 'takes no value'),
    ('--strict_record=1', '--strict_record', 'takes no value'),
    ('--report=out.html', '--report', 'takes no value'),
    ('--save_prefix a/b', '--save_prefix', 'cannot be part of a directory name'),
    ('--checkpoints_dir val.txt', '--checkpoints_dir', "'val.txt' is not a directory"),
    ('--checkpoints_dir=', '--checkpoints_dir', "'' is not a directory"),
    ('--gpus', '--gpus', 'expected at least one argument'),
    ('--gpus 0,1', '--gpus', 'blanks separate several, no commas'),
    ('--gpus -1', '--gpus', 'must be at least 0, got -1'),
    ('--gpus all', '--gpus', 'not a whole number'),
    ('--gpus 1 0 1', '--gpus', '1 0 1: an index is there twice'),
    ('--device gpu', '--device', "choose from 'auto', 'cpu', 'cuda'"),
    ('--seed -1', '--seed', 'must be at least 0'),
    ('--seed 9223372036854775808', '--seed', 'less than 9223372036854775808'),
    (f'--seed 1{"0" * 400}', '--seed', 'less than 9223372036854775808'),
    (f'--seed 1{"0" * 5000}', '--seed', 'is not a whole number'),
    ('--batch_size 0', '--batch_size', 'must be at least 1, got 0'),
    ('--batch_size 1e3', '--batch_size', "'1e3' is not a whole number"),
    ('--num_workers -1', '--num_workers', 'must be at least 0'),
    ('--num_workers 99999', '--num_workers', 'at most 1024'),
    ('--threads 0', '--threads', 'must be at least 1'),
    ('--threads 99999999999', '--threads', 'at most 1024'),
    ('--print_freq 0', '--print_freq', 'must be at least 1'),
    ('--amp half', '--amp', "choose from 'off', 'bf16', 'fp16'"),
    ('--channels_last=1', '--channels_last', 'takes no value'),
    ('--compile --gpus 0 1', '--compile', 'not with several --gpus'),
    ('--print_freq 2.5', '--print_freq', 'not a whole number'),
    ('--deterministic=1', '--deterministic', 'takes no value'),
]
REFUSED_TRAIN = [
    ('--sync_bn=1', '--sync_bn', 'takes no value'),
    ('--parallel dp', '--parallel', "invalid choice: 'dp'"),
    ('--train_list none.txt', '--train_list', "'none.txt' does not exist"),
    ('--train_list train.txt', '--train_list', 'digits has its own pictures'),
    ('--epochs 0', '--epochs', 'must be at least 1, got 0'),
    ('--epochs 1.0', '--epochs', "'1.0' is not a whole number"),
    ('--optimizer Adam', '--optimizer', "unknown optimizer 'Adam'; did you mean adam"),
    ('--decay_weights_only', '--decay_weights_only', 'there is no --weight_decay'),
    ('--lr_of backbone', '--lr_of', "'backbone' is not PART=X, for example backbone=0.1"),
    ('--lr_of =1', '--lr_of', "'=1' is not PART=X"),
    ('--lr_of head=1 backbone=-1', '--lr_of', 'must be at least 0, got -1'),
    ('--schedule cosin', '--schedule', 'did you mean cosine?'),
    ('--schedule step', '--lr_steps', '--schedule step needs it: when the learning rate changes'),
    ('--schedule multistep', '--lr_steps', '--schedule multistep needs it: when the learning rate changes'),
    ('--schedule step --lr_steps 2 3', '--lr_steps', 'takes one number; several epochs: --schedule multistep'),
    ('--schedule multistep --lr_steps 3 2', '--lr_steps', '3.0 2.0: each must be later than the one before'),
    ('--lr_steps 3', '--lr_steps', 'only for --schedule step or multistep; leave it out'),
    (
        '--gamma 0.5',
        '--gamma',
        'only for --schedule step or multistep or exponential or plateau; leave it out or give 0.1',
    ),
    ('--gamma 1 --schedule exponential', '--gamma', 'less than 1, got 1'),
    ('--schedule cosine --power 2', '--power', 'only for --schedule poly'),
    ('--lr_min 0.1', '--lr_min', 'only for --schedule cosine or plateau'),
    ('--schedule cosine --lr_min 0.1 --lr 0.1', '--lr_min', '0.1 is not below --lr 0.1'),
    ('--plateau_patience 3', '--plateau_patience', 'only for --schedule plateau'),
    ('--schedule onecycle --warmup_epochs 1', '--warmup_epochs', 'onecycle has a rise of its own'),
    ('--schedule onecycle --warmup_steps 1', '--warmup_steps', 'onecycle has a rise of its own'),
    ('--warmup_epochs 1 --warmup_steps 9', '--warmup_steps', 'there is --warmup_epochs too'),
    ('--warmup_epochs 3 --epochs 3', '--warmup_epochs', '3 is not below --epochs 3'),
    ('--accumulate 0', '--accumulate', 'must be at least 1, got 0'),
    ('--clip_norm 0', '--clip_norm', 'must be more than 0, got 0'),
    ('--clip_value -1', '--clip_value', 'must be more than 0, got -1'),
    ('--on_nan ignore', '--on_nan', "choose from 'stop', 'skip', 'rollback'"),
    ('--ema 1', '--ema', 'less than 1, got 1'),
    ('--max_steps 0', '--max_steps', 'must be at least 1, got 0'),
    ('--monitor test/acc', '--monitor', "'test/acc' is no column of history.csv such as val/acc"),
    ('--monitor val/', '--monitor', "'val/' is no column"),
    ('--mode higher', '--mode', "choose from 'max', 'min'"),
    ('--patience 0', '--patience', 'must be at least 1, got 0'),
    ('--min_epochs 3', '--min_epochs', 'there is no --patience'),
    ('--min_epochs 30 --patience 3', '--min_epochs', '30 is more than --epochs 10'),
    ('--keep_top -1', '--keep_top', 'must be at least 0, got -1'),
    ('--dry_run --find_lr', '--find_lr', 'not with --dry_run'),
    ('--dry_run=yes', '--dry_run', 'takes no value'),
    ('--add_graph=yes', '--add_graph', 'takes no value'),
    ('--histograms=yes', '--histograms', 'takes no value'),
    ('--lr', '--lr', 'expected one argument (if it begins with -: --lr=-...)'),
    ('--lr fast', '--lr', "'fast' is not a number"),
    ('--lr=', '--lr', "'' is not a number"),
    ('--lr 0', '--lr', 'must be more than 0, got 0'),
    ('--lr -1e-3', '--lr', 'must be more than 0, got -1e-3'),
    ('--lr -.5E+2', '--lr', 'must be more than 0, got -.5E+2'),
    ('--lr nan', '--lr', 'must be finite, got nan'),
    ('--lr -inf', '--lr', 'must be finite, got -inf'),
    ('--lr 1e400', '--lr', 'must be finite, got 1e400'),
    ('--lr 0,1', '--lr', "'0,1' is not a number"),
    ('--momentum 1', '--momentum', 'at least 0 and less than 1, got 1'),
    ('--momentum -0.1', '--momentum', 'got -0.1'),
    ('--beta 1', '--beta', 'less than 1, got 1'),
    ('--beta -0.1', '--beta', 'at least 0'),
    ('--beta x', '--beta', 'not a number'),
    ('--weight_decay -1e-4', '--weight_decay', 'must be at least 0, got -1e-4'),
    ('--augment strng', '--augment', 'did you mean strong?'),
    ('--augment all', '--augment', 'known: affine, crop, flip, none, standard, strong'),
    ('--shuffle_buffer 0', '--shuffle_buffer', 'must be at least 1'),
    ('--shuffle_buffer 5', '--shuffle_buffer', 'only data_type stream uses it'),
    ('--train_length 0', '--train_length', 'must be at least 1'),
    ('--train_length 50', '--train_length', 'only data_type stream uses it'),
    (f'{STREAM} --num_classes 3 --schedule cosine', '--train_length', '--schedule cosine has to know how many samples'),
    (f'{STREAM} --num_classes 3 --warmup_epochs 1', '--train_length', '--warmup_epochs has to know how many samples'),
    (STREAM, '--num_classes', 'a stream is not read beforehand to count them: give it or --class_names'),
    (
        f'{STREAM} --num_classes 3 --train_list train.txt',
        '--train_list',
        'takes a .tar, .csv, .jsonl file or a directory',
    ),
    ('--data_type stream --num_classes 3 --train_list pictures', '--val_list', 'with such, and none is given'),
    (f'{STREAM} --num_classes 3 --balance', '--balance', 'does not know its labels beforehand; give --class_weights'),
    (f'{" ".join(SEGMENTATION)} --num_classes 3 --balance', '--balance', 'for segmentation give --class_weights'),
    ('--balance --class_weights 1 2', '--balance', 'rare classes would count twice; leave one of the two out'),
    ('--skip_bad', '--skip_bad', 'digits has no files of single pictures; leave it out, or give --data_type list or'),
    (f'{STREAM} --num_classes 3 --skip_bad', '--skip_bad', 'a stream is not read beforehand; leave it out, or give --'),
    ('--mixup 0', '--mixup', 'must be more than 0, got 0'),
    ('--mixup on', '--mixup', "'on' is not a number"),
    ('--mixup 0.2 --ignore_index 0', '--mixup', 'a sample that is ignored cannot be mixed: leave out --ignore_index'),
    ('--mixup 0.2 --loss ce+focal', '--mixup', 'class probabilities, which --loss focal does not take; ce does'),
    ('--monitor val/auroc', '--monitor', 'auroc is computed only when named: add --metrics auroc'),
    (
        f'{" ".join(SEGMENTATION)} --num_classes 3 --loss dice --class_weights 1 2 3',
        '--class_weights',
        'has no effect on --loss dice: leave it out; of the losses for segmentation ce and focal can use it',
    ),
    (f'{" ".join(SEGMENTATION)} --num_classes 3 --metrics auroc', '--metrics', 'auroc is not for task segmentation'),
    (f'{" ".join(SEGMENTATION)} --num_classes 3 --mixup 1', '--mixup', 'needs task classification, not segmentation'),
    ('--cutmix -1', '--cutmix', 'must be more than 0, got -1'),
    ('--cutmix nan', '--cutmix', 'must be finite, got nan'),
    ('--cutmix 1 --ignore_index 0', '--cutmix', 'a sample that is ignored cannot be mixed'),
    (f'{" ".join(SEGMENTATION)} --num_classes 3 --cutmix 1', '--cutmix', 'needs task classification'),
    ('--pretrained=1', '--pretrained', 'takes no value'),
    ('--fast=1', '--fast', 'takes no value'),
    ('--strict_record', '--strict_record', 'there is no --load_model_path or --resume that it could be about'),
    ('--trust_checkpoint', '--trust_checkpoint', 'there is no --load_model_path that it could be about'),
    ('--load_exclude', '--load_exclude', 'expected at least one argument'),
    ('--load_exclude fc', '--load_exclude', 'there is no --load_model_path that it could be about'),
    ('--freeze', '--freeze', 'expected at least one argument'),
    ('--print_model=1', '--print_model', 'takes no value'),
    ('--model_dir val.txt', '--model_dir', "'val.txt' is not a directory"),
    ('--save_freq 0', '--save_freq', 'must be at least 1'),
    ('--save_steps 0', '--save_steps', 'must be at least 1'),
    ('--save_minutes 0', '--save_minutes', 'must be more than 0'),
    ('--profile=1', '--profile', 'takes no value'),
    ('--resume nowhere', '--resume', "'nowhere' does not exist"),
    ('--resume', '--resume', 'expected one argument'),
    ('--data_type list', '--train_list', 'needed for data_type list: a list file'),
    ('--data_type mem_list --train_list train.txt', '--val_list', 'needed for data_type mem_list: a list file'),
    ('--data_type list --train_list val.txt --val_list val.txt --cache_dir .', '--cache_dir', 'and list has none'),
    ('--data_type folder', '--train_list', 'a directory with one sub-directory per class'),
    ('--data_type folder --train_list train.txt --val_list pictures', '--train_list', 'takes a directory'),
    ('--data_type folder --train_list pictures --val_list val.txt', '--val_list', 'val.txt is a file'),
    ('--data_type list --train_list pictures --val_list val.txt', '--train_list', 'pictures is a directory'),
    ('--data_type cifar10 --train_list train.txt', '--train_list', 'cifar10 has its own pictures'),
    ('--data_type folder --train_list pictures --val_list pictures --data_root .', '--data_root', 'not used by'),
    ('--data_type array', '--train_list', 'needed for data_type array: a .csv or .npz file'),
    ('--data_type array --train_list pictures --val_list val.txt', '--train_list', 'takes a .csv or .npz file, '),
    ('--task segmentation', '--num_classes', 'needed for segmentation'),
    (
        '--task segmentation --num_classes 3',
        '--data_type',
        'digits has no masks; segmentation takes list or mem_list or stream',
    ),
    ('--task segmentation --num_classes 3 --data_type cifar10', '--data_type', 'cifar10 has no masks'),
    ('--task segmentation --num_classes 3 --data_type mnist', '--data_type', 'mnist has no masks'),
]
REFUSED_TEST = [
    ('--save_viz=1', '--save_viz', 'takes no value'),
    ('--save_outputs=1', '--save_outputs', 'takes no value'),
    ('--code old', '--code', "invalid choice: 'old'"),
    ('--viz_freq 0', '--viz_freq', 'must be at least 1'),
    ('--viz_freq all', '--viz_freq', 'not a whole number'),
    ('--result_dir val.txt', '--result_dir', "'val.txt' is not a directory"),
    ('--data_type list', '--val_list', 'needed for data_type list'),
    ('--val_list val.txt', '--val_list', 'digits has its own pictures; own ones need --data_type list or folder'),
]


def named(cases):
    return [pytest.param(*case, id=case[0][:60]) for case in cases]


@pytest.mark.parametrize(('words', 'option', 'says'), named(REFUSED_COMMON + REFUSED_TRAIN))
def test_train_refuses(refusal, place, words, option, says):
    line = refusal(prepare_train_args, ['--checkpoints_dir', 'runs', *words.split()])
    assert line.startswith('train.py: error: argument ')
    assert option in line.split(': ')[2].removeprefix('argument ').split('/')
    assert says.format(place=place) in line
    assert line.endswith('(see train.py --help)')


@pytest.mark.parametrize(('words', 'option', 'says'), named(REFUSED_COMMON + REFUSED_TEST))
def test_eval_refuses(refusal, place, words, option, says):
    line = refusal(prepare_test_args, ['--load_model_path', 'model.pth', *words.split()])
    assert line.startswith('eval.py: error: argument ')
    assert option in line.split(': ')[2].removeprefix('argument ').split('/')
    assert says.format(place=place) in line
    assert line.endswith('(see eval.py --help)')


def test_a_test_of_features_can_be_repeated():
    words = ['--load_model_path', 'model.pth', '--data_type', 'array', '--val_list', 'val.txt', '--model_type', 'mlp']
    trained = {'task': 'classification', 'num_classes': 2, 'channels': 5, 'image_size': [], 'mean': [0.5] * 5}
    args = prepare_test_args(words, trained)
    again = parse_test_args([f'@{args.result_dir}/args.txt'], trained)
    assert (again.channels, again.image_size, again.mean) == (5, [], [0.5] * 5)


def test_every_option_is_among_the_refusals():
    for parser, cases in (
        (options.train_parser(), REFUSED_COMMON + REFUSED_TRAIN),
        (options.test_parser(), REFUSED_COMMON + REFUSED_TEST),
    ):
        refused = {option.removeprefix('--').removeprefix('no_') for _, option, _ in cases}
        assert {action.dest for action in parser._actions} - {'help'} <= refused


def test_eval_needs_a_checkpoint(refusal):
    for function in (prepare_test_args, get_load_model_path):
        assert '--load_model_path: needed: the checkpoint to test' in refusal(function, [])
        line = refusal(function, ['--load_model_path', 'pictures'])
        assert f'pictures is a directory; name the file, {Path.cwd()}/pictures/best.pth' in line


@pytest.mark.parametrize(
    ('words', 'says'),
    [
        (['--weigth-decay', '1'], 'unknown option --weigth_decay; did you mean --weight_decay?'),
        (['--epoch', '3'], 'did you mean --epochs or'),  # no abbreviation, which a new option could make ambiguous
        (['--Epochs=3'], 'unknown option --Epochs; did you mean --epochs?'),
        (['-lr', '3'], 'unknown option -lr; did you mean --lr?'),
        (['—lr', '3'], 'unknown option —lr; did you mean --lr?'),  # an em dash, from a web page
        (['–lr=3'], 'unknown option –lr; did you mean --lr?'),
        (['lr=3'], "'lr=3' belongs to no option; did you mean --lr?"),
        (['epochs', '3'], "'epochs' belongs to no option; did you mean --epochs?"),
        (['--lr', '3', 'extra'], "'extra' belongs to no option"),
        (['--download', 'yes'], "'yes' belongs to no option"),
        (['--no_lr'], 'unknown option --no_lr; did you mean --lr'),
        (['--save_viz'], 'unknown option --save_viz'),
        (['--', '--lr', '3'], "'--' belongs to no option"),
        (['--qqqq'], 'unknown option --qqqq (see'),
        (['--line\nbreak'], 'unknown option --line break'),
    ],
)
def test_unknown_options_are_named_with_what_comes_close(refusal, words, says):
    assert says in refusal(prepare_train_args, ['--checkpoints_dir', 'runs', *words])


def test_options_of_training_are_unknown_to_the_test(refusal):
    line = refusal(prepare_test_args, ['--load_model_path', 'model.pth', '--train_list', 'train.txt'])
    assert 'unknown option --train_list; did you mean --val_list' in line


@pytest.mark.parametrize(('option', 'module', 'registry'), REGISTRIES)
def test_a_wrong_name_is_answered_with_the_whole_list(refusal, option, module, registry):
    line = refusal(prepare_train_args, [f'--{option}', 'zzz'])
    names = read_registry(module, registry)
    assert len(names) >= 2
    assert sorted(names) == [name for name in line.split('known: ')[1].split(')')[0].split(', ') if name in names]


NO_NAMES = ['a/b', '../a', '/tmp', '..', '.', '', ' ', ' a', 'a ', 'a\\b', 'a\nb', 'a\tb', 'a\0', '\x1b[1m', 'a\x7f',
            'a\x85', 'a\u2028b', 'x' * 101, '\udcff']  # fmt: skip


@pytest.mark.parametrize('name', NO_NAMES)
def test_names_that_could_leave_their_directory_or_harm_a_listing_are_refused(refusal, name):
    line = refusal(prepare_train_args, ['--checkpoints_dir', 'runs', f'--save_prefix={name}'])
    assert 'argument --save_prefix: ' in line
    assert 'cannot be part of a directory name: use 1 to 100 characters, no / or' in line
    assert '--save_prefix' in refusal(prepare_test_args, ['--load_model_path', 'model.pth', f'--save_prefix={name}'])


@pytest.mark.parametrize(
    'name', ['a b', '丹炉', 'x' * 100, '...', 'a.b', '-x', '--x', "it's", '#1', '@home', 'lr=1e-3', '*?']
)
def test_other_names_are_taken_as_they_are(name):
    args = new_run(f'--save_prefix={name}')
    assert Path(args.model_dir) == Path.cwd() / 'runs' / f'lenet_{name}'
    assert Path(args.model_dir, 'args.txt').is_file()
    assert parse_train_args([f'@{args.model_dir}/args.txt']).save_prefix == name


@pytest.mark.parametrize('name', ['line\nbreak', 'return\rhere', 'not_utf8\udcff'])
def test_paths_that_no_text_file_can_record_are_refused(refusal, name):
    Path(name).mkdir()
    Path(name, 'val.txt').write_text('')
    for option, value in (('--val_list', f'{name}/val.txt'), ('--checkpoints_dir', name), ('--model_dir', name)):
        line = refusal(prepare_train_args, [f'{option}={value}'])
        assert f'argument {option}: ' in line
        assert 'holds a line break or is not UTF-8' in line


def test_class_names_that_no_line_can_hold_are_refused(refusal):
    for name in ('', ' ', 'a\nb', '\0'):
        assert 'argument --class_names' in refusal(prepare_train_args, ['--class_names', 'a', name])
    Path('classes.txt').write_text('a\n--\n')
    assert "argument --class_names: '--' is no name" in refusal(prepare_train_args, ['--class_names', 'classes.txt'])
    Path('classes.txt').write_text('only\n')
    assert "'classes.txt' holds 1 names" in refusal(prepare_train_args, ['--class_names', 'classes.txt'])


# ---------------------------------------------------------------------------------------------------------------------
# the programs


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
def test_a_mistake_is_one_line_and_exit_code_2_before_torch_is_imported(place, program, words, says):
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
    done = danlu(program, '--help', flags=['-X', 'importtime'])
    assert done.returncode == 0
    assert ' options' in done.stderr
    assert 'torch' not in done.stderr
    parser = options.train_parser() if program == 'train.py' else options.test_parser()
    words = [word.rstrip('.;,') for word in done.stdout.replace(',', ' ').split()]
    for action in parser._actions:
        assert set(action.option_strings) <= set(words)
        assert action.help
    for option, module, registry in REGISTRIES:
        if program == 'train.py' or option not in ('augment', 'optimizer', 'schedule'):
            assert set(read_registry(module, registry)) <= set(words)
    assert {'torchvision:<name>', 'timm:<name>'} <= set(words)
    wanted = [*ISSUE_COMMON, *(ISSUE_TRAIN if program == 'train.py' else ISSUE_TEST)]
    assert {f'--{name}' for name in wanted} <= set(words)
    for title in ('what: model, data and task:', 'where: files:', 'how: machine:'):
        assert title in done.stdout


def test_help_answers_in_under_300_ms():
    seconds = []
    while len(seconds) < 10 and min(seconds, default=1) >= 0.3:  # others may be using the cores
        started = time.perf_counter()
        assert danlu('train.py', '--help').returncode == 0
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.3


# ---------------------------------------------------------------------------------------------------------------------
# parsing


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
    Path('on.txt').write_text('--load-not-strict\n')
    Path('off.txt').write_text(f'{spelling}\n')
    assert parse_train_args(['@on.txt']).load_not_strict is True
    assert parse_train_args(['@on.txt', spelling]).load_not_strict is False
    assert parse_train_args(['@on.txt', '@off.txt']).load_not_strict is False
    assert parse_train_args(['@off.txt', '@on.txt']).load_not_strict is True
    assert parse_train_args([spelling, '--load-not-strict']).load_not_strict is True


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
    args = new_run('--class_names', 'cat', 'dog', '--palette', 'palette.txt')
    assert args.palette == ['#c86400', '#00ff00']
    Path('palette.txt').unlink()
    again = parse_train_args([f'@{args.model_dir}/args.txt'])
    assert again.palette == args.palette
    recorded = trained('--class_names', 'cat', 'dog', '--palette', *args.palette)
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
    assert train_args('--palette', 'palette.txt').class_names is None  # whose names are in the data


def test_class_names_from_a_file_need_not_be_there_when_the_run_is_repeated():
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


def test_a_data_set_of_ones_own_takes_the_lists_it_likes(monkeypatch, place):
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


def test_values_that_a_notebook_has_need_not_be_strings():
    args = parse_train_args(['--lr', 0.01, '--train_list', Path('train.txt'), '--val_list', Path('val.txt'),
                             '--data_type', 'list', '--gpus', 0, 1])  # fmt: skip
    assert (args.lr, args.gpus) == (0.01, [0, 1])
    assert args.train_list == str(Path('train.txt').absolute())


def test_without_argv_the_command_line_is_read(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['train.py', '--lr', '0.25', '--checkpoints_dir', 'runs'])
    assert parse_train_args().lr == 0.25
    assert prepare_train_args().lr == 0.25
    monkeypatch.setattr(sys, 'argv', ['eval.py', '--load_model_path', 'model.pth', '--viz_freq', '3'])
    assert parse_test_args().viz_freq == 3
    assert get_load_model_path() == str(Path('model.pth').absolute())
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


# ---------------------------------------------------------------------------------------------------------------------
# args.txt


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
        ['--mean', '-1e-05', '-0.5', '1e+16', '--std', '1e-300', '0.1', '3'],
        ['--mean', '0.1', '--std', '0.30000000000000004'],
        ['--class_weights', '0', '1e-7', '123456789.123456789'],
        ['--image_size', '28'],
        ['--image_size', '180', '240', '--gpus', '0', '1', '--seed', '9223372036854775807'],
        ['--lr', '1e-05', '--weight_decay', '5e-324', '--label_smoothing', '0.1'],
        ['--load_not_strict', '--pretrained', '--download', '--data_type', 'mnist'],
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
    args = new_run('--lr', '0.01', '--gpus', '0', '1', '--save-prefix', 'my run', '--load-not-strict')
    lines = Path(args.model_dir, 'args.txt').read_text(encoding='utf-8').splitlines()
    assert lines[0] == f"# python train.py '@{place}/runs/lenet_my run/args.txt'"
    for name in vars(args):
        assert len([line for line in lines if line.lstrip('# ').startswith((f'--{name}', f'--no_{name}'))]) >= 1
    assert len(lines) == 3 + len(vars(args))
    assert '--lr=0.01  # default: 0.001' in lines
    assert '--gpus 0 1  # default: not set' in lines
    assert '--save_prefix="my run"  # default: exp' in lines
    assert '--load_not_strict  # default: off' in lines
    assert '--momentum=0.9' in lines
    assert '--no_download' in lines
    assert '# --num_classes (not set)' in lines
    assert '# --resume (not set)' in lines
    assert f'# --model_dir="{args.model_dir}"' in lines
    assert sorted(line.split('=')[0].split()[0] for line in lines if '# default: ' in line) == [
        '--checkpoints_dir', '--gpus', '--load_not_strict', '--lr', '--save_prefix'
    ]  # fmt: skip
    assert sorted(changed_options(args)) == sorted(
        ['lr=0.01', 'gpus=0 1', 'save_prefix=my run', 'load_not_strict=on', f'checkpoints_dir={place}/runs']
    )


def test_the_whole_list_of_issue_2_is_there():
    assert set(ISSUE_COMMON + ISSUE_TRAIN) <= set(vars(parse_train_args([])))
    assert set(ISSUE_COMMON + ISSUE_TEST) <= set(vars(parse_test_args(['--load_model_path', 'model.pth'])))
    assert set(TAKEN_FROM_CHECKPOINT) <= set(vars(parse_test_args(['--load_model_path', 'model.pth'])))
    assert set(SAFE_ON_RESUME) <= set(vars(parse_train_args([])))


def test_args_txt_takes_a_note_and_replaces_what_was_there():
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
    assert set(NOT_REPEATED) >= {'model_dir', 'resume'}


# ---------------------------------------------------------------------------------------------------------------------
# directories


def test_names_of_run_directories(place):
    assert new_run().model_dir == str(place / 'runs' / 'lenet_exp')
    assert new_run('--save_prefix', 'x').model_dir == str(place / 'runs' / 'lenet_x')
    assert new_run('--model_type', 'torchvision:resnet18').model_dir == str(place / 'runs' / 'torchvision_resnet18_exp')
    odd = Path(new_run('--model_type', 'torchvision:../../out').model_dir)
    assert odd.parent == place / 'runs'
    assert sorted(os.listdir()) == sorted(['runs', 'train.txt', 'val.txt', 'model.pth', 'pictures', 'names.txt',
                                           'empty.txt', 'gbk.txt'])  # fmt: skip


def test_nothing_that_exists_is_written_over(place):
    runs = place / 'runs'
    runs.mkdir()
    (runs / 'lenet_exp').write_text('a file')
    (runs / 'lenet_exp_2').mkdir()
    (runs / 'lenet_exp_3').symlink_to('nowhere')
    assert new_run().model_dir == str(runs / 'lenet_exp_4')
    assert (runs / 'lenet_exp').read_text() == 'a file'
    assert tree(runs / 'lenet_exp_2') == []
    assert not (runs / 'nowhere').exists()


def test_a_model_dir_of_ones_own(place):
    assert new_run('--model_dir', 'runs/group/mine').model_dir == str(place / 'runs' / 'group' / 'mine')
    assert new_run('--model_dir', 'runs/group/mine').model_dir == str(place / 'runs' / 'group' / 'mine_2')
    assert new_run('--model_dir', 'runs/a/../b').model_dir == str(place / 'runs' / 'b')


@pytest.mark.parametrize('wanted', ['elsewhere', 'runs', 'runs/', 'runs/../x', 'runs_2/x', '/', '/tmp', 'runs/..', '.'])
def test_a_model_dir_outside_the_checkpoints_is_refused(refusal, wanted):
    line = refusal(prepare_train_args, ['--checkpoints_dir', 'runs', '--model_dir', wanted])
    assert 'argument --model_dir: ' in line
    assert 'is not below' in line
    assert 'for another place give --checkpoints_dir' in line


def test_a_link_does_not_lead_out_of_the_checkpoints(refusal, place):
    Path('runs').mkdir()
    Path('outside').mkdir()
    Path('runs/out').symlink_to(place / 'outside')
    assert 'is not below' in refusal(prepare_train_args, ['--checkpoints_dir', 'runs', '--model_dir', 'runs/out/x'])
    assert 'is not below' in refusal(prepare_train_args, ['--checkpoints_dir', 'runs', '--model_dir', 'runs/out/y/x'])
    argv = ['--load_model_path', 'pictures/model.pth', '--checkpoints_dir', 'runs', '--result_dir', 'runs/out/x']
    Path('pictures/model.pth').write_text('')
    assert 'is not below' in refusal(prepare_test_args, argv)
    assert tree('outside') == []


def test_a_run_that_was_moved_and_linked_does_not_stop_the_next_one(place):
    Path('big_disk/lenet_exp').mkdir(parents=True)
    Path('runs').mkdir()
    Path('runs/lenet_exp').symlink_to(place / 'big_disk' / 'lenet_exp')
    assert new_run().model_dir == str(place / 'runs' / 'lenet_exp_2')
    Path('runs/lenet_exp/best.pth').write_text('')
    args = prepare_test_args(['--load_model_path', 'runs/lenet_exp/best.pth'])
    assert Path(args.result_dir, 'args.txt').is_file()
    assert Path('big_disk/lenet_exp/best/val_digits_exp/args.txt').is_file()


def test_the_checkpoints_directory_may_be_a_link(place):
    Path('big_disk').mkdir()
    Path('runs').symlink_to('big_disk')
    assert new_run().model_dir == str(place / 'runs' / 'lenet_exp')
    assert new_run('--model_dir', 'runs/mine').model_dir == str(place / 'runs' / 'mine')
    assert sorted(os.listdir('big_disk')) == ['lenet_exp', 'mine']


def test_directories_of_tests(place):
    Path('runs/lenet_exp').mkdir(parents=True)
    for name in ('best.pth', 'epoch_0010.pth', 'weights', 'v1.2.pt'):
        Path('runs/lenet_exp', name).write_text('')

    def result_dir(checkpoint, *argv):
        args = prepare_test_args(['--load_model_path', f'runs/lenet_exp/{checkpoint}', *argv])
        assert Path(args.result_dir, 'args.txt').is_file()
        return str(Path(args.result_dir).relative_to(place / 'runs'))

    own = ['--data_type', 'list', '--val_list', 'val.txt']
    assert result_dir('best.pth') == 'lenet_exp/best/val_digits_exp'
    assert result_dir('best.pth') == 'lenet_exp/best/val_digits_exp', 'a test of the same thing'
    assert result_dir('best.pth', '--batch_size', '7') == 'lenet_exp/best/val_digits_exp_2'
    assert result_dir('best.pth', '--batch_size', '7') == 'lenet_exp/best/val_digits_exp_2'
    assert result_dir('best.pth') == 'lenet_exp/best/val_digits_exp'
    assert result_dir('best.pth', *own) == 'lenet_exp/best/val_val_exp'
    assert result_dir('best.pth', *own, '--save_prefix', 'night') == 'lenet_exp/best/val_val_night'
    assert result_dir('epoch_0010.pth') == 'lenet_exp/epoch_0010/val_digits_exp'
    assert result_dir('v1.2.pt') == 'lenet_exp/v1.2/val_digits_exp'
    assert result_dir('weights') == 'lenet_exp/weights_tests/val_digits_exp'
    assert result_dir('best.pth', '--result_dir', 'runs/lenet_exp/mine') == 'lenet_exp/mine'
    assert result_dir('best.pth', '--result_dir', 'runs/other', '--checkpoints_dir', 'runs') == 'other'
    assert Path('runs/lenet_exp/weights').read_text() == ''


@pytest.mark.parametrize('wanted', ['elsewhere', '.', 'pictures', 'pictures/../x', '/tmp'])
def test_a_result_dir_outside_is_refused(refusal, wanted):
    Path('pictures/best.pth').write_text('')
    argv = ['--load_model_path', 'pictures/best.pth', '--checkpoints_dir', 'runs', '--result_dir', wanted]
    line = refusal(prepare_test_args, argv)
    assert 'argument --result_dir: ' in line
    assert 'is not below' in line


def test_a_place_where_no_directory_can_be_made_is_one_line(refusal, place):
    line = refusal(prepare_train_args, ['--checkpoints_dir', 'val.txt/runs'])
    assert f'cannot make the directory {place}/val.txt/runs/lenet_exp: Not a directory; --checkpoints_dir' in line
    Path('best').write_text('a file where the directory of tests has to go')
    Path('best.pth').write_text('')
    line = refusal(prepare_test_args, ['--load_model_path', 'best.pth'])
    assert 'cannot make the directory' in line
    assert '--result_dir gives another place' in line


def test_a_name_too_long_for_the_file_system_is_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        new_run('--save_prefix', '丹' * 100)
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err.count('\n') == 1
    assert 'cannot make the directory' in err


@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='root may write everywhere')
def test_an_unwritable_parent_is_one_line(refusal):
    Path('locked').mkdir(mode=0o500)
    line = refusal(prepare_train_args, ['--checkpoints_dir', 'locked'])
    assert 'cannot make the directory' in line
    assert 'Permission denied' in line
    Path('locked').chmod(0o700)


RACE = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(PROJECT)!r})
import options
print('ready', flush=True)
while not Path('go').exists():
    pass
for _ in range(5):
    print(options.prepare_train_args().model_dir, flush=True)
"""


def test_processes_that_start_at_once_get_different_directories(place):
    command = [sys.executable, '-c', RACE, '--checkpoints_dir', 'runs', '--save_prefix', 'race']
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline() == 'ready\n'
    assert not Path('runs').exists()  # so they also race to make it
    Path('go').touch()
    made = [line for process in processes for line in process.communicate(timeout=60)[0].splitlines()]
    assert [process.returncode for process in processes] == [0] * 4
    names = ['lenet_race', *(f'lenet_race_{k}' for k in range(2, 21))]
    assert sorted(made) == sorted(str(place / 'runs' / name) for name in names)
    for path in made:
        assert parse_train_args([f'@{path}/args.txt']).save_prefix == 'race'
        assert os.listdir(path) == ['args.txt']


def test_only_what_never_started_is_removed():
    kept, removed = new_run(), new_run()
    Path(kept.model_dir, 'log.txt').write_text('')
    remove_unstarted(kept.model_dir)
    remove_unstarted(removed.model_dir)
    assert tree('runs') == ['runs/lenet_exp', 'runs/lenet_exp/args.txt', 'runs/lenet_exp/log.txt']


def test_directories_for_namespaces_made_by_hand(place):
    args = Namespace(checkpoints_dir='runs', model_type='mine', save_prefix='x', model_dir=None)
    assert Path(get_train_model_dir(args)) == Path('runs/mine_x')
    args = Namespace(checkpoints_dir='runs', load_model_path='model.pth', val_list=None, data_type='digits',
                     save_prefix='x', result_dir=None)  # fmt: skip
    assert Path(get_test_result_dir(args)) == Path('model/val_digits_x')


# ---------------------------------------------------------------------------------------------------------------------
# a test takes what the checkpoint says


def trained(*argv):
    return vars(train_args(*argv))


def test_what_the_checkpoint_says_stands_in(place):
    recorded = trained('--model_type', 'unet', *SEGMENTATION, '--num_classes', '3', '--class_names', 'names.txt',
                       '--image_size', '20', '30', '--data_root', 'pictures', '--mean', '0.1', '--std', '0.2',
                       '--loss', 'dice', '--ignore_index', '7', '--batch_size', '3', '--seed', '5',
                       '--load_model_path', 'names.txt', '--save_prefix', 'long', '--gpus', '1')  # fmt: skip
    args = parse_test_args(['--load_model_path', 'model.pth'], recorded)
    assert {name: getattr(args, name) for name in TAKEN_FROM_CHECKPOINT} == {
        name: recorded[name] for name in TAKEN_FROM_CHECKPOINT
    }
    assert args.val_list == str(place / 'val.txt')
    # These belong to the run, not to what it made.
    assert (args.load_model_path, args.save_prefix, args.gpus) == (str(place / 'model.pth'), 'exp', None)


def test_the_command_line_wins_over_the_checkpoint(place):
    recorded = trained(*OWN_LISTS, '--num_classes', '3', '--batch_size', '3', '--image_size', '20', '--seed', '5')
    argv = ['--load_model_path', 'model.pth', '--val-list', 'train.txt', '--batch_size', '64', '--image_size', '8', '9']
    args = parse_test_args(argv, recorded)
    assert args.val_list == str(place / 'train.txt')
    assert args.batch_size == 64  # given, though equal to the default
    assert args.image_size == [8, 9]
    assert (args.data_type, args.num_classes, args.seed) == ('list', 3, 5)


def test_an_args_file_counts_as_the_command_line():
    Path('a.txt').write_text('--batch_size=7\n--image_size 5\n')
    args = parse_test_args(['--load_model_path', 'model.pth', '@a.txt'], trained('--batch_size', '3'))
    assert (args.batch_size, args.image_size) == (7, [5, 5])


def test_other_data_does_not_inherit_the_lists(refusal, place):
    recorded = trained(*OWN_LISTS, '--num_classes', '10', '--data_root', 'pictures')
    args = parse_test_args(['--load_model_path', 'model.pth', '--data_type', 'digits'], recorded)
    assert (args.data_type, args.val_list, args.data_root, args.num_classes) == ('digits', None, None, 10)
    argv = ['--load_model_path', 'model.pth', '--data_type', 'folder']
    assert 'argument --val_list: needed for data_type folder' in refusal(prepare_test_args, argv, recorded)
    args = parse_test_args([*argv, '--val_list', 'pictures'], recorded)
    assert (args.val_list, args.data_root) == (str(place / 'pictures'), None)
    args = parse_test_args(['--load_model_path', 'model.pth', '--data_type', 'list'], recorded)  # named, but the same
    assert (args.val_list, args.data_root) == (str(place / 'val.txt'), str(place / 'pictures'))


@pytest.mark.parametrize('kind', ['list', 'mem_list', 'folder'])
def test_data_of_another_machine_is_asked_for(refusal, kind):
    recorded = {'data_type': kind, 'val_list': '/no/such/place/val', 'num_classes': 3}
    line = refusal(prepare_test_args, ['--load_model_path', 'model.pth'], recorded)
    assert 'argument --val_list: /no/such/place/val, which the checkpoint names, does not exist here' in line
    recorded = {'data_type': 'mnist', 'data_root': '/no/such/place'}
    assert '--data_root' in refusal(prepare_test_args, ['--load_model_path', 'model.pth'], recorded)


def test_a_bare_state_dict_leaves_the_defaults():
    for nothing in (None, {}):
        args = parse_test_args(['--load_model_path', 'model.pth'], nothing)
        assert (args.model_type, args.data_type) == ('lenet', 'digits')


def test_counts_are_checked_against_the_checkpoint(refusal):
    argv = ['--load_model_path', 'model.pth', '--class_names', 'a', 'b']
    assert '2 given for 10 classes' in refusal(prepare_test_args, argv, {'num_classes': 10})
    argv = ['--load_model_path', 'model.pth', '--task', 'segmentation']
    assert 'digits has no masks' in refusal(prepare_test_args, argv, {'num_classes': 10})


# ---------------------------------------------------------------------------------------------------------------------
# going on with a run


@pytest.fixture
def run(place):
    """Return the directory (str) of a run that was interrupted."""
    Path('start.pth').write_text('')
    args = new_run('--lr', '0.02', '--epochs', '5', '--image_size', '28', '--class_names', 'names.txt', '--gpus', '0',
                   '--load_not_strict', '--load_model_path', 'start.pth')  # fmt: skip
    Path(args.model_dir, 'last.pth').write_text('')
    return args.model_dir


def test_a_resumed_run_has_its_own_options_and_directory(run, place):
    for where in (run, f'{run}/last.pth', 'runs/lenet_exp', 'runs/lenet_exp/'):
        before = tree('runs')
        args = prepare_train_args(['--resume', where])
        assert (args.lr, args.epochs, args.image_size, args.gpus) == (0.02, 5, [28, 28], [0])
        assert args.class_names == ['cat', 'dog', 'red fox']
        assert args.load_not_strict is True
        assert args.model_dir == run
        assert args.checkpoints_dir == str(place / 'runs')
        assert Path(args.resume) == (place / where)
        assert tree('runs') == before


def test_a_resumed_run_may_keep_its_pixels_elsewhere(place):
    words = '--data_type mem_list --train_list train.txt --val_list val.txt --cache_dir there'
    run = new_run(*words.split()).model_dir
    Path(run, 'last.pth').write_text('')
    assert parse_train_args(['--resume', run]).cache_dir == str(place / 'there')
    assert parse_train_args(['--resume', run, '--cache_dir', 'here']).cache_dir == str(place / 'here')


def test_the_pixels_of_a_test_are_kept_where_its_own_command_says(place):
    trained = {'data_type': 'mem_list', 'val_list': str(place / 'val.txt'), 'cache_dir': '/elsewhere'}
    assert parse_test_args(['--load_model_path', 'model.pth'], trained).cache_dir is None
    args = prepare_test_args(['--load_model_path', 'model.pth', '--cache_dir', 'here'], trained)
    assert args.cache_dir == str(place / 'here')
    assert f'--cache_dir={place}/here' in Path(args.result_dir, 'args.txt').read_text()


def test_safe_changes_are_applied_to_a_resumed_run(run):
    argv = ['--resume', run, *'--epochs 9 --print-freq 3 --save_freq 2 --num_workers 1 --gpus 1'.split()]
    args = parse_train_args([*argv, '--device', 'cpu'])
    assert (args.epochs, args.print_freq, args.save_freq, args.num_workers) == (9, 3, 2, 1)
    assert (args.gpus, args.device, args.lr) == ([1], 'cpu', 0.02)


@pytest.mark.parametrize(
    ('words', 'says'),
    [
        (['--lr', '0.1'], 'argument --lr: a resumed run keeps it as it is (0.02)'),
        (['--batch-size', '3'], 'argument --batch_size: a resumed run keeps it as it is (64)'),
        (['--image_size', '32'], 'argument --image_size: a resumed run keeps it as it is (28 28)'),
        (['--no_load_not_strict'], 'argument --load_not_strict: a resumed run keeps it as it is (on)'),
        (['--num_classes', '7'], 'argument --num_classes: a resumed run keeps it as it is (3)'),
        (['--data_root', 'pictures'], 'argument --data_root: a resumed run keeps it as it is (not set)'),
        (['--model_dir', 'runs/other'], 'argument --model_dir: a resumed run keeps it as it is ({run})'),
        (['--mixup', '0.2'], 'argument --mixup: a resumed run keeps it as it is (not set)'),
        (['--model_type', 'unet'], 'argument --model_type: a resumed run keeps it as it is (lenet)'),
    ],
)
def test_other_changes_of_a_resumed_run_are_refused(refusal, run, words, says):
    line = refusal(prepare_train_args, ['--resume', run, *words])
    assert says.format(run=run) in line
    assert f'only {", ".join(SAFE_ON_RESUME)} can change' in line
    assert f'python train.py @{run}/args.txt --{words[0].lstrip("-").removeprefix("no_").replace("-", "_")} ...' in line


def test_saying_again_what_a_run_has_is_no_change(run):
    said = '--lr 2e-2 --image_size 28 --class_names names.txt --model_type lenet --num_classes 3'.split()
    said += ['--model_dir', run, '--load_model_path', 'start.pth', '--load-not-strict', '--seed', '0']
    plain = parse_train_args(['--resume', run])
    assert vars(parse_train_args(['--resume', run, *said])) == vars(plain)
    assert vars(parse_train_args([*said, '--resume', run])) == vars(plain)
    assert vars(parse_train_args([f'@{run}/args.txt', '--resume', run])) == vars(plain)


def test_a_run_goes_on_without_the_file_that_it_started_from(refusal, run, place):
    Path('start.pth').unlink()
    args = parse_train_args(['--resume', run])
    assert args.load_model_path == str(place / 'start.pth')  # still on record
    assert 'start.pth' in refusal(parse_train_args, [f'@{run}/args.txt'])  # a repeat needs it


def test_what_cannot_go_on_is_refused(refusal, run):
    Path(run, 'last.pth').unlink()
    assert f'argument --resume: {run} is not a run that can go on' in refusal(prepare_train_args, ['--resume', run])
    Path(run, 'last.pth').write_text('')
    Path(run, 'args.txt').unlink()
    assert 'it needs args.txt and last.pth' in refusal(prepare_train_args, ['--resume', run])
    assert 'it needs args.txt and last.pth' in refusal(prepare_train_args, ['--resume', f'{run}/last.pth'])
    assert 'it needs args.txt and last.pth' in refusal(prepare_train_args, ['--resume', 'train.txt'])


def test_a_run_that_was_moved_goes_on_where_it_is(run, place):
    Path('archive').mkdir()
    os.rename(run, 'archive/old')
    args = parse_train_args(['--resume', 'archive/old'])
    assert args.model_dir == str(place / 'archive' / 'old')


def test_a_resumed_run_can_be_repeated(run):
    args = parse_train_args(['--resume', run, '--epochs', '9'])
    save_args(args, args.model_dir, note='resumed after epoch 5')
    again = prepare_train_args([f'@{run}/args.txt'])
    assert again.resume is None
    assert again.model_dir == f'{run}_2'
    different = {name for name in vars(again) if getattr(again, name) != getattr(args, name)}
    assert different == {'resume', 'model_dir'}


# ---------------------------------------------------------------------------------------------------------------------
# losses and metrics by task


@pytest.mark.parametrize(('task', 'loss'), [('classification', 'ce'), ('segmentation', 'ce')])
def test_each_task_has_a_loss_of_its_own(place, task, loss):
    words = [*SEGMENTATION, '--num_classes', '3'] if task == 'segmentation' else []
    args = train_args(*words)
    assert args.loss == loss
    assert not [option for option in changed_options(args) if option.startswith('loss')]
    save_args(args, place)
    assert f'\n--loss={loss}\n' in Path('args.txt').read_text()


def test_a_loss_that_is_not_the_tasks_own_is_told(place):
    args = train_args('--loss', 'ce + .5*focal')
    assert args.loss == 'ce+.5*focal'
    assert 'loss=ce+.5*focal' in changed_options(args)
    save_args(args, place)
    assert '\n--loss=ce+.5*focal  # default: ce\n' in Path('args.txt').read_text()


def test_options_that_one_of_several_losses_uses_are_taken():
    args = parse_train_args(['--loss', 'ce+focal', '--label_smoothing', '0.1', '--loss_args', 'gamma=1'])
    assert (args.label_smoothing, args.loss_args) == (0.1, ['gamma=1'])
    assert parse_train_args(['--metrics', 'acc_top5']).metrics == ['acc_top5']  # the data says how many classes
    args = parse_train_args(['--metrics', 'auroc', '--monitor', 'auroc'])
    assert (args.metrics, args.monitor) == (['auroc'], 'val/auroc')


def test_a_test_takes_loss_and_metrics_from_the_checkpoint():
    recorded = trained('--loss', 'ce+focal', '--loss_args', 'gamma=1', '--label_smoothing', '0.1', '--metrics', 'auroc')
    args = parse_test_args(['--load_model_path', 'model.pth'], recorded)
    assert (args.loss, args.loss_args, args.label_smoothing) == ('ce+focal', ['gamma=1'], 0.1)
    assert args.metrics == ['auroc']
    args = parse_test_args(['--load_model_path', 'model.pth', '--loss', 'focal'], recorded)
    assert (args.loss, args.loss_args, args.label_smoothing, args.metrics) == ('focal', None, 0.0, ['auroc'])


def test_a_checkpoint_from_before_these_options_still_tests():
    recorded = trained()
    for name in ('loss_args', 'metrics'):
        del recorded[name]
    args = parse_test_args(['--load_model_path', 'model.pth'], recorded)
    assert (args.loss, args.loss_args, args.metrics) == ('ce', None, None)


def test_a_loss_of_ones_own_speaks_for_itself(monkeypatch):
    monkeypatch.setitem(sys.modules, 'loss', Namespace(
        LOSSES={'ce': 'loss.CrossEntropy', 'own': 'mine.Own'}, LOSSES_OF={'classification': ('ce',)},
        LOSS_OPTIONS={'ce': ()}, LOSS_ARGS={}))  # fmt: skip
    args = parse_train_args(['--loss', 'own', '--class_weights', '1', '2', '--loss_args', 'depth=3'])
    assert (args.loss, args.class_weights, args.loss_args) == ('own', [1.0, 2.0], ['depth=3'])
