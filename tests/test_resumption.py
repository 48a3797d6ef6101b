"""Runs that are killed, stopped, damaged or without space, and go on: to the same bits, and each value once."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from metrics import Metrics
from options import train_args
from train import Trainer
from utils.checkpoint import load_checkpoint
from utils.interruption import Interruption
from utils.lock import RunLock
from utils.resumption import newest_whole

CASES = ('classification', 'segmentation', 'gathering', 'memory', 'stream', 'regression')
WORKERS = (0, 2)


@pytest.fixture
def interrupted(faults, whole_runs, tmp_path):
    """Return a function that makes a run of a case, with faults one after the other -> the run, when it is done.

    (name, faults, *words, first=...): each process goes on where the one before ended, with another number of workers,
    the first one with WORKERS[first].
    """

    def interrupt(name, strikes, *words, first=0):
        whole, samples, said = whole_runs(name), tmp_path / 'samples', []
        given = [*whole.words, '--checkpoints_dir', tmp_path / 'runs', *words]
        for number, fault in enumerate([*strikes, None], first):
            run = faults.Run([*given, '--resume', 'auto', '--num_workers', WORKERS[number % 2]], samples, fault)
            code = run.wait()
            said.append(run.said)
            assert code == ending(fault), run.said
        [directory] = (tmp_path / 'runs').iterdir()
        return SimpleNamespace(directory=directory, samples=samples, said=said, whole=whole)

    return interrupt


def ending(fault):
    """Return the exit status (int) that a fault leads to."""
    if fault is None:
        return 0
    return -fault.number if fault.number == signal.SIGKILL or fault.times > 1 else 128 + fault.number


@pytest.mark.parametrize('name', CASES)
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(name, interrupted, faults):
    strikes = [faults.Fault(signal.SIGKILL, step) for step in (6, 4, 5)]
    run = interrupted(name, strikes, '--save_steps', 1)
    assert 'resumed after batch' in run.said[1], 'it was to go on within an epoch'
    assert all('resume verified' in said or 'resume not verified' in said for said in run.said[1:])
    assert faults.differences(run.directory, run.whole.directory) == []
    assert faults.sample_faults(run.samples, run.whole.samples) == []


@pytest.mark.parametrize(
    ('number', 'group', 'first'),
    [
        (signal.SIGTERM, True, 1),
        (signal.SIGTERM, False, 1),
        (signal.SIGTERM, False, 0),
        (signal.SIGINT, True, 1),
        (signal.SIGINT, True, 0),
        (signal.SIGUSR1, True, 1),
    ],
)
def test_a_signal_ends_a_run_after_the_step_at_hand(number, group, first, interrupted, faults):
    """Four batches are done, of which three make a step: workers that a signal has ended make no more for the next."""
    run = interrupted('gathering', [faults.Fault(number, 4, group=group)], '--save_steps', 100, first=first)
    assert len(faults.steps_in(run.samples)) == 21, 'a step was done twice'
    resumed = int(re.search(r'resumed after batch (\d) of epoch 1', run.said[1])[1])
    assert 4 <= resumed <= 6, 'the step at hand was to be finished, and no more'
    assert f'last.pth holds batch {resumed} of epoch 1; to go on: python train.py --resume' in run.said[0]
    assert faults.differences(run.directory, run.whole.directory) == []


@pytest.mark.parametrize('name', ['gathering', 'classification'])
def test_a_signal_during_validation_costs_nothing_but_the_validation(name, interrupted, faults):
    """With --ema the network has other weights then, and a signal to the group ends the workers of its loader."""
    strikes = [
        faults.Fault(signal.SIGTERM, 2, validating=True, group=True),
        faults.Fault(signal.SIGTERM, 2, validating=True, group=True),
    ]
    run = interrupted(name, strikes)
    assert len(faults.steps_in(run.samples)) == 21
    assert faults.differences(run.directory, run.whole.directory) == []


def test_a_second_ctrl_c_stops_at_once(faults, whole_runs, tmp_path):
    run = faults.Run(
        [*whole_runs('memory').words, '--checkpoints_dir', tmp_path],
        tmp_path / 's',
        faults.Fault(signal.SIGINT, 3, times=2),
    )
    assert run.wait() == 130
    assert 'nothing was saved yet' in run.said
    assert not list(tmp_path.glob('*/last.pth')), 'it saved first'


def test_a_process_that_is_started_by_hand_and_stopped_by_kill_says_how_to_go_on(interpreter, whole_runs, tmp_path):
    """The program itself, with a signal at any moment; --resume auto of a finished run is no error."""
    project = Path(__file__).resolve().parent.parent
    words = [*whole_runs('classification').words, '--checkpoints_dir', str(tmp_path), '--num_workers', '2']
    command = [interpreter, str(project / 'train.py'), *words, '--resume=auto']
    with subprocess.Popen(
        [*command, '--epochs', '10000'], text=True, stdout=subprocess.PIPE, start_new_session=True
    ) as run:
        for line in run.stdout:
            if line.startswith('epoch 2/'):
                os.killpg(run.pid, signal.SIGTERM)
                break
        rest = run.stdout.read()
    assert run.returncode == 143
    assert f'to go on: python train.py --resume {tmp_path}/mlp_exp' in rest
    epoch = load_checkpoint(tmp_path / 'mlp_exp' / 'last.pth')['epoch']
    done = subprocess.run([*command, '--epochs', str(epoch)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('nothing to do: '), done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ['mlp_exp']


# --- negative controls: what was restored is needed


def rng_left_out(trainer):
    """Leave out the generators."""
    torch.manual_seed(99)


def position_left_out(trainer):
    """Leave out the position in the epoch."""
    trainer.batch = trainer.resumed_at = 0


def optimizer_left_out(trainer):
    """Leave out the state of the optimizer."""
    trainer.optimizer.state.clear()


def schedule_left_out(trainer):
    """Leave out where the schedule stands."""
    trainer.update.schedule.by_step.last_epoch = 0
    trainer.optimizer.param_groups[0]['lr'] = 1e-6


def plateau_left_out(trainer):
    """Leave out what the schedule by values has seen."""
    trainer.update.schedule.by_value.num_bad_epochs = 0
    trainer.update.schedule.by_value.best = float('-inf')


def sums_left_out(trainer):
    """Leave out the running sums of the loss."""
    trainer.logger.recorder = type(trainer.logger.recorder)()


def metrics_left_out(trainer):
    """Leave out the metrics so far."""
    trainer.metrics['train'].reset()


def ema_left_out(trainer):
    """Leave out the averaged weights."""
    trainer.update.ema.average.module.load_state_dict(trainer.net.state_dict())


def steps_left_out(trainer):
    """Leave out how many steps were averaged."""
    trainer.update.ema.average.n_averaged.zero_()


def best_left_out(trainer):
    """Leave out the best value so far."""
    trainer.selection.best = None


def nothing_left_out(trainer):
    """Leave out nothing: the control of the controls."""


@pytest.fixture(scope='module')
def stopped(faults, whole_runs, tmp_path_factory):
    """Return a function: name of a case -> the words to go on with a run of it that was stopped in its second epoch."""
    folder = tmp_path_factory.mktemp('stopped')

    def stop(name, step):
        place = folder / f'{name}_{step}'
        if not place.exists():
            words = [*whole_runs(name).words, '--checkpoints_dir', place, '--num_workers', 0]
            run = faults.Run(words, folder / 'samples', faults.Fault(signal.SIGTERM, step))
            assert run.wait() == 143, run.said
        [directory] = place.iterdir()
        return directory

    return stop


LEFT_OUT = [
    ('memory', 10, nothing_left_out, False),
    ('memory', 10, rng_left_out, True),
    ('memory', 10, position_left_out, True),
    ('memory', 10, sums_left_out, True),
    ('memory', 10, metrics_left_out, True),
    ('gathering', 10, nothing_left_out, False),
    ('gathering', 10, optimizer_left_out, True),
    ('gathering', 3, schedule_left_out, True),
    ('gathering', 17, plateau_left_out, True),
    ('gathering', 10, ema_left_out, True),
    ('gathering', 10, steps_left_out, True),
    ('gathering', 17, best_left_out, True),
]


@pytest.mark.parametrize('control', LEFT_OUT, ids=lambda control: f'{control[0]}-{control[1]}-{control[2].__name__}')
def test_with_anything_left_out_the_run_ends_otherwise(control, stopped, faults, whole_runs, tmp_path):
    name, step, left_out, differs = control
    run = tmp_path / 'run'
    subprocess.run(['cp', '-r', stopped(name, step), run], check=True)
    resumed = faults.Run(['--resume', run], tmp_path / 'samples', left_out=left_out)
    assert resumed.wait() == 0, resumed.said
    assert bool(faults.differences(run, whole_runs(name).directory)) == differs


class Broken(list):
    """Batches of which the fourth is the last, as a signal has then ended the workers that make them."""

    def __iter__(self):
        yield from list(super().__iter__())[:4]
        self.interruption.signal = signal.SIGTERM
        raise RuntimeError('DataLoader worker (pid 1) exited unexpectedly')


def gradients_left_out(trainer):
    """Leave out the gradients that wait for their step."""
    for parameter in trainer.net.parameters():
        parameter.grad = None


def batches_left_out(trainer):
    """Leave out how many batches they are from."""
    trainer.update.waiting = 0


@pytest.mark.parametrize(
    ('left_out', 'differs'), [(nothing_left_out, False), (gradients_left_out, True), (batches_left_out, True)]
)
def test_gradients_that_wait_for_their_step_are_needed(left_out, differs, tmp_path):
    words = {'model_type': 'mlp', 'num_classes': 3, 'image_size': [8, 8], 'channels': 3, 'device': 'cpu', 'epochs': 1}
    words |= {'accumulate': 3, 'optimizer': 'sgd', 'checkpoints_dir': str(tmp_path)}

    batches = list(loader_of(False, True))
    whole, cut = (
        Trainer(train_args(**words), train_loader=kind(batches), val_loader=batches) for kind in (list, Broken)
    )
    whole.train()
    cut.train_loader.interruption = cut.interruption
    with pytest.raises(SystemExit):
        cut.train()
    assert 'batch 4 of epoch 1' in cut.saved
    on = Trainer(train_args(resume=cut.args.model_dir), train_loader=batches, val_loader=batches)
    assert on.update.waiting == 1, 'a gradient was to wait'
    left_out(on)
    on.train()
    pairs = zip(whole.net.state_dict().values(), on.net.state_dict().values(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs) != differs


def tampered(directory, target, change):
    """Copy a run to `target`, change the state in its last.pth by `change`, and return it."""
    subprocess.run(['cp', '-r', directory, target], check=True)
    state = torch.load(target / 'last.pth', weights_only=True)
    change(state)
    torch.save(state, target / 'last.pth')
    return target


def weights_changed(state):
    """Change a weight."""
    next(iter(state['model'].values())).view(-1)[0] += 1


def generator_changed(state):
    """Draw otherwise in the network."""
    state['rng']['torch'] = torch.Generator().manual_seed(99).get_state()


@pytest.mark.parametrize(
    ('change', 'line'),
    [
        (lambda state: None, 'resume verified: weights, data and loss of batch 4 of epoch 1'),
        (weights_changed, 'resume differs: the weights of batch 4 of epoch 1'),
        (generator_changed, 'resume differs: the loss of batch 4 of epoch 1'),
    ],
)
def test_the_first_step_of_a_resumed_run_is_compared_with_what_the_run_saw(change, line, faults, whole_runs, tmp_path):
    words = [*whole_runs('memory').words, '--checkpoints_dir', tmp_path, '--save_steps', 3, '--num_workers', 0]
    run = faults.Run(words, tmp_path / 's', faults.Fault(signal.SIGKILL, 5, written=True))
    assert run.wait() == -signal.SIGKILL
    run = tampered(tmp_path / 'mlp_exp', tmp_path / 'other', change)
    resumed = faults.Run(['--resume', run], tmp_path / 's', faults.Fault(signal.SIGTERM, 1))
    assert resumed.wait() == 143
    assert line in resumed.said
    assert 'process' in resumed.said
    assert 'is gone' in resumed.said, 'the lock of the process that was killed'


# --- one process at a time


def test_a_second_process_is_kept_out_as_long_as_the_first_goes_on(faults, whole_runs, tmp_path):
    """The first has worker processes, which must not hold the lock when it is gone."""
    words = [*whole_runs('classification').words, '--checkpoints_dir', tmp_path, '--save_steps', 1, '--epochs', 10000]
    first = faults.Run([*words, '--num_workers', 2], tmp_path / 'first')
    while not (tmp_path / 'mlp_exp' / 'last.pth').exists():
        assert first.wait(0.05) is None, first.said
    second = faults.Run(['--resume', tmp_path / 'mlp_exp'], tmp_path / 'second')
    assert second.wait() == 2
    assert re.fullmatch(
        r'train\.py: error: .*/mlp_exp: process \d+ on .* goes on with this run; wait for it, .*\n', second.said
    )
    assert first.wait(0) is None, 'it was to go on'
    first.kill()
    first.wait()
    third = faults.Run(['--resume', tmp_path / 'mlp_exp'], tmp_path / 'third', faults.Fault(signal.SIGTERM, 1))
    assert third.wait() == 143
    assert f'process {first.process.pid} on ' in third.said
    assert ', which had this run, is gone' in third.said


def test_a_lock_that_nobody_has_filled_in_yet_is_respected(tmp_path):
    """Between opening and writing, which another process may see."""
    lock = RunLock(tmp_path)
    lock.file.truncate(0)
    code = f'from utils.lock import RunLock\nRunLock({str(tmp_path)!r})'
    project = Path(__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, '-c', code], cwd=project, capture_output=True, text=True, check=False)
    assert 'another process goes on with this run' in done.stderr
    lock.release()
    assert list(tmp_path.iterdir()) == []


# --- damage, and no space


def test_what_a_kill_has_left_half_written_is_removed_before_the_run_goes_on(stopped, faults, tmp_path):
    run = tmp_path / 'run'
    shutil.copytree(stopped('memory', 10), run)
    for name in ('last.pth.17.partial', 'history.csv.partial', 'curves.partial.png', 'partial.trace.json.gz'):
        (run / name).write_bytes(b'half')
    (run / 'notes_partial.txt').write_bytes(b'of a person')
    resumed = faults.Run(['--resume', run], tmp_path / 'samples')
    assert resumed.wait() == 0, resumed.said
    (run / 'curves.partial.png').write_bytes(b'half')  # by a kill after the last epoch
    curves = (run / 'curves.png').read_bytes()
    (run / 'curves.png').write_bytes(b'of an earlier epoch')
    os.utime(run / 'curves.png', (1, 1))
    finished = faults.Run(['--resume', 'auto', '--model_dir', run, '--checkpoints_dir', tmp_path], tmp_path / 'samples')
    assert finished.wait() == 0, finished.said
    assert finished.said.startswith('nothing to do: ')
    assert [path.name for path in run.iterdir() if 'partial' in path.name] == ['notes_partial.txt']
    assert (run / 'curves.png').read_bytes() == curves


def test_a_damaged_last_pth_is_passed_over_for_the_newest_whole_file(stopped, faults, whole_runs, tmp_path):
    whole, source = whole_runs('memory'), stopped('memory', 10)
    (source / 'epoch_0001.pth').write_bytes((source / 'last.pth').read_bytes())  # stands for one of --save_freq
    data = (source / 'last.pth').read_bytes()
    for number, content in enumerate(
        [b'', data[:100], data[: len(data) // 2], data[:-1], flipped(data, len(data) // 3)]
    ):
        (source / 'last.pth').write_bytes(content)
        state, path, note = newest_whole(source)
        assert (path.name, state['epoch']) == ('epoch_0001.pth', 1), f'damage {number}'
        assert note.startswith('going on from epoch_0001.pth instead: ')
        assert 'last.pth' in note
    run = tmp_path / 'run'
    shutil.copytree(source, run)
    resumed = faults.Run(['--resume', run], tmp_path / 'samples')
    assert resumed.wait() == 0, resumed.said
    assert 'going on from epoch_0001.pth instead: ' in resumed.said
    assert faults.differences(run, whole.directory) == []
    shutil.copytree(source, tmp_path / 'previous')
    (tmp_path / 'previous' / 'last.prev.pth').write_bytes(data)
    assert newest_whole(tmp_path / 'previous')[1].name == 'last.prev.pth'
    (source / 'epoch_0001.pth').unlink()
    refused = faults.Run(['--resume', source], tmp_path / 'samples')
    assert refused.wait() == 2
    assert re.fullmatch(
        r'train\.py: error: --resume: nothing in .* can be gone on from: .*last\.pth .*\n', refused.said
    )
    (source / 'last.pth').write_bytes(data)


def flipped(data, place):
    """Return bytes with one of them changed."""
    return data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :]


def test_files_of_ten_thousand_epochs_are_in_the_order_of_their_numbers(tmp_path):
    for epoch in (9999, 10000):
        torch.save({'epoch': epoch}, tmp_path / f'epoch_{epoch:04d}.pth')
    assert newest_whole(tmp_path)[0]['epoch'] == 10000


@pytest.mark.parametrize('share', [0.02, 0.1, 0.5, 0.99])
def test_a_full_disk_ends_in_one_line_and_the_run_can_go_on(share, faults, whole_runs, tmp_path):
    whole = whole_runs('memory')
    words = [*whole.words, '--checkpoints_dir', tmp_path / 'runs', '--save_steps', 2, '--resume', 'auto']
    size = int(share * (whole.directory / 'last.pth').stat().st_size)
    run = faults.Run([*words, '--num_workers', 0], tmp_path / 'samples', file_size=size)
    assert run.wait() == 2, run.said
    [line] = [line for line in run.said.splitlines() if 'error' in line]
    assert 'cannot write' in line
    assert re.search(f'free some space, then (--resume {tmp_path}|start it again)', line)
    assert not list((tmp_path / 'runs').glob('*/*.partial*'))
    again = faults.Run([*words, '--num_workers', 0], tmp_path / 'samples')
    assert again.wait() == 0, again.said
    directory = max((tmp_path / 'runs').iterdir())
    assert faults.differences(directory, whole.directory) == []


def test_a_disk_that_is_full_from_the_start_is_said_in_one_line_and_nothing_is_left(faults, whole_runs, tmp_path):
    words = [*whole_runs('memory').words, '--checkpoints_dir', tmp_path / 'runs']
    run = faults.Run(words, tmp_path / 'samples', file_size=1000)
    assert run.wait() == 2, run.said
    assert re.search(r'error: cannot write into .*/mlp_exp: File too large; free some space there, or', run.said)
    assert 'Traceback' not in run.said
    assert list((tmp_path / 'runs').iterdir()) == []


# --- auto


def test_auto_goes_on_with_the_newest_run_of_the_name(faults, whole_runs, tmp_path):
    words = [*whole_runs('memory').words, '--checkpoints_dir', tmp_path]
    for _ in range(2):
        assert faults.Run([*words, '--epochs', 1], tmp_path / 's').wait() == 0
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ['mlp_exp', 'mlp_exp_2']
    on = faults.Run([*words, '--resume', 'auto', '--epochs', 2], tmp_path / 's')
    assert on.wait() == 0
    assert [len(faults.history(tmp_path / name)) for name in ('mlp_exp', 'mlp_exp_2')] == [1, 2]
    named = [*words, '--model_dir', tmp_path / 'mine', '--resume', 'auto']
    for epochs in (1, 2, 2):
        run = faults.Run([*named, '--epochs', epochs], tmp_path / 's')
        assert run.wait() == 0, run.said
    assert run.said.startswith('nothing to do: ')
    assert len(faults.history(tmp_path / 'mine')) == 2
    assert not (tmp_path / 'mine_2').exists()


def record_changed(state):
    """Be of another list and of other code, of which no archive is at hand."""
    state['record']['data']['train']['sha256'] = state['record']['code'] = state['record']['source']['sha256'] = 'other'


def of_before_records(state):
    """Be of a version that kept hashes in `identity` instead of a record; those of lists saw no sizes of files."""
    del state['record']
    state['identity'] = {'training data': 'other', 'validation data': 'other', 'code': 'other'}


@pytest.mark.parametrize(
    ('change', 'said'), [(record_changed, ('training data', 'code')), (of_before_records, ('code',))]
)
def test_a_changed_list_and_changed_code_are_said(change, said, stopped, faults, tmp_path):
    run = tampered(stopped('gathering', 10), tmp_path / 'run', change)
    resumed = faults.Run(['--resume', run], tmp_path / 's', faults.Fault(signal.SIGTERM, 1))
    assert resumed.wait() == 143, resumed.said
    for what in ('training data', 'validation data', 'code'):
        assert (f'changed since the run was interrupted: the {what}; ' in resumed.said) == (what in said)
    assert (run / 'record_2.json').is_file(), 'from here on it is another run'


# --- ready-made loaders


class Noisy(torch.utils.data.Dataset):
    """Draws from the global generator, as torchvision's transforms do, or from one that nobody can know of."""

    def __init__(self, hidden):
        self.hidden = [torch.Generator().manual_seed(3)] if hidden else []

    def __len__(self):
        return 20

    def __getitem__(self, index):
        noise = torch.rand(3, 8, 8, generator=self.hidden[0]) if self.hidden else torch.rand(3, 8, 8)
        return noise + index / 20, index % 3


