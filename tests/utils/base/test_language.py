"""The language of pages and of the summary in the terminal, and the Chinese texts."""

import ast
import io
import json
import re
import string

import pytest

from tests.test_style import product_files
from utils.base.language import CATALOGUE, deferred, page_language, plural, terminal_language, translate, use_language
from utils.base.registry import PROJECT

TEMPLATES = PROJECT / 'utils' / 'html_report' / 'templates'
MARKS = {'translate': 0, 'deferred': 0, 'plural': 2}  # position of the text in the call
IN_TEMPLATE = re.compile(
    r"""\b(?:(?:translate|deferred)\((?:'([^'\\]*)'|"([^"\\]*)")|plural\(.+?, '[^'\\]*', '([^'\\]*)'\))"""
)
CHINESE = json.loads(CATALOGUE.read_text(encoding='utf-8'))


def marked_texts():
    """Return the texts (set of str) that the code and the templates give to `translate`, `deferred` or `plural`."""
    found = set()
    for path in product_files():
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            position = MARKS.get(getattr(node.func, 'id', None)) if isinstance(node, ast.Call) else None
            if position is not None and isinstance(node.args[position], ast.Constant):
                found.add(node.args[position].value)
    for path in TEMPLATES.iterdir():
        matches = IN_TEMPLATE.finditer(path.read_text(encoding='utf-8'))
        found |= {next(filter(None, match.groups())) for match in matches}
    return found


def placeholders(text):
    """Return the placeholders of a text (set of str), without their formats."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_each_text_has_a_translation_and_each_translation_is_used():
    assert marked_texts() - CHINESE.keys() == set(), f'{CATALOGUE} lacks these'
    assert CHINESE.keys() - marked_texts() == set(), f'{CATALOGUE} has these, and nothing uses them'


@pytest.mark.parametrize('text', CHINESE)
def test_a_translation_has_the_same_placeholders_and_the_punctuation_of_chinese(text):
    chinese = CHINESE[text]
    assert chinese.strip() == chinese != ''
    assert placeholders(chinese) == placeholders(text)
    assert not re.search('[一-鿿] [一-鿿]|[，。：；（）] | [，。：；（）]|[一-鿿][,.:;?!(]|\n', chinese)


def test_a_text_without_a_translation_stays_english():
    with use_language('zh'):
        assert translate('no such text, {name}', name=3) == 'no such text, 3'
        assert translate('Show all {count}', count=48) == '显示全部 48 个'
    assert translate(deferred('Show all {count}'), count=48) == 'Show all 48'
    assert translate('{braces} without values') == '{braces} without values'


def test_english_has_a_singular_and_chinese_does_not():
    words = '{count:,} run', '{count:,} runs'
    assert [translate(plural(count, *words), count=count) for count in (0, 1)] == ['0 runs', '1 run']
    with use_language('zh'):
        assert translate(plural(1, *words), count=1) == '1 次运行'


@pytest.mark.parametrize(
    ('variables', 'language'),
    [
        ({'LC_ALL': 'zh_CN.UTF-8'}, 'zh'),
        ({'LC_ALL': 'C', 'LANG': 'zh_CN.UTF-8'}, 'en'),
        ({'LC_ALL': '', 'LC_MESSAGES': 'zh_TW', 'LANG': 'en_US.UTF-8'}, 'zh'),
        ({'LC_MESSAGES': 'de_DE.UTF-8', 'LANG': 'zh_CN.UTF-8'}, 'en'),
        ({'LANG': 'zh'}, 'zh'),
        ({'LANG': 'zha_CN.UTF-8'}, 'en'),
        ({}, 'en'),
    ],
)
def test_auto_is_the_language_of_messages_of_the_locale(variables, language, monkeypatch):
    for name in ('LC_ALL', 'LC_MESSAGES', 'LANG'):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert page_language('auto') == language
    assert [page_language('en'), page_language('zh')] == ['en', 'zh']


@pytest.mark.parametrize(
    ('encoding', 'language'), [('utf-8', 'zh'), ('gb18030', 'zh'), ('ascii', 'en'), ('cp1252', 'en')]
)
def test_a_terminal_that_cannot_encode_chinese_gets_english(encoding, language, monkeypatch):
    monkeypatch.setattr('sys.stdout', io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert terminal_language('zh') == language
    assert terminal_language('en') == 'en' and page_language('zh') == 'zh'
