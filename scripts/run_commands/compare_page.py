"""The page of runs.py compare. Importing it takes seconds: it imports torch."""

import math

import numpy as np

from scripts.run_commands.compare import gap_text
from scripts.run_commands.comparison import QUALITY, cells_of, histories, option_rows, other_rows, overview
from scripts.run_commands.sheet import Net
from utils import viz
from utils.base.atomic_write import atomic_writer
from utils.base.errors import DanluError
from utils.base.text_table import number_text
from utils.drawing.colours import colours_for
from utils.drawing.curves import LOG, is_loss, panels_of
from utils.html_report.figures import LINES, over_epochs
from utils.html_report.page import environment
from utils.html_report.pictures import Drawn, Painter, fitted, resized
from utils.html_report.sections import cell, chart, table
from utils.statistics.significance import REPORT_RESAMPLES, SIGNIFICANCE_LEVEL

IGNORED = 255  # in a mask that is drawn: clear


def write_page(path, sides, sets, notes, count):
    """Write the page.

    Args:
        path: Path of the file.
        sides: list of scripts.run_commands.comparison.Side.
        sets: list of scripts.run_commands.comparison.TestSet.
        notes: list of str: what cannot be compared.
        count: how many samples of each test set are shown at most.
    """
    text = (
        environment()
        .get_template('compare.html')
        .render(
            title=' · '.join(side.run.name for side in sides),
            sides=[{'letter': s.letter, 'name': s.run.name, 'line': i % len(LINES)} for i, s in enumerate(sides)],
            runs=table('Runs', *overview(sides)),
            charts=_charts(sides),
            differences=[
                table(title, ['', *(side.letter for side in sides)], rows, note if rows else 'They are the same.')
                for title, rows, note in (
                    ('Options that differ', option_rows(sides), ''),
                    ('Code and data', other_rows(sides), 'Of hashes the first digits.'),
                )
            ],
            sets=[_shown(each, sides, count) for each in sets],
            notes=notes,
            level=f'{1 - SIGNIFICANCE_LEVEL:.0%}',
            resamples=REPORT_RESAMPLES,
        )
    )
    with atomic_writer(path) as file:
        file.write(text)


def _charts(sides):
    """Return a chart for each value and for the learning rate: training dashed, validation whole."""
    rows = histories(sides)
    titles = panels_of([row for of_one in rows for row in of_one], sides[0].run.monitor)
    return [made for title in titles if (made := _chart(title, (f'train/{title}', f'val/{title}'), sides, rows))] + (
        [made] if (made := _chart('lr', ('lr',), sides, rows)) else []
    )


def _chart(title, names, sides, rows):
    """Return the chart of the values `names`, the last of which is drawn whole; None where no run has any."""
    curves = []
    for number, (side, history) in enumerate(zip(sides, rows, strict=True)):
        best = side.run.best or {}
        for name in names:
            values = [row.get(name, math.nan) for row in history]
            values = [value if math.isfinite(value) else math.nan for value in values]
            if not all(map(math.isnan, values)):
                mark = best.get('epoch') if name == side.run.monitor else None
                curves.append((number, name != names[-1], [row['epoch'] for row in history], values, mark))
    drawn = [value for *_, values, _ in curves for value in values if not math.isnan(value)]
    log = is_loss(title) and bool(drawn) and min(drawn) > 0 and max(drawn) > LOG * min(drawn)
    return chart(title, over_epochs(curves, log)) if curves else None


def _shown(tested, sides, count):
    """Return what the template shows of a TestSet (dict)."""
    head = tested.sides[0].test.head
    letters = [side.letter for side in tested.sides]
    rows = [
        [name, *(cell(*each) for each in zip(tested.values[name], _bounds(tested, name), strict=True))]
        for name in tested.names
    ]
    gaps = [
        gap_text(name, letters[0], side.letter, gap)
        for name, of_name in tested.gaps.items()
        for side, gap in zip(tested.sides[1:], of_name, strict=True)
    ]
    alone = len(tested.sides) < 2
    cards, fault, legend = ([], '', []) if alone else _cards(tested, count)
    return {
        'title': f'{", ".join(letters)}: {int(head.get("samples", 0)):,} samples of {head.get("list")}',
        'hash': str(head.get('data_sha256', 'not known'))[:12],
        'metrics': table('', ['metric', *letters], rows),
        'gaps': gaps,
        'alone': alone,
        'disagreed': tested.disagreed,
        'cards': cards,
        'fault': fault,
        'legend': legend,
        'kind': 'wide' if cards and cards[0]['wide'] else '',
        'lines': [number % len(LINES) for number, side in enumerate(sides) if side in tested.sides],
    }


