"""report.html: what eval.py --report and a training write, opened in a browser, sorted, filtered and clicked.

All runs here decode in this process: beside the threads of what drives the browser a forked worker may hang.
"""

import csv
import os
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import options
from scripts import runs
from tests.utils.html_report.pdf_text import page_texts
from utils.base.errors import DanluError
from utils.html_report.page import Page
from utils.html_report.sections import table
from utils.html_report.templating import environment

ALONE = ('--num_workers', 0)


def rows_of(test):
    with open(test.directory / 'predictions.csv', newline='', encoding='utf-8-sig') as file:
        return list(csv.DictReader(file))


def column_of(tab, name):
    """Return the texts of a column of the table of samples, as they are shown."""
    place = tab.locator('#rows thead th').evaluate_all('cells => cells.map(cell => cell.dataset.name)').index(name)
    return tab.locator(f'#rows tbody tr td:nth-child({place + 1})').all_inner_texts()


def count_of(tab):
    return int(tab.locator('#count').inner_text().split()[0].replace(',', ''))


@pytest.fixture(scope='module')
def pages(digits_run, mask_run, train_here, eval_here, tmp_path_factory):
    """Return a function: the name of a kind of test -> one with a page."""
    made = {}

    def regression():
        folder, random = tmp_path_factory.mktemp('shades'), np.random.default_rng(5)
        for split in ('train', 'val'):
            levels = random.integers(0, 256, 20)
            for index, level in enumerate(levels):
                Image.fromarray(np.full((20, 24, 3), level, np.uint8)).save(folder / f'{split}{index}.png')
            lines = [f'{split}{index}.png\t{level / 255:.4f}\n' for index, level in enumerate(levels)]
            (folder / f'{split}.txt').write_text(''.join(lines), encoding='utf-8')
        lists = ['--train_list', folder / 'train.txt', '--val_list', folder / 'val.txt']
        return train_here(
            '--task', 'regression', '--data_type', 'list', *lists, *ALONE, '--epochs', 1, '--checkpoints_dir', folder
        )

    def restoration():
        words = ['--task', 'restoration', '--data_type', 'noisy_digits', '--model_type', 'unet', '--max_steps', 2]
        folder = tmp_path_factory.mktemp('noisy')
        return train_here(*words, '--model_args', 'width=4', 'depth=1', '--epochs', 1, '--checkpoints_dir', folder)

    def multilabel():
        folder, random = tmp_path_factory.mktemp('labels'), np.random.default_rng(6)
        for split in ('train', 'val'):
            lines = []
            for index in range(24):
                colours = random.integers(0, 2, 3)
                Image.fromarray(np.full((20, 24, 3), 200 * colours, np.uint8)).save(folder / f'{split}{index}.png')
                names = [name for name, there in zip(('红', 'green', 'blue'), colours, strict=True) if there]
                lines.append(f'{split}{index}.png\t{",".join(names) or "-"}\n')
            (folder / f'{split}.txt').write_text(''.join(lines), encoding='utf-8')
        lists = ['--train_list', folder / 'train.txt', '--val_list', folder / 'val.txt', '--metrics', 'auroc']
        return train_here(
            '--task', 'multilabel', '--data_type', 'list', *lists, *ALONE, '--epochs', 1, '--checkpoints_dir', folder
        )

    made_by = {'digits': lambda: digits_run, 'masks': lambda: mask_run, 'shades': regression, 'noisy': restoration}
    made_by['labels'] = multilabel

    def page(name):
        if name not in made:
            best = made_by[name]().directory / 'best.pth'
            made[name] = eval_here('--load_model_path', best, '--report', '--save_prefix', 'page', *ALONE)
        return made[name]

    return page


@pytest.mark.slow_after(2, 'a test of each task')
@pytest.mark.parametrize('name', ['digits', 'masks', 'shades', 'noisy', 'labels'])
def test_figures_are_those_of_result_txt(pages, name):
    test = pages(name)
    text = (test.directory / 'report.html').read_text(encoding='utf-8')
    shown = dict(re.findall(r'data-metric="([^"]*)" data-value="([^"]*)"', text))
    assert shown == {key: value for key, value in test.values.items() if '/' not in key}
    assert test.head['list sha256'] in text and test.head['checkpoint sha256'] in text
    assert len(text) < 2**21
    intervals = re.findall(r'data-value="[^"]*" title="[^"]*">[^<]*</td><td class="number">([^<]*)</td>', text)
    assert len(intervals) == len(shown)
    known = [interval for interval in intervals if interval != '–']  # a value that a project adds has none
    assert len(known) > 2 and all(re.fullmatch(r'-?[\d.e-]+\s– -?[\d.e-]+', interval) for interval in known), intervals


