"""What the options in a record of an older version mean today. Imports no torch.

A record is the args.txt of a run or a test, or the options in a checkpoint. Its meaning stays the same:
- An option that was added later declares the value that older records imply, or a function of the record (dict) that
  returns this value: `group.add_argument('--x', default=3, before=1)`.
- An option that was renamed or removed has a line in CHANGED_OPTIONS.
- A renamed model, loss or the like, or a value that means something else now, has a line in CHANGED_VALUES.

utils.options.record_parser migrates records before argparse reads them. tests/formats/test_formats.py tests this with
records of every version.
"""

import ast
import re

from utils.options.arguments import SAME
from utils.options.checks import shown


def removed(*harmless):
    """Return the entry in CHANGED_OPTIONS of a removed option that had no effect with the values `harmless`."""

    def changed(value):
        if value not in harmless:
            raise ValueError('there is no such option any more, and nothing that does the same')
        return {}

    return changed


def migrate_schedule(value, record):
    """Return the --schedule of today: step with several --lr_steps is multistep now."""
    steps = record.get('lr_steps')
    return 'multistep' if value == 'step' and isinstance(steps, list) and len(steps) > 1 else value


# Earlier names of options -> the name of today, or a function that maps the value, a Python literal, to options of
# today (dict name -> value) and raises ValueError where no option does the same. It is not called for unset options.
#   'hidden_size': 'hidden',
#   'crop_size': lambda value: {'image_size': [value, value]},
#   'half': removed(False),
CHANGED_OPTIONS = {}
# Options -> dict from earlier names of values to the names of today, or a function that maps the value and the record
# (dict name -> value; in an args.txt numbers are texts) to the value of today:
#   'model_type': {'mobilenet_fcn': 'mobilenetv3_fcn'},
CHANGED_VALUES = {'schedule': migrate_schedule}

OWN_RECORD = {'model_type', 'data_type', 'task', 'seed', 'save_prefix', 'checkpoints_dir'}  # in all records of Danlu
NAME = re.compile(r'[^+*\s]+')  # a sum of losses holds several names


def migrate(options, is_known, record=None):
    """Return options (dict) of a record under the names and with the values of today.

    Args:
        options: name -> value.
        is_known: function(name) -> whether it is an option of today (bool); such a name is not changed.
        record: the complete record that the options are from (dict); default: options.

    Raises:
        ValueError: no option of today does the same.
    """
    migrated, record = {}, options if record is None else record
    for name, value in options.items():
        change = name if is_known(name) else CHANGED_OPTIONS.get(name, name)
        try:
            new = {change: value} if isinstance(change, str) else {} if value is None else change(_literal(value))
        except ValueError as error:
            raise ValueError(f'--{name} {shown(value)}: {error}') from None
        migrated |= {option: _migrate_value(option, value, record) for option, value in new.items()}
    return migrated


def migrate_one(name, value, is_known, record):
    """Return what `migrate` does for one option of a record, and the line (list of one str) on what changed, or []."""
    new = migrate({name: value}, is_known, record)
    if new == {name: value}:
        return new, []
    then, now = (' '.join(f'--{name} {shown(value)}' for name, value in each.items()) for each in ({name: value}, new))
    return new, [f'{then} is {now or "what there always is"} now']


def _migrate_value(option, value, record):
    change = CHANGED_VALUES.get(option, {})
    return change(value, record) if callable(change) else rename_value(option, value)


def rename_value(option, value):
    """Return the value of an option with the names of today, where CHANGED_VALUES only renames its values."""
    names = CHANGED_VALUES.get(option, {})
    if callable(names) or not names:
        return value
    if isinstance(value, list):
        return [rename_value(option, part) for part in value]
    return NAME.sub(lambda match: names.get(match[0], match[0]), value) if isinstance(value, str) else value


def names_today(name, is_known):
    """Return the options (list of str) of today that an option of a record was renamed to, or is."""
    new = name if is_known(name) else CHANGED_OPTIONS.get(name)
    return [new] if isinstance(new, str) else []


def hint_on_change(word):
    """Return what became of the renamed or removed option of a word (str), or None for other words."""
    name = word.partition('=')[0].removeprefix('--')
    name = name if name in CHANGED_OPTIONS else name.removeprefix('no_')
    if name not in CHANGED_OPTIONS:
        return None
    new = CHANGED_OPTIONS[name]
    return f'--{name} ' + (f'is called --{new} now' if isinstance(new, str) else 'is no option any more')


def value_before(action, record):
    """Return the value of an option (argparse.Action) that a record (dict) without the option implies."""
    before = action.default if action.before is SAME else action.before
    return before(record) if callable(before) else before


def values_before(actions, record):
    """Return the values (dict) of the options that a record lacks, as far as they may differ from the defaults."""
    return {action.dest: value_before(action, record) for action in actions if action.before is not SAME}


def _literal(value):
    """Return the plain value that a word of a record, or each word of a list, stands for; other values unchanged."""
    if isinstance(value, list):
        return list(map(_literal, value))
    try:
        return ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError):
        return value
