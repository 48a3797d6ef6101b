"""Long lists in messages: a few items on the terminal, all of them in log.txt."""

from utils.base.abbreviation import MAX_ITEMS, enumerate_items, surround
from utils.logger import Logger


def test_a_short_list_is_complete():
    text = surround('changed: ', enumerate_items(['a', 'b'], ', '), '; stop')
    assert (text, text.full) == ('changed: a, b; stop',) * 2


def test_a_long_list_is_abbreviated_on_the_terminal_and_complete_in_the_log(tmp_path, capsys):
    names = [f'file_{n}.py' for n in range(MAX_ITEMS + 3)]
    text = surround('changed: ', enumerate_items(names, ', ', ' (all in log.txt)'))
    logger = Logger(tmp_path)
    logger.print(text)
    logger.close()
    assert capsys.readouterr().out == f'changed: {", ".join(names[:MAX_ITEMS])} and 3 more (all in log.txt)\n'
    assert (tmp_path / 'log.txt').read_text() == f'changed: {", ".join(names)}\n'
