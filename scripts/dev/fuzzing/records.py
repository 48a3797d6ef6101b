"""What runs and tests leave behind, with values of other types, out of range, nested deeply, missing or damaged."""

import contextlib
import io
import json
import math
import os
import random
import re
import shutil
from unittest import mock

import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image

from eval import main as test
from scripts.dev.fuzzing.damage import damaged, damages
from scripts.runs import main as look_up
from train import main as train
from utils.base.errors import DanluError, is_machine_error, message_of
from utils.base.registry import PROJECT
from utils.provenance import code_fingerprint
from utils.provenance.symbol_resolver import Source, SymbolResolver

RUN, OTHER = 'mlp_exp', 'mlp_exp_2'
RESULT = 'best/val_val_exp/result.txt'
PREDICTIONS = 'best/val_val_exp/predictions.csv'
SECRET = 'the line of a secret'  # in a file that only records name: nothing may ever show it
CHECKPOINTS = {f'{RUN}/best.pth': 26, f'{RUN}/last.pth': 14}  # with how many of a hundred cases are of it
TEXTS = {
    **{'ledger.jsonl': 10, f'{RUN}/record.json': 8, f'{RUN}/args.txt': 10, f'{RUN}/{RESULT}': 10},
    **{f'{RUN}/{PREDICTIONS}': 4, f'{RUN}/history.csv': 4, f'{RUN}/first_steps.jsonl': 2},
}
OWN = ['--device', 'cpu', '--num_workers', '0', '--threads', '1', '--batch_size', '4', '--no_report']
# What is looked up in runs; a list of all of them has to come out whatever is in one.
LISTS = [['list'], ['list', '--json'], ['list', '--csv', '--sort', 'best'], ['find-value', '0.5']]
LOOKED_UP = [
    *(['diff', RUN, OTHER], ['diff', OTHER, RUN, '--code'], ['command', RUN], ['note', RUN]),
    *(['seeds', f'{RUN}*'], ['compare', RUN, OTHER], ['compare-predictions', RUN, OTHER]),
]
NUMBERS = [True, False, 0, 1, 2, 3, -1, -(2**63), 1024, 2**31, 2**63, 10**30, 10**400, 0.5, -0.0, 1e308, 5e-324]
NUMBERS += [math.nan, math.inf, -math.inf]
STRINGS = ['', ' ', 'x', '0', '1e400', 'nan', '²', '٣', 'True', 'none', '\n', '\0', '\x1b[31m', '=1+1', '%s', '{}']
STRINGS += ['long ' * 20_000, '../../x', '/', '.', 'secret', 'lenet', 'ce', 'cosine', '--lr', '@secret', 'source.zip']
STRINGS += ['2026-11-29T06:00:00+00:00', '9999-12-31T23:59:59-23:59', 'é' * 300, 'unet', 'torchvision:resnet18']
NESTED_LISTS, MAX_DEPTH = 600, 8


class Records:
    """Files of a run and of its test, one of them changed, read by training, testing and runs.py."""

    def __init__(self, folder):
        self.folder, self.reader = folder, SymbolResolver(Source(PROJECT))
        (folder / 'secret').write_text(f'{SECRET} one\n{SECRET} two\n{SECRET} three\n', encoding='utf-8')
        make_pictures(folder)
        with self.surroundings():
            for _ in (RUN, OTHER):
                words = ['--data_type', 'list', '--train_list', 'train.txt', '--val_list', 'val.txt', '--epochs', '1']
                run_quietly(train, [*words, '--model_type', 'mlp', '--checkpoints_dir', 'runs', *OWN])
            for run in (RUN, OTHER):
                run_quietly(test, ['--load_model_path', f'runs/{run}/best.pth', *OWN])
        (folder / 'runs').rename(folder / 'original')

    @contextlib.contextmanager
    def surroundings(self, drawn=False):
        """Work in the folder, with a user's state of its own, and without what takes most of the time of a tiny run.

        That is reading the project's code again and, unless `drawn`, drawing curves.png.
        """
        figures = contextlib.nullcontext() if drawn else mock.patch('matplotlib.figure.Figure.savefig')
        with (
            contextlib.chdir(self.folder),
            mock.patch.dict(os.environ, XDG_STATE_HOME=str(self.folder / 'state')),
            figures,
            mock.patch.object(code_fingerprint, 'SymbolResolver', self.reader_of),
        ):
            yield

    def reader_of(self, source):
        """Return the SymbolResolver of a Source; that of the project is reused."""
        return self.reader if source.place == PROJECT else SymbolResolver(source)

    def cases(self):
        """Return the strategy of (file, changes of values or damage of bytes, how the file is used)."""
        shares = {**CHECKPOINTS, **TEXTS}
        files = st.sampled_from([name for name, share in shares.items() for _ in range(share)])
        changes = st.lists(st.tuples(POSITIONS, st.sampled_from(['replace', 'remove', 'add']), VALUES), max_size=3)
        bytes_ = st.tuples(st.just('bytes'), st.one_of(damages(1), damages()))
        values = st.tuples(st.just('values'), changes)
        return st.tuples(files, st.one_of(values, values, values, bytes_), st.integers(0, 5))

    def check(self, case):
        """Change a file of the runs and use it; return 'accepted' or 'refused'."""
        name, (kind, steps), use = case
        shutil.rmtree(self.folder / 'runs', ignore_errors=True)
        shutil.copytree(self.folder / 'original', self.folder / 'runs')
        path = self.folder / 'runs' / name
        if kind == 'bytes':
            path.write_bytes(damaged(path.read_bytes(), steps))
        else:
            change_file(path, steps)
        with self.surroundings(drawn=use == 1):
            outcomes = [outcome(*each) for each in uses_of(name, use)]
        assert kind == 'bytes' or steps or set(outcomes) == {'accepted'}, 'an unchanged file is refused'
        return min(outcomes, key=('refused', 'accepted').index)


