"""train.py under torchrun: two processes give what one gives, end together, and lose nothing."""

import csv
import io
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

import train
from data.samplers import EpochBatches, StreamBatches
from metrics import select_metrics
from model.unet.unet import UNet
from options import parse_train_args
from train import Trainer
from utils import processes, resumption
from utils.checkpoint import load_checkpoint
from utils.errors import DanluError
from utils.finite import AHEAD, Diverged, Guard
from utils.launch import Place, place_of
from utils.lock import NoLock
from utils.sharding import fault_of_options, shard

PROJECT = Path(__file__).resolve().parent.parent
TORCHRUN = {'RANK': '0', 'LOCAL_RANK': '0', 'WORLD_SIZE': '2', 'MASTER_ADDR': 'localhost', 'MASTER_PORT': '29500'}
EXACT = ('train/acc', 'val/acc', 'val/auroc', 'train/f1_macro', 'val/f1_macro')
# Starts train.py with a step, of the process and the number that the environment names, before which something happens.
PROGRAM = """
import os, resource, signal, sys
project = sys.argv.pop(1)
sys.path[:0] = [project, os.path.join(project, 'scripts')]
import train
from faults.processes import recording
from utils import sharding
from utils.errors import run_main

WHAT, RANK, STEP = os.environ['FAULT'].split()
learn = train.Trainer.train_step
sharding.shard.__defaults__ = (100,)  # so that there are several parts of a small network

def train_step(self, batch):
    again = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0') != '0'
    if os.environ['RANK'] == RANK and self.update.steps == int(STEP) and not again:
        if WHAT == 'raise':
            raise ValueError('broken on purpose')
        if WHAT == 'kill':
            os.kill(os.getpid(), signal.SIGKILL)
        if WHAT == 'fill':
            resource.setrlimit(resource.RLIMIT_FSIZE, (2**15, 2**15))
        if WHAT == 'spoil':
            batch = (batch[0] * float('nan'), *batch[1:])
    return learn(self, batch)

train.Trainer.train_step = train_step
if 'SAMPLES' in os.environ:
    train.Trainer = recording(train.Trainer, f'{os.environ["SAMPLES"]}.{os.environ["RANK"]}')
run_main(train.main, 'train.py')
"""


@pytest.fixture(scope='module')
def uneven(tmp_path_factory):
    """Return the options of a run on 101 samples, of which 5 are left for the last batch, and one to validate."""
    folder = tmp_path_factory.mktemp('uneven')
    random = np.random.default_rng(0)
    lines = []
    for index in range(101):
        label = index % 3
        Image.fromarray(random.integers(60 * label, 100 + 70 * label, (12, 12, 3)).astype(np.uint8)).save(
            folder / f'{index}.png'
        )
        lines.append(f'{index}.png\t{label}\n')
    (folder / 'train.txt').write_text(''.join(lines))
    (folder / 'val.txt').write_text(''.join(lines[-17:]))
    (folder / 'one.txt').write_text(lines[1])
    return SimpleNamespace(
        one=folder / 'one.txt',
        words=['--data_type', 'mem_list', '--train_list', folder / 'train.txt', '--val_list', folder / 'val.txt',
               '--batch_size', 16, '--augment', 'flip', '--loss', 'ce+0.5*focal', '--class_weights', 1, 2, 3,
               '--metrics', 'auroc', '--lr', 0.003, '--accumulate', 2, '--clip_norm', 1,
               '--epochs', 3, '--print_freq', 2, '--device', 'cpu'],
    )  # fmt: skip


@pytest.fixture
def shards(tmp_path):
    """Return a directory of three shards with 41 pictures, none like another."""
    folder, random = tmp_path / 'shards', np.random.default_rng(1)
    folder.mkdir()
    for number, count in enumerate((13, 9, 19)):
        with tarfile.open(folder / f'{number}.tar', 'w') as archive:
            for index in range(count):
                picture = io.BytesIO()
                Image.fromarray(random.integers(0, 256, (12, 12, 3)).astype(np.uint8)).save(picture, 'PNG')
                for name, content in (('png', picture.getvalue()), ('cls', b'%d' % (index % 3))):
                    member = tarfile.TarInfo(f'{index}.{name}')
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return folder


