"""What a run says about itself: at its start, after each epoch, at its end, and how to go on from there."""

import os
import shlex

from utils import launch
from utils.checkpoint import unwrapped
from utils.curves import details
from utils.environment import program_of
from utils.fit import described_pictures
from utils.fonts import note_of_fonts
from utils.model_table import model_table
from utils.progress import length_of
from utils.sharding import kind_of
from utils.tasks import describe_outputs


def start_lines(trainer, notes):
    """Return what is about to run (list of str): data, model, classes, the `notes` taken before, and the table."""
    args, lines = trainer.args, [f'run: {trainer.args.model_dir}']
    loaders = {'to train on': trainer.train_loader, 'to validate': trainer.val_loader}
    lengths = {use: length_of(loader.dataset) for use, loader in loaders.items() if hasattr(loader, 'dataset')}
    sizes = [f'{"a stream" if length is None else f"{length:,}"} {use}' for use, length in lengths.items()]
    if sizes:
        lines.append(f'data: {", ".join(sizes)}; workers: {trainer.workers}')
    parameters = sum(parameter.numel() for parameter in trainer.net.parameters())
    lines.append(f'model: {kind_of(unwrapped(trainer.net)).__name__}, {parameters:,} parameters')
    table = model_table(trainer.net, args) if args.print_model else []
    lines += [describe_outputs(args), described_pictures(args)]
    return [*lines, *note_of_fonts(args.class_names), *notes, *table]


def epoch_line(row, epochs, monitor):
    """Return an epoch's values as one line (str); details, which history.csv has, only where they are monitored."""
    parts = []
    for split in ('train', 'val'):
        shown = [name for name in row if name.startswith(f'{split}/') and (name == monitor or not details(name))]
        parts.append(f'{split} ' + ' '.join(f'{name.partition("/")[2]} {row[name]:.4f}' for name in shown))
    memory = f', GPU {row["gpu_memory_gib"]:.1f} GiB' if 'gpu_memory_gib' in row else ''
    parts.append(
        f'{row["images_per_second"]:,.0f} img/s, data wait {row["data_wait"]:.0%}{memory}, {row["seconds"]:.1f} s'
    )
    return f'epoch {row["epoch"]}/{epochs}  ' + ' | '.join(parts)


def end_lines(trainer):
    """Return the best epoch's value in full, and how to test it (list of str)."""
    path, best = os.path.join(trainer.args.model_dir, 'best.pth'), trainer.selection.best
    path = path if os.path.relpath(path).startswith('..') else os.path.relpath(path)
    lines = [f'best: {trainer.selection.monitor} {best["value"]!r} in epoch {best["epoch"]}']
    if not trainer.ready_made:  # eval.py builds data and model by their names
        lines.append(f'test it: python eval.py --load_model_path {shlex.quote(path)}')
    return lines


def interrupted_line(trainer):
    """Return what an interrupted run has left, and how to go on (str)."""
    if trainer.saved is None:
        return 'nothing was saved yet, so there is nothing to go on with'
    run = shlex.quote(trainer.args.model_dir)
    return f'last.pth holds {trainer.saved}; to go on: {launch.starter()} {program_of(trainer)} --resume {run}'


def place_line(trainer):
    """Return how far the training is (str): 'epoch 2 and batch 7 of epoch 3'."""
    parts = [f'epoch {trainer.epoch}'] if trainer.epoch else []
    parts += [f'batch {trainer.batch} of epoch {trainer.epoch + 1}'] if trainer.batch else []
    return ' and '.join(parts) or 'the beginning'
