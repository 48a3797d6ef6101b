"""--profile: what it measures, what it prints and writes, and that the training does not notice."""

import gc
import gzip
import itertools
import json
import re
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from options import parse_train_args
from tests.networks import Dropping
from train import Trainer
from utils.runs.checkpoint import load_checkpoint
from utils.training import profiler
from utils.training.advice import STEP_PARTS
from utils.training.profiler import StepProfiler, breakdown_lines, plan_steps, with_profiler

ROW = re.compile(r'^  (\w[\w ]*?) +(\d+\.\d{3}) +(\d+\.\d)%$', re.MULTILINE)


def report_in(text):
    """Return (milliseconds, percent, steps, advice, trace) as printed: two dicts by part, numbers and str."""
    rows = ROW.findall(text)
    steps = int(re.search(r'^profile: mean of (\d+) steps?, after \d+ others$', text, re.MULTILINE)[1])
    advice = re.search(r'^advice: (.*)$', text, re.MULTILINE)[1]
    trace = re.search(r'^trace: (\S+) \((\d+) steps?\); open it in https://ui.perfetto.dev', text, re.MULTILINE)
    return {n: float(ms) for n, ms, _ in rows}, {n: float(share) for n, _, share in rows}, steps, advice, trace


def ranges_in(path):
    """Return the names of the ranges in a trace (list of str, by time), of what Danlu named there."""
    with gzip.open(path, 'rt', encoding='utf-8') as file:
        events = json.load(file)['traceEvents']
    ranges = [event for event in events if event.get('cat') == 'user_annotation']
    return [event['name'] for event in sorted(ranges, key=lambda event: event['ts']) if '#' not in event['name']]


def check_sums(milliseconds, percent):
    """Hold the table's last row against the others."""
    milliseconds, percent = dict(milliseconds), dict(percent)
    assert percent.pop('whole step') == 100
    assert sum(percent.values()) == pytest.approx(100, abs=0.05 * len(percent) + 1e-9)
    whole = milliseconds.pop('whole step')
    assert sum(milliseconds.values()) == pytest.approx(whole, abs=0.0005 * (len(milliseconds) + 1) + 1e-9)


def batches(count):
    """Return ready-made batches: a list of (pictures (4, 3, 2, 2), labels (4,))."""
    generator = torch.Generator().manual_seed(0)
    return [(torch.rand(4, 3, 2, 2, generator=generator), torch.arange(4) % 3) for _ in range(count)]


def trainer_of(folder, *words, kind=Trainer, **parts):
    """Return a Trainer of ready-made parts: an epoch of 70 steps."""
    torch.manual_seed(5)
    parts = {'model': Dropping(), 'train_loader': batches(70), 'val_loader': batches(2), **parts}
    words = ['--checkpoints_dir', folder, '--num_classes', 3, '--device', 'cpu', '--epochs', 1, *words]
    return kind(parse_train_args([str(word) for word in words]), **parts)


# --- from end to end


@pytest.mark.slow('a run under the profiler')
def test_the_digits_are_measured_and_the_report_is_kept(run_program, tmp_path):
    done = run_program('train.py', '--profile', '--epochs', 2, '--checkpoints_dir', tmp_path, '--device', 'cpu')
    assert done.code == 0, done.stderr
    assert done.stderr == ''
    run = tmp_path / 'lenet_exp'
    logged = (run / 'log.txt').read_text(encoding='utf-8').splitlines()
    assert logged[:-1] == done.stdout.partition('\n\n')[0].splitlines()
    assert done.stdout.count('profile:') == 1, 'of the first epoch alone'
    milliseconds, percent, steps, advice, trace = report_in(done.stdout)
    assert list(milliseconds) == [*STEP_PARTS, 'whole step']
    check_sums(milliseconds, percent)
    assert steps == 40
    assert min(percent['forward'], percent['backward']) > 0
    assert advice, 'which one depends on the machine'
    assert (trace[1], trace[2]) == (str(run / 'trace.json.gz'), '5')
    ranges = ranges_in(run / 'trace.json.gz')
    assert set(ranges) == set(STEP_PARTS)
    # `step` begins before the batch is on its device, zero_grad lies between the loss and its gradients.
    order = 'data forward copy forward loss backward optimizer backward optimizer logging metrics'.split()
    assert [name for name in ranges if name != 'rest'] == order * 5
    assert [path.name for path in run.iterdir() if 'partial' in path.name] == []
    assert not parse_train_args([f'@{run / "args.txt"}']).profile, 'a repeated run is not measured again'


