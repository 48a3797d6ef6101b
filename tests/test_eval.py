"""eval.py from end to end: the numbers that training printed, what result.txt says, and every way to fail."""

import csv
import hashlib
import os
import re
import shlex
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import eval as eval_py
from metrics import ClassificationMetrics, SegmentationMetrics
from model.lenet import LeNet
from model.unet import UNet
from options import prepare_test_args
from utils.base.errors import DanluError
from utils.drawing.colours import class_colours
from utils.drawing.fonts import missing_characters
from utils.runs.checkpoint import load_checkpoint


@pytest.fixture(scope='module')
def digits_checkpoint(digits_run, tmp_path_factory):
    """Return a copy of a best.pth, in a directory of its own, so that tests do not count each other's results."""
    path = tmp_path_factory.mktemp('digits_checkpoint') / 'best.pth'
    shutil.copy(digits_run.directory / 'best.pth', path)
    return path


@pytest.fixture(scope='module')
def list_test(list_run, eval_here):
    """Return a test of `list_run`, given nothing but the checkpoint."""
    return eval_here('--load_model_path', list_run.directory / 'best.pth')


@pytest.fixture(scope='module')
def mask_test(mask_run, eval_here):
    """Return a test of `mask_run`, with a picture of every third sample."""
    return eval_here('--load_model_path', mask_run.directory / 'best.pth', '--save_viz', '--viz_freq', 3)


def best_row(run, history_of):
    """Return the row of history.csv (dict of str) of the epoch that best.pth holds."""
    epoch = load_checkpoint(run.directory / 'best.pth')['epoch']
    (row,) = [row for row in history_of(run) if row['epoch'] == str(epoch)]
    return row


def confusion_of(test):
    """Return confusion_matrix.csv: the class names, and the counts (K, K)."""
    with open(test.directory / 'confusion_matrix.csv', newline='', encoding='utf-8') as file:
        header, *rows = csv.reader(file)
    assert [row[0] for row in rows] == header[1:]
    return header[1:], np.array([row[1:] for row in rows], dtype=np.int64)


# --- the numbers


@pytest.mark.parametrize('kind', ['digits', 'list', 'mask'])
def test_the_value_that_training_printed_is_the_value_of_the_test_to_the_last_digit(kind, request, history_of):
    """Digits in another process; a list in uneven batches, trained with workers; masks with ignored pixels."""
    run, test = request.getfixturevalue(f'{kind}_run'), request.getfixturevalue(f'{kind}_test')
    validated = {n.removeprefix('val/'): v for n, v in best_row(run, history_of).items() if n.startswith('val/')}
    tested = {name: value for name, value in test.values.items() if '/' not in name}
    assert tested == validated
    assert len(tested) >= 3
    monitor = 'miou' if kind == 'mask' else 'acc'
    epoch = load_checkpoint(run.directory / 'best.pth')['epoch']
    assert (
        f'best: val/{monitor} {test.values[monitor]} in epoch {epoch}'
        in (run.directory / 'log.txt').read_text().splitlines()
    )


def everything(paths, mean, std):
    """Return pictures as one normalised batch, read without Danlu."""
    pixels = torch.stack([torch.from_numpy(np.array(Image.open(path))) for path in paths]).permute(0, 3, 1, 2)
    return (pixels / 255 - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)


def lines_of(args):
    """Return (picture, target) of every line of the validation list; pictures with their directory."""
    folder = os.path.dirname(args['val_list'])
    with open(args['val_list'], encoding='utf-8') as file:
        return [(os.path.join(folder, picture), target) for picture, target in (line.split() for line in file)]


def test_a_classification_is_right_when_worked_out_in_one_batch(list_run, list_test):
    state = load_checkpoint(list_run.directory / 'best.pth')
    args, lines = state['args'], lines_of(state['args'])
    net = LeNet(3, 3, (20, 16)).eval()
    net.load_state_dict(state['model'])
    targets = torch.tensor([['ant', 'cat', 'yak'].index(name) for _, name in lines])
    with torch.no_grad():
        predictions = net(everything([picture for picture, _ in lines], args['mean'], args['std']))
    right = (predictions.argmax(1) == targets).sum().item()
    assert 0 < right < len(lines), 'a test of all or none would show little'
    assert list_test.values['acc'] == repr(right / len(lines))
    loss = torch.nn.functional.cross_entropy(predictions.double(), targets).item()
    assert float(list_test.values['loss']) == pytest.approx(loss, rel=1e-6)
    metrics = ClassificationMetrics(3, None, ['ant', 'cat', 'yak'])
    metrics.update(predictions, targets)
    for name, value in metrics.compute().items():
        assert list_test.values[name] == repr(value)
    names, counts = confusion_of(list_test)
    assert names == ['ant', 'cat', 'yak']
    assert np.array_equal(counts, metrics.confusion_matrix().numpy())
    assert counts.sum() == len(lines) == 13


