"""Checks whether a loaded checkpoint still gives the outputs it was saved with, and which code has changed since.

The network is evaluated again on the probe of the checkpoint (utils/provenance/output_fingerprint.py). Other outputs
are a failure, reported with their possible causes (utils/provenance/causes.py); with --strict_record, it is an error.
Equal outputs for the probe do not prove that the network computes the same for all inputs, so a test compares its
values too (utils/evaluation/verdict.py).
"""

import shlex
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from utils.base.errors import DanluError
from utils.base.known_archives import find_known_run
from utils.base.record_schema import recorded_args
from utils.base.registry import PROJECT
from utils.provenance.causes import (
    Cause,
    component_causes,
    describe_causes,
    environment_causes,
    file_causes,
    option_causes,
)
from utils.provenance.code_fingerprint import Source, find_changes, find_evaluation_changes
from utils.provenance.output_fingerprint import NoFingerprintError, compare_outputs, describe_probe
from utils.provenance.project_source import NON_RUN_DIRECTORIES, code_hash, read_files
from utils.provenance.record import open_archive
from utils.provenance.symbol_resolver import EXTERNAL_MARK
from utils.runs.checkpoint import MisfitError

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
SAME_OUTPUTS = 'as when saved'
NOT_ALL_LOADED = 'not all weights were loaded'


class CheckpointCheck(NamedTuple):
    """The result of `check_loaded`.

    Attributes:
        outputs: 'as when saved', 'differ: ...' or 'not compared: ...' (str): the outputs for the probe, for result.txt.
        failure_lines: lines (list of str) if the outputs differ, else empty.
        note_lines: all other lines (list of str).
        changes: the recorded code that has changed since and is in use (list of code_fingerprint.Change).
        archive: Source of the run's source.zip, or None.
        unknown: why the outputs were not compared (str), or None.
        is_same_code: whether all code of the project is as in the run (bool); False if it was not compared.
    """

    outputs: str
    failure_lines: list
    note_lines: list
    changes: list
    archive: Any
    unknown: str | None
    is_same_code: bool

    @property
    def lines(self):
        """All lines (list of str)."""
        return [*self.failure_lines, *self.note_lines]

    @property
    def result_changes(self):
        """The changes of code that the result of a test depends on besides the network (list)."""
        return [change for change in self.changes if change.kind in RESULT_KINDS]


def check_loaded(net, checkpoint, path, args, loaded, use):
    """Return the CheckpointCheck of a checkpoint whose weights were just loaded.

    Args:
        net: nn.Module on its device, wrapped or not.
        checkpoint: result of utils.runs.checkpoint.load_checkpoint.
        path: path of the checkpoint; the source.zip beside it is used for diffs.
        args: options that built the network; strict_record makes failures errors.
        loaded: lines (list of str) from utils.runs.checkpoint.load_weights; several lines mean that some weights were
            not loaded.
        use: 'test' (utils.evaluation.verdict reports changes besides the network's outputs), 'resume'
            (utils.provenance.record reports them) or 'weights' (only weights are used).

    Raises:
        DanluError: strict_record is set, and the outputs differ, or, unless it is a test, could not be compared.
    """
    differs, unknown = _compare(net, checkpoint, args, loaded, use)
    record = record_of(checkpoint)
    then = open_archive(record, Path(path).parent)
    is_compared = differs is not None or use == 'test'
    same = is_compared and is_same_code(record)
    changes = find_code_changes(checkpoint, then, args) if is_compared and not same else []
    failures, outputs = [], f'not compared: {unknown}'
    if differs is not None:
        told, _, layer = differs.partition('\n')
        failures = [f'this checkpoint no longer gives the outputs it was saved with: {told}', *filter(None, [layer])]
        causes = _network_causes(checkpoint, then, changes, args, net)
        failures += [f'  {line}' for line in describe_causes(causes)] + command_then(record, then, path)
        outputs = f'differ: {differs}'.replace('\n', '; ')
    elif unknown is None:
        outputs = f'{SAME_OUTPUTS} ({describe_probe(checkpoint["fingerprint"])})'
    notes = []
    if unknown and 'format' in checkpoint and use != 'test':  # else it is a state dict
        notes = [f'not known whether this checkpoint still gives the outputs it was saved with: {unknown}']
    check = CheckpointCheck(outputs, failures, notes, changes, then, unknown, same)
    if args.strict_record:
        _raise_if_strict(check, use)
    return check