@pytest.mark.slow('decodes large pictures')
def test_slow_decoding_gives_advice_on_data_loading(run_program, tmp_path):
    """Two workers decode pictures of 1.4 million pixels for a network that takes a few milliseconds."""
    pixels = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'large.png')
    lines = [f'large.png\t{index % 3}\n' for index in range(48)]
    (tmp_path / 'train.txt').write_text(''.join(lines))
    (tmp_path / 'val.txt').write_text(''.join(lines[:3]))
    words = ['--data_type', 'list', '--train_list', tmp_path / 'train.txt', '--val_list', tmp_path / 'val.txt']
    words += ['--image_size', 32, '--batch_size', 2, '--num_workers', 2, '--augment', 'strong', '--device', 'cpu']
    done = run_program('train.py', *words, '--profile', '--epochs', 1, '--checkpoints_dir', tmp_path)
    assert done.code == 0, done.stderr
    milliseconds, percent, steps, advice, trace = report_in(done.stdout)
    parts = ['copy and augment' if name == 'copy' else name for name in STEP_PARTS]
    assert list(milliseconds) == [*parts, 'whole step']
    check_sums(milliseconds, percent)
    assert steps == 10, 'the epoch has 24'
    # How much depends on the machine, and on what else it does; what takes longest does not.
    assert percent['data'] == max(percent[part] for part in parts) > 20
    assert re.match(r'waiting for data takes \d+ %.*(--num_workers|--data_type mem_list)', advice)
    assert set(ranges_in(trace[1])) == set(parts)


def test_profiling_does_not_change_the_training(list_data, train_here, tmp_path):
    """Two workers, an augmentation, four steps an epoch."""
    words = [*list_data, '--epochs', 2, '--num_workers', 2, '--augment', 'strong', '--checkpoints_dir', tmp_path]
    plain, measured = train_here(*words), train_here(*words, '--profile')
    assert 'profile: mean of 2 steps' in measured.stdout
    check_same_state(plain.directory, measured.directory)


def test_dropout_draws_the_same_numbers(tmp_path):
    for words in ([], ['--profile']):
        trainer_of(tmp_path, *words, '--epochs', 2).train()
    assert (tmp_path / 'lenet_exp_2' / 'trace.json.gz').is_file()
    check_same_state(tmp_path / 'lenet_exp', tmp_path / 'lenet_exp_2')


def test_a_resumed_run_can_be_profiled(list_data, train_here, tmp_path):
    words = [*list_data, '--num_workers', 0, '--checkpoints_dir', tmp_path]
    whole = train_here(*words, '--epochs', 2)
    run = train_here(*words, '--epochs', 1)
    resumed = train_here('--resume', run.directory, '--epochs', 2, '--profile')
    assert 'profile: mean of' in resumed.stdout
    check_same_state(whole.directory, resumed.directory)
    again = train_here('--resume', run.directory, '--epochs', 3)
    assert 'profile' not in again.stdout


def check_same_state(first, second):
    """Hold what two runs ended with against each other, to the last bit."""
    first, second = (load_checkpoint(run / 'last.pth') for run in (first, second))
    for part in ('model', 'optimizer', 'best', 'epoch', 'step'):
        torch.testing.assert_close(first[part], second[part], rtol=0, atol=0)
    for kind in ('torch', 'python'):
        assert list(first['rng'][kind]) == list(second['rng'][kind]), kind
    assert torch.equal(first['rng']['numpy'][1], second['rng']['numpy'][1])


