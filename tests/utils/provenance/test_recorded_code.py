"""--code then and both: a test by the code that a run had. And what is said where the code has changed since."""

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import eval as eval_py
from model.lenet import LeNet
from options import test_parser as make_parser
from tests.program_server import Program
from utils.base.errors import DanluError
from utils.base.known_archives import note_archive
from utils.base.registry import PROJECT
from utils.provenance.project_source import project_files, zip_bytes
from utils.provenance.recorded_code import (
    CODE_VARIABLE,
    comparison_table,
    output_language,
    read_result_values,
    recorded_code_arguments,
)
from utils.runs.checkpoint import load_checkpoint, save_checkpoint

LENET, AUGMENT = 'model/lenet/lenet.py', 'data/augment.py'

# --- real copies of the project, whose files are edited


def edited(folder, *changes):
    """Return a copy of the project (Path) in which each (path, old, new) of `changes` is made, once."""
    for name in [*project_files(), 'data/digits.npz']:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, folder / name)
    for name, old, new in changes:
        text = (folder / name).read_text(encoding='utf-8')
        assert old in text, f'{name} no longer has {old}'
        (folder / name).write_text(text.replace(old, new, 1), encoding='utf-8')
    return folder


@pytest.fixture(scope='module')
def start(tmp_path_factory):
    """Return a function that starts a program of a project: (project, script, *words) -> code, stdout, stderr."""
    cache = tmp_path_factory.mktemp('cache')

    def run(project, script, *words):
        environment = {**os.environ, 'XDG_CACHE_HOME': str(cache)}
        process = Program(project / script, [*words, '--device', 'cpu'], env=environment, cwd=cache)
        stdout, stderr = process.communicate(timeout=300)
        return SimpleNamespace(code=process.returncode, stdout=stdout, stderr=stderr)

    return run


@pytest.fixture(scope='module')
def run_then(start, tmp_path_factory):
    """Return a run by a copy of the project, in a checkpoints_dir elsewhere, with the text of its first result.txt."""
    project, runs = edited(tmp_path_factory.mktemp('then')), tmp_path_factory.mktemp('runs')
    words = ['--epochs', 1, '--batch_size', 250, '--lr', 0.01, '--augment', 'crop', '--checkpoints_dir', runs]
    done = start(project, 'train.py', *words)
    assert done.code == 0, done.stderr
    best = runs / 'lenet_exp' / 'best.pth'
    tested = start(project, 'eval.py', '--load_model_path', best)
    assert tested.code == 0, tested.stderr
    return SimpleNamespace(project=project, best=best, stdout=tested.stdout, values=values_in(best, 'val_digits_exp'))


def values_in(best, name):
    """Return the lines of a result.txt that hold values (list of str)."""
    text = (best.with_suffix('') / name / 'result.txt').read_text(encoding='utf-8')
    return [line for line in text.splitlines() if not line.startswith('#')]


def head_of(best, name):
    text = (best.with_suffix('') / name / 'result.txt').read_text(encoding='utf-8')
    return dict(line.removeprefix('# ').split(': ', 1) for line in text.splitlines() if line.startswith('#'))


def about_change(stdout):
    """Return the lines (list of str) that speak of what is not as it was."""
    return [line for line in stdout.splitlines() if re.search('changed|no longer|not known|outputs it was', line)]


@pytest.mark.slow('tests in a copy of the project')
def test_a_test_by_unchanged_code_says_nothing(run_then):
    assert about_change(run_then.stdout) == []
    assert head_of(run_then.best, 'val_digits_exp')['outputs for the probe'].startswith(
        'as when saved (2 inputs of noise'
    )


def test_a_changed_comment_gives_no_line(run_then, start, tmp_path):
    project = edited(
        tmp_path,
        (LENET, 'class LeNet(', '# A comment.\nclass LeNet('),
        (LENET, '"""Return the logits (N, num_classes) of', '"""Give the logits (N, num_classes) of'),
        ('utils/losses/classification.py', 'class CrossEntropy(', '# Another.\n\n\nclass CrossEntropy('),
        ('utils/metrics/classification.py', '\nclass ', '\n\n\n# And another.\nclass '),
    )
    tested = start(
        project, 'eval.py', '--load_model_path', run_then.best, '--save_prefix', 'comment', '--strict_record'
    )
    assert tested.code == 0, tested.stderr
    assert about_change(tested.stdout) == []
    assert values_in(run_then.best, 'val_digits_comment') == run_then.values