def test_a_segmentation_is_right_when_worked_out_in_one_batch(mask_run, mask_test):
    state = load_checkpoint(mask_run.directory / 'best.pth')
    args, lines = state['args'], lines_of(state['args'])
    folder = os.path.dirname(args['val_list'])
    targets = torch.stack(
        [torch.from_numpy(np.array(Image.open(os.path.join(folder, mask)))).long() for _, mask in lines]
    )
    ignored = (targets == 7).sum(dim=(1, 2))
    assert len(set(ignored.tolist())) == len(lines), 'each picture has another share of ignored pixels'
    net = UNet(3).eval()
    net.load_state_dict(state['model'])
    with torch.no_grad():
        predictions = net(everything([picture for picture, _ in lines], args['mean'], args['std']))
    loss = torch.nn.functional.cross_entropy(predictions.double(), targets, ignore_index=7).item()
    assert float(mask_test.values['loss']) == pytest.approx(loss, rel=1e-5)
    seen = targets != 7
    right = (predictions.argmax(1) == targets)[seen].double().mean().item()
    assert float(mask_test.values['pixel_acc']) == pytest.approx(right, abs=2 / seen.sum().item())
    metrics = SegmentationMetrics(3, 7, None)
    metrics.update(predictions, targets)
    for name, value in metrics.compute().items():
        assert float(mask_test.values[name]) == pytest.approx(value, abs=0.005), name
    _, counts = confusion_of(mask_test)
    assert counts.sum() == seen.sum()


def test_the_batch_size_of_a_test_changes_no_count(list_run, list_test, eval_here):
    test = eval_here('--load_model_path', list_run.directory / 'best.pth', '--batch_size', 3, '--num_workers', 0)
    assert test.values['acc'] == list_test.values['acc']
    assert float(test.values['loss']) == pytest.approx(float(list_test.values['loss']), rel=1e-6)
    assert np.array_equal(confusion_of(test)[1], confusion_of(list_test)[1])


# --- what a test leaves


def test_result_txt_says_what_was_tested(digits_run, digits_test):
    checkpoint = digits_run.directory / 'best.pth'
    assert digits_test.directory == digits_run.directory / 'best' / 'val_digits_exp'
    assert {p.name for p in digits_test.directory.iterdir()} == {
        *('args.txt', 'result.txt', 'predictions.csv', 'confusion_matrix.csv', 'contents.bin'),
    }
    head = digits_test.head
    assert list(head) == [
        *('checkpoint', 'checkpoint sha256', 'epoch', 'list', 'list sha256', 'samples'),
        *('contents sha256', 'samples hashed', 'contents since the run', 'verdict', 'compared with recorded values'),
        *('batch size, device, threads', 'date'),
        *('outputs for the probe', 'command', 'directory'),
        *('code sha256', 'source sha256', 'git commit', 'trained on', 'trained on sha256'),
    ]
    assert head['epoch'] == '2'
    assert head['batch size, device, threads'] == '192, cpu, 1'
    assert os.path.isdir(head['directory'])
    record = load_checkpoint(checkpoint)['record']
    assert head['code sha256'] == record['code']
    assert head['git commit'].split(',')[0] == ((record['git'] or {}).get('commit') or 'not known')
    assert (head['trained on'], head['trained on sha256']) == ('digits', record['data']['train']['sha256'])
    assert head['list sha256'] == record['data']['val']['sha256']
    assert head['checkpoint'] == str(checkpoint)
    assert head['checkpoint sha256'] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert re.fullmatch('[0-9a-f]{64}', head['list sha256'])
    assert head['samples'] == '1000'
    assert re.fullmatch(r'20\d\d-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}', head['date'])
    python, program, *words = shlex.split(head['command'])  # there may be blanks in the path of the project
    assert (python, os.path.basename(program), words) == ('python', 'eval.py', ['--load_model_path', str(checkpoint)])


