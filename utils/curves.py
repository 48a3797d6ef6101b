"""curves.png: loss and metrics over the epochs."""

import os
from pathlib import Path


def draw_curves(history, path):
    """Draw one panel per value, training against validation.

    Args:
        history: rows (dicts) with 'epoch' and values named 'train/loss', 'val/loss', 'lr' ...
        path: PNG file, replaced in one step.
    """
    # Imported here: it takes a second, which a run that ends at once need not wait for. No pyplot: no window, no state.
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [row['epoch'] for row in history]
    titles = list(dict.fromkeys(name.partition('/')[2] for row in history for name in row if '/' in name))
    columns = min(3, len(titles))
    rows = -(-len(titles) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.2 * rows), layout='constrained')
    for position, title in enumerate(titles, 1):
        axes = figure.add_subplot(rows, columns, position)
        for split, colour in (('train', '#0072B2'), ('val', '#D55E00')):
            name = f'{split}/{title}'
            if any(name in row for row in history):
                values = [row.get(name, float('nan')) for row in history]
                axes.plot(epochs, values, color=colour, label=split, marker='o' if len(epochs) < 30 else None, ms=3)
        axes.set(title=title, xlabel='epoch')
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    path = Path(path)
    partial = path.with_name(path.stem + '.partial.png')
    figure.savefig(partial, dpi=100)
    os.replace(partial, path)
