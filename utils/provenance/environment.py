"""The environment of a run: versions, machine, settings that change results, git state."""

import datetime
import hashlib
import importlib.metadata
import os
import platform
import re
import shlex
import socket
import subprocess
import sys

import torch

from utils.base import rank_env
from utils.base.machine import cpu_cores
from utils.base.registry import PROJECT
from utils.base.text_table import printable
from utils.provenance.project_source import SECRET, is_run_code

CORE_PACKAGES = ('torch', 'torchvision', 'numpy', 'pillow')
# Only these environment variables are recorded: others may hold secrets.
ENVIRONMENT_VARIABLES = (
    'OMP_NUM_THREADS MKL_NUM_THREADS OMP_WAIT_POLICY CUDA_VISIBLE_DEVICES CUBLAS_WORKSPACE_CONFIG '
    'CUDA_LAUNCH_BLOCKING NVIDIA_TF32_OVERRIDE PYTHONHASHSEED'
).split()
# Code that reads a variable by its name or by a constant: an index, `get`, `getenv` or `in`.
READ = (
    r'environ(?:\.(?:get|setdefault|pop))?\s*[\[(]\s*{0}|getenv\(\s*{0}'
    r'|{0}\s+(?:not\s+)?in\s+(?:os\.)?environ\b(?!\s*[.\[(])'
)
QUOTED_NAME, IDENTIFIER = r'[\'"](\w+)[\'"]', r'\b([A-Za-z_]\w*)\b'
READ_QUOTED, READ_IDENTIFIER = (re.compile(READ.format(name)) for name in (QUOTED_NAME, IDENTIFIER))
LIBRARY_VARIABLES = re.compile('(OMP|MKL|KMP|TORCH|PYTORCH|ONEDNN|DNNL|ATEN|CUBLAS|CUDNN|NVIDIA|PYTHONHASHSEED)(_.*)?')
# Read by Danlu and without effect on values: the terminal, directories, ranks.
WITHOUT_EFFECT = re.compile(
    '^(OMP_WAIT_POLICY|TERM|CI|NO_COLOR|COLUMNS|WT_SESSION|JPY_.*|MPLBACKEND|XDG_.*|DANLU_.*|_ARGCOMPLETE|HOME|'
    'RANK|WORLD_SIZE|LOCAL_RANK|LOCAL_WORLD_SIZE|KINETO_LOG_LEVEL|CUDA_VISIBLE_DEVICES|TORCHELASTIC_.*|'
    'TORCHINDUCTOR_.*|TORCH_NCCL_.*|PYTORCH_.*VERSION)$'
)
SECRET_VARIABLE = re.compile('KEY|AUTH|PASS|PWD|URL|DSN|COOKIE|CREDENTIAL', re.IGNORECASE)  # besides SECRET
GIT_TIMEOUT_SECONDS = 3  # a repository may be large or on a slow drive
MAX_CHANGED_PATHS = 100
MAX_VALUE_CHARACTERS = 60  # of a variable in a message
PLAIN_VALUE = re.compile(r'[\w.,:+-]{0,20}')
HASH_DIGITS = 12
# Inside a git hook these variables point to another repository.
GIT_LOCATION_VARIABLES = ('GIT_DIR', 'GIT_WORK_TREE', 'GIT_INDEX_FILE')
STATUS_FIELDS = {'1': 7, 'u': 9, '?': 0}  # fields between type and path in `git status --porcelain=v2`
TRACKED_FILE = 'train.py'  # tracked by the repository of the project


def versions_of(packages=()):
    """Return the versions (dict of str) of Python, CORE_PACKAGES and further packages.

    Versions are those of pip, so that imports do not matter: a module may report 0.29.2+cu132 for 0.29.2. For torch,
    which is always imported, the build counts.
    """
    found = {'python': platform.python_version()}
    for name in (*CORE_PACKAGES, *sorted(set(packages) - set(CORE_PACKAGES))):
        told = getattr(sys.modules.get(name), '__version__', None)
        try:
            found[name] = str(told) if name == 'torch' and told else importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found |= {} if told is None else {name: str(told)}
    return found


def variables_read_by(files):
    """Return the environment variables that results may depend on: {name: value, None if not set}, sorted.

    These are the variables that the project's code reads, except those named like secrets, and those of libraries that
    compute.

    Args:
        files: source files (dict from a relative path to bytes).
    """
    names = {name for name in os.environ if LIBRARY_VARIABLES.fullmatch(name)}
    for path, content in files.items():
        if path.endswith('.py') and is_run_code(path) and (b'environ' in content or b'getenv' in content):
            names |= _variables_in(content.decode(errors='replace'))
    kept = (name for name in names if not any(each.search(name) for each in (WITHOUT_EFFECT, SECRET, SECRET_VARIABLE)))
    return {name: _recorded_value(os.environ.get(name)) for name in sorted(kept)}


def _recorded_value(value):
    """Return a value as it is recorded (str or None): short numbers and words; of others, such as paths, a hash."""
    if value is None or PLAIN_VALUE.fullmatch(value):
        return value
    return f'sha256 {hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()[:HASH_DIGITS]}'


def _variables_in(text):
    """Return the names (set of str) of the environment variables that a Python file reads; constants are looked up."""
    lines = '\n'.join(line for line in text.splitlines() if 'environ' in line or 'getenv' in line)
    found = {next(filter(None, match.groups())) for match in READ_QUOTED.finditer(lines)}
    for identifier in {next(filter(None, match.groups())) for match in READ_IDENTIFIER.finditer(lines)}:
        found |= set(re.findall(rf'^\s*{identifier}\s*=\s*[\'"](\w+)[\'"]', text, re.MULTILINE))
    return found