def test_a_changed_activation_is_named_and_the_old_code_gives_the_old_result(run_then, start, tmp_path):
    """One start: --code both tests by the code of the run, then by today's, and compares."""
    project = edited(tmp_path, (LENET, 'nn.ReLU(inplace=True)', 'nn.GELU()'))
    both = start(project, 'eval.py', '--load_model_path', run_then.best, '--code', 'both', '--save_prefix', 'gelu')
    assert both.code == 0, both.stderr
    lines = both.stdout.splitlines()
    said = next(
        line for line in lines if line.startswith('this checkpoint no longer gives the outputs it was saved with')
    )
    largest, scale = re.search(r': largest difference ([\d.]+), largest output ([\d.]+)$', said).groups()
    assert 0.001 < float(largest) < float(scale)
    at = lines.index(said)
    assert lines[at + 1] == 'first difference: features.1 (ReLU -> GELU)'
    assert lines[at + 2] == f'  {LENET}: LeNet (model)'
    assert '    -            nn.ReLU(inplace=True),' in lines
    assert '    +            nn.GELU(),' in lines
    command = f'python eval.py --load_model_path {shlex.quote(str(run_then.best))} --code then'
    assert f'to test with the code of the run: {command}' in lines
    # The test by the code of the run, which comes first, has nothing to say, and its numbers are the same bits.
    assert about_change('\n'.join(lines[:at])) == []
    assert values_in(run_then.best, 'val_digits_gelu_then') == run_then.values
    assert values_in(run_then.best, 'val_digits_gelu') != run_then.values
    head = head_of(run_then.best, 'val_digits_gelu_then')
    archive = run_then.best.with_name('source.zip')
    assert head['code'] == f"the run's own, {archive} ({hashlib.sha256(archive.read_bytes()).hexdigest()})"
    assert head['command'].startswith(f'python {project}/eval.py --load_model_path {run_then.best} --code both')
    assert head['outputs for the probe'].startswith('as when saved (2 inputs of noise')
    head = head_of(run_then.best, 'val_digits_gelu')
    assert 'code' not in head
    told = said.replace('this checkpoint no longer gives the outputs it was saved with', 'differ')
    assert head['outputs for the probe'] == f'{told}; {lines[at + 1]}'
    rows = {line.split()[0]: line.split()[1:] for line in lines[-9:-1]}
    assert rows['then'] == ['now', 'difference']
    then, now = (float(rows['loss'][column]) for column in (0, 1))
    assert float(rows['loss'][2]) == pytest.approx(now - then, rel=0.02)


CHANGES = (
    (LENET, 'return self.classifier(self.features(images))', 'return self.classifier(self.features(1 * images))'),
    ('data/digits.py', 'class Digits(InMemory):', 'class Digits(InMemory):\n    parts = 2\n'),
    ('utils/losses/classification.py', 'F.cross_entropy(', '1.0 * F.cross_entropy('),
    (
        'utils/metrics/classification.py',
        'class ClassificationMetrics(ConfusionMetrics):',
        'class ClassificationMetrics(ConfusionMetrics):\n    scale = 1\n',
    ),
    (AUGMENT, 'class Augment:', 'class Augment:\n    strength = 2\n'),
    ('utils/training/engine.py', 'def draw_samples(self, ', 'def draw_samples(self, extra=None, *, '),
)
NAMED = (
    'data/digits.py: Digits (data)',
    'utils/losses/classification.py: CrossEntropy (loss)',
    'utils/metrics/classification.py: ClassificationMetrics',
)


def test_changed_code_that_gives_the_same_values_is_one_line_and_passes_a_strict_test(run_then, start, tmp_path):
    """On other options, where no values can be compared, the same changes stop a strict test."""
    project = edited(tmp_path, *CHANGES)
    words = ['--load_model_path', run_then.best, '--save_prefix', 'calm']
    calm = start(project, 'eval.py', *words, '--strict_record')
    assert calm.code == 0, calm.stderr
    [line] = about_change(calm.stdout)
    assert line.startswith('code changed since the run, values equal: model/lenet/lenet.py: LeNet (model); ')
    assert all(each in line for each in NAMED)
    assert 'draw_samples' not in line, 'no result depends on it'
    assert 'Augment' not in line, 'it concerns training only'
    assert values_in(run_then.best, 'val_digits_calm') == run_then.values
    assert head_of(run_then.best, 'val_digits_calm')['verdict'] == 'equal'
    strict = start(project, 'eval.py', *words, '--batch_size', 10, '--strict_record')
    assert strict.code == 2
    first = 'eval.py: error: --strict_record: no earlier values can be compared (other options than in the training: '
    assert strict.stderr.startswith(f'{first}--batch_size), and code has changed:')
    assert all(each in strict.stderr for each in NAMED)
    assert strict.stderr.endswith('to continue anyway, leave out --strict_record\n')