# --- what counts for what

SLEEPS = {'data': 0.030, 'copy': 0.020, 'forward': 0.025, 'loss': 0.035, 'backward': 0.040, 'optimizer': 0.045,
          'metrics': 0.050, 'logging': 0.055, 'rest': 0.060}  # fmt: skip


@pytest.fixture
def clock(monkeypatch):
    """Let time pass for the profiler in its `time.sleep` alone: what it measures does not depend on the machine."""
    clock = SimpleNamespace(now=100.0)
    clock.perf_counter = lambda: clock.now
    clock.sleep = lambda seconds: setattr(clock, 'now', clock.now + seconds)
    monkeypatch.setattr(profiler, 'time', clock)


class SlowBatches:
    """Ready-made batches that come late; notes when they are asked for."""

    def __init__(self, count):
        self.batches, self.asked = batches(count), []

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        for batch in self.batches:
            self.asked.append(profiler.time.perf_counter())
            profiler.time.sleep(SLEEPS['data'])
            yield batch


class SlowEverywhere(Trainer):
    """Overrides what a new task overrides, and more, and sleeps a known time in each."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.optimizer.register_step_pre_hook(lambda *_: profiler.time.sleep(SLEEPS['optimizer']))
        record = self.logger.record
        self.logger.record = lambda *args: (profiler.time.sleep(SLEEPS['logging']), record(*args))

    def step(self, batch):
        images, targets = self.to_device(batch)
        profiler.time.sleep(SLEEPS['forward'])
        return images, self.model(images), targets

    def to_device(self, batch):
        profiler.time.sleep(SLEEPS['copy'])
        return super().to_device(batch)

    def compute_loss(self, predictions, targets):
        profiler.time.sleep(SLEEPS['loss'])
        loss = super().compute_loss(predictions, targets)
        if loss.requires_grad:
            loss.register_hook(lambda _: profiler.time.sleep(SLEEPS['backward']))
        return loss

    def compute_metrics(self, predictions, targets, metrics):
        profiler.time.sleep(SLEEPS['metrics'])
        super().compute_metrics(predictions, targets, metrics)

    def record_loss(self, *args, **options):
        profiler.time.sleep(SLEEPS['rest'])
        return super().record_loss(*args, **options)


def test_each_part_gets_its_own_time_and_together_they_are_the_step(clock, tmp_path, capsys):
    loader = SlowBatches(6)
    trainer = trainer_of(tmp_path, '--profile', kind=SlowEverywhere, train_loader=loader)
    trainer.train_per_epoch(1)
    trainer.logger.close()
    milliseconds, percent, steps, _, _ = report_in(capsys.readouterr().out)
    check_sums(milliseconds, percent)
    warm, whole, timed, traced = plan_steps(6)
    assert steps == timed
    assert (warm + whole, timed, traced) == (2, 2, 2)
    whole = milliseconds.pop('whole step')
    assert milliseconds == pytest.approx({name: 1000 * seconds for name, seconds in SLEEPS.items()})
    begun, ended = loader.asked[2], loader.asked[4]
    assert whole == pytest.approx(1000 * (ended - begun) / timed)


def test_time_counts_for_the_innermost_part(clock, tmp_path, capsys):
    """A loss that runs the network once more, and a step that computes a loss."""

    class Twice(Trainer):
        def step(self, batch):
            images, predictions, targets = super().step(batch)
            self.compute_loss(predictions, targets)
            profiler.time.sleep(0.03)
            return images, predictions, targets

        def compute_loss(self, predictions, targets):
            self.compute_metrics(predictions.detach(), targets, self.metrics['train'])
            return super().compute_loss(predictions, targets)

        def compute_metrics(self, predictions, targets, metrics):
            profiler.time.sleep(0.02)
            super().compute_metrics(predictions, targets, metrics)

    trainer = trainer_of(tmp_path, '--profile', kind=Twice, train_loader=batches(3))
    trainer.train_per_epoch(1)
    trainer.logger.close()
    milliseconds, *_ = report_in(capsys.readouterr().out)
    assert milliseconds['metrics'] == pytest.approx(60), 'one of the loop, two within a loss'
    assert milliseconds['forward'] == pytest.approx(30), 'what follows a loss within step is not backward'
    assert milliseconds['backward'] == 0


@pytest.mark.parametrize('workers', [0, 1])
def test_what_the_loader_does_to_batches_on_the_device_is_not_waiting_for_data(
    clock, list_data, tmp_path, capsys, workers
):
    words = [*list_data, '--data_type', 'mem_list', '--num_workers', str(workers), '--augment', 'flip', '--profile']
    trainer = Trainer(parse_train_args([*words, '--device', 'cpu', '--checkpoints_dir', str(tmp_path)]))
    prepare, augment = trainer.train_loader.prepare, trainer.prepare.augment
    trainer.prepare.augment = lambda *batch: (profiler.time.sleep(0.1), augment(*batch))[1]
    trainer.train_per_epoch(1)
    trainer.logger.close()
    milliseconds, *_ = report_in(capsys.readouterr().out)
    # Steps 2 and 3 are timed; without workers the loader makes batches 2, 3 and 4 as one.
    assert milliseconds['copy and augment'] == pytest.approx(50 if workers == 0 else 100)
    assert milliseconds['data'] == 0
    assert trainer.train_loader.prepare == prepare


@pytest.mark.parametrize(
    'wrap', [nn.DataParallel, lambda net: torch.compile(net, backend='eager')], ids=['dp', 'compile']
)
def test_wrapped_models_are_measured(clock, tmp_path, capsys, wrap):
    class Slow(Dropping):
        @torch.compiler.disable
        def forward(self, images):
            profiler.time.sleep(0.03)
            return super().forward(images)

    trainer = trainer_of(tmp_path, '--profile', model=wrap(Slow()))
    trainer.train_per_epoch(1)
    trainer.logger.close()
    milliseconds, *_ = report_in(capsys.readouterr().out)
    assert milliseconds['forward'] == pytest.approx(30) == milliseconds['whole step']


def test_gradients_may_be_emptied_after_the_step(tmp_path):
    """And a scaler may stand between the loop and the optimizer: the order of these calls is the loop's own."""
    trainer = trainer_of(tmp_path, '--profile')
    measure, seen = StepProfiler(trainer), []
    measure.mark = lambda ended, begun: seen.append(begun)
    measure.part = 'rest'
    with measure._wrap_methods():
        loss = trainer.compute_loss(trainer.model(batches(1)[0][0]), batches(1)[0][1])
        loss.backward()
        torch.amp.GradScaler('cpu', enabled=False).step(trainer.optimizer)
        trainer.optimizer.zero_grad()
    trainer.logger.close()
    assert seen == ['loss', 'backward', 'optimizer', 'rest', 'optimizer', 'rest']


