"""The HTML page of runs.py compare. Imports torch."""

from pathlib import Path

import numpy as np

from scripts.run_commands.compare import difference_texts
from scripts.run_commands.comparison import difference_rows, option_rows, overview
from scripts.run_commands.pairing import select_cells
from scripts.run_commands.sheet import TestOutputs
from utils import viz
from utils.base.atomic_write import atomic_writer
from utils.base.errors import DanluError
from utils.base.language import labelled, plural, translate
from utils.base.text_table import number_text
from utils.drawing.colours import colours_for
from utils.html_report.class_labels import shortened
from utils.html_report.curve_sections import epoch_charts
from utils.html_report.embedded_images import image_url, mask_layer, page_size, resized
from utils.html_report.runs_page import STATES, newest_report, quoted_path
from utils.html_report.sample_images import DrawnSample, SamplePainter
from utils.html_report.sections import table, value_cell
from utils.html_report.svg_plots import LINES
from utils.html_report.templating import environment
from utils.options.palette import hex_of
from utils.runs.run import as_number
from utils.statistics.bootstrap_metrics import lower_is_better
from utils.statistics.significance import REPORT_RESAMPLES, SIGNIFICANCE_LEVEL
from utils.tasks.tasks import task_named

TRANSPARENT_LABEL = 255  # in a mask to draw


def write_page(path, sides, test_sets, notes, max_samples):
    """Write the page.

    Args:
        path: Path of the file.
        sides: list of scripts.run_commands.comparison.Side.
        test_sets: list of scripts.run_commands.comparison.TestSet.
        notes: what is not comparable, and why (list of str).
        max_samples: maximum number of samples shown of each test set.
    """
    none = translate('No difference.')
    text = (
        environment()
        .get_template('compare.html')
        .render(
            title=' · '.join(side.run.name for side in sides),
            sides=[{'letter': s.letter, 'name': s.run.name, 'line': i % len(LINES)} for i, s in enumerate(sides)],
            runs=_runs_table(sides, Path(path).absolute().parent),
            charts=epoch_charts([side.run for side in sides]),
            differences=[
                table(title, ['', *(side.letter for side in sides)], rows, note if rows else none)
                for title, rows, note in (
                    (translate('Options that differ'), option_rows(sides), ''),
                    (translate('Code and data'), difference_rows(sides), translate('Hashes are shortened.')),
                )
            ],
            sets=[_template_values(each, max_samples) for each in test_sets],
            notes=notes,
            level=f'{1 - SIGNIFICANCE_LEVEL:.0%}',
            resamples=REPORT_RESAMPLES,
        )
    )
    with atomic_writer(path) as file:
        file.write(text)


def _template_values(test_set, max_samples):
    """Return the values (dict) that the template shows of a TestSet."""
    head = test_set.sides[0].test.head
    letters = [side.letter for side in test_set.sides]
    rows = [[name, *_value_cells(test_set, name)] for name in test_set.names]
    facts = {'count': int(head.get('samples', 0)), 'list': head.get('list')}
    tested = translate(plural(facts['count'], '{count:,} sample of {list}', '{count:,} samples of {list}'), **facts)
    cards, fault, legend = ([], '', []) if len(letters) < 2 else _cards(test_set, max_samples)
    return {
        'title': labelled(', '.join(letters), tested),
        'hash': str(head.get('data_sha256', translate('not known')))[:12],
        'metrics': table('', [translate('metric'), *letters], rows),
        'differences': difference_texts(test_set),
        'disagreements': test_set.disagreements,
        'cards': cards,
        'fault': fault,
        'legend': legend,
        'style': 'wide' if cards and cards[0]['wide'] else '',
    }


def _runs_table(sides, folder):
    """Return the table of the runs, with links to their reports, relative to the directory (Path) of the page."""
    head, rows = overview(sides)
    for side, row in zip(sides, rows, strict=True):
        row[2] = translate(STATES.get(row[2], row[2]))
        report = newest_report(side.run)
        if report is not None:
            row[1] = {'text': row[1], 'link': quoted_path(report, folder)}
    return table(translate('Runs'), head, rows)


def _value_cells(test_set, name):
    """Return the table cells of a metric, the best in bold unless all are equal."""
    values, sign = test_set.values[name], -1 if lower_is_better(name, test_set.sides[0].test.task) else 1
    cells = list(map(value_cell, values, test_set.bounds_of(name)))
    known = [sign * value for value in values if not np.isnan(value)]
    if len(set(known)) > 1:
        return [cell | {'best': sign * value == max(known)} for cell, value in zip(cells, values, strict=True)]
    return cells


