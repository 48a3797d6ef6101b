"""Directories of runs and tests: their names, and when they are made and removed."""

import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from options import (
    get_test_result_dir,
    get_train_model_dir,
    parse_train_args,
    prepare_test_args,
    prepare_train_args,
)
from tests.options.helpers import new_run, tree
from utils.base.registry import PROJECT
from utils.runs.run_directory import remove_unstarted


def test_names_of_run_directories(place):
    assert new_run().model_dir == str(place / 'runs' / 'lenet_exp')
    assert new_run('--save_prefix', 'x').model_dir == str(place / 'runs' / 'lenet_x')
    assert new_run('--model_type', 'torchvision:resnet18').model_dir == str(place / 'runs' / 'torchvision_resnet18_exp')
    odd = Path(new_run('--model_type', 'torchvision:../../out').model_dir)
    assert odd.parent == place / 'runs'
    assert sorted(os.listdir()) == sorted(['runs', 'train.txt', 'val.txt', 'model.pth', 'pictures', 'names.txt',
                                           'empty.txt', 'gbk.txt'])  # fmt: skip


def test_existing_directories_are_not_overwritten(place):
    runs = place / 'runs'
    runs.mkdir()
    (runs / 'lenet_exp').write_text('a file')
    (runs / 'lenet_exp_2').mkdir()
    (runs / 'lenet_exp_3').symlink_to('nowhere')
    assert new_run().model_dir == str(runs / 'lenet_exp_4')
    assert (runs / 'lenet_exp').read_text() == 'a file'
    assert tree(runs / 'lenet_exp_2') == []
    assert not (runs / 'nowhere').exists()


def test_model_dir(place):
    assert new_run('--model_dir', 'runs/group/mine').model_dir == str(place / 'runs' / 'group' / 'mine')
    assert new_run('--model_dir', 'runs/group/mine').model_dir == str(place / 'runs' / 'group' / 'mine_2')
    assert new_run('--model_dir', 'runs/a/../b').model_dir == str(place / 'runs' / 'b')


@pytest.mark.parametrize('wanted', ['elsewhere', 'runs', 'runs/', 'runs/../x', 'runs_2/x', '/', '/tmp', 'runs/..', '.'])
def test_a_model_dir_outside_the_checkpoints_is_refused(refusal, wanted):
    line = refusal(prepare_train_args, ['--checkpoints_dir', 'runs', '--model_dir', wanted])
    assert 'argument --model_dir: ' in line
    assert 'is not below' in line
    assert 'choose another directory by --checkpoints_dir' in line


def test_a_link_does_not_lead_out_of_the_checkpoints(refusal, place):
    Path('runs').mkdir()
    Path('outside').mkdir()
    Path('runs/out').symlink_to(place / 'outside')
    assert 'is not below' in refusal(prepare_train_args, ['--checkpoints_dir', 'runs', '--model_dir', 'runs/out/x'])
    assert 'is not below' in refusal(prepare_train_args, ['--checkpoints_dir', 'runs', '--model_dir', 'runs/out/y/x'])
    argv = ['--load_model_path', 'pictures/model.pth', '--checkpoints_dir', 'runs', '--result_dir', 'runs/out/x']
    Path('pictures/model.pth').write_text('')
    assert 'is not below' in refusal(prepare_test_args, argv)
    assert tree('outside') == []


def test_a_run_that_was_moved_and_linked_does_not_stop_the_next_one(place):
    Path('big_disk/lenet_exp').mkdir(parents=True)
    Path('runs').mkdir()
    Path('runs/lenet_exp').symlink_to(place / 'big_disk' / 'lenet_exp')
    assert new_run().model_dir == str(place / 'runs' / 'lenet_exp_2')
    Path('runs/lenet_exp/best.pth').write_text('')
    args = prepare_test_args(['--load_model_path', 'runs/lenet_exp/best.pth'])
    assert Path(args.result_dir, 'args.txt').is_file()
    assert Path('big_disk/lenet_exp/best/val_digits_exp/args.txt').is_file()


def test_the_checkpoints_directory_may_be_a_link(place):
    Path('big_disk').mkdir()
    Path('runs').symlink_to('big_disk')
    assert new_run().model_dir == str(place / 'runs' / 'lenet_exp')
    assert new_run('--model_dir', 'runs/mine').model_dir == str(place / 'runs' / 'mine')
    assert sorted(os.listdir('big_disk')) == ['lenet_exp', 'mine']