def test_result_txt_is_sorted_in_full_precision_and_complete(digits_test):
    text = (digits_test.directory / 'result.txt').read_text()
    lines = text.splitlines()
    values = lines[len(digits_test.head) :]
    assert all(line.startswith('# ') for line in lines[: len(digits_test.head)])
    assert values == sorted(values)
    assert text.endswith('\n')
    classes = {f'acc_class/{digit}' for digit in range(10)}
    macro = {'f1_macro', 'precision_macro', 'recall_macro'}
    assert {line.split(': ')[0] for line in values} == {'loss', 'acc', 'acc_top5', *macro} | classes
    for value in digits_test.values.values():
        assert repr(float(value)) == value
    assert len(digits_test.values['loss']) > 12


def test_the_digits_are_hashed_by_content(digits_test):
    with np.load(os.path.join(os.path.dirname(eval_py.__file__), 'data', 'digits.npz')) as file:
        content = file['test_images'].tobytes() + file['test_labels'].astype(np.int64).tobytes()
    assert digits_test.head['list sha256'] == hashlib.sha256(content).hexdigest()


def test_a_list_is_named_and_its_hash_tells_lists_apart(list_run, list_test, eval_here, tmp_path):
    path = load_checkpoint(list_run.directory / 'best.pth')['args']['val_list']
    assert list_test.head['list'] == path
    hashes = {list_test.head['list sha256']}
    with open(path, encoding='utf-8') as file:
        lines = file.readlines()
    others = {'same': lines, 'shorter': lines[:-1], 'relabelled': [lines[0].replace('yak', 'cat'), *lines[1:]]}
    words = ['--load_model_path', list_run.directory / 'best.pth', '--data_root', os.path.dirname(path)]
    found = {}
    for name, content in others.items():
        (tmp_path / f'{name}.txt').write_text(''.join(content), encoding='utf-8')
        test = eval_here(*words, '--val_list', tmp_path / f'{name}.txt', '--num_workers', 0)
        assert test.directory.name == f'val_{name}_exp'
        found[name] = test.head['list sha256']
        assert test.head['samples'] == str(len(content))
    assert {found['same']} == hashes
    assert len(hashes | set(found.values())) == 3


def test_confusion_matrix_agrees_with_result_txt(digits_test):
    names, counts = confusion_of(digits_test)
    assert names == [str(digit) for digit in range(10)]
    assert counts.sum() == 1000
    assert counts.sum(1).tolist() == [100] * 10, 'a row per true class, and the test digits are balanced'
    assert digits_test.values['acc'] == repr(int(counts.trace()) / 1000)
    for digit in range(10):
        assert digits_test.values[f'acc_class/{digit}'] == repr(int(counts[digit, digit]) / 100)


def test_a_test_prints_its_numbers_and_where_they_are(digits_run, digits_test):
    lines = digits_test.stdout.splitlines()
    assert f'weights: 10 of 10 loaded from {digits_run.directory / "best.pth"}' in lines
    names = ['acc', 'acc_top5', 'f1_macro', 'precision_macro', 'recall_macro', 'loss']  # what counts first
    assert [line.split() for line in lines[-7:-1]] == [[f'{n}:', f'{float(digits_test.values[n]):#.4g}'] for n in names]
    assert lines[-1] == f'results: {digits_test.directory}'
    assert 'option changed since training' not in digits_test.stdout, 'nothing was changed'
    for noise in ('\r', '%|', 'img/s'):
        assert noise not in digits_test.stdout + digits_test.stderr


def test_a_second_test_keeps_the_first_under_a_number(digits_checkpoint, eval_here):
    first = eval_here('--load_model_path', digits_checkpoint)
    before = {path.name: path.read_bytes() for path in first.directory.iterdir()}
    second = eval_here('--load_model_path', digits_checkpoint)
    newer = (first.directory / 'result.txt').read_bytes()
    third = eval_here('--load_model_path', digits_checkpoint)
    assert first.directory == second.directory == third.directory
    names = ('args', 'result', 'confusion_matrix')
    assert {name.partition('.')[0] for name in before} >= set(names)
    for name, data in before.items():
        stem, ending = os.path.splitext(name)
        assert (first.directory / f'{stem}.1{ending}').read_bytes() == data
    assert (first.directory / 'result.2.txt').read_bytes() == newer
    assert len(list(first.directory.iterdir())) == 3 * len(before), 'nothing else is left'
    assert first.values == second.values == third.values
    assert f'@{first.directory}/args.txt' in (first.directory / 'args.txt').read_text().splitlines()[0]
    assert 'partial' not in (first.directory / 'args.txt').read_text()


