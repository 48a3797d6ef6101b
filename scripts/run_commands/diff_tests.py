"""The differences between two tests, or between a test and a run, for runs.py diff."""

import os
from pathlib import Path
from typing import NamedTuple

from scripts.run_commands.run_code import archived_files, files_in, kept_archive_of
from utils.provenance.project_source import kept_files
from utils.runs.results import RESULT, ledger_tests, result_test
from utils.runs.run import Run, parse_option, read_text

# Facts that differ between any two tests, or that other sections show.
NOT_COMPARED_FACTS = {
    *('date', 'at', 'command', 'directory', 'result_dir', 'file', 'owner', 'run', 'values', 'options'),
    *('code', 'source', 'commit', 'git commit', 'made_by', 'checkpoint'),
    *('changed_options', 'device', 'verdict_text', 'causes', 'changed since'),
}
NOT_COMPARED_OPTIONS = {'result_dir', 'save_prefix', 'checkpoints_dir', 'report', 'load_model_path'}


class Side(NamedTuple):
    """A test, or a run, that is compared with a test.

    Attributes:
        name: for the head of the table (str).
        options: as Run.options (dict).
        facts: what was tested (dict of str).
        values: the metrics as printed (dict of str); of a run those of its best epoch.
        code: hash of the run code (str), or None.
        files: the source files (dict from relative path to bytes); {} if they were not kept.
    """

    name: str
    options: dict
    facts: dict
    values: dict
    code: str | None
    files: dict


def find_test(wanted, checkpoints_dir):
    """Return the test (dict, see results.py) of a result directory or result file, or None if there is none.

    A test whose directory was removed is found in the ledger by the path of the directory.
    """
    paths = [Path(checkpoints_dir) / wanted, Path(wanted).expanduser()]
    for path in paths:
        if RESULT.fullmatch(path.name) and path.is_file():
            return result_test(path, _owner(path))
        if (path / 'result.txt').is_file():
            return result_test(path / 'result.txt', _owner(path))
    known = {os.path.abspath(path) for path in paths if not path.exists()}
    for test in reversed(ledger_tests([Path(checkpoints_dir)])):
        if os.path.abspath(str(test.get('result_dir') or '')) in known:
            return test
    return None


def _owner(path):
    """Return the directory of the run (Path) that a path of a test lies in, or None."""
    return next((parent for parent in Path(path).absolute().parents if Run(parent).has_args), None)


def side_of_test(test, checkpoints_dir):
    """Return the Side of a test (dict, see results.py)."""
    directory = Path(test['result_dir'])
    name = 'args.txt' if test['file'] is None else test['file'].name.replace('result', 'args')
    options = {option[0]: option[1] for line in read_text(directory / name).splitlines()
               if (option := parse_option(line))}  # fmt: skip
    facts = {name: str(value) for name, value in test.items() if name not in NOT_COMPARED_FACTS}
    facts['checkpoint'] = Path(str(test.get('checkpoint'))).name
    date = f'  ({test["at"]:%Y-%m-%d %H:%M:%S})' if test['at'] else ''
    archive = kept_archive_of(test, checkpoints_dir)
    files = {} if archive is None else kept_files(files_in(archive))
    return Side(f'test {directory}{date}', options, facts, test['values'], test.get('code'), files)


def side_of_run(run):
    """Return the Side of a Run: its options and code, and the validation values of its best epoch."""
    row = next((row for row in run.history if run.best and row['epoch'] == str(run.best['epoch'])), {})
    values = {name.removeprefix('val/'): text for name, text in row.items() if name.startswith('val/')}
    return Side(
        f'{run.name}, the run  ({run.state})',
        run.options,
        {},
        values,
        run.recorded('code'),
        kept_files(archived_files(run)),
    )