def _compare(net, checkpoint, args, loaded, use):
    """Return how the outputs of a network differ (str or None), and why they were not compared (str or None)."""
    try:
        if len(loaded) > 1:
            raise NoFingerprintError(NOT_ALL_LOADED)
        if use != 'resume' and args.load_key is not None:
            raise NoFingerprintError('--load_key selected the weights')
        return compare_outputs(net, checkpoint.get('fingerprint')), None
    except NoFingerprintError as error:
        return None, str(error)


def _raise_if_strict(check, use):
    if check.failure_lines:
        raise DanluError('\n'.join([*check.lines, 'to continue anyway, leave out --strict_record']))
    if check.unknown and use != 'test':
        raise DanluError(
            f'--strict_record: not known whether this checkpoint still gives the outputs it was saved with: '
            f'{check.unknown}; to continue anyway, leave out --strict_record'
        )


@contextmanager
def explain_misfit(checkpoint, path, args):
    """Return a context in which a MisfitError also says what has changed of the network's code and options.

    Args:
        checkpoint: result of utils.runs.checkpoint.load_checkpoint.
        path: path of the checkpoint; the source.zip beside it is used for diffs.
        args: options that built the network.
    """
    try:
        yield
    except MisfitError as error:
        record = record_of(checkpoint)
        then = open_archive(record, Path(path).parent)
        changes = [change for change in find_code_changes(checkpoint, then, args) if change.kind == 'model']
        causes = component_causes(changes) + option_causes(checkpoint, args, NETWORK_OPTIONS)
        if not causes:
            raise
        lines = [f'  {line}' for line in describe_causes(causes)]
        told = [str(error), 'changed since the run:', *lines, *(command_then(record, then, path) if changes else [])]
        raise MisfitError('\n'.join(told)) from error


def command_then(record, then, path):
    """Return how to test with the code of the run (list of one str), [] if its source.zip is not the user's own.

    Args:
        record: record of the run (dict).
        then: Source of its source.zip, or None.
        path: path of the checkpoint.
    """
    if then is None or find_known_run(record['source']['sha256']) is None:
        return []
    beside = Path(then.place).parent.resolve() == Path(path).parent.resolve()
    code = 'then' if beside else shlex.quote(str(then.place))  # a copied checkpoint
    return [
        f'to test with the code of the run: python eval.py --load_model_path {shlex.quote(str(path))} --code {code}'
    ]


def _network_causes(checkpoint, then, changes, args, net):
    """Return the Causes (list) why a network may give other outputs."""
    record, fingerprint = record_of(checkpoint), checkpoint['fingerprint']
    own = [change for change in changes if change.kind == 'model']
    causes = component_causes(own)
    causes += option_causes(checkpoint, args, NETWORK_OPTIONS)
    causes += file_causes(then, {change.path for change in changes}) if not causes else []
    causes += environment_causes(record)
    device_then, now = fingerprint.get('device'), next(net.parameters()).device.type
    return causes + ([Cause(f'saved on {device_then}, loaded on {now}')] if device_then != now else [])


def record_of(checkpoint):
    """Return the record (dict) of a checkpoint, {} if there is none or it is not a record of Danlu."""
    record = checkpoint.get('record')
    return record if isinstance(record, dict) and isinstance(record.get('components'), dict) else {}


def is_same_code(record):
    """Return whether all code that a run used is the project's and as it was (bool), by the hash of all files.

    Args:
        record: record of the run (dict).
    """
    names = (name for hashes in (record.get('components') or {}).values() for name in hashes)
    roots = ('__main__', *NON_RUN_DIRECTORIES)  # whose code is not in the hash
    if 'code' not in record or any(EXTERNAL_MARK in name or name.partition('.')[0] in roots for name in names):
        return False
    return record['code'] == code_hash(read_files())


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
