"""Whether a test gives the values that were recorded for its checkpoint, and what has changed since.

    judge = Judge(evaluator, checkpoint)     # before the test; finds the recorded values
    verdict = judge.verdict(results, seen)   # after the test

Values decide. If they are equal to the recorded ones, changed code had no effect on them, and one line says so. If they
differ, the test says so first, with what has changed. Without recorded values, changes of the code are reported.
"""

import math
from typing import NamedTuple

from options import test_parser
from utils.base.abbreviation import MAX_ITEMS, enumerate_items, surround
from utils.base.errors import DanluError
from utils.base.record_schema import recorded_args
from utils.base.text_table import number_text
from utils.options.given_parts import described
from utils.options.migrations import migrate
from utils.provenance.causes import (
    Cause,
    component_causes,
    describe_causes,
    environment_causes,
    file_causes,
    option_causes,
    unread_file_causes,
)
from utils.provenance.checkpoint_check import NOT_ALL_LOADED, command_then, record_of
from utils.provenance.code_fingerprint import describe_changes
from utils.provenance.earlier_values import (
    Conditions,
    describe_differences,
    differences,
    merged,
    tested_values,
    validation_values,
)
from utils.provenance.recorded_code import comparison_table
from utils.runs.ledger import ledger_of
from utils.runs.results import CODE_CHANGED, DIFFERS, EQUAL, NOT_COMPARED, OUTPUTS_DIFFER
from utils.tasks.tasks import is_loss

# Options without effect on values, or only on their last digits; the data is compared by its hash.
WITHOUT_EFFECT = (
    'num_workers',
    'threads',
    'seed',
    'val_list',
    'data_root',
    'channels_last',
    'compile',
    'deterministic',
)


class ChangedValuesError(DanluError):
    """With --strict_record: the test is complete, and its values are not the recorded ones."""

    status = 1


class Verdict(NamedTuple):
    """The result of comparing a test with recorded values.

    Attributes:
        state: EQUAL, DIFFERS, OUTPUTS_DIFFER, CODE_CHANGED or NOT_COMPARED of utils.runs.results (str).
        text: one line (str) for result.txt, the ledger and the page.
        lines: lines (list of str) to print before the values.
        causes: what has changed, if the values differ (list of str).
    """

    state: str
    text: str
    lines: list
    causes: list

    def raise_if_differs(self, directory):
        """Raise ChangedValuesError if the values differ; `directory`: of the results."""
        if self.state == DIFFERS:
            raise ChangedValuesError(
                f'--strict_record: the values are not those recorded for this checkpoint: {self.text}. The results are '
                f'in {directory}'
            )