@pytest.fixture(scope='module')
def program(tmp_path_factory):
    """Return the path of PROGRAM."""
    path = tmp_path_factory.mktemp('program') / 'faulty.py'
    path.write_text(PROGRAM)
    return path


@pytest.fixture(scope='module')
def launched():
    """Return a function that starts torchrun: (script, *words, torchrun=its options, fault) -> the Popen."""

    def launch(script, *words, torchrun=('--standalone', '--nproc_per_node', 2), fault='none 0 0'):
        command = [sys.executable, '-m', 'torch.distributed.run', *torchrun, script, *words, '--no_report']
        # In a shell's background SIGINT is ignored, and so it would be in what is started here.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return subprocess.Popen(
                list(map(str, command)),
                env={**os.environ, 'FAULT': fault},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        finally:
            signal.signal(signal.SIGINT, before)

    return launch


@pytest.fixture(scope='module')
def torchrun(launched):
    """Return a function that runs torchrun to its end: as `launched` -> code, stdout, stderr."""

    def run(*words, **given):
        process = launched(*words, **given)
        stdout, stderr = process.communicate(timeout=120)
        return SimpleNamespace(code=process.returncode, stdout=stdout, stderr=stderr)

    return run


@pytest.fixture(scope='module')
def two(uneven, torchrun, tmp_path_factory):
    """Return the run of two processes that is not disturbed."""
    place = tmp_path_factory.mktemp('two')
    done = torchrun(PROJECT / 'train.py', *uneven.words, '--checkpoints_dir', place)
    assert done.code == 0, done.stderr
    done.directory = place / 'lenet_exp'
    return done


def rows_of(directory):
    with open(directory / 'history.csv', newline='') as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def same_weights(run, other):
    ours, theirs = (load_checkpoint(each / 'last.pth')['model'] for each in (run, other))
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


# --- as one process


def test_two_processes_train_as_one(two, uneven, train_here, tmp_path):
    one = train_here(*uneven.words, '--checkpoints_dir', tmp_path)
    assert '2 processes (gloo): of the 16 samples of a batch each has 8' in two.stdout
    alone, together = rows_of(one.directory), rows_of(two.directory)
    assert len(alone) == len(together) == 3
    for row, other in zip(alone, together, strict=True):
        assert {name: row[name] for name in EXACT} == {name: other[name] for name in EXACT}
        losses = [name for name in row if 'loss' in name]
        assert {'train/loss', 'train/loss_ce', 'train/loss_focal', 'val/loss'} <= {*losses}
        assert {name: row[name] for name in losses} == pytest.approx({name: other[name] for name in losses}, rel=1e-5)
    assert two.stdout.count('epoch 1/3') == 1
    assert 'device: CPU, 2 processes (gloo), threads: 1' in two.stdout
    env = (two.directory / 'env.txt').read_text()
    assert re.search(r'^command: torchrun --nproc_per_node 2 \S+train\.py --data_type mem_list', env, re.MULTILINE)
    assert sorted(path.name for path in two.directory.iterdir() if 'rank' in path.name) == []


def test_what_one_process_has_tests_as_it_trained(two, eval_here):
    test = eval_here('--load_model_path', two.directory / 'best.pth')
    best = load_checkpoint(two.directory / 'best.pth')
    assert float(test.values['acc']) == best['metrics']['val/acc']
    assert float(test.values['loss']) == pytest.approx(best['metrics']['val/loss'], rel=1e-6)


def test_more_processes_than_samples(uneven, torchrun, train_here, tmp_path):
    """A validation of one sample, and a last batch of two for three processes; workers make the batches."""
    words = [*uneven.words, '--val_list', uneven.one, '--batch_size', 33, '--num_workers', 1, '--data_type', 'list']
    three = ('--standalone', '--nproc_per_node', 3)
    done = torchrun(PROJECT / 'train.py', *words, '--checkpoints_dir', tmp_path / 'three', torchrun=three)
    assert done.code == 0, done.stderr
    one = train_here(*words, '--checkpoints_dir', tmp_path / 'one')
    for row, other in zip(rows_of(one.directory), rows_of(tmp_path / 'three' / 'lenet_exp'), strict=True):
        assert row['val/acc'] == other['val/acc']
        for name in ('train/loss', 'val/loss'):
            assert row[name] == pytest.approx(other[name], rel=1e-4)