# --- afterwards


def methods_of(trainer):
    """Return what a trainer, its logger and its optimizer hold of their own, methods put on them included."""
    return [dict(vars(owner)) for owner in (trainer, trainer.logger, trainer.optimizer)]


def test_all_wrappers_are_removed(tmp_path):
    trainer = trainer_of(tmp_path, '--profile')
    mine = trainer.logger.record = lambda *args: None  # somebody put one there before
    before = [set(own) for own in methods_of(trainer)]
    loop = with_profiler(trainer, trainer.train_loader)
    names = {'step', 'to_device', 'compute_loss', 'compute_metrics'}
    for number in range(1, 71):
        next(loop)
        assert (names <= set(vars(trainer))) == (15 < number <= 60), number
        assert (trainer.logger.record is mine) != (15 < number <= 60), number
    assert [set(own) for own in methods_of(trainer)] == before
    assert list(loop) == []
    assert with_profiler(trainer, trainer.train_loader) is trainer.train_loader, 'only the first epoch is measured'
    trainer.logger.close()


def test_a_loop_that_ends_early_leaves_nothing_behind(tmp_path):
    trainer = trainer_of(tmp_path, '--profile')
    for steps in (30, 58):  # in the timed part, in the traced one
        before = [set(own) for own in methods_of(trainer)]
        loop = StepProfiler(trainer).steps(iter(trainer.train_loader))
        for batch in itertools.islice(loop, steps):
            trainer.step(batch)
        loop.close()
        assert [set(own) for own in methods_of(trainer)] == before
    assert not torch.autograd.profiler._is_profiler_enabled
    trainer.logger.close()


