"""Show the differences between two runs or tests in options, code, data, environment and results: runs.py diff A B.

A test is given by its directory, checkpoints/lenet_exp/best/val_digits_exp, or by a result.1.txt in it. A test and a
run are compared in the options that both have, in the code, and in the values of the run's best epoch.
"""

import argparse
import difflib
import hashlib
import re
from pathlib import Path

from options import train_parser
from scripts.run_commands.diff_tests import NOT_COMPARED_OPTIONS, find_test, side_of_run, side_of_test
from scripts.run_commands.run_code import archived_files
from utils.base.known_archives import SHA256
from utils.base.language import translate
from utils.base.text_table import distinct_number_texts, printable, span_text, table, terminal_width
from utils.options.args_file import options_of
from utils.options.arguments import option_line
from utils.options.defaults import CHOSEN_BY
from utils.options.migrations import value_before
from utils.options.needs import is_used
from utils.options.validation_options import is_split_list
from utils.provenance.contents import DATA_OF_SPLIT, SampleHashes, compare_contents, contents_file
from utils.provenance.project_source import is_run_code
from utils.runs.results import ledger_tests, mark_of, tests_of, warning_on
from utils.runs.run import parse_option
from utils.runs.run_index import find_run

# Options that name the run.
NOT_COMPARED = {*train_parser().names(repeated=False), 'save_prefix', 'checkpoints_dir'}
# Values of env.txt that differ between any two runs, or that the code section shows.
NOT_COMPARED_ENV = (
    'command',
    'directory',
    'date',
    'resumed',
    'source sha256',
    'code sha256',
    'git commit',
    'git state',
)
HASH_DIGITS = 12
MAX_NAMED = 3  # components of a kind that are named one by one if only one run used them
MAX_FILES = 4  # files in a summary of components
DECIMAL = re.compile(r'-?\d+(\.\d+(e[-+]?\d+)?|e[-+]?\d+)')


def add_arguments(parser):
    """Add the arguments of the command."""
    parser.add_argument('runs', nargs=2, metavar='RUN', help='names of the runs, or directories of tests')
    parser.add_argument('--code', action='store_true', help='also show the diff of the source files')


def run(args):
    """Print the differences."""
    tests = [find_test(name, args.checkpoints_dir) for name in args.runs]
    if any(tests):
        diff_tests(args, tests)
        return
    a, b = (find_run(name, args.checkpoints_dir) for name in args.runs)
    sections = {
        'options': options_rows(a, b),
        'components': components_rows(a, b),
        'code': code_rows(a, b),
        'data': data_rows(a, b),
        'environment': environment_rows(a, b),
        'results': results_rows(a, b),
        **tests_sections(a, b),
    }
    for side, each in (('A', a), ('B', b)):
        started = f', started {each.started:%Y-%m-%d %H:%M}' if each.started else ''
        print(printable(f'{side}  {each.name}  ({each.state}{started})'))
    print_sections(sections)
    if lines := remarks(a, b):
        print('', *lines, sep='\n')
    if args.code:
        print('', *map(printable, source_diff([a.name, b.name], *map(archived_files, (a, b)))), sep='\n')


def diff_tests(args, tests):
    """Print the differences between two tests, or a test and a run; `tests`: a dict each, or None for a run."""
    a, b = (
        side_of_test(test, args.checkpoints_dir) if test else side_of_run(find_run(name, args.checkpoints_dir))
        for name, test in zip(args.runs, tests, strict=True)
    )
    for side, each in (('A', a), ('B', b)):
        print(printable(f'{side}  {each.name}'))

    def compared(name):
        return name not in NOT_COMPARED | NOT_COMPARED_OPTIONS and name in a.options and name in b.options

    both = [each for each in (a, b) if each.facts]
    sections = {
        'options': differing_rows(a.options, b.options, option_text, compared),
        'test': differing_rows(a.facts, b.facts, fact_text) if len(both) == 2 else [],
        'code': file_rows(a.files, b.files, any_file) if a.files and b.files else [],
        'results': value_rows(a.values, b.values, lambda name: '/' not in name),
    }
    print_sections(sections)
    for side, each in (('A', a), ('B', b)):
        if not each.files:
            same = 'has the same hash' if a.code == b.code else 'has another hash'
            print(f'\nthe code of {side} was not kept, so its files are not compared; it {same}')
    if args.code:
        print('', *map(printable, source_diff(['A', 'B'], a.files, b.files, any_file)), sep='\n')


