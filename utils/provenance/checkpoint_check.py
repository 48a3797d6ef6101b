"""Checks whether a loaded checkpoint still gives the outputs it was saved with, and which code has changed since.

The network is evaluated again on the probe of the checkpoint (utils/provenance/output_fingerprint.py), and the recorded
code is compared with today's (utils/provenance/code_fingerprint.py). Different outputs are a failure, reported with
their possible causes; other changes are notes. With --strict_record, a failure is an error, and so is, in a test,
changed code of the data set, loss, metrics or evaluation.
"""

import shlex
from pathlib import Path
from typing import NamedTuple

from utils.base.abbreviation import MAX_ITEMS, enumerate_items, surround
from utils.base.errors import DanluError
from utils.base.known_archives import find_known_run
from utils.base.record_schema import recorded_args
from utils.base.registry import PROJECT
from utils.options.checks import shown
from utils.provenance.code_fingerprint import Source, describe_changes, find_changes, find_evaluation_changes
from utils.provenance.environment import versions_of
from utils.provenance.output_fingerprint import NoFingerprintError, compare_outputs
from utils.provenance.record import changed_versions, open_archive

# Options that select the code of each kind; the code of a kind is not checked if the command line changed its options.
OPTIONS_OF_KIND = {
    'model': ('model_type',),
    'data': ('data_type',),
    'augment': (),
    'loss': ('loss', 'task'),
    'metrics': ('task', 'metrics'),
    'evaluation': (),
}
RESULT_KINDS = ('data', 'loss', 'metrics', 'evaluation')  # besides the network, what the result of a test depends on
NETWORK_OPTIONS = (
    'model_type model_args task num_classes num_targets channels image_size target_scale target_mean target_std'
).split()
MAX_DIFF_LINES = 60
SAME_OUTPUTS = 'this checkpoint still gives the outputs it was saved with'


class CheckpointCheck(NamedTuple):
    """The result of `check_loaded`.

    Attributes:
        verdict: 'yes', 'no: ...' or 'not known: ...' (str): whether the outputs are the same, for result.txt.
        failure_lines: lines (list of str) if the outputs differ, else empty.
        note_lines: all other lines (list of str).
    """

    verdict: str
    failure_lines: list
    note_lines: list

    @property
    def lines(self):
        """All lines (list of str)."""
        return [*self.failure_lines, *self.note_lines]


def check_loaded(net, checkpoint, path, args, loaded, use):
    """Return the CheckpointCheck of a checkpoint whose weights were just loaded.

    Args:
        net: nn.Module on its device, wrapped or not.
        checkpoint: result of utils.runs.checkpoint.load_checkpoint.
        path: path of the checkpoint; the source.zip beside it is used for diffs.
        args: options that built the network; strict_record makes failures errors.
        loaded: lines (list of str) from utils.runs.checkpoint.load_weights; several lines mean that some weights were
            not loaded.
        use: 'test', 'resume' (utils.provenance.record reports the other changes) or 'weights' (only weights are used).

    Raises:
        DanluError: strict_record is set, and the check failed or was not possible.
    """
    differs = unknown = None
    try:
        if len(loaded) > 1:
            raise NoFingerprintError('not all weights were loaded')
        if use != 'resume' and args.load_key is not None:
            raise NoFingerprintError('--load_key selected the weights')
        differs = compare_outputs(net, checkpoint.get('fingerprint'))
    except NoFingerprintError as error:
        unknown = str(error)
    record = record_of(checkpoint)
    then = open_archive(record, Path(path).parent)
    own = then is not None and find_known_run(record['source']['sha256']) is not None
    changes = find_code_changes(checkpoint, then, args) if differs or use == 'test' else []
    failures = []
    if differs:
        causes = [*_model_changes(changes), *_option_changes(checkpoint, args)]
        causes += _environment_changes(record, checkpoint['fingerprint'], net)
        failures = [f'this checkpoint no longer gives the outputs it was saved with: {differs}']
        failures += [f'  {line}' for line in causes or ['cause not found: same code, options and versions']]
        command = f'python eval.py --load_model_path {shlex.quote(str(path))} --code then'
        failures += [f'to test with the code of the run: {command}'] if own else []
    verdict = f'no: {differs}' if differs else f'not known: {unknown}' if unknown else 'yes'
    check = CheckpointCheck(verdict, failures, _note_lines(unknown, changes, checkpoint, bool(differs), own))
    if args.strict_record:
        _raise_if_strict(check, unknown, use == 'test' and any(change.kind in RESULT_KINDS for change in changes))
    return check


