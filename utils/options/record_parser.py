"""The parser of train.py and eval.py: reads records of older versions as they were meant. Imports no torch.

Records, the args.txt of runs and the options in checkpoints, are migrated (utils/options/migrations.py) before argparse
sees them. Files that somebody wrote by hand are read as the command line.
"""

import argparse
import os
import re

from utils.base.known_archives import is_own_run
from utils.base.record_schema import PLAIN
from utils.base.record_schema import shown as short
from utils.options.arguments import (
    Parser,
    Quoted,
    directory_path,
    existing_list,
    existing_path,
    run_or_path,
    split_line,
)
from utils.options.checks import shown
from utils.options.defaults import default_of
from utils.options.given_parts import parts_in
from utils.options.help_text import HelpAction, help_text
from utils.options.migrations import (
    OWN_RECORD,
    hint_on_change,
    migrate,
    migrate_one,
    names_today,
    rename_value,
    values_before,
)
from utils.options.needs import is_used

# The first line of an args.txt; the second form is utils.options.given_parts.FIRST_LINE.
HEAD = re.compile(r"# python (?P<prog>\w+\.py) ('?@.*args\.txt'?|cannot repeat or resume this run: .*)\s*$")
OPTION_COUNT = re.compile(r'# (\d+) options\s*$')  # older records lack this line
COMMENT = re.compile(r'#\s*--(?P<name>\w+)(?P<unset> \(not set\)\s*$)?')


class Options(argparse.Namespace):
    """Options by their names. The attributes below are no options: vars(), args.txt and checkpoints lack them.

    Attributes:
        program: 'train.py' or 'eval.py', whose options they are.
        keywords: dict from an option to the PLAIN_KEYWORDS of its add_argument (dict), for names_of.
        words: the command line (list of str).
        given: names (set of str) of the options that the command line and its files set.
        typed: names (set of str) of the options that somebody wrote, on the command line or into a file by hand.
        past: lines (list of str) for the log on values that are from an older record.
        other_checkpoints: of a test, the paths behind the first one of --load_model_path (list of str), or unset.
        trained_on: of a test, the train_list of the run (str or None).
        recorded_parts: the ready-made parts of the run in the record (dict, utils.options.given_parts), or unset.
        data_faults: errors (list of str) about --data_type that count only if no loader is handed over; unset: such an
            error is raised at once.
        by_keywords: whether options.train_args made the options (bool), so that there is no command line.
    """

    __slots__ = (
        *('by_keywords', 'data_faults', 'given', 'keywords', 'past'),
        *('other_checkpoints', 'program', 'recorded_parts', 'trained_on', 'typed', 'words'),
    )


