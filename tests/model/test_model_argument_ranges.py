"""Each argument of Danlu's own models has a range; a network that fits into no memory is refused before it is built."""

import inspect
import sys

import pytest
import torch
from torch import nn

from model import model_entry, parameter_memory
from model.argument_ranges import CLASSES, PROBABILITY, ArgumentError, integer, takes
from model.lenet import LeNet
from model.model_entry import MODELS, select_model
from model.unet import UNet
from options import parse_train_args
from utils.base.errors import DanluError
from utils.base.registry import load_entry

UNET = ['--model_type', 'unet', '--task', 'restoration', '--data_type', 'noisy_digits']
PICTURES = ['--data_type', 'list', '--train_list', __file__, '--val_list', __file__, '--channels', '3']
OWN = ('lenet', 'cifar_cnn', 'mlp', 'unet', 'fcn')  # packages; a project's own models need no ranges
TINY = 2**20  # bytes of memory


def args_for(words, *given):
    """Return the options of a run on grey pictures of 28x28, whose data is not looked at."""
    args = parse_train_args([*words, *(['--model_args', *given] if given else [])])
    args.image_size, args.channels = args.image_size or [28, 28], args.channels or 1
    args.num_classes = args.num_classes or 10
    return args


@pytest.mark.parametrize('name', [name for name, path in MODELS.items() if path.split('.')[1] in OWN])
def test_all_arguments_of_all_models_have_a_range(name):
    entry = load_entry(MODELS, name, 'model')
    ranges = (entry.__init__ if inspect.isclass(entry) else entry).ranges
    assert set(ranges) == set(inspect.signature(entry).parameters)
    for argument, default in inspect.signature(entry).parameters.items():
        if default.default is not inspect.Parameter.empty:
            assert ranges[argument].fits(default.default), f'{argument}: the default is out of range'


@pytest.mark.parametrize(
    ('words', 'given', 'wanted'),
    [
        ([], 'padding=257', 'a whole number from 0 to 256'),
        ([], 'padding=-1', 'a whole number from 0 to 256'),
        ([], 'padding=True', 'a whole number from 0 to 256'),
        ([], 'padding=None', 'a whole number from 0 to 256'),
        ([], 'padding=1e400', 'a whole number from 0 to 256'),
        (UNET, 'depth=100', 'a whole number from 0 to 16'),
        (UNET, 'depth=-1', 'a whole number from 0 to 16'),
        (UNET, 'depth=2.0', 'a whole number from 0 to 16'),
        (UNET, 'width=1000000000', 'a whole number from 1 to 16384'),
        (UNET, 'width=[]', 'a whole number from 1 to 16384'),
        (['--model_type', 'mlp'], 'hidden=0', 'whole numbers from 1 to 16777216, at most 64'),
        (['--model_type', 'mlp'], 'hidden=(8,"x")', 'whole numbers from 1 to 16777216'),
        (['--model_type', 'mlp'], 'hidden={}', 'whole numbers from 1 to 16777216'),
        (['--model_type', 'mlp'], 'dropout=1', 'a number from 0 to below 1'),
        (['--model_type', 'cifar_cnn'], 'dropout=-0.5', 'a number from 0 to below 1'),
        (['--model_type', 'cifar_cnn'], 'dropout=1e400', 'a number from 0 to below 1'),
    ],
)
def test_a_value_out_of_range_is_one_line(words, given, wanted):
    with pytest.raises(DanluError) as caught:
        select_model(args_for(words, given))
    name = given.partition('=')[0]
    assert str(caught.value).startswith(f'--model_args {given}: model ')
    assert f' takes for {name} {wanted}' in str(caught.value)
    assert '\n' not in str(caught.value)


def test_in_a_notebook_the_class_says_it(monkeypatch):
    with pytest.raises(ArgumentError, match='LeNet: padding=-3, but it takes a whole number from 0 to 256'):
        LeNet(padding=-3)
    with pytest.raises(ArgumentError, match="UNet: task='else', but it takes 'segmentation' or 'restoration'"):
        UNet(3, task='else')
    with pytest.raises(TypeError, match='unexpected keyword'):
        LeNet(nothing=1)


def test_an_argument_without_a_range_is_noticed_at_once():
    with pytest.raises(TypeError, match=r"ranges of \['a'\] and arguments \['a', 'b'\] differ"):
        takes(a=CLASSES)(lambda a, b: None)
    assert takes(a=integer(1, 2), b=PROBABILITY)(lambda a, b=0.5: (a, b))(2) == (2, 0.5)


@pytest.mark.parametrize(
    ('words', 'given'),
    [
        (['--model_type', 'mlp'], ['hidden=1000000,1000000']),
        (UNET, ['depth=16', 'width=16384']),
        (UNET, ['depth=12']),
        (['--image_size', '65536'], []),
        (['--num_classes', '16777216', '--model_type', 'mlp'], ['hidden=16777216']),
        ([*PICTURES, '--model_type', 'torchvision:resnet50'], ['width_per_group=1000000']),
        ([*PICTURES, '--model_type', 'torchvision:vit_b_16', '--image_size', '32768'], []),
    ],
)
def test_a_network_that_fits_into_no_memory_is_not_built(words, given, monkeypatch):
    monkeypatch.setattr(parameter_memory, 'memory', lambda: 2**32)
    monkeypatch.setattr(nn.init, 'kaiming_uniform_', only_without_numbers(nn.init.kaiming_uniform_))
    args = args_for(words, *given)
    said = r'would have .* parameters.*, and this machine has 4\.3 GB of memory'
    with pytest.raises(DanluError, match=said) as caught:
        select_model(args)
    assert str(caught.value).startswith(f'--model_args {given[0]}' if given else '--image_size, --channels or')