def loader_of(hidden, own):
    """Return a shuffled DataLoader, whose order is drawn from its own generator or from the global one."""
    generator = torch.Generator().manual_seed(5) if own else None
    return torch.utils.data.DataLoader(Noisy(hidden), batch_size=4, shuffle=True, generator=generator)


@pytest.mark.parametrize(('hidden', 'own', 'exact'), [(False, True, True), (False, False, True), (True, True, False)])
def test_a_ready_made_loader_goes_on_as_the_docstring_says(hidden, own, exact, tmp_path):
    """The network draws from the global generator too, in turns with the data."""
    options = {
        **{'model_type': 'mlp', 'model_args': ['hidden=16', 'dropout=0.3'], 'num_classes': 3, 'epochs': 3},
        **{'image_size': [8, 8], 'channels': 3, 'device': 'cpu', 'checkpoints_dir': str(tmp_path)},
    }

    def trained(**more):
        loaders = {'train_loader': loader_of(hidden, own), 'val_loader': loader_of(False, False)}
        return Stopping(train_args(**options, **more), **loaders)

    whole = trained(save_prefix='whole')
    whole.stop_at = None
    whole.train()
    cut = trained(save_prefix='cut')
    with pytest.raises(SystemExit):
        cut.train()
    on = Stopping(
        train_args(resume=cut.args.model_dir),
        **{'train_loader': loader_of(hidden, own), 'val_loader': loader_of(False, False)},
    )
    on.stop_at = None
    on.train()
    pairs = zip(whole.net.state_dict().values(), on.net.state_dict().values(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs) == exact


class Stopping(Trainer):
    """Is asked to stop in its second epoch."""

    stop_at = 8

    def train_step(self, batch):
        done = super().train_step(batch)
        if self.update.steps == self.stop_at:
            self.interruption.signal = signal.SIGTERM
        return done


# --- metrics of one's own


class Counting(Metrics):
    """Has attributes that are not private, as a class of one's own may."""

    def __init__(self):
        self.reset()

    def reset(self):
        super().reset()
        self.hits, self.of_class = torch.zeros(()), {'a': [0.5]}


def test_metrics_of_ones_own_go_on_with_all_that_they_hold():
    one, other = Counting(), Counting()
    one.hits, one.of_class = torch.tensor(7.0), {'a': [1.5]}
    other.load_state_dict(one.state_dict(), torch.device('cpu'))
    assert (other.hits, other.of_class) == (7, {'a': [1.5]})
    one.helper = torch.nn.Linear(1, 1)  # a checkpoint of plain values cannot hold it, so it is said and not half saved
    assert one.state_dict() is None


@pytest.mark.parametrize('error', [RuntimeError, ConnectionResetError, EOFError, FileNotFoundError])
def test_workers_that_a_signal_has_ended_are_no_error_however_they_are_missed(error):
    """A batch that is finished lies in memory for which the DataLoader asks the worker that made it."""

    def batches():
        yield 1
        interruption.signal = signalled
        raise error

    interruption, signalled, saved = Interruption(), None, []
    with pytest.raises(error):
        list(interruption.guarded(batches(), lambda: saved.append('state')))
    assert saved == [], 'without a signal the error is one'
    signalled = signal.SIGTERM
    with pytest.raises(error):
        list(interruption.guarded(batches(), lambda: saved.append('state')))
    assert saved == ['state']
