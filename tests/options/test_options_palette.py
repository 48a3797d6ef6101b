"""--palette of a segmentation defines the labels of masks stored as RGB."""

from pathlib import Path
from types import SimpleNamespace

from options import prepare_train_args
from tests.options.helpers import SEGMENTATION, new_run, train_args
from utils.provenance.record import experiment_of

BLACK_AND_WHITE = ['--palette', '#000000', '#ffffff']
OTHERS = ['--palette', '#ffffff', '#000000']


def run_of(*words):
    """Return the directory of a run that can be resumed."""
    args = new_run(*words)
    Path(args.model_dir, 'last.pth').write_text('')
    return args.model_dir


def test_a_resumed_segmentation_keeps_its_palette(refusal):
    run = run_of(*SEGMENTATION, '--num_classes', '2', *BLACK_AND_WHITE)
    line = refusal(prepare_train_args, ['--resume', run, *OTHERS])
    assert 'argument --palette: masks stored as RGB are read by the colours' in line
    assert prepare_train_args(['--resume', run, *BLACK_AND_WHITE]).palette == BLACK_AND_WHITE[1:]


def test_a_resumed_segmentation_without_a_palette_may_have_one(place):
    run = run_of(*SEGMENTATION, '--num_classes', '2')
    assert prepare_train_args(['--resume', run, *OTHERS]).palette == OTHERS[1:]


def test_a_segmentation_with_another_palette_is_another_experiment(place):
    record = {'data': {'train': {'sha256': 'a', 'samples': 8}}, 'code': 'b', 'components': {}}
    first, second, third = (
        experiment_of(
            SimpleNamespace(given=False, args=train_args(*SEGMENTATION, '--num_classes', '2', *words)), record
        )
        for words in (BLACK_AND_WHITE, OTHERS, BLACK_AND_WHITE)
    )
    assert first == third != second
