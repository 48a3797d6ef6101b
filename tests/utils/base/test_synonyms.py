"""Synonyms of options and names, as "did you mean" shows them."""

import pytest

from options import parse_test_args, parse_train_args
from scripts.sweeping.space import parse_parameter
from utils.base.errors import DanluError
from utils.base.registry import close_names
from utils.base.synonyms import WORDS, normalised_name, same_names
from utils.options.arguments import Parser
from utils.options.library_names import in_libraries, models_of
from utils.tasks.tasks import TASKS

OPTIONS = {
    '--learning_rate': '--lr',
    '--learning-rate=0.1': '--lr',
    '--bs': '--batch_size',
    '--batch-sizes': '--batch_size',
    '--batchsize': '--batch_size',
    '--workers': '--num_workers',
    '--model': '--model_type',
    '--arch': '--model_type',
    '--num_epochs': '--epochs',
    '--decay': '--weight_decay',
    '--dataset': '--data_type',
    '--optim': '--optimizer',
    '--lr-scheduler': '--schedule',
    '--pretrained-weights': '--load_model_path or --pretrained',
    '--img_size': '--image_size',
    '--gpu': '--gpus',
    '--weigth_decay': '--weight_decay',
}
VALUES = [
    ('loss', 'crossentropy', 'ce'),
    ('loss', 'CrossEntropyLoss', 'ce'),
    ('loss', 'BCEWithLogitsLoss', 'bce'),
    ('loss', 'MSELoss', 'mse'),
    ('schedule', 'cosineannealing', 'cosine'),
    ('schedule', 'CosineAnnealingLR', 'cosine'),
    ('schedule', 'StepLR', 'step'),
    ('schedule', 'ReduceLROnPlateau', 'plateau'),
    ('optimizer', 'adam_w', 'adamw'),
    ('optimizer', 'AdamW', 'adamw'),
    ('data_type', 'ImageFolder', 'folder'),
    ('task', 'semantic_segmentation', 'segmentation'),
    ('metrics', 'auc', 'auroc'),
    ('model_type', 'UNet', 'unet'),
    ('model_type', 'resnet18', 'torchvision:resnet18'),
    ('model_type', 'ResNet-50', 'torchvision:resnet50'),
    ('model_type', 'mobilenetv2', 'torchvision:mobilenet_v2'),
]


def said(capsys, parse, words):
    with pytest.raises(SystemExit):
        parse(words)
    return capsys.readouterr().err


@pytest.mark.parametrize('word', OPTIONS)
def test_an_option_by_another_name(word, capsys):
    assert f'did you mean {OPTIONS[word]}?' in said(capsys, parse_train_args, [word, '1'])


@pytest.mark.parametrize(('option', 'value', 'name'), VALUES)
def test_a_name_by_another_name(option, value, name, capsys):
    line = said(capsys, parse_train_args, [f'--{option}', value])
    assert f'did you mean {name}?' in line or f'did you mean {name} or timm:' in line


def test_only_options_of_the_program_are_proposed(capsys, tmp_path):
    path = tmp_path / 'x.pth'
    path.touch()
    words = ['--load_model_path', str(path)]
    assert 'did you mean --batch_size?' in said(capsys, parse_test_args, [*words, '--bs', '3'])
    assert '--lr' not in said(capsys, parse_test_args, [*words, '--learning_rate', '3'])


def test_words_that_are_no_options(capsys):
    assert "'learning_rate=1' belongs to no option; did you mean --lr?" in said(
        capsys, parse_train_args, ['learning_rate=1']
    )


def test_a_sweep_and_lists_of_names_know_them_too():
    with pytest.raises(DanluError, match="unknown option 'learning_rate'; did you mean lr"):
        parse_parameter('learning_rate=log:1e-4:1e-1')
    assert close_names('bs', ['batch_size', 'lr']) == ['batch_size']
    assert close_names('wd', ['lr', 'epochs']) == []


def test_every_synonym_belongs_to_an_existing_name():
    """Names in the table must be renamed and removed with the options and entries."""
    from options import test_parser, train_parser
    from utils.base.registry import read_registry

    known = {action.dest for parser in (train_parser(), test_parser()) for action in parser._actions}
    for module, name in (
        ('loss', 'LOSSES'),
        ('utils.training.optim', 'SCHEDULES'),
        ('utils.training.optim', 'OPTIMIZERS'),
        ('data.data_entry', 'DATASETS'),
        ('metrics', 'METRICS'),
    ):
        known |= set(read_registry(module, name))
    known |= {value for task in TASKS.values() for value in task.values}
    assert set(WORDS) <= known
    assert all(word == normalised_name(word) for words in WORDS.values() for word in words.split())
    assert same_names('', known) == same_names('--', known) == []


def test_models_of_the_libraries_are_read_without_importing_them():
    models = pytest.importorskip('torchvision').models
    assert set(models_of('torchvision')) == set(models.list_models())
    assert in_libraries('resnet18', ['torchvision:', 'nolibrary:']) == ['torchvision:resnet18']
    assert in_libraries('resnet1', ['torchvision:']) == []


def test_a_custom_parser_proposes_its_own_options(capsys):
    parser = Parser(prog='x')
    parser.add_argument('--model')
    assert 'did you mean --model?' in said(capsys, parser.parse_args, ['--models', 'x'])
