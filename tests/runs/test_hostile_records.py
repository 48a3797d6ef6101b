"""Checkpoints and args.txt from others: values are checked, no file is read for them, and no permission is repeated."""

import io
import json

import pytest
import torch
from PIL import Image

from data.lists.pictures import open_picture
from options import parse_test_args, parse_train_args, save_args
from tests.runs.helpers import tampered
from utils.base.errors import DanluError, message_of
from utils.base.record_schema import check_resume_state, fault_of
from utils.options.args_file import same_options
from utils.provenance.output_fingerprint import NoFingerprintError, compare_outputs
from utils.provenance.record import read_record
from utils.provenance.replay_log import read_replay_log
from utils.provenance.resume_check import ResumeCheck
from utils.runs.checkpoint import load_checkpoint, load_weights


def nested(depth, times):
    """Return lists within each other, in each of which the next one is so many times."""
    found = 1
    for _ in range(depth):
        found = [found] * times
    return found


@pytest.fixture
def refused(tmp_path, capsys):
    """Return a function that parses eval.py's options with those of a checkpoint and returns the line of the error."""
    (tmp_path / 'best.pth').write_text('')

    def run(trained, *words):
        with pytest.raises(SystemExit) as ended:
            parse_test_args(['--load_model_path', str(tmp_path / 'best.pth'), *words], trained)
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return run


def test_a_name_in_a_checkpoint_is_no_file_to_read(refused, tmp_path):
    (tmp_path / 'secret').write_text('one\ntwo\n')
    names = [str(tmp_path / 'secret')]
    line = refused({'num_classes': 2, 'class_names': names})
    assert '--class_names' in line
    assert 'two' not in line
    words = ['--load_model_path', str(tmp_path / 'best.pth'), '--class_names', *names]
    assert parse_test_args(words, {'num_classes': 2}).class_names == ['one', 'two']


def test_a_palette_in_a_checkpoint_is_no_file_to_read(refused, tmp_path):
    (tmp_path / 'secret').write_text('#000000\n#ffffff\n')
    line = refused({'task': 'segmentation', 'num_classes': 2, 'palette': [str(tmp_path / 'secret')]})
    assert '--palette' in line
    assert 'command line only' in line


def test_a_name_in_a_record_is_no_file_to_read(tmp_path, capsys):
    (tmp_path / 'secret').write_text('one\ntwo\n')
    args = parse_train_args(['--class_names', 'one', 'two'])
    save_args(args, tmp_path)
    record = tmp_path / 'args.txt'
    record.write_text(record.read_text().replace('--class_names one two', f'--class_names {tmp_path / "secret"}'))
    with pytest.raises(SystemExit):
        parse_train_args([f'@{record}', '--num_classes', '2'])
    assert '--class_names' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('num_classes', []),
        ('num_classes', [3]),
        ('num_classes', {}),
        ('num_classes', 'ten'),
        ('num_workers', 1025),
        ('batch_size', True),
        ('class_names', [['a'], ['b']]),
        ('class_names', {'a': 1}),
        ('val_list', 5.5j),
        ('mean', [float('nan')]),
        ('model_type', ['lenet']),
        ('seed', -1),
    ],
)
def test_a_value_of_another_type_or_range_is_one_line(refused, name, value):
    assert f'--{name}' in refused({'model_type': 'lenet', 'num_classes': 10, name: value})


@pytest.mark.parametrize('trained', [[1], 'text', 7, {3: 4}])
def test_args_that_are_no_options_are_one_line(refused, trained):
    assert 'no options' in refused(trained)


@pytest.mark.slow_after(6, 'a refused run each')
@pytest.mark.parametrize(
    ('part', 'says'),
    [
        ({'args': [1]}, 'args is of type list'),
        ({'args': {'model_type': torch.zeros(3)}}, 'args.model_type is or holds a Tensor'),
        ({'args': {3: 4}}, 'a key of args is of type int'),
        ({'epoch': 'two'}, 'epoch is of type str'),
        ({'record': {'components': {}, 'source': 5}}, 'record.source is of type int'),
        ({'record': {'components': {}, 'data': {'train': {'sha256': 5}}}}, 'record.data.train.sha256 is of type int'),
        ({'record': {'components': {'model': {'LeNet': []}}}}, 'record.components.model.LeNet is of type list'),
        ({'record': {'components': {}, 'versions': {'torch': 2.14}}}, 'record.versions.torch is of type float'),
        ({'record': {'components': {}, 'data': {'val': {'samples': '6'}}}}, 'record.data.val.samples is of type str'),
        ({'record': {'components': {}, 3: 4}}, 'a key of record is of type int'),
        ({'epoch': 2**70}, 'epoch is 1180591620717411303424'),
        ({'format': 'new'}, 'format is of type str'),
        ({'format': 99}, 'newer than'),
        ({'fingerprint': 3}, 'fingerprint is of type int'),
        ({'args': {'mean': nested(60, 1)}}, 'nested more than 50 levels'),
        ({'args': {'mean': nested(40, 2)}}, 'more than 4,194,304 values'),  # a few hundred bytes in the file
    ],
)
def test_a_checkpoint_with_another_type_is_one_line(tmp_path, part, says):
    torch.save({'format': 1, 'model': {}, **part}, tmp_path / 'x.pth')
    with pytest.raises(DanluError, match=says) as raised:
        load_checkpoint(tmp_path / 'x.pth')
    assert len(str(raised.value).splitlines()) == 1


