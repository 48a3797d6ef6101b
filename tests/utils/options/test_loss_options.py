"""--loss."""

import pytest

from utils.base.errors import DanluError
from utils.options.loss_options import default_loss, parse_terms


@pytest.mark.parametrize(
    ('text', 'weights'),
    [
        ('ce', {'ce': 1.0}),
        ('ce+0.5*dice', {'ce': 1.0, 'dice': 0.5}),
        (' ce + 0.5 * dice ', {'ce': 1.0, 'dice': 0.5}),
        ('2*ce+.5*dice+3.*l1', {'ce': 2.0, 'dice': 0.5, 'l1': 3.0}),
        ('1e-3*ce+1e+2*dice+1E2*l1', {'ce': 0.001, 'dice': 100.0, 'l1': 100.0}),
        ('l2e+dice', {'l2e': 1.0, 'dice': 1.0}),  # a name, not an exponent
    ],
)
def test_sums_are_read(text, weights):
    assert parse_terms(text) == weights


@pytest.mark.parametrize(
    'text', ['', ' ', '+', 'ce+', '+ce', 'ce++dice', 'ce*2', 'x*ce', '-1*ce', '2*', '2*3*ce', 'nan*ce']
)
def test_invalid_sums_are_refused(text):
    with pytest.raises(DanluError, match=r'is not NAME or WEIGHT\*NAME, or several joined by \+, for example ce\+'):
        parse_terms(text)


def test_each_task_has_a_default():
    tasks = 'classification segmentation multilabel regression restoration'.split()
    assert [default_loss(task) for task in tasks] == ['ce', 'ce', 'bce', 'mse', 'l1']
    assert default_loss('detection') is None
