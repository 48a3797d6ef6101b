"""Helpers of the tests of options."""

from pathlib import Path

from options import (
    parse_train_args,
    prepare_train_args,
)

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
    ('optimizer', 'utils.training.optim', 'OPTIMIZERS'),
    ('schedule', 'utils.training.optim', 'SCHEDULES'),
]


SEGMENTATION = ['--task', 'segmentation', '--data_type', 'list', '--train_list', 'train.txt', '--val_list', 'val.txt']


OWN_LISTS = ['--data_type', 'list', '--train_list', 'train.txt', '--val_list', 'val.txt']


def tree(folder='.'):
    return sorted(str(path) for path in Path(folder).rglob('*'))


def train_args(*argv):
    return parse_train_args(['--checkpoints_dir', 'runs', *argv])


def new_run(*argv):
    return prepare_train_args(['--checkpoints_dir', 'runs', *argv])


def trained(*argv):
    return vars(train_args(*argv))
