"""What steers a training: which epoch is best, when it ends, how gradients become steps, and what looks ahead."""

import copy
import csv

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

from options import parse_train_args
from tests.networks import Normed
from tests.program_server import Program
from train import Trainer
from utils.base.errors import DanluError
from utils.base.registry import PROJECT
from utils.runs.checkpoint import load_checkpoint
from utils.training.ema import Ema
from utils.training.lr_finder import find_lr


def plain_network():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3))


def loader(count=48, batch_size=8, seed=0):
    """Return batches of pictures (N, 3, 2, 2) whose label is a matter of their mean; always in the same order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = torch.rand(count, 3, 2, 2, generator=generator) + labels.view(-1, 1, 1, 1) / 2
    return DataLoader(TensorDataset(images, labels), batch_size=batch_size, generator=torch.Generator())


def trainer_of(folder, *words, kind=Trainer, **parts):
    """Return a Trainer of ready-made parts; the network's first weights are always the same."""
    torch.manual_seed(5)
    words = ['--checkpoints_dir', folder, '--num_classes', 3, '--device', 'cpu', *words]
    parts = {'model': Normed(), 'train_loader': loader(), 'val_loader': loader(21, seed=1), **parts}
    return kind(parse_train_args([str(word) for word in words]), **parts)


class Scripted(Trainer):
    """Validation gives these values, whatever the network does."""

    values = [0.5, 0.7, 0.6, 0.7, 0.8, 0.1]

    def val_per_epoch(self, epoch):
        self.record_overall('val', {'loss': 2.0 - self.values[epoch - 1] / 4, 'acc': self.values[epoch - 1]})


def epochs_kept(run, pattern):
    return [load_checkpoint(path)['epoch'] for path in sorted(run.glob(pattern))]


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first) and first.keys() == second.keys()


# --- which epochs count


@pytest.mark.slow_after(2, 'a run each')
@pytest.mark.parametrize(
    ('words', 'best'),
    [
        ([], 5),
        (['--monitor', 'val/loss'], 5),
        (['--monitor', 'loss', '--mode', 'max'], 6),
        (['--mode', 'min'], 6),
        (['--monitor', 'train/loss'], 6),
    ],
)
def test_the_best_epoch_is_that_of_the_monitored_value(tmp_path, words, best):
    trainer = trainer_of(tmp_path, '--epochs', 6, '--lr', 0.05, *words, kind=Scripted)
    trainer.train()
    assert load_checkpoint(tmp_path / 'lenet_exp' / 'best.pth')['epoch'] == best


def test_a_value_that_no_epoch_has_is_named_with_those_there_are(tmp_path):
    with pytest.raises(DanluError, match=r"unknown value 'val/accuracy'; did you mean val/acc\? \(known: .*train/loss"):
        trainer_of(tmp_path, '--monitor', 'accuracy', '--epochs', 1)  # before the first step


@pytest.mark.parametrize(
    ('words', 'last'),
    [(['--patience', 2], 4), (['--patience', 1], 3), (['--patience', 1, '--min_epochs', 4], 4), (['--patience', 4], 6)],
)
def test_patience_ends_a_run_that_gets_no_better(tmp_path, words, last, capsys):
    trainer = trainer_of(tmp_path, '--epochs', 6, *words, kind=Scripted)
    assert len(trainer.train()) == last
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith('stopped after epoch')]
    assert len(said) == (last < 6) and all('val/acc has not improved for' in line for line in said)


def test_a_run_that_ran_out_of_patience_goes_on_with_more_only(tmp_path):
    trainer_of(tmp_path, '--epochs', 6, '--patience', 2, kind=Scripted).train()
    run = tmp_path / 'lenet_exp'
    with pytest.raises(DanluError, match='is finished, at epoch 4: val/acc has not improved for 2 epochs'):
        trainer_of(tmp_path, '--resume', run, kind=Scripted)
    assert len(trainer_of(tmp_path, '--resume', run, '--patience', 3, kind=Scripted).train()) == 6


