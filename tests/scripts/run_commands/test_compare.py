"""runs.py compare: several runs as text and as one page."""

import csv
import html.parser
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from scripts import runs
from scripts.run_commands import compare_page
from scripts.run_commands.comparison import find_sides, find_test_sets, option_rows
from scripts.run_commands.value_intervals import value_intervals
from utils.base.errors import DanluError
from utils.html_report.class_labels import shortened
from utils.html_report.templating import environment
from utils.statistics.ranking_bootstrap import ranking_intervals


def compare(capsys, folder, *words):
    """Run runs.py compare and return what it printed."""
    runs.main(['compare', *map(str, words), '--checkpoints_dir', str(folder)])
    return capsys.readouterr().out


def result_of(eval_here, run, *words):
    return eval_here('--load_model_path', run.directory / 'best.pth', '--num_workers', 0, *words)


@pytest.fixture(scope='module')
def three(train_here, eval_here, list_data, tmp_path_factory):
    """Return the directory of three runs on `list_data` that were tested, and one that was not, and the tests."""
    folder = tmp_path_factory.mktemp('three')
    words = [*list_data, '--num_workers', 0, '--checkpoints_dir', folder, '--epochs']
    made = [
        train_here(*words, 2, '--save_prefix', 'a'),
        train_here(*words, 3, '--save_prefix', 'b', '--lr', 0.01),
        train_here(*words, 1, '--save_prefix', '丙', '--model_type', 'mlp', '--seed', 3),
    ]
    train_here(*words, 1, '--save_prefix', 'untested')
    return SimpleNamespace(folder=folder, runs=made, tests=[result_of(eval_here, run) for run in made])


