"""scripts/export.py: the file computes what the checkpoint does, says what it is, and else is not left."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from eval import load_predictor
from scripts import export
from scripts.exporting import formats
from utils.base.errors import DanluError
from utils.base.registry import PROJECT

needs_onnx = pytest.mark.skipif(
    any(formats.importlib.util.find_spec(name) is None for name in formats.PACKAGES['onnx']), reason='needs onnxruntime'
)


@pytest.fixture
def exported(capsys):
    """Return a function: words of the command line -> lines that were printed."""

    def run(*words):
        with pytest.raises(SystemExit, match=r'^0$'):
            export.main([*map(str, words)])
        return capsys.readouterr().out.splitlines()

    return run


def digits():
    """Return 40 test images (uint8 (40, 1, 28, 28))."""
    with np.load(PROJECT / 'data' / 'digits.npz') as file:
        return torch.from_numpy(file['test_images'][:40])[:, None]


def probabilities(run, images):
    return load_predictor(str(run.directory / 'best.pth'), device='cpu').predict(images)


def check_digits(run, lines, path, name):
    """Check the outputs of a file for other samples than those of its verification, and what is said of it."""
    function = formats.FORMATS[name].load(path)
    for images in (digits()[16:17], digits()[17:]):
        torch.testing.assert_close(function(images).softmax(1), probabilities(run, images), rtol=0, atol=1e-5)
    assert any(re.match(r'verified: largest difference \S+ \(outputs up to \S+\) on 16 samples of digits', line)
               for line in lines)  # fmt: skip
    assert lines[-2:] == [f'exported: {path}', 'how other programs use the file: docs/recipes.md, section Export']
    assert 'input: uint8 (N, 1, 28, 28), grey pixels 0..255, already resized' in lines


def test_torchscript_computes_the_same_and_describes_itself(exported, digits_run, tmp_path):
    path = tmp_path / 'lenet.pt'
    lines = exported(digits_run.directory, '--format', 'torchscript', '--out', path, '--check_test')
    check_digits(digits_run, lines, path, 'torchscript')
    extra = {'metadata.json': ''}
    torch.jit.load(str(path), _extra_files=extra)
    facts = json.loads(extra['metadata.json'])
    assert (facts['task'], facts['model_type'], json.loads(facts['image_size'])) == (
        'classification',
        'lenet',
        [28, 28],
    )
    assert len(facts['checkpoint_sha256']) == 64
    assert facts['run'] == digits_run.directory.name
    accuracies = [line.split()[2:] for line in lines if line.startswith('test acc ')]
    assert accuracies[0][0] == accuracies[0][1]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow('imports the compiler of torch')
@pytest.mark.parametrize('name', ['pt2', pytest.param('onnx', marks=needs_onnx)])
def test_pt2_and_onnx_compute_the_same(exported, digits_run, tmp_path, name):
    path = tmp_path / f'lenet.{name}'
    lines = exported(digits_run.directory, '--format', name, '--out', path, '--check_test')
    check_digits(digits_run, lines, path, name)
    accuracies = [line.split()[2:] for line in lines if line.startswith('test acc ')]
    assert accuracies[0][0] == accuracies[0][1]


@needs_onnx
@pytest.mark.slow('imports the compiler of torch')
def test_onnx_has_the_class_names_and_takes_photos_of_any_size(exported, list_data, train_here, tmp_path):
    run = train_here(*list_data, '--model_type', 'cifar_cnn', '--image_size', 32, 24, '--epochs', 1,
                     '--checkpoints_dir', tmp_path)  # fmt: skip
    lines = exported(run.directory.name, '--checkpoints_dir', tmp_path, '--format', 'onnx', '--with_preprocessing')
    import onnxruntime

    session = onnxruntime.InferenceSession(str(run.directory / 'best.onnx'))
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts['names']) == ['ant', 'cat', 'yak']
    assert facts['output'] == 'logits (N, 3) float32; their softmax gives probabilities'
    assert any(line.startswith('resized by the loaders instead: largest difference') for line in lines)
    for size in ((20, 16), (50, 70)):
        pixels = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
        found = torch.from_numpy(session.run(None, {'images': pixels[None]})[0]).softmax(1)
        torch.testing.assert_close(found, probabilities(run, [Image.fromarray(pixels)]), rtol=0, atol=5e-3)


def test_safetensors_hold_the_weights_and_test_as_the_checkpoint(
    exported, eval_here, digits_run, digits_test, tmp_path
):
    safetensors = pytest.importorskip('safetensors')
    path = tmp_path / 'lenet.safetensors'
    exported(digits_run.directory / 'best.pth', '--format', 'safetensors', '--out', path)
    best = torch.load(digits_run.directory / 'best.pth', weights_only=True)['model']
    with safetensors.safe_open(path, 'pt') as file:
        assert {*file.keys()} == {*best}
        assert all(torch.equal(file.get_tensor(name), value) for name, value in best.items())
        facts = {name: json.loads(file.metadata()[name]) for name in ('mean', 'std')}
    words = ['--model_type', 'lenet', '--mean', *facts['mean'], '--std', *facts['std'], '--checkpoints_dir', tmp_path]
    assert eval_here('--load_model_path', path, *words).values['acc'] == digits_test.values['acc']


def test_a_file_that_computes_something_else_is_refused_and_not_left(digits_run, monkeypatch, tmp_path):
    load = formats.FORMATS['torchscript'].load
    wrong = formats.FORMATS['torchscript']._replace(load=lambda path: lambda images: load(path)(images) + 0.01)
    monkeypatch.setitem(formats.FORMATS, 'torchscript', wrong)
    (tmp_path / 'out.pt').write_bytes(b'an earlier export')
    words = [str(digits_run.directory), '--format', 'torchscript', '--out', str(tmp_path / 'out.pt')]
    with pytest.raises(DanluError, match=r'not compute the same: largest difference 0.01000 .*, over --tolerance'):
        export.main(words)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b'an earlier export']
    with pytest.raises(SystemExit, match=r'^0$'):
        export.main([*words, '--tolerance', '0.1'])


def test_half_precision_has_half_the_size(exported, digits_run, tmp_path):
    path = tmp_path / 'half.pt'
    lines = exported(digits_run.directory, '--format', 'torchscript', '--half', '--batch', 3, '--out', path)
    assert path.stat().st_size < 0.65 * (digits_run.directory / 'best.pth').stat().st_size
    assert 'input: uint8 (3, 1, 28, 28), grey pixels 0..255, already resized' in lines
    found = formats.FORMATS['torchscript'].load(path)(digits()[:3])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.softmax(1), probabilities(digits_run, digits()[:3]), rtol=0, atol=1e-2)


def test_features_are_taken_in_their_units_and_numbers_given_in_theirs(exported, train_here, tmp_path):
    features = np.random.default_rng(0).normal(500, 100, (60, 3))
    rows = [','.join(map(str, [*row, 1000 * row.sum()])) for row in features]
    for name in ('train', 'val'):
        (tmp_path / f'{name}.csv').write_text('\n'.join(['a,b,c,price', *rows]) + '\n')
    words = ['--train_list', tmp_path / 'train.csv', '--val_list', tmp_path / 'val.csv', '--checkpoints_dir', tmp_path]
    run = train_here('--task', 'regression', '--data_type', 'array', '--model_type', 'mlp', '--epochs', 1, *words)
    lines = exported(run.directory, '--format', 'torchscript', '--check_test')
    assert 'input: float32 (N, 3), features in their own units' in lines
    assert 'output: numbers (N, 1) float32, in the units of the targets' in lines
    found = formats.FORMATS['torchscript'].load(run.directory / 'best.torchscript')(torch.from_numpy(features).float())
    torch.testing.assert_close(found, probabilities(run, features), rtol=1e-4, atol=1e-4)
    extra = {'metadata.json': ''}
    torch.jit.load(str(run.directory / 'best.torchscript'), _extra_files=extra)
    assert json.loads(json.loads(extra['metadata.json'])['names']) == ['price']
    with pytest.raises(DanluError, match='--with_preprocessing: the samples of array are not images'):
        export.main([str(run.directory), '--format', 'torchscript', '--with_preprocessing'])


def test_masks_are_exported_with_the_size_of_the_images(exported, mask_run, tmp_path):
    lines = exported(mask_run.directory, '--format', 'torchscript', '--out', tmp_path / 'x.pt', '--check_test')
    assert any(re.match(r'output: logits \(N, 3, 20, 24\) float32; the largest over axis 1', line) for line in lines)
    values = [line.split()[2:] for line in lines if line.startswith('test miou ')]
    assert values[0][0] == values[0][1]


@pytest.mark.parametrize('name', ['batch=1', 'with_preprocessing', 'check_test'])
def test_weights_alone_take_no_option_of_a_computation(name, capsys):
    with pytest.raises(SystemExit, match='2'):
        export.main(['x', '--format', 'safetensors', f'--{name}'])
    assert 'has weights only, no computation' in capsys.readouterr().err


def test_missing_packages_and_runs_are_named(monkeypatch, digits_run, tmp_path):
    monkeypatch.setattr(formats.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(DanluError, match=r'needs onnx, onnxscript, onnxruntime, not installed here: pip install onnx'):
        export.main(['x', '--format', 'onnx'])
    monkeypatch.undo()
    (tmp_path / 'file').write_text('x')
    with pytest.raises(DanluError, match=r'--out: .*file/sub cannot be created: Not a directory'):
        export.main([str(digits_run.directory), '--format', 'torchscript', '--out', str(tmp_path / 'file/sub/x.pt')])
    with pytest.raises(DanluError, match="no run 'x' in"):
        export.main(['x', '--format', 'pt2', '--checkpoints_dir', str(digits_run.directory.parent)])


def test_a_network_that_cannot_be_traced_is_named_with_other_formats(tmp_path):
    class Sorting(torch.nn.Module):
        kind = 'pixels'

        def forward(self, images):
            raise ValueError('no such thing')

    with pytest.raises(DanluError, match=r'cannot be exported \(ValueError: no such thing\); try --batch 1, --format'):
        formats.write_file('torchscript', tmp_path / 'x.pt', Sorting(), torch.zeros(2, 1), {}, True)


@needs_onnx
@pytest.mark.slow('trains a ResNet-18 and imports the compiler of torch')
def test_the_programs_in_the_recipes_predict_as_the_checkpoint(exported, list_data, train_here, tmp_path, capsys):
    pytest.importorskip('safetensors')
    run = train_here(*list_data, '--model_type', 'torchvision:resnet18', '--image_size', 32, '--epochs', 1,
                     '--checkpoints_dir', tmp_path)  # fmt: skip
    text = (
        (PROJECT / 'docs' / 'recipes.md')
        .read_text(encoding='utf-8')
        .partition('\n## Export\n')[2]
        .partition('\n## ')[0]
    )
    programs = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
    assert len(programs) == 4
    image = list_data[list_data.index('--val_list') + 1].replace('val.txt', 'val3.png')
    names = load_predictor(str(run.directory / 'best.pth'), device='cpu').class_names
    expected = names[int(probabilities(run, [image])[0].argmax())]
    for name, program in zip(('onnx', 'pt2', 'torchscript', 'safetensors'), programs, strict=True):
        assert len(program.splitlines()) <= 16
        assert 'danlu' not in program.lower()
        exported(run.directory, '--format', name, *([] if name == 'safetensors' else ['--with_preprocessing']))
        program = program.replace('checkpoints/torchvision_resnet18_export', str(run.directory))
        exec(program.replace('photos/val/cat/0.jpg', image), {})
        assert capsys.readouterr().out.strip() == expected
