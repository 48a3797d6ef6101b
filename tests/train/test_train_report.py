"""trainer.report(): the page of the run's best epoch, for a notebook's cell."""

import pytest

from options import train_args
from train import Trainer
from utils.base.errors import DanluError


@pytest.fixture
def make(list_data, tmp_path):
    """Return a function that makes a Trainer, or one of a subclass, of short epochs."""
    lists = {name.removeprefix('--'): value for name, value in zip(list_data[::2], list_data[1::2], strict=True)}

    def build(kind=Trainer, **options):
        options = {**lists, 'epochs': 2, 'num_workers': 0, 'device': 'cpu', 'checkpoints_dir': str(tmp_path)} | options
        return kind(train_args(**options))

    return build


def test_the_page_is_that_of_the_best_epoch(make):
    trainer = make(keep_last_weights=True)
    history = trainer.train()
    last = {name: value.clone() for name, value in trainer.net.state_dict().items()}
    page = trainer.report()
    assert page.path.parent.parent == trainer.logger.directory / 'best' and repr(page) == f'report: {page.path}'
    text = (page.path.parent / 'result.txt').read_text(encoding='utf-8')
    assert f'acc: {max(row["val/acc"] for row in history)!r}' in text
    assert page._repr_html_().startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert all(value.equal(last[name]) for name, value in trainer.net.state_dict().items()), (
        'the network stays as it is'
    )


def test_without_an_epoch_there_is_nothing_to_report(make):
    trainer = make()
    with pytest.raises(DanluError, match=r'best\.pth: no such checkpoint'):
        trainer.report()
    trainer.close()


def test_what_a_trainer_changes_is_not_left_out_in_silence(make):
    class Mine(Trainer):
        def compute_loss(self, predictions, targets):
            return 2 * super().compute_loss(predictions, targets)

    trainer = make(Mine, epochs=1)
    trainer.train()
    with pytest.raises(DanluError, match=r'report\(\) tests as eval\.py does, without Mine\.compute_loss: define'):
        trainer.report()