def test_what_other_programs_call_as_danlu_does_may_be_anything(tmp_path):
    for state in ({('a', 1): 2, 'epoch': 'two', 'args': [1]}, {'state_dict': {}, 'record': 5}, nested(400, 1)[0]):
        torch.save({'state_dict': {'a': torch.zeros(1)}, 'x': state}, tmp_path / 'x.pth')
        assert load_checkpoint(tmp_path / 'x.pth')['state_dict'].keys() == {'a'}


@pytest.mark.parametrize(
    ('change', 'says'),
    [
        (lambda value: value.to_sparse(), 'sparse'),
        (lambda value: value.to('meta'), 'meta tensors'),
        (lambda value: value.to(torch.complex64), r'complex numbers \(complex64\)'),
        (lambda value: value.to(torch.int8), r'integers \(int8\)'),
    ],
)
def test_tensors_that_are_no_weights_are_one_line(tmp_path, change, says):
    net = torch.nn.Linear(2, 2)
    torch.save({name: change(value) for name, value in net.state_dict().items()}, tmp_path / 'x.pth')
    with pytest.raises(DanluError, match=says):
        load_weights(net, load_checkpoint(tmp_path / 'x.pth'), tmp_path / 'x.pth')


def test_names_of_weights_neither_break_a_message_nor_move_the_cursor(tmp_path):
    net = torch.nn.Linear(2, 2)
    weights = {**net.state_dict(), '\x1b[2J\nerror: x' + 'y' * 10_000: torch.zeros(1)}
    with pytest.raises(DanluError, match=r'\?\[2J error: xyyy') as raised:
        load_weights(net, weights, tmp_path / 'x.pth')
    assert len(str(raised.value)) < 1000


def test_messages_are_cut_and_have_no_control_characters():
    text = message_of(DanluError('a\x1b[31m\tb\r\n' + 'c' * 5000 + '\n é\udcff'))
    assert text == 'a?[31m\tb?\n' + 'c' * 4000 + ' ...\n é\udcff'


def test_a_probe_that_would_take_all_memory_is_not_drawn():
    fingerprint = {'rule': 1, 'probe': {'shape': [30_000, 3, 300, 300]}, 'outputs': {}}
    with pytest.raises(NoFingerprintError, match='more than 268,435,456 values'):
        compare_outputs(torch.nn.Linear(2, 2), fingerprint)


def test_a_long_value_in_a_checkpoint_is_cut_in_the_message(refused):
    assert len(refused({'model_type': 'm' * 10**6, 'num_classes': 2})) < 10_000


RESUMABLE = {
    **{'format': 1, 'model': {}, 'args': {'lr': 0.1}, 'epoch': 1, 'step': 2, 'optimizer': {}, 'rng': {}},
    **{'best': {'value': 0.5, 'epoch': 1}, 'recorder': {'history': [{'epoch': 1, 'val/acc': 0.5}]}},
}


def test_a_resume_state_of_the_right_types_is_taken():
    check_resume_state(RESUMABLE, 'last.pth')
    check_resume_state({**RESUMABLE, 'best': None, 'later': [1], 'loader': None}, 'last.pth')