def uses_of(name, use):
    """Return what reads a file of a run (list of (function, words, whether it may be refused)); `use` is any int."""
    resume = ['--resume', f'runs/{RUN}', '--epochs', '2', '--no_report']
    if name.endswith('best.pth'):
        begun = ['--data_type', 'list', '--train_list', 'train.txt', '--val_list', 'val.txt', '--dry_run']
        begun += ['--model_type', 'mlp', '--checkpoints_dir', 'runs', '--load_model_path', f'runs/{name}', *OWN]
        tested = ['--load_model_path', f'runs/{name}', *OWN]
        return [(train, begun, True)] if use == 0 else [(test, tested, True)]
    if name.endswith('last.pth'):
        copied = ['--resume', f'runs/{name}', '--as', 'copy', '--epochs', '2', '--no_report']
        return [(train, copied, True)] if use == 0 else [(train, resume, True)]
    lists = [(look_up, [*words, '--checkpoints_dir', 'runs'], False) for words in LISTS]
    others = [(look_up, [*words, '--checkpoints_dir', 'runs'], True) for words in LOOKED_UP]
    found = [lists[use % len(lists)], others[use], others[-1]]
    if name.endswith(('args.txt', 'record.json', 'history.csv')) and use in (0, 2):  # which takes longest
        found.append((train, resume if use else ['@runs/' + RUN + '/args.txt', '--dry_run', *OWN], True))
    if name.endswith(('ledger.jsonl', 'result.txt', 'predictions.csv')) and use == 0:
        found.append((test, ['--load_model_path', f'runs/{RUN}/best.pth', *OWN], True))
    return found


def outcome(function, words, may_refuse):
    """Return 'accepted' or 'refused', as a program with these words ends; AssertionError where a promise is broken."""
    said, stderr = io.StringIO(), io.StringIO()
    status, message = 0, None
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(stderr):
        try:
            function(words)
        except DanluError as error:
            status, message = error.status, message_of(error)
        except OSError as error:
            if not is_machine_error(error):
                raise
            status, message = 1, error.strerror
        except SystemExit as stop:
            status, message = stop.code, stderr.getvalue().removesuffix('\n')
    faults = is_list_of_faults(message or '')
    for text in (said.getvalue(), stderr.getvalue(), message or '') if not faults else ():
        assert SECRET not in text, f'{words}: a file that a record names is shown: {text[-500:]!r}'
    if message is None:
        return 'accepted'
    assert may_refuse, f'{words}: refused: {message}'
    assert status == 2, f'{words}: exit status {status}: {message}'
    assert faults or (message and not re.search('[\r\n]', message)), f'{words}: not one line: {message!r}'
    return 'refused'


def is_list_of_faults(message):
    """Return whether a message is of the lines of a list of samples, one of its own for each line (bool).

    A checkpoint may name any list of samples, which is read then, as a test is told by it what the run was tested on.
    """
    first, *others = message.split('\n')
    return (
        bool(others)
        and first.endswith(('; fix or remove it:', '; fix or remove them:'))
        and all(line.startswith('  ') for line in others)
    )


# --- changes of values

POSITIONS = st.floats(0, 1, exclude_max=True)
_PLAIN = st.one_of(st.sampled_from([None, *NUMBERS]), st.sampled_from(STRINGS), st.text(max_size=6))
_TENSORS = st.sampled_from(['empty', 'nan', 'one', 'integers', 'booleans', 'sparse', 'meta', 'large'])
VALUES = st.one_of(
    st.tuples(st.just('plain'), _PLAIN),
    st.tuples(st.just('list'), st.lists(_PLAIN, max_size=3)),
    st.tuples(st.just('lists'), st.lists(st.lists(_PLAIN, max_size=2), max_size=2)),
    st.tuples(st.just('dict'), st.dictionaries(st.sampled_from(['a', 'sha256', 'file', '']), _PLAIN, max_size=2)),
    st.tuples(st.just('deep'), st.booleans()),
    st.tuples(st.just('of torch'), _TENSORS),
)


