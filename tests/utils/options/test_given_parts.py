"""Ready-made parts: args.txt, record.json and checkpoints name them, and options do not build them."""

import functools
import importlib.util
import json
import sys

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

import eval as eval_py
import train
from options import parse_train_args, test_args, train_args
from scripts.runs import main as records
from tests.networks import Dropping
from tests.train.helpers import bits, loader
from train import Trainer
from utils.base.errors import DanluError
from utils.options.given_parts import FIRST_LINE, described, head_lines, parts_in, text_of
from utils.runs.checkpoint import load_checkpoint
from utils.runs.run import Run

SCRIPT = """from torch import nn


class {name}(nn.Linear):
    def forward(self, images):
        return super().forward(images.flatten(1))


def batches():
    yield from ()
"""


@pytest.fixture
def module_of(tmp_path, monkeypatch):
    """Return a function: name of a class -> a new module that defines the class."""

    def make(name, file='mine.py'):
        script = tmp_path / file
        script.write_text(SCRIPT.format(name=name))
        spec = importlib.util.spec_from_file_location(script.stem, script)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, script.stem, module)
        spec.loader.exec_module(module)
        return module

    return make


def trainer_of(folder, net, **options):
    """Return a Trainer of a ready-made network and loaders."""
    options = options if 'resume' in options else {'epochs': 1, 'device': 'cpu', 'checkpoints_dir': folder, **options}
    return Trainer(train_args(**options), model=net, train_loader=loader(), val_loader=loader(21, 1))


@pytest.fixture
def run(tmp_path, module_of):
    """Return the directory of a run with a ready-made network and loaders."""
    net = module_of('Mine').Mine(12, 3)
    trainer_of(tmp_path / 'runs', net).train()
    return tmp_path / 'runs' / 'lenet_exp'


def refusal(capsys, *words):
    """Return the message (str) with which train.py refuses words; checks the exit code."""
    with pytest.raises(SystemExit) as ended:
        train.run_main(lambda: train.main([*map(str, words)]), 'train.py')
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count('\n') == 1
    return said


def test_parts_are_described(module_of, tmp_path):
    mine = module_of('Mine')
    place = {'file': str(tmp_path / 'mine.py'), 'line': 4}
    assert described(mine.Mine(2, 2)) == {'class': 'Mine', **place}
    assert described(mine.batches) == {'class': 'function batches', 'file': place['file'], 'line': 9}
    assert described(functools.partial(mine.batches)) == described(mine.batches)
    assert described([1, 2]) == {'class': 'list of 2 batches'}
    data = TensorDataset(torch.zeros(3))
    found = described(DataLoader(Subset(data, [0])))
    assert found['class'] == 'DataLoader of Subset of TensorDataset'
    assert found['file'] == 'torch/utils/data/dataset.py'
    assert described(eval(compile('lambda: 0', '<cell 3>', 'eval')))['class'] == 'function <lambda>'


def test_the_lines_of_args_txt_are_read_back():
    class Args:
        given_parts = {
            'model': {'class': 'f.<locals>.Net', 'file': '/a b/c.py', 'line': 7},
            'train_loader': {'class': 'list of 1,200 batches'},
        }

    assert head_lines(Args)[0] == FIRST_LINE
    assert parts_in(head_lines(Args)) == Args.given_parts
    assert text_of(Args.given_parts['model']) == 'f.<locals>.Net (/a b/c.py:7)'
    assert head_lines(object()) == [] and parts_in(['# python train.py @x/args.txt', '--lr=1']) == {}


def test_the_record_names_the_parts_and_not_what_they_replace(run, tmp_path):
    lines = (run / 'args.txt').read_text().splitlines()
    place = tmp_path / 'mine.py'
    assert lines[:2] == [FIRST_LINE, f'# ready-made model: Mine ({place}:4)']
    assert lines[2].startswith('# ready-made train_loader: DataLoader of TensorDataset (torch/')
    for name in ('model_type=lenet', 'data_type=digits'):
        assert any(line.startswith(f'# --{name}  (not used: ') for line in lines)
    parts = {'class': 'Mine', 'file': str(place), 'line': 4}
    assert json.loads((run / 'record.json').read_text())['given_parts']['model'] == parts
    assert load_checkpoint(run / 'best.pth')['args']['given_parts']['model'] == parts
    assert f'ready-made: model Mine ({place}:4), train_loader' in (run / 'log.txt').read_text()


def test_train_py_neither_repeats_nor_resumes_a_run_with_ready_made_parts(run, capsys):
    before = sorted(path.name for path in run.parent.iterdir())
    for words in ([f'@{run}/args.txt'], ['--resume', run, '--epochs', 2], [f'@{run}/args.txt', '--model_type', 'mlp']):
        said = refusal(capsys, *words)
        assert 'ready-made parts (model Mine (' in said and 'which options cannot name' in said
        assert 'train.Trainer(train_args(' in said and 'model=..., train_loader=..., val_loader=...)' in said
    assert sorted(path.name for path in run.parent.iterdir()) == before
    with pytest.raises(SystemExit):
        train.run_main(lambda: train.main(['--resume', f'{run}/last.pth', '--as', 'copy', '--epochs', '2']), 'train.py')
    out, said = capsys.readouterr()
    assert 'new run' not in out and f'--resume: {run}/last.pth has ready-made parts' in said
    assert f"""train_args(**{{"resume": '{run}/last.pth', "as": 'copy'}}), model=...""" in said
    assert sorted(path.name for path in run.parent.iterdir()) == before
    with pytest.raises(DanluError, match=r'ready-made parts .* train_loader, val_loader missing now'):
        Trainer(train_args(resume=run), model=Dropping())


