"""Show in what two runs differ: options, components, code, data, environment, results: runs.py diff A B."""

import argparse
import difflib
import hashlib
from pathlib import Path

from options import train_parser
from scripts.run_commands.finding import find_run
from scripts.run_commands.results import ledger_tests, tests_of
from scripts.run_commands.run import parse_option
from scripts.run_commands.sources import archived_files
from utils.base.text_table import printable, span_text, table, terminal_width
from utils.options.args_file import options_of
from utils.options.arguments import option_line
from utils.options.defaults import CHOSEN_BY
from utils.options.migrations import before_of
from utils.options.needs import is_used
from utils.provenance.project_source import is_run_code

ASIDE = {*train_parser().names(repeated=False), 'save_prefix', 'checkpoints_dir'}  # where a run lies, not what it is
# Of env.txt: what is another in any two runs, and what the section on code says.
ENV_ASIDE = ('command', 'directory', 'date', 'resumed', 'source sha256', 'code sha256', 'git commit', 'git state')
HASH = 12  # digits of a hash that are shown
SINGLE = 3  # definitions of a kind that one run alone used which are named; of more their files are
FILES = 4  # that are named


def add_arguments(parser):
    """Declare what the command takes."""
    parser.add_argument('runs', nargs=2, metavar='RUN', help='names of the runs')
    parser.add_argument('--code', action='store_true', help='show the differences of their source files too')


def run(args):
    """Print what differs."""
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
        begun = f', begun {each.started:%Y-%m-%d %H:%M}' if each.started else ''
        print(printable(f'{side}  {each.name}  ({each.state}{begun})'))
    if not any(sections.values()):
        print('no difference')
    for title, rows in sections.items():
        if rows:
            lines, _ = table([title, 'A', 'B'], rows, terminal_width(), flexible=(title, 'A', 'B'))
            print('', *lines, sep='\n')
    if said := remarks(a, b):
        print('', *said, sep='\n')
    if args.code:
        print('', *map(printable, source_diff(a, b)), sep='\n')


def rows_of(a, b, show, keep=lambda name: True):
    """Return [name, text, text] for each name whose value differs in two dicts; `show` makes a value (or None) text."""
    names = [name for name in dict.fromkeys([*a, *b]) if keep(name) and a.get(name) != b.get(name)]
    return [[name, show(a.get(name)), show(b.get(name))] for name in names]


def options_rows(a, b):
    """Return the options that differ (list of rows)."""
    if not (a.options and b.options):
        return []
    past = past_options()
    ours, theirs = {**past, **a.options}, {**past, **b.options}
    unused = unused_options(ours) & unused_options(theirs)
    return rows_of(ours, theirs, option_text, lambda name: name not in ASIDE and name not in unused)


def unused_options(options):
    """Return those of CHOSEN_BY (set of str) that a run (dict as Run.options) does not use but may record."""
    parser = train_parser()
    run = argparse.Namespace(**{**vars(parser.parse_args([])), **options})
    return {action.dest for action in options_of(parser) if action.dest in CHOSEN_BY and not is_used(action, run)}


def past_options():
    """Return what runs of before each of today's options did (dict as Run.options): nothing, or its default."""
    lines = (option_line(action.dest, before_of(action, {})) for action in options_of(train_parser()))
    return {name: value for name, value, _ in map(parse_option, lines)}


def option_text(value):
    """Return an option's value as text (str)."""
    if value is None or isinstance(value, bool):
        return {None: 'not set', True: 'on', False: 'off'}[value]
    return ' '.join(value) if isinstance(value, list) else value


def components_rows(a, b):
    """Return the classes and functions whose code differs, or that one of the runs alone used (list of rows)."""
    ours, theirs = (each.recorded('components') for each in (a, b))
    if not (flat(ours) and flat(theirs)):
        return []
    rows = []
    for kind in dict.fromkeys([*ours, *theirs]):
        x, y = (flat({kind: each.get(kind)}) for each in (ours, theirs))
        alone = [[name for name in one if name not in other] for one, other in ((x, y), (y, x))]
        many = {name for names in alone if len(names) > SINGLE for name in names}
        rows += rows_of(x, y, lambda value: 'not used' if value is None else str(value)[:HASH],
                        lambda name, many=many: name not in many)  # fmt: skip
        for names, used in zip(alone, (['used', 'not used'], ['not used', 'used']), strict=True):
            rows += [[summary(kind, names), *used]] if len(names) > SINGLE else []
    return rows


def summary(kind, names):
    """Return what stands for many components (list of 'kind name') in one line (str): how many, and where they are."""
    files = list(dict.fromkeys(name.removeprefix(f'{kind} ').rpartition('.')[0] for name in names))
    more = f' and {len(files) - FILES} more' if len(files) > FILES else ''
    return f'{kind} {len(names)} of {", ".join(files[:FILES])}{more}'


def code_rows(a, b):
    """Return the commits where they differ, and the source files of runs that do (list of rows)."""
    commits = [each.commit and each.commit[:HASH] + '+' * each.commit.endswith('+') for each in (a, b)]
    rows = rows_of(*({'git commit': commit} for commit in commits), lambda commit: commit or 'not recorded')
    codes = [each.recorded('code') for each in (a, b)]
    if None in codes or codes[0] == codes[1]:
        return rows
    files = ({name: hashlib.sha256(content).hexdigest() for name, content in archived_files(each).items()}
             for each in (a, b))  # fmt: skip
    return rows + rows_of(*files, lambda digest: 'not there' if digest is None else digest[:HASH], is_run_code)


