"""The driver that kills runs: it reads its files of configurations, kills where it says, and notices any difference."""

import json
import os
import re
import shutil
import signal
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from utils.base.registry import PROJECT

SHIPPED = PROJECT / 'scripts' / 'dev' / 'fault_injection' / 'configurations.txt'


@pytest.fixture(scope='module')
def driver():
    """Return the modules of scripts/faults, as attributes."""
    sys.path.append(str(PROJECT / 'scripts'))
    from scripts.dev.fault_injection import compare, configurations, events, strikes

    return SimpleNamespace(compare=compare, configurations=configurations, events=events, strikes=strikes)


def test_a_file_gives_names_programs_and_options(driver, tmp_path):
    path = tmp_path / 'runs.txt'
    path.write_text(
        '# a comment\nevery: --epochs 3\n\none: train.py --train_list {data}/x.txt\n    --lr "0.1"\n'
        'two: examples/gan.py\n',
        encoding='utf-8',
    )
    one, two = driver.configurations.read_configurations(path, '/d').values()
    assert (one.name, one.program, one.is_own, one.has_end_test) == ('one', 'train.py', False, True)
    assert one.words == ['--epochs', '3', '--train_list', '/d/x.txt', '--lr', '0.1']
    assert one.value_of('--epochs', 1) == 3 and one.value_of('--accumulate', 1) == 1
    assert two.program == str(PROJECT / 'examples' / 'gan.py') and two.is_own and not two.has_end_test


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('', 'no configuration'),
        ('  --lr 1', '1: an indented line continues'),
        ('a b', '1: no `name: program options`'),
        ('../x: train.py', '1: no `name: program options`'),
        ('a: --lr 1', '1: no program'),
        ('a: nowhere.py', '1: no such program'),
        ('a: train.py\na: train.py', '2: a second configuration of the name a'),
        ('a: train.py\n\nevery: --lr 1', '3: `every` has to be the first'),
        ('a: train.py {dta}/x', '1: unknown {dta}'),
        ('a: train.py "x', '1: No closing quotation'),
    ],
)
def test_an_invalid_line_is_named(text, reason, driver, tmp_path):
    path = tmp_path / 'runs.txt'
    path.write_text(text, encoding='utf-8')
    with pytest.raises(ValueError, match=r'runs\.txt') as raised:
        driver.configurations.read_configurations(path, '/d')
    assert reason in str(raised.value)


def test_the_file_that_ships_has_many_runs_and_programs_of_ones_own(driver):
    found = driver.configurations.read_configurations(SHIPPED, '/d')
    assert len(found) >= 12
    assert sum(each.is_own for each in found.values()) >= 2


# --- differences


def write_events(directory, picture=0, histogram=1.0, text='text', steps=(1, 2)):
    """Write an event file with a value of each kind at each step."""
    writer = SummaryWriter(str(directory))
    for step in steps:
        writer.add_scalar('loss', step / 3, step)
        writer.add_scalar('seconds', os.urandom(1)[0], step)
        writer.add_image('samples', np.full((1, 4, 4), picture if step == 2 else 0, np.uint8), step)
        writer.add_histogram('weights', np.array([0.0, histogram if step == 2 else 1.0]), step)
    writer.add_text('note', text)
    writer.add_text('resumed', os.urandom(4).hex())
    writer.close()


@pytest.mark.parametrize(
    ('change', 'found'),
    [
        ({}, []),
        ({'picture': 9}, ['TensorBoard: images samples: other values at the steps [2]']),
        ({'histogram': 1.5}, ['TensorBoard: histograms weights: other values at the steps [2]']),
        ({'text': 'other'}, ['TensorBoard: tensors note/text_summary: other values at the steps [0]']),
    ],
)
def test_any_difference_in_tensorboard_is_noticed(change, found, driver, tmp_path):
    write_events(tmp_path / 'whole')
    write_events(tmp_path / 'run', **change)
    assert driver.events.event_differences(tmp_path / 'run', tmp_path / 'whole') == found


def test_missing_and_disordered_steps_in_tensorboard_are_noticed(driver, tmp_path):
    write_events(tmp_path / 'whole', steps=(1, 2, 3))
    write_events(tmp_path / 'run', steps=(1, 3, 2))
    found = driver.events.event_differences(tmp_path / 'run', tmp_path / 'whole')
    assert 'TensorBoard: scalars loss: steps out of order: [1, 3, 2]' in found
    assert 'TensorBoard: histograms weights: steps [1, 3, 2] instead of [1, 2, 3]' in found