def test_keep_top_keeps_those_and_no_more(tmp_path):
    run, seen = tmp_path / 'lenet_exp', []

    class Looking(Scripted):
        def end_epoch(self, epoch, row):
            super().end_epoch(epoch, row)
            self.logger.checkpoints.finish()
            seen.append(epochs_kept(run, 'top_*.pth'))

    trainer_of(tmp_path, '--epochs', 6, '--keep_top', 2, '--save_freq', 1, kind=Looking).train()
    assert seen == [[1], [1, 2], [2, 3], [2, 4], [2, 5], [2, 5]], 'of equal ones the earlier'
    top, then = (load_checkpoint(run / name) for name in ('top_0002.pth', 'epoch_0002.pth'))
    assert same(top['model'], then['model']) and 'optimizer' not in top


# --- from a loss to new weights


def test_accumulated_batches_are_one_large_batch(tmp_path):
    nets = []
    for words, size in ((['--accumulate', 4], 6), ([], 24)):
        torch.manual_seed(5)
        trainer = trainer_of(
            *(tmp_path, '--epochs', 2, '--optimizer', 'sgd', '--lr', 0.1, *words),
            **{'model': plain_network(), 'train_loader': loader(batch_size=size)},
        )
        trainer.train()
        assert trainer.update.steps == 4 == load_checkpoint(f'{trainer.args.model_dir}/last.pth')['step']
        nets.append(trainer.net)
    for one, other in zip(*(net.parameters() for net in nets), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize('known', [True, False])
def test_the_last_batches_of_an_epoch_make_a_step_of_their_own(tmp_path, known):
    batches = list(loader(40))
    ready = batches if known else Unmeasured(batches)
    trainer = trainer_of(tmp_path, '--epochs', 1, '--accumulate', 3, '--optimizer', 'sgd', train_loader=ready)
    trainer.train()
    assert trainer.update.steps == 2
    gradient = [p.grad.clone() for p in trainer.net.parameters()]
    other = trainer_of(tmp_path, '--epochs', 1, '--accumulate', 2, '--optimizer', 'sgd', train_loader=batches[3:])
    other.net.load_state_dict(before_last_step(tmp_path, batches))
    other.train_per_epoch(1)
    for one, alone in zip(gradient, other.net.parameters(), strict=True):
        torch.testing.assert_close(one, alone.grad)


def before_last_step(folder, batches):
    trainer = trainer_of(folder, '--epochs', 1, '--accumulate', 3, '--optimizer', 'sgd', train_loader=batches[:3])
    trainer.train_per_epoch(1)
    return trainer.net.state_dict()


class Unmeasured:
    """Batches whose number nobody knows before."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


@pytest.mark.parametrize(('option', 'bound'), [('--clip_norm', 0.01), ('--clip_value', 0.001)])
def test_gradients_are_clipped_before_the_step(tmp_path, option, bound):
    def largest(*words):
        trainer = trainer_of(tmp_path, '--epochs', 1, *words)
        trainer.train()
        gradients = torch.cat([p.grad.flatten() for p in trainer.net.parameters()])
        return gradients.norm().item() if option == '--clip_norm' else gradients.abs().max().item()

    assert largest() > 2 * bound
    assert largest(option, bound) == pytest.approx(bound, rel=1e-4)


def test_ema_is_the_average_by_its_formula_and_is_what_is_tested_and_saved(tmp_path):
    states = []

    class Noting(Trainer):
        def train_step(self, batch):
            result = super().train_step(batch)
            states.append(copy.deepcopy(self.net.state_dict()))
            return result

    trainer = trainer_of(tmp_path, '--epochs', 2, '--ema', 0.8, '--lr', 0.1, kind=Noting)
    rows = trainer.train()
    average = states[0]
    for done, state in enumerate(states[1:], 1):
        decay = min(0.8, (1 + done) / (10 + done))
        average = {name: average[name] * decay + state[name] * (1 - decay) for name in state}
    last, best = (load_checkpoint(tmp_path / 'lenet_exp' / name) for name in ('last.pth', 'best.pth'))
    for name in ('layers.1.weight', 'layers.2.running_mean', 'layers.4.bias'):
        torch.testing.assert_close(last['ema']['model'][name], average[name])
        assert torch.equal(last['model'][name], states[-1][name]), 'training goes on with its own weights'
    assert 'ema' not in best
    net = Normed()
    net.load_state_dict(best['model'])
    with torch.inference_mode():
        images, labels = trainer.val_loader.dataset.tensors
        accuracy = (net.eval()(images).argmax(1) == labels).double().mean().item()
    assert accuracy == pytest.approx(max(row['val/acc'] for row in rows))


def test_ema_is_that_of_torchs_averaged_model():
    """Bit for bit, without its waiting for the device."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2).to(torch.float64))
    ema, theirs = Ema(net, 0.9), AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.0), use_buffers=True)
    for done in range(12):
        net[1](net[0](torch.rand(5, 3)))
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.rand_like(parameter))
        ema.update()
        theirs.multi_avg_fn = get_ema_multi_avg_fn(min(0.9, (1 + done) / (10 + done)))
        theirs.update_parameters(net)
        for (name, mine), its in zip(ema.average.state_dict().items(), theirs.state_dict().values(), strict=True):
            assert torch.equal(mine, its), name


