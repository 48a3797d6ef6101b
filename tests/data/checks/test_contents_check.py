"""Which samples of a test are not as the run read them: the same list, one that was moved, and other data."""

from argparse import Namespace
from types import SimpleNamespace

import numpy as np

from data.checks.contents_check import contents_of_test
from utils.provenance.contents import SampleHashes, contents_file

NAMES = [f'{index}.png' for index in range(8)]


def hashes_of(images, targets):
    return SampleHashes([(image << 32) + target for image, target in zip(images, targets, strict=True)])


def differences(directory, then, now, names=NAMES, path='moved.txt'):
    """Return what `contents_of_test` says of a run's samples and those of a test, (images, targets) each."""
    recorded, hashes = hashes_of(*then), hashes_of(*now)
    recorded.write(contents_file(directory, 'val'))
    found = {'list': path, 'sha256': 'b', 'samples': 8, 'parts': {'names': ','.join(names)}}
    before = found | {'list': 'val.txt', 'sha256': 'a', 'parts': {'names': ','.join(NAMES)}}
    args = Namespace(task='segmentation', target_columns=None, load_model_path=str(directory / 'best.pth'))
    loader = SimpleNamespace(take_contents=lambda: hashes, sample_name=names.__getitem__, input_kind='image')
    data = {'val': before | {'contents': recorded.record()}}
    return contents_of_test(loader, data, vars(args), args, found).differences


def test_of_a_moved_list_with_the_same_names_all_changed_samples_are_named(tmp_path):
    images, targets = np.arange(1, 9).tolist(), np.arange(11, 19).tolist()
    named = '5 of 8 samples changed: 0.png, 1.png, 2.png, 3.png, 4.png'
    other_targets, other_images = [*range(21, 26), *targets[5:]], [*range(31, 36), *images[5:]]
    masks = differences(tmp_path, (images, targets), (images, other_targets))
    assert masks == [f'the test set moved.txt (then val.txt): {named} (5 targets)']
    scenes = differences(tmp_path, (images, targets), (other_images, targets))
    assert scenes == [f'the test set moved.txt (then val.txt): {named} (5 images)']


def test_of_a_moved_and_sorted_list_other_targets_of_the_same_images_are_named(tmp_path):
    images, targets = np.arange(1, 9).tolist(), np.arange(11, 19).tolist()
    now = images[::-1], [*targets[:2:-1], 21, 22, 23]
    (text,) = differences(tmp_path, (images, targets), now, NAMES[::-1])
    assert text.endswith(
        '3 of 8 samples are not among the recorded: 2.png, 1.png, 0.png (3 targets); 3 of the 8 '
        'recorded samples are missing'
    )
    (text,) = differences(tmp_path, (images, targets), (images[::-1], range(21, 29)), NAMES[::-1])
    assert '8 of 8 samples are not among the recorded' in text


def test_a_list_of_mostly_other_images_is_other_data(tmp_path):
    images, targets, names = range(1, 9), [1] * 8, [f'other/{name}' for name in NAMES]
    now = [*range(31, 36), 6, 7, 8], targets
    assert differences(tmp_path, (images, targets), now, names) == []
    (text,) = differences(tmp_path, (images, targets), now, names, 'val.txt')
    assert '5 of 8 samples are not among the recorded' in text
