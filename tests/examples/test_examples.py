"""The examples of tasks of one's own: they learn, draw, and go on with the same bits after an interruption."""

import contextlib
import importlib
import io
from types import SimpleNamespace

import pytest
import torch

from utils.base.errors import DanluError


@pytest.fixture(scope='module')
def run_example(tmp_path_factory):
    """Return a function that runs an example by its words on the CPU: (name, *words) -> the run."""

    def run(name, *words):
        example, runs = importlib.import_module(f'examples.{name}'), tmp_path_factory.mktemp(name)
        where = [] if '--resume' in words else ['--checkpoints_dir', runs]
        with contextlib.redirect_stdout(io.StringIO()) as stdout:
            example.main([*map(str, [*words, *where]), '--device', 'cpu', '--threads', '1'])
        directory = words[words.index('--resume') + 1] if '--resume' in words else runs / f'{name}_exp'
        return SimpleNamespace(directory=directory, stdout=stdout.getvalue())

    return run


@pytest.fixture(
    scope='module',
    params=['autoencoder', 'gan'],
)
def straight(request, run_example):
    """Return an example's name and a run of it over two epochs."""
    return request.param, run_example(request.param, '--epochs', 2)


def column(rows, name):
    """Return a column (list of float) of history.csv."""
    return [float(row[name]) for row in rows]


@pytest.mark.slow('trains two networks for two epochs')
def test_examples_learn_and_draw(straight, history_of, events_of):
    name, run = straight
    rows, images = history_of(run), events_of(run).images
    if name == 'autoencoder':
        first, second = column(rows, 'val/psnr')
        assert 12 < first < second
        assert {'val/samples', 'val/between'} <= set(images)
        event = images['val/between'][-1]
        assert (event.width, event.height) == (8 * 30 + 2, 32)
    else:
        first, second = column(rows, 'val/distance')
        assert second < 0.7 * first
        assert len(set(column(rows, 'train/critic_loss'))) == 2
        event = images['val/made_and_real'][-1]
        assert (event.width, event.height) == (16 * 30 + 2, 2 * 30 + 2)


@pytest.mark.slow('trains two networks for four epochs')
def test_examples_go_on_as_if_never_interrupted(straight, run_example, history_of):
    name, whole = straight
    part = run_example(name, '--epochs', 1)
    run_example(name, '--resume', part.directory, '--epochs', 2)
    for value in ('train/loss', 'val/loss'):
        assert column(history_of(part), value) == column(history_of(whole), value)
    states = [torch.load(run.directory / 'last.pth', weights_only=True) for run in (whole, part)]
    kept = ['model', 'critic'] if name == 'gan' else ['model']
    for key in kept:
        torch.testing.assert_close(states[0][key], states[1][key], rtol=0, atol=0)
    if name == 'gan':
        steps = [state['critic_optimizer']['state'][0]['step'] for state in states]
        assert steps[0] == steps[1] == 2 * 79
        assert 'critic' not in torch.load(whole.directory / 'best.pth', weights_only=True)


def test_examples_do_not_look_for_a_run_by_train_pys_names(run_example):
    with pytest.raises(DanluError, match=r'^--resume auto looks for runs of train.py; give .* checkpoints/gan_exp$'):
        run_example('gan', '--resume', 'auto')


def test_the_metric_of_the_gan_tells_sets_apart():
    from examples.gan import SlicedDistance

    metric, random = SlicedDistance(), torch.Generator().manual_seed(1)
    pictures = torch.rand(40, 1, 28, 28, generator=random)
    values = {}
    for what, others in {'same': pictures.flip(0), 'near': pictures + 0.1, 'far': pictures + 0.4}.items():
        metric.reset()
        for start in (0, 15):  # uneven batches
            stop = 15 if start == 0 else 40
            metric.update(others[start:stop], pictures[start:stop])
        values[what] = metric.compute()['distance']
    assert values['same'] == 0
    assert values['far'] == pytest.approx(4 * values['near'], rel=1e-3)
    # A shift by s moves each projection by s times the sum of its direction, of which there are 784 of deviation 1/28.
    assert values['near'] == pytest.approx(0.1 * (2 / torch.pi) ** 0.5, rel=0.2)
