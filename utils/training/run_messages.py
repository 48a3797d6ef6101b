"""The messages of a run: at its start, after each epoch, at its end, and how to resume it."""

import math
import os
import shlex
from pathlib import Path

from utils.base import rank_env
from utils.base.abbreviation import AbbreviatedText
from utils.base.file_names import short_path
from utils.base.language import labelled, translate
from utils.base.registry import PROJECT
from utils.base.text_table import number_text, pad_cell, span_text, terminal_width, width_of
from utils.drawing.colour_distance import note_of_palette
from utils.drawing.curves import details
from utils.drawing.fonts import note_of_fonts
from utils.options.fit import described_pictures
from utils.options.resuming import ENDING_WITH_RUN
from utils.provenance.environment import program_of
from utils.runs.step_log import time_of_day
from utils.runs.summaries import model_line, sizes_of
from utils.tasks.tasks import describe_outputs, has_pictures
from utils.training.model_table import model_table


def start_lines(trainer, notes):
    """Return the first lines of the log (list of str): data, model, outputs, `notes` and --print_model's table."""
    args, lines = trainer.args, [f'run: {trainer.args.model_dir}']
    sizes = sizes_of({'to train on': trainer.train_loader, 'to validate': trainer.val_loader})
    if sizes:
        lines.append(f'data: {sizes}; workers: {trainer.workers}')
    lines.append(f'model: {model_line(trainer.net)}')
    table = model_table(trainer.net, args) if args.print_model else []
    lines += [describe_outputs(args), described_pictures(args)]
    return [*lines, *note_of_fonts(args.class_names), *note_of_palette(args), *notes, *table]


def epoch_line(row, epochs, monitor, best):
    """Return an epoch's values as one line (str) for log.txt and pipes; utils.training.epoch_table is for terminals.

    Args:
        row: the values (dict); those that `details` names are left out unless monitored (history.csv has them).
        epochs: total number of epochs (int).
        monitor: name of the monitored value.
        best: whether the epoch is the best one so far (bool).
    """
    parts = []
    for split in ('train', 'val') if any(name.startswith('val/') for name in row) else ('train',):
        shown = [name for name in row if name.startswith(f'{split}/') and (name == monitor or not details(name))]
        parts.append(f'{split} ' + ' '.join(f'{name.partition("/")[2]} {number_text(row[name])}' for name in shown))
    memory = f', GPU {row["gpu_memory_gib"]:.1f} GiB' if 'gpu_memory_gib' in row else ''
    rates = f'{row["images_per_second"]:,.0f} img/s, data wait {row["data_wait"]:.0%}{memory}, {row["seconds"]:.1f} s'
    parts.append(f'{time_of_day()}, {rates}')
    return f'epoch {row["epoch"]}/{epochs}  ' + ' | '.join(parts) + '  best' * best


def best_line(trainer):
    """Return the best epoch and its value (AbbreviatedText): rounded for the screen, in full precision for log.txt.

    The text for the screen is in the current language, that for log.txt in English.
    """
    monitor, best = trainer.selection.monitor, trainer.selection.best
    shown = {'monitor': monitor, 'value': number_text(best['value']), 'epoch': best['epoch']}
    text = translate('best: {monitor} {value} in epoch {epoch}', **shown)
    return AbbreviatedText(text, f'best: {monitor} {best["value"]} in epoch {best["epoch"]}')


def test_line(trainer):
    """Return the command that tests the best epoch (list of one AbbreviatedText), or [] if eval.py cannot test the run.

    The text for the screen is in the current language, that for log.txt in English.
    """
    if trainer.ready_made:  # eval.py builds data and model by their names
        return []
    data = ' --val_list LIST' if not trainer.selection.validates and trainer.args.train_list else ''
    command = f'python eval.py --load_model_path {shlex.quote(short_path(best_of(trainer.args)))}{data}'
    return [AbbreviatedText(labelled(translate('test it'), command), f'test it: {command}')]


test_line.__test__ = False  # pytest would collect it


def best_of(args):
    """Return the path (str) of best.pth of the run with these options."""
    return os.path.join(args.model_dir, 'best.pth')


def run_word(args):
    """Return the word (str) by which a command names the run: its name if it is in the default directory of runs."""
    return shlex.quote(_name_of(args.model_dir) or short_path(args.model_dir))


def _name_of(run):
    """Return the name of a run (str, its path) in the default directory of runs, None for another directory."""
    return Path(run).name if Path(run).parent == PROJECT / 'checkpoints' else None