class MigratingParser(Parser):
    """Parser for which records of older versions mean what they meant; --help is that of utils.options.help_text.

    Args:
        examples: command lines (tuple of str) for --help.
        add_help: whether there is an option --help (bool).
        keywords: those of argparse.ArgumentParser.
    """

    def __init__(self, examples=(), add_help=True, **keywords):
        super().__init__(add_help=False, **keywords)
        self.examples = examples
        if add_help:
            self.add_argument('-h', '--help', action=HelpAction, help='show the usual options; --help all: all of them')

    def format_help(self):
        """Return the help that --help prints (str)."""
        return help_text(self)

    def parse_known_args(self, args=None, namespace=None):
        """Parse as argparse does; the Options say what was typed, and what was taken from older records."""
        self._options = Options() if namespace is None else namespace
        self._lines, self._older, self._notes, self._has_record = [], [], [], False
        parsed, unknown = super().parse_known_args(args, self._options)
        parsed.typed, parsed.given, parsed.words, parsed.program = self._typed, self._given, self._words, self.prog
        parsed.keywords = self.keywords()
        older = (self._note_on_older(place, values, parsed) for place, values in self._older)
        parsed.past = [line for lines in older for line in lines] + self._notes
        return parsed, unknown

    def record(self):
        """Return the options (Namespace) of the record that was parsed last (@args.txt of Danlu's own), or None."""
        if not self._has_record:
            return None
        found = self._tried([word for _, part in self._lines for word in part])
        return found if isinstance(found, argparse.Namespace) else None

    def error(self, message):
        """End with one line, which names the line of an args file that the error is in."""
        super().error(self._place_of(message) + message)

    def checked_record(self, options, path):
        """Return the options (dict name -> value) in a checkpoint, {} for None; others end in one line."""
        if options is None:
            return {}
        if not isinstance(options, dict) or not all(isinstance(name, str) for name in options):
            self.error(f'{path}: its args are no options by their names, but of type {type(options).__name__}')
        return options

    def recorded(self, options, names, path):
        """Return what the options in a checkpoint mean today.

        Args:
            options: dict, as in the checkpoint.
            names: of the options that are wanted.
            path: of the checkpoint, for messages.

        Returns:
            options (dict) of today, at most those wanted, and lines (list of str) on options that the record lacks or
            has under other names. A value that is no longer valid ends in one line.
        """
        try:
            found, notes = migrate(options, self._knows), []
            for name, value in options.items():
                notes += [f'{path}: {line}' for line in migrate_one(name, value, self._knows, options)[1]]
        except ValueError as error:
            self.error(f'{path}: {error}{_advice(path, "; ")}')
        wanted = [action for action in self._actions if action.dest in names]
        values = {a.dest: self._checked_value(a, found[a.dest], path) for a in wanted if a.dest in found}
        if not {*found} >= OWN_RECORD:
            return values, notes
        older = values_before([action for action in wanted if action.dest not in found], found)
        return older | values, self._note_on_older(path, older, argparse.Namespace(**{**found, **older})) + notes

    def _knows(self, name):
        return f'--{name}' in self._option_string_actions

    def _checked_value(self, action, value, path):
        """Return the value of an option in a checkpoint as the command line would give it; paths are not checked."""
        name, values = f'--{action.dest}', list(value) if isinstance(value, list | tuple) else [value]
        wrong_list = isinstance(value, list | tuple) and action.nargs not in ('+', '*')
        if value is not None and (wrong_list or not all(isinstance(part, PLAIN) for part in values)):
            self.error(
                f'{path}: {name} is {short(value)} there, which is no value of that option; give {name} yourself'
            )
        if value is None or value == [] or action.type in (existing_path, existing_list, run_or_path, directory_path):
            return value
        if action.nargs == 0:
            words = words_for(action.dest, value) if isinstance(value, bool) else [f'{name}={value}']
        else:
            words = [name, *(Quoted(part) for part in values)]
        parsed = self._tried(words)
        if isinstance(parsed, argparse.ArgumentError):
            self.error(f'{path}: {parsed}; give another {name}{_advice(path, ", or ")}')
        return getattr(parsed, action.dest)

    def _words_of(self, path):
        """Return the words of an args file (list of str); those of a record are migrated."""
        lines, parts, typed_only = self._lines_of(path), [], self.names(typed_only=True)
        for number, line in enumerate(lines, 1):
            place = f'args file {path!r}, line {number}: '
            words = split_line(line, lambda message, place=place: self.error(place + message))
            parts += [(place, part) for part in self._without(typed_only, split_options(words), place)]
        head = next((match for line in lines if (match := HEAD.match(line))), None)
        if given := parts_in(lines):
            self._options.recorded_parts = given
        if head is not None and head['prog'] == self.prog:
            self._has_record = True
            parts = self._migrated(path, lines, parts)
        else:  # written by hand
            self._typed |= {name for _, part in parts if (name := self._name_of(part[0])) is not None}
        self._lines += parts
        return [word for _, part in parts for word in part]

    def _without(self, refused, parts, place):
        """Return the parts of a line (list of lists of words) but for the options `refused`, which a message names."""
        kept = []
        for part in parts:
            name, value = option_and_value(part)
            if name in refused and value is not False:
                self._notes.append(f'{place}--{name} is ignored: it counts on the command line only, for one start')
                has_value = self._option_string_actions[f'--{name}'].nargs != 0 and '=' not in part[0]
                part = part[1 + has_value :]
            kept += [part] if part else []
        return kept

    def _migrated(self, path, lines, parts):
        """Return the parts (list of (place, list of words)) of a record as they are today; add what it lacks."""
        record = {name: value for _, part in parts for name, value in [option_and_value(part)] if name is not None}
        comments = [match for line in lines if (match := COMMENT.match(line))]
        for name in [match['name'] for match in comments if match['unset']]:
            for new, value in migrate({name: None}, self._knows, {}).items():
                if self.get_default(new) is not None:  # the option has a default today
                    setattr(self._options, new, value)
        count = next((int(match[1]) for line in lines if (match := OPTION_COUNT.match(line))), None)
        self._add_older(path, record, {*record, *(match['name'] for match in comments)}, count)
        return [(place, new) for place, part in parts for new in self._migrated_part(part, place, record)]

    def _migrated_part(self, part, place, record):
        """Return an option of a record with its values (list of words) as it is today: a list of such lists."""
        name, value = option_and_value(part)
        if name is None:
            return [part]
        try:
            new, notes = migrate_one(name, value, self._knows, record)
        except ValueError as error:
            self.error(f'{place}{error}')
        self._notes += [place + line for line in notes]
        return [words_for(name, value) for name, value in new.items()] if notes else [part]

    def _add_older(self, path, record, named, count):
        """Set the options that an older record lacks to the values that it implies.

        A deleted line of a record asks for today's default. A record with a count of its options tells deleted
        lines from options that were added later.
        """
        today = {new for name in named for new in names_today(name, self._knows)}
        names = {self._option_string_actions[f'--{name}'].dest for name in today}  # --no_x is x
        lacking = [action for action in self._actions if action.dest not in {*names, 'help'}]
        if count is not None and len(lacking) <= count - len(named):
            return
        older = values_before(lacking, record)
        for name, value in older.items():
            setattr(self._options, name, value)
        self._older.append((f'args file {path!r}', older))

    def _note_on_older(self, place, older, options):
        """Return the line (list of one str, or []) on values (dict) of an older record that are no defaults today."""
        actions = {action.dest: action for action in self._actions}
        options = argparse.Namespace(**{name: action.default for name, action in actions.items()} | vars(options))
        today = {name: default_of(actions[name], options) for name in older}
        differing = [
            f'--{name} (then {shown(value)}, today {shown(today[name])})'
            for name, value in older.items()
            if value != today[name] and getattr(options, name) == value and is_used(actions[name], options)
        ]
        return [f'{place} is older than {", ".join(differing)}'] if differing else []

    def _place_of(self, message):
        """Return the beginning (str) of a message about a line of an args file; '' for other messages."""
        for place, part in getattr(self, '_lines', []):
            if str(self._tried(part)) == message:
                return place
        return ''

    def _unknown_option(self, word):
        place = next((place for place, part in self._lines if word == part[0]), '')
        return place + (hint_on_change(word) or super()._unknown_option(word))

    def _get_value(self, action, arg_string):
        """Argparse converts each word here; the name that a value had in an older version is not known today."""
        new = rename_value(action.dest, str(arg_string))
        if new != arg_string:
            raise argparse.ArgumentError(action, f'{str(arg_string)!r} is called {new!r} now')
        return super()._get_value(action, arg_string)

    def _tried(self, words):
        """Return the options (Namespace) that words alone stand for, or what is wrong with them (ArgumentError)."""
        self.exit_on_error = False
        try:
            return argparse.ArgumentParser.parse_known_args(self, words, argparse.Namespace())[0]
        except argparse.ArgumentError as error:
            return error
        finally:
            self.exit_on_error = True


