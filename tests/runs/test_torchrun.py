"""train.py in several processes: they give what one gives, end together, and lose nothing.

Two tests start torchrun. The others start the processes as torchrun does, without the seconds that it needs itself.
"""

import csv
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import train
from tests.runs.processes import ended, meeting_point, start_processes, together
from utils.base.registry import PROJECT
from utils.runs.checkpoint import load_checkpoint

TORCHRUN = {'RANK': '0', 'LOCAL_RANK': '0', 'WORLD_SIZE': '2', 'MASTER_ADDR': 'localhost', 'MASTER_PORT': '29500'}
EXACT = ('train/acc', 'val/acc', 'val/auroc', 'train/f1_macro', 'val/f1_macro')
# Starts train.py with a step, of the process and the number that the environment names, before which something happens.
PROGRAM = """
import os, resource, signal, sys
project = sys.argv.pop(1)
sys.path[:0] = [project, os.path.join(project, 'scripts')]
import train
from scripts.dev.fault_injection.processes import recording
from utils.distributed import fsdp
from utils.base.errors import run_main

WHAT, RANK, STEP = os.environ['FAULT'].split()
learn = train.Trainer.train_step
fsdp.shard.__defaults__ = (100,)  # so that there are several parts of a small network

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
    """Return a directory of three shards with 41 images, none like another."""
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


def restarted(*words, fault):
    """Run two processes until one fails, and then again, as torchrun --max_restarts 1 does; return the end."""
    failed = together(*words, fault=fault)
    assert 0 not in failed.codes, failed.stderr
    return together(*words, fault=fault, restarts=1)


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
def two(uneven, tmp_path_factory):
    """Return the run of two processes that is not disturbed."""
    place = tmp_path_factory.mktemp('two')
    done = together(PROJECT / 'train.py', *uneven.words, '--checkpoints_dir', place)
    assert done.codes == [0, 0], done.stderr
    done.directory = place / 'lenet_exp'
    return done


def rows_of(directory):
    with open(directory / 'history.csv', newline='') as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def same_weights(run, other):
    ours, theirs = (load_checkpoint(each / 'last.pth')['model'] for each in (run, other))
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


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
    logs = [path.read_text() for path in two.directory.iterdir() if 'rank' in path.name]
    assert logs == []
    assert contents_of(two.directory) == contents_of(one.directory)


def contents_of(run):
    """Return the hashes of the bytes of all samples that a run has read."""
    return [(run / f'contents_{split}.bin').read_bytes() for split in ('train', 'val')]


def test_what_one_process_has_tests_as_it_trained(two, eval_here):
    test = eval_here('--load_model_path', two.directory / 'best.pth')
    best = load_checkpoint(two.directory / 'best.pth')
    assert float(test.values['acc']) == best['metrics']['val/acc']
    assert float(test.values['loss']) == pytest.approx(best['metrics']['val/loss'], rel=1e-6)


@pytest.mark.slow('two starts of several processes')
def test_more_processes_than_samples(uneven, train_here, tmp_path):
    """A validation of one sample, and a last batch of two for three processes; workers make the batches."""
    words = [*uneven.words, '--val_list', uneven.one, '--batch_size', 33, '--num_workers', 1, '--data_type', 'list']
    done = together(PROJECT / 'train.py', *words, '--checkpoints_dir', tmp_path / 'three', count=3)
    assert done.codes == [0, 0, 0], done.stderr
    one = train_here(*words, '--checkpoints_dir', tmp_path / 'one')
    for row, other in zip(rows_of(one.directory), rows_of(tmp_path / 'three' / 'lenet_exp'), strict=True):
        assert row['val/acc'] == other['val/acc']
        for name in ('train/loss', 'val/loss'):
            assert row[name] == pytest.approx(other[name], rel=1e-4)
    assert contents_of(tmp_path / 'three' / 'lenet_exp') == contents_of(one.directory)


def test_a_process_that_is_killed_is_the_end_of_all(uneven, program, tmp_path):
    """By itself, as torchrun ends by SIGKILL what is still there after 30 s; the cause is in the run's directory."""
    done = together(program, PROJECT, *uneven.words, '--checkpoints_dir', tmp_path, fault='kill 1 9')
    assert done.codes[1] == -signal.SIGKILL and done.codes[0] > 0
    cause = 'stopped by the failure of another process, which exited without an error message'
    assert cause in (tmp_path / 'lenet_exp' / 'log.txt').read_text()