def changed_variables(then, now):
    """Return the changed environment variables (list of str: 'CAP: not set -> 3').

    Args:
        then: as a run recorded them: see `variables_read_by`.
        now: the same of today's code. Variables that only today's code reads have no earlier value.
    """
    names = [*then, *(name for name in now if name not in then and LIBRARY_VARIABLES.fullmatch(name))]
    pairs = {name: (then.get(name), now.get(name, _recorded_value(os.environ.get(name)))) for name in names}
    return [f'{name}: {_value_text(old)} -> {_value_text(new)}' for name, (old, new) in pairs.items() if old != new]


def _value_text(value):
    return 'not set' if value is None else printable(value)[:MAX_VALUE_CHARACTERS]


def git_state(root=PROJECT):
    """Return the current commit of the project and the changed or untracked paths.

    Returns:
        {'commit': hexadecimal str, or None before the first commit, 'changed': sorted paths (list of str) relative to
        `root`, at most MAX_CHANGED_PATHS}. None if there is no git, no repository of the project, or a timeout.
    """
    tracked = _git(root, 'ls-files', '--full-name', '-z', '--', TRACKED_FILE)
    if not tracked:
        return None
    prefix = tracked.rstrip('\0').removesuffix(TRACKED_FILE)  # the project may be a subdirectory of the repository
    status = _git(root, 'status', '--porcelain=v2', '--branch', '--untracked-files=normal', '--no-renames', '-z', '.')
    if status is None:
        return None
    commit, paths = None, []
    for line in filter(None, status.split('\0')):
        kind, _, rest = line.partition(' ')
        if kind == '#' and rest.startswith('branch.oid '):
            commit = rest.split()[1]
        elif kind in STATUS_FIELDS:
            paths.append(rest.split(' ', STATUS_FIELDS[kind])[-1].removeprefix(prefix))
    return {'commit': None if commit == '(initial)' else commit, 'changed': sorted(paths)[:MAX_CHANGED_PATHS]}


def git_facts():
    """Return `git_state` of the project (dict), with commit None and no paths where there is no repository."""
    return git_state() or {'commit': None, 'changed': []}


def _git(root, *words):
    """Return the output of git (str), or None if git is missing, fails or exceeds the timeout."""
    environment = {name: value for name, value in os.environ.items() if name not in GIT_LOCATION_VARIABLES}
    environment['GIT_OPTIONAL_LOCKS'] = '0'  # read only
    try:
        done = subprocess.run(
            ['git', '-c', 'core.fsmonitor=false', *words],
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_TIMEOUT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode('utf-8', 'surrogateescape').encode('utf-8', 'replace').decode()


def program():
    """Return the arguments of `python` that name this program (list of str): ['train.py'], ['-m', 'examples.gan']."""
    spec, words = getattr(sys.modules['__main__'], '__spec__', None), sys.argv[:1]
    return ['-m', spec.name.removesuffix('.__main__')] if spec is not None and words == [spec.origin] else words


def command_line():
    """Return the command that started this process (str), such as 'python -m examples.gan'."""
    return f'{rank_env.starter()} {shlex.join([*program(), *sys.argv[1:]])}'.rstrip()


def program_of(trainer):
    """Return the program (str) that repeats and resumes a run: train.py, or the script that was started.

    Args:
        trainer: train.Trainer. The script counts if it defines the class of the Trainer or passes objects to it.
    """
    script = getattr(sys.modules['__main__'], '__file__', None)
    own = trainer.given or type(trainer).__module__ == '__main__'
    if not own or script is None or os.path.basename(script) == 'train.py':
        return 'train.py'
    return shlex.join(program())


def iso_timestamp():
    """Return date and time (str, ISO 8601 with the time zone)."""
    return datetime.datetime.now().astimezone().isoformat(timespec='seconds')


def environment_of(record, device):
    """Return the content of env.txt (dict of str).

    Args:
        record: record of the run (dict): see utils.provenance.record.
        device: device of the network (str).
    """
    git = record['git'] or {'commit': 'not known: no git, no repository of the project, or no answer', 'changed': None}
    settings = {name: os.environ.get(name, 'not set') for name in ENVIRONMENT_VARIABLES[:1]}
    settings |= {name: os.environ[name] for name in ENVIRONMENT_VARIABLES if name in os.environ}
    cuda = {'cuda': str(torch.version.cuda), 'cudnn': str(torch.backends.cudnn.version())}
    return {
        'command': command_line(),
        'directory': os.getcwd(),
        'date': record['date'],
        'host': socket.gethostname(),
        'platform': platform.platform(),
        **record['versions'],
        'device': device,
        **(cuda if torch.cuda.is_initialized() else {}),
        'cores': str(cpu_cores()),
        'threads': str(torch.get_num_threads()),
        **settings,
        'git commit': git['commit'] or 'none yet',
        **({} if git['changed'] is None else {'git state': _state_line(git['changed'])}),
        'source sha256': record['source']['sha256'],
        'code sha256': record['code'],
    }


def _state_line(paths):
    return (
        'clean'
        if not paths
        else f'changed or new: {", ".join(paths)}' + (' ...' if len(paths) == MAX_CHANGED_PATHS else '')
    )
