"""A Trainer with ready-made parts, as in a notebook."""

import numpy as np
import pytest
import torch
from torch import nn

from options import parse_train_args
from tests.train.helpers import Dropping, Plain, bits, notebook_trainer, samples, weights_in
from train import Trainer
from utils.runs.checkpoint import load_checkpoint


def test_a_notebook_gets_the_history_back(tmp_path, capsys):
    trainer = notebook_trainer(tmp_path, '--epochs', 12, '--lr', 0.005)
    history = trainer.train()
    assert [row['epoch'] for row in history] == list(range(1, 13))
    assert {'train/loss', 'val/loss', 'val/acc', 'lr'} <= set(history[0])
    assert all(isinstance(value, float) for name, value in history[0].items() if name != 'epoch')
    assert history[-1]['val/acc'] > 0.8
    assert history[-1]['val/loss'] < history[0]['val/loss']
    run = tmp_path / 'lenet_exp'
    assert trainer.args.model_dir == str(run)
    assert {'args.txt', 'best.pth', 'last.pth', 'history.csv', 'log.txt'} <= {path.name for path in run.iterdir()}
    assert 'model: Dropping' in capsys.readouterr().out


def test_a_loss_of_ones_own_is_used(tmp_path):
    class Squares(nn.Module):
        def forward(self, predictions, targets):
            return ((predictions.softmax(1) - nn.functional.one_hot(targets, 3)) ** 2).mean()

    trainer = notebook_trainer(tmp_path, '--epochs', 1, loss=Squares())
    (row,) = trainer.train()
    images, targets = samples(21, 1).tensors
    with torch.no_grad():
        wanted = Squares()(trainer.net.eval()(images), targets).item()
    assert row['val/loss'] == pytest.approx(wanted, rel=1e-6)


def test_one_ready_made_part_and_the_others_by_name(list_data, tmp_path):
    args = parse_train_args([*list_data, '--num_workers', '0', '--epochs', '1', '--device', 'cpu',
                             '--checkpoints_dir', str(tmp_path)])  # fmt: skip
    net = Plain(3, 3, per_pixel=False)
    before = bits(net.state_dict())
    trainer = Trainer(args, model=net)
    trainer.train()
    assert trainer.net is net
    assert bits(net.state_dict()) != before
    assert args.class_names == ['ant', 'cat', 'yak']


@pytest.mark.slow_after(1, "imports torch's compiler")
@pytest.mark.parametrize(
    'wrap', [nn.DataParallel, lambda net: torch.compile(net, backend='eager')], ids=['dp', 'compile']
)
def test_wrapped_models_are_saved_without_prefix_and_go_on(tmp_path, wrap):
    def parts():
        torch.manual_seed(5)
        return {'model': wrap(Dropping())}

    trainer = notebook_trainer(tmp_path, '--epochs', 1, **parts())
    trainer.train()
    run = tmp_path / 'lenet_exp'
    for name in ('best.pth', 'last.pth'):
        assert set(load_checkpoint(run / name)['model']) == set(Dropping().state_dict())
    assert 'model: Dropping' in (run / 'log.txt').read_text()
    again = notebook_trainer(tmp_path, '--resume', run, '--epochs', 2, **parts())
    assert bits(again.net.state_dict()) == bits(trainer.net.state_dict())
    assert len(again.train()) == 2


class Regions(Trainer):
    """What a new task overrides: the batch's way, the loss, the metrics, the images."""

    def step(self, batch):
        images, predictions, targets = super().step(batch)
        return images, predictions, (targets + 1) % 3

    def compute_loss(self, predictions, targets):
        return super().compute_loss(predictions, targets) * 10

    def compute_metrics(self, predictions, targets, metrics):
        super().compute_metrics(predictions, targets, metrics)
        self.counted = getattr(self, 'counted', 0) + len(targets)

    def gen_imgs_to_write(self, images, predictions, targets, split):
        return {f'{split}/mine': np.full((4, 5, 3), 7, np.uint8)}


def test_the_short_methods_can_be_overridden(tmp_path, events_of):
    trainer = notebook_trainer(tmp_path, '--epochs', 1, kind=Regions)
    (row,) = trainer.train()
    assert trainer.counted == 50 + 21
    images, targets = samples(21, 1).tensors
    with torch.no_grad():
        predictions = trainer.net.eval()(images)
    moved = (targets + 1) % 3
    assert row['val/loss'] == pytest.approx(10 * nn.functional.cross_entropy(predictions, moved).item(), rel=1e-5)
    assert row['val/acc'] == (predictions.argmax(1) == moved).sum().item() / 21

    class Run:
        directory = tmp_path / 'lenet_exp'

    assert set(events_of(Run).images) == {'train/mine', 'val/mine'}


@pytest.mark.parametrize(
    ('words', 'kind', 'settings'),
    [
        (['--optimizer', 'sgd', '--momentum', 0.7], torch.optim.SGD, {'momentum': 0.7}),
        (['--optimizer', 'adam', '--momentum', 0.8, '--beta', 0.9], torch.optim.Adam, {'betas': (0.8, 0.9)}),
        (['--optimizer', 'adamw', '--beta', 0.95], torch.optim.AdamW, {'betas': (0.9, 0.95)}),
        (['--optimizer', 'rmsprop', '--beta', 0.95], torch.optim.RMSprop, {'momentum': 0.0, 'alpha': 0.95}),
    ],
    ids=lambda value: value[1] if isinstance(value, list) else '',
)
def test_optimizers_get_their_settings_and_train(tmp_path, words, kind, settings):
    trainer = notebook_trainer(tmp_path, *words, '--epochs', 1, '--lr', 0.01, '--weight_decay', 0.001)
    group = trainer.optimizer.param_groups[0]
    assert type(trainer.optimizer) is kind
    assert {'lr': 0.01, 'weight_decay': 0.001, **settings}.items() <= group.items()
    before = bits(trainer.net.state_dict())
    (row,) = trainer.train()
    assert row['lr'] == 0.01
    assert bits(trainer.net.state_dict()) != before


def test_a_test_takes_the_models_arguments_from_the_checkpoint(list_data, train_here, eval_here, tmp_path, history_of):
    words = ['--num_workers', 0, '--epochs', 1, '--model_type', 'mlp', '--model_args', 'hidden=16,8']
    run = train_here(*list_data, *words, '--checkpoints_dir', tmp_path)
    assert '--model_args hidden=16,8' in (run.directory / 'args.txt').read_text()
    assert load_checkpoint(run.directory / 'best.pth')['model']['layers.1.weight'].shape[0] == 16
    test = eval_here('--load_model_path', run.directory / 'best.pth')
    assert float(test.values['loss']) == float(history_of(run)[0]['val/loss'])
    again = train_here(f'@{run.directory / "args.txt"}')
    assert weights_in(again.directory) == weights_in(run.directory)