def _raise_if_strict(check, unknown, other_result):
    if check.failure_lines or other_result:
        raise DanluError('\n'.join([*check.lines, 'to continue anyway, leave out --strict_record']))
    if unknown:
        raise DanluError(
            f'--strict_record: not known whether {SAME_OUTPUTS}: {unknown}; to continue anyway, leave it out'
        )


def record_of(checkpoint):
    """Return the record (dict) of a checkpoint, {} if there is none or it is not a record of Danlu."""
    record = checkpoint.get('record')
    return record if isinstance(record, dict) and isinstance(record.get('components'), dict) else {}


def find_code_changes(checkpoint, then, args):
    """Return the changes (list of code_fingerprint.Change) of the recorded code that `args` use.

    Args:
        checkpoint: result of utils.runs.checkpoint.load_checkpoint.
        then: Source of the run, or None.
        args: options, which may select other code than the checkpoint's.
    """
    trained = recorded_args(checkpoint) or {}
    used = {
        kind
        for kind, names in OPTIONS_OF_KIND.items()
        if all(trained.get(name, getattr(args, name)) == getattr(args, name) for name in names)
    }
    now = Source(PROJECT)
    found = find_changes(record_of(checkpoint), then, now)
    found += find_evaluation_changes(then, now) if then is not None else []
    return [change for change in found if change.kind in used]


def _model_changes(changes):
    """Return the changes of the model with their diffs (list of str), at most MAX_ITEMS and MAX_DIFF_LINES."""
    changes = [change for change in changes if change.kind == 'model']
    lines, remaining = [], MAX_DIFF_LINES
    for change in changes[:MAX_ITEMS]:
        diff = (change.diff or '').splitlines()
        lines += describe_changes([change]) + [f'  {line}' for line in diff[:remaining]]
        if len(diff) > remaining:
            lines.append(f'  ... and {len(diff) - remaining} more lines')
        remaining = max(remaining - len(diff), 0)
    return lines + ([f'and {len(changes) - MAX_ITEMS} more changes of the model'] if len(changes) > MAX_ITEMS else [])


def _option_changes(checkpoint, args):
    """Return the changed options of the network (list of str)."""
    trained = recorded_args(checkpoint) or {}
    return [
        f'--{name}: {shown(trained[name])} -> {shown(getattr(args, name))}'
        for name in NETWORK_OPTIONS
        if name in trained and trained[name] != getattr(args, name)
    ]


def _environment_changes(record, fingerprint, net):
    """Return the changed versions and the changed device (list of str)."""
    found = changed_versions(record, {'versions': versions_of(record.get('versions') or ())})
    then, now = fingerprint.get('device'), next(net.parameters()).device.type
    return found + ([f'saved on {then}, loaded on {now}'] if then != now else [])


def _note_lines(unknown, changes, checkpoint, differs, own):
    """Return the notes (list of str); `own` (bool): the code of the run is the user's own."""
    lines = []
    if unknown and 'format' in checkpoint:  # else it is a state dict
        lines.append(f'not known whether {SAME_OUTPUTS}: {unknown}')

    def add(text, kinds):
        if items := describe_changes([change for change in changes if change.kind in kinds]):
            lines.append(surround(f'changed since the run{text}: ', enumerate_items(items)))

    if not differs:
        add('' if unknown else ', with the same outputs', ('model',))
    add(f', which may change the result{" (to compare: --code both)" if own else ""}', RESULT_KINDS)
    add(', which affects training only', ('augment',))
    return lines
