"""--cache_dir and --cache_size in runs: tests and resumed runs give the same values with and without the cache."""

import pytest
import torch


def weights_of(run):
    return torch.load(run.directory / 'last.pth', weights_only=True)['model']


def equal(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.fixture
def words(list_data, tmp_path):
    """Return the options (list) of a run with images reduced to 14 pixels."""
    words = [*list_data, '--image_size', 12, '--cache_dir', tmp_path / 'cache', '--cache_size', 14]
    return [*words, '--augment', 'standard', '--num_workers', 0, '--checkpoints_dir', tmp_path]


def test_a_test_without_the_cache_gives_what_training_printed(train_here, eval_here, history_of, words, tmp_path):
    run = train_here(*words, '--epochs', 1)
    assert f'cache: 0 of 26 images in {tmp_path}/cache/' in run.stdout
    expected = history_of(run)[0]
    test = eval_here('--load_model_path', run.directory / 'best.pth')
    assert 'cache: ' not in test.stdout
    assert '--fit crop, first reduced to 14 pixels, mean' in test.stdout
    assert '--cache_size=14' in (test.directory / 'args.txt').read_text()
    assert str(test.values['loss']) == expected['val/loss']
    test = eval_here('--load_model_path', run.directory / 'best.pth', '--cache_dir', tmp_path / 'cache')
    assert f'cache: 13 of 13 images in {tmp_path}/cache/' in test.stdout
    assert str(test.values['loss']) == expected['val/loss']


def test_a_run_resumes_with_and_without_the_cache_to_the_same_bits(train_here, words, tmp_path):
    whole = train_here(*words, '--epochs', 2)
    halves = [train_here(*words, '--epochs', 1) for _ in range(2)]
    assert f'cache: 26 of 26 images in {tmp_path}/cache/' in halves[0].stdout
    train_here('--resume', halves[0].directory, '--epochs', 2)
    args = halves[1].directory / 'args.txt'
    args.write_text('\n'.join(line for line in args.read_text().splitlines() if not line.startswith('--cache_dir')))
    train_here('--resume', halves[1].directory, '--epochs', 2)
    assert equal(weights_of(whole), weights_of(halves[0]))
    assert equal(weights_of(whole), weights_of(halves[1]))