def test_a_resumed_run_with_everything_on_ends_with_the_same_bits(tmp_path):
    words = ['--ema', 0.9, '--accumulate', 2, '--clip_norm', 0.5, '--warmup_steps', 2, '--keep_top', 2, '--lr', 0.05]
    whole = trainer_of(tmp_path / 'whole', '--epochs', 3, *words)
    whole.train()
    trainer_of(tmp_path / 'parts', '--epochs', 2, *words).train()
    trainer_of(tmp_path / 'parts', '--resume', tmp_path / 'parts' / 'lenet_exp', '--epochs', 3).train()
    for name in ('last.pth', 'best.pth'):
        one, other = (load_checkpoint(tmp_path / part / 'lenet_exp' / name) for part in ('whole', 'parts'))
        assert same(one['model'], other['model']) and one['step'] == other['step']
    one, other = (load_checkpoint(tmp_path / part / 'lenet_exp' / 'last.pth')['ema'] for part in ('whole', 'parts'))
    assert same(one['model'], other['model']) and one['steps'] == other['steps'] == 9


def test_eval_tests_the_average_of_last_pth(list_data, train_here, eval_here, tmp_path):
    words = [*list_data, '--num_workers', 0, '--epochs', 2, '--ema', 0.7, '--checkpoints_dir', tmp_path]
    run = train_here(*words)
    value = float(list(csv.DictReader(open(run.directory / 'history.csv')))[-1]['val/loss'])  # noqa: SIM115
    test = eval_here('--load_model_path', run.directory / 'last.pth', '--num_workers', 0)
    assert float(test.values['loss']) == value


def test_max_steps_ends_within_an_epoch_and_saves(tmp_path, capsys):
    trainer = trainer_of(tmp_path, '--epochs', 5, '--max_steps', 8)
    rows = trainer.train()
    assert [row['epoch'] for row in rows] == [1, 2] and trainer.update.steps == 8
    assert load_checkpoint(tmp_path / 'lenet_exp' / 'last.pth')['step'] == 8
    assert 'stopped after epoch 2: --max_steps 8 are done' in capsys.readouterr().out
    with pytest.raises(DanluError, match='is finished, at epoch 2: --max_steps 8 are done'):
        trainer_of(tmp_path, '--resume', tmp_path / 'lenet_exp')


@pytest.mark.slow('new interpreters')
def test_deterministic_turns_on_what_torch_has_for_it(tmp_path):
    words = ['--deterministic', '--max_steps', '2', '--device', 'cpu', '--checkpoints_dir', str(tmp_path)]
    code = (
        f'import sys; sys.path.insert(0, {str(PROJECT)!r}); import train, torch, os; train.main(sys.argv[1:]);'
        'print("is", torch.are_deterministic_algorithms_enabled(), os.environ["CUBLAS_WORKSPACE_CONFIG"])'
    )
    (tmp_path / 'program.py').write_text(code)
    stdout, _ = Program(tmp_path / 'program.py', words).communicate(timeout=300)
    assert 'is True :4096:8' in stdout


