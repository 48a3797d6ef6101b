"""Predicted over true values of a regression, for samples that are not images."""

import numpy as np

from utils.drawing.colours import OKABE_ITO
from utils.drawing.fonts import families_of
from utils.drawing.matplotlib_import import import_matplotlib

MAX_SCATTER_TARGETS = len(OKABE_ITO)


def scatter(predictions, targets, names=None):
    """Draw predicted over true values, a colour per target; they are equal on the line.

    Args:
        predictions, targets: (N, T) or (N,), floating point. The first seven targets are drawn.
        names: of the T targets (list of str), or None: they are numbered from 1.

    Returns:
        (H, W, 3) uint8 array, or None unless there are as many predictions as targets (a network may add a variance).
    """
    if predictions.numel() != targets.numel():
        return None
    # As in utils.drawing.curves: imported on use, as this takes a second, and without pyplot.
    import_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    true, predicted = (
        part.cpu().float().numpy().reshape(len(part), -1)[:, :MAX_SCATTER_TARGETS] for part in (targets, predictions)
    )
    named, names = names is not None, names or [f'target {number}' for number in range(1, true.shape[1] + 1)]
    figure = Figure(figsize=(4.2, 4.2), dpi=100, layout='constrained')
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    for column in range(true.shape[1]):
        colour = [level / 255 for level in OKABE_ITO[column]]
        axes.plot(true[:, column], predicted[:, column], '.', color=colour, label=names[column], ms=4)
    finite = np.concatenate([true, predicted])
    finite = finite[np.isfinite(finite)]
    if len(finite):
        axes.axline((finite.min(), finite.min()), slope=1, color='grey', lw=0.8)
    axes.set(xlabel='true', ylabel='predicted')
    if true.shape[1] == 1 and named:
        axes.set_title(names[0], fontfamily=families_of(names))
    axes.grid(alpha=0.3)
    if true.shape[1] > 1:
        axes.legend(prop={'family': families_of(names)})
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
