"""What a monitored value is called elsewhere."""

import pytest

from utils.base.errors import DanluError
from utils.training.checkpoint_selector import CheckpointSelector, check_monitor

KNOWN = [f'{split}/{name}' for split in ('train', 'val') for name in ('loss', 'acc', 'f1_macro')]


@pytest.mark.parametrize(
    ('given', 'meant'),
    [('val/top1', 'val/acc'), ('val/accuracy', 'val/acc'), ('train/acc1', 'train/acc'), ('val/F1', 'val/f1_macro')],
)
def test_other_words_for_a_value_are_understood(given, meant):
    with pytest.raises(DanluError, match=f'did you mean {meant}\\? .known: train/acc'):
        check_monitor(CheckpointSelector(given, 'max'), KNOWN)
