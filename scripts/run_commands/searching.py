"""Which texts of numbers a number means that somebody has noted: those that begin so, as percent, or rounded."""

import re
from decimal import Decimal, InvalidOperation

# What Python prints without an exponent.
SMALLEST, LARGEST = Decimal('1e-4'), Decimal('1e16')
NUMBER = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?', re.IGNORECASE)


class Wanted:
    """One meaning of a number.

    Args:
        number: Decimal, with the digits that were given.
        how: what to say of it (str), '' for the plain one.
        rounded: whether those are meant that are `number` when rounded to its digits, not those that begin so.

    Attributes:
        needle: what is in every text that holds a matching number (str), to look for first.
    """

    def __init__(self, number, how, rounded=False):
        self.number, self.how = number, how
        if rounded:  # 0.7432 is 0.74315... too
            number = (abs(number) - Decimal(1).scaleb(number.as_tuple().exponent)).copy_sign(number)
        text, exponent = printed(number)
        whole, dot, decimals = text.partition('.')
        least = f'{whole}.{decimals.rstrip("0")}'.rstrip('.')  # 0.7500 was 0.75
        self.needle = text if rounded else least
        if rounded:
            pattern = re.escape(text) + ('' if dot else r'\.') + r'[5-9]\d*'
        else:
            begun = re.escape(text) + (r'\d*' if dot else r'(\.\d*)?')
            pattern = f'{begun}|{re.escape(least)}' + ('0*' if '.' in least else r'(\.0*)?')
        self.pattern = re.compile(f'({pattern}){re.escape(exponent)}')

    def matches(self, text):
        """Return whether a value's text (str) is one of those meant (bool)."""
        return self.needle in text and self.pattern.fullmatch(text) is not None


def meanings(text):
    """Return what a number (str: 0.7431, 74.31, 74.31%) may mean (list of Wanted, the likeliest first).

    Raises:
        ValueError: it is no number.
    """
    percent, text = text.endswith('%'), text.strip().removesuffix('%').strip()
    if not NUMBER.fullmatch(text):
        raise ValueError(text)
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None
    plain = [] if percent else [(number, '')]
    if percent or 1 <= abs(number) <= 100:
        share = number.scaleb(-2)
        plain.append((share, f'{text}% is {share}'))
    found = [Wanted(*each) for each in plain]
    for each, how in plain:
        if each:
            found.append(Wanted(each, f'{how}, rounded' if how else f'{text} is that rounded', rounded=True))
    return found


def printed(number):
    """Return how Python prints the digits of a Decimal: (text, exponent), both str, the latter '' or 'e-05'."""
    if not number or SMALLEST <= abs(number) < LARGEST:
        return f'{number:f}', ''
    sign, digits, _ = number.as_tuple()
    digits = ''.join(map(str, digits))
    mantissa = f'{"-" * sign}{digits[0]}' + (f'.{digits[1:]}' if digits[1:] else '')
    return mantissa, f'e{number.adjusted():+03d}'
