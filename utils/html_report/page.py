"""report.html: the results of a test in one self-contained HTML file, rendered by Jinja2.

    page = Page(engine)                          # before the test
    page.add(predictions, targets)               # for each batch
    page.write(path, predictions_csv, ...)       # after the test

task_reports.py defines the contents by task, templates/ the layout.
"""

import weakref
from pathlib import Path

import numpy as np

from utils.base.atomic_write import atomic_writer
from utils.base.language import deferred, labelled, page_language, translate, use_language
from utils.base.text_table import number_text
from utils.drawing.colours import colours_for
from utils.html_report import predictions_table
from utils.html_report.curve_sections import training_curves
from utils.html_report.embedded_images import MAX_LOSSLESS_SIDE
from utils.html_report.feature_columns import feature_columns
from utils.html_report.intervals import find_intervals, metrics_note
from utils.html_report.matrix_pictures import write_matrix_pictures
from utils.html_report.sample_images import SamplePainter, errors_apart, select_groups
from utils.html_report.score_histograms import ScoreHistograms
from utils.html_report.sections import named_facts, value_cell
from utils.html_report.task_reports import report_of
from utils.html_report.templating import environment
from utils.options.checks import shown
from utils.runs.results import KEYS, warning_on
from utils.statistics.significance import SIGNIFICANCE_LEVEL
from utils.tasks.tasks import entry_names, has_pictures, mode_of, task_of

MAX_TILES = 6
MAX_FEATURES = 20  # columns in the table of samples
MAX_CARD_FEATURES = 6
MAX_HISTOGRAM_CLASSES = 2000  # 32 MB
GROUP_NOTES = {
    'errors': deferred('The wrong predictions with the lowest probability of the true class.'),
    'uncertain': deferred('The right predictions with the lowest probability.'),
}
WORST_NOTES = {
    'labels': deferred('The samples with the largest loss.'),
    'mask': deferred('The images with the lowest mIoU.'),
    'numbers': deferred('The samples with the largest errors.'),
    'picture': deferred('The images with the lowest PSNR.'),
}


