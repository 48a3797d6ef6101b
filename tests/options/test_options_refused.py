"""Options that are refused with one line, without writing anything."""

from pathlib import Path

import pytest

import options
from options import (
    parse_test_args,
    parse_test_command,
    parse_train_args,
    prepare_test_args,
    prepare_train_args,
)
from tests.options.helpers import REGISTRIES, SEGMENTATION, new_run
from utils.base.registry import read_registry
from utils.options.args_file import options_of

STREAM = '--data_type stream --train_list pictures --val_list pictures'


NOISY = '--task restoration --data_type noisy_digits'


# (words, the option that the message names, what else it says)
REFUSED_COMMON = [
    ('--model_type lenett', '--model_type', "unknown model 'lenett'; did you mean lenet"),
    ('--model_type LeNet', '--model_type', 'did you mean lenet?'),
    ('--model_type resnet', '--model_type', 'did you mean resnet50_fcn or resnet101_fcn?'),
    ('--model_type torchvision:', '--model_type', 'did you mean torchvision:<name>'),
    ('--model_type=', '--model_type', "unknown model ''"),
    ('--model_type=--', '--model_type', "'--' is no value"),  # argparse would leave an empty list
    ('--model_type resnet18', '--model_type', 'did you mean torchvision:resnet18 or timm:resnet18?'),
    ('--model_type timm:', '--model_type', 'did you mean timm:<name>'),
    ('--model_type tim:resnet18', '--model_type', "unknown model 'tim:resnet18'"),
    ('--model_args width', '--model_args', "'width' is not NAME=VALUE, for example width=32"),
    ('--model_args 2=3', '--model_args', "'2=3' is not NAME=VALUE"),
    ('--model_args a= b=1', '--model_args', "'a=' is not NAME=VALUE"),
    ('--model_args a=1 b=1 a=2', '--model_args', 'a name occurs twice'),
    ('--data_type folders', '--data_type', 'did you mean folder?'),
    ('--data_type imagenet', '--data_type', 'known: array, cifar10, cifar100, digits'),
    ('--task seg', '--task', 'did you mean segmentation?'),
    ('--task regres', '--task', 'did you mean regression? (known: classification, multilabel, regression, rest'),
    ('--num_classes ten', '--num_classes', "'ten' is not a whole number"),
    ('--num_classes 1', '--num_classes', 'must be at least 2 and at most 16777216, got 1'),
    ('--num_classes -3', '--num_classes', 'must be at least 2 and at most 16777216, got -3'),
    ('--device mps --amp bf16', '--amp', '--device mps computes in float32, without torch.compile: give --amp off'),
    ('--device mps --gpus 0', '--gpus', '--device mps uses the one GPU of a Mac; leave it out'),
    ('--task regression', '--data_type', 'digits has no numbers; regression takes list or mem_list or array'),
    ('--task restoration --data_type cifar10', '--data_type', 'cifar10 has no target images; restoration takes list'),
    ('--task multilabel --data_type array', '--data_type', 'array has no sets of labels; multilabel takes list or mem'),
    ('--task regression --data_type folder', '--data_type', 'folder has no numbers'),
    ('--task regression --data_type pairs', '--data_type', 'pairs has no numbers'),
    ('--data_type pairs', '--task', 'pairs is for restoration: add --task restoration'),
    ('--data_type noisy_digits', '--task', 'noisy_digits is for restoration: add --task restoration'),
    ('--task regression --num_classes 3', '--num_classes', 'task regression has numbers for targets; leave it out'),
    ('--task restoration --class_names a b', '--class_names', 'has target images for targets'),
    ('--num_targets 0', '--num_targets', 'must be at least 1, got 0'),
    ('--num_targets 2', '--num_targets', '--task classification has labels for targets; leave it out'),
    ('--target_columns y', '--target_columns', 'only data_type array has columns, not digits'),
    ('--target_names y', '--target_names', '--task classification does not use it'),
    ('--target_scale some', '--target_scale', 'invalid choice'),
    ('--target_mean x', '--target_mean', 'not a number'),
    ('--target_std 0', '--target_std', 'must be more than 0'),
    (
        '--task regression --data_type list --val_list val.txt --num_targets 2 --target_names y',
        '--target_names',
        '1 given for 2 targets',
    ),
    (
        '--task regression --data_type list --val_list val.txt --num_targets 2 --target_mean 3',
        '--target_mean',
        '1 given for 2 targets: give one per target',
    ),
    ('--data_type array --val_list val.txt --target_columns y y', '--target_columns', 'a column occurs twice'),
    (f'{NOISY} --mean 0.1', '--mean', 'has inputs and outputs in 0..1, so it is 0; leave it out'),
    (f'{NOISY} --std 0.3', '--std', 'so it is 1'),
    (f'{NOISY} --val_list val.txt', '--val_list', 'noisy_digits has its own images'),
    (f'{NOISY} --data_root pictures', '--data_root', 'not used by data_type noisy_digits'),
    ('--task restoration --palette #000000', '--palette', 'has target images for targets'),
    ('--mask_values 0 255', '--mask_values', '--task classification has no masks; leave it out'),
    ('--ignored_colours #000000', '--ignored_colours', '--task classification has no masks; leave it out'),
    ('--bits 12', '--bits', 'digits has no 16-bit image files; leave it out'),
    ('--bits 7', '--bits', 'must be at least 8 and at most 16, got 7'),
    ('--palette', '--palette', 'expected at least one argument'),
    ('--palette red', '--palette', "'red' is neither a file (looked in"),
    ('--palette #ff0000 red', '--palette', "'red' is no colour #rrggbb"),
    ('--palette #ff0000 #00ff00 --num_classes 3', '--palette', '2 given for 3 classes: give one colour per class'),
    ('--palette #ff0000 #FF0000 --num_classes 2', '--palette', 'classes 0 and 1 have the same colour, #ff0000'),
    (
        '--palette a=#ff0000 b=#0000ff --class_names a c',
        '--palette',
        "no colour for the class 'c'; there are colours",
    ),
    ('--palette empty.txt', '--palette', "'empty.txt' holds no colour; give one line per class: name r g b"),
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
    ('--image_size 0', '--image_size', 'must be at least 1 and at most 65536, got 0'),
    ('--image_size 32 -32', '--image_size', 'must be at least 1 and at most 65536, got -32'),
    ('--image_size 1 2 3', '--image_size', 'takes one number or height and width, got 3'),
    ('--image_size 32x32', '--image_size', "'32x32' is not a whole number"),
    ('--image_size 32,32', '--image_size', 'separate several by blanks, not commas'),
    ('--image_size 28.5', '--image_size', 'not a whole number'),
    ('--channels 2', '--channels', 'choose from 1, 3'),
    ('--channels rgb', '--channels', "'rgb'"),
    ('--channels 0', '--channels', 'must be at least 1'),
    ('--mean x', '--mean', "'x' is not a number"),
    ('--mean nan', '--mean', 'must be finite, got nan'),
    ('--mean 1e39', '--mean', '1e+39: too large for float32'),
    ('--std 1e-300', '--std', '1e-300: too small for float32'),
    ('--class_weights 1e300 1', '--class_weights', '1e300: too large for float32'),
    (f'--batch_size {2**63}', '--batch_size', 'must lie between -2^63 and 2^63'),
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
    ('--loss ce+2*ce', '--loss', 'ce is repeated'),
    ('--loss=', '--loss', 'is not NAME or WEIGHT*NAME'),
    ('--loss ce+dice', '--loss', 'dice is for segmentation, not for task classification (losses for it: ce, focal)'),
    ('--loss l1', '--loss', 'l1 is for regression and restoration, not for task classification'),
    ('--loss_args gamma', '--loss_args', "'gamma' is not NAME=VALUE"),
    ('--loss focal --loss_args gamma=1 gamma=2', '--loss_args', 'gamma=1 gamma=2: a name occurs twice'),
    ('--loss focal --loss_args delta=1', '--loss_args', '--loss focal takes no delta (it takes: gamma, alpha)'),
    ('--loss_args gamma=1', '--loss_args', '--loss ce takes no gamma (it takes: nothing)'),
    ('--loss focal --label_smoothing 0.1', '--label_smoothing', 'has no effect on --loss focal: leave it out; of the'),
    ('--metrics aurok', '--metrics', "unknown metric 'aurok'; did you mean auroc?"),
    ('--metrics acc', '--metrics', 'acc is always computed for task classification; --metrics names additional ones'),
    ('--metrics psnr', '--metrics', 'psnr is not for task classification (additional metrics for it: auroc, acc_top5)'),
    ('--metrics auroc auroc', '--metrics', 'auroc auroc: a name is there twice'),
    ('--metrics acc_top5 --num_classes 5', '--metrics', 'acc_top5 needs 6 classes or more, and there are 5'),
    ('--label_smoothing 1', '--label_smoothing', 'at least 0 and less than 1, got 1'),
    ('--label_smoothing -0.1', '--label_smoothing', 'got -0.1'),
    ('--class_weights 1 x', '--class_weights', "'x' is not a number"),
    ('--class_weights 1 -1', '--class_weights', 'must be at least 0, got -1'),
    ('--class_weights 0 0 0', '--class_weights', 'all weights are 0'),
    ('--class_weights 1 2 --num_classes 3', '--class_weights', '2 given for 3 classes'),
    ('--class_weights 1 2 --class_names names.txt', '--class_weights', '2 given for 3 classes'),
    ('--val_list none.txt', '--val_list', "'none.txt' does not exist (looked in"),
    ('--val_list=', '--val_list', "'' does not exist"),
    ('--val_list ~no_such_user_here/val.txt', '--val_list', 'does not exist'),
    (f'--val_list {"v" * 5000}', '--val_list', 'does not exist'),
    ('--data_root nowhere', '--data_root', "'nowhere' does not exist"),
    ('--data_root pictures', '--data_root', 'not used by data_type digits'),
    ('--data_type mnist --data_root val.txt', '--data_root', 'val.txt is not a directory'),
    (
        '--cache_dir cache',
        '--cache_dir',
        'only for --data_type mem_list, list, pairs, folder, not digits',
    ),
    ('--cache_dir val.txt', '--cache_dir', "'val.txt' is not a directory"),
    ('--download', '--download', 'only mnist, fashion_mnist, cifar10, cifar100'),
    ('--download=yes', '--download', 'takes no value'),
    ('--no_download=1', '--no_download', 'takes no value'),
    ('--load_model_path none.pth', '--load_model_path', "'none.pth' does not exist"),
    ('--load_model_path pictures', '--load_model_path', 'pictures is a directory without best.pth'),
    ('--load_not_strict=1', '--load_not_strict', 'takes no value'),
    ('--trust_checkpoint=1', '--trust_checkpoint', 'takes no value'),
    ('--load_key', '--load_key', 'expected one argument'),
    ('--load_prefix', '--load_prefix', 'expected one argument'),
    ('--fit fill', '--fit', 'invalid choice'),
    ('--interpolation cubic', '--interpolation', 'bicubic'),
    ('--crop_share 0', '--crop_share', '0'),
    ('--crop_share 1.5', '--crop_share', '1.5'),
    ('--strict_record=1', '--strict_record', 'takes no value'),
    ('--report=out.html', '--report', 'takes no value'),
    ('--save_prefix a/b', '--save_prefix', 'cannot be part of a directory name'),
    ('--checkpoints_dir val.txt', '--checkpoints_dir', "'val.txt' is not a directory"),
    ('--checkpoints_dir=', '--checkpoints_dir', "'' is not a directory"),
    ('--gpus', '--gpus', 'expected at least one argument'),
    ('--gpus 0,1', '--gpus', 'separate several by blanks, not commas'),
    ('--gpus -1', '--gpus', 'must be at least 0, got -1'),
    ('--gpus all', '--gpus', 'not a whole number'),
    ('--gpus 1 0 1', '--gpus', '1 0 1: an index occurs twice'),
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
    ('--model_source train.txt', '--model_source', 'the code in this file is run, so give --trust_checkpoint too'),
]