def test_a_test_of_something_else_gets_a_directory_of_its_own(digits_checkpoint, eval_here):
    first = eval_here('--load_model_path', digits_checkpoint)
    other = eval_here('--load_model_path', digits_checkpoint, '--batch_size', 100)
    named = eval_here('--load_model_path', digits_checkpoint, '--save_prefix', 'final')
    names = [test.directory.name for test in (first, other, named)]
    assert names == ['val_digits_exp', 'val_digits_exp_2', 'val_digits_final']
    again = eval_here('--load_model_path', digits_checkpoint, '--batch_size', 100)
    assert again.directory == other.directory


def test_without_save_viz_there_are_no_pictures(list_test):
    assert not (list_test.directory / 'viz').exists()


def test_pictures_of_a_segmentation_show_input_prediction_and_target(mask_run, mask_test):
    folder = mask_test.directory / 'viz'
    assert sorted(p.name for p in folder.iterdir()) == ['000000_val0.png', '000003_val3.png']
    source = load_checkpoint(mask_run.directory / 'best.pth')['args']['val_list']
    for index in (0, 3):  # the first of its batch, and the second
        shown = np.asarray(Image.open(folder / f'{index:06d}_val{index}.png'))
        # 24x20 enlarged six times, three beside each other with gaps of 4, a title of 19 pixels above.
        assert shown.shape[1] == 3 * 144 + 2 * 4
        parts, legend = shown[19 : 19 + 120 : 6, ::6], shown[19 + 120 :]
        original = np.asarray(Image.open(os.path.join(os.path.dirname(source), f'val{index}.png')))
        assert np.array_equal(parts[:, :24], original), 'the pixels of the file'
        mask = np.asarray(Image.open(os.path.join(os.path.dirname(source), f'val{index}_mask.png')))
        target = shown[19 : 19 + 120 : 6, 2 * 148 :: 6]
        assert ((target == 0).all(-1) == (mask == 7)).all(), 'ignored pixels are black'
        for label, colour in enumerate(class_colours(3)):
            assert (target[mask == label] == colour).all(), 'the same colour in every picture'
            assert (legend == colour).all(-1).sum() > 100, 'which the legend has'
        for start in (0, 148, 296):
            assert (shown[:19, start : start + 144] < 100).any(), 'a title'


def test_names_and_colours_are_used_everywhere(mask_run, eval_here):
    words = ['--class_names', '天空', 'road', '人行道', '--palette', '#101112', '#804080', '#82427e', '--save_viz']
    test = eval_here('--load_model_path', mask_run.directory / 'best.pth', *words, '--save_prefix', 'named')
    content = (test.directory / 'confusion_matrix.csv').read_bytes()
    assert content.startswith(b'\xef\xbb\xbf'), 'without the mark Excel takes it for another encoding'
    assert content.decode('utf-8-sig').splitlines()[0] == 'truth \\ prediction,天空,road,人行道'
    assert {'iou/天空', 'iou/road', 'iou/人行道'} <= set(test.values)
    for path in (test.directory / 'viz').iterdir():
        legend = np.asarray(Image.open(path))[19 + 120 :]
        assert all((legend == colour).all(-1).sum() > 100 for colour in ([16, 17, 18], [128, 64, 128], [130, 66, 126]))
    assert "--palette: the colours of the classes 'road' and '人行道' look alike" in test.stdout
    noted = [line for line in test.stdout.splitlines() if line.startswith('no font here has')]
    assert len(noted) == bool(missing_characters('天空人行道'))
    again = eval_here(f'@{test.directory}/args.txt', '--save_prefix', 'named_again')
    first, second = (sorted((run.directory / 'viz').iterdir()) for run in (test, again))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.parametrize(('viz_freq', 'count'), [(1, 13), (5, 3), (100, 1)])