class Page:
    """The page of one test.

    Args:
        engine: eval.Evaluator.
        feature_names: names of the features of a table (list of str), or None.

    Raises:
        DanluError: Jinja2 is not installed.
    """

    def __init__(self, engine, feature_names=None):
        # A weak reference: a reference cycle would keep the DataLoader's worker processes alive after the test.
        self.environment, self.engine, self.args = environment(), weakref.proxy(engine), engine.args
        self.report = report_of(self.args.task)
        self.target_kind = None if self.report is None else task_of(self.args).target
        self.feature_names, self.histograms, self.matrix, self.class_counts = feature_names or [], None, None, None
        if self.target_kind in ('label', 'labels') and self.args.num_classes <= MAX_HISTOGRAM_CLASSES:
            self.histograms = ScoreHistograms(self.target_kind, self.args.num_classes, self.args.ignore_index)

    def add(self, predictions, targets):
        """Count the scores of a batch, as Engine.step returns it; does not synchronise the device."""
        if self.histograms is not None:
            self.histograms.add(predictions, targets)

    def write(self, path, predictions, results, provenance, options):
        """Write the page, and beside it pictures of the confusion matrix if there is one.

        Args:
            path: Path of the file to write.
            predictions: Path of predictions.csv; if missing, the page has metrics and settings only.
            results: the metrics (dict).
            provenance: the facts at the top of result.txt (dict of str).
            options: list of (heading, dict of the options that differ from their defaults).
        """
        self.results, self.sections, self.rows, self.images = results, [], [], {}
        self.bounds, self.resamples, self.count = {}, (None, None), int(provenance['samples'])
        self.groups, self.group_notes, self.shown, self.error_scale = {}, {}, np.arange(0), None
        self.has_small_images = False
        with use_language(page_language(self.args.lang)):
            text = self._render(predictions, provenance, options)
            if self.matrix is not None:
                write_matrix_pictures(path.parent, self.matrix, self.class_names)
        with atomic_writer(path) as file:
            file.write(text)

    def _render(self, predictions, provenance, options):
        """Return the HTML text of the page (str) in the current language; arguments as for `write`."""
        if self.target_kind is not None and predictions.is_file():
            self._read(predictions)
            self.sections = self.report.sections(self)
        self.sections = training_curves(Path(provenance['checkpoint'])) + self.sections
        metrics = [(name, self._metric_cell(name)) for name in self._main_metrics()]
        data = {'columns': self.rows, 'shown': self.shown.tolist(), 'scores': self._scores()}
        return self.environment.get_template('page.html').render(
            page=self,
            title=self._title(provenance),
            contents=[*(section['title'] for section in self.sections)],
            facts=provenance,
            named_facts=named_facts(provenance),
            warnings=self._warnings(provenance),
            options=[(heading, {name: shown(value) for name, value in given.items()}) for heading, given in options],
            tiles=metrics[:MAX_TILES],
            metrics=metrics,
            metrics_note=metrics_note(self),
            level=f'{1 - SIGNIFICANCE_LEVEL:.0%}',
            data=data | {'targetKind': self.target_kind},
        )

    def interval(self, name):
        """Return the confidence interval (low, high) of a metric of result.txt, or None."""
        return self.bounds.get(name)

    def card(self, index, group):
        """Return the values (dict) that the template shows of a drawn sample: see sample_images.DrawnSample."""
        row = self.row_of[index]
        return {
            'row': row,
            'group': group,
            'drawn': self.images.get(index),
            'name': self.rows[0]['values'][row],
            'lines': self._captions(row),
            'features': self.feature_names[:MAX_CARD_FEATURES],
            'right': self._is_right(row),
        }

    def _main_metrics(self):
        """Return the names of the metrics over all classes, the monitored metric first."""
        monitor = getattr(self.engine.metrics, 'monitor', None)
        directions = list(getattr(self.engine.metrics, 'directions', {}))
        names = [name for name in self.results if '/' not in name]
        order = {name: position for position, name in enumerate([*directions, 'loss'])} | {monitor: -1}
        return sorted(names, key=lambda name: order.get(name, len(order)))

    def _metric_cell(self, name):
        """Return the cell of a metric, with its confidence interval and an arrow: higher or lower is better."""
        directions = getattr(self.engine.metrics, 'directions', {})
        mode = mode_of(name, directions)
        return value_cell(self.results[name], self.interval(name)) | {'arrow': {'min': '↓', 'max': '↑'}.get(mode, '')}

    def _title(self, provenance):
        path = Path(provenance['checkpoint'])
        return f'{path.absolute().parent.name}/{path.name}'

    def _warnings(self, provenance):
        """Return notes on the values of this test (list of str): not as recorded, samples shared with the training."""
        warning = warning_on({KEYS.get(key, key): value for key, value in provenance.items()})
        notes = [translate('This test {warning}', warning=warning[2:])] if warning else []
        shared = provenance.get('shared with training')
        return [*notes, labelled(translate('shared with training'), shared)] if shared else notes

    def _read(self, predictions):
        """Read predictions.csv, compute confidence intervals, and draw the selected samples."""
        report, header = self.report, predictions_table.read_header(predictions)
        seed = self.args.seed
        self.class_names = (self.args.num_classes and entry_names(self.args.num_classes, self.args.class_names)) or []
        measures = report.measures(header)
        found = predictions_table.scan_predictions(
            predictions, report.badness(header), report.columns(header), measures, seed
        )
        self.columns, self.count = found['columns'], len(found['badness'])
        if self.engine.shows_matrix:
            self.matrix = self.engine.class_metrics.confusion_matrix().numpy()
            self.class_counts = self.matrix.diagonal(), self.matrix.sum(1), self.matrix.sum(0)
        elif hasattr(self.engine.class_metrics, 'class_counts'):
            self.class_counts = tuple(counts.numpy() for counts in self.engine.class_metrics.class_counts())
        self.bounds, self.resamples = find_intervals(self, measures, found['sums'], seed)
        self.groups = select_groups(found['badness'], *report.group_sizes, None if report.use_median else seed)
        if 'correct' in self.columns:
            self.groups = errors_apart(self.groups, self.columns['correct'])
        drawn = [index for indices in self.groups.values() for index in indices]
        self.shown = predictions_table.select_rows(found['badness'], seed)
        self.shown = np.union1d(self.shown, np.array(drawn, dtype=int))
        self.row_of = {index: row for row, index in enumerate(self.shown.tolist())}
        self.rows = predictions_table.table_columns(predictions, self.target_kind, self.shown, self.class_names)
        self.scores = None if self.histograms is None else self.histograms.histograms()
        self._draw(drawn)
        self.group_notes = GROUP_NOTES | {'worst': WORST_NOTES.get(self.target_kind, '')}

    def _draw(self, indices):
        """Draw samples if they are images."""
        colours = colours_for(self.args) if self.target_kind == 'mask' else None
        if self.target_kind == 'mask':
            self.hex_colours = [f'#{r:02x}{g:02x}{b:02x}' for r, g, b in colours]
            self.legend = list(zip(self.class_names, self.hex_colours, strict=True))
        if has_pictures(self.args):
            painter = SamplePainter(self.engine, colours)
            self.images = painter.draw(indices)
            self.error_scale = painter.error_scale
            self.has_small_images = all(max(drawn.size) <= MAX_LOSSLESS_SIDE for drawn in self.images.values())
        elif self.feature_names:
            self.rows += feature_columns(self.engine, self.feature_names[:MAX_FEATURES], self.shown)

    def _captions(self, row):
        """Return the texts below a sample: dict of str, by column of predictions.csv."""
        found = {}
        for column in self.rows[1:]:
            value = column['values'][row]
            if column['type'] == 'class':
                value = column['names'][value]
            elif column['type'] == 'classes':
                value = value.replace('|', ', ') or translate('none')
            if column['type'] == 'number':
                value = '–' if value is None else str(value) if column['whole'] else number_text(value)
            found[column['name']] = value
        return found

    def _is_right(self, row):
        """Return whether the prediction of a sample is right (bool), or None for tasks without right and wrong."""
        correct = next((column['values'][row] for column in self.rows if column['name'] == 'correct'), None)
        return None if correct is None else bool(correct)

    def _scores(self):
        """Return the highest class probabilities of the drawn samples: {row: [[class name, probability]]}."""
        return {
            self.row_of[index]: [[self.class_names[k], round(value, 4)] for k, value in drawn.scores]
            for index, drawn in self.images.items()
            if drawn.scores
        }