def any_file(name):
    """Return True: of the code of a test, which has no scripts and texts, each file is compared."""
    return True


def print_sections(sections):
    """Print a table for each section with rows ({title: list of rows})."""
    if not any(sections.values()):
        print('no difference')
    for title, rows in sections.items():
        if rows:
            lines, _ = table(
                [title, 'A', 'B'],
                rows,
                terminal_width(),
                flexible=('B', 'A', title),
                kept={title: 30, 'A': 24, 'B': 24},
            )
            print('', *lines, sep='\n')


def fact_text(value):
    """Return a fact of a test as text (str); hashes are shortened."""
    if value is None:
        return 'not recorded'
    return value[:HASH_DIGITS] if SHA256.fullmatch(value) else value


def differing_rows(a, b, show, keep=lambda name: True):
    """Return rows [name, text, text] of the values that differ in two dicts; `show`: function(value or None) -> str."""
    names = [name for name in dict.fromkeys([*a, *b]) if keep(name) and a.get(name) != b.get(name)]
    return [[name, show(a.get(name)), show(b.get(name))] for name in names]


def value_rows(a, b, keep=lambda name: True):
    """Return rows, as `differing_rows`, of two dicts of texts whose decimal fractions are rounded."""
    rows = differing_rows(a, b, lambda text: text or 'none', keep)
    return [[name, *rounded_texts(texts)] for name, *texts in rows]


def rounded_texts(texts):
    """Return texts (list of str) with their decimal fractions rounded, but not so far that they become equal."""
    found = [DECIMAL.search(text) for text in texts]
    short = iter(distinct_number_texts([float(match[0]) for match in found if match]))
    return [text if match is None else text[: match.start()] + next(short) + text[match.end() :]
            for text, match in zip(texts, found, strict=True)]  # fmt: skip


def options_rows(a, b):
    """Return the options that differ (list of rows)."""
    if not (a.options and b.options):
        return []
    ours, theirs = (compared_options(each.options) for each in (a, b))
    unused = unused_options(ours) & unused_options(theirs)
    return differing_rows(ours, theirs, option_text, lambda name: name not in NOT_COMPARED and name not in unused)


def unused_options(options):
    """Return the options of CHOSEN_BY (set of str) that a run with these options (dict, as Run.options) ignores."""
    parser = train_parser()
    run = argparse.Namespace(**{**vars(parser.parse_args([])), **options})
    return {action.dest for action in options_of(parser) if action.dest in CHOSEN_BY and not is_used(action, run)}


def compared_options(options):
    """Return options (dict, as Run.options) with those that are older than the run, without its own --val_split list.

    The list lies in the run directory, so its path differs between runs with the same split.
    """
    found = {**past_options(), **options}
    if is_split_list(options.get('val_list')) and options.get('val_split'):
        found['val_list'] = None
    return found


def past_options():
    """Return the values that today's options imply for runs older than the option (dict, as Run.options)."""
    lines = (option_line(action.dest, value_before(action, {})) for action in options_of(train_parser()))
    return {name: value for name, value, _ in map(parse_option, lines)}


def option_text(value):
    """Return an option's value as text (str)."""
    if value is None or isinstance(value, bool):
        return {None: translate('not set'), True: 'on', False: 'off'}[value]
    return ' '.join(value) if isinstance(value, list) else value


def components_rows(a, b):
    """Return the classes and functions whose code differs or that only one run used (list of rows)."""
    ours, theirs = (each.recorded('components') for each in (a, b))
    if not (flat(ours) and flat(theirs)):
        return []
    rows = []
    for kind in dict.fromkeys([*ours, *theirs]):
        x, y = (flat({kind: each.get(kind)}) for each in (ours, theirs))
        only_one = [[name for name in one if name not in other] for one, other in ((x, y), (y, x))]
        many = {name for names in only_one if len(names) > MAX_NAMED for name in names}
        rows += differing_rows(x, y, lambda value: 'not used' if value is None else str(value)[:HASH_DIGITS],
                               lambda name, many=many: name not in many)  # fmt: skip
        for names, used in zip(only_one, (['used', 'not used'], ['not used', 'used']), strict=True):
            rows += [[summary(kind, names), *used]] if len(names) > MAX_NAMED else []
    return rows