def test_every_viz_freqth_sample_gets_a_picture(list_run, eval_here, viz_freq, count):
    """Over batches of 8 and 5."""
    words = ['--save_viz', '--viz_freq', viz_freq, '--num_workers', 0]
    test = eval_here('--load_model_path', list_run.directory / 'best.pth', *words)
    names = sorted(path.name for path in (test.directory / 'viz').iterdir())
    assert names == [f'{i:06d}_val{i}.png' for i in range(0, 13, viz_freq)]
    assert len(names) == count
    # 16x20 enlarged seven times, two lines of 17 pixels and a gap of 4 below.
    for name in names:
        with Image.open(test.directory / 'viz' / name) as picture:
            assert picture.size == (16 * 7, 20 * 7 + 2 * 17 + 4)


def test_pictures_say_right_in_green_and_wrong_in_red(list_run, eval_here):
    words = ['--save_viz', '--num_workers', 0]
    test = eval_here('--load_model_path', list_run.directory / 'best.pth', *words)
    right = wrong = 0
    for path in (test.directory / 'viz').iterdir():
        text = np.asarray(Image.open(path))[20 * 7 :].reshape(-1, 3)
        green, red = ((text == colour).all(1).any() for colour in ((0, 120, 50), (190, 0, 20)))
        assert green != red
        right, wrong = right + green, wrong + red
    assert right and wrong
    assert test.values['acc'] == repr(float(right / (right + wrong)))


def test_names_that_file_systems_refuse_are_made_fit(list_run, eval_here, tmp_path):
    folder = tmp_path / 'a b' / 'ü'
    folder.mkdir(parents=True)
    source = load_checkpoint(list_run.directory / 'best.pth')['args']['val_list']
    for name in ('x y.png', 'x.y.png'):
        shutil.copy(os.path.join(os.path.dirname(source), 'val0.png'), folder / name)
    (tmp_path / 'l.txt').write_text('a b/ü/x y.png\tyak\na b/ü/x.y.png\tant\n', encoding='utf-8')
    words = ['--val_list', tmp_path / 'l.txt', '--save_viz', '--num_workers', 0]
    test = eval_here('--load_model_path', list_run.directory / 'best.pth', *words)
    assert sorted(p.name for p in (test.directory / 'viz').iterdir()) == [
        '000000_a_b_ü_x_y.png',
        '000001_a_b_ü_x.y.png',
    ]


# --- what the command line gives


def test_the_command_line_wins_and_is_reported(list_run, eval_here, tmp_path):
    trained = load_checkpoint(list_run.directory / 'best.pth')['args']
    other = tmp_path / 'other.txt'
    with open(trained['val_list'], encoding='utf-8') as file:
        other.write_text(''.join(file.readlines()[:4]), encoding='utf-8')
    words = ['--val_list', other, '--data_root', os.path.dirname(trained['val_list'])]
    words += ['--batch_size', 2, '--mean', 0.5, 0.5, 0.5, '--num_workers', 0]
    test = eval_here('--load_model_path', list_run.directory / 'best.pth', *words)
    said = [line for line in test.stdout.splitlines() if line.startswith('option changed')]
    assert sorted(said) == sorted(
        f'option changed since training: {change}'
        for change in (
            f'val_list: {trained["val_list"]} -> {other}',
            f'data_root: None -> {os.path.dirname(trained["val_list"])}',
            'batch_size: 8 -> 2',
            f'mean: {trained["mean"]} -> [0.5, 0.5, 0.5]',
            'num_workers: 2 -> 0',
        )
    )
    assert test.head['samples'] == '4'
    assert test.head['list'] == str(other)
    recorded = (test.directory / 'args.txt').read_text()
    assert '--mean 0.5 0.5 0.5' in recorded
    assert '--model_type=lenet' in recorded


def test_another_mean_changes_the_numbers(list_run, list_test, eval_here):
    """So what is reported is also used."""
    words = ['--mean', 0.1, 0.9, 0.5, '--num_workers', 0]
    test = eval_here('--load_model_path', list_run.directory / 'best.pth', *words)
    assert test.values['loss'] != list_test.values['loss']


def test_last_pth_is_tested_beside_best_pth(list_run, eval_here):
    test = eval_here('--load_model_path', list_run.directory / 'last.pth')
    assert test.directory == list_run.directory / 'last' / 'val_val_exp'


