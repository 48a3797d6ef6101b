"""The examples of custom tasks: they learn, draw images, and resume bit-identically."""

import contextlib
import importlib
import io
from types import SimpleNamespace

import pytest
import torch

from utils.base.errors import DanluError


@pytest.fixture(scope='module')
def run_example(tmp_path_factory):
    """Return a function that runs an example on the CPU: (name, *command line) -> the run."""

    def run(name, *words):
        example, runs = importlib.import_module(f'examples.{name}'), tmp_path_factory.mktemp(name)
        where = [] if '--resume' in words else ['--checkpoints_dir', runs]
        with contextlib.redirect_stdout(io.StringIO()) as stdout:
            example.main([*map(str, [*words, *where]), '--device', 'cpu', '--threads', '1'])
        directory = words[words.index('--resume') + 1] if '--resume' in words else runs / f'{name}_exp'
        return SimpleNamespace(directory=directory, stdout=stdout.getvalue())

    return run


@pytest.fixture(scope='module', params=['autoencoder', 'gan'])
def uninterrupted(request, run_example):
    """Return the name of an example and a run of two epochs."""
    return request.param, run_example(request.param, '--epochs', 2)


def column(rows, name):
    """Return a column (list of float) of history.csv."""
    return [float(row[name]) for row in rows]


@pytest.mark.slow('trains two networks for two epochs')
def test_examples_learn_and_draw(uninterrupted, history_of, events_of):
    name, run = uninterrupted
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
def test_examples_resume_bit_identically(uninterrupted, run_example, history_of):
    name, complete = uninterrupted
    resumed = run_example(name, '--epochs', 1)
    run_example(name, '--resume', resumed.directory, '--epochs', 2)
    for value in ('train/loss', 'val/loss'):
        assert column(history_of(resumed), value) == column(history_of(complete), value)
    states = [torch.load(run.directory / 'last.pth', weights_only=True) for run in (complete, resumed)]
    for key in ['model', 'critic'] if name == 'gan' else ['model']:
        torch.testing.assert_close(states[0][key], states[1][key], rtol=0, atol=0)
    if name == 'gan':
        steps = [state['critic_optimizer']['state'][0]['step'] for state in states]
        assert steps[0] == steps[1] == 2 * 79
        assert 'critic' not in torch.load(complete.directory / 'best.pth', weights_only=True)


def test_examples_refuse_resume_auto(run_example):
    with pytest.raises(DanluError, match=r'^--resume auto looks for runs of train.py; give .* checkpoints/gan_exp$'):
        run_example('gan', '--resume', 'auto')


def test_sliced_distance_is_zero_for_equal_sets_and_grows_with_the_shift():
    from examples.gan import SlicedDistance

    metric, random = SlicedDistance(), torch.Generator().manual_seed(1)
    images = torch.rand(40, 1, 28, 28, generator=random)
    values = {}
    for name, others in {'same': images.flip(0), 'near': images + 0.1, 'far': images + 0.4}.items():
        metric.reset()
        for start, stop in ((0, 15), (15, 40)):
            metric.update(others[start:stop], images[start:stop])
        values[name] = metric.compute()['distance']
    assert values['same'] == 0
    assert values['far'] == pytest.approx(4 * values['near'], rel=1e-3)
    # A shift by s moves each projection by s times the sum of its direction: 784 numbers of standard deviation 1/28.
    assert values['near'] == pytest.approx(0.1 * (2 / torch.pi) ** 0.5, rel=0.2)