@pytest.mark.slow_after(1, 'draws a page in a browser each')
@pytest.mark.parametrize('size', ['desktop', 'phone'])
@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('name', ['digits', 'masks', 'shades', 'noisy', 'labels'])
def test_nothing_is_wider_than_the_window_and_all_is_readable(pages, opened, name, size, scheme):
    tab = opened(pages(name), size, color_scheme=scheme)
    assert tab.evaluate('document.documentElement.scrollWidth <= innerWidth')
    ink, paper = tab.evaluate(
        '[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]'
    )
    levels = [sum(map(int, re.findall(r'\d+', colour)[:3])) / 3 for colour in (ink, paper)]
    assert max(levels) > 200 and min(levels) < 60 and (levels[0] > levels[1]) == (scheme == 'dark')
    # Text in plots has the page's colour, too.
    assert tab.locator('svg.plot text').first.evaluate('text => getComputedStyle(text).fill') == ink
    broken = 'pictures => pictures.filter(one => one.getBoundingClientRect().width === 0).length'
    assert tab.locator('.card image').count() > 0
    assert tab.locator('.card:visible image').evaluate_all(broken) == 0


def test_what_is_wider_than_a_phone_is_scrolled_by_itself(pages, opened):
    tab = opened(pages('digits'), 'phone')
    matrix = tab.locator('svg.matrix')
    assert matrix.bounding_box()['width'] <= 390, 'ten classes fit'
    assert tab.locator('svg.matrix .count').first.bounding_box()['height'] > 5
    fits = 'parts => parts.every(part => part.scrollWidth <= part.clientWidth)'
    assert tab.locator('.of-table .scroll').evaluate_all(fits), 'the table by class, with intervals'
    held = 'parts => parts.every(part => getComputedStyle(part).overflowX == "auto")'
    assert tab.locator('.scroll').evaluate_all(held)


def test_a_comparison_fits_a_phone(pages, opened, capsys, tmp_path):
    tests = [str(pages(name).directory) for name in ('digits', 'masks')]
    runs.main(['compare', *tests, '--html', str(tmp_path / 'report.html'), '--checkpoints_dir', str(tmp_path)])
    tab = opened(SimpleNamespace(directory=tmp_path), 'phone')
    assert 'not comparable' in tab.locator('#notes').inner_text()
    assert tab.evaluate('document.documentElement.scrollWidth <= innerWidth')


def test_digits_are_sorted_filtered_and_clicked(pages, opened):
    test = pages('digits')
    rows, tab = rows_of(test), opened(test)
    assert count_of(tab) == len(rows)
    for descending in (True, False):
        tab.get_by_role('button', name='confidence', exact=True).click()
        shown = list(map(float, column_of(tab, 'confidence')))
        wanted = sorted((float(row['confidence']) for row in rows), reverse=descending)[: len(shown)]
        np.testing.assert_allclose(shown, wanted, rtol=1e-3)
    wrong = [row for row in rows if row['correct'] == '0']
    tab.locator('#filters').get_by_label('Show').select_option('wrong')
    assert count_of(tab) == len(wrong) > 0
    tab.locator('#filters').get_by_label('Truth').select_option(wrong[0]['target'])
    tab.locator('#filters').get_by_label('Prediction').select_option(wrong[0]['prediction'])
    alike = [row['name'] for row in wrong if all(row[key] == wrong[0][key] for key in ('target', 'prediction'))]
    assert sorted(column_of(tab, 'name')) == sorted(alike)
    tab.get_by_role('button', name='Reset').click()
    tab.locator('#filters').get_by_label('where').select_option('confidence')
    tab.locator('#filters').get_by_label('to', exact=True).fill('0.5')
    assert count_of(tab) == sum(float(row['confidence']) <= 0.5 for row in rows)
    tab.get_by_role('button', name='Reset').click()
    tab.locator('#filters').get_by_label('Search').fill(rows[7]['name'])
    assert column_of(tab, 'name') == [rows[7]['name']]


