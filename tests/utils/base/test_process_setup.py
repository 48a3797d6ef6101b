"""Settings before torch is imported, each in a new interpreter."""

import ctypes
import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from utils.base.process_setup import M_MMAP_MAX, M_TRIM_THRESHOLD, keep_freed_memory
from utils.base.registry import PROJECT

START = 'import sys, torch\nfrom utils.base.process_setup import postpone_compiler\npostpone_compiler()\n'
TRAIN = """
net = torch.nn.Linear(3, 2)
optimizer = torch.optim.AdamW(net.parameters(), fused=True)
def step():
    optimizer.zero_grad()
    net(torch.ones(4, 3)).sum().backward()
    optimizer.step()
step()
"""
LOADED = "loaded = 'torch._dynamo.convert_frame' in sys.modules\n"


def run(code, *words):
    """Run Python code in the project's directory and return its output (str)."""
    done = subprocess.run(
        [sys.executable, '-c', code, *words], capture_output=True, text=True, check=False, cwd=PROJECT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


MALLINFO = """
import ctypes, sys
from utils.base.process_setup import keep_freed_memory
class Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                'arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost'.split()]
mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Mallinfo2
kept = sys.argv[1:] == ['keep'] and keep_freed_memory()
import torch
torch.zeros(2**24)
before = mallinfo()
block = torch.zeros(2**24)
held = mallinfo()
del block
freed = mallinfo()
print(kept, held.hblkhd - before.hblkhd >= 2**26, freed.arena >= held.arena >= 2**26)
"""


@pytest.mark.slow('two new interpreters')
@pytest.mark.skipif(
    platform.libc_ver()[0] != 'glibc' or not hasattr(ctypes.CDLL(None), 'mallinfo2'), reason='needs glibc 2.33 or newer'
)
def test_freed_memory_is_reused(monkeypatch):
    """By default glibc maps each block of 64 MiB again; with the setting it is in the heap, which does not shrink."""
    for name in [name for name in os.environ if name.startswith(('MALLOC_', 'GLIBC_TUNABLES'))]:
        monkeypatch.delenv(name)
    assert run(MALLINFO).startswith('False True ')
    assert run(MALLINFO, 'keep') == 'True False True'


@pytest.mark.parametrize('refused', [None, M_MMAP_MAX, M_TRIM_THRESHOLD])
def test_both_settings_of_glibc_have_to_be_accepted(refused, monkeypatch):
    asked = []

    def mallopt(setting, value):
        asked.append((setting, value))
        return int(setting != refused)

    monkeypatch.setattr(platform, 'libc_ver', lambda: ('glibc', '2.36'))
    monkeypatch.setattr(ctypes, 'CDLL', lambda name: SimpleNamespace(mallopt=mallopt))
    assert keep_freed_memory() is (refused is None)
    assert asked[0] == (M_MMAP_MAX, 0)
    assert asked[1:] == ([] if refused == M_MMAP_MAX else [(M_TRIM_THRESHOLD, 2**31 - 1)])


def test_another_libc_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, 'libc_ver', lambda: ('', ''))
    monkeypatch.setattr(ctypes, 'CDLL', lambda name: pytest.fail('it was asked for'))
    assert keep_freed_memory() is False


IN_FORKED_PROCESSES = """
import os
for code in sys.argv[1:]:
    if os.fork() == 0:
        exec(code)
        sys.stdout.flush()
        os._exit(0)
    assert os.wait()[1] == 0, code
"""
MARKED = "marked = hasattr(torch.optim.Optimizer.add_param_group.__wrapped__, '__dynamo_disable')\n"
# After each of them the compiler is loaded.
USES = [
    "print(torch.compile(lambda x: x + 1, backend='eager')(torch.ones(2)).tolist())",
    'import torch._dynamo.config; print([2.0, 2.0] if torch._dynamo.config.cache_size_limit else 0)',
    'from importlib.util import find_spec; find_spec("torch._dynamo"); torch._dynamo.reset(); print([2.0] * 2)',
]


@pytest.mark.slow('a new interpreter')
@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs os.fork')
def test_torch_works_without_the_compiler_which_comes_when_it_is_asked_for():
    again = f'optimizer.load_state_dict(optimizer.state_dict()); step()\n{LOADED}print(loaded)'
    vision = 'import torchvision; print(len(list(torchvision.models.resnet18().parameters())))'
    uses = [f'{MARKED}{use}\n{LOADED}print(marked, loaded)\n{MARKED}print(marked)\nstep()' for use in USES]
    lines = run(START + TRAIN + IN_FORKED_PROCESSES, again, vision, *uses).splitlines()
    assert lines[:2] == ['False', '62']
    came = ['[2.0, 2.0]', 'True True', 'False']  # what was left in torch is gone with the compiler
    assert lines[2:] == came * len(USES)


@pytest.mark.slow('a new interpreter')
def test_a_compiler_that_is_loaded_stays():
    code = 'import torch._dynamo as real\n' + START + "print(sys.modules['torch._dynamo'] is real)"
    assert run(code) == 'True'


def test_the_first_step_runs_without_unneeded_imports(tmp_path):
    code = f"""
from options import parse_train_args
from train import Trainer
trainer = Trainer(parse_train_args(['--device', 'cpu', '--checkpoints_dir', {str(tmp_path)!r}]))
images, predictions, targets = trainer.step(next(iter(trainer.train_loader)))
trainer.compute_loss(predictions, targets).backward()
trainer.optimizer.step()
unwanted = ['torch._dynamo.convert_frame', 'torch._inductor', 'sympy', 'torchvision', 'torchmetrics', 'matplotlib']
print([name for name in unwanted if name in sys.modules])
"""
    assert run(START + code).splitlines()[-1] == '[]'
