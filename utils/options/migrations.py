"""Options with a past: what a record of an older version of Danlu means today.

A record is the args.txt that Danlu wrote of a run or a test, or the options in a checkpoint. It means what it meant:
- An option that was added later declares, where it is added, the value under which today's code does what it did before
  there was the option: `group.add_argument('--x', default=3, before=1)`, or a function of the record (dict) that
  returns the value. Records that lack the option have that value.
- An option that has another name now, or is gone, is a line in CHANGED_OPTIONS.
- A model, loss or the like that has another name now, or a value that means something else, is one in CHANGED_VALUES.

tests/formats/test_formats.py holds all that against records of every version. Imports no torch.
"""

import argparse
import ast
import os
import re

from utils.base.known_archives import is_own_run
from utils.base.record_schema import PLAIN
from utils.base.record_schema import shown as short
from utils.options.arguments import SAME, Parser, Quoted, directory_path, existing_list, existing_path, split_line
from utils.options.checks import shown
from utils.options.defaults import default_of
from utils.options.given_parts import parts_in
from utils.options.needs import is_used


def removed(*harmless):
    """Return the entry in CHANGED of an option that is gone: with the values `harmless` today's code does the same."""

    def changed(value):
        if value not in harmless:
            raise ValueError('there is no such option any more, and nothing that does the same')
        return {}

    return changed


def schedule_of_then(value, record):
    """Return what --schedule is today: step with several --lr_steps was what multistep is."""
    steps = record.get('lr_steps')
    return 'multistep' if value == 'step' and isinstance(steps, list) and len(steps) > 1 else value


# Names that options had -> the name of today, or a function of the value, as a Python literal, where it was set, that
# returns today's options (dict name -> value), or raises ValueError where there are none that do the same:
#   'hidden_size': 'hidden',
#   'crop_size': lambda value: {'image_size': [value, value]},
#   'half': removed(False),
CHANGED_OPTIONS = {}
# Options -> the names that their values had -> the names of today, or a function of the value and the whole record
# (dict name -> value, with texts for numbers where it is an args.txt) that returns the value of today:
#   'model_type': {'mobilenet_fcn': 'mobilenetv3_fcn'},
CHANGED_VALUES = {'schedule': schedule_of_then}
# Options that every record of Danlu's own has.
OWN_RECORD = {'model_type', 'data_type', 'task', 'seed', 'save_prefix', 'checkpoints_dir'}

# By which Danlu's own files are known; the second form is utils.options.given_parts.FIRST_LINE.
HEAD = re.compile(r"# python (?P<prog>\w+\.py) ('?@.*args\.txt'?|cannot repeat or resume this run: .*)\s*$")
COUNT = re.compile(r'# (\d+) options\s*$')  # older ones lack it
PLAIN_KEYWORDS = ('repeated', 'experiment', 'changeable', 'from_checkpoint')  # can be copied and pickled
COMMENT = re.compile(r'#\s*--(?P<name>\w+)(?P<unset> \(not set\)\s*$)?')
NAME = re.compile(r'[^+*\s]+')  # in a sum of losses there are several


class Options(argparse.Namespace):
    """Options by their names.

    Attributes:
        program: name of the program whose parser made them (str), or None; no option, so it is not among vars().
        keywords: dict from an option to PLAIN_KEYWORDS of its add_argument (dict), for `names_of`; likewise.
        past: lines (list of str) on what is as it was for a record's sake; no option, so it is not among vars().
        typed: names (set of str) of the options that somebody has written, on the command line or into a file, and
            not Danlu into an args.txt; likewise.
        trained_on: of a test, the train_list of the run (str or None); likewise.
        recorded_parts: the ready-made parts of the run in the record (dict, utils.options.given_parts), or unset;
            likewise.
        data_faults: what --data_type cannot be beside the other options (list of str), which counts unless loaders are
            handed over; or unset: such a fault is an error at once; likewise.
        by_keywords: whether options.train_args made them (bool): the program then reads no command line; likewise.
    """

    __slots__ = ('by_keywords', 'data_faults', 'keywords', 'past', 'program', 'recorded_parts', 'trained_on', 'typed')


