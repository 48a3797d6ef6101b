"""Seeds as functions of their position (seed, epoch, index), and the state of all random generators."""

import os
import random

import numpy as np
import torch

MASK = 2**64 - 1
MT19937_WORDS = 624  # state size of numpy's generator


def mix_seed(*numbers):
    """Return a 63-bit seed (int) for integers such as (seed, epoch, index); takes about a microsecond.

    Neighbouring inputs give unrelated seeds: each integer goes through SplitMix64's finaliser (Steele et al. 2014).
    """
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
        state ^= state >> 31
    return state >> 1


def uniform_draws(key, indices, count):
    """Return random numbers that depend only on (key, index, position): float64 (count, B), 0 <= x < 1.

    Args:
        key: integers such as (seed, epoch).
        indices: int64 array (B,), for example the samples of a batch.
        count: how many numbers each index needs.
    """
    places = np.arange(1, count + 1, dtype=np.uint64)[:, None] * np.uint64(0xD1B54A32D192ED03)
    with np.errstate(over='ignore'):  # arithmetic modulo 2**64
        state = (
            np.asarray(indices, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + places + np.uint64(mix_seed(*key))
        )
    return (_scrambled(state) >> np.uint64(11)) * 2.0**-53


def mixed(*numbers):
    """Return unrelated numbers for integers such as (index, repetition): int64 (B,), at least 0.

    Args:
        numbers: int64 arrays (B,).
    """
    state = np.zeros(1, dtype=np.uint64)
    with np.errstate(over='ignore'):
        for number in numbers:
            state = _scrambled(state + np.asarray(number, dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15))
    return (state >> np.uint64(1)).astype(np.int64)


def _scrambled(state):
    """Return the finaliser of SplitMix64 of a uint64 array."""
    with np.errstate(over='ignore'):  # arithmetic modulo 2**64
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
    return state ^ (state >> np.uint64(31))


def seed_everything(seed):
    """Seed torch on every device, Python's random and numpy's global generator."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def be_deterministic():
    """Make every operation deterministic or raise; some operations are slower on GPUs."""
    os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')  # read at the first use of CUDA
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)


def get_rng_state():
    """Return the state of all global generators as tensors and plain values, for a checkpoint."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        **({'mps': torch.mps.get_rng_state()} if torch.backends.mps.is_available() else {}),
        'python': list(map(numpy_state_values, random.getstate())),
        'numpy': [kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss],
    }


def set_rng_state(state):
    """Restore the value of `get_rng_state`; CUDA states are restored only if the number of GPUs is the same."""
    torch.set_rng_state(state['torch'])
    if torch.cuda.is_available() and len(state['cuda']) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state['cuda'])
    if torch.backends.mps.is_available() and 'mps' in state:
        torch.mps.set_rng_state(state['mps'])
    version, words, gauss = state['python']
    random.setstate((version, tuple(words), gauss))
    kind, keys, position, has_gauss, gauss = state['numpy']
    if len(keys) != MT19937_WORDS or not 0 <= position <= MT19937_WORDS:  # numpy does not check
        raise ValueError('the state of the numpy generator is not a state of MT19937')
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))


def numpy_state_values(value):
    return list(value) if isinstance(value, tuple) else value