def data_rows(a, b):
    """Return what differs in the lists and their contents (list of rows)."""
    ours, theirs = (data_facts(each.recorded('data')) for each in (a, b))
    return rows_of(ours, theirs, lambda value: 'not known' if value is None else value) if ours and theirs else []


def data_facts(recorded):
    """Return what a record says of the data as texts: {'val sha256': '0a1b2c...', 'val targets': ...}."""
    facts = {}
    for name, value in flat(recorded).items():
        if name.endswith(' parts') and isinstance(value, dict):
            facts |= {f'{name.removesuffix("parts")}{part}': str(digest)[:HASH] for part, digest in value.items()}
        elif isinstance(value, list):  # what both splits have
            facts[name] = '; '.join(map(str, value)) or 'none'
        elif value is not None:
            facts[name] = str(value)[:HASH] if name.endswith('sha256') else str(value)
    return facts


def environment_rows(a, b):
    """Return what differs in versions and machine (list of rows)."""
    ours, theirs = ({**each.env, **flat({'': each.recorded('versions')})} for each in (a, b))
    if not (ours and theirs):
        return []
    return rows_of(ours, theirs, lambda value: str(value or 'not recorded'), lambda name: name not in ENV_ASIDE)


def results_rows(a, b):
    """Return what came out where that differs (list of rows): the best epoch, and how far it came."""
    facts = [
        {
            'best': f'{each.monitor} {each.best["text"]}' if each.best else None,
            'in epoch': each.best and each.best['epoch'],
            'epochs done': each.done,
            'ended': each.state,
        }
        for each in (a, b)
    ]
    rows = rows_of(*facts, lambda value: 'none' if value is None else str(value))
    return [*rows, ['time', *(span_text(each.seconds) for each in (a, b))]] if rows else []


def tests_sections(a, b):
    """Return the values of tests that differ ({title: list of rows}), by checkpoint and test set."""
    ours, theirs, main = tests_facts(a), tests_facts(b), (a.monitor or '').partition('/')[2]
    sections = {}
    for key in dict.fromkeys([*ours, *theirs]):
        (title, x), (_, y) = (facts.get(key, (None, {})) for facts in (ours, theirs))
        both = key in ours and key in theirs
        sections[title or theirs[key][0]] = rows_of(x, y, lambda text: text or 'none',
                                                    lambda name, both=both: both or name == main)  # fmt: skip
    return sections


def tests_facts(run):
    """Return a run's newest tests: {(checkpoint, test set): (title, values, dict of str)}.

    A test set is known by its hash, as lists are moved; without one by its path.
    """
    facts = {}
    for test in tests_of(run, ledger_tests([run.path.parent])):
        checkpoint, where = Path(str(test.get('checkpoint'))).name, str(test.get('list') or 'not known')
        data = str(test.get('data_sha256') or '').replace('not known', '')
        title = f'test of {checkpoint} on {Path(where).name} ({data[:HASH] or "its hash is not known"})'
        values = {name: text for name, text in test['values'].items() if '/' not in name}
        facts[checkpoint, data or where] = title, values
    return facts


def remarks(a, b):
    """Return what has to be known when results are compared (list of str)."""
    lines = []
    for side, each in (('A', a), ('B', b)):
        lacking = [what for what, there in (('options', each.options), ('record', each.record)) if not there]
        if lacking:
            lines.append(f'{side} has no {" and no ".join(lacking)} that can be read, so those are not compared')
    hashes = [each.recorded('data', 'val', 'sha256') for each in (a, b)]
    if None not in hashes and hashes[0] != hashes[1]:
        lines.append('validated on different data: their best values cannot be compared')
    tests = [{data for _, data in tests_facts(each)} for each in (a, b)]
    if all(tests) and not tests[0] & tests[1]:
        lines.append('tested on different test sets: the values of their tests cannot be compared')
    equal = equal_epochs(a, b)
    if 0 < equal < max(a.done, b.done):
        lines.append(f'the values of their epochs are the same up to epoch {equal}')
    return lines


def equal_epochs(a, b):
    """Return how many of the first epochs have the same values in both runs (int)."""
    count = 0
    for ours, theirs in zip(a.history, b.history, strict=False):
        names = [name for name in ours if name in theirs and name.startswith(('train/', 'val/'))]
        if not names or any(ours[name] != theirs[name] for name in names):
            break
        count += 1
    return count


def source_diff(a, b):
    """Return the differences of two runs' source files as a unified diff (list of str, lines)."""
    ours, theirs = archived_files(a), archived_files(b)
    if not (ours and theirs):
        lacking = [each.name for each, files in ((a, ours), (b, theirs)) if not files]
        return [f'no source.zip that can be read: {", ".join(lacking)}']
    names, lines = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)), []
    for name in filter(is_run_code, names):
        texts = [files.get(name, b'').decode('utf-8', 'replace').splitlines() for files in (ours, theirs)]
        lines += difflib.unified_diff(*texts, f'{a.name}/{name}', f'{b.name}/{name}', lineterm='')
    if others := [name for name in names if not is_run_code(name)]:
        lines.append(f'other files, which take no part in runs, differ too: {", ".join(others)}')
    return lines or ['the source files are the same']


def flat(parts):
    """Return {kind: {name: value}} as one dict from 'kind name', {} for what is none."""
    kinds = parts.items() if isinstance(parts, dict) else ()
    return {f'{kind} {name}'.strip(): value for kind, values in kinds if isinstance(values, dict)
            for name, value in values.items()}  # fmt: skip
