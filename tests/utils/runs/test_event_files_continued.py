"""Event files of a resumed run: TensorBoard reads what one process would have written."""

import shutil
import signal

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from options import train_args
from train import Trainer
from utils.runs.event_files import CONTINUED_FILE, continue_events, event_sizes

TIMES = ('system/images_per_second', 'system/data_wait', 'system/seconds')


def write(directory, steps, name=None):
    """Write a scalar of the value 10 * step at each step; rename the file."""
    writer = SummaryWriter(str(directory))
    for step in steps:
        writer.add_scalar('value', 10 * step, step)
    writer.close()
    if name is not None:
        [path] = [path for path in directory.iterdir() if 'host' not in path.name and path.name != CONTINUED_FILE]
        path.rename(directory / f'events.out.tfevents.{name}.host')


def steps_of(directory, tag='value'):
    """Return the steps (list of int) of a scalar as TensorBoard reads them."""
    reader = EventAccumulator(str(directory), size_guidance={'scalars': 0})
    reader.Reload()
    return [event.step for event in reader.Scalars(tag)]


def test_what_came_after_the_checkpoint_is_cut_off(tmp_path):
    write(tmp_path, [1, 2], '0000000002')
    sizes = event_sizes(tmp_path)
    with open(tmp_path / 'events.out.tfevents.0000000002.host', 'ab') as file:
        file.write(b'half an event')
    write(tmp_path, [3], '0000000001')  # unsaved, and the clock was set back
    assert continue_events(tmp_path, sizes)
    write(tmp_path, [3, 4])
    assert steps_of(tmp_path) == [1, 2, 3, 4]


def test_a_clock_that_was_set_back_changes_no_order(tmp_path):
    write(tmp_path, [1, 2], '9999999999')
    assert continue_events(tmp_path, event_sizes(tmp_path))
    write(tmp_path, [3])
    assert continue_events(tmp_path, event_sizes(tmp_path))
    write(tmp_path, [4])
    assert steps_of(tmp_path) == [1, 2, 3, 4]


def test_a_process_that_ended_before_it_saved_leaves_the_same(tmp_path):
    write(tmp_path, [1], '0000000001')
    write(tmp_path, [2], '0000000002')
    sizes = event_sizes(tmp_path)
    assert continue_events(tmp_path, sizes)
    write(tmp_path, [3, 4], '0000000003')
    assert continue_events(tmp_path, sizes)
    assert steps_of(tmp_path) == [1, 2]


@pytest.mark.parametrize('below', ['', 'steps'])
def test_a_process_that_was_killed_while_it_cut_the_files_leaves_the_same(below, tmp_path):
    write(tmp_path / below, [1, 2], '0000000001')
    sizes = event_sizes(tmp_path)
    partial = tmp_path / below / f'{CONTINUED_FILE}.partial'
    partial.write_bytes(b'half')
    assert event_sizes(tmp_path) == sizes
    assert continue_events(tmp_path, sizes)
    assert not partial.exists()
    assert steps_of(tmp_path / below) == [1, 2]


@pytest.mark.parametrize('sizes', [None, [], {'events.out.tfevents.0000000001.host': 10**9}, {'../other': 0}])
def test_other_sizes_leave_the_files_as_they_are(sizes, tmp_path):
    """A checkpoint may be of an older version, or from a stranger."""
    (tmp_path / 'run').mkdir()
    (tmp_path / 'other').write_text('mine', encoding='utf-8')
    write(tmp_path / 'run', [1], '0000000001')
    done = continue_events(tmp_path / 'run', sizes)
    assert not done or sizes == {'../other': 0}
    assert (tmp_path / 'other').read_text(encoding='utf-8') == 'mine'


def everything(directory):
    """Return all that TensorBoard shows of a run's epochs: scalars, pictures and histograms with their steps."""
    reader = EventAccumulator(str(directory), size_guidance=dict.fromkeys(('scalars', 'images', 'histograms'), 0))
    reader.Reload()
    tags = reader.Tags()
    return (
        {tag: [(e.step, None if tag in TIMES else e.value) for e in reader.Scalars(tag)] for tag in tags['scalars']},
        {tag: [(e.step, e.encoded_image_string) for e in reader.Images(tag)] for tag in tags['images']},
        {
            tag: [(e.step, tuple(e.histogram_value.bucket)) for e in reader.Histograms(tag)]
            for tag in tags['histograms']
        },
    )


def trainer(**options):
    """Return a Trainer of the digits."""
    words = {'epochs': 2, 'batch_size': 500, 'histograms': True, 'device': 'cpu', 'threads': 1, 'print_freq': 1}
    return Trainer(train_args(**(options if 'resume' in options else words | options)))


@pytest.mark.slow('trains for two epochs twice')
@pytest.mark.parametrize(
    'moment',
    ['behind the last batch', 'in the middle'],
)
def test_a_resumed_run_shows_what_an_uninterrupted_one_does(moment, tmp_path):
    straight = trainer(checkpoints_dir=str(tmp_path / 'straight'))
    straight.train()
    stopped = trainer(checkpoints_dir=str(tmp_path))
    if moment == 'in the middle':
        step = stopped.train_step

        def step_and_stop(batch):
            stopped.session.preemption.signal = signal.SIGTERM if stopped.update.steps == 5 else None
            return step(batch)

        stopped.train_step = step_and_stop
    else:
        evaluate = stopped.val_per_epoch

        def stop_and_evaluate(epoch):
            stopped.session.preemption.signal = signal.SIGTERM if epoch == 2 else None
            return evaluate(epoch)

        stopped.val_per_epoch = stop_and_evaluate
    with pytest.raises(SystemExit):
        stopped.train()
    unsaved = shutil.copytree(stopped.args.model_dir, tmp_path / 'unsaved')
    trainer(resume=str(unsaved)).logger.close()  # a process that ends before it saves
    for run in (unsaved, stopped.args.model_dir):
        resumed = trainer(resume=str(run))
        resumed.train()
        assert everything(run) == everything(straight.args.model_dir)
        assert steps_of(run, 'step/loss') == steps_of(straight.args.model_dir, 'step/loss')
