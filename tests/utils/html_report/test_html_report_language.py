"""Pages in Chinese: no text of the pages stays in English, besides names and what result.txt and the options hold."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import eval as eval_py
from scripts import runs
from scripts.dev.measure_runs import Maker
from utils.base.language import CATALOGUE

VOID = {'br', 'img', 'input', 'link', 'meta', 'image', 'use', 'rect'}
SHOWN_ATTRIBUTES = {'aria-label', 'placeholder', 'title'}
# Texts of the catalogue that are also names of metrics, or the same in both languages.
NAMES = {'accuracy', 'precision', 'recall', 'name', 'loss', '{level} CI'}
DIGITS = 'digits, its own test split'  # the name of a test set
ENGLISH_WORDS = re.compile(r'(?<![\w=])[A-Za-z]{2,} [a-z]{2,}(?![\w<>=])')  # no condition such as lr>0.1


class VisibleTexts(HTMLParser):
    """Collects the texts that a reader sees, without the values of facts: result.txt has them in English.

    Attributes:
        texts: list of str.
        language: of the page (str).
    """

    def __init__(self):
        super().__init__()
        self.open, self.texts, self.language = [], [], None

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.language = attributes['lang'] if tag == 'html' else self.language
        if tag not in VOID:
            self.open.append((tag, attributes.get('class') or ''))
        self.texts += [value for name, value in attributes.items() if name in SHOWN_ATTRIBUTES and value]

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        tags = [tag for tag, _ in self.open]
        is_value = 'td' in tags and any('facts' in classes for _, classes in self.open)
        if data.strip() and not {'script', 'style', 'code'} & {*tags} and not is_value:
            self.texts.append(data.strip())


def english_texts(html):
    """Return the visible texts (list of str) of a page that are English: of the catalogue, or several words."""
    page = VisibleTexts()
    page.feed(html)
    assert page.language == 'zh-CN'
    known = json.loads(CATALOGUE.read_text(encoding='utf-8')).keys() - NAMES
    texts = [text for text in page.texts if DIGITS not in text]
    return [text for text in texts if text in known or ENGLISH_WORDS.search(text)]


def chinese_page(run, folder, checkpoint='best.pth'):
    """Test a checkpoint of a run in Chinese and return the page (Path)."""
    words = ['--load_model_path', run.directory / checkpoint, '--report', '--lang', 'zh', '--device', 'cpu']
    eval_py.main([*map(str, words), '--result_dir', str(folder), '--checkpoints_dir', str(folder.parent)])
    return folder / 'report.html'


def test_the_page_and_the_summary_of_a_test_are_chinese(digits_run, tmp_path, capsys):
    page = chinese_page(digits_run, tmp_path / 'test').read_text(encoding='utf-8')
    assert english_texts(page) == []
    assert '<h2>混淆矩阵</h2>' in page and '95% 置信区间' in page
    assert '>预测</text>' in (tmp_path / 'test' / 'confusion_matrix.svg').read_text(encoding='utf-8')
    said = capsys.readouterr().out.splitlines()
    assert said[-2:] == [f'结果：{tmp_path / "test"}', f'报告：{tmp_path / "test" / "report.html"}']
    head = (tmp_path / 'test' / 'result.txt').read_text(encoding='utf-8')
    assert '# compared with recorded values: ' in head
    assert '\n# --lang=zh\n' in (tmp_path / 'test' / 'args.txt').read_text(encoding='utf-8')


@pytest.mark.slow('tests two networks and opens the pages in a browser')
@pytest.mark.parametrize('run', ['digits_run', 'mask_run'])
def test_what_the_script_of_the_page_writes_is_chinese(run, opened, tmp_path, request):
    path = chinese_page(request.getfixturevalue(run), tmp_path / 'test')
    tab = opened(path, 'phone')
    assert tab.evaluate('document.documentElement.scrollWidth <= innerWidth')
    tab.locator('.card').first.click()
    assert english_texts(tab.content()) == []
    assert tab.locator('#count').inner_text().startswith('找到 ')


def test_the_page_of_all_runs_is_chinese(tmp_path):
    maker = Maker(tmp_path / 'runs')
    maker.run('lenet_a', [0.5, 0.8, 0.7], lr=0.01)
    runs.main(['page', '--checkpoints_dir', str(maker.root), '--lang', 'zh'])
    page = (maker.root / 'index.html').read_text(encoding='utf-8')
    assert english_texts(page) == []
    assert '"stateText": "\\u5df2\\u5b8c\\u6210"' in page or '"stateText": "已完成"' in page


@pytest.mark.slow('predicts, tests two checkpoints and opens the pages in a browser')
def test_the_pages_of_predictions_and_runs_are_chinese(opened, list_run, list_data, tmp_path):
    maker = Maker(tmp_path / 'runs')
    for number in range(4):
        maker.run(f'lenet_{number}', [0.5, 0.8, 0.7], lr=number + 1)
    folder = Path(list_data[list_data.index('--val_list') + 1]).parent
    words = ['--load_model_path', list_run.directory / 'best.pth', '--predict', folder / 'val*.png', '--lang', 'zh']
    words += ['--device', 'cpu', '--num_workers', 0, '--checkpoints_dir', tmp_path]
    eval_py.main([*map(str, words), '--result_dir', str(tmp_path / 'predicted')])
    runs.main(['page', '--checkpoints_dir', str(maker.root), '--lang', 'zh'])
    for path in (tmp_path / 'predicted' / 'report.html', maker.root / 'index.html'):
        tab = opened(path, 'phone')
        assert tab.evaluate('document.documentElement.scrollWidth <= innerWidth')
        assert english_texts(tab.content()) == []
