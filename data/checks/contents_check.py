"""The bytes of the samples of a test, and which of them are not as the run of the checkpoint read them."""

from pathlib import Path
from typing import NamedTuple

from data.checks.dataset_fingerprint import has_same_targets, parts_of
from utils.provenance.contents import SampleHashes, compare_contents, contents_file


class TestContents(NamedTuple):
    """The bytes of the samples of a test.

    Attributes:
        hashes: SampleHashes of the samples; empty if unknown.
        record: as SampleHashes.record (dict), or None if unknown.
        differences: texts (list of str) on the samples that are not as recorded, first of all causes if values differ;
            empty if there is none, or nothing was recorded.
        is_compared: whether the samples could be compared with those of the run (bool).
        note: that the samples are those of the run although their list is not (str), or None.
    """

    hashes: SampleHashes = SampleHashes()
    record: dict | None = None
    differences: list = []
    is_compared: bool = False
    note: str | None = None

    __test__ = False  # not a pytest class


def contents_of_test(loader, recorded, trained, args, found):
    """Return the TestContents after all samples of a test were read.

    Args:
        loader: of the test.
        recorded: `data_record` of the run, or None.
        trained: options of the run (dict).
        args: options of the test; load_model_path names the checkpoint, beside which the run's hashes are.
        found: `data_fingerprint` of the test set.
    """
    hashes = loader.take_contents() if hasattr(loader, 'take_contents') else SampleHashes()
    if not len(hashes):
        return TestContents()
    record, then = hashes.record(), (recorded or {}).get('val') or {}
    if not (then.get('contents') and has_same_targets(trained, args)):
        return TestContents(hashes, record)
    known = SampleHashes.read(contents_file(Path(args.load_model_path).parent, 'val'))
    if known is None or known.record() != then['contents']:
        return _without_names(hashes, record, then, found)
    has_same_order = _has_same_order(then, found, record == then['contents'])
    difference = compare_contents(known, hashes, has_same_order)
    is_known = has_same_order or then.get('list') == found['list']
    if difference is not None and not is_known and not difference.shares_most_images:
        # Other data. Equal targets say nothing; other targets of the recorded images are a change.
        return TestContents(hashes, record)
    if difference is None:
        text = f'{_name(then, found)}: the samples are those of the run, under other names or in another order'
        is_as_recorded = then['sha256'] == found['sha256'] and compare_contents(known, hashes, True) is None
        return TestContents(hashes, record, [], True, None if is_as_recorded else text)
    return TestContents(hashes, record, [f'{_name(then, found)}: {difference.text(loader)}'], True)


def _without_names(hashes, record, then, found):
    """Return the TestContents where the hashes of single samples are not beside the checkpoint."""
    same_samples = then['sha256'] == found['sha256'] and then['contents']['samples'] == record['samples']
    if record == then['contents'] or not same_samples:
        return TestContents(hashes, record, [], record == then['contents'])
    text = f'the bytes of samples changed; which ones is not known without {contents_file("", "val")} of the run'
    return TestContents(hashes, record, [f'{_name(then, found)}: {text}'], True)


def _name(then, found):
    if found['list'] is None:
        return 'the test set'
    is_moved = then.get('list') not in (None, found['list'])
    return f'the test set {found["list"]}' + (f' (then {then["list"]})' if is_moved else '')


def _has_same_order(then, found, is_same_set):
    """Return whether an index means the same sample in both fingerprints (bool).

    Args:
        then, found: recorded and today's fingerprint.
        is_same_set: whether the hashes are the same apart from their order (bool). Samples without names then have
            another order; with names, files may have been exchanged.
    """
    names = parts_of(then, found).get('names')
    if names is not None:
        return names == found['parts'].get('names')
    if is_same_set or then.get('list') != found['list']:
        return False
    return then['samples'] == found['samples'] if found['parts'] else then['sha256'] == found['sha256']