def test_a_process_that_fails_is_the_end_of_all(uneven, program, tmp_path):
    done = together(program, PROJECT, *uneven.words, '--checkpoints_dir', tmp_path, fault='raise 1 9')
    assert done.codes == [1, 1]
    run = tmp_path / 'lenet_exp'
    assert 'stopped by the failure of process 1: ValueError broken on purpose' in (run / 'log.txt').read_text()
    assert done.stderr.count('ValueError: broken on purpose') == 1, 'told by one process'
    assert 'ValueError: broken on purpose' in (run / 'log.rank1.txt').read_text()


@pytest.mark.slow('two starts of two processes')
def test_a_full_disk_ends_all_and_the_run_goes_on_to_the_same_bits(two, uneven, program, tmp_path):
    words = [*uneven.words, '--save_steps', 4, '--checkpoints_dir', tmp_path]
    done = together(program, PROJECT, *words, fault='fill 0 9')
    run = tmp_path / 'lenet_exp'
    assert min(done.codes) > 0, 'each ends by itself, and none goes on'
    assert re.search('stopped by (DanluError cannot write|OSError .*File too large)', (run / 'log.txt').read_text())
    assert done.stderr.count('; allow larger files (ulimit -f), then --resume') == 1
    assert not list(run.glob('*.partial'))
    again = together(PROJECT / 'train.py', '--resume', run)
    assert again.codes == [0, 0], again.stderr
    assert 'resume verified' in again.stdout
    assert same_weights(run, two.directory)
    kept = [{name: row[name] for name in row if name.startswith(('train/', 'val/'))} for row in rows_of(run)]
    assert kept == [{name: row[name] for name in kept[0]} for row in rows_of(two.directory)]


def test_sigterm_saves_and_another_number_of_processes_goes_on(uneven, train_here, tmp_path):
    words = [*uneven.words, '--epochs', 500, '--checkpoints_dir', tmp_path]
    processes = start_processes(PROJECT / 'train.py', *words)
    for line in processes[0].stdout:
        if line.startswith('epoch 2/'):
            break
    for process in processes:
        process.send_signal(signal.SIGTERM)
    assert 143 in ended(processes).codes  # the other one may find that its partner has gone
    run = tmp_path / 'lenet_exp'
    told = re.search('^last.pth holds epoch .*', (run / 'log.txt').read_text(), re.MULTILINE)[0]
    assert told.endswith(f'; to go on: torchrun --nproc_per_node 2 train.py --resume {shlex.quote(str(run))}')
    state = load_checkpoint(run / 'last.pth')
    assert len(state['processes']) == 2
    epochs = state['epoch'] + 2
    on = train_here('--resume', run, '--epochs', epochs, '--device', 'cpu')
    assert 'processes: 2 -> 1: same order, same samples; values equal to rounding' in on.stdout
    assert [row['epoch'] for row in rows_of(run)] == list(range(1, epochs + 1))


@pytest.mark.slow('two starts of two processes')
def test_ctrl_c_reaches_each_process_twice_and_saves_all_the_same(uneven, launched, tmp_path):
    """From the terminal, as all of them are in its foreground, and from torchrun."""
    process = launched(PROJECT / 'train.py', *uneven.words, '--epochs', 500, '--checkpoints_dir', tmp_path)
    for line in process.stdout:
        if line.startswith('epoch 2/'):
            break
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=900)
    log = (tmp_path / 'lenet_exp' / 'log.txt').read_text()
    assert 'stopped by KeyboardInterrupt\nlast.pth holds epoch' in log
    assert len(load_checkpoint(tmp_path / 'lenet_exp' / 'last.pth')['processes']) == 2


@pytest.mark.slow('three starts of two processes')
def test_a_stream_is_shared_out_and_goes_on_where_it_was(shards, program, train_here, faults, tmp_path, monkeypatch):
    """No sample is lost or doubled, though one of two processes is killed; batches are those of one process."""
    words = ['--data_type', 'stream', '--train_list', shards, '--val_list', shards, '--num_classes', 3, '--epochs', 3,
             '--shuffle_buffer', 9, '--num_workers', 1, '--batch_size', 8, '--device', 'cpu']  # fmt: skip
    samples = tmp_path / 'samples'
    monkeypatch.setenv('SAMPLES', str(samples))
    place = ['--save_steps', 2, '--resume', 'auto', '--checkpoints_dir', tmp_path / 'two']
    done = restarted(program, PROJECT, *words, *place, fault='kill 1 8')
    assert done.codes == [0, 0], done.stderr
    assert 'resume differs' not in done.stdout
    monkeypatch.setattr(train, 'Trainer', faults.recording(train.Trainer, tmp_path / 'one'))
    one = train_here(*words, '--checkpoints_dir', tmp_path)
    assert contents_of(next((tmp_path / 'two').glob('*/contents_val.bin')).parent) == contents_of(one.directory)
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


