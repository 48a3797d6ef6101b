"""List files of all tasks: lines that are right, in every spelling, lines that are wrong, and anything else."""

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from data.data_entry import DATASETS, complete_args
from options import parse_train_args
from scripts.dev.fuzzing.damage import damaged, damages
from utils.base.errors import DanluError
from utils.base.registry import load_entry

IMAGE_SIZE = (6, 8)  # height, width
PICTURES = ['a.png', 'b.jpg', 'c d.png', '猫/e.png', "it's.png", 'a,b.png', '#g.png']
MASKS = ['mask.png', '猫/mask 2.png']
# What the targets of a task look like: right ones with the sample's own form, and wrong ones.
TARGETS = {
    'classification': (
        {'0': 0, '1': 1, '2': 2, '+1': 1, '02': 2, 'z': 2},
        ['3', '-1', 'cat', '1.0', '9' * 30, '٣x', 'a.png'],
    ),
    'multilabel': ({'-': (), '0': (0,), 'x,z': (0, 2), '2,y,0': (0, 1, 2)}, ['3', '0,x', '0,', ',', 'cat', '0;1']),
    'regression': ({'0.5': 0.5, '-1e3': -1000.0, '7': 7.0}, ['nan', 'inf', '1e99', 'x', '1,5', 'a.png']),
    'segmentation': (dict.fromkeys(MASKS), ['a.png', 'wide.png', 'wrong.png', 'gone.png', 'torn.png', 'text.png']),
    'restoration': (dict.fromkeys(PICTURES[:5]), ['wide.png', 'gone.png', 'torn.png', 'text.png']),
}
WORDS = {
    'classification': ['--class_names', 'x', 'y', 'z'],
    'multilabel': ['--class_names', 'x', 'y', 'z'],
    'regression': ['--num_targets', '1'],
    'segmentation': ['--num_classes', '3'],
    'restoration': [],
}
BAD_PICTURES = ['gone.png', 'torn.png', 'text.png', '.', '猫', 'nul\0.png', '/dev/null']
NO_LINE = ('no line',)  # stands for the sample of a line that is passed over
NO_LINES = ['', ' ', '\t', '\x0c', '# a comment', '   # 1 2']
BAD_LINES = ['a.png', 'a.png,0', 'a.png\t0\t1\t\t', '\ta.png', '"a.png 0', 'a.png\t', '"" 0', '" "']


class Lists:
    """Lists of known and of unknown content, read as list and as mem_list."""

    def __init__(self, folder):
        self.folder, random = folder, np.random.default_rng(0)
        (folder / '猫').mkdir()

        def save(name, pixels):
            Image.fromarray(pixels).save(folder / name)

        for name in PICTURES:
            save(name, random.integers(0, 256, (*IMAGE_SIZE, 3), dtype=np.uint8))
        for name in MASKS:
            save(name, random.integers(0, 3, IMAGE_SIZE, dtype=np.uint8))
        save('wide.png', np.zeros((6, 9), np.uint8))
        save('wrong.png', np.full(IMAGE_SIZE, 77, np.uint8))
        save('torn.png', random.integers(0, 256, (*IMAGE_SIZE, 3), dtype=np.uint8))
        (folder / 'torn.png').write_bytes((folder / 'torn.png').read_bytes()[:-20])
        (folder / 'text.png').write_text('no picture')

    def cases(self):
        """Return the strategy of (task, kind of data, lines, end of lines, mark at the start, damage)."""
        marks = st.sampled_from(['', '', '\ufeff'])
        kinds, ends = st.sampled_from(['list', 'mem_list']), st.sampled_from(['\n', '\r\n', '\r'])
        hurt = st.one_of(st.just([]), st.just([]), damages())
        return st.one_of(
            *(st.tuples(st.just(task), kinds, lines_of(task), ends, marks, hurt) for task in TARGETS),
        )

    def check(self, case):
        """Read a list and all its samples; where its lines are known, they must be what comes out."""
        task, kind, lines, end, mark, steps = case
        data = mark + end.join(line for line, _ in lines)
        data = damaged(data.encode('utf-8', 'surrogateescape'), steps)
        (self.folder / 'list.txt').write_bytes(data)
        path = str(self.folder / 'list.txt')
        words = ['--data_type', kind, '--task', task, '--train_list', path, '--val_list', path, *WORDS[task]]
        samples = read(parse_train_args([*words, '--image_size', *map(str, IMAGE_SIZE), '--device', 'cpu']))
        if not steps:
            expected = [sample for _, sample in lines if sample is not NO_LINE]
            wrong = not expected or any(sample is None for sample in expected)
            assert (samples is None) == wrong, f'{"refused" if samples is None else "accepted"}: {data}'
            assert wrong or samples == expected, f'{samples} instead of {expected}'
        return 'refused' if samples is None else 'accepted'


def lines_of(task):
    """Return the strategy of a list of (line, its sample as `read` gives it; None: wrong; NO_LINE: none)."""
    right, wrong = TARGETS[task]
    joins = st.sampled_from(['\t', ' ', '  ', ' \t '])

    def good(picture, target, join):
        quotes = '"' if any(sign in picture + target for sign in ' #') and '\t' not in join else ''
        line = f'{quotes}{picture}{quotes}{join}{quotes}{target}{quotes}'
        return line, (picture, right[target])  # also '#g.png\t0', as the file exists

    pictures, targets = st.sampled_from(PICTURES), st.sampled_from(list(right))
    good_line = st.builds(good, pictures, targets, joins)
    bad = st.one_of(
        st.builds(lambda picture, target: f'{picture}\t{target}', st.sampled_from(BAD_PICTURES), targets),
        st.builds(lambda picture, target: f'{picture}\t{target}', st.just('a.png'), st.sampled_from(wrong)),
        st.sampled_from(BAD_LINES),
    ).map(lambda line: (line, None))
    none = st.sampled_from(NO_LINES).map(lambda line: (line, NO_LINE))
    all_good = st.lists(st.one_of(good_line, none), max_size=6)
    return st.one_of(all_good, all_good, st.lists(st.one_of(good_line, good_line, none, bad), max_size=6))


def read(args):
    """Return (name, target) of each sample of a list, having read them all, or None where it is refused."""
    try:
        complete_args(args)
        data = load_entry(DATASETS, args.data_type, 'kind of data')(args, 'train')
        samples = [data[index] for index in range(len(data))]
    except DanluError as error:
        assert str(error).strip(), 'an empty message'
        return None
    found = []
    for index, (image, target) in enumerate(samples):
        assert tuple(image.shape) == (args.channels, *IMAGE_SIZE), f'{tuple(image.shape)} instead of {IMAGE_SIZE}'
        found.append((data.name(index), plain(args.task, target)))
    return found


def plain(task, target):
    """Return a target as TARGETS has it."""
    if task == 'classification':
        return int(target)
    if task == 'multilabel':
        return tuple(target.nonzero()[:, 0].tolist())
    return float(target) if task == 'regression' else None
