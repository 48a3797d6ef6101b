"""An ArgumentParser with args files, both spellings of names, one-line errors with hints, and argument types.

options.py has the options. Imports no torch, so that `--help` answers at once.
"""

import argparse
import ast
import contextlib
import copy
import difflib
import errno
import io
import keyword as keyword_module
import math
import os
import re
import sys

from utils.base.errors import DanluError, readable
from utils.base.registry import unknown_name
from utils.base.regular_files import read_regular_text
from utils.base.synonyms import same_names
from utils.options.library_names import in_libraries

# A word of an args file: quoted and plain parts in any order, or a comment, which starts only where a word can start.
WORD = re.compile(r'\s*(?:(?P<comment>#.*)|(?P<word>(?:"[^"]*"|\'[^\']*\'|[^\s"\'])+))')
QUOTED = re.compile(r'"([^"]*)"|\'([^\']*)\'')
# argparse takes -1 and -.5 as values, but -1e-05 as an option.
NEGATIVE = re.compile(r'-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$|-(inf|infinity|nan)$', re.IGNORECASE)
DASHES = '-‐‑–—−'  # word processors and web pages replace the first by the others
STORED = 'stored'  # --mask_values: the pixel values are the labels
# A line of args.txt cannot hold line breaks and bytes that are not UTF-8.
UNRECORDABLE = re.compile(r'[\x00\n\r\ud800-\udfff]')
BALANCED = 'balanced'  # --class_weights: computed from the training data
MAX_WORD_CHARS = 200  # in a message
SMALLEST_FLOAT32, LARGEST_FLOAT32 = 2.0**-126, (2 - 2.0**-23) * 2.0**127
NO_LIST = 'none'  # --val_list: no validation
SAME = object()  # before=: the default


class Quoted(str):
    """A quoted word of an args file: always a value, even if it begins with - or @."""


# Keywords of add_argument besides those of argparse -> their defaults.
KEYWORDS = {
    'before': SAME,
    'needs': None,
    'concerns': None,
    'repeated': True,
    'experiment': None,
    'changeable': None,
    'from_checkpoint': False,
    'reset_by': (),
    'replaced_by': (),
    'typed_only': False,
    'brief': None,
}
PLAIN_KEYWORDS = ('repeated', 'experiment', 'changeable', 'from_checkpoint', 'replaced_by')  # can be pickled


class OptionKeywords:
    """Keywords of `add_argument` that hold everything about an option; they become attributes of the action.

    before: the value that records without the option imply, or a function of the record (dict); default: the default.
    needs: utils.options.needs.Need: what the option needs to have an effect; default: nothing.
    concerns: function(options) -> whether the option has an effect, for the log; without effect it is not refused.
    repeated: whether `@args.txt` of a run sets the option again.
    experiment: whether the value defines the experiment. Runs that differ in other options only are the same
        experiment. Default: as `repeated`.
    changeable: whether a resumed run may get another value. Default: the opposite of `experiment`.
    from_checkpoint: whether a test takes the value from the checkpoint if the command line leaves the option out.
    reset_by: names of options. If a test gets another value of one of them than the run, this option is not taken from
        the checkpoint.
    replaced_by: the ready-made parts of train.Trainer ('loss', 'optimizer' ...) that replace the option.
    typed_only: whether args files, which may come from others, cannot set the option.
    brief: the text (str) of one of the usual options in --help, which shows only these; --help all shows `help`.
    """

    defaults = {}

    def add_argument(self, *names, **keywords):
        """Add an option; missing KEYWORDS come from the `defaults` (dict) of the group, `metavar` from the type."""
        declared = {name: keywords.pop(name, self.defaults.get(name, value)) for name, value in KEYWORDS.items()}
        if hasattr(keywords.get('type'), 'metavar'):
            keywords.setdefault('metavar', keywords['type'].metavar)
        action = super().add_argument(*names, **keywords)
        if declared['experiment'] is None:
            declared['experiment'] = declared['repeated']
        if declared['changeable'] is None:
            declared['changeable'] = not declared['experiment']
        vars(action).update(declared)
        return action


