"""What tables of runs show: facts about each run, its newest test, and the options in which runs differ."""

import os
from functools import lru_cache

from utils.runs.results import ledger_texts, result_files, result_test, run_tests, tests_in
from utils.runs.run import as_number


@lru_cache
def hidden_options():
    """Return the options (set of str) without a column: those that do not define the experiment, and `epochs`."""
    from options import train_parser  # imported on use, as options.py imports this package

    return {*train_parser().names(experiment=False), 'epochs'}


class NewestTests:
    """The newest tests of runs, from the ledgers in `directories` (list of Path) or from result.txt."""

    def __init__(self, directories):
        self.by_owner, self.ledgers = {}, ledger_texts(directories)
        for test in tests_in(self.ledgers):
            self.by_owner.setdefault(test['owner'] and test['owner'].name, []).append(test)
        self.found = {}

    def newest(self, run):
        """Return the newest test of best.pth (dict) and its value of the monitored metric (float), or (None, None)."""
        if run.name not in self.found:
            self.found[run.name] = self._newest(run)
        return self.found[run.name]

    def _newest(self, run):
        name = (run.monitor or '').partition('/')[2]
        tests = run_tests(run, self.by_owner.get(os.path.basename(os.path.realpath(run.path)), []))
        if not tests and 'best' in run.files:
            tests = [result_test(path, run.path) for path in result_files(run.path / 'best')]
        found = [test for test in tests
                 if str(test.get('checkpoint', '')).endswith('best.pth') and name in test['values']]  # fmt: skip
        newest = max(found, key=lambda test: str(test['at'] or ''), default=None)
        return (newest, as_number(newest['values'][name])) if newest else (None, None)


def differing_options(runs):
    """Return the names (list of str) of the options in which runs differ, in the order of args.txt; all for one run."""
    hidden = hidden_options()
    names = dict.fromkeys(name for run in runs for name in run.options if name not in hidden)
    found = []
    for name in names:
        values = {str(run.options.get(name)) for run in runs if run.options}
        if (len(values) > 1 or len(runs) == 1) and any(name in run.marked for run in runs):
            found.append(name)
    return found


def facts_of(run, tests):
    """Return the facts about a run in the list (dict of plain values; None if unknown)."""
    test, value = tests.newest(run)
    return {
        'name': run.name,
        'date': run.started and run.started.isoformat(sep=' ', timespec='seconds'),
        'epochs_done': run.done,
        'epochs': run.epochs,
        'metric': run.monitor,
        'best': run.best and finite(run.best['value']),
        'best_epoch': run.best and run.best['epoch'],
        'test': finite(value),
        'test_list': test and test.get('list'),
        'test_verdict': test and test.get('verdict'),
        'seconds': finite(run.seconds),
        'state': run.state,
        'commit': run.commit,
        'note': run.notes[-1] if run.notes else None,
        'path': str(run.path),
    }


def finite(value):
    """Return a number, or None for nan and infinity, which JSON does not have."""
    return value if value is None or value - value == 0 else None