@pytest.mark.parametrize('count', [2, 3, 7])
@pytest.mark.parametrize('length', [1, 6, 41, 65])
def test_the_parts_of_a_batch_make_up_the_batch(length, count):
    whole = list(EpochBatches(length, 16, True, seed=3))
    shared = [EpochBatches(length, 16, True, seed=3) for _ in range(count)]
    streams = [StreamBatches(SimpleNamespace(order=lambda epoch: iter(range(length))), 16, True) for _ in range(count)]
    for rank, (sampler, stream) in enumerate(zip(shared, streams, strict=True)):
        sampler.place = stream.place = (rank, count)
    parts = [list(sampler) for sampler in shared]
    assert {len(each) for each in parts} == {len(whole)}
    for number, (_, batch) in enumerate(whole):
        found = [part[number][1] for part, sampler in zip(parts, shared, strict=True)
                 if (1, number) not in sampler.stand_ins]  # fmt: skip
        assert np.concatenate(found).tolist() == batch.tolist()
        assert max(map(len, found)) - min(map(len, found)) <= 1
    places = [[part.tolist() for _, part in stream] for stream in streams]
    counted = [place for stream, each in zip(streams, places, strict=True) for number, part in enumerate(each)
               if (1, number) not in stream.stand_ins for place in part]  # fmt: skip
    assert sorted(counted) == list(range(length))


@pytest.mark.parametrize('count', [2, 3, 7])
@pytest.mark.parametrize('rest', range(2, 15))
def test_no_part_of_a_last_batch_is_a_single_sample(rest, count):
    """Which batch normalisation cannot work on; one process alone has no such batch either."""
    for rank in range(count):
        sampler = EpochBatches(16 + rest, 16, True, seed=3)
        sampler.place = (rank, count)
        assert len(list(sampler)[-1][1]) > 1


TASKS = {
    'classification': (
        {'num_classes': 7, 'metrics': ['auroc', 'acc_top5']},
        lambda random: (torch.randn(41, 7, generator=random), torch.randint(7, (41,), generator=random)),
    ),
    'segmentation': (
        {'num_classes': 3, 'ignore_index': 2},
        lambda random: (torch.randn(41, 3, 4, 4, generator=random), torch.randint(3, (41, 4, 4), generator=random)),
    ),
    'multilabel': (
        {'num_classes': 4, 'metrics': ['auroc']},
        lambda random: (torch.randn(41, 4, generator=random), torch.randint(2, (41, 4), generator=random).float()),
    ),
    'regression': (
        {},
        lambda random: tuple(torch.randn(41, 2, generator=random, dtype=torch.float64) + 1e4 for _ in range(2)),
    ),
    'restoration': ({}, lambda random: tuple(torch.rand(41, 1, 16, 16, generator=random) for _ in range(2))),
}


@pytest.mark.parametrize('task', TASKS)
def test_shares_of_metrics_add_up(task):
    options, make = TASKS[task]
    args = SimpleNamespace(**{'task': task, 'class_names': None, 'ignore_index': None, 'metrics': None} | options)
    whole, shares = select_metrics(args), [select_metrics(args) for _ in range(3)]
    predictions, targets = make(torch.Generator().manual_seed(0))
    whole.update(predictions, targets)
    for share, part in zip(shares[1:], (slice(0, 15), slice(15, 41)), strict=True):  # and nothing for the first
        share.update(predictions[part], targets[part])
    merged = select_metrics(args)
    merged.merge([share.own_share() for share in shares], torch.device('cpu'))
    assert merged.compute() == pytest.approx(whole.compute(), rel=1e-9, nan_ok=True)


# --- ends


@pytest.mark.parametrize(
    ('fault', 'cause'),
    [
        ('kill 1 9', 'stopped by the end of another process, which left no word'),
        ('raise 1 9', 'stopped by the end of process 1: ValueError broken on purpose'),
    ],
)
def test_the_end_of_one_process_is_the_end_of_all(fault, cause, uneven, program, torchrun, tmp_path):
    """By itself, as torchrun ends by SIGKILL what is still there after 30 s; the cause is in the run's directory."""
    done = torchrun(program, PROJECT, *uneven.words, '--checkpoints_dir', tmp_path, fault=fault)
    assert done.code == 1
    assert done.stderr.count('exitcode  : -9') == fault.startswith('kill')
    run = tmp_path / 'lenet_exp'
    assert cause in (run / 'log.txt').read_text()
    if fault.startswith('raise'):
        assert done.stderr.count('ValueError: broken on purpose') == 1, 'told by one process'
        assert 'ValueError: broken on purpose' in (run / 'log.rank1.txt').read_text()


