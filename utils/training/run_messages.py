"""The messages of a run: at its start, after each epoch, at its end, and how to resume it."""

import os
import shlex
import sys

from utils.base import rank_env
from utils.base.notebook import is_notebook
from utils.base.terminal import is_watched, styled
from utils.drawing.curves import details
from utils.drawing.fonts import note_of_fonts
from utils.options.fit import described_pictures
from utils.provenance.environment import program_of
from utils.runs.step_log import time_of_day
from utils.runs.summaries import model_line, sizes_of
from utils.tasks.tasks import describe_outputs
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
    return [*lines, *note_of_fonts(args.class_names), *notes, *table]


def epoch_lines(row, epochs, monitor, best):
    """Return an epoch's values as a line (str) for log.txt, with the time of day, and as a line for the screen.

    An interactive terminal or a notebook gets the line without the time. A terminal shows 'best' in green if the epoch
    is the `best`.
    """
    text = epoch_line(row, epochs, monitor, time_of_day())
    shown = epoch_line(row, epochs, monitor) if is_watched(sys.stdout) or is_notebook() else text
    return text + '  best' * best, shown + f'  {styled("best", "bold", "green")}' * best


def epoch_line(row, epochs, monitor, time=None):
    """Return an epoch's values as one line (str), without details (see history.csv) that are not monitored.

    Args:
        row: the values (dict).
        epochs: total number of epochs (int).
        monitor: name of the monitored value.
        time: time of day (str), or None to omit it.
    """
    parts = []
    for split in ('train', 'val') if any(name.startswith('val/') for name in row) else ('train',):
        shown = [name for name in row if name.startswith(f'{split}/') and (name == monitor or not details(name))]
        parts.append(f'{split} ' + ' '.join(f'{name.partition("/")[2]} {row[name]:.4f}' for name in shown))
    memory = f', GPU {row["gpu_memory_gib"]:.1f} GiB' if 'gpu_memory_gib' in row else ''
    rates = [f'{row["images_per_second"]:,.0f} img/s', f'data wait {row["data_wait"]:.0%}{memory}']
    parts.append(', '.join([*([time] if time else []), *rates, f'{row["seconds"]:.1f} s']))
    return f'epoch {row["epoch"]}/{epochs}  ' + ' | '.join(parts)


def end_lines(trainer):
    """Return lines (list of str): the best epoch's value in full precision, and the command that tests it."""
    path, best = os.path.join(trainer.args.model_dir, 'best.pth'), trainer.selection.best
    path = path if os.path.relpath(path).startswith('..') else os.path.relpath(path)
    lines = [f'best: {trainer.selection.monitor} {best["value"]!r} in epoch {best["epoch"]}']
    if not trainer.ready_made:  # eval.py builds data and model by their names
        data = ' --val_list LIST' if not trainer.selection.validates and trainer.args.train_list else ''
        lines.append(f'test it: python eval.py --load_model_path {shlex.quote(path)}{data}')
    return lines


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
    return f'{rank_env.starter()} {program_of(trainer)} --resume {shlex.quote(run)}{words}'


def repeat_command(trainer):
    """Return the command (str) that repeats the run."""
    return f'python {program_of(trainer)} @{shlex.quote(os.path.join(trainer.args.model_dir, "args.txt"))}'


def position_text(trainer):
    """Return the position of the training (str): 'epoch 2 and batch 7 of epoch 3'."""
    parts = [f'epoch {trainer.epoch}'] if trainer.epoch else []
    parts += [f'batch {trainer.batch} of epoch {trainer.epoch + 1}'] if trainer.batch else []
    return ' and '.join(parts) or 'the beginning'