def names_of(args, **keywords):
    """Return the same names (set of str) as `Parser.names`, for options (Namespace) that a MigratingParser returned."""
    declared = getattr(args, 'keywords', {})
    return {name for name, known in declared.items() if all(known[key] == value for key, value in keywords.items())}


class OptionGroup(OptionKeywords, argparse._ArgumentGroup):
    """A group of a Parser's options. `key` is the word that --help takes: by default the first one of its title."""

    @property
    def key(self):
        """The key (str): 'machine'."""
        return self.own_key or self.title.split()[0].rstrip(',')

    def options(self):
        """Return the options (list of argparse.Action) but for --help, in the order of the help."""
        return [option for option in self._group_actions if option.dest != 'help']

    def put_first(self, name):
        """Move an option (name: str) to the front of the help."""
        self._group_actions.sort(key=lambda option: option.dest != name)


class Parser(OptionKeywords, argparse.ArgumentParser):
    """ArgumentParser with `@args.txt`, `--weight-decay` for `--weight_decay`, and one-line errors."""

    def __init__(self, **kwargs):
        super().__init__(allow_abbrev=False, formatter_class=HelpFormatter, **kwargs)

    def add_argument_group(self, *words, **keywords):
        """Add and return an OptionGroup; KEYWORDS given here are the defaults of its options."""
        defaults, key = {name: keywords.pop(name) for name in KEYWORDS if name in keywords}, keywords.pop('key', None)
        group = OptionGroup(self, *words, **keywords)
        group.defaults, group.own_key = defaults, key
        self._action_groups.append(group)
        return group

    def groups(self):
        """Return the OptionGroups (list) that have options."""
        return [group for group in self._action_groups if isinstance(group, OptionGroup) and group.options()]

    def options(self):
        """Return the options of all groups (list of argparse.Action) in the order of the help."""
        return [option for group in self.groups() for option in group.options()]

    def names(self, **keywords):
        """Return the names (list of str) of the options with these KEYWORDS, such as repeated=False, in their order."""
        actions = (action for action in self._actions if action.dest != 'help')
        return [a.dest for a in actions if all(getattr(a, key) == value for key, value in keywords.items())]

    def keywords(self):
        """Return the PLAIN_KEYWORDS of each option: dict from its name to a dict."""
        return {a.dest: {key: getattr(a, key) for key in PLAIN_KEYWORDS} for a in self._actions}

    def parse_known_args(self, args=None, namespace=None):
        self._words = sys.argv[1:] if args is None else list(args)
        self._typed = {name for word in self._words if (name := self._name_of(word)) is not None}
        words = self._expanded(self._words)
        self._given = {name for word in words if (name := self._name_of(word)) is not None}
        self._given |= set() if namespace is None else {*vars(namespace)}
        return super().parse_known_args(words, namespace)

    def _name_of(self, word):
        """Return the name (str) of the option that a word of the command line sets, or None."""
        option = underscored(str(word)).partition('=')[0]
        action = None if isinstance(word, Quoted) else self._option_string_actions.get(option)
        return None if action is None else action.dest

    def parse_args(self, args=None, namespace=None):
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(self._unknown_option(unknown[0]))
        return parsed

    def error(self, message):
        """Print one line and exit with 2, without the usage of all options."""
        message = re.sub('[\r\n]+', ' ', message)
        message = re.sub('ignored explicit argument .*', 'takes no value', message)
        message = re.sub('^(argument (--.*): expected one argument)$', r'\1 (if it begins with -: \2=-...)', message)
        self.exit(2, f'{self.prog}: error: {readable(message)} (see {self.prog} --help)\n')

    def given(self, argv=None):
        """Return the options that `argv` sets (dict name -> value), without defaults."""
        parsed = self.parse_args(argv)
        return {name: getattr(parsed, name) for name in self._given}

    def _expanded(self, words, opened=()):
        """Return the words with underscores in the names of options, and with the words of each `@file`.

        fromfile_prefix_chars of argparse takes quoted values that begin with - or @ as options or files, and its
        messages do not name the file.
        """
        expanded = []
        for word in words:
            if isinstance(word, Quoted):
                expanded.append(word)
            elif str(word).startswith('@'):
                path = os.path.expanduser(str(word)[1:])
                if '\0' in path:
                    self.error(f'args file {path!r}: no valid file name')
                if os.path.realpath(path) in opened:
                    self.error(f'args file {path!r} includes itself')
                expanded += self._expanded(self._words_of(path), (*opened, os.path.realpath(path)))
            else:
                expanded.append(underscored(str(word)))
        return expanded

    def _words_of(self, path):
        """Return the words of an args file (list of str, Quoted if in quotes)."""
        words = []
        for number_of_line, line in enumerate(self._lines_of(path), 1):
            place = f'args file {path!r}, line {number_of_line}'
            words += split_line(line, lambda message, place=place: self.error(f'{place}: {message}'))
        return words

    def _lines_of(self, path):
        """Return the lines of an args file (list of str)."""
        if os.path.isdir(path):
            self.error(f'args file {path!r} is a directory; name the file, @{os.path.join(path, "args.txt")}')
        if not os.path.exists(path):
            self.error(f'args file {path!r} does not exist (looked in {os.getcwd()})')
        if not os.path.isfile(path):
            self.error(f'args file {path!r} is a pipe or a device; it is read more than once, so give a file')
        try:
            return read_regular_text(path, encoding='utf-8-sig').split('\n')
        except UnicodeDecodeError:
            self.error(f'args file {path!r} is not UTF-8 text')
        except OSError as error:
            self.error(f'args file {path!r} cannot be read: {error.strerror}')

    def _parse_optional(self, arg_string):
        """Decide for argparse whether a word is an option; None: it is a value."""
        if isinstance(arg_string, Quoted) or NEGATIVE.match(arg_string):
            return None
        return super()._parse_optional(arg_string)

    def _get_values(self, action, arg_strings):
        """Refuse `--` among the values of an option, which argparse drops."""
        if '--' in arg_strings:
            raise argparse.ArgumentError(action, "'--' is no value")
        return super()._get_values(action, arg_strings)

    def _get_value(self, action, arg_string):
        """Convert a word for argparse; as str, since checkpoints must not contain Quoted."""
        return super()._get_value(action, str(arg_string))

    def _unknown_option(self, word):
        name = word.partition('=')[0]
        bare = name.lstrip(DASHES)
        options = {known.removeprefix('--'): known for known in self._option_string_actions if known.startswith('--')}
        if isinstance(word, Quoted) or not bare or bare == name:
            same = [options[known] for known in same_names(bare, options)]
            return f'{str(word)!r} belongs to no option' + (f'; did you mean {" or ".join(same)}?' if same else '')
        wanted = bare.lower().replace('-', '_')
        same = [wanted] if wanted in options else same_names(wanted.removeprefix('no_'), options)
        close = same or difflib.get_close_matches(wanted, options, n=1, cutoff=0.9)
        close = close or difflib.get_close_matches(wanted, options, n=2)
        hint = f'; did you mean {" or ".join(options[known] for known in close)}?' if close else ''
        return f'unknown option {name}{hint}'


