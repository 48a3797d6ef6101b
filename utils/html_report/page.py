"""report.html: what a test found, as one file that opens anywhere. Jinja2 puts it together.

    page = Page(engine)                          # before the test
    page.add(predictions, targets)               # for each batch
    page.write(path, predictions_csv, ...)       # when the results are there

What it shows of each task is in utils/html_report/kinds.py, how it looks in utils/html_report/templates/.
"""

import weakref
from pathlib import Path

import numpy as np

from utils.base.atomic_write import atomic_writer
from utils.base.errors import DanluError
from utils.drawing.colours import colours_for
from utils.html_report import rows
from utils.html_report.intervals import find_intervals
from utils.html_report.kinds import TASK_REPORTS
from utils.html_report.matrix import short_count
from utils.html_report.pictures import SMALL, Painter, chosen
from utils.html_report.scores import ScoreCounts
from utils.html_report.sections import cell, figure
from utils.options.checks import shown
from utils.statistics.significance import SIGNIFICANCE_LEVEL
from utils.tasks.tasks import entry_names, has_pictures, task_of

TILES = 4
MOST_CLASSES = 2000  # of whose scores histograms are kept, 32 MB
TEMPLATES = Path(__file__).parent / 'templates'


def environment():
    """Return the jinja2.Environment of the page.

    Raises:
        DanluError: Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise DanluError(
            'the page of a test needs Jinja2, which is not installed: pip install "jinja2>=3.1.6"'
        ) from error
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters['short_count'] = short_count
    return found


class Page:
    """The page of one test.

    Args:
        engine: eval.Evaluator.

    Raises:
        DanluError: Jinja2 is not installed.
    """

    def __init__(self, engine):
        # A circle would keep worker processes until the garbage collector comes by, and then for ten seconds.
        self.environment, self.engine, self.args = environment(), weakref.proxy(engine), engine.args
        self.kind = task_of(self.args).target if self.args.task in TASK_REPORTS else None
        self.counts = self.matrix = self.class_counts = None
        if self.kind in ('label', 'labels') and self.args.num_classes <= MOST_CLASSES:
            self.counts = ScoreCounts(self.kind, self.args.num_classes, self.args.ignore_index)

    def add(self, predictions, targets):
        """Take note of a batch, as Engine.step returns it; does not wait for the device."""
        if self.counts is not None:
            self.counts.add(predictions, targets)

    def write(self, path, predictions, results, provenance, options):
        """Write the page.

        Args:
            path: of the file.
            predictions: Path of predictions.csv, which may be missing: then there are the metrics and settings only.
            results: the values (dict).
            provenance: what was tested (dict of str), as result.txt has it.
            options: list of (heading, dict of options), those that differ from their defaults.
        """
        self.results, self.sections, self.rows, self.pictures = results, [], [], {}
        self.bounds, self.resamples, self.count = {}, (None, None), int(provenance['samples'])
        self.groups, self.group_notes, self.shown, self.error_scale = {}, {}, np.arange(0), None
        self.small = False
        if self.kind is not None and predictions.is_file():
            self._look_at(predictions)
            self.sections = TASK_REPORTS[self.args.task].sections(self)
        text = self.environment.get_template('page.html').render(
            page=self,
            title=self._title(provenance),
            facts=provenance,
            options=[(heading, {name: shown(value) for name, value in given.items()}) for heading, given in options],
            tiles=[(name, self._cell(name)) for name in self._main_names()[:TILES]],
            metrics=[(name, self._cell(name)) for name in self._main_names()],
            level=f'{1 - SIGNIFICANCE_LEVEL:.0%}',
            data={'columns': self.rows, 'shown': self.shown.tolist(), 'scores': self._scores(), 'kind': self.kind},
        )
        with atomic_writer(path) as file:
            file.write(text)

    def interval(self, name):
        """Return the interval (low, high) of a value of result.txt, or None."""
        return self.bounds.get(name)

    def card(self, index, group):
        """Return what the template shows of a sample (dict): see pictures.Drawn."""
        row = self.place[index]
        return {
            'row': row,
            'group': group,
            'drawn': self.pictures.get(index),
            'name': self.rows[0]['values'][row],
            'lines': self._lines(row),
            'right': self._is_right(row),
        }

    def _main_names(self):
        """Return the names of the values over all classes, that by which checkpoints are chosen first."""
        monitor = getattr(self.engine.metrics, 'monitor', None)
        directions = list(getattr(self.engine.metrics, 'directions', {}))
        names = [name for name in self.results if '/' not in name]
        order = {name: place for place, name in enumerate([*directions, 'loss'])} | {monitor: -1}
        return sorted(names, key=lambda name: order.get(name, len(order)))

    def _cell(self, name):
        """Return the cell of a value, with its interval and which way is better."""
        directions = getattr(self.engine.metrics, 'directions', {})
        way = 'min' if name.startswith('loss') else directions.get(name)
        return cell(self.results[name], self.interval(name)) | {'way': {'min': '↓', 'max': '↑'}.get(way, '')}

    def _title(self, provenance):
        """Return what the page is about (str)."""
        path = Path(provenance['checkpoint'])
        return f'{path.absolute().parent.name}/{path.name}'

    def _look_at(self, predictions):
        """Read predictions.csv, find the intervals, and draw the chosen samples."""
        kind, header, seed = TASK_REPORTS[self.args.task], rows.header_of(predictions), self.args.seed
        names = self.args.num_classes and entry_names(self.args.num_classes, self.args.class_names)
        self.class_names = names or []
        measures = kind.measures(header)
        found = rows.scan(predictions, kind.badness(header), kind.columns(header), measures, seed)
        self.columns, self.count = found['columns'], len(found['badness'])
        if self.engine.shows_matrix:
            self.matrix = self.engine.class_metrics.confusion_matrix().numpy()
            self.class_counts = self.matrix.diagonal(), self.matrix.sum(1), self.matrix.sum(0)
        elif hasattr(self.engine.class_metrics, 'class_counts'):
            self.class_counts = tuple(part.numpy() for part in self.engine.class_metrics.class_counts())
        self.bounds, self.resamples = find_intervals(self, measures, found['sums'], seed)
        self.groups = chosen(found['badness'], *kind.groups, None if kind.middling else seed)
        self.shown = rows.shown_rows(found['badness'], seed)
        drawn = [index for indices in self.groups.values() for index in indices]
        self.shown = np.union1d(self.shown, np.array(drawn, dtype=int))
        self.place = {index: place for place, index in enumerate(self.shown.tolist())}
        self.rows = rows.columns_of(predictions, self.kind, self.shown, self.class_names)
        self.scores = None if self.counts is None else self.counts.histograms()
        self._draw(drawn)
        if self.groups.get('worst'):
            self.group_notes['worst'] = WORST[self.kind]

    def _draw(self, indices):
        """Draw samples, where they are pictures."""
        colours = colours_for(self.args) if self.kind == 'mask' else None
        if self.kind == 'mask':
            self.hex_colours = [f'#{r:02x}{g:02x}{b:02x}' for r, g, b in colours]
            self.legend = list(zip(self.class_names, self.hex_colours, strict=True))
        if has_pictures(self.args):
            painter = Painter(self.engine, colours)
            self.pictures = painter.draw(indices)
            self.error_scale = painter.error_scale
            self.small = all(max(drawn.size) <= SMALL for drawn in self.pictures.values())

    def _lines(self, row):
        """Return what stands below a sample (dict of str)."""
        found = {}
        for column in self.rows[1:]:
            value = column['values'][row]
            if column['type'] == 'class':
                value = column['names'][value]
            elif column['type'] == 'classes':
                value = value.replace('|', ', ') or 'none'
            text = '–' if value is None else f'{value:.4g}' if isinstance(value, float) else str(value)
            found[column['name']] = text
        return found

    def _is_right(self, row):
        """Return whether a sample is right (bool), or None where that is no question."""
        correct = next((column['values'][row] for column in self.rows if column['name'] == 'correct'), None)
        return None if correct is None else bool(correct)

    def _scores(self):
        """Return the probabilities of the likeliest classes of the samples that are drawn: {row: [[name, value]]}."""
        return {
            self.place[index]: [[self.class_names[k], round(value, 4)] for k, value in drawn.scores]
            for index, drawn in self.pictures.items()
            if drawn.scores
        }

    def figure(self, value):
        """Return a value as text."""
        return figure(value)


WORST = {
    'label': 'Those whose true class got the least probability.',
    'labels': 'Those with the largest loss.',
    'mask': 'Those with the lowest mIoU.',
    'numbers': 'Those whose numbers are farthest off.',
    'picture': 'Those with the lowest PSNR.',
}