def summary(kind, names):
    """Return the number and files of many components (list of 'kind name') in one line (str)."""
    files = list(dict.fromkeys(name.removeprefix(f'{kind} ').rpartition('.')[0] for name in names))
    more = f' and {len(files) - MAX_FILES} more' if len(files) > MAX_FILES else ''
    return f'{kind} {len(names)} of {", ".join(files[:MAX_FILES])}{more}'


def code_rows(a, b):
    """Return the commits and source files that differ (list of rows)."""
    commits = [each.commit and each.commit[:HASH_DIGITS] + '+' * each.commit.endswith('+') for each in (a, b)]
    rows = differing_rows(*({'git commit': commit} for commit in commits), lambda commit: commit or 'not recorded')
    codes = [each.recorded('code') for each in (a, b)]
    if None in codes or codes[0] == codes[1]:
        return rows
    return rows + file_rows(*map(archived_files, (a, b)))


def file_rows(ours, theirs, keep=is_run_code):
    """Return the source files that differ (list of rows); both: dict from relative path to bytes."""
    hashes = (
        {name: hashlib.sha256(content).hexdigest() for name, content in files.items()} for files in (ours, theirs)
    )
    return differing_rows(*hashes, lambda digest: 'missing' if digest is None else digest[:HASH_DIGITS], keep)


def data_rows(a, b):
    """Return the differences in list files and their contents (list of rows)."""
    ours, theirs = (data_facts(each.recorded('data')) for each in (a, b))
    if not (ours and theirs):
        return []
    both_split = all(is_split_list(each.get('val list')) for each in (ours, theirs))  # each in its run directory
    rows = differing_rows(
        ours,
        theirs,
        lambda value: 'not known' if value is None else value,
        lambda name: not (name == 'val list' and both_split),
    )
    for split in DATA_OF_SPLIT:
        x, y = (each.recorded('data', split, 'contents') or {} for each in (a, b))
        if x != y and x.get('samples') == y.get('samples'):  # otherwise a run has read only some of the samples
            rows.append([f'{split} bytes', *(str(each.get('sha256'))[:HASH_DIGITS] for each in (x, y))])
    return rows


def data_facts(recorded):
    """Return the facts about the data in a record (dict of str): {'val sha256': '0a1b2c...', 'val targets': ...}."""
    facts = {}
    for name, value in flat(recorded).items():
        if name.endswith(' parts') and isinstance(value, dict):
            prefix = name.removesuffix('parts')
            facts |= {f'{prefix}{part}': str(digest)[:HASH_DIGITS] for part, digest in value.items()}
        elif isinstance(value, list):  # leakage: samples that both splits have
            facts[name] = '; '.join(map(str, value)) or 'none'
        elif value is not None and not isinstance(value, dict):
            facts[name] = str(value)[:HASH_DIGITS] if name.endswith('sha256') else str(value)
    return facts


def environment_rows(a, b):
    """Return the differences in versions and machine (list of rows)."""
    ours, theirs = ({**each.env, **flat({'': each.recorded('versions')})} for each in (a, b))
    if not (ours and theirs):
        return []
    return differing_rows(
        ours, theirs, lambda value: str(value or 'not recorded'), lambda name: name not in NOT_COMPARED_ENV
    )


def results_rows(a, b):
    """Return the differences in best epoch, epochs done and state, with the duration (list of rows)."""
    facts = [
        {
            'best': f'{each.monitor} {each.best["text"]}' if each.best else None,
            'in epoch': str(each.best['epoch']) if each.best else None,
            'epochs done': str(each.done),
            'ended': each.state,
        }
        for each in (a, b)
    ]
    rows = value_rows(*facts)
    return [*rows, ['time', *(span_text(each.seconds) for each in (a, b))]] if rows else []


def tests_sections(a, b):
    """Return the differences in test results ({title: list of rows}), by checkpoint and test set."""
    ours, theirs, main = tests_facts(a), tests_facts(b), (a.monitor or '').partition('/')[2]
    sections = {}
    for key in dict.fromkeys([*ours, *theirs]):
        (title, x, _), (_, y, _) = (facts.get(key, (None, {}, None)) for facts in (ours, theirs))
        both = key in ours and key in theirs
        sections[title or theirs[key][0]] = value_rows(x, y, lambda name, both=both: both or name == main)
    return sections