REFUSED_TRAIN = [
    ('--as copy', '--as', 'requires --resume'),
    ('--sync_bn=1', '--sync_bn', 'takes no value'),
    ('--parallel dp', '--parallel', "invalid choice: 'dp'"),
    ('--train_list none.txt', '--train_list', "'none.txt' does not exist"),
    ('--train_list train.txt', '--train_list', 'digits has its own images'),
    ('--epochs 0', '--epochs', 'must be at least 1, got 0'),
    ('--epochs 1.0', '--epochs', "'1.0' is not a whole number"),
    ('--optimizer Adam', '--optimizer', "unknown optimizer 'Adam'; did you mean adam"),
    ('--decay_weights_only', '--decay_weights_only', 'requires --weight_decay'),
    ('--nesterov', '--nesterov', 'only for --optimizer sgd; leave it out'),
    ('--lr_decay 1', '--lr_decay', 'less than 1, got 1'),
    ('--lr_of backbone', '--lr_of', "'backbone' is not PART=X, for example backbone=0.1"),
    ('--lr_of =1', '--lr_of', "'=1' is not PART=X"),
    ('--lr_of head=1 backbone=-1', '--lr_of', 'must be at least 0, got -1'),
    ('--schedule cosin', '--schedule', 'did you mean cosine?'),
    ('--schedule step', '--lr_steps', '--schedule step needs it: when the learning rate changes'),
    ('--schedule multistep', '--lr_steps', '--schedule multistep needs it: when the learning rate changes'),
    ('--schedule step --lr_steps 2 3', '--lr_steps', 'takes one number; for several give --schedule multistep'),
    ('--schedule multistep --lr_steps 3 2', '--lr_steps', '3.0 2.0: each must be later than the one before'),
    ('--lr_steps 3', '--lr_steps', 'only for --schedule step or multistep; leave it out'),
    (
        '--gamma 0.5',
        '--gamma',
        'only for --schedule step or multistep or exponential or plateau; leave it out',
    ),
    ('--gamma 1 --schedule exponential', '--gamma', 'less than 1, got 1'),
    ('--schedule cosine --power 2', '--power', 'only for --schedule poly'),
    ('--lr_min 0.1', '--lr_min', 'only for --schedule cosine or plateau'),
    ('--schedule cosine --lr_min 0.1 --lr 0.1', '--lr_min', '0.1 is not below --lr 0.1'),
    ('--plateau_patience 3', '--plateau_patience', 'only for --schedule plateau'),
    ('--schedule onecycle --warmup_epochs 1', '--warmup_epochs', 'onecycle has its own warmup'),
    ('--schedule onecycle --warmup_steps 1', '--warmup_steps', 'onecycle has its own warmup'),
    ('--warmup_epochs 1 --warmup_steps 9', '--warmup_steps', 'not with --warmup_epochs'),
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
    ('--min_epochs 3', '--min_epochs', 'requires --patience'),
    ('--min_epochs 30 --patience 3', '--min_epochs', '30 is more than --epochs 10'),
    ('--keep_last_weights=1', '--keep_last_weights', 'takes no value'),
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
    ('--augment all', '--augment', 'known: affine, crop, flip, '),
    ('--shuffle_buffer 0', '--shuffle_buffer', 'must be at least 1'),
    ('--shuffle_buffer 5', '--shuffle_buffer', 'only data_type stream uses it'),
    ('--train_length 0', '--train_length', 'must be at least 1'),
    ('--train_length 50', '--train_length', 'only data_type stream uses it'),
    (f'{STREAM} --num_classes 3 --schedule cosine', '--train_length', '--schedule cosine needs the number of samples'),
    (f'{STREAM} --num_classes 3 --warmup_epochs 1', '--train_length', '--warmup_epochs needs the number of samples'),
    (STREAM, '--num_classes', 'a stream is not read before training; give it or --class_names'),
    (
        f'{STREAM} --num_classes 3 --train_list train.txt',
        '--train_list',
        'takes a .tar, .csv, .jsonl file or a directory',
    ),
    ('--data_type stream --num_classes 3 --train_list pictures', '--val_list', 'with such, and none is given'),
    (f'{STREAM} --num_classes 3 --balance', '--balance', 'not known before training; give --class_weights'),
    (
        '--data_type list --train_list val.txt --val_list val.txt --task regression --balance',
        *('--balance', 'only for --task classification, not regression'),
    ),
    (f'{" ".join(SEGMENTATION)} --num_classes 3 --balance', '--balance', 'not segmentation; give --class_weights'),
    ('--balance --class_weights 1 2', '--balance', 'rare classes would count twice; leave one of the two out'),
    ('--skip_bad', '--skip_bad', 'digits has no file per sample; leave it out, or give --data_type list or'),
    (
        f'{STREAM} --num_classes 3 --skip_bad',
        '--skip_bad',
        'a stream is not read before training; leave it out, or give --',
    ),
    ('--mixup 0', '--mixup', 'must be more than 0, got 0'),
    ('--mixup on', '--mixup', "'on' is not a number"),
    ('--mixup 0.2 --ignore_index 0', '--mixup', 'ignored samples cannot be mixed: leave out --ignore_index'),
    ('--mixup 0.2 --loss ce+focal', '--mixup', 'class probabilities, which --loss focal does not take; ce does'),
    ('--monitor val/auroc', '--monitor', 'auroc is computed only on request: add --metrics auroc'),
    (
        f'{" ".join(SEGMENTATION)} --num_classes 3 --loss dice --class_weights 1 2 3',
        '--class_weights',
        'has no effect on --loss dice: leave it out; of the losses for segmentation ce and focal can use it',
    ),
    (f'{" ".join(SEGMENTATION)} --num_classes 3 --metrics auroc', '--metrics', 'auroc is not for task segmentation'),
    (
        f'{" ".join(SEGMENTATION)} --num_classes 3 --mixup 1',
        '--mixup',
        'only for --task classification, not segmentation',
    ),
    ('--cutmix -1', '--cutmix', 'must be more than 0, got -1'),
    ('--cutmix nan', '--cutmix', 'must be finite, got nan'),
    ('--cutmix 1 --ignore_index 0', '--cutmix', 'ignored samples cannot be mixed'),
    (f'{" ".join(SEGMENTATION)} --num_classes 3 --cutmix 1', '--cutmix', 'only for --task classification'),
    ('--pretrained=1', '--pretrained', 'takes no value'),
    ('--fast=1', '--fast', 'takes no value'),
    ('--strict_record', '--strict_record', 'requires --load_model_path or --resume'),
    ('--trust_checkpoint', '--trust_checkpoint', 'requires --load_model_path'),
    ('--load_key model_ema', '--load_key', 'requires --load_model_path'),
    ('--load_prefix model.', '--load_prefix', 'requires --load_model_path'),
    ('--pretrained_config=1', '--pretrained_config', 'takes no value'),
    ('--interpolation bicubic', '--interpolation', 'digits reads no image files'),
    ('--crop_share 0.9', '--crop_share', 'digits reads no image files'),
    ('--load_exclude', '--load_exclude', 'expected at least one argument'),
    ('--load_exclude fc', '--load_exclude', 'requires --load_model_path'),
    ('--freeze', '--freeze', 'expected at least one argument'),
    ('--print_model=1', '--print_model', 'takes no value'),
    ('--model_dir val.txt', '--model_dir', "'val.txt' is not a directory"),
    ('--save_freq 0', '--save_freq', 'must be at least 1'),
    ('--save_steps 0', '--save_steps', 'must be at least 1'),
    ('--log_steps 0', '--log_steps', 'must be at least 1'),
    ('--save_minutes 0', '--save_minutes', 'must be more than 0'),
    ('--profile=1', '--profile', 'takes no value'),
    ('--resume nowhere', '--resume', "'nowhere' does not exist"),
    ('--resume', '--resume', 'expected one argument'),
    ('--data_type list', '--train_list', 'needed for data_type list: a list file'),
    ('--data_type mem_list --train_list train.txt', '--val_list', 'needed for data_type mem_list: a list file'),
    (
        '--data_type list --train_list val.txt --val_list val.txt --cache_dir .',
        '--cache_size',
        '--cache_dir of list keeps images reduced to this shorter side; give it, for example 256',
    ),
    (
        '--data_type list --train_list val.txt --val_list val.txt --cache_dir . --cache_size 8 --image_size 16',
        '--cache_size',
        'keeps images smaller than --image_size 16 16, which would be enlarged again: give at least 16',
    ),
    ('--data_type folder', '--train_list', 'a directory with one sub-directory per class'),
    ('--data_type folder --train_list train.txt --val_list pictures', '--train_list', 'is a file; for a list file add'),
    ('--data_type folder --train_list pictures --val_list val.txt', '--val_list', 'val.txt is a file'),
    ('--data_type list --train_list pictures --val_list val.txt', '--train_list', 'pictures is a directory'),
    ('--data_type cifar10 --train_list train.txt', '--train_list', 'cifar10 has its own images'),
    (
        '--data_type list --train_list train.txt',
        '--val_list',
        'or --val_split 0.2 to validate on a part',
    ),
    ('--val_split 0', '--val_split', 'must be more than 0'),
    ('--val_split 1', '--val_split', 'must be more than 0 and less than 1'),
    ('--val_split 0.2', '--val_split', 'digits has its own validation data; leave it out'),
    ('--val_split 0.2 --data_type cifar10', '--val_split', 'cifar10 has its own validation data'),
    (
        '--val_split 0.2 --data_type list --train_list train.txt --val_list val.txt',
        '--val_split',
        '--val_list already names the validation data; leave one of the two out',
    ),
    ('--val_split 0.2 --val_list none', '--val_split', '--val_list already names'),
    (
        '--val_split 0.2 --data_type stream --train_list pictures --num_classes 2',
        '--val_split',
        'a stream is not read before training; keep shards for validation',
    ),
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
    ('--trust_code=1', '--trust_code', 'takes no value'),
    ('--save_viz=1', '--save_viz', 'takes no value'),
    ('--save_outputs=1', '--save_outputs', 'takes no value'),
    ('--code old', '--code', "'old' does not exist"),
    ('--viz_freq 0', '--viz_freq', 'must be at least 1'),
    ('--viz_freq all', '--viz_freq', 'not a whole number'),
    ('--result_dir val.txt', '--result_dir', "'val.txt' is not a directory"),
    ('--data_type list', '--val_list', 'needed for data_type list'),
    ('--val_list none', '--val_list', 'a test needs data: give a list file, a directory or a table'),
    ('--val_list val.txt', '--val_list', 'digits has its own images; for yours give --data_type list or folder'),
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


@pytest.mark.parametrize('parser', [options.train_parser, options.test_parser])
def test_every_option_with_a_type_refuses_a_line_break(refusal, parser):
    for action in options_of(parser()):
        if action.type or action.choices or action.nargs == 0:
            assert f'argument --{action.dest}' in refusal(parser().parse_args, [f'--{action.dest}=\n/'])


def test_eval_needs_a_checkpoint(refusal):
    for function in (prepare_test_args, parse_test_command):
        assert '--load_model_path: needed: the checkpoint to test' in refusal(function, [])
        line = refusal(function, ['--load_model_path', 'pictures'])
        assert 'pictures is a directory without best.pth; give the name of a run' in line


@pytest.mark.parametrize(
    ('words', 'says'),
    [
        (['--weigth-decay', '1'], 'unknown option --weigth_decay; did you mean --weight_decay?'),
        (['--epoch', '3'], 'did you mean --epochs?'),  # no abbreviation, which a new option could make ambiguous
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
def test_unknown_options_get_close_matches(refusal, words, says):
    assert says in refusal(prepare_train_args, ['--checkpoints_dir', 'runs', *words])


def test_options_of_training_are_unknown_to_the_test(refusal):
    line = refusal(prepare_test_args, ['--load_model_path', 'model.pth', '--train_list', 'train.txt'])
    assert 'unknown option --train_list; did you mean --val_list' in line


@pytest.mark.parametrize(('option', 'module', 'registry'), REGISTRIES)
def test_a_wrong_name_lists_all_names(refusal, option, module, registry):
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
        assert 'is not UTF-8 or contains a line break' in line


def test_class_names_that_no_line_can_hold_are_refused(refusal):
    for name in ('', ' ', 'a\nb', '\0'):
        assert 'argument --class_names' in refusal(prepare_train_args, ['--class_names', 'a', name])
    Path('classes.txt').write_text('a\n--\n')
    assert "argument --class_names: '--' is no name" in refusal(prepare_train_args, ['--class_names', 'classes.txt'])
    Path('classes.txt').write_text('only\n')
    assert "'classes.txt' holds 1 names" in refusal(prepare_train_args, ['--class_names', 'classes.txt'])