def test_gradients_and_the_optimizers_averages_count_in_training(monkeypatch):
    weights = 4 * (28 * 28 * 1000 + 1000 + 1000 * 10 + 10)
    for words, copies in (('', 4), ('--optimizer sgd', 3), ('--optimizer sgd --momentum 0', 2), ('--freeze layers', 1)):
        args = args_for(['--model_type', 'mlp', *words.split()], 'hidden=1000')
        monkeypatch.setattr(parameter_memory, 'memory', lambda limit=weights * copies: limit)
        select_model(args)
        monkeypatch.setattr(parameter_memory, 'memory', lambda limit=weights * copies - 1: limit)
        said = r'795,010 parameters \(3\.2 MB' + ('; .* MB with gradients and optimizer' if copies > 1 else '')
        with pytest.raises(DanluError, match=said):
            select_model(args)


def test_a_network_of_a_million_layers_is_not_built(monkeypatch):
    pytest.importorskip('timm')
    monkeypatch.setattr(parameter_memory, 'MAX_WEIGHTS', 300)
    words = [*PICTURES, '--model_type', 'timm:vit_tiny_patch16_224', '--image_size', '224']
    with pytest.raises(
        DanluError, match=r'^--model_args depth=10000: .* would have more layers or parameters than can'
    ):
        select_model(args_for(words, 'depth=10000'))


def test_what_a_librarys_constructor_refuses_takes_no_memory_first(monkeypatch):
    """The patches alone would take 3 GB."""
    pytest.importorskip('timm')
    monkeypatch.setattr(nn.init, 'kaiming_uniform_', only_without_numbers(nn.init.kaiming_uniform_))
    words = [*PICTURES, '--model_type', 'timm:vit_tiny_patch16_224', '--image_size', '224']
    with pytest.raises(DanluError, match=r'embed_dim=1000000: .*divisible by num_heads'):
        select_model(args_for(words, 'embed_dim=1000000'))


def test_a_long_value_is_cut_off_in_the_message():
    with pytest.raises(DanluError) as caught:
        select_model(args_for(['--model_type', 'mlp'], 'hidden=' + '9,' * 1000 + '9'))
    assert 'whole numbers from 1 to 16777216, at most 64' in str(caught.value)
    assert len(str(caught.value)) < 450


def only_without_numbers(init):
    """Return a function that initialises weights on the meta device, and fails for others of more than 64 MB."""

    def checked(tensor, *args, **options):
        assert tensor.is_meta or tensor.numel() < 2**24
        return init(tensor, *args, **options)

    return checked


class Own(nn.Module):
    """A user's model, which prints, draws, and cannot be built on the meta device where it is asked to."""

    def __init__(self, num_classes, width=4, on_cpu=False, fails=None):
        super().__init__()
        print('a model')
        if fails:
            raise {'key': KeyError, 'own': OwnError}[fails](f'cannot do\n{fails}')
        self.layer = nn.Linear(width, num_classes)
        self.first = self.layer.weight[0, 0].item() if on_cpu else torch.rand(3)


class OwnError(Exception):
    pass


@pytest.fixture
def own(monkeypatch):
    monkeypatch.setitem(model_entry.MODELS, 'own', f'{__name__}.Own')
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Own.__module__])
    monkeypatch.setattr(parameter_memory, 'memory', lambda: TINY)
    return ['--model_type', 'own']


def test_counting_draws_and_prints_nothing(own, capsys):
    torch.manual_seed(3)
    expected = Own(10).layer.weight
    capsys.readouterr()
    torch.manual_seed(3)
    net = select_model(args_for(own, 'width=4'))
    assert torch.equal(net.layer.weight, expected)
    assert capsys.readouterr().out == 'a model\n'


def test_a_model_of_the_users_own_is_counted_too(own):
    with pytest.raises(
        DanluError, match=r'would have 10,000,010 parameters \(40.0 MB; 160 MB with gradients .*\), and .* MB'
    ):
        select_model(args_for(own, 'width=1000000'))


def test_one_that_cannot_be_counted_is_built(own):
    assert select_model(args_for(own, 'on_cpu=True')).layer.in_features == 4


@pytest.mark.parametrize(('fails', 'kind'), [('key', 'KeyError'), ('own', 'OwnError')])
def test_whatever_a_constructor_raises_is_quoted_in_one_line(own, fails, kind):
    said = rf"--model_args fails={fails}: model 'own' cannot be built \({kind}: .*{fails}"
    with pytest.raises(DanluError, match=said):
        select_model(args_for(own, f'fails={fails}'))


def test_a_fault_of_the_code_keeps_its_traceback(own, monkeypatch):
    monkeypatch.setattr(Own, '__init__', lambda self, num_classes: {}['nothing'])
    with pytest.raises(KeyError):
        select_model(args_for(own))


@pytest.mark.parametrize(
    ('name', 'given'),
    [
        ('torchvision:resnet18', 'groups=7'),
        ('torchvision:resnet18', 'norm_layer=5'),
        ('torchvision:mobilenet_v3_small', 'dropout=2'),
        ('torchvision:mobilenet_v3_small', 'width_mult=x'),
        ('timm:resnet18', 'drop_path_rate=x'),
        ('timm:vit_tiny_patch16_224', 'depth=x'),
    ],
)
def test_the_error_of_a_librarys_constructor_is_quoted_in_one_line(name, given):
    if name.startswith('timm'):
        pytest.importorskip('timm')
    words = [*PICTURES, '--model_type', name, '--image_size', '224']
    with pytest.raises(DanluError) as caught:
        select_model(args_for(words, given))
    assert str(caught.value).startswith('--model_args ')
    assert given in str(caught.value)
    assert '\n' not in str(caught.value)