class Page(html.parser.HTMLParser):
    """The tags of a page, as (name, attributes), and the texts in it."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(path.read_text(encoding='utf-8'))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data.strip())

    def of_class(self, name):
        return [tag for tag, given in self.tags if name in (given.get('class') or '').split()]


def page_of(capsys, folder, path, *words):
    """Return the Page of a comparison, which must not need anything but itself."""
    assert re.fullmatch(r'comparison of \d runs?: (.*)\n', compare(capsys, folder, *words, '--html', path))[1] == str(
        path
    )
    page = Page(path)
    for tag, given in page.tags:
        for name in ('src', 'href'):
            assert given.get(name, '#').startswith(('#', 'data:')), (tag, given)
    assert '{{' not in ' '.join(page.texts)
    return page


def test_the_text_says_what_differs_and_what_came_out(three, capsys):
    said = compare(capsys, three.folder, 'lenet_a', 'lenet_b', 'mlp_丙')
    table = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line}
    assert table['lr'] == ['0.003', '0.01', '0.003']
    assert table['model_type'] == ['lenet', 'lenet', 'mlp']
    assert 'batch_size' not in table
    assert 'save_prefix' not in table
    values = re.search(r'^acc +(.*)$', said, re.MULTILINE)[1]
    assert re.findall(r'(0\.\d{4}) \(', values) == [f'{float(test.values["acc"]):.4f}' for test in three.tests]
    for letter in 'BC':
        assert re.search(rf'^acc: {letter} against A .* p = ', said, re.MULTILINE)
    assert 'A, B, C: 13 samples of ' in said
    count = int(re.search(r'samples on which they disagree: (\d+)', said)[1])
    rows = [rows_of(test) for test in three.tests]
    assert count == sum(len({own['correct'] for own in of_one}) > 1 for of_one in zip(*rows, strict=True)) > 0


def rows_of(test):
    with open(test.directory / 'predictions.csv', encoding='utf-8-sig') as file:
        return list(csv.DictReader(file))


def test_the_page_has_all_of_it_in_one_file(three, capsys, tmp_path):
    page = page_of(capsys, three.folder, tmp_path / 'out.html', 'lenet_a', 'lenet_b', 'mlp_丙', '--show', 5)
    for name in ('lenet_a', 'lenet_b', 'mlp_丙'):
        assert name in page.texts
    assert len(page.of_class('plot')) == 4, 'loss, acc, f1_macro, lr'
    assert len(page.of_class('card')) == 5
    images = [given['href'] for tag, given in page.tags if tag == 'image']
    assert len(images) == 5
    assert all(image.startswith('data:image/png;base64,') for image in images)
    for test in three.tests:
        assert f'{float(test.values["acc"]):.4f}' in page.texts


def test_the_best_value_is_bold_and_a_run_with_a_report_is_linked(three, capsys, tmp_path):
    report = three.tests[0].directory / 'report.html'
    report.write_text('', encoding='utf-8')
    compare(capsys, three.folder, 'lenet_a', 'lenet_b', 'mlp_丙', '--html', tmp_path / 'out.html')
    page = Page(tmp_path / 'out.html')
    [link] = [given['href'] for tag, given in page.tags if tag == 'a']
    assert (tmp_path / link).resolve() == report
    report.unlink()
    text = (tmp_path / 'out.html').read_text(encoding='utf-8')
    values = [float(test.values['acc']) for test in three.tests]
    row = re.search(r'<td>acc</td>.*?</tr>', text, re.DOTALL)[0]
    assert set(re.findall(r'<b>([\d.]+)</b>', row)) == {f'{max(values):.4f}'}


def test_unlike_losses_are_said_and_the_machine_does_not_count(tmp_path):
    for name, words in (
        ('x', ['--label_smoothing=0.1', '--threads=1']),
        ('y', ['--label_smoothing=0.0', '--threads=2']),
    ):
        (tmp_path / name).mkdir()
        lines = ['# python train.py @args.txt', '--model_type=lenet', *words]
        (tmp_path / name / 'args.txt').write_text('\n'.join(lines) + '\n', encoding='utf-8')
    sides = find_sides(['x', 'y'], tmp_path)
    assert [row[0] for row in option_rows(sides)] == ['label_smoothing']
    assert find_test_sets(sides, 0)[1][0] == 'the losses are not comparable: the runs differ in --label_smoothing'


def test_the_lists_of_val_split_are_not_an_option_that_differs(tmp_path):
    for name, share in (('x', 0.2), ('y', 0.2), ('z', 0.3)):
        (tmp_path / name).mkdir()
        words = ['--train_list=photos', f'--val_split={share}', f'--val_list={tmp_path / name}/val_split/val.txt']
        (tmp_path / name / 'args.txt').write_text('\n'.join(['# python train.py', *words, '']), encoding='utf-8')
    assert option_rows(find_sides(['x', 'y'], tmp_path)) == []
    assert [row[0] for row in option_rows(find_sides(['x', 'z'], tmp_path))] == ['val_split']


def test_options_are_rounded_unless_they_become_equal(tmp_path):
    for name, lr, decay in (('x', '0.004897135316634731', '0.10000001'), ('y', '0.01', '0.10000002')):
        (tmp_path / name).mkdir()
        lines = ['# python train.py', f'--lr={lr}', f'--weight_decay={decay}', '']
        (tmp_path / name / 'args.txt').write_text('\n'.join(lines), encoding='utf-8')
    rows = {name: texts for name, *texts in option_rows(find_sides(['x', 'y'], tmp_path))}
    assert rows == {'lr': ['0.004897', '0.01'], 'weight_decay': ['0.10000001', '0.10000002']}


def test_long_names_of_samples_are_cut_and_whole_in_the_title():
    name = 'long' * 30
    prediction = compare_page._prediction(SimpleNamespace(letter='A'), {'prediction': name, 'confidence': '0.5'}, None)
    assert prediction['text'] == f'{name} · 50%'
    assert prediction['short'] == f'{shortened(name)} · 50%' != prediction['text']
    lines = {'prediction': name, 'target': f'{name}s', 'confidence': '0.5', 'target_probability': '0.1', 'correct': '0'}
    shown = str(environment().get_template('parts.html').module.caption(lines, 'label'))
    assert f'title="{name}"' in shown and f'<b>{shortened(name)}</b>' in shown
    assert f'title="{name}s"' in shown and f'true: {shortened(name + "s")}' in shown


def test_samples_come_in_the_order_of_disagreement(three):
    sides = find_sides(['lenet_a', 'lenet_b', 'mlp_丙'], three.folder)
    (found,), notes = find_test_sets(sides, 0)
    assert notes == []
    assert sorted(found.order.tolist()) == list(range(13))
    spread = np.ptp(found.quality, axis=1)[found.order]
    assert (np.diff(spread) <= 0).all()
    assert spread[found.disagreements - 1] > 0 == spread[found.disagreements :].sum()
    assert set(found.bounds) == set(found.names) == {'acc', 'f1_macro', 'precision_macro', 'recall_macro', 'loss'}
    for name, low_high in found.bounds.items():
        for value, (low, high) in zip(found.values[name], low_high, strict=True):
            assert low <= value <= high


def test_a_run_without_a_test_is_compared_in_the_rest(three, capsys, tmp_path):
    said = compare(capsys, three.folder, 'lenet_a', 'lenet_untested')
    assert re.search(r'^epochs +2 +1$', said, re.MULTILINE)
    assert 'B has no test: ' in said
    assert 'was never tested; to test it: python eval.py' in said
    page = page_of(capsys, three.folder, tmp_path / 'out.html', 'lenet_a', 'lenet_untested')
    assert any(text.startswith('B has no test: ') for text in page.texts)
    assert page.of_class('card') == []


def test_different_test_sets_are_said(three, eval_here, list_data, capsys, tmp_path):
    listed = three.tests[0].head['list']
    lines = Path(listed).read_text(encoding='utf-8').splitlines()
    folder = tmp_path / 'data'
    shutil.copytree(listed.rpartition('/')[0], folder)
    (folder / 'few.txt').write_text('\n'.join(lines[:6]) + '\n', encoding='utf-8')
    few = three.runs[1].directory / 'few'
    result_of(eval_here, three.runs[1], '--val_list', folder / 'few.txt', '--result_dir', few)
    said = compare(capsys, three.folder, 'lenet_a', few, 'mlp_丙')
    words = 'lenet_a', few, 'lenet_untested', '--lang', 'zh'
    chinese = page_of(capsys, three.folder, tmp_path / 'out.html', *words).texts
    shutil.rmtree(few)
    assert any(text.startswith('A 与 B：测试集不同，样本无法一一对应（') for text in chinese)
    assert any(re.fullmatch('C 没有测试：.* 没有测试过；测试命令：python eval.py .*', text) for text in chinese)
    assert 'A, C: 13 samples of ' in said
    assert 'B: 6 samples of ' in said
    assert 'A and B: the tests have different test sets, so their samples cannot be paired' in said
    assert 'acc: B against' not in said


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['lenet_a'], 'compare takes 2 to 8 runs, not 1'),
        (['lenet_a', 'lenet_b', 'lenet_a'], 'A and C are the same: lenet_a'),
        (['lenet_a', 'nothing'], "no run 'nothing'"),
    ],
)
def test_what_cannot_be_compared_is_refused(three, words, message):
    with pytest.raises(DanluError, match=message):
        runs.main(['compare', *words, '--checkpoints_dir', str(three.folder)])


def test_a_page_without_jinja2_is_refused_at_once(three, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'jinja2', None)
    with pytest.raises(DanluError, match='pip install'):
        runs.main(['compare', 'lenet_a', 'x', '--html', str(tmp_path / 'a.html')])
    assert list(tmp_path.iterdir()) == []


def test_options_that_a_run_did_not_record_are_what_they_were_then(three):
    sides = find_sides(['lenet_a', 'lenet_b'], three.folder)
    del sides[0].run.options['clip_norm']
    assert 'clip_norm' not in [row[0] for row in option_rows(sides)]


@pytest.mark.slow('two runs and their tests')
def test_masks_stand_side_by_side(train_here, eval_here, mask_data, capsys, tmp_path):
    for prefix, lr in (('a', 0.01), ('b', 0.001)):
        run = train_here(*mask_data, '--epochs', 1, '--lr', lr, '--save_prefix', prefix, '--checkpoints_dir', tmp_path)
        result_of(eval_here, run)
    page = page_of(capsys, tmp_path, tmp_path / 'out.html', 'unet_a', 'unet_b')
    assert len(page.of_class('card')) == 5
    assert len(page.of_class('pane')) == 5 * 4, 'input, truth, A and B'
    assert sum(text.startswith('A · miou 0.') for text in page.texts) == 5
    said = compare(capsys, tmp_path, 'unet_a', 'unet_b')
    assert 'miou: B against A' in said
    assert re.search(r'^val\d\.png +0\.\d{4} +0\.\d{4}$', said, re.MULTILINE)


def test_ranks_have_the_intervals_that_the_page_of_a_test_gives_them(tmp_path):
    random = np.random.default_rng(0)
    scores = random.random((60, 3))
    truth = random.random((60, 3)) < scores
    names = np.array(['a', 'b', 'c'])
    with open(tmp_path / 'predictions.csv', 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['name', 'target', 'prediction', 'correct', *(f'score/{name}' for name in names)])
        for index, (row, there) in enumerate(zip(scores, truth, strict=True)):
            writer.writerow([index, '|'.join(names[there]), 'a', 0, *map(repr, map(float, row))])
    test = SimpleNamespace(
        predictions=tmp_path / 'predictions.csv', task='multilabel', values={'map': '0.5', 'auroc': '0.5'}
    )
    ap, auroc, _ = ranking_intervals(scores, truth, seed=3)
    assert value_intervals(test, 3) == {'map': tuple(ap[-1]), 'auroc': tuple(auroc[-1])}


@pytest.mark.slow('two runs and their tests')
def test_of_features_there_are_no_pictures(train_here, eval_here, capsys, tmp_path):
    random, words = np.random.default_rng(0), ['--task', 'regression', '--data_type', 'array']
    for split in ('train', 'val'):
        lines = [','.join(f'{number:.3f}' for number in (*row, row.sum())) for row in random.normal(size=(40, 3))]
        (tmp_path / f'{split}.csv').write_text('\n'.join(['a,b,c,y', *lines]), encoding='utf-8')
        words += [f'--{split}_list', tmp_path / f'{split}.csv']
    words += ['--target_columns', 'y', '--model_type', 'mlp', '--epochs', 1, '--checkpoints_dir', tmp_path]
    for lr in (0.01, 0.001):
        run = train_here(*words, '--lr', lr, '--save_prefix', lr)
        result_of(eval_here, run)
    page = page_of(capsys, tmp_path, tmp_path / 'out.html', 'mlp_0.01', 'mlp_0.001', '--show', 3)
    assert any('No images: the samples are feature vectors' in text for text in page.texts)
    assert len(page.of_class('card')) == 3
    assert 'rmse: B against A' in compare(capsys, tmp_path, 'mlp_0.01', 'mlp_0.001')