@pytest.mark.slow('tests in a copy of the project')
def test_changed_values_are_said_first_with_the_code_that_has_changed(run_then, start, tmp_path):
    """A clamp that noise does not reach, a helper of the evaluation, a changed method in eval.py itself."""
    project = edited(
        tmp_path,
        ('utils/logger.py', 'class Recorder', 'FACTOR = 1.5\n\n\nclass Recorder'),
        (
            'utils/training/engine.py',
            'return {**recorder.summary(), **metrics.compute()}, seen',
            'return {name: 0.5 * value for name, value in {**recorder.summary(), **metrics.compute()}.items()}, seen',
        ),
    )
    tested = start(project, 'eval.py', '--load_model_path', run_then.best, '--save_prefix', 'half', '--strict_record')
    assert tested.code == 1
    assert 'eval.py: error: --strict_record: the values are not those recorded for this checkpoint: ' in tested.stderr
    lines = tested.stdout.splitlines()
    [first] = [number for number, line in enumerate(lines) if line.startswith('acc 0.')]
    assert re.match(r'acc 0\.\d{4} when saved, 0\.\d{4} now; ', lines[first])
    assert lines[first + 1] == (
        'not the recorded values, for the same checkpoint, data, batch size and options; changed since:'
    )
    assert lines[first + 2] == '  utils/training/engine.py: evaluate (evaluation)'
    assert '  utils/logger.py' in lines, 'a file that is used, although no known definition changed'
    assert lines.index('  utils/logger.py') < lines.index(next(line for line in lines if 'acc:' in line))
    head = head_of(run_then.best, 'val_digits_half')
    assert head['verdict'] == 'differs'
    assert head['changed since'].startswith('utils/training/engine.py: evaluate (evaluation); ')
    assert head['outputs for the probe'].startswith('as when saved (2 inputs of noise')


def test_weights_that_no_longer_fit_name_the_changed_block_and_the_code_of_the_run(run_then, start, tmp_path):
    project = edited(tmp_path, (LENET, 'nn.Linear(120, 84)', 'nn.Linear(120, 90)'), (LENET, 'Linear(84,', 'Linear(90,'))
    tested = start(project, 'eval.py', '--load_model_path', run_then.best)
    assert tested.code == 2
    lines = tested.stderr.splitlines()
    assert lines[0].startswith(f'eval.py: error: {run_then.best} does not fit LeNet: ')
    assert lines[1:3] == ['changed since the run:', f'  {LENET}: LeNet (model)']
    assert '    +            nn.Linear(120, 90),' in lines
    assert lines[-1].endswith(f'--load_model_path {run_then.best} --code then')


def test_a_changed_network_stops_a_strict_test_and_warns_who_predicts(digits_run, eval_here, monkeypatch):
    best = digits_run.directory / 'best.pth'
    eval_here('--load_model_path', best, '--strict_record', '--save_prefix', 'strict')
    whole = LeNet.forward
    monkeypatch.setattr(LeNet, 'forward', lambda self, images: whole(self, images.flip(3)))
    with pytest.raises(DanluError, match='no longer gives the outputs it was saved with: largest difference') as raised:
        eval_here('--load_model_path', best, '--strict_record', '--save_prefix', 'mirrored')
    assert 'no cause found: no change of the code, options, versions' in str(raised.value)
    assert '--code then\nto continue anyway, leave out --strict_record' in str(raised.value)
    assert not (best.with_suffix('') / 'val_digits_mirrored').exists()
    with pytest.warns(UserWarning, match='no longer gives the outputs it was saved with') as warned:
        eval_py.load_predictor(best, device='cpu')
    assert warned[0].filename == __file__