class HelpFormatter(argparse.HelpFormatter):
    """Adds the default to the help of options that have one; shows `--a_b` only, if there is `--a-b` too."""

    def _format_action_invocation(self, action):
        shown = copy.copy(action)
        shown.option_strings = list(dict.fromkeys(map(underscored, action.option_strings)))
        return super()._format_action_invocation(shown)

    def _get_help_string(self, action):
        told = '(default: ' in (action.help or '')
        if told or action.default in (None, argparse.SUPPRESS) or isinstance(action.default, bool) or action.nargs == 0:
            return action.help
        return f'{action.help} (default: %(default)s)'


class Flag(argparse.Action):
    """`--name` and `--no_name`, so that the command line can turn off what an args file turned on."""

    def __init__(self, option_strings, dest, default=False, help=None):
        super().__init__([*option_strings, f'--no_{dest}'], dest, nargs=0, default=default, help=help)

    def __call__(self, parser, namespace, values, option_string=None):
        """Store whether the spelling without `no_` was used."""
        setattr(namespace, self.dest, not option_string.startswith('--no_'))


def underscored(word):
    """Return a word with underscores in the name of its option: '--weight-decay=1' -> '--weight_decay=1'."""
    if not word.startswith('--'):
        return word
    name, equals, value = word.partition('=')
    return '--' + name[2:].replace('-', '_') + equals + value


