"""Shell completion, by the protocol of argcomplete: environment variables and file descriptor 8."""

import os
import subprocess
import sys

import pytest

from tests.options.helpers import REGISTRIES
from utils.base.registry import PROJECT, read_registry

pytestmark = pytest.mark.skipif(os.name == 'nt', reason='the shells that ask so are those of POSIX systems')


def ask(program, line, *flags, **env):
    """Return the completions (list of str) of a command line with the cursor at its end, and stderr."""
    ours, theirs = os.pipe()
    command = f'exec 8>&{theirs} 9>/dev/null; exec "$@"'
    asked = {
        **{'_ARGCOMPLETE': '1', '_ARGCOMPLETE_IFS': '\n', '_ARGCOMPLETE_COMP_WORDBREAKS': ' \t\n"\'><=;|&(:'},
        **{'COMP_LINE': f'{program} {line}', 'COMP_POINT': str(len(f'{program} {line}')), 'COMP_TYPE': '9'},
    }
    words = ['bash', '-c', command, 'bash', sys.executable, *flags, str(PROJECT / program)]
    options = {'env': {**os.environ, **asked, **env}, 'pass_fds': [theirs], 'cwd': PROJECT}
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    os.close(theirs)
    with os.fdopen(ours) as answer:
        return [word.strip() for word in answer.read().splitlines()], done


@pytest.fixture(scope='module', autouse=True)
def argcomplete():
    pytest.importorskip('argcomplete')


@pytest.mark.parametrize(
    ('program', 'line', 'expected'),
    [
        ('train.py', '--print_m', ['--print_model']),
        ('train.py', '--lr 0.1 --no_prin', ['--no_print_model']),
        ('train.py', '--schedule co', ['cosine']),
        ('train.py', '--optimizer=adam', ['adam', 'adamw', 'adamax']),
        ('train.py', '--model_type tor', ['torchvision:']),
        ('train.py', '--model_type torchvision:', []),
        ('train.py', '--model_type nothing_begins_so', []),
        ('train.py', '--amp b', ['bf16']),
        ('train.py', '--train_list requirements-d', ['requirements-dev.txt']),
        ('eval.py', '--save_v', ['--save_viz']),
        ('eval.py', '--task seg', ['segmentation']),
    ],
)
def test_completions_at_the_cursor(program, line, expected):
    assert ask(program, line)[0] == expected


@pytest.mark.parametrize(('option', 'module', 'registry'), REGISTRIES)
def test_every_registry_is_offered(option, module, registry):
    answer, done = ask('train.py', f'--{option} ')
    assert set(read_registry(module, registry)) <= set(answer), done.stderr


def test_completion_imports_no_torch():
    answer, done = ask('train.py', '--task seg', '-X', 'importtime')
    assert answer == ['segmentation']
    assert ' argcomplete' in done.stderr
    assert ' torch\n' not in done.stderr


@pytest.mark.parametrize('program', ['train.py', 'eval.py'])
def test_the_programs_have_the_mark_of_argcomplete(program):
    assert b'PYTHON_ARGCOMPLETE_OK' in (PROJECT / program).read_bytes()[:1024]


def test_argcomplete_is_imported_for_completion_only():
    command = [sys.executable, '-X', 'importtime', str(PROJECT / 'train.py'), '--help']
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ' options' in done.stderr
    assert 'argcomplete' not in done.stderr


def test_without_argcomplete_there_are_no_completions(tmp_path):
    (tmp_path / 'sitecustomize.py').write_text("import sys\nsys.modules['argcomplete'] = None\n")
    answer, done = ask('eval.py', '--task seg', PYTHONPATH=str(tmp_path))
    assert answer == []
    assert done.returncode == 2  # the program was started without arguments
    assert done.stderr.startswith('eval.py: error: argument --load_model_path: needed')