def test_a_full_disk_ends_all_and_the_run_goes_on_to_the_same_bits(two, uneven, program, torchrun, tmp_path):
    words = [*uneven.words, '--save_steps', 4, '--checkpoints_dir', tmp_path]
    done = torchrun(program, PROJECT, *words, fault='fill 0 9')
    run = tmp_path / 'lenet_exp'
    assert (done.code, done.stderr.count('exitcode  : -9')) == (1, 0)
    assert re.search('stopped by (DanluError cannot write|OSError .*File too large)', (run / 'log.txt').read_text())
    assert done.stderr.count('; free some space, then --resume') == 1
    assert not list(run.glob('*.partial'))
    again = torchrun(PROJECT / 'train.py', '--resume', run)
    assert again.code == 0, again.stderr
    assert 'resume verified' in again.stdout
    assert same_weights(run, two.directory)
    kept = [{name: row[name] for name in row if name.startswith(('train/', 'val/'))} for row in rows_of(run)]
    assert kept == [{name: row[name] for name in kept[0]} for row in rows_of(two.directory)]


def test_sigterm_saves_and_another_number_of_processes_goes_on(two, uneven, launched, train_here, tmp_path):
    process = launched(PROJECT / 'train.py', *uneven.words, '--epochs', 500, '--checkpoints_dir', tmp_path)
    for line in process.stdout:
        if line.startswith('epoch 2/'):
            break
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    run = tmp_path / 'lenet_exp'
    told = re.search('^last.pth holds epoch .*', (run / 'log.txt').read_text(), re.MULTILINE)[0]
    assert told.endswith(f'; to go on: torchrun --nproc_per_node 2 train.py --resume {run}')
    state = load_checkpoint(run / 'last.pth')
    assert len(state['processes']) == 2
    epochs = state['epoch'] + 2
    on = train_here('--resume', run, '--epochs', epochs, '--device', 'cpu')
    assert 'processes: 2 -> 1: same order, same samples; values equal to rounding' in on.stdout
    assert [row['epoch'] for row in rows_of(run)] == list(range(1, epochs + 1))


def test_ctrl_c_reaches_each_process_twice_and_saves_all_the_same(uneven, launched, tmp_path):
    """From the terminal, as all of them are in its foreground, and from torchrun."""
    process = launched(PROJECT / 'train.py', *uneven.words, '--epochs', 500, '--checkpoints_dir', tmp_path)
    for line in process.stdout:
        if line.startswith('epoch 2/'):
            break
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    log = (tmp_path / 'lenet_exp' / 'log.txt').read_text()
    assert 'stopped by KeyboardInterrupt\nlast.pth holds epoch' in log
    assert len(load_checkpoint(tmp_path / 'lenet_exp' / 'last.pth')['processes']) == 2


def test_torchrun_restarts_what_has_failed(two, uneven, program, torchrun, tmp_path):
    words = [*uneven.words, '--save_steps', 4, '--checkpoints_dir', tmp_path, '--resume', 'auto']
    once = ('--standalone', '--nproc_per_node', 2, '--max_restarts', 1)
    done = torchrun(program, PROJECT, *words, torchrun=once, fault='raise 1 9')
    assert done.code == 0, done.stderr
    assert same_weights(tmp_path / 'lenet_exp', two.directory)