def test_the_same_parts_in_python_go_on_and_another_class_is_said(run, module_of, capsys):
    on = trainer_of(None, module_of('Mine').Mine(12, 3), resume=run, epochs=2)
    assert 'another part' not in capsys.readouterr().out
    assert bits(on.net.state_dict()) == bits(load_checkpoint(run / 'last.pth')['model'])
    on.train()
    assert len(on.logger.history) == 2
    assert (run / 'args.txt').read_text().startswith(FIRST_LINE)
    other = module_of('Other', 'other.py').Other(12, 3)
    trainer_of(None, other, resume=run, epochs=3).close()
    said = capsys.readouterr().out
    assert 'ready-made model: Mine (' in said and 'in the record, another part now, Other (' in said
    assert 'changed: epochs 2 -> 3\n' in said


def test_the_options_repeat_the_run_in_python_with_the_same_parts(run, module_of):
    args = parse_train_args([f'@{run}/args.txt', '--save_prefix', 'again'])
    torch.manual_seed(1)
    again = Trainer(args, model=module_of('Mine').Mine(12, 3), train_loader=loader(), val_loader=loader(21, 1))
    again.close()
    assert (run.parent / 'lenet_again' / 'args.txt').read_text().startswith(FIRST_LINE)


def test_options_that_are_used_again_without_parts_name_none(tmp_path):
    args = train_args(checkpoints_dir=tmp_path, device='cpu', num_classes=3)
    Trainer(args, model=Dropping(), train_loader=loader(), val_loader=loader(21, 1)).close()
    assert set(args.given_parts) == {'model', 'train_loader', 'val_loader'}
    args = train_args(checkpoints_dir=tmp_path, device='cpu')
    Trainer(args).close()
    assert not hasattr(args, 'given_parts')


def test_eval_py_requires_parts_that_the_checkpoint_cannot_build(run, capsys):
    best = run / 'best.pth'
    with pytest.raises(
        DanluError, match=r'--model_type: .* ready-made model, Mine .*MODELS in .*model_entry.py'
    ) as said:
        eval_py.main(['--load_model_path', str(best), '--device', 'cpu'])
    assert 'Evaluator(args, net=..., loader=...)' in str(said.value)
    with pytest.raises(DanluError, match=r'--data_type: .* ready-made data, DataLoader of TensorDataset .*--val_list'):
        eval_py.main(['--load_model_path', str(best), '--device', 'cpu', '--model_type', 'lenet'])
    assert not (run / 'best').exists() or not list((run / 'best').iterdir())
    with pytest.raises(DanluError, match='--model_type: '):
        eval_py.load_predictor(best, device='cpu')
    assert test_args(best).recorded_parts['model']['class'] == 'Mine'


def test_runs_py_shows_the_parts_in_place_of_the_names(run, tmp_path):
    found = Run(run)
    assert found.options['model_type'] == f'ready-made Mine ({tmp_path / "mine.py"}:4)'
    assert found.options['data_type'].startswith('ready-made DataLoader of TensorDataset (torch/')
    assert {'model_type', 'data_type'} <= found.marked
    assert 'model_args' not in found.options and found.has_args


def test_parts_that_are_assigned_later_are_recorded(tmp_path):
    args = train_args(epochs=1, device='cpu', checkpoints_dir=tmp_path, max_steps=2)
    trainer = Trainer(args)
    trainer.optimizer = torch.optim.SGD(trainer.net.parameters(), lr=0.1)
    trainer.loss = nn.CrossEntropyLoss()
    trainer.close()
    lines = (tmp_path / 'lenet_exp' / 'args.txt').read_text().splitlines()
    assert lines[1].startswith('# ready-made optimizer: SGD (torch/optim/sgd.py:')
    assert lines[2].startswith('# ready-made loss: CrossEntropyLoss (torch/')
    assert any(line.startswith('# --lr=0.001  (not used: optimizer') for line in lines)
    assert set(json.loads((tmp_path / 'lenet_exp' / 'record.json').read_text())['given_parts']) == {'optimizer', 'loss'}


def test_runs_py_command_says_what_is_ready_made_and_asks_for_no_files_of_that_name(run, capsys):
    records(['command', str(run), '--checkpoints_dir', str(run.parent)])
    said = capsys.readouterr().out
    assert '# a script with ready-made parts that options cannot name: model Mine (' in said
    assert 'not there any more' not in said
    records(['list', '--checkpoints_dir', str(run.parent)])
    assert 'model_type=ready-made Mine (' in capsys.readouterr().out