class MigratingParser(Parser):
    """Parser for which the records of older versions mean what they meant."""

    def parse_known_args(self, args=None, namespace=None):
        """Parse as argparse does; the namespace knows, as `past`, what was taken from older records."""
        self._options = Options() if namespace is None else namespace
        self._lines, self._older, self._told, self._has_record = [], [], [], False
        parsed, unknown = super().parse_known_args(args, self._options)
        parsed.typed, parsed.program = self._typed, self.prog
        parsed.keywords = {a.dest: {key: getattr(a, key) for key in PLAIN_KEYWORDS} for a in self._actions}
        parsed.past = [line for place, olds in self._older if (line := self._told_of(place, olds, parsed))] + self._told
        return parsed, unknown

    def record(self):
        """Return the options (Namespace) of the record that was parsed last (@args.txt of Danlu's own), or None."""
        if not self._has_record:
            return None
        found = self._tried([word for _, part in self._lines for word in part])
        return found if isinstance(found, argparse.Namespace) else None

    def error(self, message):
        """End with one line, which says in what line of an args file the mistake is."""
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
            options: dict, as the checkpoint has it.
            names: of the options that are wanted.
            path: of the checkpoint, for messages.

        Returns:
            options (dict) of today, at most those wanted, and lines (list of str) on those that the record lacks or
            has by other names. What is no longer valid ends as every mistake does.
        """
        try:
            found = translated(options, self._knows)
            told = [
                f'{path}: {told_of({name: value}, now)}'
                for name, value in options.items()
                if (now := translated({name: value}, self._knows, options)) != {name: value}
            ]
        except ValueError as error:
            self.error(f'{path}: {error}{_advice(path, "; ")}')
        actions = [action for action in self._actions if action.dest in names]
        values = {a.dest: self._of_today(a, found[a.dest], path) for a in actions if a.dest in found}
        if not {*found} >= OWN_RECORD:
            return values, told
        olds = {a.dest: before_of(a, found) for a in actions if a.dest not in found and a.before is not SAME}
        line = self._told_of(path, olds, argparse.Namespace(**{**found, **olds}))
        return olds | values, [line] * bool(line) + told

    def _knows(self, name):
        return f'--{name}' in self._option_string_actions

    def _of_today(self, action, value, path):
        """Return an option's value as the command line would give it; paths are for whoever uses them to check."""
        name, values = f'--{action.dest}', list(value) if isinstance(value, list | tuple) else [value]
        several = action.nargs in ('+', '*')
        wrong = not several if isinstance(value, list | tuple) else False
        if value is not None and (wrong or not all(isinstance(part, PLAIN) for part in values)):
            self.error(
                f'{path}: {name} is {short(value)} there, which is no value of that option; give {name} yourself'
            )
        if value is None or value == [] or action.type in (existing_path, existing_list, directory_path):
            return value
        if action.nargs == 0:
            words = [name if value else f'--no_{action.dest}'] if isinstance(value, bool) else [f'{name}={value}']
        else:
            words = [name, *(Quoted(part) for part in values)]
        parsed = self._tried(words)
        if isinstance(parsed, argparse.ArgumentError):
            self.error(f'{path}: {parsed}; give another {name}{_advice(path, ", or ")}')
        return getattr(parsed, action.dest)

    def _words_of(self, path):
        """Return the words of an args file (list of str); of a record of Danlu's own in the names of today."""
        lines, parts = self._lines_of(path), []
        for number, line in enumerate(lines, 1):
            place = f'args file {path!r}, line {number}: '
            words = split_line(line, lambda message, place=place: self.error(place + message))
            parts += [(place, part) for part in self._without_permissions(parts_of(words), place)]
        head = next((match for line in lines if (match := HEAD.match(line))), None)
        if given := parts_in(lines):
            self._options.recorded_parts = given
        if head is not None and head['prog'] == self.prog:
            self._has_record = True
            parts = self._record_of_today(path, lines, parts)
        else:  # somebody has written it
            self._typed |= {name for _, part in parts if (name := self._name_of(part[0])) is not None}
        self._lines += parts
        return [word for _, part in parts for word in part]

    def _without_permissions(self, parts, place):
        """Return the parts of a line (list of lists of words) but for `typed_only` options, which a message names."""
        found = []
        for part in parts:
            name, value = split_part(part)
            if name in self.names(typed_only=True) and value is not False:
                self._told.append(f'{place}--{name} is ignored: it counts on the command line only, for one start')
                has_value = name == 'model_source' and '=' not in part[0]
                part = part[1 + has_value :]
            found += [part] if part else []
        return found

    def _record_of_today(self, path, lines, parts):
        """Return the parts (list of (place, list of words)) of a record as they are today; take what it lacks."""
        record = {name: value for _, part in parts for name, value in [split_part(part)] if name is not None}
        comments = [match for line in lines if (match := COMMENT.match(line))]
        for name in [match['name'] for match in comments if match['unset']]:
            for new, value in translated({name: None}, self._knows, {}).items():
                if self.get_default(new) is not None:  # it has a default today, which it need not have had
                    setattr(self._options, new, value)
        count = next((int(match[1]) for line in lines if (match := COUNT.match(line))), None)
        self._take_older(path, record, {*record, *(match['name'] for match in comments)}, count)
        return [(place, new) for place, part in parts for new in self._part_of_today(part, place, record)]

    def _part_of_today(self, part, place, record):
        """Return what an option of a record with its values (list of words) is today: a list of such lists."""
        name, value = split_part(part)
        if name is None:
            return [part]
        try:
            found = translated({name: value}, self._knows, record)
        except ValueError as error:
            self.error(f'{place}{error}')
        if found == {name: value}:
            return [part]
        self._told.append(place + told_of({name: value}, found))
        return [words_for(new, value) for new, value in found.items()]

    def _take_older(self, path, record, named, count):
        """Take what older records lack as it was then.

        Who deletes a line of a record wants today's default. A record of this version or later says how many options
        it had, by which deleted lines are told from options that there were not yet.
        """
        names = {new for name in named for new in self._names_of_today(name)}
        lacking = [action for action in self._actions if action.dest not in names and action.dest != 'help']
        if count is not None and len(lacking) <= count - len(named):
            return
        olds = {action.dest: before_of(action, record) for action in lacking if action.before is not SAME}
        for name, before in olds.items():
            setattr(self._options, name, before)
        self._older.append((f'args file {path!r}', olds))

    def _names_of_today(self, name):
        """Return the options (list of str) that an option of a record is today."""
        if self._knows(name):
            return [self._option_string_actions[f'--{name}'].dest]
        new = CHANGED_OPTIONS.get(name)
        return [new] if isinstance(new, str) else []

    def _told_of(self, place, olds, options):
        """Return the line (str) that says which options (dict name -> before) a record lacks, or None: no matter."""
        actions = {action.dest: action for action in self._actions}
        options = argparse.Namespace(**{name: action.default for name, action in actions.items()} | vars(options))
        today = {name: default_of(actions[name], options) for name in olds}
        matter = [
            f'--{name} (then {shown(before)}, today {shown(today[name])})'
            for name, before in olds.items()
            if before != today[name] and getattr(options, name) == before and is_used(actions[name], options)
        ]
        return f'{place} is older than {", ".join(matter)}' if matter else None

    def _place_of(self, message):
        """Return the beginning (str) of a message about a line of an args file; '' where it is about none."""
        for place, part in getattr(self, '_lines', []):
            if str(self._tried(part)) == message:
                return place
        return ''

    def _unknown_option(self, word):
        place = next((place for place, part in self._lines if word == part[0]), '')
        name = word.partition('=')[0].removeprefix('--')
        name = name if name in CHANGED_OPTIONS else name.removeprefix('no_')
        if name not in CHANGED_OPTIONS:
            return place + super()._unknown_option(word)
        new = CHANGED_OPTIONS[name]
        return f'{place}--{name} ' + (f'is called --{new} now' if isinstance(new, str) else 'is no option any more')

    def _get_value(self, action, arg_string):
        """Argparse converts each word here; one that had its meaning in an older version is not known today."""
        names = CHANGED_VALUES.get(action.dest, {})
        new = arg_string if callable(names) else renamed(str(arg_string), names)
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
    """Return the advice (str) to test a checkpoint with the code of its run, '' unless that is the user's own."""
    own = is_own_run(os.path.dirname(os.path.abspath(path)))
    return f'{join}test it with the code of its run: eval.py --code then' if own else ''