def test_a_stream_is_shared_out_and_goes_on_where_it_was(
    shards, program, torchrun, train_here, faults, tmp_path, monkeypatch
):
    """No sample is lost or doubled, though one of two processes is killed; batches are those of one process."""
    words = ['--data_type', 'stream', '--train_list', shards, '--val_list', shards, '--num_classes', 3, '--epochs', 3,
             '--shuffle_buffer', 9, '--num_workers', 1, '--batch_size', 8, '--device', 'cpu']  # fmt: skip
    samples = tmp_path / 'samples'
    monkeypatch.setenv('SAMPLES', str(samples))
    once = ('--standalone', '--nproc_per_node', 2, '--max_restarts', 1)
    place = ['--save_steps', 2, '--resume', 'auto', '--checkpoints_dir', tmp_path / 'two']
    done = torchrun(program, PROJECT, *words, *place, torchrun=once, fault='kill 1 8')
    assert done.code == 0, done.stderr
    assert 'resume differs' not in done.stdout
    monkeypatch.setattr(train, 'Trainer', faults.recording(train.Trainer, tmp_path / 'one'))
    train_here(*words, '--checkpoints_dir', tmp_path)
    alone = {(epoch, batch): sums for epoch, batch, sums in faults.steps_in(tmp_path / 'one')}
    shares = []
    for rank in range(2):
        steps, share = faults.steps_in(f'{samples}.{rank}'), {}
        assert len(steps) > len(alone), 'none was done again'
        for epoch, batch, sums in steps:
            assert share.setdefault((epoch, batch), sums) == sums
        shares.append(share)
    assert {step: shares[0][step] + shares[1][step] for step in alone} == alone
    assert shares[0].keys() == shares[1].keys() == alone.keys()
    for epoch in (1, 2, 3):
        assert len({each for step in alone if step[0] == epoch for each in alone[step]}) == 41


def test_two_machines_find_each_other_and_go_on(two, uneven, program, launched, tmp_path):
    """Two agents on this machine, one process each; that of the second is killed, and both are started again."""
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]

    def both(script, *words, fault='none 0 0'):
        agent = ('--nnodes', 2, '--nproc_per_node', 1, '--rdzv_backend', 'c10d', '--rdzv_endpoint', f'localhost:{port}',
                 '--rdzv_id', 'danlu', '--local_addr', 'localhost')  # fmt: skip
        agents = [launched(script, *words, torchrun=agent, fault=fault) for _ in range(2)]
        told = [agent.communicate(timeout=120) for agent in agents]
        return [agent.returncode for agent in agents], told

    words = [*uneven.words, '--save_steps', 4, '--checkpoints_dir', tmp_path]
    codes, _ = both(program, PROJECT, *words, fault='kill 1 9')
    assert codes == [1, 1]
    codes, told = both(PROJECT / 'train.py', '--resume', tmp_path / 'lenet_exp')
    assert codes == [0, 0], told
    assert same_weights(tmp_path / 'lenet_exp', two.directory)


def test_shards_learn_what_whole_networks_do(two, uneven, program, torchrun, train_here, eval_here, tmp_path):
    """One process fails and all are started anew; what is saved is whole, so that one process goes on with it."""
    words = [*uneven.words, '--parallel', 'fsdp', '--save_steps', 4, '--checkpoints_dir', tmp_path, '--resume', 'auto']
    once = ('--standalone', '--nproc_per_node', 2, '--max_restarts', 1)
    done = torchrun(program, PROJECT, *words, torchrun=once, fault='raise 1 9')
    assert done.code == 0, done.stderr
    assert '2 processes (gloo), weights in shards: ' in done.stdout
    assert 'resume verified' in done.stdout
    run = tmp_path / 'lenet_exp'
    sharded, whole = (load_checkpoint(each / 'last.pth') for each in (run, two.directory))
    for name, weight in whole['model'].items():
        torch.testing.assert_close(sharded['model'][name], weight, rtol=1e-3, atol=1e-4)
    assert {name: type(part) for name, part in sharded['optimizer'].items()} == {
        name: type(part) for name, part in whole['optimizer'].items()
    }
    test = eval_here('--load_model_path', run / 'best.pth')
    assert float(test.values['loss']) == pytest.approx(
        load_checkpoint(run / 'best.pth')['metrics']['val/loss'], rel=1e-5
    )
    on = train_here('--resume', run, '--epochs', 4)
    assert 'processes: 2 -> 1' in on.stdout
    assert 'resume differs' not in on.stdout