def split_line(line, error):
    """Return the words of a line of an args file (list of str, Quoted if they begin with a quote).

    `#` starts a comment, quotes protect blanks; `error(message)` is called for an unclosed quote.
    """
    words, position, line = [], 0, line.rstrip()
    while position < len(line):
        match = WORD.match(line, position)
        if match is None:
            error(f'unclosed quote: {line}')
        if match['comment'] is None:
            text = QUOTED.sub(lambda quoted: quoted[1] or quoted[2] or '', match['word'])
            words.append(Quoted(text) if match['word'][0] in '"\'' else text)
        position = match.end()
    return words


def quote(value):
    """Return a plain value as one word (str) of an args file, which `split_line` reads back."""
    text = str(value)
    if text and not re.search(r'[\s"\'#]', text) and not (isinstance(value, str) and text[0] in '-@'):
        return text
    return '"' + text.replace('"', '"\'"\'"') + '"'


def option_line(name, value):
    """Return the line (str) of an args file that sets an option; a comment for None."""
    if value is None:
        return f'# --{name} (not set)'
    if value == []:
        return f'# --{name} (none)'  # the size of samples that are no images
    if isinstance(value, bool):
        return f'--{name}' if value else f'--no_{name}'
    if isinstance(value, list | tuple):
        return ' '.join([f'--{name}', *map(quote, value)])
    return f'--{name}={quote(value)}'


def from_keywords(parse, options):
    """Return what `parse` makes of options (dict as words); raise its one-line error as a DanluError."""
    words = []
    for name, value in options.items():
        name = name.removesuffix('_') if keyword_module.iskeyword(name.removesuffix('_')) else name  # as_='copy'
        if isinstance(value, bool):
            words.append(f'--{name}' if value else f'--no_{name}')
        elif isinstance(value, list | tuple):
            words += [f'--{name}', *map(str, value)]
        elif value is not None:
            words.append(f'--{name}={value}')
    try:
        with contextlib.redirect_stderr(io.StringIO()) as said:
            return parse(words)
    except SystemExit:
        raise DanluError(said.getvalue().strip().partition('error: ')[2]) from None


def with_metavar(metavar):
    """Return a decorator of argparse types: --help shows `metavar` (str) where add_argument gives none."""

    def decorate(convert):
        convert.metavar = metavar
        return convert

    return decorate


def number(cast, low=None, high=None, above=None, below=None):
    """Return an argparse type: `cast` (int or float) and finite, low <= x <= high, above < x < below."""
    limits = [(low, 'at least'), (above, 'more than'), (high, 'at most'), (below, 'less than')]
    wanted = ' and '.join(f'{word} {limit}' for limit, word in limits if limit is not None)
    kind = 'a whole number' if cast is int else 'a number'

    def convert(text):
        shown = shorten_text(text)
        try:
            value = cast(text)
        except ValueError:
            hint = '; separate several by blanks, not commas' if ',' in text else ''
            raise argparse.ArgumentTypeError(f'{shown!r} is not {kind}{hint}') from None
        if cast is float and not math.isfinite(value):
            raise argparse.ArgumentTypeError(f'must be finite, got {shown}')
        fits = (low is None or value >= low) and (high is None or value <= high)
        if not (fits and (above is None or value > above) and (below is None or value < below)):
            raise argparse.ArgumentTypeError(f'must be {wanted}, got {shown}')
        if cast is int and (fault := unfit_for_tensors(value)):
            raise argparse.ArgumentTypeError(f'{fault}, got {shown}')
        return value

    convert.metavar = 'N' if cast is int else 'X'
    return convert