def test_the_profiler_keeps_no_reference_to_the_trainer(tmp_path):
    """If it waited for the garbage collector, its worker processes would be joined only after a timeout each."""
    trainer = trainer_of(tmp_path, '--profile')
    trainer.train()
    gone = weakref.ref(trainer)
    gc.disable()
    try:
        del trainer
        assert gone() is None
    finally:
        gc.enable()


def test_errors_in_a_profiled_part_are_raised(tmp_path):
    class Failing(Trainer):
        def compute_loss(self, predictions, targets):
            raise ValueError('no loss')

    trainer = trainer_of(tmp_path, '--profile', kind=Failing, train_loader=batches(1))
    with pytest.raises(ValueError, match='no loss'):
        trainer.train()
    assert 'stopped by ValueError no loss' in (tmp_path / 'lenet_exp' / 'log.txt').read_text()


def test_without_the_option_the_loop_is_handed_the_batches_alone(tmp_path):
    trainer = trainer_of(tmp_path)
    assert with_profiler(trainer, trainer.train_loader) is trainer.train_loader
    trainer.logger.close()


# --- short epochs


@pytest.mark.parametrize('steps', [1, 2, 3, 4, 7, 12, 30, 59, 60, 61, 10_000])
def test_the_plan_fits_into_the_epoch(steps):
    warm, whole, timed, traced = plan_steps(steps)
    assert min(warm, whole, traced) >= 0
    assert timed >= max(1, min(40, steps // 3)) or timed == 40
    assert warm + whole + timed + traced <= steps
    assert traced > 0 or steps == 1
    assert warm > 0 or steps < 3
    assert (warm, whole, timed, traced) == (5, 10, 40, 5) or steps < 60


@pytest.mark.parametrize(('steps', 'timed', 'traced'), [(1, 1, None), (2, 1, '1'), (3, 1, '1'), (10, 4, '3')])
def test_a_short_epoch_is_measured_as_far_as_it_goes(tmp_path, capsys, steps, timed, traced):
    trainer = trainer_of(tmp_path, '--profile', '--epochs', 2, train_loader=batches(steps))
    assert len(trainer.train()) == 2
    milliseconds, percent, measured, _, trace = report_in(capsys.readouterr().out)
    check_sums(milliseconds, percent)
    assert measured == timed
    assert (trace and trace[2]) == traced
    assert (tmp_path / 'lenet_exp' / 'trace.json.gz').exists() == (traced is not None)


class Unmeasured:
    """Batches whose number nobody knows before."""

    def __init__(self, count):
        self.batches = batches(count)

    def __iter__(self):
        return iter(self.batches)


@pytest.mark.parametrize(
    ('steps', 'said'), [(3, 'nothing was measured'), (20, 'mean of 5 steps'), (57, 'mean of 40 steps')]
)
def test_a_loader_without_a_length_may_end_early(tmp_path, capsys, steps, said):
    trainer = trainer_of(tmp_path, '--profile', train_loader=Unmeasured(steps))
    trainer.train()
    assert trainer.update.steps == steps
    printed = capsys.readouterr().out
    assert f'profile: {said}' in printed
    assert 'profile: nothing' in printed or report_in(printed)[3]


# --- the report


def test_the_table_is_aligned():
    parts = {'data': 123456.789, 'copy and augment': 0.0004, 'backward': 3.0}
    lines = breakdown_lines(parts)
    assert len({len(line) for line in lines}) == 1
    assert lines[1].split() == ['data', '123456.789', '100.0%']
    assert lines[-1].split() == ['whole', 'step', '123459.789', '100.0%']


def test_pictures_fit_in_memory_or_not(list_data, tmp_path, monkeypatch):
    words = [*list_data, '--num_workers', '0', '--device', 'cpu', '--checkpoints_dir', str(tmp_path)]
    trainer = Trainer(parse_train_args([*words, '--augment', 'flip']))
    trainer.logger.close()
    size = (26 + 13) * 3 * 20 * 16
    for there, fits in ((4 * size + 4, True), (4 * size, False)):
        monkeypatch.setattr(profiler, 'memory', lambda there=there: there)
        facts = profiler.run_facts(trainer, gpu_wait=0.5)
        assert facts.fits_memory == fits
    assert facts[:3] == ('cpu', 'list', False)
    assert (facts.workers, facts.batch_size, facts.augment, facts.gpu_wait) == (0, 8, 'flip', 0.5)


def test_ready_made_loaders_have_no_data_type(tmp_path):
    trainer = trainer_of(tmp_path)
    trainer.logger.close()
    facts = profiler.run_facts(trainer, gpu_wait=0.0)
    assert (facts.data_type, facts.in_memory, facts.fits_memory, facts.augment) == (None, False, False, 'none')


# --- GPUs


def test_timed_steps_wait_for_the_gpu_and_traced_ones_do_not(tmp_path, monkeypatch, capsys):
    """Without a GPU: which calls there would be."""
    trainer = trainer_of(tmp_path, '--profile')
    measure, waits = StepProfiler(trainer), []
    measure.gpus = [torch.device('cuda', 0)]
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda gpu: waits.append(newest))
    newest = 0
    for batch in measure.steps(iter(trainer.train_loader)):
        newest = newest + 1
        trainer.optimizer.zero_grad()
        trainer.compute_loss(trainer.step(batch)[1], batch[1]).backward()
        trainer.optimizer.step()
    trainer.logger.close()
    assert 'without waiting for the GPU in each part' in capsys.readouterr().out
    counts = [waits.count(number) for number in range(71)]
    # After step 5 those measured as a whole begin, after step 15 they end; 16 to 55 are timed, 56 to 60 traced.
    assert sum(counts[:5] + counts[6:15]) == 0
    assert counts[5] == 1
    assert min(counts[16:55]) == max(counts[16:55]) >= 10
    assert counts[56:] == [0] * 15


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU, and none is visible')
def test_a_gpu_is_measured_and_its_kernels_are_in_the_trace(tmp_path, capsys):
    words = ['--profile', '--epochs', '1', '--device', 'cuda', '--checkpoints_dir', str(tmp_path)]
    trainer = Trainer(parse_train_args(words))
    trainer.train()
    milliseconds, percent, steps, advice, trace = report_in(capsys.readouterr().out)
    check_sums(milliseconds, percent)
    assert steps == 40
    assert advice
    assert set(STEP_PARTS) <= set(ranges_in(trace[1]))
    with gzip.open(trace[1], 'rt', encoding='utf-8') as file:
        kinds = {event.get('cat') for event in json.load(file)['traceEvents']}
    assert 'kernel' in kinds, 'what ran on the GPU is not in the trace'


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU, and none is visible')
def test_a_gpus_time_counts_for_the_part_that_asked_for_it(tmp_path, capsys):
    """Kernels that run long after Python has gone on."""

    class Heavy(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(12, 3)

        def forward(self, images):
            torch.cuda._sleep(50_000_000)  # cycles, 25 ms or more
            return self.layer(images.flatten(1))

    trainer = trainer_of(tmp_path, '--profile', '--device', 'cuda', model=Heavy())
    trainer.train()
    milliseconds, percent, *_ = report_in(capsys.readouterr().out)
    assert milliseconds['forward'] > 15
    assert percent['forward'] > 80