def test_shards_are_put_together_by_all_processes_wherever_they_are_saved(uneven, program, torchrun, tmp_path):
    """In diverged.pth and the best epochs, by an optimizer whose fused step does not take shards."""
    words = [*uneven.words, '--parallel', 'fsdp', '--optimizer', 'sgd', '--keep_top', 1, '--on_nan', 'skip']
    done = torchrun(program, PROJECT, *words, '--accumulate', 1, '--checkpoints_dir', tmp_path, fault='spoil 1 3')
    assert done.code == 0, done.stderr
    run = tmp_path / 'lenet_exp'
    assert len(list(run.glob('top_*.pth'))) == 1
    assert load_checkpoint(run / 'diverged.pth')['step'] == 3
    shapes = [{name: weight.shape for name, weight in load_checkpoint(path)['model'].items()}
              for path in (run / 'last.pth', run / 'diverged.pth', *run.glob('top_*.pth'))]  # fmt: skip
    assert shapes[0] == shapes[1] == shapes[2]


@pytest.mark.parametrize('option', ['--ema 0.9', '--compile', '--channels_last', '--amp fp16', '--optimizer adafactor'])
def test_what_does_not_go_with_shards_is_said(option):
    fault = fault_of_options(parse_train_args(['--parallel', 'fsdp', *option.split()]))
    assert fault.startswith(f'{option.removesuffix(" 0.9")}: not with --parallel')
    assert fault_of_options(parse_train_args(['--parallel', 'fsdp', '--amp', 'bf16'])) is None


@pytest.fixture
def alone_in_a_group():
    """Let this process be the only one of a group."""
    torch.distributed.init_process_group('gloo', store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_a_network_that_lays_its_channels_last_can_be_sharded(alone_in_a_group):
    torch.manual_seed(0)
    net, images = UNet(num_classes=3), torch.rand(2, 3, 32, 32)
    expected = net(images)
    out = shard(net, torch.device('cpu'), least=100)(images)
    out.mean().backward()
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_weights_that_lie_otherwise_can_be_sharded(alone_in_a_group):
    net = torch.nn.Linear(4, 8)
    net.weight = torch.nn.Parameter(torch.randn(4, 8).t())
    expected = net(torch.ones(2, 4))
    torch.testing.assert_close(shard(net, torch.device('cpu'))(torch.ones(2, 4)), expected)


def test_a_process_that_was_freed_takes_what_fails_for_the_end_of_another(monkeypatch):
    """utils.release has ended the groups then, so that torch knows of no processes any more."""
    monkeypatch.setattr(processes, '_group', SimpleNamespace(why='the end of process 0: no space left'))
    monkeypatch.setattr(processes.launch, 'place', lambda: Place(1, 2, 1))
    assert (processes.count(), processes.rank()) == (2, 1)
    assert processes.why_ended(ValueError('there is no group')) == 'the end of process 0: no space left'


def test_processes_take_over_how_the_weights_lie(torchrun, tmp_path):
    """Or torch warns of gradients that have to be brought into another layout."""
    words = '--model_type cifar_cnn --channels 3 --channels_last --epochs 1 --max_steps 2'.split()
    done = torchrun(PROJECT / 'train.py', *words, '--checkpoints_dir', tmp_path)
    assert done.code == 0, done.stderr
    assert 'strides' not in done.stderr


# --- what is refused


def test_gpus_and_processes_at_once_are_refused(run_program):
    done = run_program('train.py', '--gpus', 0, 1, **TORCHRUN)
    assert (done.code, done.stdout) == (2, '')
    assert 'argument --gpus: not under torchrun' in done.stderr


def test_a_test_is_done_by_one_process(run_program, two):
    done = run_program('eval.py', '--load_model_path', two.directory / 'best.pth', **TORCHRUN)
    assert done.code == 2
    assert 'start eval.py without torchrun' in done.stderr


def test_processes_that_have_not_joined_do_not_train_side_by_side(monkeypatch, tmp_path):
    args = parse_train_args(['--checkpoints_dir', str(tmp_path), '--device', 'cpu'])
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DanluError, match='which have not joined each other'):
        Trainer(args)


def test_what_one_process_tries_does_not_wait_for_the_others(monkeypatch):
    """Batch norms over all processes would, in the copies of a network that --fast has in the first one."""
    monkeypatch.setattr(processes, '_group', object())
    monkeypatch.setattr(processes, 'count', lambda: 2)
    processes.check(parse_train_args(['--fast']))
    with pytest.raises(DanluError, match='--fast: not with --sync_bn'):
        processes.check(parse_train_args(['--fast', '--sync_bn']))