def test_directories_of_tests(place):
    Path('runs/lenet_exp').mkdir(parents=True)
    for name in ('best.pth', 'epoch_0010.pth', 'weights', 'v1.2.pt'):
        Path('runs/lenet_exp', name).write_text('')

    def result_dir(checkpoint, *argv):
        args = prepare_test_args(['--load_model_path', f'runs/lenet_exp/{checkpoint}', *argv])
        assert Path(args.result_dir, 'args.txt').is_file()
        return str(Path(args.result_dir).relative_to(place / 'runs'))

    own = ['--data_type', 'list', '--val_list', 'val.txt']
    assert result_dir('best.pth') == 'lenet_exp/best/val_digits_exp'
    assert result_dir('best.pth') == 'lenet_exp/best/val_digits_exp', 'a test of the same thing'
    assert result_dir('best.pth', '--batch_size', '7') == 'lenet_exp/best/val_digits_exp_2'
    assert result_dir('best.pth', '--batch_size', '7') == 'lenet_exp/best/val_digits_exp_2'
    assert result_dir('best.pth') == 'lenet_exp/best/val_digits_exp'
    assert result_dir('best.pth', *own) == 'lenet_exp/best/val_val_exp'
    assert result_dir('best.pth', *own, '--save_prefix', 'night') == 'lenet_exp/best/val_val_night'
    assert result_dir('epoch_0010.pth') == 'lenet_exp/epoch_0010/val_digits_exp'
    assert result_dir('v1.2.pt') == 'lenet_exp/v1.2/val_digits_exp'
    assert result_dir('weights') == 'lenet_exp/weights_tests/val_digits_exp'
    assert result_dir('best.pth', '--result_dir', 'runs/lenet_exp/mine') == 'lenet_exp/mine'
    assert result_dir('best.pth', '--result_dir', 'runs/other', '--checkpoints_dir', 'runs') == 'other'
    assert Path('runs/lenet_exp/weights').read_text() == ''


@pytest.mark.parametrize('wanted', ['elsewhere', '.', 'pictures', 'pictures/../x', '/tmp'])
def test_a_result_dir_outside_is_refused(refusal, wanted):
    Path('pictures/best.pth').write_text('')
    argv = ['--load_model_path', 'pictures/best.pth', '--checkpoints_dir', 'runs', '--result_dir', wanted]
    line = refusal(prepare_test_args, argv)
    assert 'argument --result_dir: ' in line
    assert 'is not below' in line


def test_an_impossible_directory_is_a_one_line_error(refusal, place):
    line = refusal(prepare_train_args, ['--checkpoints_dir', 'val.txt/runs'])
    assert f'cannot create the directory {place}/val.txt/runs/lenet_exp: Not a directory; choose another by' in line
    Path('best').write_text('a file where the directory of tests has to go')
    Path('best.pth').write_text('')
    line = refusal(prepare_test_args, ['--load_model_path', 'best.pth'])
    assert 'cannot create the directory' in line
    assert 'choose another by --result_dir' in line


def test_a_too_long_name_is_a_one_line_error(capsys):
    with pytest.raises(SystemExit) as stop:
        new_run('--save_prefix', '丹' * 100)
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err.count('\n') == 1
    assert 'cannot create the directory' in err


@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='root may write everywhere')
def test_an_unwritable_parent_is_a_one_line_error(refusal):
    Path('locked').mkdir(mode=0o500)
    line = refusal(prepare_train_args, ['--checkpoints_dir', 'locked'])
    assert 'cannot create the directory' in line
    assert 'Permission denied' in line
    Path('locked').chmod(0o700)


RACE = f"""
import sys
sys.path.insert(0, {str(PROJECT)!r})
import options
print('ready', flush=True)
sys.stdin.read()  # all processes read the same pipe, which the test closes
for _ in range(5):
    print(options.prepare_train_args().model_dir, flush=True)
"""


def test_processes_that_start_at_once_get_different_directories(place):
    command = [sys.executable, '-c', RACE, '--checkpoints_dir', 'runs', '--save_prefix', 'race']
    gate, go = os.pipe()
    processes = [subprocess.Popen(command, stdin=gate, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline() == 'ready\n'
    assert not Path('runs').exists()  # so they also race to make it
    os.close(gate)
    os.close(go)
    made = [line for process in processes for line in process.communicate(timeout=300)[0].splitlines()]
    assert [process.returncode for process in processes] == [0] * 4
    names = ['lenet_race', *(f'lenet_race_{k}' for k in range(2, 21))]
    assert sorted(made) == sorted(str(place / 'runs' / name) for name in names)
    for path in made:
        assert parse_train_args([f'@{path}/args.txt']).save_prefix == 'race'
        assert os.listdir(path) == ['args.txt']


def test_only_what_never_started_is_removed():
    kept, removed = new_run(), new_run()
    Path(kept.model_dir, 'log.txt').write_text('')
    remove_unstarted(kept.model_dir)
    remove_unstarted(removed.model_dir)
    assert tree('runs') == ['runs/lenet_exp', 'runs/lenet_exp/args.txt', 'runs/lenet_exp/log.txt']


def test_directories_for_namespaces_made_by_hand(place):
    args = Namespace(checkpoints_dir='runs', model_type='mine', save_prefix='x', model_dir=None)
    assert Path(get_train_model_dir(args)) == Path('runs/mine_x')
    args = Namespace(checkpoints_dir='runs', load_model_path='model.pth', val_list=None, data_type='digits',
                     save_prefix='x', result_dir=None)  # fmt: skip
    assert Path(get_test_result_dir(args)) == Path('model/val_digits_x')


def test_the_directory_is_put_into_the_options_as_torch_base_does(place):
    args = Namespace(checkpoints_dir='runs', model_type='mine', save_prefix='x', model_dir=None)
    assert get_train_model_dir(args) == args.model_dir == str(Path('runs/mine_x'))
    args = Namespace(checkpoints_dir='runs', load_model_path='model.pth', val_list=None, data_type='digits',
                     save_prefix='x', result_dir=None)  # fmt: skip
    assert get_test_result_dir(args) == args.result_dir == str(Path('model/val_digits_x'))
