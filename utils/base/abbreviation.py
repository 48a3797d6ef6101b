"""Messages with long lists: abbreviated on the terminal, complete in log.txt. Imports no torch."""

MAX_ITEMS = 5


class AbbreviatedText(str):
    """A message whose lists are abbreviated.

    Attributes:
        full: the message with complete lists (str), which utils.logger.Logger.print writes to log.txt.
    """

    def __new__(cls, text, full):
        """Return the abbreviated text with its full form."""
        self = super().__new__(cls, text)
        self.full = full
        return self


def enumerate_items(items, separator='; ', note=''):
    """Return items (list of str) in one line (AbbreviatedText): the first MAX_ITEMS, then 'and N more' and the note."""
    more = f' and {len(items) - MAX_ITEMS} more{note}' if len(items) > MAX_ITEMS else ''
    return AbbreviatedText(separator.join(items[:MAX_ITEMS]) + more, separator.join(items))


def surround(before, text, after=''):
    """Return a text (str or AbbreviatedText) between two others, as AbbreviatedText."""
    return AbbreviatedText(f'{before}{text}{after}', f'{before}{getattr(text, "full", text)}{after}')