def test_cuda_visible_devices_is_left_as_it_is(list_run, eval_here, monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    eval_here('--load_model_path', list_run.directory / 'best.pth')
    assert os.environ['CUDA_VISIBLE_DEVICES'] == ''


# --- checkpoints of every kind


@pytest.mark.parametrize('form', ['state dict', 'module.', '_orig_mod.', 'state_dict', 'ours with module.'])
def test_weights_of_every_form_test_the_same(form, digits_run, digits_test, eval_here, tmp_path):
    state = load_checkpoint(digits_run.directory / 'best.pth')
    weights, path = state['model'], tmp_path / 'w.pth'
    if form == 'state_dict':
        torch.save({'state_dict': weights, 'epoch': 90, 'lr': 0.1}, path)
    elif form == 'ours with module.':
        torch.save({**state, 'model': {f'module.{name}': value for name, value in weights.items()}}, path)
    else:
        prefix = '' if form == 'state dict' else form
        torch.save({prefix + name: value for name, value in weights.items()}, path)
    batch_size = [] if form == 'ours with module.' else ['--batch_size', 192]  # a bare state dict does not know it
    test = eval_here('--load_model_path', path, *batch_size)
    assert test.directory == tmp_path / 'w' / 'val_digits_exp'
    assert test.values == digits_test.values


def test_a_whole_model_is_tested_only_where_it_is_trusted(digits_run, digits_test, eval_here, tmp_path):
    net, path = LeNet(), tmp_path / 'whole.pth'
    net.load_state_dict(load_checkpoint(digits_run.directory / 'best.pth')['model'])
    torch.save(net, path)
    with pytest.raises(DanluError, match=r'source you trust.*--trust_checkpoint.*any code'):
        eval_here('--load_model_path', path)
    assert os.listdir(tmp_path) == ['whole.pth']
    test = eval_here('--load_model_path', path, '--trust_checkpoint', '--batch_size', 192)
    assert test.values == digits_test.values
    assert test.head['epoch'] == 'not known'
    told = {'num_classes': 10, 'channels': 1, 'image_size': 28, 'mean': 0.5, 'std': 0.5, 'device': 'cpu'}
    with pytest.raises(DanluError, match='--trust_checkpoint'):
        eval_py.load_predictor(path, **told)
    predictor = eval_py.load_predictor(path, trust_checkpoint=True, **told)
    assert predictor.predict([np.zeros((28, 28), np.uint8)]).shape == (1, 10)


def changed_file(path, digits_run):
    """Write weights of which one is missing, one unknown and one of another shape."""
    weights = dict(load_checkpoint(digits_run.directory / 'best.pth')['model'])
    del weights['classifier.1.bias']
    weights['classifier.5.weight'] = torch.zeros(4, 84)
    weights['extra'] = torch.zeros(1)
    torch.save(weights, path)
    return path


DIFFERENCES = [
    '1 missing in the file: classifier.1.bias',
    '1 unknown to the model: extra',
    '1 of another shape: classifier.5.weight (4, 84) instead of (10, 84)',
]


def test_load_not_strict_reports_what_was_loaded_and_what_not(digits_run, eval_here, tmp_path):
    path = changed_file(tmp_path / 'w.pth', digits_run)
    torch.manual_seed(1)  # with 0 the last layer is that which the run began with, and which its features fit
    test = eval_here('--load_model_path', path, '--load_not_strict')
    lines = test.stdout.splitlines()
    start = lines.index(f'weights: 8 of 10 loaded from {path}')
    assert lines[start + 1 : start + 4] == [f'  {difference}' for difference in DIFFERENCES]
    assert float(test.values['acc']) < 0.5, 'its last layer is untrained'


def whole_file(digits_run, path):
    """Copy a checkpoint to path and return its bytes."""
    shutil.copy(digits_run.directory / 'best.pth', path)
    return path.read_bytes()


def broken_file(kind, digits_run, path):
    """Write a file that cannot be tested."""
    if kind == 'whole model':
        torch.save(LeNet(), path)
    elif kind == 'mismatch':
        changed_file(path, digits_run)
    elif kind == 'nothing fits':
        torch.save({'other.weight': torch.zeros(3)}, path)
    elif kind == 'no weights':
        torch.save({'epoch': 3}, path)
    else:
        whole = whole_file(digits_run, path)
        damaged = bytearray(whole)
        damaged[len(whole) // 2] ^= 1
        path.write_bytes({'empty': b'', 'truncated': whole[:9000], 'damaged': damaged, 'list': b'a.png,0\n'}[kind])


@pytest.mark.parametrize(
    ('kind', 'message'),
    [
        ('whole model', r'is not a checkpoint of tensors and plain values .*torch\.save\(model\.state_dict\(\)'),
        ('mismatch', 'does not fit LeNet: ' + '; '.join(re.escape(d) for d in DIFFERENCES) + '.*--load_not_strict'),
        ('nothing fits', 'none of its 1 weights fits LeNet'),
        ('no weights', 'holds no weights: found epoch'),
        ('empty', 'is damaged or not a checkpoint'),
        ('truncated', 'is damaged or not a checkpoint'),
        ('damaged', r'is damaged or not a checkpoint .*checksum'),
        ('list', 'is damaged or not a checkpoint|is not a checkpoint'),
    ],
)
def test_a_file_that_cannot_be_tested_is_one_line_and_leaves_nothing(kind, message, digits_run, eval_here, tmp_path):
    path = tmp_path / 'w.pth'
    broken_file(kind, digits_run, path)
    not_strict = ['--load_not_strict'] if kind == 'nothing fits' else []
    with pytest.raises(DanluError, match=message) as caught:
        eval_here('--load_model_path', path, *not_strict)
    assert '\n' not in str(caught.value)
    assert str(path) in str(caught.value)
    left = [p for p in tmp_path.rglob('*') if p.is_file()]
    assert left == [path], 'a directory of results without results'


def test_a_failing_program_prints_one_line_and_exits_with_2(run_program, tmp_path):
    path = tmp_path / 'w.pth'
    torch.save(LeNet(), path)
    done = run_program('eval.py', '--load_model_path', path)
    assert done.code == 2
    assert done.stdout == ''
    assert re.fullmatch(rf'eval\.py: error: {re.escape(str(path))} is not a checkpoint [^\n]*\n', done.stderr)


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--model_type', 'unet'], "model 'unet' is for segmentation, restoration, not for --task classification"),
        (
            ['--model_type', 'torchvision:squeezenet1_1', '--channels', '3', '--image_size', '64'],
            'does not fit SqueezeNet: ',
        ),
        (
            ['--channels', '3', *'--mean 0 0 0 --std 1 1 1'.split()],
            r'1 of another shape: features\.0\.weight \(6, 1, 5, 5\) instead of \(6, 3, 5, 5\)',
        ),
        (['--device', 'cuda'], 'no GPU is visible'),
    ],
)
def test_options_that_do_not_fit_leave_no_directory(words, message, digits_run, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    path = tmp_path / 'w.pth'
    shutil.copy(digits_run.directory / 'best.pth', path)
    with pytest.raises(DanluError, match=message):
        eval_py.main(['--load_model_path', str(path), *words])
    assert [p for p in tmp_path.rglob('*') if p.is_file()] == [path]
    assert not list(tmp_path.rglob('val_*'))


def test_a_broken_list_leaves_no_directory_of_results(list_run, tmp_path):
    path = tmp_path / 'best.pth'
    shutil.copy(list_run.directory / 'best.pth', path)
    (tmp_path / 'bad.txt').write_text('nowhere.png\tant\n')
    with pytest.raises(DanluError, match=r'bad\.txt:1'):
        eval_py.main(['--load_model_path', str(path), '--val_list', str(tmp_path / 'bad.txt')])
    assert not list(tmp_path.rglob('val_*'))


class Shifted(eval_py.Evaluator):
    """What a new task overrides."""

    def step(self, batch):
        images, predictions, targets = super().step(batch)
        return images, predictions[:, [1, 2, 0]], targets

    def compute_metrics(self, predictions, targets, metrics):
        super().compute_metrics(predictions, targets, metrics)
        self.counted = getattr(self, 'counted', 0) + len(targets)

    def viz_per_batch(self, start, images, predictions, targets):
        self.starts = [*getattr(self, 'starts', []), start]


def test_the_short_methods_can_be_overridden(list_run, list_test):
    path = str(list_run.directory / 'best.pth')
    trained = load_checkpoint(path)['args']
    argv = ['--load_model_path', path, '--save_viz', '--num_workers', '0', '--device', 'cpu']
    evaluator = Shifted(prepare_test_args(argv, trained))
    results = evaluator.eval()
    assert evaluator.counted == 13
    assert evaluator.starts == [0, 8]
    _, counts = confusion_of(list_test)
    # What was taken for class 1 is now taken for 0, and so on.
    assert results['acc'] == np.roll(counts, -1, axis=1).trace() / 13