def tests_facts(run):
    """Return a run's newest tests: {(checkpoint, test set): (title, values, warning)}.

    The values (dict of str) of a test that may not compute what its run did are marked, and the warning says why.

    A test set is identified by its hash, as lists may be moved, or by its path if the hash is unknown.
    """
    facts = {}
    for test in tests_of(run, ledger_tests([run.path.parent])):
        checkpoint, path = Path(str(test.get('checkpoint'))).name, str(test.get('list') or 'not known')
        data = str(test.get('data_sha256') or '').replace('not known', '')
        title = f'test of {checkpoint} on {Path(path).name} ({data[:HASH_DIGITS] or "hash not known"})'
        values = {name: text for name, text in test['values'].items() if '/' not in name}
        values = {name: text + mark_of(test) for name, text in values.items()}
        facts[checkpoint, data or path] = title, values, warning_on(test)
    return facts


def remarks(a, b):
    """Return remarks on whether the runs and their results are comparable (list of str)."""
    lines = []
    for side, each in (('A', a), ('B', b)):
        missing = [name for name, value in (('options', each.options), ('record', each.record)) if not value]
        if missing:
            lines.append(f'{side} has no readable {" and no readable ".join(missing)}: not compared')
    hashes = [each.recorded('data', 'val', 'sha256') for each in (a, b)]
    if None not in hashes and hashes[0] != hashes[1]:
        lines.append('best values are not comparable: the runs were validated on different data')
    for side, each in (('A', a), ('B', b)):
        warnings = ((title, warning) for title, _, warning in tests_facts(each).values() if warning)
        lines += [printable(f'{warning[:1]} {side}: the {title} {warning[2:]}') for title, warning in warnings]
    lines += changed_samples(a, b)
    tests = [{data for _, data in tests_facts(each)} for each in (a, b)]
    if all(tests) and not tests[0] & tests[1]:
        lines.append('test results are not comparable: the test sets differ')
    equal = equal_epochs(a, b)
    if 0 < equal < max(a.done, b.done):
        lines.append(f'the values of the epochs are equal up to epoch {equal}')
    return lines


class SampleNumbers:
    """Names samples by their number in the list, from 1; the lists of a run may be gone."""

    input_kind = 'image'

    @staticmethod
    def sample_name(index):
        """Return the name (str) of the sample `index` (int)."""
        shard, position = index >> 32, index & (2**32 - 1)
        return f'number {position + 1}' + (f' of shard {shard + 1}' if shard else '')


def changed_samples(a, b):
    """Return remarks (list of str) on samples with other bytes in two runs with the same lists."""
    lines = []
    for split, data in DATA_OF_SPLIT.items():
        hashes = [each.recorded('data', split, 'sha256') for each in (a, b)]
        contents = [SampleHashes.read(contents_file(each.path, split)) for each in (a, b)]
        if None in (*hashes, *contents) or hashes[0] != hashes[1]:
            continue
        if difference := compare_contents(*contents, same_order=True):
            lines.append(f'from A to B, the {data}: {difference.text(SampleNumbers)}')
    return lines


def equal_epochs(a, b):
    """Return the number of first epochs with equal values in both runs (int)."""
    count = 0
    for ours, theirs in zip(a.history, b.history, strict=False):
        names = [name for name in ours if name in theirs and name.startswith(('train/', 'val/'))]
        if not names or any(ours[name] != theirs[name] for name in names):
            break
        count += 1
    return count


def source_diff(sides, ours, theirs, keep=is_run_code):
    """Return the unified diff (list of str, lines) of the source files of two `sides` (names, list of str).

    Args:
        ours, theirs: dict from relative path to bytes; {} if there is no readable archive.
        keep: function(name) -> whether a difference of the file is shown (bool).
    """
    if not (ours and theirs):
        missing = [side for side, files in zip(sides, (ours, theirs), strict=True) if not files]
        return [f'no readable source.zip: {", ".join(missing)}']
    names, lines = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)), []
    for name in filter(keep, names):
        texts = [files.get(name, b'').decode('utf-8', 'replace').splitlines() for files in (ours, theirs)]
        lines += difflib.unified_diff(*texts, *(f'{side}/{name}' for side in sides), lineterm='')
    if others := [name for name in names if not keep(name)]:
        lines.append(f'other files that differ and do not affect runs: {", ".join(others)}')
    return lines or ['the source files are equal']


def flat(nested):
    """Return {kind: {name: value}} as {'kind name': value}; {} for anything else."""
    kinds = nested.items() if isinstance(nested, dict) else ()
    return {f'{kind} {name}'.strip(): value for kind, values in kinds if isinstance(values, dict)
            for name, value in values.items()}  # fmt: skip