def test_a_finished_run_is_drawn_by_one_process(monkeypatch, tmp_path):
    """Two at once would take each other's half-written curves.png away."""
    drawn = []
    monkeypatch.setattr(resumption, 'draw_run', lambda *given: drawn.append(given))
    state = {'recorder': {'history': [{'epoch': 1}]}}
    for first in (False, True):
        monkeypatch.setattr(processes, 'is_first', lambda first=first: first)
        resumption.draw_missing(tmp_path / 'last.pth', state, None)
    assert len(drawn) == 1


def test_the_loss_of_all_waits_for_no_gpu(monkeypatch):
    """Where a number of Python's is copied to a GPU, all that it has to do before is waited for."""
    operations = []

    class Operations(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            operations.append(str(operation))
            return operation(*args, **(kwargs or {}))

    monkeypatch.setattr(processes, '_group', object())
    monkeypatch.setattr(processes, 'count', lambda: 2)
    monkeypatch.setattr(processes.dist, 'all_reduce', lambda tensor: None)
    values = torch.tensor([2.0, 3.0], requires_grad=True)
    parts = {'ce': (1.0, values[0], 4), 'dice': (0.5, values[1], torch.tensor(2))}
    with Operations():
        loss, known = processes.overall_loss(values[0] + 0.5 * values[1], lambda: parts)
    assert loss.item() == 3.5
    assert [(mean.item(), number.item()) for _, mean, number in known.values()] == [(2, 4), (3, 2)]
    assert 'aten.stack.default' in operations
    assert not [name for name in operations if 'lift_fresh' in name or 'local_scalar' in name]


def test_all_learn_where_a_run_is_that_was_not_prepared(monkeypatch, tmp_path):
    """As of a program of one's own, by parse_train_args alone; here as one of those that are not the first."""
    monkeypatch.setattr(processes, 'is_first', lambda: False)
    monkeypatch.setattr(processes, 'from_first', lambda function: str(tmp_path / 'run'))
    monkeypatch.setattr(train, 'select_lock', NoLock)
    trainer = Trainer(parse_train_args(['--checkpoints_dir', str(tmp_path), '--device', 'cpu']))
    assert trainer.args.model_dir == str(tmp_path / 'run')
    assert list(tmp_path.iterdir()) == [], 'it writes nothing itself'


def test_the_place_is_what_torchrun_says():
    assert place_of({}) == Place(0, 1, 0)
    assert place_of({'WORLD_SIZE': '4', 'RANK': '1'}) == Place(0, 1, 0), 'of something else'
    assert place_of({**TORCHRUN, 'RANK': '5', 'WORLD_SIZE': '8', 'LOCAL_RANK': '1'}) == Place(5, 8, 1)


def test_mistakes_are_told_by_one_process(torchrun, tmp_path):
    for words, told in (
        (['--dry_run'], '--dry_run is for one process: start it without torchrun'),
        (['--epochs', 0], 'argument --epochs: must be at least 1, got 0'),
        (['--batch_size', 1], '--batch_size 1 is the total, of which 2 processes cannot all have a sample'),
    ):
        done = torchrun(PROJECT / 'train.py', *words, '--checkpoints_dir', tmp_path, '--device', 'cpu')
        assert (done.code, done.stderr.count(f'train.py: error: {told}')) == (1, 1), done.stderr
        assert list(tmp_path.iterdir()) == []


def test_a_step_that_is_not_finite_is_met_at_the_same_step_by_all(monkeypatch):
    """On GPUs, one of which may know of it sooner than another."""
    net = torch.nn.Linear(2, 1)
    guard = Guard(net, torch.optim.SGD(net.parameters(), 0.1, fused=True), waits=False)
    guard.waits = False  # as on a GPU
    known = SimpleNamespace(query=lambda: True, synchronize=lambda: None)
    monkeypatch.setattr(processes, 'count', lambda: 2)
    for step in range(AHEAD):
        guard.waiting.append((torch.ones(()), known, Diverged('gradient', [step + 1], step, late=True), []))
        guard.raise_late()
    guard.waiting.append((torch.ones(()), known, Diverged('gradient', [AHEAD + 1], AHEAD, late=True), []))
    with pytest.raises(Diverged) as met:
        guard.raise_late()
    assert met.value.batches == [1]