def test_a_picture_is_shown_large_by_mouse_and_keyboard(pages, opened):
    test = pages('digits')
    tab, large = (found := opened(test)), found.locator('#large')
    cards = tab.locator('.gallery').first.locator('.card')
    cards.nth(1).click()
    name = cards.nth(1).locator('.sample').inner_text()
    assert large.is_visible() and tab.locator('#large-name').inner_text() == name
    assert tab.locator('#large-picture svg').bounding_box()['height'] > 200
    assert len(tab.locator('.probabilities tr').all()) == 5
    tab.keyboard.press('ArrowLeft')
    assert tab.locator('#large-name').inner_text() == cards.nth(0).locator('.sample').inner_text()
    assert tab.locator('#previous').is_disabled()
    tab.keyboard.press('Escape')
    assert not large.is_visible()
    tab.locator('#rows tbody tr').nth(2).focus()
    tab.keyboard.press('Enter')
    assert tab.locator('#large-name').inner_text() == column_of(tab, 'name')[2]
    tab.locator('#close').click()
    assert not large.is_visible()


def test_the_contents_lead_to_all_sections_and_errors_come_first(pages, opened):
    test = pages('digits')
    tab = opened(test)
    links = tab.locator('.contents a')
    for link in links.all():
        assert tab.locator(f'{link.get_attribute("href")} h2').inner_text() == link.inner_text()
    titles = tab.locator('main h2').all_inner_texts()
    assert links.all_inner_texts() == titles
    assert titles[:4] == ['Training curves', 'Confusion matrix', 'Classes', 'Errors']
    wrong = sum(row['correct'] == '0' for row in rows_of(test))
    gallery = tab.locator('section', has=tab.locator('h2', has_text='Errors'))
    assert gallery.locator('.card:visible').count() == min(16, wrong)
    gallery.get_by_role('button', name='Show all').click()
    assert gallery.locator('.card.is-wrong:visible').count() == gallery.locator('.card').count() == min(48, wrong)


def test_the_matrix_shows_percent_and_is_saved(pages, opened, tmp_path):
    tab = opened(pages('digits'))
    cell = tab.locator('svg.matrix rect.right').first
    _, _, count, share = cell.get_attribute('data-c').split(',')
    text = tab.locator('svg.matrix .count').first
    assert text.text_content() == count
    tab.get_by_label('Cells').select_option('share')
    assert float(text.text_content()) == pytest.approx(100 * float(share), abs=0.5)
    for kind in ('SVG', 'PNG'):
        with tab.expect_download() as download:
            tab.get_by_role('button', name=f'Save as {kind}').click()
        download.value.save_as(tmp_path / download.value.suggested_filename)
    assert 'percent of the true class' in (tmp_path / 'confusion_matrix.svg').read_text(encoding='utf-8')
    with Image.open(tmp_path / 'confusion_matrix.png') as image:
        assert image.size[0] == image.size[1] > 1000
        assert len(image.convert('RGB').getcolors(2**20)) > 10


def test_the_large_view_of_masks_has_the_legend(pages, opened):
    tab = opened(pages('masks'))
    tab.locator('.card').first.click()
    assert tab.locator('#large-legend li').count() == tab.locator('main .legend li').count() > 3


def test_samples_of_a_table_show_their_features(train_here, tmp_path, opened):
    random = np.random.default_rng(0)
    for split in ('train', 'val'):
        rows = [f'{x:.3f},{y:.3f},{3 * x - y:.3f}\n' for x, y in random.random((40, 2))]
        (tmp_path / f'{split}.csv').write_text('width_cm,height_cm,price\n' + ''.join(rows), encoding='utf-8')
    words = ['--data_type', 'array', '--task', 'regression', '--target_columns', 'price', '--model_type', 'mlp']
    words += ['--train_list', tmp_path / 'train.csv', '--val_list', tmp_path / 'val.csv', '--epochs', 1, '--report']
    run = train_here(*words, '--checkpoints_dir', tmp_path / 'runs')
    tab = opened(run.directory / 'report.html')
    assert 'true price' in tab.locator('svg.plot').nth(2).text_content() + tab.locator('svg.plot').last.text_content()
    row = tab.locator('#rows tbody tr').first
    name = row.locator('td').first.inner_text()
    heads = tab.locator('#rows thead th').all_inner_texts()
    shown = float(row.locator('td').nth(heads.index('width_cm')).inner_text())
    line = (tmp_path / 'val.csv').read_text(encoding='utf-8').splitlines()[1 + int(name)]
    assert shown == pytest.approx(float(line.split(',')[0]), rel=1e-3)
    assert 'width_cm' in tab.locator('.card').first.inner_text()


