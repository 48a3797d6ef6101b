"""README.md: the commands that start several processes or runs work as printed, with one epoch and two runs each."""

import os
import re
import shlex
import subprocess
import sys

import pytest

from utils.base.registry import PROJECT

SECTION = 'More GPUs, more runs'
TEXT = (PROJECT / 'README.md').read_text(encoding='utf-8')
COMMANDS = [
    shlex.split(line, comments=True)
    for line in re.search(rf'^## {SECTION}\n\n```bash\n(.*?)^```$', TEXT, re.DOTALL | re.MULTILINE)[1].splitlines()
]
PROGRAMS = {  # how the first word of a command is started, and what is found in its directory of runs and its output
    'torchrun': ([sys.executable, '-m', 'torch.distributed.run', '--standalone'], ['lenet_exp'], '2 processes (gloo)'),
    'python': ([sys.executable], ['sweep/trial_0000', 'sweep/trial_0001'], '2 trials (2 complete)'),
    'bash': (['bash'], ['lenet_exp_seed0', 'lenet_exp_seed1'], '2 runs, seeds 0, 1'),
}


def smaller(words, folder):
    """Return a command (list of str) with one epoch, two trials or seeds, and the runs in `folder` (Path)."""
    words = [
        {'--epochs': '1', '--trials': '2', 'scripts/seeds.sh': '2'}.get(before, word)
        for before, word in zip(['', *words], words, strict=False)
    ]
    place = words.index('--') if '--' in words else len(words)
    words[place:place] = ['--checkpoints_dir', str(folder)]
    return [*words, '--device', 'cpu', '--no_report', '--no_index']


@pytest.mark.slow('trains five networks')
@pytest.mark.parametrize('command', COMMANDS, ids=lambda words: words[0])
def test_a_command_for_several_processes_or_runs_works(command, tmp_path):
    if 'scripts/sweep.py' in command:
        pytest.importorskip('optuna', reason='optuna is not installed: pip install -r requirements-extra.txt')
    program, runs, said = PROGRAMS[command[0]]
    done = subprocess.run(
        [*program, *smaller(command[1:], tmp_path)],
        cwd=PROJECT,
        env={
            **os.environ,
            'PATH': f'{os.path.dirname(sys.executable)}:{os.environ["PATH"]}',
            'VIRTUAL_ENV': sys.prefix,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert sorted(path.parent.relative_to(tmp_path).as_posix() for path in tmp_path.rglob('best.pth')) == runs


def test_the_section_has_a_command_of_each_kind():
    assert sorted(command[0] for command in COMMANDS) == sorted(PROGRAMS)
