"""Warm-up in the process that training processes are forked from: importing this module draws a matplotlib figure.

Does not use torch, as forking after torch has started threads is unsafe.
"""

import io

from matplotlib.figure import Figure

figure = Figure(layout='constrained')
figure.subplots().plot([1, 2], [0.1, 0.2], label='x')
for ending in ('png', 'svg'):
    figure.savefig(io.BytesIO(), format=ending)
