"""report.html of eval.py --predict: a gallery of predictions without targets, sorted and filtered in the browser.

    page = GalleryPage(engine)                                  # before the first batch
    page.add(indices, names, results, images, outputs)          # for each batch
    page.write(path, facts, summary, damaged, damaged_count)    # at the end

Of many samples the gallery has a random selection and those with the least confident predictions, so that its size and
memory do not depend on their number. The layout is templates/gallery.html.
"""

import heapq
import random
from pathlib import Path

from utils import viz
from utils.base.atomic_write import atomic_writer
from utils.base.language import deferred, plural, translate
from utils.html_report.embedded_images import image_url, mask_layer, page_size, resized
from utils.html_report.sections import count_cell, named_facts, share_cell, table, value_cell
from utils.html_report.templating import environment
from utils.tasks.tasks import entry_names, has_pictures, task_of

MAX_RANDOM_CARDS, MAX_UNSURE_CARDS = 120, 60
MAX_CARD_SIDE = 320  # pixels
MAX_SORT_NUMBERS = 20  # numbers of a sample that the gallery sorts by
MAX_SUMMARY_ROWS = 1000


class Card:
    """A sample of the gallery.

    Attributes:
        index: among all samples.
        name, text: name of the sample, and its prediction as one line.
        groups: names of the predicted classes (list of str).
        numbers: dict from a name to a float.
        pixels: dict from a title to an (H, W, 3) uint8 array.
        mask: (H, W) labels, or None.
        size, panes: as of utils.html_report.sample_images.DrawnSample, set by `draw`.
    """

    def __init__(self, index, name, results, place):
        self.index, self.name, self.text = index, name, results.text(place)
        self.groups = [group for group, _ in results.groups(place)]
        self.numbers = dict(list(results.numbers(place).items())[:MAX_SORT_NUMBERS])
        self.pixels, self.mask, self.size, self.panes = {}, None, (1, 1), []

    def draw(self, colours):
        """Set `panes`; colours: of the classes, (K, 3) uint8 array, for a mask."""
        for title, rgb in self.pixels.items():
            self.size = page_size(rgb.shape, MAX_CARD_SIDE)
            self.panes.append((title, [{'href': image_url(resized(rgb, self.size))}]))
        if self.mask is not None:
            self.panes[0][1][0]['id'] = f'p{self.index}'
            overlay = mask_layer(self.mask, colours, self.size, 'mask')
            self.panes.append((deferred('prediction'), [{'of': f'p{self.index}'}, overlay]))


class GalleryPage:
    """The page of one prediction.

    Args:
        engine: utils.training.engine.Engine with the options and the colours.

    Raises:
        DanluError: Jinja2 is not installed.
    """

    def __init__(self, engine):
        self.environment, self.engine, self.args = environment(), engine, engine.args
        self.kind, self.random, self.seen = task_of(self.args).target, random.Random(self.args.seed), 0
        self.chosen, self.unsure = [], []  # random cards; a heap of (-confidence, -index, card)

    def add(self, indices, names, results, images, outputs):
        """Add a batch.

        Args:
            indices: of the samples among all (list of int).
            names: of the samples (list of str).
            results: utils.evaluation.unlabelled_results.Results of the batch.
            images, outputs: (B, ...), as Engine.step returns them.
        """
        wanted = [(place, *self._place_of(results.confidence(place))) for place in range(len(names))]
        wanted = [each for each in wanted if each[1] is not None or each[2]]
        if not wanted:
            return
        places = [place for place, _, _ in wanted]
        cards = [Card(indices[place], names[place], results, place) for place in places]
        if has_pictures(self.args):
            self._take_pixels(cards, images[places], outputs[places])
        for card, (place, slot, is_unsure) in zip(cards, wanted, strict=True):
            if slot is not None:
                self.chosen[slot : slot + 1] = [card]
            if is_unsure:
                add = heapq.heappush if len(self.unsure) < MAX_UNSURE_CARDS else heapq.heappushpop
                add(self.unsure, (-results.confidence(place), -card.index, card))

    def _place_of(self, confidence):
        """Return the place of the next sample among the random cards (int or None), and whether it is an unsure one."""
        slot, self.seen = self.seen, self.seen + 1
        if slot >= MAX_RANDOM_CARDS:  # each sample has the same chance to stay
            slot = self.random.randrange(self.seen)
        is_unsure = confidence is not None and (len(self.unsure) < MAX_UNSURE_CARDS or -confidence > self.unsure[0][0])
        return (slot if slot < MAX_RANDOM_CARDS else None), is_unsure

    def _take_pixels(self, cards, images, outputs):
        """Copy the pixels of cards to the CPU."""
        pixels = viz.drawable(viz.input_pixels(images, self.args))
        for card, image in zip(cards, pixels, strict=True):
            card.pixels[deferred('input') if self.kind in ('mask', 'picture') else ''] = viz.rgb_of(image)
        if self.kind == 'mask':
            for card, mask in zip(cards, outputs.max(1).indices.byte().cpu().numpy(), strict=True):
                card.mask = mask
        if self.kind == 'picture':
            for card, image in zip(cards, viz.drawable(viz.denormalise(outputs, [0.0], [1.0])), strict=True):
                card.pixels[deferred('output')] = viz.rgb_of(image)

    def write(self, path, facts, summary, damaged, damaged_count):
        """Write the page.

        Args:
            path: path of the file to write.
            facts: what was predicted (dict of str).
            summary: head (list of str, in English) and rows (lists) of the summary, see UnlabelledPass.summary_rows.
            damaged: (name, reason) of the first samples that could not be read.
            damaged_count: their number.
        """
        cards = {card.index: card for card in [*self.chosen, *(card for _, _, card in self.unsure)]}
        cards = [cards[index] for index in sorted(cards)]
        colours = self.engine.colours if self.kind == 'mask' else None
        for card in cards:
            card.draw(colours)
        classes = entry_names(self.args.num_classes, self.args.class_names) if task_of(self.args).has_classes else []
        legend = [] if colours is None else [
            (name, f'#{r:02x}{g:02x}{b:02x}') for name, (r, g, b) in zip(classes, colours.tolist(), strict=True)
        ]  # fmt: skip
        checkpoint = Path(facts['checkpoint'])
        text = self.environment.get_template('gallery.html').render(
            args=self.args,
            title=f'{checkpoint.absolute().parent.name}/{checkpoint.name}',
            facts=facts,
            named_facts=named_facts(facts),
            cards=cards,
            wide=self.kind in ('mask', 'picture'),
            legend=legend,
            summary=_summary_table(*summary),
            damaged=damaged,
            damaged_count=damaged_count,
            count=int(facts['samples']),
            data=[{'name': card.name, 'groups': card.groups, 'numbers': card.numbers} for card in cards],
        )
        with atomic_writer(path) as file:
            file.write(text)


def _summary_table(head, rows):
    """Return the section (dict) of the summary, or None without one."""
    if not rows:
        return None
    cells = {'samples': count_cell, 'share': share_cell}
    found = [
        [row[0], *(cells.get(name, value_cell)(value) for name, value in zip(head[1:], row[1:], strict=True))]
        for row in rows[:MAX_SUMMARY_ROWS]
    ]
    others = len(rows) - MAX_SUMMARY_ROWS
    more = plural(others, '{count:,} more row is in summary.txt.', '{count:,} more rows are in summary.txt.')
    note = translate(more, count=others) if others > 0 else ''
    return table(translate('Summary'), list(map(translate, head)), found, note)
