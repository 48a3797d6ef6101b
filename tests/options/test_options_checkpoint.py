"""Options that a test or a resumed run takes from the checkpoint."""

import os
import shlex
from pathlib import Path

import pytest

from options import (
    parse_test_args,
    parse_test_command,
    parse_train_args,
    prepare_test_args,
    prepare_train_args,
    save_args,
    test_parser,
    train_parser,
)
from tests.options.helpers import OWN_LISTS, SEGMENTATION, new_run, trained, tree


def test_a_test_takes_options_from_the_checkpoint(place):
    recorded = trained('--model_type', 'unet', *SEGMENTATION, '--num_classes', '3', '--class_names', 'names.txt',
                       '--image_size', '20', '30', '--data_root', 'pictures', '--mean', '0.1', '--std', '0.2',
                       '--loss', 'dice', '--ignore_index', '7', '--batch_size', '3', '--seed', '5',
                       '--load_model_path', 'names.txt', '--save_prefix', 'long', '--gpus', '1')  # fmt: skip
    args = parse_test_args(['--load_model_path', 'model.pth'], recorded)
    taken = test_parser().names(from_checkpoint=True)
    assert {name: getattr(args, name) for name in taken} == {name: recorded[name] for name in taken}
    assert args.val_list == str(place / 'val.txt')
    # These belong to the run, not to what it made.
    assert (args.load_model_path, args.save_prefix, args.gpus) == (str(place / 'model.pth'), 'exp', None)


def test_the_command_line_wins_over_the_checkpoint(place):
    recorded = trained(*OWN_LISTS, '--num_classes', '3', '--batch_size', '3', '--image_size', '20', '--seed', '5')
    argv = ['--load_model_path', 'model.pth', '--val-list', 'train.txt', '--batch_size', '64', '--image_size', '8', '9']
    args = parse_test_args(argv, recorded)
    assert args.val_list == str(place / 'train.txt')
    assert args.batch_size == 64  # given, though equal to the default
    assert args.image_size == [8, 9]
    assert (args.data_type, args.num_classes, args.seed) == ('list', 3, 5)


def test_an_args_file_counts_as_the_command_line():
    Path('a.txt').write_text('--batch_size=7\n--image_size 5\n')
    args = parse_test_args(['--load_model_path', 'model.pth', '@a.txt'], trained('--batch_size', '3'))
    assert (args.batch_size, args.image_size) == (7, [5, 5])


def test_other_data_does_not_inherit_the_lists(refusal, place):
    recorded = trained(*OWN_LISTS, '--num_classes', '10', '--data_root', 'pictures')
    args = parse_test_args(['--load_model_path', 'model.pth', '--data_type', 'digits'], recorded)
    assert (args.data_type, args.val_list, args.data_root, args.num_classes) == ('digits', None, None, 10)
    argv = ['--load_model_path', 'model.pth', '--data_type', 'folder']
    assert 'argument --val_list: needed for data_type folder' in refusal(prepare_test_args, argv, recorded)
    args = parse_test_args([*argv, '--val_list', 'pictures'], recorded)
    assert (args.val_list, args.data_root) == (str(place / 'pictures'), None)
    args = parse_test_args(['--load_model_path', 'model.pth', '--data_type', 'list'], recorded)  # named, but the same
    assert (args.val_list, args.data_root) == (str(place / 'val.txt'), str(place / 'pictures'))


@pytest.mark.parametrize('kind', ['list', 'mem_list', 'folder'])
def test_missing_data_of_another_machine_is_an_error(refusal, kind):
    recorded = {'data_type': kind, 'val_list': '/no/such/place/val', 'num_classes': 3}
    line = refusal(prepare_test_args, ['--load_model_path', 'model.pth'], recorded)
    assert 'argument --val_list: /no/such/place/val, which the checkpoint names, does not exist here' in line
    recorded = {'data_type': 'mnist', 'data_root': '/no/such/place'}
    assert '--data_root' in refusal(prepare_test_args, ['--load_model_path', 'model.pth'], recorded)


def test_a_bare_state_dict_leaves_the_defaults():
    for nothing in (None, {}):
        args = parse_test_args(['--load_model_path', 'model.pth'], nothing)
        assert (args.model_type, args.data_type) == ('lenet', 'digits')


