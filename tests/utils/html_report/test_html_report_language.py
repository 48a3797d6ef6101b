"""Pages in Chinese: no text of the pages stays in English, besides names and what result.txt and the options hold."""

import json
import re
from html.parser import HTMLParser

import pytest

import eval as eval_py
from utils.base.language import CATALOGUE

VOID = {'br', 'img', 'input', 'link', 'meta', 'image', 'use', 'rect'}
SHOWN_ATTRIBUTES = {'aria-label', 'placeholder', 'title'}
# Texts of the catalogue that are also names of metrics, or the same in both languages.
NAMES = {'accuracy', 'precision', 'recall', 'name', 'loss', '{level} CI'}
ENGLISH_WORDS = re.compile(r'[A-Za-z]{2,} [a-z]{2,}')


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
    return [text for text in page.texts if text in known or ENGLISH_WORDS.search(text)]


def chinese_page(run, folder):
    """Test best.pth of a run in Chinese and return the page (Path)."""
    words = ['--load_model_path', run.directory / 'best.pth', '--report', '--lang', 'zh', '--device', 'cpu']
    eval_py.main([*map(str, words), '--result_dir', str(folder), '--checkpoints_dir', str(folder.parent)])
    return folder / 'report.html'


def test_the_page_and_the_summary_of_a_test_are_chinese(digits_run, tmp_path, capsys):
    page = chinese_page(digits_run, tmp_path / 'test').read_text(encoding='utf-8')
    assert [text for text in english_texts(page) if 'its own test split' not in text] == []
    assert '<h2>混淆矩阵</h2>' in page and '95% 置信区间' in page
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
    assert [text for text in english_texts(tab.content()) if 'its own test split' not in text] == []
    assert tab.locator('#count').inner_text().startswith('找到 ')
