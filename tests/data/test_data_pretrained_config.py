"""--pretrained takes mean, std, interpolation and crop share from the configuration of the weights; no network here."""

import numpy as np
import pytest
import torch
from PIL import Image

import train
from data.data_entry import complete_args
from data.list_dataset import ListDataset
from data.lists.pictures import read_picture
from data.mem_list import MemList
from eval import load_predictor
from options import parse_test_args, parse_train_args
from utils.base.errors import DanluError
from utils.options.fit import Fit
from utils.runs.checkpoint import load_checkpoint

IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
INCEPTION = [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]


@pytest.fixture
def pretrained(list_args):
    """Return a function: words of train.py -> the options of a run on a list file, completed by data and weights."""

    def make(model_type, *words):
        args = list_args('a.png 0\nb.png 1', '--image_size', 32, '--model_type', model_type, '--pretrained', *words)
        complete_args(args)
        return args

    return make


@pytest.fixture(autouse=True)
def two_pictures(save):
    random = np.random.default_rng(0)
    for name in ('a.png', 'b.png'):
        save(name, random.integers(0, 256, (40, 60, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ('model_type', 'mean_and_std', 'interpolation', 'share'),
    [
        ('timm:vit_base_patch16_224', INCEPTION, 'bicubic', 0.9),
        ('timm:resnet18.a1_in1k', IMAGENET, 'bicubic', 0.95),
        ('timm:resnet18.tv_in1k', IMAGENET, 'bilinear', 0.875),
        ('torchvision:resnet18', IMAGENET, 'bilinear', 224 / 256),
        ('torchvision:resnet50', IMAGENET, 'bilinear', 224 / 232),
        ('torchvision:swin_t', IMAGENET, 'bicubic', 224 / 232),
        ('torchvision:efficientnet_v2_l', INCEPTION, 'bicubic', 1.0),
    ],
)
def test_pictures_are_as_the_weights_need_them(model_type, mean_and_std, interpolation, share, pretrained):
    if model_type.startswith('timm'):
        pytest.importorskip('timm')
    args = pretrained(model_type)
    assert (args.mean, args.std) == mean_and_std
    assert args.interpolation == interpolation
    assert args.crop_share == pytest.approx(share, abs=1e-4)


def test_timms_weights_with_another_mean_all_have_theirs(pretrained):
    timm = pytest.importorskip('timm')
    for name in (
        'vit_base_patch16_clip_224.openai',
        'mixer_b16_224',
        'beit_base_patch16_224',
        'tf_efficientnetv2_s.in1k',
    ):
        config = timm.get_pretrained_cfg(name)
        args = pretrained(f'timm:{name}')
        assert (args.mean, args.std) == (list(config.mean), list(config.std))


def test_what_is_given_wins(pretrained):
    words = ['--mean', 0.1, 0.2, 0.3, '--std', 1, 1, 1, '--interpolation', 'lanczos', '--crop_share', 0.5]
    args = pretrained('torchvision:swin_t', *words)
    assert (args.mean, args.std, args.interpolation, args.crop_share) == ([0.1, 0.2, 0.3], [1, 1, 1], 'lanczos', 0.5)


@pytest.mark.parametrize('words', [['--no_pretrained_config'], ['--no_pretrained']])
def test_without_the_configuration_pictures_are_read_as_ever(words, pretrained):
    args = pretrained('torchvision:efficientnet_v2_l', *words)
    assert (args.mean, args.std) == IMAGENET
    assert (args.interpolation, args.crop_share) == ('bilinear', 1.0)


def test_nothing_is_cut_off_where_the_target_is_about_the_whole(list_args):
    args = list_args(
        'a.png 0.5\nb.png 1', '--task', 'regression', '--model_type', 'torchvision:resnet18', '--pretrained'
    )
    complete_args(args)
    assert (args.fit, args.crop_share) == ('stretch', 1.0)


@pytest.mark.parametrize(
    'model_type', ['torchvision:retinanet_resnet50_fpn', 'torchvision:r3d_18', 'torchvision:none', 'timm:none']
)
def test_models_that_cannot_be_built_are_refused_where_they_are_built(model_type, pretrained):
    assert pretrained(model_type).mean == IMAGENET[0]


@pytest.mark.parametrize('kind', [ListDataset, MemList])
def test_the_part_and_the_interpolation_are_those_of_torchvision(kind, list_args, tmp_path):
    """Resize to 40/0.8 = 50 and CenterCrop(40) show the middle 32 of 40 rows: as torchvision's transforms do."""
    words = ['--image_size', 16, '--interpolation', 'bicubic', '--crop_share', 0.8]
    args = list_args('a.png 0\nb.png 1', *words)
    complete_args(args)
    image = kind(args, 'train')[0][0]
    picture = Image.open(tmp_path / 'a.png')
    wanted = picture.resize((16, 16), Image.BICUBIC, box=(14, 4, 46, 36))
    assert torch.equal(image, torch.from_numpy(np.asarray(wanted).copy()).permute(2, 0, 1))
    other = read_picture(str(tmp_path / 'a.png'), 3, (16, 16), Fit('crop', share=0.8))
    assert not torch.equal(image, other)


@pytest.mark.parametrize(
    ('words', 'says'),
    [
        (['--crop_share', 0.9, '--fit', 'stretch'], '--crop_share: only for --fit crop, not stretch'),
        (['--interpolation', 'bicubic', '--data_type', 'digits'], '--interpolation: digits reads no image files'),
        (['--crop_share', 0.9, '--data_type', 'digits'], '--crop_share: digits reads no image files'),
        (['--crop_share', 1.5], '--crop_share'),
    ],
)
def test_options_without_effect_are_refused(words, says, tmp_path, capsys):
    (tmp_path / 'list.txt').write_text('a.png 0\n', encoding='utf-8')
    own = (
        []
        if 'digits' in words
        else ['--data_type', 'list', '--train_list', tmp_path / 'list.txt', '--val_list', tmp_path / 'list.txt']
    )
    with pytest.raises(SystemExit):
        parse_train_args([str(word) for word in [*own, *words]])
    assert says in capsys.readouterr().err


@pytest.fixture
def no_download(monkeypatch):
    """Let torchvision's pretrained weights be those of a fresh network."""

    def get_state_dict(weights, *args, **options):
        from torchvision import models

        torch.manual_seed(0)
        return models.get_model('resnet18', weights=None).state_dict()

    monkeypatch.setattr('torchvision.models._api.WeightsEnum.get_state_dict', get_state_dict)


@pytest.mark.slow('a run and a test of a large network')
def test_a_run_says_it_records_it_and_its_test_reads_alike(no_download, list_data, tmp_path, train_here, eval_here):
    words = [
        '--model_type',
        'torchvision:resnet18',
        '--pretrained',
        '--image_size',
        32,
        '--epochs',
        1,
        '--num_workers',
        0,
    ]
    run = train_here(*list_data, *words, '--checkpoints_dir', tmp_path)
    assert (
        'pretrained weights of torchvision:resnet18 were evaluated with --mean 0.485 0.456 0.406, '
        '--std 0.229 0.224 0.225, '
        '--interpolation bilinear, --crop_share 0.875, --image_size 224 224; here: --image_size 32 32'
    ) in run.stdout
    assert 'crop share 0.875' in run.stdout
    recorded = (run.directory / 'args.txt').read_text(encoding='utf-8')
    assert '# --crop_share=0.875  (found' in recorded
    saved = load_checkpoint(run.directory / 'best.pth')
    assert (saved['args']['interpolation'], saved['args']['crop_share']) == ('bilinear', 0.875)
    args = parse_test_args(['--load_model_path', str(run.directory / 'best.pth')], saved['args'])
    assert Fit.of(args) == Fit.of(
        train.parse_train_args(
            [f'@{run.directory / "args.txt"}', '--crop_share', '0.875', *'--mean 0.485 0.456 0.406'.split()]
        )
    )
    test = eval_here('--load_model_path', run.directory / 'best.pth')
    assert float(test.values['loss']) == pytest.approx(saved['metrics']['val/loss'], rel=1e-6)
    assert load_predictor(run.directory / 'best.pth', device='cpu').args.crop_share == 0.875


def test_a_record_from_before_keeps_what_it_had(no_download, list_data, tmp_path):
    """An args.txt without the options: mean of ImageNet, all of the middle."""
    args = parse_train_args(
        [*list_data, '--model_type', 'torchvision:efficientnet_v2_l', '--pretrained', '--image_size', '32']
    )
    from options import save_args

    args.model_dir = None
    save_args(args, tmp_path)
    lines = (tmp_path / 'args.txt').read_text(encoding='utf-8').splitlines()
    older = [
        line
        for line in lines
        if not any(name in line for name in ('pretrained_config', 'interpolation', 'crop_share', ' options'))
    ]
    (tmp_path / 'args.txt').write_text('\n'.join(older) + '\n', encoding='utf-8')
    again = parse_train_args([f'@{tmp_path / "args.txt"}'])
    complete_args(again)
    assert (again.mean, again.interpolation, again.crop_share) == (IMAGENET[0], 'bilinear', 1.0)
    assert any('pretrained_config' in line for line in again.past)


def test_an_unknown_interpolation_is_refused():
    with pytest.raises((DanluError, SystemExit)):
        parse_train_args(['--interpolation', 'cubic'])