def test_counts_are_checked_against_the_checkpoint(refusal):
    argv = ['--load_model_path', 'model.pth', '--class_names', 'a', 'b']
    assert '2 given for 10 classes' in refusal(prepare_test_args, argv, {'num_classes': 10})
    argv = ['--load_model_path', 'model.pth', '--task', 'segmentation']
    assert 'digits has no masks' in refusal(prepare_test_args, argv, {'num_classes': 10})


@pytest.fixture
def run(place):
    """Return the directory (str) of an interrupted run."""
    Path('start.pth').write_text('')
    args = new_run('--lr', '0.02', '--epochs', '5', '--image_size', '28', '--class_names', 'names.txt', '--gpus', '0',
                   '--load_not_strict', '--load_model_path', 'start.pth')  # fmt: skip
    Path(args.model_dir, 'last.pth').write_text('')
    return args.model_dir


def test_a_resumed_run_has_its_own_options_and_directory(run, place):
    for where in (run, f'{run}/last.pth', 'runs/lenet_exp', 'runs/lenet_exp/'):
        before = tree('runs')
        args = prepare_train_args(['--resume', where])
        assert (args.lr, args.epochs, args.image_size, args.gpus) == (0.02, 5, [28, 28], [0])
        assert args.class_names == ['cat', 'dog', 'red fox']
        assert args.load_not_strict is True
        assert args.model_dir == run
        assert args.checkpoints_dir == str(place / 'runs')
        assert Path(args.resume) == (place / where)
        assert tree('runs') == before


def test_a_resumed_run_may_change_its_cache_directory(place):
    words = '--data_type mem_list --train_list train.txt --val_list val.txt --cache_dir there'
    run = new_run(*words.split()).model_dir
    Path(run, 'last.pth').write_text('')
    assert parse_train_args(['--resume', run]).cache_dir == str(place / 'there')
    assert parse_train_args(['--resume', run, '--cache_dir', 'here']).cache_dir == str(place / 'here')


def test_a_test_takes_the_cache_directory_from_its_own_command(place):
    trained = {'data_type': 'mem_list', 'val_list': str(place / 'val.txt'), 'cache_dir': '/elsewhere'}
    assert parse_test_args(['--load_model_path', 'model.pth'], trained).cache_dir is None
    args = prepare_test_args(['--load_model_path', 'model.pth', '--cache_dir', 'here'], trained)
    assert args.cache_dir == str(place / 'here')
    assert parse_test_args([f'@{args.result_dir}/args.txt'], trained).cache_dir == f'{place}/here'


def test_safe_changes_are_applied_to_a_resumed_run(run):
    argv = ['--resume', run, *'--epochs 9 --print-freq 3 --save_freq 2 --num_workers 1 --gpus 1'.split()]
    args = parse_train_args(argv)
    assert (args.epochs, args.print_freq, args.save_freq, args.num_workers) == (9, 3, 2, 1)
    assert (args.gpus, args.lr) == ([1], 0.02)
    assert parse_train_args(['--resume', run, '--device', 'cuda']).device == 'cuda'


@pytest.mark.parametrize(
    ('words', 'says'),
    [
        (['--lr', '0.1'], 'argument --lr: cannot change in a resumed run (it is 0.02)'),
        (['--batch-size', '3'], 'argument --batch_size: cannot change in a resumed run (it is 64)'),
        (['--image_size', '32'], 'argument --image_size: cannot change in a resumed run (it is 28 28)'),
        (['--no_load_not_strict'], 'argument --load_not_strict: cannot change in a resumed run (it is on)'),
        (['--num_classes', '7'], 'argument --num_classes: cannot change in a resumed run (it is 3)'),
        (['--data_root', 'pictures'], 'argument --data_root: cannot change in a resumed run (it is not set)'),
        (['--model_dir', 'runs/other'], 'argument --model_dir: cannot change in a resumed run (it is {run})'),
        (['--mixup', '0.2'], 'argument --mixup: cannot change in a resumed run (it is not set)'),
        (['--model_type', 'unet'], 'argument --model_type: cannot change in a resumed run (it is lenet)'),
    ],
)
def test_other_changes_of_a_resumed_run_are_refused(refusal, run, words, says):
    line = refusal(prepare_train_args, ['--resume', run, *words])
    assert says.format(run=run) in line
    assert f'only {", ".join(train_parser().names(changeable=True))} can change' in line
    file, option = shlex.quote(f'@{run}/args.txt'), words[0].lstrip('-').removeprefix('no_').replace('-', '_')
    assert f'python train.py {file} --{option} ...' in line


