"""Random command lines and args files for train.py and eval.py."""

import contextlib
import io
import re

from hypothesis import strategies as st

from options import parse_test_args, parse_train_args, save_args, test_parser, train_parser
from utils.base.registry import read_registry
from utils.options.args_file import options_of
from utils.options.arguments import names_of

NUMBERS = ['0', '1', '2', '3', '10', '255', '-1', '0.5', '1e-3', '1e400', 'nan', '-inf', '1_0', ' 7', '٣', '2,3']
NUMBERS += ['9' * 30, '9' * 5000, '1/2', '0x10', '1e5', '-0']
WORDS = ['', ' ', 'ten', 'a b', '猫', 'a=1', 'width=8', 'a=b=c', 'x=[1,', 'fc=0.1', '..', '/', 'a/b', '~', '~nobody/x']
WORDS += ['-', '--', '--no_', '-5', '—lr', '@', '"', "'", '#', '%s', '%(default)s', '{}', '\t', '\n', '\0', 'é' * 300]
WORDS += ['\ud800', 'val/acc', 'val/loss', 'train/', 'ce+0.5*dice', '0*ce', 'ce+ce', 'torchvision:resnet18', 'timm:x']
FILES = ['train.txt', 'val.txt', 'pictures', 'model.pth', 'names.txt', 'gbk.txt', 'table.csv', 'shard.tar', 'run']
FILES += ['missing.txt', 'run/last.pth', 'run/args.txt', 'train.txt/x', '.']
REGISTRIES = [
    *(('model.model_entry', 'MODELS'), ('data.data_entry', 'DATASETS'), ('loss', 'LOSSES'), ('metrics', 'METRICS')),
    *(('data.augment', 'AUGMENTS'), ('utils.training.optim', 'OPTIMIZERS')),
    ('utils.training.optim', 'SCHEDULES'),
]
# Words that go together, so that more than the first check of a command line is reached.
FITTING = [
    ['--data_type', 'list', '--train_list', 'train.txt', '--val_list', 'val.txt'],
    ['--data_type', 'mem_list', '--train_list', 'train.txt', '--val_list', 'val.txt'],
    ['--data_type', 'folder', '--train_list', 'pictures', '--val_list', 'pictures'],
    ['--data_type', 'stream', '--train_list', 'shard.tar', '--val_list', 'pictures', '--num_classes', '3'],
    ['--data_type', 'array', '--train_list', 'table.csv', '--val_list', 'table.csv'],
    ['--task', 'segmentation', '--num_classes', '3'],
    ['--task', 'regression'],
    ['--task', 'multilabel'],
    ['--task', 'restoration', '--data_type', 'noisy_digits'],
    ['--schedule', 'cosine', '--lr_min', '1e-5'],
]
TRAINED = [
    [],
    ['--image_size', '8', '--mean', '0.5', '--std', '0.5', '--channels', '1', '--num_classes', '3'],
    [*FITTING[0], '--task', 'segmentation', '--num_classes', '3', '--loss', 'ce+dice'],
    [*FITTING[4], '--task', 'regression', '--num_targets', '2'],
]


class Options:
    """Command lines: subsets of the options with values of their own, of others, and of no option."""

    def __init__(self, folder):
        self.folder = folder
        for name in ('train.txt', 'val.txt', 'model.pth', 'table.csv', 'shard.tar'):
            (folder / name).write_text('')
        (folder / 'pictures').mkdir()
        (folder / 'names.txt').write_text('cat\ndog\n')
        (folder / 'gbk.txt').write_bytes('猫'.encode('gbk'))
        (folder / 'run').mkdir()
        (folder / 'run' / 'last.pth').write_text('')
        with contextlib.chdir(folder):
            save_args(parse_train_args(['--checkpoints_dir', '.']), 'run')
            self.trained = [vars(parse_train_args(['--checkpoints_dir', '.', *words])) for words in TRAINED]

    def cases(self):
        """Return the strategy of (program, words, number of what the checkpoint says)."""
        return st.one_of(
            st.tuples(st.just('train.py'), command_lines(train_parser()), st.none()),
            st.tuples(st.just('eval.py'), command_lines(test_parser()), st.integers(0, len(TRAINED))),
        )

    def check(self, case):
        """Parse a command line; what is accepted must be read back from its args.txt."""
        program, words, trained = case
        with contextlib.chdir(self.folder):
            return self.parse(program, words, trained)

    def parse(self, program, words, trained):
        """Return 'accepted' or 'refused'; AssertionError where a promise is broken."""
        known = None if not trained else self.trained[trained - 1]

        def parsed(argv):
            if program == 'train.py':
                return parse_train_args(['--checkpoints_dir', '.', *argv])
            return parse_test_args(['--checkpoints_dir', '.', '--load_model_path', 'model.pth', *argv], known)

        args = accepted(parsed, words)
        if args is None:
            return 'refused'
        save_args(args, self.folder)
        again = accepted(parsed, [f'@{self.folder / "args.txt"}'])
        assert again is not None, 'the args.txt of an accepted command line is refused'
        not_repeated = names_of(args, repeated=False)
        for name, value in vars(args).items():
            same = name in not_repeated or getattr(again, name) == value
            assert same, f'--{name} is {value!r}, and {getattr(again, name)!r} when it is read back'
        return 'accepted'