def shorten_text(text):
    """Return a text (str) for messages: without its middle if it is long, as the end of a path matters."""
    half = MAX_WORD_CHARS // 2
    return text if len(text) <= MAX_WORD_CHARS else f'{text[:half]}...{text[-half:]}'


def unfit_for_tensors(value):
    """Return why a number (int or float) does not fit into int64 or float32 (str), or None."""
    if isinstance(value, int):
        return None if -(2**63) <= value < 2**63 else 'must lie between -2^63 and 2^63'
    if value and not SMALLEST_FLOAT32 <= abs(value) <= LARGEST_FLOAT32:
        size = 'small' if abs(value) < 1 else 'large'
        return f'too {size} for float32, which takes 0 and {SMALLEST_FLOAT32:.2g} to {LARGEST_FLOAT32:.2g}'
    return None


MAX_CLASSES = 2**24


@with_metavar('N')
def class_count(text):
    """Return a number of classes (int); 1 means two classes with one output."""
    return 1 if text.strip() == '1' else number(int, low=2, high=MAX_CLASSES)(text)


@with_metavar('N')
def mask_value(text):
    """Check a word of --mask_values and return it: a value of 0..65535 (int), or 'stored'."""
    return text if text == STORED else number(int, low=0, high=65535)(text)


@with_metavar('COLOUR')
def colour(text):
    """Check a colour #rrggbb and return it in lower case (str)."""
    if not re.fullmatch('#[0-9a-fA-F]{6}', text):
        raise argparse.ArgumentTypeError(f'{text!r} is no colour #rrggbb (quote it in a shell)')
    return text.lower()


def registered(what, names, prefixes=()):
    """Return an argparse type: one of `names`, or any name after one of `prefixes` ('torchvision:')."""

    def convert(text):
        theirs = any(text.startswith(prefix) and text != prefix for prefix in prefixes)
        if text in names or (theirs and not UNRECORDABLE.search(text)):
            return text
        known = [*names, *(f'{prefix}<name>' for prefix in prefixes)]
        if prefixes and not same_names(text, names) and (meant := in_libraries(text, prefixes)):
            meant = f'; did you mean {" or ".join(meant)}? (known: {", ".join(sorted(known))})'
            raise argparse.ArgumentTypeError(f'unknown {what} {text!r}{meant}')
        theirs = ' or '.join(prefix + text for prefix in prefixes if text and ':' not in text)
        hint = f', or {theirs} for a model of a library' if theirs else ''
        raise argparse.ArgumentTypeError(unknown_name(what, text, known) + hint)

    convert.names, convert.metavar = [*names, *prefixes], 'NAME'  # names: for shell completion
    return convert


def model_name(models, libraries):
    """Return an argparse type: one of `models`, 'torchvision:<name>' and the like, or 'source:<class>'."""
    named = registered('model', models, libraries)

    def convert(text):
        return text if re.fullmatch(r'source:[^\W\d]\w*', text) else named(text)

    convert.names, convert.metavar = named.names, 'NAME'
    return convert


@with_metavar('X')
def class_weight(text):
    """Return a word of --class_weights: a number of 0 or more (float), or BALANCED (str)."""
    if text == BALANCED:
        return text
    weight = number(float, low=0)(text)
    if fault := unfit_for_tensors(weight):
        raise argparse.ArgumentTypeError(f'{shorten_text(text)}: {fault}')
    return weight


