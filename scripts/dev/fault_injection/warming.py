"""Does, when it is imported, what is slow the first time: by the process that the others are forked from.

Draws a figure, so that matplotlib has its fonts. Nothing of torch: processes are not to be forked behind its threads.
"""

import io

from matplotlib.figure import Figure

figure = Figure(layout='constrained')
figure.subplots().plot([1, 2], [0.1, 0.2], label='x')
for ending in ('png', 'svg'):
    figure.savefig(io.BytesIO(), format=ending)
