"""Whether a checkpoint still is what it was when it was saved: said wherever one is loaded.

Its network is asked again (utils/provenance/output_fingerprint.py), and the code that its record names is compared with
today's (utils/provenance/code_fingerprint.py). A network that computes something else is said loudly, with what may
have done it; changed code that has no effect on it, and code that other results depend on, calmly. With --strict_record
what would be said loudly, and for a test changed code of data set, loss, metrics and the evaluation itself, is an
error.
"""

import shlex
from pathlib import Path
from typing import NamedTuple

from utils.base.errors import DanluError
from utils.base.known_archives import find_known_run
from utils.base.record_schema import recorded_args
from utils.base.registry import PROJECT
from utils.options.checks import shown
from utils.provenance.code_fingerprint import Source, describe_changes, find_changes, find_evaluation_changes
from utils.provenance.environment import versions_of
from utils.provenance.output_fingerprint import NoFingerprintError, compare_outputs
from utils.provenance.record import changed_versions, open_archive

# What each kind of component is chosen by: where the command line chooses another one, its code is not used.
OPTIONS_OF_KIND = {
    'model': ('model_type',),
    'data': ('data_type',),
    'augment': (),
    'loss': ('loss', 'task'),
    'metrics': ('task', 'metrics'),
    'evaluation': (),
}
RESULT_KINDS = ('data', 'loss', 'metrics', 'evaluation')  # what the result of a test depends on besides the network
NETWORK_OPTIONS = (  # a network
    'model_type model_args task num_classes num_targets channels image_size target_scale target_mean target_std'
).split()
MAX_DIFF_LINES = 60  # of differences in code


class CheckpointCheck(NamedTuple):
    """What came of looking at a checkpoint that was loaded.

    Attributes:
        verdict: whether the network computes what it did (str), for result.txt.
        loud: lines (list of str) for a network that computes something else.
        calm: lines for all else.
    """

    verdict: str
    failure_lines: list
    note_lines: list

    @property
    def lines(self):
        """All lines (list of str)."""
        return [*self.failure_lines, *self.note_lines]


def check_loaded(net, checkpoint, path, args, loaded, use):
    """Return the Drift of a checkpoint whose weights were just loaded.

    Args:
        net: nn.Module on its device, wrapped or not.
        checkpoint: what utils.runs.checkpoint.load_checkpoint returned.
        path: of its file; beside it, where the run left it, lies the source that changes are shown against.
        args: options by which the network was built; with strict_record drift is an error.
        loaded: lines (list of str) of utils.runs.checkpoint.load_weights: with more than one, not all weights were
            loaded.
        use: 'test'; 'resume', where utils.provenance.record says what else has changed; or 'weights', where nothing
            else is taken.

    Raises:
        DanluError: strict_record is on, and something is not as it was or cannot be compared.
    """
    differs = unknown = None
    try:
        if len(loaded) > 1:
            raise NoFingerprintError('not all weights were loaded')
        if use != 'resume' and args.load_key is not None:
            raise NoFingerprintError('--load_key chose the weights')
        differs = compare_outputs(net, checkpoint.get('fingerprint'))
    except NoFingerprintError as error:
        unknown = str(error)
    record = record_of(checkpoint)
    then = open_archive(record, Path(path).parent)
    own = then is not None and find_known_run(record['source']['sha256']) is not None
    changes = find_code_changes(checkpoint, then, args) if differs or use == 'test' else []
    failure_lines = []
    if differs:
        reasons = (
            _model_changes(changes)
            + _option_changes(checkpoint, args)
            + _environment_changes(record, checkpoint['fingerprint'], net)
        )
        failure_lines = [f'this checkpoint no longer computes what it did when it was saved: {differs}']
        failure_lines += [
            f'  {line}' for line in reasons or ['no change of code, options or versions is known to explain it']
        ]
        command = f'python eval.py --load_model_path {shlex.quote(str(path))} --code then'
        failure_lines += [f'to test it as it was: {command}'] if then and own else []
    verdict = f'no: {differs}' if differs else f'not known: {unknown}' if unknown else 'yes'
    drift = CheckpointCheck(verdict, failure_lines, _note_lines(unknown, changes, checkpoint, bool(differs), own))
    if args.strict_record:
        _raise_if_strict(drift, unknown, use == 'test' and any(change.kind in RESULT_KINDS for change in changes))
    return drift


def _raise_if_strict(drift, unknown, other_result):
    """Raise DanluError if there is something that --strict_record does not let pass."""
    if drift.failure_lines or other_result:
        raise DanluError(
            '\n'.join([*drift.failure_lines, *drift.note_lines, 'to go on all the same, leave out --strict_record'])
        )
    if unknown:
        raise DanluError(
            f'--strict_record: whether the checkpoint computes what it did when it was saved is not known: {unknown}; '
            'leave it out'
        )


def record_of(checkpoint):
    """Return the record (dict) in a checkpoint; {} where there is none, or what something else calls so."""
    record = checkpoint.get('record')
    return record if isinstance(record, dict) and isinstance(record.get('components'), dict) else {}


def find_code_changes(checkpoint, then, args):
    """Return the changes (list of components.Change) of the code that a checkpoint names, as far as it is used.

    Args:
        checkpoint: what utils.runs.checkpoint.load_checkpoint returned.
        then: Source of its run, or None.
        args: options, which may choose something else than the checkpoint's.
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
    """Return the changes of the model with their differences (list of str)."""
    lines, left = [], MAX_DIFF_LINES
    for change in (change for change in changes if change.kind == 'model'):
        diff = (change.diff or '').splitlines()
        lines += describe_changes([change]) + [f'  {line}' for line in diff[:left]]
        if len(diff) > left:
            lines.append(f'  ... and {len(diff) - left} lines more')
        left = max(left - len(diff), 0)
    return lines


def _option_changes(checkpoint, args):
    """Return the options by which the network was built differently (list of str)."""
    trained = recorded_args(checkpoint) or {}
    return [
        f'--{name}: {shown(trained[name])} -> {shown(getattr(args, name))}'
        for name in NETWORK_OPTIONS
        if name in trained and trained[name] != getattr(args, name)
    ]


def _environment_changes(record, fingerprint, net):
    """Return what differs of versions and device (list of str)."""
    found = changed_versions(record, {'versions': versions_of(record.get('versions') or ())})
    then, now = fingerprint.get('device'), next(net.parameters()).device.type
    return found + ([f'saved on {then}, loaded on {now}'] if then != now else [])


def _note_lines(unknown, changes, checkpoint, differs, own):
    """Return what is worth a line, but no alarm (list of str); `own`: whether a run of this user wrote the code."""
    lines = []
    if unknown and 'format' in checkpoint:  # else it is a state dict
        lines.append(f'whether it computes what it did when it was saved is not known: {unknown}')
    said = {kind: '; '.join(describe_changes([c for c in changes if c.kind == kind])) for kind in OPTIONS_OF_KIND}
    if said['model'] and unknown:
        lines.append(f'changed since: {said["model"]}')
    elif said['model'] and not differs:
        lines.append(f'the code of the model has changed since, and computes the same: {said["model"]}')
    results = '; '.join(describe_changes([change for change in changes if change.kind in RESULT_KINDS]))
    if results:
        compared = ', which --code both compares' if own else ''
        lines.append(f'changed since, and with it perhaps the result{compared}: {results}')
    if said['augment']:
        lines.append(f'changed since, and with it what training would do: {said["augment"]}')
    return lines
