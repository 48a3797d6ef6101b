"""Long names, cut in the middle. Imports no torch."""


def cut_middle(text, most, measure=len, ellipsis='…'):
    """Return a text that is at most `most` wide; a longer one without its middle, as long names often differ at an end.

    Args:
        text: str.
        most: number, in the unit of `measure`.
        measure: function from a text to its width (default: the number of characters).
        ellipsis: what stands for the middle (str).
    """
    if measure(text) <= most:
        return text
    low, high = 1, len(text) - 1  # kept characters; at least one
    while low < high:
        kept = (low + high + 1) // 2
        low, high = (kept, high) if measure(_cut(text, kept, ellipsis)) <= most else (low, kept - 1)
    return _cut(text, low, ellipsis)


def _cut(text, kept, ellipsis):
    return f'{text[: kept // 2]}{ellipsis}{text[len(text) - (kept - kept // 2) :]}'
