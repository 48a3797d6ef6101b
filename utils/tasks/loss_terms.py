"""Parses --loss: the name of a loss, or a weighted sum of losses such as ce+0.5*dice. Imports no torch."""

import re

from utils.base.errors import DanluError

NUMBER = r'(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?'
TERM = re.compile(rf'(?:({NUMBER})\*)?([^+*]+)', re.IGNORECASE)

# The arguments of a loss that --loss_args may set.
LOSS_ARGS = {
    'focal': ('gamma', 'alpha'),
    'tversky': ('alpha', 'beta'),
    'huber': ('delta',),
    'charbonnier': ('eps',),
}


def parse_terms(text):
    """Return the weights of a sum of losses, a dict: {'ce': 1.0, 'dice': 0.5} for 'ce + 0.5*dice'.

    Raises:
        DanluError: the text is not such a sum, a loss is repeated, or a weight is not positive and finite.
    """
    text, weights, position = ''.join(text.split()), {}, 0
    while position <= len(text):
        term = TERM.match(text, position)
        if term is None or text[term.end() : term.end() + 1] not in ('', '+'):
            raise DanluError(f'{text!r} is not NAME or WEIGHT*NAME, or several joined by +, for example ce+0.5*dice')
        number, name = term.groups()
        weight = 1.0 if number is None else float(number)
        if not 0 < weight < float('inf'):
            raise DanluError(f'{text!r}: the weight of {name} must be more than 0 and finite, not {number}')
        if name in weights:
            raise DanluError(f'{text!r}: {name} is repeated')
        weights[name] = weight
        position = term.end() + 1
    return weights
