"""Numbers and counts as text."""

from utils.base.text_table import count_text, distinct_number_texts


def test_different_numbers_get_as_many_digits_as_they_need():
    assert distinct_number_texts([0.98765432109, 0.5]) == ['0.9877', '0.5000']
    assert distinct_number_texts([0.9830001, 0.9830002]) == ['0.9830001', '0.9830002']
    assert distinct_number_texts([0.1 + 0.2, 0.3]) == ['0.30000000000000004', '0.29999999999999999']
    assert distinct_number_texts([0.3, 0.3]) == ['0.3000', '0.3000']


def test_a_count_of_one_has_a_singular_noun():
    assert [count_text(n, 'sample') for n in (0, 1, 1200)] == ['0 samples', '1 sample', '1,200 samples']
    assert count_text(2, 'entry', 'entries') == '2 entries'
