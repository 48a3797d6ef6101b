"""The scripts, the PyCharm configurations and the README: what they start must exist and take these options.

Most scripts run here with a stand-in for python that notes how it was called; the project's parsers then check that.
"""

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

import options
from options import parse_test_args, parse_train_args
from utils.base.registry import PROJECT

SCRIPTS = [*sorted((PROJECT / 'scripts').glob('*.sh')), PROJECT / '.ci' / 'run']
STARTED = [path for path in SCRIPTS if path.name != 'setup_env.sh']  # that one is sourced
CONFIGURATIONS = sorted((PROJECT / '.run').glob('*.xml'))
README = (PROJECT / 'README.md').read_text(encoding='utf-8')

pytestmark = pytest.mark.skipif(shutil.which('bash') is None, reason='needs bash')

# Notes directory and words of each call, and answers as train.py, eval.py, uv and venv do.
STAND_IN = r"""#!/usr/bin/env bash
number=$(ls "$CALLS" | wc -l)
printf '%s\0' "$PWD" "${0##*/}" "$@" > "$CALLS/$(printf %03d "$number")"
case "${0##*/} $*" in
    'python train.py'*) [ -z "${FAIL:-}" ] || exit 2; echo "run: $FAKE_RUN" ;;
    'python eval.py'*) echo "results: $FAKE_RUN/best/val_x" ;;
    'uv pip install --quiet --requirement'*) [ -z "${NO_UV:-}" ] || exit 2 ;;
    'uv pip install --quiet --torch-backend'*) [ -z "${NO_UV:-}" ] || exit 2; [ -z "${NO_BACKEND:-}" ] || exit 2 ;;
    'uv venv'* | 'python3 -m venv'*) mkdir -p .venv/bin && echo 'VIRTUAL_ENV=$PWD/.venv' > .venv/bin/activate ;;
    *'config get global.index-url') echo "${PIP_INDEX:-}"; rm "$CALLS/$(printf %03d "$number")" ;;
    'python3 -c'*) exit "${TOO_OLD:-0}" ;;
esac
"""


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a script by bash: (path, *words, commands, **env) -> code, stdout, stderr, calls.

    Each call is (directory, words). It starts in an empty directory, an environment being active unless env says no.
    """

    def run(path, *words, commands=('python', 'uv'), **env):
        calls, programs, elsewhere = (tmp_path / name for name in ('calls', 'programs', 'elsewhere'))
        for folder in (calls, programs):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        elsewhere.mkdir(exist_ok=True)
        for name in commands:
            (programs / name).write_text(STAND_IN)
            (programs / name).chmod(0o755)
        own = {'PATH': f'{programs}:/usr/bin:/bin', 'CALLS': str(calls), 'FAKE_RUN': str(tmp_path)}
        env = {**own, 'HOME': str(tmp_path), 'VIRTUAL_ENV': '/some/environment', **env}
        done = subprocess.run(
            ['bash', str(path), *map(str, words)],
            cwd=elsewhere,
            env={name: value for name, value in env.items() if value is not None},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        noted = [file.read_text().split('\0')[:-1] for file in sorted(calls.iterdir())]
        assert list(elsewhere.iterdir()) == []
        return SimpleNamespace(
            code=done.returncode,
            stdout=done.stdout,
            stderr=done.stderr,
            calls=[(folder, words) for folder, *words in noted],
        )

    return run


@pytest.fixture
def in_project(monkeypatch):
    """Let relative paths be seen from the project, as the scripts see them."""
    monkeypatch.chdir(PROJECT)


@pytest.fixture
def camvid(tmp_path):
    """Return a directory with lists as CamVid has them."""
    folder = tmp_path / 'cam vid'
    folder.mkdir()
    for name in ('train.txt', 'val.txt'):
        (folder / name).write_text('a.png b.png\n')
    return folder


@pytest.fixture
def pictures(tmp_path):
    """Return a directory with a sub-directory per split."""
    for split in ('train', 'val'):
        (tmp_path / 'my pictures' / split).mkdir(parents=True)
    return tmp_path / 'my pictures'


# --- every script


@pytest.mark.parametrize('path', SCRIPTS, ids=lambda path: path.name)
def test_bash_understands_every_script(path):
    done = subprocess.run(['bash', '-n', str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, '')


@pytest.mark.parametrize('path', STARTED, ids=lambda path: path.name)
def test_every_script_can_be_started(path):
    assert path.read_text().startswith('#!/usr/bin/env bash\n')
    assert b'\r' not in path.read_bytes()
    if os.name != 'nt':
        assert os.access(path, os.X_OK), f'chmod +x {path}'


def options_in(text):
    """Return (program, option) for every option behind `python train.py` or `python eval.py` in a text."""
    text = re.sub(r'\\\n\s*', ' ', text)
    for line in text.splitlines():
        found = re.search(r'python (?:\S*/)?(train|eval)\.py\b([^|#`]*)', line)
        if found:
            yield from ((found[1], name) for name in re.findall(r'(?<!\S)(--[\w-]+)', found[2]))


@pytest.mark.parametrize('path', [*SCRIPTS, PROJECT / 'README.md', PROJECT / 'checkpoints' / 'README.md',
                                  PROJECT / 'train.py', PROJECT / 'eval.py'], ids=lambda path: path.name)  # fmt: skip
def test_only_options_that_exist_are_used(path):
    known = {
        'train': options.train_parser()._option_string_actions,
        'eval': options.test_parser()._option_string_actions,
    }
    unknown = [(program, name) for program, name in options_in(path.read_text()) if name not in known[program]]
    assert unknown == []


def test_options_are_found_where_they_are_used():
    """Or the test above would find nothing to complain of."""
    assert ('train', '--ignore_index') in options_in((PROJECT / 'scripts' / 'train_camvid.sh').read_text())
    assert ('train', '--label_smoothing') in options_in((PROJECT / 'scripts' / 'quickstart.sh').read_text())
    assert ('train', '--resume') in options_in(README)


@pytest.mark.parametrize('path', [PROJECT / 'README.md', PROJECT / 'checkpoints' / 'README.md', *SCRIPTS],
                         ids=lambda path: path.name)  # fmt: skip
def test_scripts_and_files_that_are_named_exist(path):
    text = path.read_text(encoding='utf-8')
    named = {PROJECT / name for name in re.findall(r'\bscripts/\w+\.(?:sh|py)', text)}
    named |= {path.parent / link for link in re.findall(r'\]\(([^)#:]+)\)', text)}
    assert [str(name) for name in named if not name.exists()] == []


# --- what they start


def check_one_call(done, script, extra):
    """Check that python was called once, in the project, with `extra` last; return the parsed options."""
    assert done.code == 0, done.stderr
    ((folder, words),) = done.calls
    assert folder == str(PROJECT)
    assert words[:2] == ['python', f'{script}.py']
    assert words[-len(extra) :] == extra
    return parse_train_args(words[2:]) if script == 'train' else words[2:]


def test_train_digits(start, in_project):
    args = check_one_call(start(PROJECT / 'scripts/train_digits.sh', '--lr', '0.5'), 'train', ['--lr', '0.5'])
    assert (args.model_type, args.data_type, args.save_prefix, args.lr) == ('lenet', 'digits', 'digits', 0.5)


def test_train_camvid(start, in_project, camvid):
    done = start(PROJECT / 'scripts/train_camvid.sh', '--epochs', '3', DATA=str(camvid))
    args = check_one_call(done, 'train', ['--epochs', '3'])
    assert (args.task, args.num_classes, args.ignore_index, args.epochs) == ('segmentation', 11, 11, 3)
    assert len(args.class_names) == 11
    assert args.train_list == str(camvid / 'train.txt')


def test_train_folder(start, in_project, pictures):
    args = check_one_call(start(PROJECT / 'scripts/train_folder.sh', '--no_pretrained', DATA=str(pictures)), 'train',
                          ['--no_pretrained'])  # fmt: skip
    assert (args.data_type, args.pretrained, args.val_list) == ('folder', False, str(pictures / 'val'))


def test_train_mnist(start, in_project, tmp_path):
    done = start(PROJECT / 'scripts/train_mnist.sh', '--epochs', '2', DATA=str(tmp_path / 'new'))
    args = check_one_call(done, 'train', ['--epochs', '2'])
    assert (args.data_type, args.download, args.data_root) == ('mnist', True, str(tmp_path / 'new'))


@pytest.mark.parametrize('name', ['eval_digits', 'eval_camvid'])
def test_eval_scripts(start, in_project, digits_run, name):
    done = start(PROJECT / f'scripts/{name}.sh', digits_run.directory, '--viz_freq', '7')
    args = parse_test_args(check_one_call(done, 'eval', ['--viz_freq', '7']))
    assert args.load_model_path == str(digits_run.directory / 'best.pth')
    assert (args.save_viz, args.viz_freq) == (True, 7)


@pytest.mark.parametrize(
    ('name', 'words', 'hint'),
    [
        ('train_camvid', [], 'DATA=/path/to/camvid'),
        ('train_folder', [], 'DATA=/path/to/images'),
        ('eval_digits', ['checkpoints/of_nobody'], 'train_digits.sh'),
        ('eval_camvid', ['checkpoints/of_nobody'], 'train_camvid.sh'),
        ('eval_camvid', [], 'usage: scripts/eval_camvid.sh RUN'),
    ],
)
def test_without_data_or_run_they_say_what_to_do(start, name, words, hint):
    done = start(PROJECT / f'scripts/{name}.sh', *words, DATA='/nowhere at all')
    assert done.code == 2
    assert hint in done.stderr
    assert done.calls == []


def test_tensorboard_starts_the_program_in_the_environment(start):
    done = start(PROJECT / 'scripts/tensorboard.sh', '--port', '6007')
    assert done.calls == [(str(PROJECT), ['python', 'scripts/start_tensorboard.py', '--port', '6007'])]


BY_UV = 'uv pip install --quiet --torch-backend=auto --requirement'.split()


def test_quickstart_installs_trains_and_says_how_to_go_on(start, in_project):
    done = start(PROJECT / 'scripts/quickstart.sh', '--epochs', '3', '--no_open')
    assert done.code == 0, done.stderr
    (_, install), (_, training) = done.calls
    assert install == [*BY_UV, 'requirements.txt']
    args = parse_train_args(training[2:])
    assert (args.model_type, args.data_type, args.epochs, args.save_prefix) == ('lenet', 'digits', 3, 'quickstart')
    assert args.report and not args.open
    for said in ('bash scripts/tensorboard.sh', '--data_type folder'):
        assert said in done.stdout
    assert 'bin/activate' not in done.stdout, 'the environment is active already'
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_quickstart_stops_when_training_fails(start):
    done = start(PROJECT / 'scripts/quickstart.sh', FAIL='yes')
    assert done.code == 2
    assert 'Next' not in done.stdout


def test_an_index_that_the_user_chose_or_that_alone_can_be_reached_is_used(start):
    plain = [*BY_UV[:4], *BY_UV[5:], 'requirements.txt']
    done = start(PROJECT / 'scripts/quickstart.sh', UV_DEFAULT_INDEX='https://mirror.example/simple')
    assert [words for _, words in done.calls[:-1]] == [plain]
    done = start(PROJECT / 'scripts/quickstart.sh', PIP_INDEX='https://mirror.example/simple')
    assert [words for _, words in done.calls[:-1]] == [plain]
    done = start(PROJECT / 'scripts/quickstart.sh', NO_BACKEND='1')
    assert [words for _, words in done.calls[:-1]] == [[*BY_UV, 'requirements.txt'], plain]


def test_seeds_trains_with_each_and_sums_up_those_runs(start, in_project, tmp_path):
    done = start(PROJECT / 'scripts/seeds.sh', 3, '--model_type', 'mlp', '--save_prefix', 'my runs', '--lr', '0.5')
    assert done.code == 0, done.stderr
    *trainings, (_, summing) = done.calls
    args = [parse_train_args(words[2:]) for _, words in trainings]
    assert [words[-2:] for _, words in trainings] == [['--resume', 'auto']] * 3
    assert [(each.seed, each.save_prefix, each.lr) for each in args] == [(s, f'my runs_seed{s}', 0.5) for s in range(3)]
    assert summing == ['python', 'scripts/runs.py', 'seeds', *[str(tmp_path)] * 3]  # as the stand-in calls all runs


@pytest.mark.parametrize('words', [[], ['0'], ['--epochs', '3'], ['3', '--seed', '1'], ['3', '--resume=auto']])
def test_seeds_says_what_is_wrong(start, words):
    done = start(PROJECT / 'scripts/seeds.sh', *words)
    assert (done.code, done.calls) == (2, [])
    assert 'usage' in done.stderr or 'omit the option' in done.stderr


@pytest.fixture
def folds(tmp_path):
    """Return a directory with the lists of two folds."""
    for name in ('fold_1', 'fold_2'):
        (tmp_path / 'my folds' / name).mkdir(parents=True)
        for part in ('train', 'val'):
            (tmp_path / 'my folds' / name / f'{part}.txt').write_text('1.png\ta\n')
    return tmp_path / 'my folds'


def test_crossval_trains_on_each_fold_and_sums_up_those_runs(start, in_project, folds, tmp_path):
    done = start(PROJECT / 'scripts/crossval.sh', 2, '../my folds', '--save_prefix=cv', '--model_type', 'cifar_cnn')
    assert done.code == 0, done.stderr
    *trainings, (_, summing) = done.calls
    args = [parse_train_args(words[2:]) for _, words in trainings]
    assert [(each.data_type, each.model_type, each.save_prefix) for each in args] == [
        ('list', 'cifar_cnn', f'cv_fold{fold}') for fold in (1, 2)]  # fmt: skip
    assert [(Path(each.train_list).resolve(), Path(each.val_list).resolve()) for each in args] == [
        (folds / f'fold_{fold}' / 'train.txt', folds / f'fold_{fold}' / 'val.txt') for fold in (1, 2)]  # fmt: skip
    assert summing == ['python', 'scripts/runs.py', 'folds', *[str(tmp_path)] * 2]  # as the stand-in calls all runs


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ([], 'usage'),
        ([2, '--epochs', 3], 'usage'),
        ([3, '../my folds'], 'fold_3/val.txt does not exist: python scripts/split.py PATH --folds 3'),
        ([1, '../my folds'], 'has more than 1 folds'),
        ([2, '../my folds', '--val_list', 'a.txt'], '--val_list: the lists are those of'),
        ([2, '../my folds', '--val-split=0.2'], '--val_split: the lists are those of'),
    ],
)
def test_crossval_says_what_is_wrong(start, folds, words, message):
    done = start(PROJECT / 'scripts/crossval.sh', *words)
    assert (done.code, done.calls) == (2, [])
    assert message in done.stderr


SIDE_BY_SIDE = '-n auto --maxprocesses 4 --dist worksteal'.split()


@pytest.mark.parametrize(
    ('path', 'words', 'given'),
    [
        ('scripts/test.sh', [], []),
        ('scripts/test.sh', ['-m', 'gpu', '-k', 'two words'], ['-m', 'gpu', '-k', 'two words']),
        ('scripts/test.sh', ['-x', '--all', '-k', 'a'], ['-x', '-m', '', '-k', 'a']),
        ('.ci/run', ['-x'], ['-m', '', '-x']),
    ],
)
def test_the_tests_are_style_and_pytest(start, path, words, given):
    done = start(PROJECT / path, *words)
    assert done.code == 0, done.stderr
    assert [words for _, words in done.calls] == [
        [*BY_UV, 'requirements-dev.txt'],
        'python -m ruff check .'.split(),
        'python -m ruff format --check .'.split(),
        ['python', '-m', 'pytest', *SIDE_BY_SIDE, *given],
    ]
    assert {folder for folder, _ in done.calls} == {str(PROJECT)}


# --- the environment


@pytest.fixture
def fresh_clone(tmp_path):
    """Return a copy of the scripts in a project without .venv."""
    clone = tmp_path / 'fresh clone'
    shutil.copytree(PROJECT / 'scripts', clone / 'scripts')
    return clone


INACTIVE = {'VIRTUAL_ENV': None, 'CONDA_PREFIX': None}


def test_a_fresh_clone_gets_an_environment_by_uv(start, fresh_clone):
    done = start(fresh_clone / 'scripts/test.sh', **INACTIVE)
    assert done.code == 0, done.stderr
    made, installed = done.calls[:2]
    assert made == (str(fresh_clone), ['uv', 'venv', *'--quiet --clear --seed --python >=3.11 .venv'.split()])
    assert installed[1][:3] == ['uv', 'pip', 'install']
    again = start(fresh_clone / 'scripts/test.sh', **INACTIVE)
    assert [words[1] for _, words in again.calls] == ['pip', '-m', '-m', '-m'], 'made once'


without_uv = pytest.mark.skipif(
    any(os.path.exists(f'{folder}/uv') for folder in ('/usr/bin', '/bin')), reason='uv belongs to this system'
)


@without_uv
def test_a_fresh_clone_gets_an_environment_without_uv(start, fresh_clone):
    done = start(fresh_clone / 'scripts/test.sh', commands=('python', 'python3'), **INACTIVE)
    assert done.code == 0, done.stderr
    called = [' '.join(words) for _, words in done.calls]
    assert called[1:4] == [
        'python3 -m venv --clear .venv',
        'python -m pip install --quiet --disable-pip-version-check uv',
        'python -m pip install --quiet --disable-pip-version-check --no-compile --requirement requirements-dev.txt',
    ]
    again = start(fresh_clone / 'scripts/test.sh', commands=('python', 'python3'), **INACTIVE)
    assert not any(words[-1] == 'uv' for _, words in again.calls), 'installed with the environment, or not at all'


@without_uv
@pytest.mark.parametrize(('forbidden', 'word'), [('', '--no-compile'), ('1', '--compile')])
def test_pip_compiles_packages_only_where_python_may_not_do_so_later(start, fresh_clone, forbidden, word):
    script, variables = fresh_clone / 'scripts/quickstart.sh', {'PYTHONDONTWRITEBYTECODE': forbidden, **INACTIVE}
    done = start(script, commands=('python', 'python3'), **variables)
    (installed,) = (words for _, words in done.calls if 'requirements.txt' in words)
    assert word in installed


@without_uv
def test_an_old_python_is_named(start, fresh_clone):
    done = start(fresh_clone / 'scripts/test.sh', commands=('python', 'python3'), TOO_OLD='1', **INACTIVE)
    assert done.code == 2
    assert 'Danlu needs Python 3.11 or newer' in done.stderr
    assert not (fresh_clone / '.venv').exists()


def test_an_environment_that_was_made_half_is_made_again(start, fresh_clone):
    (fresh_clone / '.venv' / 'bin').mkdir(parents=True)
    done = start(fresh_clone / 'scripts/test.sh', **INACTIVE)
    assert done.calls[0][1][:2] == ['uv', 'venv']


def test_pip_installs_where_uv_fails(start, fresh_clone):
    done = start(fresh_clone / 'scripts/test.sh', NO_UV='1')
    assert done.code == 0, done.stderr
    assert [words[:4] for _, words in done.calls[1:3]] == [
        ['uv', 'pip', 'install', '--quiet'],
        ['python', '-m', 'pip', 'install'],
    ]


def test_an_active_environment_is_used_as_it_is(start, fresh_clone):
    for active in ({'VIRTUAL_ENV': '/some/environment'}, {'VIRTUAL_ENV': None, 'CONDA_PREFIX': '/some/conda'}):
        done = start(fresh_clone / 'scripts/test.sh', **active)
        assert done.calls[0][1][:3] == ['uv', 'pip', 'install']
        assert not (fresh_clone / '.venv').exists()


# --- for real


@pytest.mark.slow('trains on all digits')
def test_train_digits_really_trains_from_another_directory(interpreter, tmp_path):
    programs, elsewhere = tmp_path / 'programs', tmp_path / 'elsewhere'
    programs.mkdir()
    elsewhere.mkdir()
    (programs / 'python').write_text(f'#!/bin/sh\nexec {shlex.quote(interpreter)} "$@"\n')
    (programs / 'python').chmod(0o755)
    done = subprocess.run(
        [PROJECT / 'scripts' / 'train_digits.sh', '--epochs', '1', '--checkpoints_dir', str(tmp_path / 'runs')],
        cwd=elsewhere,
        env={**os.environ, 'PATH': f'{programs}:{os.environ["PATH"]}', 'VIRTUAL_ENV': sys.prefix},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    run = tmp_path / 'runs' / 'lenet_digits'
    assert f'run: {run}' in done.stdout
    assert (run / 'best.pth').is_file()
    assert float(re.search(r'best: val/acc (\S+) in epoch 1', done.stdout)[1]) > 0.8
    assert list(elsewhere.iterdir()) == []


# --- PyCharm


def settings(path):
    """Return the configuration element, and its options (dict of str)."""
    (configuration,) = ElementTree.parse(path).getroot().findall('configuration')
    return configuration, {option.get('name'): option.get('value') for option in configuration.findall('option')}


def test_there_is_a_configuration_for_each_way_to_start():
    assert {path.name for path in CONFIGURATIONS} >= {
        *('train_digits.run.xml', 'train_photos.run.xml', 'dry_run.run.xml', 'eval.run.xml', 'tests.run.xml'),
        'tensorboard.run.xml',
    }
    names = [settings(path)[0].get('name') for path in CONFIGURATIONS]
    assert len(set(names)) == len(names), 'PyCharm shows one of two with the same name'


@pytest.mark.parametrize('path', CONFIGURATIONS, ids=lambda path: path.name)
def test_configurations_are_portable(path):
    text = path.read_text(encoding='utf-8')
    _, chosen = settings(path)
    assert chosen['WORKING_DIRECTORY'] == '$PROJECT_DIR$'
    assert chosen['IS_MODULE_SDK'] == 'true'
    assert chosen['SDK_HOME'] == ''
    for value in re.findall(r'value="([^"]*)"', text):
        words = shlex.split(value.replace('&quot;', ''))
        absolute = [word for word in words if word.startswith(('/', '~')) or re.match(r'[A-Za-z]:[\\/]', word)]
        assert absolute == [], 'a path of one machine'


@pytest.mark.parametrize('path', CONFIGURATIONS, ids=lambda path: path.name)
def test_configurations_start_what_exists_with_options_that_exist(path, in_project, pictures, digits_run):
    configuration, chosen = settings(path)
    if configuration.get('type') == 'tests':
        target = chosen['_new_target'].strip('"').replace('$PROJECT_DIR$', str(PROJECT))
        assert Path(target) == PROJECT / 'tests'
        assert Path(target).is_dir()
        return
    script, words = chosen['SCRIPT_NAME'], shlex.split(chosen['PARAMETERS'])
    script = Path(script.replace('$PROJECT_DIR$', str(PROJECT)))
    assert script.is_file() and chosen['MODULE_MODE'] == 'false'
    if script.name == 'start_tensorboard.py':
        assert words == []
        return
    if '--load_model_path' in words:
        assert words[words.index('--load_model_path') + 1] == 'lenet_quickstart'
        assert '--save_prefix quickstart' in (PROJECT / 'scripts' / 'quickstart.sh').read_text(encoding='utf-8')
        assert "quickstart's run" in configuration.get('name'), 'a fresh clone does not have the run'
    replaced = {'--train_list': pictures / 'train', '--load_model_path': digits_run.directory / 'best.pth'}
    for option, existing in replaced.items():
        if option in words:
            words[words.index(option) + 1] = str(existing)
    assert script in (PROJECT / 'train.py', PROJECT / 'eval.py')
    (parse_train_args if script.name == 'train.py' else parse_test_args)(words)


def test_vs_code_starts_the_same():
    launch = json.loads((PROJECT / '.vscode' / 'launch.json').read_text(encoding='utf-8'))
    of_pycharm = {}
    for path in CONFIGURATIONS:
        configuration, chosen = settings(path)
        if configuration.get('type') != 'tests':  # VS Code finds the tests itself
            words = shlex.split(chosen['PARAMETERS'].replace('$Prompt$', '${input:photos}'))
            script = chosen['SCRIPT_NAME'].replace('$PROJECT_DIR$', '${workspaceFolder}')
            of_pycharm[configuration.get('name')] = [script, *words]
    assert of_pycharm == {each['name']: [each['program'], *each['args']] for each in launch['configurations']}
    assert all(each['cwd'] == '${workspaceFolder}' for each in launch['configurations'])
    assert [each['id'] for each in launch['inputs']] == ['photos']


# --- the README's examples


def example(name):
    """Return the code (str) of the README's block that begins with `# <name>`."""
    (code,) = re.findall(rf'```python\n# {re.escape(name)}\n(.*?)```', README, re.DOTALL)
    return code