@pytest.fixture
def tested_runs(tmp_path):
    """Return the directories of two runs, each tested, with its line in the ledger."""
    runs = []
    for name in ('whole', 'run'):
        folder = tmp_path / name / 'exp' / 'best' / 'val'
        folder.mkdir(parents=True)
        (folder / 'predictions.csv').write_text('name,prediction\na,1\nb,2\n', encoding='utf-8')
        (folder / 'result.txt').write_text(f'# date: {name}\n# samples: 2\nacc: 0.5\n', encoding='utf-8')
        (folder / 'report.html').write_text('<html></html>\n', encoding='utf-8')
        line = json.dumps({'run': 'exp', 'values': {'acc': 0.5}})
        (tmp_path / name / 'ledger.jsonl').write_text(f'{line}\n', encoding='utf-8')
        runs.append(tmp_path / name / 'exp')
    return runs[1], runs[0]


OTHER_LINE = json.dumps({'run': 'exp', 'values': {}})
CHANGES = {
    'val: predictions.csv': lambda run: edit(run / 'best' / 'val' / 'predictions.csv', 'b,2', 'b,1'),
    'val: result.txt': lambda run: edit(run / 'best' / 'val' / 'result.txt', 'acc: 0.5', 'acc: 0.25'),
    'val: report.html is not whole': lambda run: edit(run / 'best' / 'val' / 'report.html', '</html>', ''),
    "tests: [] instead of ['val']": lambda run: shutil.rmtree(run / 'best'),
    'ledger: other values': lambda run: edit(run.parent / 'ledger.jsonl', '0.5', '0.25'),
    'ledger: 2 lines instead of 1': lambda run: edit(run.parent / 'ledger.jsonl', '\n', f'\n{OTHER_LINE}'),
}


def edit(path, old, new):
    """Replace a part of a text file."""
    text = path.read_text(encoding='utf-8')
    assert old in text
    path.write_text(text.replace(old, new), encoding='utf-8')


@pytest.mark.parametrize('change', CHANGES)
def test_any_difference_in_a_test_is_noticed(change, driver, tested_runs):
    assert driver.compare.result_differences(*tested_runs) == []
    CHANGES[change](tested_runs[0])
    assert driver.compare.result_differences(*tested_runs) == [change]


def test_what_a_killed_process_has_left_is_noticed_in_all_directories(driver, tmp_path):
    for name in ('lock', 'last.pth.7.partial', 'best/val/partial', 'best/val/result.1.txt'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert len(driver.compare.leftovers(tmp_path)) == 4


# --- kills


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='kills a forked process')
@pytest.mark.parametrize('operation', [2, None])
def test_a_process_is_killed_in_the_phase_and_at_the_operation_that_are_drawn(operation, driver, tmp_path):
    strike = driver.strikes.Strike('saving', 1, operation, 0.0)
    process = os.fork()
    if not process:
        phases = driver.strikes.Phases(tmp_path / 'phase', strike, tmp_path)
        (tmp_path / 'in start').touch()
        phases.enter('step')
        with phases.within('saving'):
            (tmp_path / 'first').touch()
            if operation is None:
                signal.pause()
            (tmp_path / 'second').touch()
        os._exit(0)
    assert os.waitpid(process, 0)[1] == signal.SIGKILL
    assert driver.strikes.phase_at_end(tmp_path / 'phase') == 'saving'
    assert (tmp_path / 'in start').exists()
    assert not (tmp_path / 'second').exists()
    assert (tmp_path / 'first').exists() or operation is None


@pytest.mark.slow('starts about five processes that train')
def test_a_run_of_a_file_is_killed_twice_and_ends_as_if_it_never_had_been(capsys):
    sys.path.append(str(PROJECT / 'scripts'))
    from scripts.dev.stress_resume import main

    assert main(['--configurations', str(SHIPPED), '--runs', 'classification', '--kills', '2', '--seed', '1']) == 0
    # Of how many runs they are depends on the time: a run may be done before the moment of its kill.
    assert re.search(r'\| classification \| [1-9] \| 2 \|', capsys.readouterr().out)