def test_repeating_the_values_of_a_run_is_no_change(run):
    said = '--lr 2e-2 --image_size 28 --class_names names.txt --model_type lenet --num_classes 3'.split()
    said += ['--model_dir', run, '--load_model_path', 'start.pth', '--load-not-strict', '--seed', '0']
    plain = parse_train_args(['--resume', run])
    assert vars(parse_train_args(['--resume', run, *said])) == vars(plain)
    assert vars(parse_train_args([*said, '--resume', run])) == vars(plain)
    assert vars(parse_train_args([f'@{run}/args.txt', '--resume', run])) == vars(plain)


def test_a_run_resumes_without_its_initial_weights_file(refusal, run, place):
    Path('start.pth').unlink()
    args = parse_train_args(['--resume', run])
    assert args.load_model_path == str(place / 'start.pth')  # still on record
    assert 'start.pth' in refusal(parse_train_args, [f'@{run}/args.txt'])  # a repeat needs it


def test_directories_that_cannot_be_resumed_are_refused(refusal, run):
    Path(run, 'last.pth').unlink()
    assert f'argument --resume: {run} cannot be resumed' in refusal(prepare_train_args, ['--resume', run])
    Path(run, 'last.pth').write_text('')
    Path(run, 'args.txt').unlink()
    assert 'it needs args.txt and last.pth' in refusal(prepare_train_args, ['--resume', run])
    assert 'it needs args.txt and last.pth' in refusal(prepare_train_args, ['--resume', f'{run}/last.pth'])
    assert 'it needs args.txt and last.pth' in refusal(prepare_train_args, ['--resume', 'train.txt'])


def test_a_moved_run_resumes_in_its_new_directory(run, place):
    Path('archive').mkdir()
    os.rename(run, 'archive/old')
    args = parse_train_args(['--resume', 'archive/old'])
    assert args.model_dir == str(place / 'archive' / 'old')


def test_a_resumed_run_can_be_repeated(run):
    args = parse_train_args(['--resume', run, '--epochs', '9'])
    save_args(args, args.model_dir, note='resumed after epoch 5')
    again = prepare_train_args([f'@{run}/args.txt'])
    assert again.resume is None
    assert again.model_dir == f'{run}_2'
    different = {name for name in vars(again) if getattr(again, name) != getattr(args, name)}
    assert different == {'resume', 'model_dir'}


def test_a_run_is_named_as_in_runs_py(place, refusal):
    runs = place / 'runs'
    for name in ('lenet_exp', 'lenet_other'):
        (runs / name).mkdir(parents=True)
        (runs / name / 'best.pth').write_text('')
    where = ['--checkpoints_dir', 'runs']
    best = str(runs / 'lenet_exp' / 'best.pth')
    for word in ('lenet_exp', 'lenet_exp/best.pth', 'runs/lenet_exp', best):
        assert parse_train_args(['--load_model_path', word, *where]).load_model_path == best
        assert parse_test_command(['--load_model_path', word, *where]).load_model_path == best
    line = refusal(parse_test_command, ['--load_model_path', 'lenet_ex', *where])
    assert f"'lenet_ex' does not exist (looked in {place} and, for the name of a run, in {runs})" in line
    assert 'did you mean lenet_exp?' in line


def test_a_run_is_resumed_by_its_name(place):
    run = Path(new_run('--lr', '0.02').model_dir)
    (run / 'last.pth').write_text('')
    args = parse_train_args(['--resume', run.name, '--checkpoints_dir', run.parent, '--epochs', 20])
    assert (args.model_dir, args.lr, args.epochs) == (str(run), 0.02, 20)