def test_a_confused_pair_leads_to_its_samples(pages, opened):
    tab = opened(pages('digits'))
    pair = tab.locator('tr.pair').first
    truth, predicted, count, _ = pair.locator('td').all_inner_texts()
    pair.click()
    assert count_of(tab) == int(count)
    assert set(column_of(tab, 'target')) == {truth} and set(column_of(tab, 'prediction')) == {predicted}
    cell = tab.locator('svg.matrix rect.wrong').last
    wanted = cell.get_attribute('data-c').split(',')
    cell.hover()
    assert 'predicted as' in tab.locator('#matrix-cell').inner_text()
    cell.click()
    assert count_of(tab) == int(wanted[2])


@pytest.mark.slow_after(1, 'a page each')
@pytest.mark.parametrize(
    ('name', 'column', 'panes'), [('masks', 'miou', 4), ('shades', 'error', 1), ('noisy', 'psnr', 4)]
)
def test_samples_of_other_tasks_are_sorted_filtered_and_clicked(pages, opened, name, column, panes):
    test = pages(name)
    values = [float(row[column]) for row in rows_of(test) if row[column]]
    tab = opened(test)
    tab.get_by_role('button', name=column, exact=True).last.click()
    first = float(column_of(tab, column)[0])
    assert np.isclose(first, min(values), rtol=1e-3) or np.isclose(first, max(values), rtol=1e-3)
    middle = float(np.median(values))
    tab.locator('#filters').get_by_label('where').select_option(column)
    tab.locator('#filters').get_by_label('is from').fill(str(middle))
    assert abs(count_of(tab) - sum(value >= middle for value in values)) <= 1  # shown in five digits
    tab.locator('.card').first.click()
    assert tab.locator('#large-picture .pane svg').count() == panes
    assert tab.locator('#large-picture .pane svg').first.bounding_box()['width'] > 200


def test_a_picture_that_fails_is_in_the_page(list_data, train_here, eval_here, tmp_path, monkeypatch):
    run = train_here(*list_data, *ALONE, '--epochs', 1, '--checkpoints_dir', tmp_path)
    read = Page._draw

    def draw(self, indices):
        data, fetch = self.engine.loader.dataset, type(self.engine.loader.dataset).__getitems__

        def refuse(key):
            if 3 in key[1]:
                raise OSError('the disk <b>is</b> gone')
            return fetch(data, key)

        monkeypatch.setattr(data, '__getitems__', refuse, raising=False)
        read(self, indices)

    monkeypatch.setattr(Page, '_draw', draw)
    test = eval_here('--load_model_path', run.directory / 'best.pth', '--report', *ALONE)
    text = (test.directory / 'report.html').read_text(encoding='utf-8')
    assert 'cannot be drawn: the disk &lt;b&gt;is&lt;/b&gt; gone' in text
    assert text.count('<figure class="card') == len(rows_of(test))


def test_a_run_leaves_the_page_of_its_best_checkpoint(list_data, train_here, eval_here, history_of, tmp_path):
    run = train_here(*list_data, *ALONE, '--epochs', 2, '--report', '--checkpoints_dir', tmp_path)
    folder = run.directory / 'best' / 'val_val_exp'
    linked = run.directory / 'report.html'
    assert f'report: {linked}' in run.stdout.splitlines()
    assert linked.samefile(folder / 'report.html')
    best = max(history_of(run), key=lambda row: float(row['val/acc']))
    values = dict(line.split(': ', 1) for line in (folder / 'result.txt').read_text(encoding='utf-8').splitlines())
    assert float(values['acc']) == float(best['val/acc']) and float(values['loss']) == float(best['val/loss'])
    usual = options.test_parser().get_default('checkpoints_dir')
    again = eval_here('--load_model_path', run.directory / 'best.pth', '--checkpoints_dir', usual)
    assert again.directory == folder and again.values.items() <= values.items()


def test_no_page_where_it_is_not_wanted_or_cannot_be(list_data, train_here, tmp_path, monkeypatch):
    quiet = train_here(*list_data, *ALONE, '--epochs', 1, '--no_report', '--checkpoints_dir', tmp_path)
    assert 'best' not in quiet.files
    monkeypatch.setitem(sys.modules, 'jinja2', None)
    run = train_here(*list_data, *ALONE, '--epochs', 1, '--report', '--checkpoints_dir', tmp_path)
    [line] = [line for line in run.stdout.splitlines() if line.startswith('no report.html: ')]
    assert 'needs Jinja2' in line and 'pip install' in line and '--report --load_model_path' in line