def value_of(kind, value):
    """Return the value that a case of VALUES stands for."""
    if kind == 'deep':
        found = None
        for _ in range(NESTED_LISTS):
            found = [found] if value else {'a': found}
        return found
    if kind != 'of torch':
        return value
    return {
        'empty': lambda: torch.zeros(0),
        'nan': lambda: torch.full((3, 3), math.nan),
        'one': lambda: torch.ones(()),
        'integers': lambda: torch.arange(4),
        'booleans': lambda: torch.ones(2, 2, dtype=torch.bool),
        'sparse': lambda: torch.eye(3).to_sparse(),
        'meta': lambda: torch.float16,
        'large': lambda: torch.zeros(1).expand(10**6),
    }[value]()


def change_file(path, steps):
    """Change values in a file by steps of (place, what, value)."""
    if path.suffix == '.pth':
        state = torch.load(path, weights_only=True)
        for place, what, value in steps:
            state = changed(state, place, what, value_of(*value))
        torch.save(state, path)
        return
    if path.suffix in ('.json', '.jsonl'):
        change_json(path, steps)
        return
    lines = path.read_text(encoding='utf-8-sig').splitlines()
    for place, what, value in steps:
        lines = changed_line(lines, int(place * len(lines)), what, text_of(value_of(*value)))
    path.write_bytes('\n'.join([*lines, '']).encode('utf-8', 'surrogatepass'))


def change_json(path, steps):
    """Change values in a file of JSON, or of a line of JSON for each record."""
    text = path.read_text(encoding='utf-8')
    records = [json.loads(line) for line in text.splitlines()] if path.suffix == '.jsonl' else [json.loads(text)]
    for place, what, value in steps:
        value = value_of(*value)
        records = changed(records, place, what, str(value) if torch.is_tensor(value) else value)
        if not isinstance(records, list):
            records = [records]
    path.write_bytes('\n'.join([*(json.dumps(record, default=str) for record in records), '']).encode())


def way_to(value, place):
    """Return the way (list of keys) to a value within dicts, lists and tuples that a number (float) chooses."""
    choose, way = random.Random(place), []
    while len(way) < MAX_DEPTH and isinstance(value, dict | list | tuple) and len(value) and choose.random() < 0.8:
        way.append(choose.choice(list(value) if isinstance(value, dict) else range(len(value))))
        value = value[way[-1]]
    return way


def changed(value, place, what, new):
    """Return nested dicts and lists with a value replaced, removed, or one added beside it."""
    way, holders = way_to(value, place), [value]
    if not way:
        return new if what == 'replace' else value
    for key in way[:-1]:
        holders.append(holders[-1][key])
    for holder, key in zip(reversed(holders), reversed(way), strict=True):
        new, what = with_item(holder, key, what, new), 'replace'
    return new


def with_item(holder, key, what, new):
    """Return a copy of a dict, list or tuple with an item replaced, removed or added."""
    items = dict(holder) if isinstance(holder, dict) else list(holder)
    if what == 'remove':
        del items[key]
    elif what == 'replace':
        items[key] = new
    elif isinstance(items, dict):
        items[new if isinstance(new, str | int) else 'added'] = new
    else:
        items.insert(key, new)
    return tuple(items) if isinstance(holder, tuple) else items


def text_of(value):
    """Return a value as a line of text has it (str)."""
    return ' '.join(map(text_of, value)) if isinstance(value, list | tuple) else str(value)[:200_000]


def changed_line(lines, number, what, text):
    """Return lines (list of str) of which one is removed, one is added, or one has another value."""
    head, rest = lines[:number], lines[number + 1 :]
    if what == 'remove' or number >= len(lines):
        return [*head, *rest]
    if what == 'add':
        return [*head, lines[number], *text.split('\n'), *rest]
    mark = next((mark for mark in ('=', ': ', ',', ' ') if mark in lines[number]), ' ')
    return [*head, lines[number].partition(mark)[0] + mark + text, *rest]


# --- the runs


def make_pictures(folder):
    """Write 6 pictures for training and 6 for validation, of three classes by name, and their lists."""
    pixels = np.random.default_rng(0)
    for split in ('train', 'val'):
        lines = []
        for index in range(6):
            Image.fromarray(pixels.integers(0, 255, (8, 8, 3), np.uint8)).save(folder / f'{split}{index}.png')
            lines.append(f'{split}{index}.png\t{("yak", "ant", "cat")[index % 3]}\n')
        (folder / f'{split}.txt').write_text(''.join(lines), encoding='utf-8')


def run_quietly(function, words):
    """Call a program's main with words (list of str); what it prints is lost."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        function(words)