def test_an_older_checkpoint_is_tested_with_one_calm_line(digits_run, eval_here, tmp_path):
    state = load_checkpoint(digits_run.directory / 'best.pth')
    for name in ('record', 'fingerprint'):
        del state[name]
    save_checkpoint(tmp_path / 'best.pth', state)
    test = eval_here('--load_model_path', tmp_path / 'best.pth')
    assert about_change(test.stdout) == [
        'not known whether this checkpoint still gives the outputs it was saved with: the checkpoint has no output '
        'fingerprint'
    ]
    assert test.head['outputs for the probe'] == 'not compared: the checkpoint has no output fingerprint'
    with pytest.raises(DanluError, match='--strict_record: not known whether this checkpoint still gives'):
        eval_here('--load_model_path', tmp_path / 'best.pth', '--batch_size', 3, '--strict_record')
    torch.save(state['model'], tmp_path / 'weights.pth')
    assert about_change(eval_here('--load_model_path', tmp_path / 'weights.pth').stdout) == []


def test_other_options_are_named_as_what_may_have_changed_the_network(digits_run, eval_here, monkeypatch):
    """And code that the command line has replaced by other is not."""
    best = digits_run.directory / 'best.pth'
    whole = LeNet.forward
    monkeypatch.setattr(LeNet, 'forward', lambda self, images: whole(self, images.flip(3)))
    words = ['--load_model_path', best, '--model_args', 'padding=2', '--save_prefix', 'options']
    assert '  --model_args: not set -> padding=2' in eval_here(*words).stdout.splitlines()


# --- the process of the other code, which here is short

OTHER = """
import json, os, signal, sys, time
from pathlib import Path

here, words = Path(__file__).parent, sys.argv[1:]
seen = {'words': words, 'cwd': os.getcwd(), 'python': sys.executable, 'told': json.loads(os.environ['DANLU_CODE'])}
seen['digits'] = (here / 'data' / 'digits.npz').is_file()
seen['stdin'] = sys.stdin.readline()
out = Path(os.environ['OUT'])
(out / 'seen.json').write_text(json.dumps(seen))
(out / 'result.txt').write_text('# acc: 1\\nacc: 0.1\\nacc_class/a: b: 0.30000000000000004\\nloss: nan\\n')
print('wörds', flush=True)
print(f'results: {out}')
print('progress', file=sys.stderr)
if os.environ.get('WAIT'):
    try:
        print('ready', flush=True)
        time.sleep(3600)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        sys.exit(130)
sys.exit(int(os.environ.get('STATUS', 0)))
"""


