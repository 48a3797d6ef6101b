"""Predictions of samples without targets, eval.py --predict: one pass that writes and shows them.

Files of the result directory: predictions.csv (utils/evaluation/unlabelled_results.py), summary.txt (as a result.txt:
what was predicted, then the counts), damaged.txt (samples that could not be read, and why), and where asked for
report.html, viz/ and outputs/.
"""

import csv
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from options import save_args
from utils import viz
from utils.base.atomic_write import atomic_writer
from utils.base.csv_text import escape_cell
from utils.base.errors import DanluError
from utils.base.file_names import file_name_of
from utils.base.language import (
    CHINESE,
    current_language,
    deferred,
    labelled,
    page_language,
    translate,
    use_language,
)
from utils.base.progress import Progress
from utils.base.regular_files import naming, open_regular
from utils.base.text_table import count_text, number_text, printable, table, terminal_width
from utils.base.write_errors import wrap_write_errors
from utils.evaluation.ensemble import member_facts
from utils.evaluation.prediction_drawing import draw_predictions
from utils.evaluation.predictions import PREDICTIONS
from utils.evaluation.saved_outputs import Outputs
from utils.evaluation.test_files import checkpoint_facts, code_facts, result_files, write_result
from utils.evaluation.unlabelled_results import check_outputs, results_of
from utils.options.fit import Fit
from utils.provenance.environment import git_facts
from utils.provenance.kept_code import keep_code
from utils.provenance.recorded_code import output_language
from utils.runs.checkpoint import file_hash
from utils.runs.ledger import ledger_of
from utils.runs.result_directory import REPORT
from utils.tasks.one_logit import as_classes
from utils.tasks.tasks import task_of

SUMMARY, DAMAGED_LIST = 'summary.txt', 'damaged.txt'
MAX_PRINTED_SAMPLES = 20  # each with a line of its own; of more a summary is printed
MAX_PRINTED_GROUPS = 20
SUMMARY_HEAD = [deferred('prediction'), deferred('samples'), deferred('share'), deferred('mean confidence')]
RANGES_HEAD = [deferred('value'), deferred('mean'), deferred('lowest'), deferred('highest')]
READ = 0  # status of a sample that could be read


class Batch(NamedTuple):
    """A batch whose results are being copied to the CPU."""

    samples: list  # data.lists.unlabelled_files.UnlabelledImage
    images: Any
    outputs: Any
    copies: dict  # tensors (B, ...) on the CPU
    copied: Any  # CUDA event, or None


