"""The values recorded for a checkpoint, and whether a test gives them again.

A checkpoint holds the values of its validation (`metrics`), and the ledger those of each test since. A test of the same
checkpoint on the same data, with the same batch size and options on the same class of device, must give them again,
whatever has changed since. This comparison needs no list of what may change. Imports no torch.

Rounding: other numbers of threads, memory layouts, processors and versions of torch change outputs by up to 1e-6 of
their size on a CPU. A GPU may use TF32 or other kernels. A rounding difference of the outputs can flip the prediction
of a sample whose classes are nearly equal, but then the loss has another last digit too.
"""

import json
import math
from typing import NamedTuple

from utils.base.text_table import number_text
from utils.runs.results import CODE_CHANGED, EQUAL, NOT_COMPARED, ledger_texts, tests_in
from utils.tasks.tasks import is_loss

LOSS_TOLERANCE = {'cpu': 1e-5}  # relative, in float32
COARSE_LOSS_TOLERANCE = 1e-3  # relative, on other devices and with --amp
VALUE_TOLERANCE = 1e-6  # relative, of other values if the loss is the same
MAX_FLIPPED_SAMPLES = 3  # whose predictions rounding may change
MAX_FLIPPED_SHARE = 0.05  # of the range of a value, in very small test sets
MAX_SHOWN = 3  # values in a message
WHEN_SAVED = 'when saved'


class Conditions(NamedTuple):
    """What must be equal for two tests of a checkpoint to give equal values.

    Attributes:
        checkpoint_sha256: hash of the file (str).
        data_sha256: hash of the test set (str), or None if unknown.
        samples: number of samples (int), or None if unknown.
        options: options and ready-made parts that the test has and the checkpoint has not (dict).
        device: class of the device (str): 'cpu', 'cuda' ...
        amp: value of --amp (str) or None.
    """

    checkpoint_sha256: str
    data_sha256: str | None
    samples: int | None
    options: dict
    device: str
    amp: str | None = None


class Earlier(NamedTuple):
    """Recorded values.

    Attributes:
        when: when they were recorded (str).
        values: dict from a name to a float.
        contents: hash of the samples' bytes (str), or None if unknown or compared elsewhere.
        doubt: why other values need not mean a change (str), such as data without a hash; None: they do.
    """

    when: str
    values: dict
    contents: str | None = None
    doubt: str | None = None


class Difference(NamedTuple):
    """A value that is not the recorded one."""

    name: str
    then: float
    when: str
    now: float

    def __str__(self):
        then, now = number_text(self.then), number_text(self.now)
        if then == now:
            then, now = repr(self.then), repr(self.now)
        return f'{self.name} {then} {self.when}, {now} now'


def validation_values(checkpoint, conditions):
    """Return the Earlier of the validation that a checkpoint was saved after, or why there is none to compare (str).

    Args:
        checkpoint: result of utils.runs.checkpoint.load_checkpoint.
        conditions: Conditions of the test.
    """
    row, epoch = checkpoint.get('metrics'), checkpoint.get('epoch')
    values = _validation_part(row) if isinstance(row, dict) and 'format' in checkpoint else {}
    if not values:
        return 'the checkpoint holds no values of a validation'
    if row.get('epoch') != epoch or (checkpoint.get('loader') or {}).get('batch'):
        return 'the checkpoint was saved within an epoch, before its validation'
    record = checkpoint.get('record') or {}
    data = (record.get('data') or {}).get('val') or {}
    if data.get('sha256') != conditions.data_sha256 or data.get('samples') != conditions.samples:
        return 'other data than in the validation of the run'
    device = checkpoint.get('device') or (checkpoint.get('fingerprint') or {}).get('device')
    if device != conditions.device:
        return f'validated on {device or "an unknown device"}, tested on {conditions.device}'
    if conditions.options:
        return f'other options than in the training: {", ".join(conditions.options)}'
    doubt = None if conditions.data_sha256 else 'the data has no hash, so it may be other data'
    if trainer := (record.get('components') or {}).get('trainer'):
        doubt = f'the run was validated by the methods of {next(iter(trainer)).rpartition(".")[2]}'
    return Earlier(WHEN_SAVED, values, doubt=doubt)


def _validation_part(row):
    found = {name.removeprefix('val/'): value for name, value in row.items() if str(name).startswith('val/')}
    return {name: value for name, value in found.items() if isinstance(value, int | float)}


def tested_values(directory, conditions):
    """Return the Earlier (list, the oldest first) of the tests in a ledger with the same Conditions.

    Tests that are known not to have computed what the checkpoint did, and tests by older versions, are left out.

    Args:
        directory: directory of the ledger (Path).
        conditions: Conditions of the test.
    """
    if conditions.data_sha256 is None:
        return []
    wanted = {name: getattr(conditions, name) for name in ('checkpoint_sha256', 'data_sha256', 'device')}
    wanted['changed_options'] = json.loads(json.dumps(conditions.options))
    found = []
    for test in tests_in(ledger_texts([directory]), lambda line: conditions.checkpoint_sha256 in line):
        if test.get('verdict') in (EQUAL, NOT_COMPARED, CODE_CHANGED) and wanted.items() <= test.items():
            values = {name: float(text) for name, text in test['values'].items()}
            code = ', by changed code,' if test['verdict'] == CODE_CHANGED else ''
            when = f'in the test of {str(test.get("date"))[:16].replace("T", " ")}{code}'
            found.append(Earlier(when, values, test.get('contents_sha256')))
    return found


def merged(earlier):
    """Return {name: (value, when)} of several Earlier (list); the first that has a name counts."""
    found = {}
    for each in earlier:
        for name, value in each.values.items():
            found.setdefault(name, (value, each.when))
    return found


def differences(values, earlier, conditions):
    """Return the values that differ from the recorded ones by more than rounding (list of Difference).

    Args:
        values: values of the test (dict from a name to a float).
        earlier: {name: (value, when)}, as `merged` returns it.
        conditions: Conditions of the test.
    """
    exact = _same_losses(values, earlier, 0.0)
    tolerance = LOSS_TOLERANCE.get(conditions.device, COARSE_LOSS_TOLERANCE)
    tolerance = COARSE_LOSS_TOLERANCE if conditions.amp not in (None, 'off') else tolerance
    rounded = not exact and _same_losses(values, earlier, tolerance)
    flips = min(MAX_FLIPPED_SAMPLES / max(conditions.samples or 1, 1), MAX_FLIPPED_SHARE) if rounded else 0.0
    found = []
    for name, (then, when) in earlier.items():
        now = values.get(name)
        if now is None:
            continue
        relative = tolerance if is_loss(name) or rounded else VALUE_TOLERANCE
        allowed = relative * abs(then) + (0.0 if is_loss(name) else flips)
        if not _is_close(then, now, allowed):
            found.append(Difference(name, then, when, now))
    return found


def _same_losses(values, earlier, tolerance):
    pairs = [(then, values[name]) for name, (then, _) in earlier.items() if is_loss(name) and name in values]
    return bool(pairs) and all(_is_close(then, now, tolerance * abs(then)) for then, now in pairs)


def _is_close(then, now, allowed):
    return then == now or (math.isnan(then) and math.isnan(now)) or abs(then - now) <= allowed


def describe_differences(found):
    """Return differences (list of Difference) in one line (str): the first MAX_SHOWN."""
    more = f'; {len(found) - MAX_SHOWN} more values differ' if len(found) > MAX_SHOWN else ''
    return '; '.join(map(str, found[:MAX_SHOWN])) + more