class ArgsFiles(Options):
    """Args files: lines of options, of anything, and bytes that are no text."""

    def cases(self):
        """Return the strategy of the content of a file (bytes)."""
        words = command_lines(train_parser()).map(lambda words: [word.encode('utf-8', 'replace') for word in words])
        separators = st.sampled_from([b' ', b'\n', b'\r\n', b'\t', b'\n# comment\n', b' # ', b'\n\n'])
        lines = st.builds(lambda words, separator: separator.join(words), words, separators)
        anything = st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode('utf-8')))
        inclusion = st.sampled_from([b'@args_file.txt', b'@missing.txt', b'@run/args.txt', b'"@x"', b'\xef\xbb\xbf'])
        return st.lists(st.one_of(lines, anything, inclusion), max_size=3).map(b'\n'.join)

    def check(self, case):
        """Parse a command line that names a file with the content `case`."""
        (self.folder / 'args_file.txt').write_bytes(case)
        with contextlib.chdir(self.folder):
            return self.parse('train.py', ['@args_file.txt'], None)


def accepted(parse, words):
    """Return what parse(words) makes of a command line, or None where it refuses it as it should."""
    with contextlib.redirect_stderr(io.StringIO()) as stderr, contextlib.redirect_stdout(io.StringIO()) as stdout:
        try:
            return parse(words)
        except SystemExit as stop:
            code = stop.code
    if code == 0 and stdout.getvalue().startswith('usage: '):  # --help
        return None
    said = stderr.getvalue()
    assert code == 2, f'exit code {code}'
    lines = re.split('[\r\n]', said.removesuffix('\n'))
    assert len(lines) == 1 and re.match(r'(train|eval)\.py: error: .', said), f'not one line: {said!r}'
    return None


def command_lines(parser):
    """Return the strategy of the words (list of str) of a command line."""
    options = [action for action in options_of(parser) if action.dest != 'checkpoints_dir']
    names = [name for module, registry in REGISTRIES for name in read_registry(module, registry)]
    values = st.one_of(
        *(st.sampled_from(pool) for pool in (NUMBERS, WORDS, FILES, names)),
        st.text(max_size=8),
        st.floats().map(str),
    )
    one = st.one_of(*(_of_option(action, values) for action in options))
    odd = st.one_of(st.sampled_from(FITTING), st.lists(values, min_size=1, max_size=2), st.just(['--help']))
    fitting = st.sampled_from(FITTING)
    parts = st.one_of(
        st.lists(fitting, max_size=2),
        st.builds(lambda first, others: [first, *others], fitting, st.lists(one, max_size=2)),
        st.lists(st.one_of(one, one, one, fitting, odd), max_size=6),
    )
    return parts.map(lambda parts: [word for part in parts for word in part])


def _of_option(action, values):
    """Return the strategy of the words of one option."""
    own = list(action.choices or getattr(action.type, 'names', None) or NUMBERS[:9])
    value = st.one_of(st.sampled_from(own), st.sampled_from(own), values)
    spelling = st.sampled_from([*action.option_strings, action.option_strings[0].replace('_', '-')])
    if action.nargs == 0:
        return spelling.map(lambda name: [name])
    if action.default not in (None, '') and not isinstance(action.default, bool):
        value = st.one_of(st.just(str(action.default)), value)
    several = st.builds(lambda name, found: [name, *found], spelling, st.lists(value, min_size=0, max_size=3))
    return st.one_of(
        st.builds(lambda name, found: [name, found], spelling, value),
        st.builds(lambda name, found: [f'{name}={found}'], spelling, value),
        several,
    )
