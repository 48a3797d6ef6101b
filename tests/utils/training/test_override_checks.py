"""A subclass with the methods of another framework is told at once what does that here."""

import pytest

from eval import Evaluator
from options import train_args
from train import Trainer
from utils.base.errors import DanluError
from utils.training.override_checks import COUNTERPARTS, check_overrides

NOTHING = lambda self, *args: None  # noqa: E731


def told(methods, base=Trainer):
    """Return what a subclass of Trainer or Evaluator with these methods (dict) is told (str), '' for nothing."""
    instance = object.__new__(type('Mine', (base,), methods))
    try:
        check_overrides(instance, base)
    except DanluError as error:
        return str(error)
    return ''


@pytest.mark.parametrize(
    ('name', 'here'),
    [
        ('viz_per_epoch', 'gen_imgs_to_write(images, predictions, targets, split)'),
        ('train_loop', 'train_per_epoch(epoch)'),
        ('train_loss_per_batch', 'compute_loss(predictions, targets)'),
        ('eval_scores_per_batch', 'compute_metrics(predictions, targets, metrics)'),
        ('metric', 'Trainer(metrics={...})'),
        ('training_step', 'train_step(batch)'),
        ('validation_step', 'step(batch)'),
        ('configure_optimizers', 'Trainer(optimizer=..., scheduler=...)'),
        ('train_dataloader', 'train_loader=...'),
        ('on_epoch_end', 'end_epoch'),
        ('on_train_batch_start', 'train_per_epoch'),
        ('test_step', 'step(batch)'),
        ('forward', 'nn.Module'),
    ],
)
def test_a_method_that_is_never_called_is_refused_with_its_counterpart(name, here):
    message = told({name: NOTHING})
    assert message.startswith(f'Mine.{name} is never called here: ') and here in message
    assert '\n' not in message


@pytest.mark.parametrize('name', ['viz_per_epoch', 'test_step', 'eval_scores_per_batch', 'on_test_end'])
def test_subclasses_of_the_evaluator_are_checked_too(name):
    assert f'Mine.{name} is never called here' in told({name: NOTHING}, Evaluator)


def test_what_danlu_has_itself_is_not_among_the_foreign_names():
    for base in (Trainer, Evaluator):
        for name in set(COUNTERPARTS) & {name for each in base.__mro__ for name in vars(each)}:
            assert told({name: vars(base).get(name, NOTHING)}, base) == ''
    assert told({'eval': NOTHING}, Evaluator) == '' and 'val_per_epoch' in told({'eval': NOTHING}, Trainer)


def test_a_helper_under_such_a_name_that_the_class_calls_itself_is_allowed():
    class Helper:
        def step(self, batch):
            return self.forward(batch)

        def forward(self, batch):
            return [self.metric(part) for part in batch]

        def metric(self, part):
            return part

    assert told({name: vars(Helper)[name] for name in ('step', 'forward', 'metric')}) == ''
    message = told({'eval_scores_per_batch': lambda self, batch: self.metric(batch), 'metric': NOTHING})
    assert 'Mine.eval_scores_per_batch is never called here' in message


def test_an_attribute_with_such_a_name_is_allowed():
    assert told({'metric': 'acc', 'log': None}) == ''
    assert 'Mine.StepRunner' in told({'StepRunner': object})
    assert 'Mine.forward' in told({'forward': staticmethod(len)})


def test_methods_of_intermediate_classes_are_checked():
    between = type('Between', (Trainer,), {'training_step': NOTHING})
    with pytest.raises(DanluError, match=r'Mine\.training_step'):
        check_overrides(object.__new__(type('Mine', (between,), {})), Trainer)


@pytest.mark.parametrize(
    ('base', 'name', 'method', 'said'),
    [
        (
            Trainer,
            'gen_imgs_to_write',
            lambda self, img, pred, label, is_train: {},
            "'train' or 'val', and both are true",
        ),
        (Trainer, 'compute_metrics', lambda self, pred, gt, is_train: {}, 'metrics.update(predictions, targets)'),
        (Evaluator, 'compute_metrics', lambda self, pred, gt: {}, 'compute_metrics(predictions, targets, metrics)'),
        (Evaluator, 'viz_per_batch', lambda self, img, pred, gt, step: None, '(start, images, predictions, targets)'),
        (Trainer, 'compute_loss', lambda self, model, inputs, return_outputs=False: 0, '(predictions, targets)'),
        (Trainer, 'train_per_epoch', lambda self: None, 'train_per_epoch(epoch)'),
    ],
)
def test_a_method_with_the_parameters_of_another_framework_is_refused(base, name, method, said):
    message = told({name: method}, base)
    assert f'Mine.{name}' in message and said in message and '\n' not in message


def test_a_method_with_more_or_other_names_of_parameters_is_as_good():
    assert told({'compute_loss': lambda self, pred, gt, weight=1: 0, 'step': lambda self, *parts: parts}) == ''
    assert told({'gen_imgs_to_write': lambda self, img, pred, label, split: {}}) == ''


def test_the_trainer_is_not_constructed(tmp_path):
    class Mine(Trainer):
        def training_step(self, batch):
            return 0

    with pytest.raises(DanluError, match=r'^Mine\.training_step is never called here: step\(batch\)'):
        Mine(train_args(checkpoints_dir=str(tmp_path / 'runs')))
    assert not (tmp_path / 'runs').exists()
