"""train() called again, fit(), evaluate() and predict() of a Trainer in a notebook."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.optim import SGD, lr_scheduler
from torch.utils.data import DataLoader

from data import data_entry
from options import train_args
from tests.networks import Dropping
from tests.train.helpers import bits, computed, loader, notebook_trainer, samples
from train import Trainer
from utils.base.errors import DanluError
from utils.runs.checkpoint import load_checkpoint


def stepped(folder, *words):
    """Return a Trainer with a schedule, an average of the weights, and batches that make a step together."""
    words = ['--schedule', 'step', '--lr_steps', 1, '--gamma', 0.5, '--warmup_steps', 3, '--ema', 0.9, *words]
    return notebook_trainer(folder, '--accumulate', 2, *words)


@pytest.mark.parametrize('how', ['argument', 'args.epochs'])
def test_training_again_gives_the_bits_of_one_long_run(tmp_path, how):
    whole = stepped(tmp_path, '--epochs', 4, '--save_prefix', 'whole')
    rows = whole.train()
    trainer = stepped(tmp_path, '--epochs', 2, '--save_prefix', 'parts')
    assert len(trainer.train()) == 2
    torch.rand(7)  # what somebody does between two cells
    trainer.evaluate(loader(21, 1))
    if how == 'argument':
        history = trainer.train(epochs=4)
    else:
        trainer.args.epochs = 4
        history = trainer.train()
    assert computed(history) == computed(rows)
    assert bits(trainer.net.state_dict()) == bits(whole.net.state_dict())
    states = [load_checkpoint(tmp_path / f'lenet_{name}' / 'last.pth') for name in ('whole', 'parts')]
    for part in ('model', 'optimizer', 'scheduler', 'ema', 'rng', 'best'):
        assert bits(states[0][part]) == bits(states[1][part]), part
    log = (tmp_path / 'lenet_parts' / 'log.txt').read_text()
    assert 'resumed after epoch 2' in log and 'resume differs' not in log


def test_ready_made_optimizers_and_schedulers_go_on(tmp_path):
    def trainer(*words):
        torch.manual_seed(5)
        net = Dropping()
        optimizer = SGD(net.parameters(), 0.05, momentum=0.9)
        return notebook_trainer(tmp_path, *words, model=net, scheduler=lr_scheduler.StepLR(optimizer, 1, 0.5))

    whole = trainer('--epochs', 3)
    rows = whole.train()
    parts = trainer('--epochs', 1)
    parts.train()
    parts.train(epochs=2)
    assert computed(parts.train(epochs=3)) == computed(rows)
    assert bits(parts.net.state_dict()) == bits(whole.net.state_dict())


def test_nothing_left_to_train_is_said(tmp_path):
    trainer = notebook_trainer(tmp_path, '--epochs', 1)
    trainer.train()
    with pytest.raises(DanluError, match=r'epoch 1 of 1 is done; to continue: train\(epochs=2\)'):
        trainer.train()
    with pytest.raises(DanluError, match=r'give a whole number of at least 1'):
        trainer.train(epochs=0)
    assert len(trainer.train(2)) == 2


def test_an_interrupted_training_goes_on(tmp_path):
    class Once(Trainer):
        failed = False

        def train_step(self, batch):
            done = super().train_step(batch)
            if self.epoch == 1 and self.batch == 3 and not self.failed:
                self.failed = True
                raise KeyboardInterrupt
            return done

    rows = notebook_trainer(tmp_path, '--epochs', 2).train()
    trainer = notebook_trainer(tmp_path, '--epochs', 2, '--save_steps', 1, kind=Once)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert set(trainer.evaluate(loader(21, 1))) >= {'loss', 'acc'}
    assert computed(trainer.train()) == computed(rows)


def test_more_epochs_before_the_first_training_stretch_the_schedule(tmp_path):
    words = ['--schedule', 'cosine', '--warmup_steps', 3, '--lr', 0.01]
    rows = notebook_trainer(tmp_path, '--epochs', 4, *words).train()
    trainer = notebook_trainer(tmp_path, '--epochs', 2, *words, '--save_prefix', 'stretched')
    assert computed(trainer.train(epochs=4)) == computed(rows)
    assert '--epochs=4' in (tmp_path / 'lenet_stretched' / 'args.txt').read_text()
    with pytest.raises(DanluError, match='--schedule cosine ends with the run, after 4 epochs'):
        trainer.train(epochs=5)


def test_changes_without_effect_are_refused(tmp_path):
    trainer = notebook_trainer(tmp_path, '--epochs', 2)
    trainer.args.lr = 0.5
    with pytest.raises(DanluError, match=r'args\.lr was changed from 0\.001 to 0\.5'):
        trainer.train()
    trainer.args.lr = 0.001
    net, trainer.net = trainer.net, Dropping()
    with pytest.raises(DanluError, match=r'trainer\.net was replaced'):
        trainer.train()
    trainer.net = net
    trainer.args.patience, trainer.args.monitor = 1, 'val/loss'
    trainer.train()
    assert (trainer.selection.monitor, trainer.selection.mode, trainer.selection.patience) == ('val/loss', 'min', 1)
    trainer.args.epochs, trainer.args.monitor = 3, 'val/acc'
    with pytest.raises(DanluError, match=r'args\.monitor was changed'):
        trainer.train()


# --- fit


def keras_like(folder, **options):
    """Return a Trainer as a KerasModel is made: a network, a loss, an optimizer and metrics, and no data."""
    torch.manual_seed(5)
    net = Dropping()
    args = train_args(num_classes=3, device='cpu', checkpoints_dir=str(folder), **options)
    optimizer = SGD(net.parameters(), 0.05)

    def acc(predictions, targets):
        return (predictions.argmax(1) == targets).float().mean()

    return Trainer(args, model=net, loss=nn.CrossEntropyLoss(), optimizer=optimizer, metrics={'acc': acc})


def test_fit_trains_on_what_it_gets_and_nothing_named_is_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(data_entry, 'load_entry', lambda *words: pytest.fail(f'named: {words}'))
    trainer = keras_like(tmp_path)
    history = trainer.fit(loader(), loader(21, 1), epochs=3, patience=2, monitor='val_acc', mode='max')
    assert [row['epoch'] for row in history] == [1, 2, 3]
    assert (trainer.selection.monitor, trainer.selection.patience) == ('val/acc', 2)
    assert trainer.evaluate(loader(21, 1))['acc'] == max(row['val/acc'] for row in history)
    assert len(trainer.fit(epochs=4)) == 4


def test_fit_takes_data_sets_and_does_without_validation(tmp_path):
    trainer = keras_like(tmp_path, batch_size=8)
    history = trainer.fit(samples(50, 0), epochs=1)
    assert 'train/acc' in history[0] and not any(name.startswith('val/') for name in history[0])


def test_fit_of_a_trainer_with_data_trains_on_it(tmp_path):
    train, val = loader(), loader(21, 1)
    trainer = notebook_trainer(tmp_path, '--epochs', 1, train_loader=train, val_loader=val)
    assert len(trainer.fit(train, val, epochs=2)) == 2
    with pytest.raises(DanluError, match='fit: the Trainer was built with other data as train_loader'):
        trainer.fit(loader(), val, epochs=3)


def test_a_model_without_data_trains_on_the_named_data_when_it_is_not_fitted(tmp_path):
    args = train_args(epochs=1, max_steps=2, device='cpu', checkpoints_dir=str(tmp_path), num_classes=10)
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    trainer = Trainer(args, model=net)
    trainer.optimizer = SGD(net.parameters(), 0.125)
    assert trainer.train()[0]['lr'] == 0.125


# --- evaluate and predict


def test_evaluate_gives_the_values_of_validation_and_disturbs_nothing(tmp_path):
    trainer = notebook_trainer(tmp_path, '--epochs', 2, '--ema', 0.5, '--keep_last_weights')
    last = trainer.train()[-1]
    values = trainer.evaluate(loader(21, 1))
    assert values['loss'] == last['val/loss'] and values['acc'] == last['val/acc']
    assert trainer.evaluate(samples(21, 1))['acc'] == values['acc']
    old, seen = trainer.evaluate(loader(21, 1), trainer.metrics['val'])
    assert seen == 21 and set(old) == set(values)


def test_predict_takes_batches_pictures_and_loaders(tmp_path):
    trainer = notebook_trainer(tmp_path, '--epochs', 1, '--mean', 0.5, '--std', 0.25)
    trainer.train()
    images, _ = samples(21, 1).tensors
    with torch.no_grad():
        wanted = trainer.net.eval()(images).softmax(1)
    assert torch.equal(trainer.predict(images), wanted)
    assert torch.equal(trainer.predict(images.numpy()), wanted)
    assert torch.allclose(trainer.predict(DataLoader(samples(21, 1), batch_size=8)), wanted)
    pixels = (np.random.default_rng(0).random((5, 2, 2, 3)) * 255).astype(np.uint8)
    ready = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    wanted = trainer.predict(ready)
    paths = []
    for number, array in enumerate(pixels):
        Image.fromarray(array).save(tmp_path / f'{number}.png')
        paths.append(tmp_path / f'{number}.png')
    given = [list(pixels), pixels, [Image.fromarray(array) for array in pixels], paths, list(map(str, paths))]
    given.append(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    for pictures in given:
        assert torch.allclose(trainer.predict(pictures), wanted, atol=1e-6)


def test_missing_options_are_requested(tmp_path):
    trainer = notebook_trainer(tmp_path, '--epochs', 1)
    picture = [np.zeros((2, 2, 3), np.uint8)]
    with pytest.raises(DanluError, match=r'how images were normalised is not known.*give mean=\[\.\.\.\] and std='):
        trainer.predict(picture)
    trainer.args.mean, trainer.args.std, trainer.args.image_size = [0.0] * 3, [1.0] * 3, None
    with pytest.raises(DanluError, match=r'the size of the images is not known.*give image_size=\[height, width\]'):
        trainer.predict(picture)
    with pytest.raises(DanluError, match='predict takes a list of images'):
        trainer.predict('picture.png')
    trainer.close()


def test_the_page_of_a_run_has_its_own_loss_and_metrics(tmp_path):
    def sure(predictions, targets):
        return predictions.softmax(1).max(1).values.mean()

    trainer = notebook_trainer(tmp_path, '--epochs', 1, loss=nn.CrossEntropyLoss(), metrics={'sure': sure})
    (row,) = trainer.train()
    trainer.report()
    (result,) = (tmp_path / 'lenet_exp' / 'best').glob('*/result.txt')
    assert f'sure: {row["val/sure"]!r}' in result.read_text()
