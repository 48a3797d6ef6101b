"""Patterns that match the printed form of a number: the same leading digits, a percentage, or a rounded value."""

import re
from decimal import Decimal, InvalidOperation

# Python prints numbers in this range without an exponent.
MIN_PLAIN, MAX_PLAIN = Decimal('1e-4'), Decimal('1e16')
NUMBER = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?', re.IGNORECASE)


class NumberPattern:
    """One interpretation of the number that the user gave.

    Args:
        number: Decimal with the digits given.
        description: how the number was interpreted (str); '' for the plain interpretation.
        rounded: match values that round to `number`, not values that begin with its digits.

    Attributes:
        needle: substring (str) of every text that can match, for a fast search.
    """

    def __init__(self, number, description, rounded=False):
        self.number, self.description, self.rounded = number, description, rounded
        if rounded:  # 0.74315... rounds to 0.7432
            number = (abs(number) - Decimal(1).scaleb(number.as_tuple().exponent)).copy_sign(number)
        text, exponent = printed(number)
        integer_part, dot, decimals = text.partition('.')
        shortest = f'{integer_part}.{decimals.rstrip("0")}'.rstrip('.')  # 0.75 is printed for 0.7500
        self.needle = text if rounded else shortest
        if rounded:
            pattern = re.escape(text) + ('' if dot else r'\.') + r'[5-9]\d*'
        else:
            prefix = re.escape(text) + (r'\d*' if dot else r'(\.\d*)?')
            pattern = f'{prefix}|{re.escape(shortest)}' + ('0*' if '.' in shortest else r'(\.0*)?')
        self.pattern = re.compile(f'({pattern}){re.escape(exponent)}')

    def matches(self, text):
        """Return whether the printed value (str) matches (bool)."""
        return self.needle in text and self.pattern.fullmatch(text) is not None


def number_patterns(text):
    """Return the NumberPatterns (list, the most likely first) of a number (str: 0.7431, 74.31, 74.31%).

    Raises:
        ValueError: `text` is not a number.
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
    patterns = [NumberPattern(*each) for each in plain]
    for value, description in plain:
        if value:
            rounded = f'{description}, rounded' if description else f'rounded to {text}'
            patterns.append(NumberPattern(value, rounded, rounded=True))
    return patterns


def printed(number):
    """Return how Python prints the digits of a Decimal: (text, exponent), both str; the exponent is '' or 'e-05'."""
    if not number or MIN_PLAIN <= abs(number) < MAX_PLAIN:
        return f'{number:f}', ''
    sign, digits, _ = number.as_tuple()
    digits = ''.join(map(str, digits))
    mantissa = f'{"-" * sign}{digits[0]}' + (f'.{digits[1:]}' if digits[1:] else '')
    return mantissa, f'e{number.adjusted():+03d}'