@pytest.mark.parametrize(
    ('part', 'says'),
    [
        ({'rng': None}, 'rng is missing'),
        ({'optimizer': None}, 'optimizer is missing'),
        ({'args': [1]}, 'args is of type list'),
        ({'args': {'lr': torch.zeros(2)}}, 'args.lr is or holds a Tensor'),
        ({'args': {'lr': [[torch.zeros(2)]]}}, 'args.lr is or holds a Tensor'),
        ({'args': {3: 4}}, 'a key of args is of type int'),
        ({'epoch': -1}, 'epoch is -1'),
        ({'epoch': 10**400}, r'epoch is 1000.*\.\.\.'),
        ({'step': True}, 'step is of type bool'),
        ({'loader': {'batch': -1}}, r'loader\.batch is -1'),
        ({'loader': {}}, r'loader\.batch is missing'),
        ({'loader': {'batch': 1, 'drawing': {'val': {'cost': '1'}}}}, r'loader\.drawing\.val\.cost is of type str'),
        ({'recorder': {'history': [3]}}, r'recorder\.history\[0\] is of type int'),
        ({'recorder': {'history': [{'val/acc': 0.5}]}}, r'recorder\.history\[0\]\.epoch is missing'),
        ({'recorder': {'history': [{'epoch': 1, 'a\n': 'x'}]}}, r'history\[0\]\.a\\n is of type str'),
        ({'best': {'epoch': 1}}, r'best\.value is missing'),
        ({'scheduler': {'last_lr': []}}, r'scheduler\.last_lr is of type list'),
        ({'diverged': {'left_out': ['x']}}, r'diverged\.left_out\[0\] is of type str'),
        ({'events': {'x': -5}}, r'events\.x is -5'),
        ({'processes': [1]}, r'processes\[0\] is of type int'),
    ],
)
def test_a_resume_state_of_another_type_is_one_line(part, says):
    with pytest.raises(DanluError, match=f'{says}; give another') as raised:
        check_resume_state({**RESUMABLE, **part}, 'last.pth')
    assert '\n' not in str(raised.value)
    if None not in part.values():
        with pytest.raises(DanluError, match='best is missing'):
            check_resume_state({name: value for name, value in RESUMABLE.items() if name != 'best'}, 'last.pth')


@pytest.fixture(scope='module')
def short_run(list_data, train_here, tmp_path_factory):
    """Return a run of one epoch."""
    words = [*list_data, '--model_type', 'mlp', '--schedule', 'plateau', '--num_workers', '0', '--epochs', '1']
    return train_here(*words, '--checkpoints_dir', tmp_path_factory.mktemp('runs'))


def remove_moment(state):
    for of_one in state['optimizer']['state'].values():
        del of_one['exp_avg_sq']


@pytest.mark.slow_after(6, 'a refused run each')
@pytest.mark.parametrize(
    'change',
    [
        remove_moment,
        lambda state: state['optimizer']['state'][0].update(exp_avg=torch.zeros(3)),
        lambda state: state['optimizer']['state'][0].update(exp_avg=torch.zeros(())),
        lambda state: state['optimizer']['state'][1].update(step=torch.zeros(3)),
        lambda state: state['model'].update({'layers.1.weight': {}}),
        lambda state: state['optimizer'].update(param_groups=[]),
        lambda state: state['optimizer']['param_groups'][0].update(lr='fast', betas=None),
        lambda state: state['rng'].update(torch=torch.zeros(3)),
        lambda state: state['rng'].update(python=[3, [1], None]),
        lambda state: state['rng'].update(numpy=['MT19937', state['rng']['numpy'][1], 10**6, 0, 0.0]),
        lambda state: state['rng'].update(numpy=['MT19937', torch.zeros(3), 0, 0, 0.0]),
        lambda state: state.update(rng={}),
        lambda state: state['scheduler'].update(by_value={'last_epoch': []}),
        lambda state: state['scheduler'].pop('by_value'),
        lambda state: state['loader'].update(gradients={'batches': 1}),
        lambda state: state['recorder']['history'][0].update({'val/acc': 'high'}),
    ],
)
def test_a_run_is_not_resumed_from_a_state_of_another_run_or_type(short_run, train_here, tmp_path, change):
    run = tmp_path / 'run'
    tampered(short_run.directory, run, change)
    damaged = 'last.pth is damaged or was changed: '
    with pytest.raises(DanluError, match=damaged) as raised:
        train_here('--resume', run, '--epochs', '2')
    assert len(str(raised.value).splitlines()) == 1
    assert (run / 'history.csv').read_text().count('\n') == 2


def test_a_record_of_another_type_is_none(tmp_path):
    (tmp_path / 'record.json').write_text('{"run": 5}')
    assert read_record(tmp_path) == {}
    (tmp_path / 'record.json').write_text('{"run": "5", "later": [1]}')
    assert read_record(tmp_path) == {'run': '5', 'later': [1]}


def test_bool_is_no_whole_number():
    assert fault_of(True, int, 'epoch') == 'epoch is of type bool'
    assert fault_of(1, int) is None