@pytest.mark.slow('two agents of torchrun start their processes twice')
def test_two_machines_find_each_other_and_restart_what_has_failed(two, uneven, program, launched, tmp_path):
    """Two agents on this machine, one process each, of which the second fails."""
    store = meeting_point()
    agent = ('--nnodes', 2, '--nproc_per_node', 1, '--rdzv_id', 'danlu', '--local_addr', 'localhost',
             '--rdzv_backend', 'c10d', '--rdzv_endpoint', f'localhost:{store.port}',
             '--rdzv_conf', 'is_host=false', '--max_restarts', 1)  # fmt: skip
    words = [*uneven.words, '--save_steps', 4, '--checkpoints_dir', tmp_path, '--resume', 'auto']
    agents = [launched(program, PROJECT, *words, torchrun=agent, fault='raise 1 9') for _ in range(2)]
    told = [agent.communicate(timeout=900) for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], told
    assert same_weights(tmp_path / 'lenet_exp', two.directory)


@pytest.mark.slow('three starts of two processes')
def test_shards_learn_what_whole_networks_do(two, uneven, program, train_here, eval_here, tmp_path):
    """One process fails and all are started anew; what is saved is whole, so that one process goes on with it."""
    words = [*uneven.words, '--parallel', 'fsdp', '--save_steps', 4, '--checkpoints_dir', tmp_path, '--resume', 'auto']
    done = restarted(program, PROJECT, *words, fault='raise 1 9')
    assert done.codes == [0, 0], done.stderr
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


@pytest.mark.slow('two starts of two processes')
def test_shards_are_put_together_by_all_processes_wherever_they_are_saved(uneven, program, tmp_path):
    """In diverged.pth and the best epochs, by an optimizer whose fused step does not take shards."""
    words = [*uneven.words, '--parallel', 'fsdp', '--optimizer', 'sgd', '--keep_top', 1, '--on_nan', 'skip']
    done = together(program, PROJECT, *words, '--accumulate', 1, '--checkpoints_dir', tmp_path, fault='spoil 1 3')
    assert done.codes == [0, 0], done.stderr
    run = tmp_path / 'lenet_exp'
    assert len(list(run.glob('top_*.pth'))) == 1
    assert load_checkpoint(run / 'diverged.pth')['step'] == 3
    shapes = [{name: weight.shape for name, weight in load_checkpoint(path)['model'].items()}
              for path in (run / 'last.pth', run / 'diverged.pth', *run.glob('top_*.pth'))]  # fmt: skip
    assert shapes[0] == shapes[1] == shapes[2]


@pytest.mark.slow('two starts of two processes')
def test_processes_take_over_how_the_weights_lie(tmp_path):
    """Or torch warns of gradients that have to be brought into another layout."""
    words = '--model_type cifar_cnn --channels 3 --channels_last --epochs 1 --max_steps 2'.split()
    done = together(PROJECT / 'train.py', *words, '--checkpoints_dir', tmp_path)
    assert done.codes == [0, 0], done.stderr
    assert 'strides' not in done.stderr


def test_gpus_and_processes_at_once_are_refused(run_program):
    done = run_program('train.py', '--gpus', 0, 1, **TORCHRUN)
    assert (done.code, done.stdout) == (2, '')
    assert 'argument --gpus: not under torchrun' in done.stderr


def test_a_test_is_done_by_one_process(run_program, two):
    done = run_program('eval.py', '--load_model_path', two.directory / 'best.pth', **TORCHRUN)
    assert done.code == 2
    assert 'start eval.py without torchrun' in done.stderr


@pytest.mark.slow('several starts of two processes')
def test_mistakes_are_told_by_one_process(tmp_path):
    for words, told in (
        (['--dry_run'], '--dry_run is for one process: start it without torchrun'),
        (['--epochs', 0], 'argument --epochs: must be at least 1, got 0'),
        (['--batch_size', 1], '--batch_size 1 is the total, of which 2 processes cannot all have a sample'),
    ):
        done = together(PROJECT / 'train.py', *words, '--checkpoints_dir', tmp_path, '--device', 'cpu')
        assert 0 not in done.codes
        assert done.stderr.count(f'train.py: error: {told}') == 1, done.stderr
        assert list(tmp_path.iterdir()) == []
