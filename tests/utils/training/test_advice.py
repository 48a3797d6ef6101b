"""The advice of --profile: every rule by an example, and options that exist."""

import re

import pytest

from options import parse_train_args
from utils.training.advice import RULES, STEP_PARTS, RunFacts, advise

FACTS = RunFacts(device='cpu', data_type='digits', in_memory=True, fits_memory=True, workers=0, cores=8, threads=8,
              batch_size=64, augment='none', fast=True)  # fmt: skip
LIST = {'data_type': 'list', 'in_memory': False, 'workers': 2}
GPU = {'device': 'cuda', 'gpu_wait': 60.0}
# Of a step of 100 ms, so that times are shares. What is left of it is backward.
SLOW_DATA = {'data': 50}

CASES = [
    (SLOW_DATA, {'data_type': None}, 'waiting for data takes 50 %: give the loader that you made more workers'),
    (
        *(SLOW_DATA, {'workers': 2}),
        'waiting for data takes 50 %: --num_workers 0, as the data is in memory and workers only copy it',
    ),
    (SLOW_DATA, {}, 'gathering batches in memory takes 50 %: a larger --batch_size than 64'),
    (
        *(SLOW_DATA, LIST),
        'waiting for data takes 50 %: more --num_workers than 2 on 8 cores, or --data_type mem_list, which '
        'decodes once: the images fit in memory',
    ),
    (
        *(SLOW_DATA, {**LIST, 'workers': 8}),
        'waiting for data takes 50 % with 8 workers on 8 cores: --data_type mem_list, which decodes once: the images '
        'fit in memory',
    ),
    (
        *(SLOW_DATA, {**LIST, 'workers': 0, 'fits_memory': False}),
        'waiting for data takes 50 %: more --num_workers than 0 on 8 cores',
    ),
    (
        *(SLOW_DATA, {**LIST, 'workers': 8, 'fits_memory': False}),
        'waiting for data takes 50 % with 8 workers on 8 cores: store the images as small as --image_size needs '
        'them, so that decoding costs less',
    ),
    ({'logging': 11}, {}, 'logging takes 11 %: a larger --print_freq'),
    ({'copy': 30}, {'augment': 'strong'}, 'copy and augment take 30 %: a lighter --augment than strong'),
    (
        *({'optimizer': 9, 'logging': 3, 'rest': 2}, {}),
        'what each step costs whatever its size takes 14 %: a larger --batch_size than 64',
    ),
    (
        *({}, {'device': 'cuda', 'gpu_wait': 19.0}),
        'the GPU is done before Python has given it more to do: a larger --batch_size than 64',
    ),
    (
        *({'data': 1}, {**LIST, 'threads': 6}),
        'forward, loss and backward take 99 % on 6 of 8 cores: --num_workers 0 leaves them all',
    ),
    (
        *({'forward': 30, 'metrics': 10}, {'fast': False}),
        'forward, loss and backward take 90 %: --fast tries what makes them faster here',
    ),
    ({}, {}, 'forward, loss and backward take 100 %: nothing to gain but a smaller network'),
]


def breakdown(**parts):
    """Return a step of 100 ms."""
    return {**dict.fromkeys(STEP_PARTS, 0.0), 'backward': 100.0 - sum(parts.values()), **parts}


@pytest.mark.parametrize('number', range(len(CASES)))
def test_each_rule_gives_its_advice(number):
    parts, facts, expected = CASES[number]
    assert advise(breakdown(**parts), FACTS._replace(**facts)) == expected


def test_there_is_one_case_for_each_rule():
    assert len(CASES) == len(RULES)
    assert len({expected for *_, expected in CASES}) == len(RULES)


@pytest.mark.parametrize(
    ('parts', 'facts'),
    [
        ({'data': 20}, LIST),
        ({'logging': 10}, {}),
        ({'copy': 25}, {'augment': 'flip'}),
        ({'copy': 60}, {}),  # there is no augmentation to make lighter
        ({'optimizer': 12}, {}),
        ({'forward': 30}, GPU),
        ({'data': 3}, {**LIST, 'threads': 6}),
        ({'data': 1}, {**LIST, **GPU, 'threads': 6}),
        ({'metrics': 50}, {**GPU, 'fast': False}),  # --fast does nothing for them
        ({'forward': 30}, {}),
    ],
)
def test_no_advice_on_small_or_unavoidable_costs(parts, facts):
    assert advise(breakdown(**parts), FACTS._replace(**facts)).endswith('nothing to gain but a smaller network')


def test_advice_depends_on_shares_not_on_duration():
    for scale in (1e-3, 1e3):
        parts = {name: scale * time for name, time in breakdown(data=50).items()}
        assert advise(parts, FACTS).startswith('gathering batches in memory takes 50 %')
    assert advise(dict.fromkeys(STEP_PARTS, 0.0), FACTS), 'a clock that stood still'


def test_options_named_in_advice_exist():
    options = vars(parse_train_args([]))
    named = {name for _, text in RULES for name in re.findall(r'--(\w+)', text)}
    assert len(named) >= 6
    assert named <= set(options)