@with_metavar('PART=X')
def share_of_lr(text):
    """Check a word 'PART=X' of --lr_of, X a number of 0 or more, and return it (str)."""
    part, equals, share = text.rpartition('=')
    if not (part and equals):
        raise argparse.ArgumentTypeError(f'{text!r} is not PART=X, for example backbone=0.1')
    number(float, low=0)(share)
    return text


@with_metavar('NAME')
def monitored(text):
    """Check the name of a value in history.csv, such as acc or val_acc, and return it as 'val/acc' (str)."""
    split, slash, name = re.sub('^(train|val)_', r'\1/', text).rpartition('/')
    if split not in ('train', 'val', '') or (slash and not split) or not name:
        raise argparse.ArgumentTypeError(f'{text!r} is no column of history.csv such as val/acc or train/loss')
    return f'{split or "val"}/{name}'


@with_metavar('NAME=VALUE')
def keyword(text):
    """Check a word 'NAME=VALUE' of --model_args and return it (str)."""
    name, equals, value = text.partition('=')
    if not (name.isidentifier() and equals and value):
        raise argparse.ArgumentTypeError(f'{text!r} is not NAME=VALUE, for example width=32')
    return text


def keyword_values(words):
    """Return words 'NAME=VALUE' as a dict; a VALUE that is no Python literal is a str."""
    values = {}
    for word in words:
        name, _, text = word.partition('=')
        try:
            values[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            values[name] = {'true': True, 'false': False}.get(text, text)
    return values


@with_metavar('PATH')
def existing_path(text):
    """Check that a file or directory exists and return its absolute path (str)."""
    path = _absolute(text)
    if not text or not os.path.exists(path):
        raise argparse.ArgumentTypeError(f'{shorten_text(text)!r} does not exist (looked in {os.getcwd()})')
    return path


@with_metavar('PATH')
def existing_list(text):
    """Check a path as `existing_path` does and return it (str); 'none' is returned as is."""
    return text if text == NO_LIST else existing_path(text)


@with_metavar('RUN')
def run_or_path(text):
    """Return the absolute path (str) of a file or directory that exists, or a word that may be the name of a run as is.

    utils.options.resuming.locate_runs then replaces the name by the path of the run.
    """
    is_path = os.path.exists(_absolute(text)) or text in ('', '.', '..') or text.startswith(('/', './', '../', '~'))
    return existing_path(text) if is_path or UNRECORDABLE.search(text) else text


def existing_path_or(*words):
    """Return an argparse type: `existing_path`, or one of `words` (str) itself."""

    def convert(text):
        if text in words:
            return text
        try:
            return existing_path(text)
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentTypeError(f'{error}, and is not {" or ".join(words)}') from None

    return convert


@with_metavar('DIR')
def directory_path(text):
    """Check the path of a directory, which may not exist yet, and return it as absolute path (str)."""
    path = _absolute(text)
    try:
        os.stat(path)
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise argparse.ArgumentTypeError(
                f'{shorten_text(text)!r} is no valid directory: {error.strerror}'
            ) from None
    if not text or (os.path.exists(path) and not os.path.isdir(path)):
        raise argparse.ArgumentTypeError(f'{shorten_text(text)!r} is not a directory')
    return path


def _absolute(text):
    path = os.path.abspath(os.path.expanduser(text))
    if UNRECORDABLE.search(path):
        raise argparse.ArgumentTypeError(f'{shorten_text(path)!r} is not UTF-8 or contains a line break')
    return path


@with_metavar('NAME')
def plain_name(text):
    """Check a name that becomes part of a directory name and return it (str)."""
    refused = re.search(r'[/\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]', text)
    if not text or len(text) > 100 or text in ('.', '..') or text != text.strip() or refused:
        raise argparse.ArgumentTypeError(
            f'{shorten_text(text)!r} cannot be part of a directory name: use 1 to 100 characters, no / or \\, no blank '
            'at an end'
        )
    return text
