"""What a sweep compares trials by where there is no validation."""

from argparse import Namespace

import pytest

from options import train_args
from scripts.sweep import metric_of
from utils.base.errors import DanluError


def test_without_validation_trials_are_compared_by_the_training_loss():
    options = train_args(val_list='none')
    assert metric_of(Namespace(metric=None), options) == ('train/loss', 'min')
    assert metric_of(Namespace(metric='train/acc'), options) == ('train/acc', 'max')
    with pytest.raises(DanluError, match='--metric val/acc: --val_list none leaves no validation'):
        metric_of(Namespace(metric='val/acc'), options)
    assert metric_of(Namespace(metric=None), train_args())[0] == 'val/acc'