def summary_lines(trainer, report, index):
    """Return the last lines of train.py (list of str), in the current language.

    These are the best value, time, files, and commands to go on with.

    Args:
        trainer: train.Trainer whose training has ended.
        report, index: paths (str or Path) of report.html and of the page of all runs, or None.
    """
    args, history = trainer.args, trainer.logger.history
    seconds = sum(row['seconds'] for row in history)
    best = trainer.selection.best
    values = {'monitor': trainer.selection.monitor, 'value': number_text(best['value']), 'epoch': best['epoch']}
    lines = ['', translate('best: {monitor} {value} in epoch {epoch} of {epochs}', **values, epochs=len(history))]
    times = {'total': span_text(seconds), 'mean': span_text(seconds / len(history))}
    lines.append(translate('time: {total}, {mean} per epoch', **times))
    lines.append(labelled(translate('run'), short_path(args.model_dir)))
    lines.append(labelled(translate('curves'), short_path(os.path.join(args.model_dir, 'curves.png'))))
    lines += [] if report else test_line(trainer)
    return [*lines, *page_lines(report, index), '', *next_lines(args)]


def page_lines(report, index):
    """Return a line (str) for each page that was written: report.html and the page of all runs (paths or None)."""
    pages = {translate('report'): report, translate('all runs'): index}
    return [labelled(label, short_path(str(path))) for label, path in pages.items() if path]


def next_lines(args):
    """Return commands that go on from a run (list of str): predict, resume it, repeat it with a change, list runs.

    If one of them does not fit the terminal beside its label, all are below their labels.
    """
    lines = [(translate('predict'), f'python eval.py --load_model_path {run_word(args)} --predict DIR')]
    lines = lines if has_pictures(args) else []
    if args.schedule not in ENDING_WITH_RUN:  # else the schedule is over
        lines.append((translate('continue'), f'python train.py --resume {run_word(args)} --epochs {2 * args.epochs}'))
    record = shlex.quote(short_path(os.path.join(args.model_dir, 'args.txt')))
    lines.append((translate('change'), f'python train.py @{record} --lr {number_text(args.lr / 2, trimmed=True)}'))
    lines.append((translate('list'), 'python scripts/runs.py list'))
    wide = max(width_of(label) for label, _ in lines)
    beside = [f'{pad_cell(label, wide)}  {command}' for label, command in lines]
    if max(map(width_of, beside)) <= (terminal_width() or math.inf):
        return beside
    return [line for label, command in lines for line in (label, f'    {command}')]


def interrupted_line(trainer):
    """Return what an interrupted run saved, and how to resume it (str)."""
    if trainer.session.saved_position is None:
        return 'nothing was saved yet, so the run cannot be resumed'
    parts = ', with the same parts' if resumes_in_python(trainer) else ''
    return f'last.pth holds {trainer.session.saved_position}; to go on{parts}: {resume_command(trainer)}'


def resumes_in_python(trainer):
    """Return whether a run can be resumed only in Python (bool): it has ready-made parts and no own command line."""
    by_keywords = getattr(trainer.args, 'by_keywords', False)
    return bool(trainer.given) and (by_keywords or program_of(trainer) == 'train.py')


def resume_command(trainer, **changes):
    """Return the command, or the Python expression, that resumes a run (str), with `changes` of its options."""
    run = trainer.args.model_dir
    if resumes_in_python(trainer):
        options = ', '.join(f'{name}={value!r}' for name, value in {'resume': run, **changes}.items())
        parts = ', '.join(f'{role}=...' for role in trainer.args.given_parts)
        return f'Trainer(train_args({options}), {parts})'
    words = ''.join(f' --{name} {value}' for name, value in changes.items())
    return f'{rank_env.starter()} {program_of(trainer)} --resume {shlex.quote(_name_of(run) or run)}{words}'


def repeat_command(trainer):
    """Return the command (str) that repeats the run."""
    return f'python {program_of(trainer)} @{shlex.quote(os.path.join(trainer.args.model_dir, "args.txt"))}'


def position_text(trainer):
    """Return the position of the training (str): 'epoch 2 and batch 7 of epoch 3'."""
    parts = [f'epoch {trainer.epoch}'] if trainer.epoch else []
    parts += [f'batch {trainer.batch} of epoch {trainer.epoch + 1}'] if trainer.batch else []
    return ' and '.join(parts) or 'the beginning'
