"""index.html in a browser: filtered, sorted, plotted."""

import datetime
import random

import pytest

from scripts.dev.measure_runs import FIRST, Maker, make_runs
from utils.base.text_table import number_text
from utils.html_report.runs_page import write_runs_page
from utils.html_report.templating import environment


@pytest.fixture(scope='module')
def page_path(tmp_path_factory):
    """Return the path of a page with two groups of runs, one of them running."""
    maker, draw = Maker(tmp_path_factory.mktemp('runs')), random.Random(0)
    for number, lr in enumerate([0.0001, 0.001, 0.01, 0.1]):
        accuracies = [0.5 + 0.1 * number + 0.01 * draw.random() for _ in range(5)]
        begun = FIRST + datetime.timedelta(hours=number)
        maker.run(f'lenet_{number}', accuracies, begun, lr=lr, optimizer=['adam', 'sgd'][number % 2])
    maker.run('noise_0', [0.1], task='restoration', data_type='noisy_digits')
    (maker.root / 'noise_0' / 'note.txt').write_text('2026-01-01 10:00 looks odd\n', encoding='utf-8')
    return write_runs_page(maker.root)[0]


def names_in(tab, group=0):
    return tab.locator(f'#group{group} tbody tr td.name > a').all_inner_texts()


def test_numbers_are_written_as_on_the_terminal(page_path, opened):
    draw = random.Random(0)
    values = [0, 1, 29 / 32, 1000.5, 9999.5, 0.99995, 1e-4, 9.9996e-5, 12345.678, 1e20, -0.5]
    values += [draw.uniform(-1, 1) * 10 ** draw.randint(-8, 8) for _ in range(1000)]
    script = environment().get_template('elements.js').render()
    both = '(values) => values.map((value) => [numberText(value), numberText(value, true)])'
    texts = opened(page_path).evaluate(f'(values) => {{ {script}\nreturn ({both})(values); }}', values)
    assert texts == [[number_text(value), number_text(value, trimmed=True)] for value in values]


def test_words_and_conditions_filter_all_groups(page_path, opened):
    tab = opened(page_path)
    assert tab.locator('#count').inner_text() == '5 of 5 runs'
    box = tab.locator('#filters input')
    for text, expected in (
        ('lr>=0.01', ['lenet_3', 'lenet_2']),
        ('optimizer=sgd val/acc<0.7', ['lenet_1']),
        ('optimizer!=sgd', ['lenet_2', 'lenet_0']),
        ('LENET_2', ['lenet_2']),
    ):
        box.fill(text)
        assert names_in(tab) == expected
    box.fill('odd')
    assert tab.locator('#count').inner_text() == '1 of 5 runs'
    assert tab.locator('#group0').is_hidden() and names_in(tab, 1) == ['noise_0']


def test_a_click_on_a_column_sorts_and_the_best_value_is_marked(page_path, opened):
    tab = opened(page_path)
    assert names_in(tab) == ['lenet_3', 'lenet_2', 'lenet_1', 'lenet_0']
    tab.locator('#group0 th [role=button]', has_text='lr').click()
    assert names_in(tab) == ['lenet_0', 'lenet_1', 'lenet_2', 'lenet_3']
    tab.locator('#group0 th [role=button]', has_text='val/acc').click()
    assert names_in(tab)[0] == 'lenet_3'
    assert tab.locator('#group0 td.best').count() == 1
    assert tab.locator('#group0 tr:has(td.best) td.name > a').inner_text() == 'lenet_3'


def test_any_option_is_plotted_against_any_value_and_a_point_leads_to_its_row(page_path, opened):
    tab = opened(page_path)
    figure = tab.locator('#group0 figure').first
    assert figure.locator('circle').count() == 4
    assert 'lr (logarithmic)' in figure.locator('svg').text_content()
    tab.locator('#group0 select').first.select_option('optimizer')
    assert 'adam' in figure.locator('svg').text_content()
    tab.locator('#group0 select').nth(2).select_option('lr')
    assert figure.locator('.lines li').count() == 4
    figure.locator('circle').first.hover()
    assert 'optimizer' in figure.locator('.tip').inner_text()
    figure.locator('circle').first.click()
    assert tab.locator('#group0 tr.chosen').count() == 1


def test_no_two_ticks_of_a_span_of_minutes_are_equal(page_path, opened):
    script = environment().get_template('runs_plots.js').render()
    for minutes in (1, 60, 60 * 24 * 30):
        call = f'dateTicks(0, {minutes * 60_000}).map((tick) => tick.text)'
        texts = opened(page_path).evaluate(f'() => {{ {script}\nreturn {call}; }}')
        assert len(set(texts)) == 5


def test_columns_can_be_shown_and_hidden(page_path, opened):
    tab = opened(page_path)
    tab.locator('#group0 details.columns summary').click()
    tab.locator('#group0 .choices label', has_text='train/loss').click()
    tab.locator('#group0 .choices label', has_text='optimizer').click()
    heads = tab.locator('#group0 thead th').all_inner_texts()
    assert 'train/loss' in heads and 'optimizer' not in heads


@pytest.mark.slow_after(1, 'draws a page in a browser each')
@pytest.mark.parametrize('size', ['desktop', 'phone'])
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_nothing_is_wider_than_the_window(page_path, opened, size, scheme):
    tab = opened(page_path, size, color_scheme=scheme)
    assert tab.evaluate('document.documentElement.scrollWidth <= innerWidth')


@pytest.mark.slow('makes and reads the directories of 1,000 runs')
def test_a_thousand_runs_open_fast(tmp_path, opened):
    make_runs(tmp_path / 'many', 1000, epochs=20, tests=1)
    path, count = write_runs_page(tmp_path / 'many')
    assert count == 1000 and path.stat().st_size < 2**21
    tab = opened(path)
    assert len(names_in(tab)) == 200
    tab.locator('.more').click()
    assert len(names_in(tab)) == 1000