@pytest.fixture
def other(tmp_path, monkeypatch):
    """Return a checkpoint (Path) whose run had OTHER for its eval.py."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'state'))
    monkeypatch.setenv('OUT', str(tmp_path))
    checkpoint = checkpoint_of(tmp_path / 'run', {'eval.py': OTHER.encode(), 'data/digits.py': b''})
    note_archive(hashlib.sha256(checkpoint.with_name('source.zip').read_bytes()).hexdigest(), tmp_path / 'run')
    return checkpoint


def checkpoint_of(folder, files):
    folder.mkdir()
    data = zip_bytes(files)
    (folder / 'source.zip').write_bytes(data)
    source = {'file': 'source.zip', 'sha256': hashlib.sha256(data).hexdigest()}
    state = {'format': 1, 'model': {'w': torch.zeros(1)}, 'args': {}, 'record': {'format': 1, 'source': source}}
    save_checkpoint(folder / 'best.pth', state)
    return folder / 'best.pth'


def then(*words, code='then'):
    """Start eval.main in this process, whose child has nothing on its stdin."""
    with open(os.devnull, encoding='utf-8') as nothing:
        before = os.dup(0)
        os.dup2(nothing.fileno(), 0)
        try:
            eval_py.main([*map(str, words), '--code', str(code)])
        finally:
            os.dup2(before, 0)
            os.close(before)


def test_it_is_started_as_this_one_was(other, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    then('--load_model_path', 'run/best.pth', '--batch-size', 7, '--class_names', 'a', '-1')
    seen = json.loads((tmp_path / 'seen.json').read_text())
    assert seen['words'] == [
        *('--load_model_path', 'run/best.pth', '--batch_size', '7', '--class_names', 'a', '-1'),
        *('--save_prefix', 'exp_then', '--checkpoints_dir', str(PROJECT / 'checkpoints')),
    ]
    assert (seen['cwd'], seen['python'], seen['digits']) == (str(tmp_path), sys.executable, True)
    archive = other.with_name('source.zip')
    assert seen['told']['archive'] == str(archive)
    assert seen['told']['sha256'] == hashlib.sha256(archive.read_bytes()).hexdigest()
    said = capfd.readouterr()
    lines = said.out.splitlines()
    assert lines[0].startswith(
        f'testing with the code of the run: {archive}, unpacked in {tmp_path / "cache" / "danlu"}'
    )
    assert f': the programs of your run {tmp_path / "run"}, 20' in lines[0]
    assert lines[1:] == ['wörds', f'results: {tmp_path}']
    assert said.err == 'progress\n'


def test_the_language_is_kept_from_code_that_may_not_know_it_and_the_results_are_found(other, tmp_path, monkeypatch):
    then('--load_model_path', other, '--lang', 'zh', '--lang=en')
    seen = json.loads((tmp_path / 'seen.json').read_text())
    assert seen['words'][:3] == ['--load_model_path', str(other), '--save_prefix']
    assert output_language('zh') == 'zh'
    monkeypatch.setenv(CODE_VARIABLE, json.dumps(seen['told']))
    assert output_language('zh') == 'en'


def test_the_code_of_a_given_archive_is_run(other, tmp_path, capfd):
    kept = other.with_name('source.zip').rename(tmp_path / 'kept.zip')
    then('--load_model_path', other, code=kept)
    seen = json.loads((tmp_path / 'seen.json').read_text())
    assert seen['told']['archive'] == str(kept) and seen['told']['whose'] == 'that of the archive'
    assert '--code' not in seen['words']
    assert capfd.readouterr().out.startswith(f'testing with the code of {kept}, unpacked in ')
    kept.write_bytes(b'no archive')
    with pytest.raises(DanluError, match=r'kept\.zip is damaged or no zip archive'):
        then('--load_model_path', other, code=kept)
    with pytest.raises(SystemExit):
        then('--load_model_path', other, code='than')
    assert "'than' does not exist" in (said := capfd.readouterr().err) and 'is not now or then or both' in said


@pytest.mark.parametrize(
    ('argv', 'words'),
    [
        ('--code then', '--save_prefix exp_then'),
        ('--code=then --save-prefix mine', '--save_prefix mine --save_prefix mine_then'),
        ('--result_dir RUNS/a --code then', '--result_dir RUNS/a'),
        ('--result_dir RUNS/a --code both', '--result_dir RUNS/a --result_dir RUNS/a_then'),
        ('--code then --checkpoints_dir RUNS --code both', '--checkpoints_dir RUNS --save_prefix exp_then'),
        ('@FILE', '@FILE --code=now --save_prefix filed_then'),
        ('--code then --trust_code --trust_checkpoint', '--trust_checkpoint --save_prefix exp_then'),
        ('--trust-code --code then', '--save_prefix exp_then'),
    ],
)
def test_what_the_other_program_is_given(argv, words, other, tmp_path):
    (tmp_path / 'args.txt').write_text('--code=then\n--save_prefix=filed\n', encoding='utf-8')

    def written(text):
        text = text.replace('FILE', str(tmp_path / 'args.txt')).replace('RUNS', str(tmp_path / 'runs'))
        return ['--load_model_path', str(other), *text.split()]

    parser = make_parser()
    found = recorded_code_arguments(parser, written(argv), parser.given(written(argv)))
    default = ['--checkpoints_dir', str(PROJECT / 'checkpoints')]
    assert found == written(words) + ([] if '--checkpoints_dir' in argv else default)


def test_its_exit_status_is_that_of_this_one(other, monkeypatch, capfd):
    monkeypatch.setenv('STATUS', '7')
    with pytest.raises(SystemExit) as ended:
        then('--load_model_path', other)
    assert ended.value.code == 7
    assert capfd.readouterr().err == 'progress\n'


SIGNALLED = """
import signal, sys
from utils.provenance import recorded_code
signal.signal(signal.SIGINT, signal.default_int_handler)  # which what a shell runs in the background ignores
recorded_code.INTERRUPT_GRACE_SECONDS = float(sys.argv[1])
from options import parse_test_command, test_parser
record = {'source': {'file': 'source.zip', 'sha256': sys.argv[3]}}
args = parse_test_command(['--load_model_path', sys.argv[2], '--code', 'then'])
recorded_code.test_with_recorded_code(test_parser(), args, {'record': record})
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='finds the process in /proc')
@pytest.mark.parametrize(
    ('number', 'to', 'patience', 'status'),
    [
        pytest.param(signal.SIGINT, 'both', 300, 130, marks=pytest.mark.slow('a new interpreter')),
        pytest.param(signal.SIGINT, 'parent', 0.1, 130, marks=pytest.mark.slow('a new interpreter')),
        pytest.param(signal.SIGTERM, 'parent', 300, 143, marks=pytest.mark.slow('a new interpreter')),
        pytest.param(signal.SIGKILL, 'child', 300, 137, marks=pytest.mark.slow('a new interpreter')),
    ],
)
def test_signals_end_both(number, to, patience, status, other, interpreter):
    """Ctrl-C reaches both, kill only the one that it names."""
    sha256 = hashlib.sha256(other.with_name('source.zip').read_bytes()).hexdigest()
    command = [interpreter, '-c', SIGNALLED, str(patience), str(other), sha256]
    options = {'cwd': PROJECT, 'env': {**os.environ, 'WAIT': '1'}, 'start_new_session': True, 'text': True}
    pipes = {'stdin': subprocess.DEVNULL, 'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE}
    with subprocess.Popen(command, **options, **pipes) as process:
        try:
            while process.stdout.readline() != 'ready\n':
                assert process.poll() is None
            [child] = [int(p.name) for p in Path('/proc').glob('[0-9]*') if parent_of(p) == process.pid]
            if to == 'both':
                os.killpg(process.pid, number)
            else:
                os.kill(process.pid if to == 'parent' else child, number)
            _, err = process.communicate(timeout=300)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == status, err
    assert err == 'progress\n' + 'interrupted\n' * (number == signal.SIGINT)
    assert not Path(f'/proc/{child}').exists()


def parent_of(process):
    try:
        return int((process / 'stat').read_text().rpartition(')')[2].split()[1])
    except OSError:
        return None


@pytest.mark.parametrize('fault', ['missing', 'damaged', 'no record', 'elsewhere', 'bare'])
def test_without_the_code_of_the_run_it_is_one_line(fault, other, tmp_path):
    archive, state = other.with_name('source.zip'), load_checkpoint(other)
    if fault == 'missing':
        archive.unlink()
    elif fault == 'damaged':
        archive.write_bytes(archive.read_bytes()[:-1])
    elif fault == 'no record':
        del state['record']
    elif fault == 'elsewhere':
        shutil.copy(archive, tmp_path / 'source.zip')
        state['record']['source']['file'] = '../source.zip'
    elif fault == 'bare':
        state = state['model']
    torch.save(state, other)
    said = {
        'missing': r'source\.zip, the code of the run, cannot be read: No such file or directory',
        'damaged': r'source\.zip is damaged or of another run',
    }.get(fault, r'best\.pth names no source.zip')
    with pytest.raises(DanluError, match=said) as raised:
        then('--load_model_path', other)
    assert '\n' not in str(raised.value)
    assert not (tmp_path / 'seen.json').exists()


def test_it_is_for_the_command_line(digits_run):
    with pytest.raises(DanluError, match='--code then is for the command line'):
        eval_py.load_predictor(digits_run.directory / 'best.pth', code='then', device='cpu')


# --- the comparison


def test_values_are_read_as_they_are_written(tmp_path, monkeypatch):
    (tmp_path / 'result.txt').write_text('# acc: 1\nacc: 0.1\nacc_class/a: b: 0.30000000000000004\nloss: nan\n')
    values = read_result_values(tmp_path / 'result.txt')
    assert values['acc'] == 0.1
    assert values['acc_class/a: b'] == 0.30000000000000004
    assert values['loss'] != values['loss']


def test_the_table_tells_what_differs():
    then_values = {'acc': 0.5, 'acc_class/a': 1.0, 'acc_class/b': 0.25, 'loss': 1.0, 'gone': 1.0, 'odd': float('nan')}
    now = {'acc': 0.5, 'acc_class/a': 1.0, 'acc_class/b': 0.5, 'loss': 1.0000000000000002, 'odd': float('nan')}
    assert comparison_table(then_values, now) == [
        '        then     now  difference',
        'acc   0.5000  0.5000           =',
        'gone   1.000       -           ?',
        'loss   1.000   1.000  +2.220e-16',
        'odd      nan     nan           =',
        'values per class: 1 of 2 differ',
    ]
    assert comparison_table(now, now) == ["all 5 values are identical with the code of the run and with today's code"]
