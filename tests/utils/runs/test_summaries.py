"""What a Trainer, an Evaluator and a Predictor show of themselves."""

from torch import nn

from eval import Evaluator, load_predictor
from options import test_args, train_args
from train import Trainer


def test_a_trainer_says_what_it_trains_and_how_far_it_is(tmp_path, list_data, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lists = {name.removeprefix('--'): value for name, value in zip(list_data[::2], list_data[1::2], strict=True)}
    trainer = Trainer(train_args(**lists, epochs=2, checkpoints_dir='runs', device='cpu', num_workers=0))
    parameters = sum(parameter.numel() for parameter in trainer.net.parameters())
    before = f'Trainer: LeNet, {parameters:,} parameters, on cpu\n  data: 26 to train on, 13 to validate\n'
    assert repr(trainer) == f'{before}  run: runs/lenet_exp, 0 of 2 epochs'
    trainer.train()
    best = trainer.selection.best
    reached = f'2 of 2 epochs, best: val/acc {best["value"]:#.4g} in epoch {best["epoch"]}'
    assert repr(trainer) == f'{before}  run: runs/lenet_exp, {reached}'


def test_a_trainer_that_waits_for_the_data_of_fit_says_so_and_goes_on_waiting(tmp_path):
    trainer = Trainer(train_args(checkpoints_dir=str(tmp_path), device='cpu'), model=nn.Linear(4, 2))
    assert repr(trainer) == 'Trainer: Linear, 10 parameters, waits for the data of fit()'
    assert repr(trainer) == 'Trainer: Linear, 10 parameters, waits for the data of fit()'


def test_an_evaluator_says_what_it_tests_and_what_came_of_it(mask_run, tmp_path):
    path = str(mask_run.directory / 'best.pth')
    evaluator = Evaluator(
        test_args(path, device='cpu', checkpoints_dir=str(tmp_path), result_dir=str(tmp_path / 't')),
        say=lambda line: None,
    )
    lines = repr(evaluator).splitlines()
    assert lines[0].startswith('Evaluator: UNet, ') and lines[-1] == '  not tested yet: eval()'
    assert lines[1].endswith(' to test on') and path in lines[2]
    values = evaluator.eval()
    assert f'miou {values["miou"]:#.4g}' in repr(evaluator).splitlines()[-1]


def test_a_predictor_says_what_it_takes_and_gives(mask_run):
    lines = repr(load_predictor(str(mask_run.directory / 'best.pth'), device='cpu')).splitlines()
    assert lines[0].startswith('Predictor: UNet, ') and lines[1].startswith('  segmentation, classes: ')
    assert lines[2].startswith('  images: 24x20') and lines[3].endswith('best.pth')


def test_one_that_could_not_be_constructed_can_be_shown_in_a_debugger():
    for kind in (Trainer, Evaluator):
        assert kind.__name__ in repr(object.__new__(kind))