class Judge:
    """Compares a test with the values recorded for its checkpoint.

    Args:
        evaluator: eval.Evaluator with its data and network.
        checkpoint: result of utils.runs.checkpoint.load_checkpoint.
        parts: the ready-made loss and metrics (dict from the role to the object or None).

    Raises:
        DanluError: --strict_record is set, there are no recorded values, and it is not known whether the test computes
            what it did.
    """

    def __init__(self, evaluator, checkpoint, parts):
        self.args, self.check, self.checkpoint = evaluator.args, evaluator.check, checkpoint
        self.monitor = getattr(evaluator.metrics, 'monitor', None)
        self.conditions = Conditions(
            evaluator.checkpoint_sha256,
            evaluator.data['sha256'],
            evaluator.data['samples'],
            changed_options(self.args, checkpoint, parts),
            evaluator.device.type,
            self.args.amp,
        )
        validation = validation_values(checkpoint, self.conditions)
        self.reason = validation if isinstance(validation, str) else None
        if self.check.unknown == NOT_ALL_LOADED or self.args.load_key is not None:
            self.reason = self.check.unknown
        self.earlier = [] if self.reason else [validation]
        directory = ledger_of(self.args.load_model_path, self.args.checkpoints_dir).parent
        self.earlier += tested_values(directory, self.conditions)
        if self.args.strict_record and not self.earlier:
            self._raise_if_unknown()

    def _raise_if_unknown(self):
        unknown, changes = self.check.unknown, self.check.result_changes
        if changes:
            raise DanluError(
                '\n'.join(
                    [
                        f'--strict_record: no earlier values can be compared ({self.reason}), and code has changed:',
                        *(f'  {line}' for line in describe_causes(component_causes(changes))),
                        'to continue anyway, leave out --strict_record',
                    ]
                )
            )
        if unknown:
            raise DanluError(
                f'--strict_record: not known whether this checkpoint still gives the outputs it was saved with: '
                f'{unknown}; there are no earlier values to compare either ({self.reason}); to continue anyway, '
                'leave out --strict_record'
            )

    def notes(self):
        """Return lines (list of str) to print before the test: what has changed, if no values can be compared."""
        check, lines = self.check, []
        if self.earlier or 'format' not in self.checkpoint:
            return []
        if check.unknown:
            lines = [f'not known whether this checkpoint still gives the outputs it was saved with: {check.unknown}']
        if self._lacks_archive():
            lines.append(f'not compared: the code of the evaluation, as {self._lacking_archive()}')
        if items := describe_changes(check.result_changes):
            hint = ' (to compare: --code both)' if self._command() else ''
            lines.append(
                surround(f'changed since the run, which may change the result{hint}: ', enumerate_items(items))
            )
        return lines

    def _lacks_archive(self):
        """Return whether the code has changed, and there is no source.zip to compare it with (bool)."""
        recorded = bool(record_of(self.checkpoint))
        return recorded and self.check.archive is None and not self.check.is_same_code

    def _lacking_archive(self):
        return (
            f'there is no readable source.zip beside {self.args.load_model_path}; copy it from the directory of the run'
        )

    def _command(self):
        return command_then(record_of(self.checkpoint), self.check.archive, self.args.load_model_path)

    def verdict(self, values, seen, contents):
        """Return the Verdict on a test.

        Args:
            values: dict from a name to a float.
            seen: number of samples (int).
            contents: data.checks.contents_check.TestContents, which says what has changed of the samples' bytes.
        """
        compared = [name for name in self.recorded if name in values]
        if not compared:
            return self._verdict_without_values(self.reason or 'none of the recorded values is among those of the test')
        found = self.differences(values, seen)
        doubt = next((each.doubt for each in self.earlier if each.doubt), None)
        if found and doubt:
            return self._verdict_without_values(f'{doubt} ({describe_differences(found)})')
        return self._different(found, contents) if found else self._equal(compared, values)

    def differences(self, values, seen):
        """Return which values (dict) of `seen` samples are not the recorded ones (list of Difference, main first)."""
        found = differences(values, merged(self.earlier), self.conditions._replace(samples=seen))
        return sorted(found, key=lambda each: (each.name != self.monitor, '/' in each.name, is_loss(each.name)))

    def comparison(self, then, now):
        """Return the table (list of str) of --code both: recorded values, those of the run's code, and today's."""
        others = [each.name for each in self.differences(then, self.conditions.samples)]
        return comparison_table(then, now, self.recorded, others)

    @property
    def recorded(self):
        """The recorded values (dict from a name to a float)."""
        return {name: value for name, (value, _) in merged(self.earlier).items()}

    def _equal(self, compared, values):
        many = f'{len(compared)} values are equal to those' if len(compared) > 1 else '1 value is equal to that'
        rounding = describe_rounding({name: abs(values[name] - self.recorded[name]) for name in compared})
        text, lines = f'{many} recorded {self.earlier[0].when}{rounding}', []
        changes = [change for change in self.check.changes if change.kind != 'augment']
        if items := describe_changes(changes):
            more = f' and {len(items) - MAX_ITEMS} more' if len(items) > MAX_ITEMS else ''
            text += f'; code changed since: {", ".join(items[:MAX_ITEMS])}{more}'
            lines = [surround(f'code changed since the run, values equal{rounding}: ', enumerate_items(items))]
        return Verdict(EQUAL, text, lines, [])

    def _different(self, found, contents):
        text = describe_differences(found)
        causes = self.causes(self._changes_of_data(contents))
        same = 'not the recorded values, for the same checkpoint, data, batch size and options; changed since:'
        told = describe_causes(causes, with_diffs=not self.check.failure_lines)  # else the diffs were printed
        lines = [text, same, *(f'  {line}' for line in told), *(self._command() if causes else [])]
        return Verdict(DIFFERS, text, lines, [cause.text for cause in causes] or describe_causes([]))

    def _changes_of_data(self, contents):
        """Return what has changed of the samples' bytes since the run, or since an earlier test (list of str)."""
        now = (contents.record or {}).get('sha256')
        when = next((each.when for each in self.earlier if each.contents and now and each.contents != now), None)
        return contents.differences or ([f'the bytes of samples are not those {when}'] if when else [])

    def causes(self, data):
        """Return what has changed (list of utils.provenance.causes.Cause), the likely causes first.

        Args:
            data: what has changed of the samples (list of str).
        """
        check = self.check
        changes = [change for change in check.changes if change.kind != 'augment']
        causes = [*component_causes(changes), *map(Cause, data)]
        causes += file_causes(check.archive, {change.path for change in changes})
        if self._lacks_archive():
            causes.append(Cause(f'not compared: files of the project, as {self._lacking_archive()}'))
        names = [name for name in test_parser().names(from_checkpoint=True) if name not in WITHOUT_EFFECT]
        causes += option_causes(self.checkpoint, self.args, names)
        return causes + environment_causes(record_of(self.checkpoint)) + unread_file_causes(check.archive)

    def _verdict_without_values(self, reason):
        items = describe_changes(self.check.result_changes)
        text = f'no earlier values to compare: {reason}'
        if self.check.failure_lines:
            return Verdict(OUTPUTS_DIFFER, f'{text}; the network gives other outputs for the probe', [], [])
        if items:
            return Verdict(CODE_CHANGED, f'{text}; code changed since: {", ".join(items[:MAX_ITEMS])}', [], [])
        return Verdict(NOT_COMPARED, text, [], [])


def describe_rounding(gaps):
    """Return which value differs most by rounding (str: ' to rounding (loss differs by 1.6e-06)'), '' if all are equal.

    Args:
        gaps: absolute differences from the recorded values (dict from a name to a float).
    """
    name, gap = max(gaps.items(), key=lambda each: 0.0 if math.isnan(each[1]) else each[1])
    return f' to rounding ({name} differs by {number_text(gap)})' if gap > 0 else ''


def changed_options(args, checkpoint, parts):
    """Return what a test has otherwise than its checkpoint by the user's wish: {name: value}.

    Args:
        args: options of the test.
        checkpoint: result of utils.runs.checkpoint.load_checkpoint.
        parts: the ready-made loss and metrics (dict from the role to the object or None).
    """
    trained, given = migrate(recorded_args(checkpoint) or {}, args.__contains__), getattr(args, 'given', ())
    names = [name for name in test_parser().names(from_checkpoint=True) if name not in WITHOUT_EFFECT]
    found = {f'--{name}': getattr(args, name) for name in names if name in given and name in trained}
    found = {name: value for name, value in found.items() if trained[name[2:]] != value}
    recorded = trained.get('given_parts') or {}
    for role, part in parts.items():
        then, now = (recorded.get(role) or {}).get('class'), None if part is None else described(part)['class']
        found |= {f'ready-made {role}': now} if now != then else {}
    return found