def test_what_cannot_be_deterministic_is_refused_with_the_remedy(tmp_path):
    class Putting(Normed):
        def forward(self, images):
            torch.zeros(3).put_(torch.tensor([0, 0]), torch.ones(2))  # which of the two stays is a matter of luck
            return super().forward(images)

    trainer = trainer_of(tmp_path, '--deterministic', '--epochs', 1, model=Putting())
    try:
        with pytest.raises(DanluError, match=r'^--deterministic: put_ does not have a deterministic .*; leave it out$'):
            trainer.train()
    finally:
        torch.use_deterministic_algorithms(False)


# --- before a night is spent on it


def test_a_dry_run_does_everything_once_and_leaves_nothing(run_program, tmp_path):
    done = run_program('train.py', '--dry_run', '--checkpoints_dir', tmp_path / 'runs', '--epochs', 90)
    assert done.code == 0, done.stderr
    assert 'dry run: trained, validated, drew, saved and loaded in' in done.stdout.splitlines()[-1]
    assert not list((tmp_path / 'runs').iterdir())


@pytest.mark.parametrize('samples', [17, 24])
def test_a_dry_run_meets_the_last_batch_of_an_epoch(tmp_path, samples):
    """Batch normalisation cannot learn from a single sample, which would show at the end of the first epoch."""
    from utils.training.dry_run import dry_run

    trainer = trainer_of(tmp_path, train_loader=loader(samples))
    if samples == 24:
        dry_run(trainer, Normed)
    else:
        with pytest.raises(ValueError, match='more than 1 value per channel'):
            dry_run(trainer, Normed)


def test_a_dry_run_notices_a_network_whose_state_is_not_saved(tmp_path):
    from utils.training.dry_run import dry_run

    class Forgetful(Normed):
        """What it multiplies by is neither a parameter nor a buffer."""

        made = 0.0

        def __init__(self):
            super().__init__()
            Forgetful.made += 1.0
            self.factor = Forgetful.made

        def forward(self, images):
            return super().forward(images) * self.factor

    with pytest.raises(DanluError, match='computes something else when it is loaded: largest difference'):
        dry_run(trainer_of(tmp_path, model=Forgetful()), Forgetful)


def test_find_lr_plots_and_names_a_rate_that_learns(tmp_path, capsys):
    trainer = trainer_of(tmp_path, '--find_lr', '--optimizer', 'sgd', model=plain_network())
    rate = find_lr(trainer)
    printed = capsys.readouterr().out
    assert f'the loss falls most steeply at {rate:.4g}' in printed and f'--lr {rate:.4g}' in printed
    with Image.open(tmp_path / 'lenet_exp' / 'find_lr.png') as picture:
        pixels = np.asarray(picture.convert('RGB'))
    assert pixels.std() > 10
    losses = []
    for factor in (1e-4, 1):
        one = trainer_of(tmp_path, '--optimizer', 'sgd', '--lr', rate * factor, '--epochs', 3, model=plain_network())
        losses.append(one.train()[-1]['train/loss'])
    assert losses[1] < 0.95 * losses[0], 'far below it nothing is learned'


@pytest.mark.slow('a search')
def test_find_lr_scales_gradients_of_16_bits(tmp_path):
    trainer, scaled = trainer_of(tmp_path, '--find_lr', model=plain_network()), []

    class Scaler(torch.amp.GradScaler):
        def scale(self, loss):
            scaled.append(super().scale(loss) / loss)
            return super().scale(loss)

    trainer.update.scaler = Scaler('cpu', init_scale=2.0**10)
    rate = find_lr(trainer)
    assert scaled[0] == 2.0**10 and len(scaled) > 20
    plain = find_lr(trainer_of(tmp_path / 'plain', '--find_lr', model=plain_network()))
    assert rate == pytest.approx(plain, rel=0.5)