# --- permissions


def test_trust_is_not_recorded(tmp_path):
    (tmp_path / 'x.pth').write_text('')
    args = parse_train_args(['--load_model_path', str(tmp_path / 'x.pth'), '--trust_checkpoint'])
    assert args.trust_checkpoint
    save_args(args, tmp_path)
    again = parse_train_args([f'@{tmp_path / "args.txt"}'])
    assert not again.trust_checkpoint
    assert parse_train_args([f'@{tmp_path / "args.txt"}', '--trust_checkpoint']).trust_checkpoint


@pytest.mark.parametrize('head', ['# python train.py @x/args.txt\n', ''])
@pytest.mark.parametrize('word', ['--trust_checkpoint', '--trust-checkpoint'])
def test_trust_in_a_file_is_ignored_with_a_line(tmp_path, head, word):
    (tmp_path / 'x.pth').write_text('')
    (tmp_path / 'more.txt').write_text('--epochs 7\n')
    path = tmp_path / 'args.txt'
    path.write_text(f'{head}--load_model_path {tmp_path / "x.pth"} {word} @{tmp_path / "more.txt"}\n')
    args = parse_train_args([f'@{path}'])
    assert (args.trust_checkpoint, args.epochs) == (False, 7)
    assert sum('--trust_checkpoint is ignored' in line for line in args.past) == 1


def test_older_tests_that_recorded_trust_are_the_same_tests():
    assert same_options(['--seed=1', '--no_trust_checkpoint'], ['--seed=1', '# --no_trust_checkpoint'])
    assert not same_options(['--seed=1'], ['--seed=2'])


# --- formats of pictures


@pytest.mark.parametrize('kind', ['EPS', 'PDF', 'XBM', 'IM'])
def test_formats_that_are_not_read_are_not_opened(tmp_path, kind):
    picture, file = Image.new('L', (4, 4)), io.BytesIO()
    (picture.convert('1') if kind == 'XBM' else picture).save(file, kind)
    (tmp_path / 'x.png').write_bytes(file.getvalue())
    for source in (str(tmp_path / 'x.png'), file.getvalue()):
        with pytest.raises(DanluError, match='not an image'):
            open_picture(source)


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'BMP', 'TIFF', 'WEBP', 'GIF', 'TGA', 'PPM'])
def test_formats_that_are_read_are_opened(kind):
    file = io.BytesIO()
    Image.new('RGB', (4, 4)).save(file, kind)
    assert open_picture(file.getvalue()).size == (4, 4)


def test_an_args_file_that_names_a_file_by_a_null_byte_is_one_line(tmp_path, capsys):
    (tmp_path / 'args.txt').write_bytes(b'@\0 python train.py')
    with pytest.raises(SystemExit):
        parse_train_args([f'@{tmp_path / "args.txt"}'])
    assert capsys.readouterr().err.startswith("train.py: error: args file '\\x00': no valid file name")


# --- what a run notes of its steps


@pytest.mark.parametrize('line', ['[1]', '5', '{"epoch": 1}', '{"epoch": "1", "batch": 2, "loss": 0.5}', '[' * 100_000])
def test_a_step_noted_in_another_form_is_passed_over(tmp_path, line):
    witness, step = ResumeCheck(tmp_path, resumed=True), {'epoch': 1, 'batch': 2, 'weights': 3, 'data': 4, 'loss': 0.5}
    (tmp_path / 'witness.jsonl').write_text(f'{json.dumps(step)}\n{line}\n')
    assert witness._compare_step(step | {'processes': 1}).startswith('resume verified')


@pytest.mark.parametrize('lines', [['[]'], ['5'], ['{"threads": 1}'], [], ['{'], ['[' * 100_000]])
@pytest.mark.parametrize('step', ['[1]', '{"loss": "low"}', '{"step": 1, "loss": 0.5}'])
def test_first_steps_in_another_form_are_damaged(tmp_path, lines, step):
    conditions = json.dumps({'threads': 1, 'device': 'cpu', 'torch': '2.14', 'ready_made': False})
    for content in ('\n'.join(lines), f'{conditions}\n{step}'):
        (tmp_path / 'first_steps.jsonl').write_text(content)
        with pytest.raises(ValueError, match='is damaged: '):
            read_replay_log(tmp_path)
    (tmp_path / 'first_steps.jsonl').write_text(f'{conditions}\n{{"step": 1, "data": 2, "weights": 3, "loss": NaN}}\n')
    assert read_replay_log(tmp_path)[1][0]['step'] == 1