def _cards(test_set, max_samples):
    """Return the samples with the largest disagreement (list of dict), why they have no image (str), and the legend."""
    indices = test_set.order[:max_samples].tolist()
    cells = [select_cells(side.test, indices) for side in test_set.sides]
    try:
        drawn, legend = _draw_samples(test_set, indices)
        fault = ''
    except DanluError as error:  # feature vectors, or missing data or checkpoints
        drawn, legend, fault = {}, [], str(error).removeprefix('--sheet: ')
    cards = []
    for index in indices:
        own = [of_side[index] for of_side in cells]
        image = drawn.get(index)
        qualities = [None] * len(own) if test_set.quality is None else test_set.quality[index].tolist()
        cards.append({
            'name': own[0]['name'],
            'truth': _column_text(own[0], 'target'),
            'short_truth': _column_text(own[0], 'target', shortened),
            'predictions': [_prediction(*each) for each in zip(test_set.sides, own, qualities, strict=True)],
            'drawn': image,
            'wide': image is not None and len(image.panes) > 1,
        })  # fmt: skip
    return cards, fault, legend


def _column_text(cells, column, shown=str):
    """Return the targets or predictions of a sample (str), each name as `shown` gives it.

    Args:
        column: 'target' or 'prediction'.
    """
    texts = [text for name, text in cells.items() if name == column or name.startswith(f'{column}/')]
    if 'error' in cells or any(name.startswith('error/') for name in cells):
        texts = [number_text(as_number(text)) or text for text in texts]
    return ', '.join(', '.join(map(shown, text.split('|'))) or translate('none') for text in texts)


def _prediction(side, cells, quality):
    """Return a side's prediction of a sample (dict): letter, text, short text, and whether it is right or None."""
    confidence = as_number(cells.get('confidence'))
    share = '' if confidence is None else f' · {confidence:.0%}'
    value = '' if quality is None else number_text(quality)
    text, short = (_column_text(cells, 'prediction', shown) + share or value for shown in (str, shortened))
    correct = cells.get('correct')
    return {'letter': side.letter, 'text': text, 'short': short, 'right': None if not correct else correct == '1'}


def _draw_samples(test_set, indices):
    """Return the drawn samples (dict from an index to DrawnSample) and the legend (list of (class, colour))."""
    outputs = [TestOutputs(test_set.sides[0].test)]
    by_pixel = outputs[0].task.by_pixel
    outputs += [TestOutputs(side.test) for side in test_set.sides[1:]] if by_pixel else []
    args, masks = outputs[0].args, outputs[0].task.target == 'mask'
    painter = _ComparisonPainter(outputs[0], colours_for(args) if masks else None)
    of_sides = [{index: rest for index, *rest in each.samples(indices)} for each in outputs]
    letters = [side.letter for side in test_set.sides]
    found = {
        index: painter.side_by_side(index, [of_side[index] for of_side in of_sides], letters, test_set.quality[index])
        for index in indices
    }
    names = (args.class_names or [str(index) for index in range(args.num_classes)]) if masks else []
    colours = [hex_of(colour) for colour in painter.colours] if masks else []
    return found, list(zip(names, colours, strict=True))


class _ComparisonPainter(SamplePainter):
    """Draws the outputs of several networks for one sample."""

    def side_by_side(self, index, outputs, letters, quality):
        """Return the DrawnSample: the image alone, or with the target and each network's output beside it.

        Args:
            index: index of the sample (int).
            outputs: for each network (image, prediction, target), as sheet.TestOutputs.samples yields them.
            letters: letters of the sides (list of str).
            quality: (sides,) float, quality of each output.
        """
        drawn, (image, prediction, target) = DrawnSample(index), outputs[0]
        if prediction is None:
            self._paint(drawn, image, None, None)
            return drawn
        rgb = viz.rgb_of(image)
        drawn.size = page_size(rgb.shape)
        input_layers = [{'href': image_url(resized(rgb, drawn.size)), 'id': f'p{index}'}]
        metric = task_named(self.args.task).quality
        titles = [
            f'{letter} · {metric} {number_text(float(value))}' for letter, value in zip(letters, quality, strict=True)
        ]
        panes = [('truth', target), *((title, own[1]) for title, own in zip(titles, outputs, strict=True))]
        drawn.panes = [('input', input_layers), *((title, self._layers(output, drawn)) for title, output in panes)]
        return drawn

    def _layers(self, output, drawn):
        """Return the layers of a mask, which is drawn over the input, or of an image."""
        if self.target_kind != 'mask':
            return [{'href': image_url(resized(viz.rgb_of(output), drawn.size))}]
        labels = output.cpu().numpy()
        labels = np.where((labels >= 0) & (labels < len(self.colours)), labels, TRANSPARENT_LABEL)
        return [{'of': f'p{drawn.index}'}, mask_layer(labels, self.colours, drawn.size, 'mask')]