class UnlabelledPass:
    """Predicts the samples of a loader.

    Args:
        engine: utils.training.engine.Engine with the network, and `check` and `epoch` of its checkpoint.
        loader: yields (images, status) of batches.
        walk: data.unlabelled.UnlabelledWalk of the loader.
        page: utils.html_report.gallery_page.GalleryPage, or None.
    """

    def __init__(self, engine, loader, walk, page=None):
        self.engine, self.args, self.loader, self.walk, self.page = engine, engine.args, loader, walk, page
        self.results_of, is_mask = results_of(self.args), task_of(self.args).target == 'mask'
        self.fit = Fit.of(self.args) if is_mask and self.args.fit == 'pad' else None
        self.seen = self.count = self.damaged_count = 0
        self.lines, self.damaged, self.groups, self.ranges = [], [], {}, {}
        self.header = self.outputs = self.damaged_file = None
        self.input_noun = 'image' if self.args.image_size else 'row'

    def run(self):
        """Predict all samples, write the files into args.result_dir, and return the number of predictions (int).

        Until all are written, args.result_dir is a directory in that one.

        Raises:
            DanluError: no sample could be read, or the outputs of the network do not suit the task.
        """
        args = self.args
        with result_files(args) as place, use_language(page_language(args.lang)):
            folder = Path(args.result_dir)
            save_args(args, folder, place=place)
            if args.save_outputs:
                self.outputs = Outputs(folder, args, self.name_of, self.size_of)
            self.predict_all(folder)
            rate, facts = self.progress.rate(), self.facts()
            if self.page is not None:
                self.page.write(folder / REPORT, facts, self.summary_rows(), self.damaged, self.damaged_count)
            ledger = ledger_of(args.load_model_path, args.checkpoints_dir)
            notes = keep_code(ledger.parent, facts['source sha256'], place)
            write_result(folder / SUMMARY, self.values(), facts)
        with use_language(output_language(args.lang)):
            for line in [*notes, *self.printed(rate)]:
                print(line)
            print(labelled(translate('results'), args.result_dir))
            if self.page is not None:
                print(labelled(translate('report'), Path(args.result_dir, REPORT)))
        return self.count

    def predict_all(self, folder):
        """Predict all samples and write predictions.csv and damaged.txt into `folder` (Path)."""
        pending = deque()
        self.progress = Progress(self.loader, 'predict', print)
        with atomic_writer(folder / PREDICTIONS) as file, self.listing_damaged(folder), torch.inference_mode():
            file.write('\ufeff')  # by which Excel knows that it is UTF-8
            rows = csv.writer(file)
            for number, (images, status) in enumerate(self.progress, 1):
                pending.append(self.predict_batch(images, status))
                while len(pending) > 1:  # the latest batch may still be computed: the device is not waited for
                    self.finish(pending.popleft(), rows)
                if number % self.args.print_freq == 0:
                    self.progress.show('')
            while pending:
                self.finish(pending.popleft(), rows)
        if not self.count:
            shown = '\n'.join(f'  {name}: {fault}' for name, fault in self.damaged)
            lists = self.walk.samples.lists
            read_as = f'\n(read as a list, with the path of an image in each line: {", ".join(lists)})' if lists else ''
            noun = count_text(self.damaged_count, self.input_noun)
            raise DanluError(f'--predict: none of {noun} could be read:\n{shown}{read_as}')

    @contextmanager
    def listing_damaged(self, folder):
        """Close damaged.txt, if there is one, at the end of the `with`."""
        self.damaged_path = folder / DAMAGED_LIST
        try:
            yield
        finally:
            if self.damaged_file is not None:
                self.damaged_file.close()

    def predict_batch(self, images, status):
        """Return the Batch of the next samples, whose results may still be on their way to the CPU."""
        samples = self.walk.taken(len(status))
        images, outputs, _ = self.engine.step((images, status))
        outputs, _ = as_classes(self.args, outputs, None)
        check_outputs(self.args, outputs)
        tensors = self.results_of.tensors_of(self.args, outputs, self.inside(samples, status, outputs))
        copied = torch.cuda.Event() if outputs.is_cuda else None
        tensors['status'] = status
        copies = {name: tensor.to('cpu', non_blocking=True) for name, tensor in tensors.items()}
        if copied is not None:
            copied.record(torch.cuda.current_stream(outputs.device))  # the default is the stream of GPU 0
        return Batch(samples, images, outputs, copies, copied)

    def inside(self, samples, status, outputs):
        """Return the pixels that are no margin of --fit pad, bool (B, H, W), or None for all."""
        if self.fit is None:
            return None
        inside, size = torch.zeros(len(samples), *outputs.shape[2:], dtype=torch.bool), outputs.shape[2:]
        for row, (sample, state) in enumerate(zip(samples, status.tolist(), strict=True)):
            full = self.walk.full_size(sample) if state == READ else None
            top, left, height, width = self.fit.target_box(full or size, size)
            inside[row, top : top + height, left : left + width] = True
        return inside

    def finish(self, batch, rows):
        """Write and count the results of a Batch; `rows`: csv.writer of predictions.csv."""
        if batch.copied is not None:
            batch.copied.synchronize()
        status = batch.copies['status'].numpy()
        for index in np.flatnonzero(status != READ).tolist():
            self.add_damaged(batch.samples[index])
        good = np.flatnonzero(status == READ)
        arrays = {name: tensor.numpy()[good] for name, tensor in batch.copies.items() if name != 'status'}
        results = self.results_of(self.args, arrays)
        self.current = [batch.samples[index] for index in good.tolist()]
        chosen = torch.from_numpy(good).to(batch.outputs.device)
        images, outputs = (batch.images, batch.outputs) if len(good) == len(status) else (
            batch.images[chosen], batch.outputs[chosen])  # fmt: skip
        files = self.outputs.add(0, outputs) if self.outputs is not None and len(good) else None
        self.write_rows(rows, results, files)
        self.count_results(results)
        self.draw(results, images, outputs, (self.seen + good).tolist())
        self.seen += len(status)
        self.count += len(good)

    def write_rows(self, rows, results, files):
        """Write the samples of self.current to predictions.csv; `files`: their outputs (list of str), or None."""
        columns = {'name': [escape_cell(sample.name) for sample in self.current], **results.columns()}
        if self.outputs is not None:
            columns['output'] = files or []
        with wrap_write_errors(PREDICTIONS):
            if self.header is None:
                self.header = list(columns)
                rows.writerow(self.header)
            rows.writerows(zip(*columns.values(), strict=True))
        for index, sample in enumerate(self.current):
            if len(self.lines) > MAX_PRINTED_SAMPLES:
                break
            output = f'outputs: {files[index]}' if files else ''
            self.lines.append(f'{printable(sample.name)}  {results.text(index) or output}'.rstrip())

    def add_damaged(self, sample):
        """List a sample that cannot be read."""
        fault = self.walk.fault_of(sample)
        with naming(self.damaged_path):
            if self.damaged_file is None:
                self.damaged_file = open_regular(self.damaged_path, 'w', encoding='utf-8')
            self.damaged_file.write(' '.join(f'{sample.name}\t{fault}'.splitlines()) + '\n')
        self.damaged_count += 1
        if len(self.damaged) < MAX_PRINTED_SAMPLES:
            self.damaged.append((sample.name, fault))

    def count_results(self, results):
        """Add the results of self.current to the summary."""
        for index in range(len(self.current)):
            for group, confidence in results.groups(index):
                found = self.groups.setdefault(group, [0, 0.0])
                found[0] += 1
                found[1] += confidence
        for name, values in results.measured().items():
            values = values.astype(float)
            found = self.ranges.setdefault(name, [0.0, np.inf, -np.inf])
            if len(values):
                found[:] = (
                    found[0] + values.sum(),
                    np.minimum(found[1], values.min()),
                    np.maximum(found[2], values.max()),
                )

    def draw(self, results, images, outputs, indices):
        """Draw samples into viz/ and the page; `indices`: of self.current among all samples (list of int)."""
        if self.args.save_viz:
            chosen = [place for place, index in enumerate(indices) if index % self.args.viz_freq == 0]
            if chosen:
                pictures = draw_predictions(self.engine, images[chosen], outputs[chosen], results, chosen)
                for place, picture in zip(chosen, pictures, strict=True):
                    name = file_name_of(self.current[place].name).lstrip('_')
                    path = Path(self.args.result_dir, 'viz', f'{indices[place]:06d}_{name}.png')
                    viz.save_picture(path, picture)
        if self.page is not None:
            self.page.add(indices, [sample.name for sample in self.current], results, images, outputs)

    def name_of(self, index):
        """Return the name (str) of sample `index` of the current batch."""
        return self.current[index].name

    def size_of(self, index):
        """Return the (height, width) of the image file of sample `index` of the current batch, or None."""
        return self.walk.full_size(self.current[index])

    def facts(self):
        """Return what was predicted (dict of str), for the head of summary.txt."""
        return {
            **checkpoint_facts(self.args, self.engine.epoch, file_hash(self.args.load_model_path)),
            **(member_facts(self.engine.members) if self.engine.members else {}),
            'predicted': ' '.join(self.args.predict),
            'samples': str(self.count),
            'damaged': str(self.damaged_count),
            **code_facts(self.args, self.engine.device, self.engine.check.outputs, git_facts()),
        }

    def values(self):
        """Return the numbers of summary.txt (dict from a name to a number)."""
        found = {'samples': self.count, 'damaged': self.damaged_count}
        found |= {f'count/{name}': count for name, (count, _) in self.groups.items()}
        for name, (total, low, high) in self.ranges.items():
            found |= {f'mean/{name}': float(total) / self.count, f'min/{name}': float(low), f'max/{name}': float(high)}
        return found

    def summary_rows(self):
        """Return the head (list of str) and the rows (lists of str and numbers) of the summary; [], [] without one.

        The head is in English, the names in the rows are in the current language.
        """
        if self.groups:
            ordered = sorted(self.groups.items(), key=lambda item: (-item[1][0], item[0]))
            rows = [[name, n, n / self.count, confidence / n] for name, (n, confidence) in ordered]
            return SUMMARY_HEAD, rows
        rows = [
            [self.results_of.title_of(name), total / self.count, low, high]
            for name, (total, low, high) in self.ranges.items()
        ]
        return RANGES_HEAD if rows else [], rows

    def printed(self, rate):
        """Return what is printed at the end (list of str); `rate`: samples per second."""
        lines = [f'left out: {note}' if 'left out' not in note else note for note in self.walk.samples.notes]
        if self.count <= MAX_PRINTED_SAMPLES:
            lines += self.lines
        else:
            head, rows = self.summary_rows()
            texts = [[row[0], *(_cell_text(name, value) for name, value in zip(head[1:], row[1:], strict=True))]
                     for row in rows[:MAX_PRINTED_GROUPS]]  # fmt: skip
            if rows:
                titles = list(map(translate, head))
                shown, _ = table(titles, texts, terminal_width(), (titles[0],), right=titles[1:])
                lines += [f'  {line}' for line in shown]
            if len(rows) > MAX_PRINTED_GROUPS:
                more = translate('({count:,} more in {file})', count=len(rows) - MAX_PRINTED_GROUPS, file=SUMMARY)
                lines.append(f'  {more}')
        if self.damaged_count:
            text = deferred('not predicted, as they cannot be read ({count:,}, all in {file}):')
            lines.append(translate(text, count=self.damaged_count, file=DAMAGED_LIST))
            lines += [f'  {name}: {fault}' for name, fault in self.damaged]
        predicted = translate('predicted: {count}, {rate:,.0f} per second', count=self.counted(self.count), rate=rate)
        if self.damaged_count:
            predicted += translate(', {count} not readable', count=self.counted(self.damaged_count))
        return [*lines, predicted]

    def counted(self, count):
        """Return a number of inputs as text (str): '24 images'; in Chinese, whose sentences have the noun, '24'."""
        return f'{count:,}' if current_language() == CHINESE else count_text(count, self.input_noun)


def _cell_text(name, value):
    """Return the cell (str) of a column of the summary."""
    if name == 'share':
        return f'{value:.1%}'
    return f'{value:,}' if isinstance(value, int) else number_text(value)
