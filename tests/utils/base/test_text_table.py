"""Numbers and counts as text."""

from utils.base.text_table import (
    count_text,
    distinct_number_texts,
    number_text,
    short_option,
    table,
    truncate_middle,
    wrap_lines,
)


def test_different_numbers_get_as_many_digits_as_they_need():
    assert distinct_number_texts([0.98765432109, 0.5]) == ['0.9877', '0.5000']
    assert distinct_number_texts([0.9830001, 0.9830002]) == ['0.9830001', '0.9830002']
    assert distinct_number_texts([0.1 + 0.2, 0.3]) == ['0.30000000000000004', '0.29999999999999999']
    assert distinct_number_texts([0.3, 0.3]) == ['0.3000', '0.3000']


def test_a_count_of_one_has_a_singular_noun():
    assert [count_text(n, 'sample') for n in (0, 1, 1200)] == ['0 samples', '1 sample', '1,200 samples']
    assert count_text(2, 'entry', 'entries') == '2 entries'


def test_a_column_may_be_dropped_although_it_could_be_shortened():
    given = {'flexible': ('list', 'run'), 'droppable': ('date', 'list'), 'kept': {'run': 16, 'list': 20}}
    row = ['0.9830', 'lenet_quickstart', 'a_long_list_of_digits', '2026-11-29 20:15', 'equal']
    lines, dropped = table(['value', 'run', 'list', 'date', 'verdict'], [row], 40, **given)
    assert dropped == ['date', 'list']
    assert lines[1] == '0.9830  lenet_quickstart  equal'


def test_long_names_give_way_in_the_middle_before_options_that_differ():
    names = [f'torchvision_resnet18_of_the_album_seed{seed}' for seed in (1, 2)]
    rows = [[name, '2026-11-29 20:15', 'val/acc 0.9830', '0.9830', 'done', 'lr=0.002 batch_size=128'] for name in names]
    given = {'flexible': ('options', 'name'), 'droppable': ('date',), 'kept': {'name': (40, 20), 'options': 24}}
    head = ['name', 'date', 'best', 'test', 'state', 'options']
    lines, dropped = table(head, rows, 78, **given)
    assert dropped == ['date'] and max(map(len, lines)) == 78
    assert [line.split()[0] for line in lines[1:]] == ['torchvisio…album_seed1', 'torchvisio…album_seed2']
    assert lines[1].endswith('  lr=0.002 batch_size=128')
    assert len(table(head, rows, 60, **given)[0][2]) <= 60


def test_a_text_is_shortened_in_the_middle_by_columns():
    assert truncate_middle('abcdef', 6) == 'abcdef'
    assert truncate_middle('abcdefg', 6) == 'ab…efg'
    assert truncate_middle('丹炉丹炉', 6) == '丹…炉'


def test_long_lines_are_broken_at_blanks():
    text = 'options that differ: lr=0.002, batch_size=32\n  yes: the values are equal'
    assert wrap_lines(text, None) == text
    assert wrap_lines(text, 80) == text
    assert wrap_lines(text, 28).split('\n') == [
        'options that differ:',
        '  lr=0.002, batch_size=32',
        '  yes: the values are equal',
    ]
    assert wrap_lines('  a = 1  # one two', 14).split('\n') == ['  a = 1  # one', '    two']
    several = 'to go on: torchrun --nproc_per_node 2 train.py --resume checkpoints/lenet_exp'
    assert wrap_lines(several, 40) == several
    assert wrap_lines('丹炉 丹炉 丹炉', 9) == '丹炉 丹炉\n  丹炉'
    assert wrap_lines('  yes: the values are equal', 22).split('\n') == ['  yes: the values are', '    equal']


def test_a_command_and_a_path_stay_whole():
    command = 'to go on: python train.py --resume lenet_exp --epochs 30'
    assert wrap_lines(command, 20) == command
    assert wrap_lines('weights of /a/long/path-to/best.pth', 20) == 'weights of\n  /a/long/path-to/best.pth'


def test_floats_of_options_have_four_digits_and_other_values_stay():
    texts = ['0.002738548776139996', '0.1', '0.0', '1000000.0', '20261129', 'a.b', '1e-05', '12345.6789']
    assert [short_option(text) for text in texts] == ['0.002739', *texts[1:7], '1.235e+04']


def test_people_read_four_significant_digits():
    values = [0.98765432, 1.0, 12.3, 99999, 0.00012345, 0.000012345, 0.0, -0.5, float('nan'), None]
    texts = ['0.9877', '1.000', '12.30', '1.000e+05', '0.0001234', '1.234e-05', '0.000', '-0.5000', 'nan', '']
    assert list(map(number_text, values)) == texts
    assert [number_text(value, trimmed=True) for value in (0.1, 30, 1.23456)] == ['0.1', '30', '1.235']
    assert [number_text(value, signed=True) for value in (0.5, -0.5)] == ['+0.5000', '-0.5000']