def _advice(path, join):
    """Return the advice (str) to test a checkpoint with the code of its run, '' if the run is not the user's own."""
    own = is_own_run(os.path.dirname(os.path.abspath(path)))
    return f'{join}test it with the code of its run: eval.py --code then' if own else ''


def split_options(words):
    """Return words (list) as a list of lists, each of an option with its values."""
    parts = []
    for word in words:
        if not parts or (word.startswith('--') and not isinstance(word, Quoted)):
            parts.append([])
        parts[-1].append(word)
    return parts


def option_and_value(part):
    """Return the name (str) and the value of an option (list of words) of a record, or None, None for other words.

    The value of a flag is a bool; after a = it is a str, else a list of str.
    """
    head, equals, text = part[0].partition('=')
    if isinstance(part[0], Quoted) or not head.startswith('--'):
        return None, None
    name = head[2:].replace('-', '_')
    if equals:
        return name, text
    if part[1:]:
        return name, list(map(str, part[1:]))
    return name.removeprefix('no_'), not name.startswith('no_')


def words_for(name, value):
    """Return the words (list of str) that give an option a value; [] for None."""
    if value is None:
        return []
    if isinstance(value, bool):
        return [f'--{name}' if value else f'--no_{name}']
    return [f'--{name}', *(Quoted(part) for part in (value if isinstance(value, list) else [value]))]