@pytest.fixture
def registered(monkeypatch):
    """Return a function that adds the README's file and line: (file, registry's module, registry)."""

    def add(file, module, registry):
        (line,) = re.findall(rf"`('(\w+)': '({re.escape(file[:-3].replace('/', '.'))}\.\w+)',)`", README)
        _, name, dotted = line
        package, _, stem = file[:-3].rpartition('/')
        written = importlib.util.module_from_spec(importlib.util.spec_from_loader(f'{package}.{stem}', loader=None))
        exec(compile(example(file), file, 'exec'), written.__dict__)
        monkeypatch.setitem(sys.modules, f'{package}.{stem}', written)
        monkeypatch.setitem(getattr(importlib.import_module(module), registry), name, dotted)

    return add


def words_of(command):
    """Return the options (list of str) of the README's command that holds `command`."""
    (line,) = re.findall(rf'`python train\.py (\S*{re.escape(command)}[^`]*)`', README)
    return shlex.split(line)


def test_the_readmes_model_takes_a_file_and_a_line(registered, train_here, tmp_path):
    registered('model/tiny.py', 'model.model_entry', 'MODELS')
    run = train_here(*words_of('--model_type tiny'), '--epochs', 1, '--batch_size', 512, '--checkpoints_dir', tmp_path)
    assert run.directory.name == 'tiny_exp'
    assert 'model: Tiny, 7,850 parameters' in run.stdout


def test_the_readmes_data_set_takes_a_file_and_a_line(registered, train_here, eval_here, tmp_path):
    registered('data/noise.py', 'data.data_entry', 'DATASETS')
    words = ['--epochs', 1, '--num_workers', 0, '--checkpoints_dir', tmp_path]
    run = train_here(*words_of('--data_type noise'), *words)
    assert '1,000 to train on, 100 to validate' in run.stdout
    test = eval_here('--load_model_path', run.directory / 'best.pth', '--save_viz', '--viz_freq', 50)
    assert test.head['samples'] == '100'
    assert len(list((test.directory / 'viz').iterdir())) == 2