def test_jinja2_that_is_missing_is_said_before_the_test(digits_run, eval_here, monkeypatch):
    monkeypatch.setitem(sys.modules, 'jinja2', None)
    with pytest.raises(DanluError, match='needs Jinja2'):
        eval_here('--load_model_path', digits_run.directory / 'best.pth', '--report', '--save_prefix', 'never')
    assert not (digits_run.directory / 'best' / 'val_digits_never').exists()


@pytest.mark.slow('builds C++ code')
def test_a_compiled_network_is_not_compiled_again_for_the_page(list_data, train_here, monkeypatch, tmp_path):
    compiled = []

    def compile_here(self):  # what nn.Module.compile sets, without the minute that a compiler takes
        compiled.append(self)
        self._compiled_call_impl = self._call_impl

    monkeypatch.setattr(torch.nn.Module, 'compile', compile_here)
    words = (*list_data, *ALONE, '--epochs', 2, '--compile', '--report', '--checkpoints_dir', tmp_path)
    run = train_here(*words)
    assert len(compiled) == 1
    folder = run.directory / 'best' / 'val_val_exp'
    assert (folder / 'report.html').is_file()
    value = re.search(r'^best: val/acc (\S+) ', run.stdout, re.MULTILINE)[1]
    tested = re.search(r'^acc: (\S+)$', (folder / 'result.txt').read_text(encoding='utf-8'), re.MULTILINE)[1]
    assert value == f'{float(tested):#.4g}'


def test_the_gallery_of_predictions_is_sorted_filtered_and_enlarged(opened, list_run, predict_here, list_data):
    folder = os.path.dirname(list_data[list_data.index('--val_list') + 1])
    words = ['--load_model_path', list_run.directory / 'best.pth', '--save_prefix', 'gallery', *ALONE]
    test = predict_here(*words, '--predict', os.path.join(folder, 'val*.png'))
    tab = opened(test)
    texts = tab.locator('.card .prediction')
    expected = {os.path.basename(row['name']): float(row['confidence']) for row in test.rows}

    def names():
        return [
            os.path.basename(text) for text in tab.locator('.card .sample').evaluate_all('all => all.map(e => e.title)')
        ]

    assert names() == sorted(expected, key=lambda name: int(re.search(r'\d+', name)[0]))
    tab.select_option('select[name=key]', 'confidence')
    assert [expected[name] for name in names()] == sorted(expected.values())
    tab.check('input[name=down]')
    assert [expected[name] for name in names()] == sorted(expected.values(), reverse=True)
    first = max(test.rows, key=lambda row: float(row['confidence']))
    tab.locator('.card').first.click()
    assert tab.locator('#large-name').inner_text() == first['name']
    assert first['prediction'] in tab.locator('#large-facts').inner_text()
    tab.locator('#close').click()
    tab.select_option('select[name=group]', first['prediction'])
    assert texts.count() == sum(row['prediction'] == first['prediction'] for row in test.rows)
    tab.fill('input[name=text]', 'no such name')
    assert texts.count() == 0


@pytest.mark.slow('prints a page as PDF')
def test_a_printed_table_keeps_its_last_column_and_repeats_its_head(tmp_path, opened):
    heads = ['class', *(f'precision_macro_{i}' for i in range(8))]
    rows = [[f'class_{row}', *(f'0.{row:03}{column}' for column in range(8))] for row in range(150)]
    values = {'title': 'printed', 'task': 'classification', 'folds': 3, 'count': 9}
    text = environment().get_template('folds.html').render(**values, sections=[table('Long and wide', heads, rows)])
    (tmp_path / 'page.html').write_text(text, encoding='utf-8')
    opened(tmp_path / 'page.html').pdf(path=tmp_path / 'page.pdf', format='A4', prefer_css_page_size=True)
    pages = page_texts(tmp_path / 'page.pdf')
    assert len(pages) > 2
    for page in pages:
        assert all(head in page for head in heads)
    printed = [[row for row in rows if row[0] + row[1] in page] for page in pages]
    assert [row for within in printed for row in within] == rows, 'each row once, in order'
    assert all(row[-1] in page for page, within in zip(pages, printed, strict=True) for row in within)
    counts = list(map(len, printed))
    assert min(counts[1:-1]) == max(counts[1:-1]) > 0.8 * counts[0], 'full pages'