def before_of(action, record):
    """Return the value of an option (argparse.Action) that a record (dict) lacks, as it was then."""
    before = action.default if action.before is SAME else action.before
    return before(record) if callable(before) else before


def translated(options, known, record=None):
    """Return options (dict) of a record under the names of today, and with the values of today.

    Args:
        options: name -> value.
        known: function: name -> whether it is an option of today, which then is what it says.
        record: the whole record that the options are from (dict); None: they are the whole.

    Raises:
        ValueError: there is nothing today that does the same.
    """
    found, record = {}, options if record is None else record
    for name, value in options.items():
        change = name if known(name) else CHANGED_OPTIONS.get(name, name)
        try:
            new = {change: value} if isinstance(change, str) else {} if value is None else change(_literal(value))
        except ValueError as error:
            raise ValueError(f'--{name} {shown(value)}: {error}') from None
        found |= {option: of_today(option, value, record) for option, value in new.items()}
    return found


def of_today(option, value, record):
    """Return what the value of an option in a record (dict) is today."""
    change = CHANGED_VALUES.get(option, {})
    return change(value, record) if callable(change) else renamed(value, change)


def renamed(value, names):
    """Return a value with the names of today for those that a registry had; `names` is a dict from then to now."""
    if isinstance(value, list):
        return [renamed(part, names) for part in value]
    return NAME.sub(lambda found: names.get(found[0], found[0]), value) if isinstance(value, str) and names else value


def told_of(then, now):
    """Return the line (str) that says what options (dict) of then are today (dict)."""
    then, now = (' '.join(f'--{name} {shown(value)}' for name, value in each.items()) for each in (then, now))
    return f'{then} is {now or "what there always is"} now'


def parts_of(words):
    """Return words (list) as a list of lists, each an option with its values."""
    parts = []
    for word in words:
        if not parts or (word.startswith('--') and not isinstance(word, Quoted)):
            parts.append([])
        parts[-1].append(word)
    return parts


def split_part(part):
    """Return the name (str) and the value of an option as a record has it, or None, None where there is none.

    The value is a bool of a flag, else a str or, where it does not stand behind a =, a list of str.
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
    """Return the words (list of str) that give an option a value; none where it is not set."""
    if value is None:
        return []
    if isinstance(value, bool):
        return [f'--{name}' if value else f'--no_{name}']
    return [f'--{name}', *(Quoted(part) for part in (value if isinstance(value, list) else [value]))]


def _literal(value):
    """Return the plain value that a word of a record, or each of a list, stands for; others as they are."""
    if isinstance(value, list):
        return list(map(_literal, value))
    try:
        return ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError):
        return value