def _bounds(tested, name):
    return tested.bounds.get(name) or [None] * len(tested.sides)


def _cards(tested, count):
    """Return the samples on which the sides disagree most (list of dict), why there is no picture of them, a legend."""
    indices = tested.order[: min(count, len(tested.order))].tolist()
    cells = [cells_of(side.test, indices) for side in tested.sides]
    try:
        drawn, legend = _drawn(tested, indices)
        fault = ''
    except DanluError as error:  # features, or the data or a checkpoint is gone
        drawn, legend, fault = {}, [], str(error).removeprefix('--sheet: ')
    cards = []
    for index in indices:
        own = [of_side[index] for of_side in cells]
        picture = drawn.get(index)
        cards.append({
            'name': own[0]['name'],
            'truth': _texts(own[0], 'target'),
            'said': [_said(side, each, tested.quality, index, place)
                     for place, (side, each) in enumerate(zip(tested.sides, own, strict=True))],
            'drawn': picture,
            'wide': picture is not None and len(picture.panes) > 1,
        })  # fmt: skip
    return cards, fault, legend


def _texts(cells, column):
    """Return what a sample truly is, or was said to be (str)."""
    found = [text for name, text in cells.items() if name == column or name.startswith(f'{column}/')]
    if 'error' in cells or any(name.startswith('error/') for name in cells):
        found = [number_text(float(text)) for text in found]
    return ', '.join(text.replace('|', ', ') or 'none' for text in found)


def _said(side, cells, quality, index, place):
    """Return what a side said of a sample (dict): the letter, a text, and whether it is right, or None."""
    text = _texts(cells, 'prediction')
    if cells.get('confidence'):
        text += f' · {float(cells["confidence"]):.0%}'
    if not text:
        text = '' if quality is None else number_text(float(quality[index, place]))
    correct = cells.get('correct')
    return {'letter': side.letter, 'text': text, 'right': None if not correct else correct == '1'}


def _drawn(tested, indices):
    """Return pictures (dict from an index to Drawn) of samples, and the legend, list of (class, colour)."""
    nets = [Net(tested.sides[0].test)]
    by_pixel = nets[0].task.by_pixel
    nets += [Net(side.test) for side in tested.sides[1:]] if by_pixel else []
    args, masks = nets[0].args, nets[0].task.target == 'mask'
    painter = _Painter(nets[0], colours_for(args) if masks else None)
    of_sides = [{index: rest for index, *rest in net.samples(indices)} for net in nets]
    letters = [side.letter for side in tested.sides]
    found = {
        index: painter.side_by_side(index, [of_side[index] for of_side in of_sides], letters, tested.quality[index])
        for index in indices
    }
    names = (args.class_names or [str(index) for index in range(args.num_classes)]) if masks else []
    colours = ['#{:02x}{:02x}{:02x}'.format(*colour) for colour in painter.colours] if masks else []
    return found, list(zip(names, colours, strict=True))


class _Painter(Painter):
    """Draws what several networks made of one sample."""

    def side_by_side(self, index, outcomes, letters, quality):
        """Return the Drawn of a sample: the picture alone, or with the truth and each network's output beside it.

        Args:
            index: of the sample (int).
            outcomes: for each network (picture, prediction, target), as scripts.run_commands.sheet.Net.samples gives
                them.
            letters: of the sides (list of str).
            quality: how good each output is, (sides,) float.
        """
        drawn, (picture, prediction, truth) = Drawn(index), outcomes[0]
        if prediction is None:
            self._paint(drawn, picture, None, None)
            return drawn
        rgb = viz.rgb_of(picture)
        drawn.size = fitted(rgb.shape)
        whole = [{'href': self._photo(resized(rgb, drawn.size)), 'id': f'p{index}'}]
        measure = QUALITY[self.args.task][0]
        titles = [
            f'{letter} · {measure} {number_text(float(value))}' for letter, value in zip(letters, quality, strict=True)
        ]
        parts = [('truth', truth), *((title, own[1]) for title, own in zip(titles, outcomes, strict=True))]
        drawn.panes = [('input', whole), *((title, self._layers(part, drawn)) for title, part in parts)]
        return drawn

    def _layers(self, part, drawn):
        """Return the layers of a mask, which lies over the input, or of a picture."""
        if self.kind != 'mask':
            return [{'href': self._photo(resized(viz.rgb_of(part), drawn.size))}]
        labels = part.cpu().numpy()
        painted = np.where((labels >= 0) & (labels < len(self.colours)), labels, IGNORED)
        return [{'of': f'p{drawn.index}'}, self._mask(painted, self.colours, drawn.size, 'mask')]