def test_find_lr_leaves_no_training(train_here, tmp_path):
    run = train_here('--find_lr', '--checkpoints_dir', tmp_path, '--batch_size', 32)
    assert {'args.txt', 'find_lr.png', 'log.txt'} == set(run.files)
    again = parse_train_args([f'@{run.directory}/args.txt', '--lr', '0.01'])
    assert not again.find_lr and again.batch_size == 32


# --- TensorBoard


def read_events(folder):
    events = EventAccumulator(str(folder), size_guidance={'scalars': 0, 'histograms': 0})
    return events.Reload()


def test_tensorboard_shows_steps_without_doubles_when_a_run_goes_on(tmp_path):
    words = ['--print_freq', 2, '--lr', 0.01]
    trainer_of(tmp_path, '--epochs', 2, *words).train()
    run = tmp_path / 'lenet_exp'
    trainer_of(tmp_path, '--resume', run, '--epochs', 3).train()
    events = read_events(run)
    assert not (run / 'steps').exists(), 'one entry in TensorBoard'
    assert [event.step for event in events.Scalars('step/loss')] == [2, 4, 6, 8, 10, 12, 14, 16, 18]
    assert [event.value for event in events.Scalars('step/lr')] == pytest.approx([0.01] * 9)
    rows = list(csv.DictReader(open(run / 'history.csv')))  # noqa: SIM115
    means = [event.value for event in events.Scalars('step/loss')]
    assert np.mean(means[:3]) == pytest.approx(float(rows[0]['train/loss'])), 'each value is of its own steps'


def test_epochs_of_few_steps_have_a_point_each(tmp_path):
    trainer_of(tmp_path, '--epochs', 3, '--print_freq', 50).train()
    events = read_events(tmp_path / 'lenet_exp')
    assert [event.step for event in events.Scalars('step/loss')] == [6, 12, 18]


def test_tensorboard_gets_histograms_the_graph_and_the_options(tmp_path):
    trainer_of(tmp_path, '--epochs', 2, '--histograms', '--add_graph', '--lr', 0.02).train()
    events = read_events(tmp_path / 'lenet_exp')
    assert {'weights/layers.1.weight', 'gradients/layers.4.bias'} <= set(events.Tags()['histograms'])
    assert [event.step for event in events.Histograms('gradients/layers.4.bias')] == [1, 2]
    assert events.Tags()['graph']
    told = events.summary_metadata['_hparams_/session_start_info'].plugin_data.content
    assert all(name in told for name in (b'lr', b'batch_size', b'model_type'))
    assert b'optimizer' not in told, 'the default'
    assert b'model_dir' not in told and b'histograms' not in told, 'they define no experiment'
    assert b'val/acc' in events.summary_metadata['_hparams_/experiment'].plugin_data.content


def test_a_network_that_cannot_be_traced_is_said_and_trains(tmp_path, capsys):
    class Choosing(Normed):
        def forward(self, images):
            if not self.training:
                raise RuntimeError('this one only trains')
            return super().forward(images)

    class Blind(Scripted):
        """Validation would meet the same."""

    trainer_of(tmp_path, '--epochs', 1, '--add_graph', model=Choosing(), kind=Blind).train()
    assert 'no graph, because the network cannot be traced: this one only trains' in capsys.readouterr().out


def test_the_graph_of_a_transformer_is_drawn(tmp_path):
    from utils.logger import Logger

    layer = nn.TransformerEncoderLayer(12, 2, 16, batch_first=True)
    logger = Logger(tmp_path)
    logger.save_graph(
        nn.Sequential(nn.Flatten(2), nn.Linear(4, 12), nn.TransformerEncoder(layer, 2)), torch.rand(2, 3, 2, 2)
    )
    logger.close()
    assert (tmp_path / 'log.txt').read_text() == ''
    assert read_events(tmp_path).Tags()['graph']
