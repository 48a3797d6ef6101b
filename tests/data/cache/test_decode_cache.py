"""--cache_dir: when pictures are decoded and when not, what is left of a start that failed, and several at once."""

import json
import multiprocessing
import os
import pickle
import platform
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import PIL
import pytest
import torch

from data.cache import decode_cache, decode_cache_file, decode_cache_key
from data.cache.decode_cache_file import HEADER_BYTES
from data.data_entry import complete_args, notes_of, select_eval_loader, select_train_loader
from data.mem_list import MemList
from tests.program_server import Program
from utils.base.errors import DanluError
from utils.base.registry import PROJECT
from utils.base.text_table import size_text

pytestmark = pytest.mark.skipif(decode_cache.fcntl is None, reason='needs the file locks of Linux or macOS')
linux = pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')


@pytest.fixture
def cache(tmp_path):
    """Return the directory (Path) of the cache, which is not there yet."""
    return tmp_path / 'cache'


@pytest.fixture
def cached(cache):
    """Return a function: fixture `labelled` or `masked`, words -> MemList of the training list, kept in `cache`."""

    def cached(make, *words, **options):
        args = make('--cache_dir', cache, *words, kind='mem_list', **options)
        complete_args(args)
        return MemList(args, 'train')

    return cached


def decoded(data):
    """Return whether building a data set decoded its images; the line that it prints says it."""
    (note,) = (note for note in data.notes if note.startswith('cache: '))
    assert note.startswith(('cache: decoded ', f'cache: {len(data)} images'))
    return note.startswith('cache: decoded ')


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


def same(first, second):
    pairs = zip(first.__getitems__(range(len(first))), second.__getitems__(range(len(second))), strict=True)
    return len(first) == len(second) and all(torch.equal(a, b) and a.dtype == b.dtype for a, b in pairs)


def uncached(make, *words):
    args = make(*words, kind='mem_list')
    complete_args(args)
    return MemList(args, 'train')


@pytest.mark.parametrize('words', [(), ('--image_size', 7, 9), ('--channels', 1)])
def test_the_second_start_has_the_same_pixels_without_a_look_into_the_pictures(
    labelled, masked, cached, monkeypatch, words
):
    for make in (labelled, masked):
        expected = uncached(make, *words)
        times = {path: path.stat().st_mtime_ns for path in Path(expected.listing.root).glob('*.png')}

        def again(*words, make=make, times=times, **options):  # making the files anew would give them new times
            args = make(*words, **options)
            for path, nanoseconds in times.items():
                os.utime(path, ns=(nanoseconds, nanoseconds))
            return args

        first = cached(again, *words)
        assert decoded(first)
        assert same(first, expected)
        with monkeypatch.context() as patch:
            for name in (
                'data.list_dataset.read_picture',
                'data.list_dataset.inspect_picture',
                'data.list_dataset.read_mask',
            ):
                patch.setattr(name, lambda *args, **options: pytest.fail('a picture was read'))
            second = cached(again, *words)
        assert not decoded(second)
        assert same(second, expected)
        for index, (image, target) in enumerate(second):
            assert all(torch.equal(a, b) for a, b in zip((image, target), expected[index], strict=True))


def test_the_lines_at_the_start(labelled, masked, cached, cache):
    (line,) = cached(labelled).notes
    (name,) = files_in(cache)
    assert line == f'cache: decoded 7 images into {cache}/{name} (6.7 kB)'
    (line,) = cached(masked).notes
    assert 'decoded 6 images with masks into' in line
    args = masked('--cache_dir', cache, kind='mem_list')
    notes = notes_of(select_train_loader(args), select_eval_loader(args))
    assert [note.split(' into ')[0].split(' from ')[0] for note in notes] == [
        'cache: decoded 6 images with masks',
        'cache: 6 images with masks',  # the same list
    ]
    assert notes_of(select_train_loader(masked()), [], None) == []


def build(args, split='train'):
    complete_args(args)
    return MemList(args, split)


def touch(path, seconds=1):
    facts = path.stat()
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + int(seconds * 1e9)))


def test_what_makes_a_picture_be_decoded_anew(save, list_args, cache, monkeypatch):
    for n in range(3):
        save(f'{n}.png', seed=n)
    save('other/0.png')
    text = '0.png 0\n1.png 1\n2.png 0'

    def is_decoded(*words, text=text):
        return decoded(build(list_args(text, '--cache_dir', cache, *words, kind='mem_list')))

    def changed(*words, **options):
        return is_decoded(*words, **options) and not is_decoded(*words, **options)

    assert changed()
    assert not is_decoded('--batch_size', 3, '--seed', 7, '--augment', 'flip')
    assert not is_decoded(text='# labels are no part of it\n0.png dog\n1.png cat\n2.png cat')
    assert changed('--image_size', 5)
    assert changed('--image_size', 5, 6)
    assert changed('--channels', 1)
    assert changed(text='1.png 0\n0.png 1\n2.png 0')
    assert changed(text='0.png 0\n1.png 1')
    assert changed(text='0.png 0\n1.png 1\n2.png 0\n2.png 0')
    assert not is_decoded()
    old = (save('1.png').parent / '1.png').stat()
    assert changed()  # another time, and as a rule another size
    touch(Path(list_args(text).train_list).parent / '2.png', 1e-6)
    assert changed()
    path = save('1.png', size=(8, 7))
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert changed()
    for target, name, value in (
        (PIL, '__version__', '1.0'),
        (decode_cache_key, 'CODECS', ('libjpeg_turbo', 'webp', 'zlib')),
        (decode_cache_key, 'DECODING_SOURCES', ('data/lists/pictures.py', 'data/mem_list.py')),
        (decode_cache_file, 'CACHE_FORMAT', 99),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, value)
            if name == 'CACHE_FORMAT':
                patch.setattr('data.mem_list.CACHE_FORMAT', value)
            assert changed(), name
    assert not is_decoded()


def test_what_makes_masks_be_decoded_anew(masked, files, cache):
    args = [masked(*words, '--cache_dir', cache, kind='mem_list') for words in ((), ('--ignore_index', 7))]
    assert [decoded(build(arg)) for arg in [*args, *args]] == [True, True, False, False]
    args[0].num_classes = 4  # the masks were not checked for that
    assert [decoded(build(args[0])), decoded(build(args[0]))] == [True, False]
    touch(files / '3_mask.png')
    assert [decoded(build(args[0])), decoded(build(args[0]))] == [True, False]
    text = Path(args[0].train_list).read_text()
    Path(args[0].train_list).write_text(text.replace('0_mask.png', '1_mask.png'))
    assert [decoded(build(args[0])), decoded(build(args[0]))] == [True, False]


def test_equal_files_in_another_directory_are_other_files(save, write, make_args, cache):
    seen = []
    for root, seed in (('a', 1), ('b', 2)):
        path = save(f'{root}/0.bmp', seed=seed)
        os.utime(path, (1, 1))
        text = write(f'{root}.txt', '0.bmp 0\n0.bmp 1')
        words = ['--data_type', 'mem_list', '--train_list', text, '--val_list', text, '--data_root', path.parent]
        seen.append(build(make_args(*words, '--cache_dir', cache)))
    assert [decoded(data) for data in seen] == [True, True]
    assert not torch.equal(seen[0][0][0], seen[1][0][0])


def test_faults_are_reported_as_without_a_cache_and_nothing_is_kept(labelled, masked, files, cache):
    for make, name in ((labelled, '3.png'), (masked, '3_mask.png')):
        args = [make(*words, kind='mem_list') for words in ((), ('--cache_dir', cache))]
        (files / name).write_bytes(b'no image')
        messages = []
        for arg in (*args, args[1]):
            with pytest.raises(DanluError) as error:
                build(arg)
            messages.append(str(error.value))
        assert f'{name}: not an image in a format that Pillow knows' in messages[0]
        assert messages == messages[:1] * 3
        assert files_in(cache) == []


def test_pixels_are_kept_though_a_label_is_wrong(save, list_args, cache):
    save('a.png')
    with pytest.raises(DanluError) as error:
        build(list_args('a.png 0\na.png 7', '--num_classes', 2, '--cache_dir', cache, kind='mem_list'))
    assert 'train.txt:2: label 7 is outside 0..1' in str(error.value)
    mended = build(list_args('a.png 0\na.png 1', '--num_classes', 2, '--cache_dir', cache, kind='mem_list'))
    assert not decoded(mended)
    assert mended.block.targets.tolist() == [0, 1]


def test_a_missing_picture_is_a_fault_however_well_it_is_known(labelled, cache, files):
    args = labelled('--cache_dir', cache, kind='mem_list')
    assert decoded(build(args))
    (files / '4.png').unlink()
    with pytest.raises(DanluError, match=r'train\.txt:5: \S+4\.png: no such file'):
        build(args)


@pytest.mark.parametrize(
    ('spoil', 'says'),
    [
        (lambda path: os.truncate(path, path.stat().st_size - 1), '6,671 bytes instead of 6,672'),
        (lambda path: os.truncate(path, 0), '0 bytes instead of 6,672'),
        (lambda path: os.truncate(path, path.stat().st_size + 1), '6,673 bytes instead of 6,672'),
        (lambda path: path.write_bytes(b'x' * path.stat().st_size), 'another header'),
    ],
)
def test_a_damaged_file_is_made_anew(labelled, cache, spoil, says):
    args = labelled('--cache_dir', cache, kind='mem_list')
    expected = build(args)
    (path,) = cache.iterdir()
    kept = path.read_bytes()
    spoil(path.parent / path.name)
    args_again = build(args)
    assert args_again.notes[0].endswith(f'(6.7 kB; the file there was damaged: {says})')
    assert path.read_bytes() == kept
    assert not decoded(build(args))
    del expected


def test_nobody_can_write_into_the_file(labelled, masked, cached, cache):
    for make in (labelled, masked):
        data = cached(make)
        contents = [path.read_bytes() for path in sorted(cache.iterdir())]
        for image, target in (data[0], data.__getitems__([0, 1])):
            image.zero_()
            target.zero_()
        assert [path.read_bytes() for path in sorted(cache.iterdir())] == contents
        assert data.block.images.any()
        assert data[1][1].any()


def test_a_directory_that_cannot_be_written_does_for_reading(labelled, cache):
    args = labelled('--cache_dir', cache, kind='mem_list')
    build(args)
    cache.chmod(0o500)
    try:
        assert not decoded(build(args))
        if os.geteuid():  # root may write everywhere
            args.image_size = [5, 5]
            with pytest.raises(DanluError, match=r'7 images \(4.6 kB.*: Permission denied; free some space'):
                build(args)
    finally:
        cache.chmod(0o700)


def test_a_directory_that_cannot_be_made(labelled, write):
    place = write('file', '')
    args = labelled(kind='mem_list')
    args.cache_dir = str(place / 'cache')
    with pytest.raises(DanluError) as error:
        build(args)
    assert str(error.value) == (
        f'--cache_dir {place}/cache: cannot write the pixels of 7 images (6.7 kB): Not a directory; remove '
        'what is in its place, give another directory, or leave it out'
    )


def test_without_the_locks_of_linux_it_says_so(labelled, cache, monkeypatch):
    monkeypatch.setattr(decode_cache, 'fcntl', None)
    with pytest.raises(DanluError, match='--cache_dir: needs the file locks of Linux or macOS; leave it out'):
        build(labelled('--cache_dir', cache, kind='mem_list'))


# --- processes


BUILD = PROJECT / 'tests' / 'data' / 'build_mem_list.py'


def start(args, **settings):
    """Start a process that builds a MemList of `args`.

    settings: gate (a file that decoding waits for), largest (bytes of a file), unreserved (a full disk is found late),
    many (pictures, from which on processes decode), memory (bytes that it may take).
    """
    words = ['--data_type', 'mem_list', '--train_list', args.train_list, '--val_list', args.val_list, '--device', 'cpu']
    if args.cache_dir is not None:
        words += ['--cache_dir', args.cache_dir]
    if args.image_size is not None:
        words += ['--image_size', *map(str, args.image_size)]
    words = [json.dumps(settings), *words]
    if 'memory' not in settings:
        return Program(BUILD, words, cwd=PROJECT)
    env = {**os.environ, 'MALLOC_MMAP_THRESHOLD_': '100000'}  # so that the memory of a picture is given back
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE}
    return subprocess.Popen([sys.executable, BUILD, *words], cwd=PROJECT, env=env, text=True, **pipes)


def ended(process):
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    return stdout.splitlines()


def wait_for(condition):
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow('three new interpreters')
def test_of_several_processes_one_decodes_and_the_others_wait(labelled, cache, files):
    args = labelled('--cache_dir', cache, kind='mem_list')
    processes = [start(args, gate=str(files / 'go on')) for _ in range(3)]
    waiting = set()
    while len(waiting) < 2:
        said, _, _ = select.select([p.stdout for p in processes if p.pid not in waiting], [], [], 60)
        assert said, 'nobody waits'
        waiting |= {p.pid for p in processes if p.stdout in said}
    (files / 'go on').touch()
    outputs = {process.pid: ended(process) for process in processes}
    (path,) = cache.iterdir()
    assert len({lines[-1] for lines in outputs.values()}) == 1
    (maker,) = outputs.keys() - waiting
    assert outputs.pop(maker)[:-1] == [f'cache: decoded 7 images into {path} (6.7 kB)']
    for line, *more, _ in outputs.values():
        assert re.fullmatch(
            rf'cache: waiting for (process {maker}|another process), which is decoding into {path}', line
        )
        assert more == [f'cache: 7 images from {path}']


@pytest.mark.parametrize(
    'forked', [pytest.param(False, marks=pytest.mark.slow('two new interpreters')), pytest.param(True, marks=linux)]
)
def test_who_waits_for_one_that_is_killed_decodes_itself(labelled, cache, files, forked):
    args = labelled('--cache_dir', cache, kind='mem_list')
    first = start(args, gate=str(files / 'go on'), many=1 + 99 * (not forked))
    wait_for(lambda: cache.is_dir() and any(path.stat().st_size > HEADER_BYTES for path in cache.iterdir()))
    second = start(args)
    assert second.stdout.readline().startswith(f'cache: waiting for process {first.pid}, ')
    assert files_in(cache)[0].endswith(f'.pixels.{platform.node()}.partial')
    first.send_signal(signal.SIGKILL)
    (files / 'go on').touch()  # its processes, if it had started some, end with the picture that they are at
    first.communicate()
    assert ended(second)[0].startswith('cache: decoded 7 images')
    assert same(build(args), uncached_of(args))
    assert [name.endswith('.pixels') for name in files_in(cache)] == [True]


def test_who_stops_waiting_leaves_the_others_alone(labelled, cache, files):
    args = labelled('--cache_dir', cache, kind='mem_list')
    first = start(args, gate=str(files / 'go on'))
    wait_for(lambda: cache.is_dir() and any(path.stat().st_size > HEADER_BYTES for path in cache.iterdir()))
    second = start(args)
    assert second.stdout.readline().startswith('cache: waiting')
    second.send_signal(signal.SIGINT)
    assert 'KeyboardInterrupt' in second.communicate()[1]
    (files / 'go on').touch()
    assert ended(first)[0].startswith('cache: decoded 7 images')
    assert not decoded(build(args))


def uncached_of(args):
    args.cache_dir, cache_dir = None, args.cache_dir
    data = MemList(args, 'train')
    args.cache_dir = cache_dir
    return data


def test_what_killed_processes_left_of_other_lists_is_removed(labelled, cache):
    cache.mkdir()
    left, alive = (cache / f'{name}.pixels.{platform.node()}.partial' for name in ('left', 'alive'))
    fresh, stale = cache / 'fresh.pixels.elsewhere.partial', cache / 'stale.pixels.elsewhere.partial'
    mine = cache / 'mine.partial'
    for path in (left, alive, fresh, stale, mine):
        path.write_bytes(b'1')
    touch(stale, -2 * decode_cache.ABANDONED_SECONDS)
    touch(mine, -2 * decode_cache.ABANDONED_SECONDS)
    with open(alive, 'rb') as file:
        decode_cache.fcntl.flock(file, decode_cache.fcntl.LOCK_EX)
        build(labelled('--cache_dir', cache, kind='mem_list'))
    names = [name for name in files_in(cache) if not name.endswith('.pixels')]
    assert names == sorted(path.name for path in (alive, fresh, mine))


@pytest.mark.parametrize('unreserved', [False, True])
@pytest.mark.parametrize('forked', [False, pytest.param(True, marks=linux)])
def test_a_full_disk_is_said_in_one_line_and_nothing_is_left(labelled, cache, unreserved, forked):
    args = labelled('--cache_dir', cache, kind='mem_list')
    process = start(args, largest=6000, unreserved=unreserved, many=1 + 99 * (not forked))
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 1
    (line,) = stderr.splitlines()
    assert line.startswith(f'--cache_dir {cache}: cannot write the pixels of 7 images (6.7 kB, ')
    assert line.endswith(': File too large; allow larger files (ulimit -f), give another directory, or leave it out')
    assert files_in(cache) == []


@linux
def test_many_small_pictures_are_decoded_by_processes(labelled, masked, cache, files, monkeypatch):
    expected = [uncached(make) for make in (labelled, masked)]
    monkeypatch.setattr('data.mem_list.MIN_SAMPLES_FOR_PROCESSES', 2)
    monkeypatch.setattr('data.mem_list.cpu_cores', lambda: 3)
    monkeypatch.setattr(MemList, 'for_all_in_threads', lambda self, function, faults: pytest.fail('threads were asked'))
    for make, data in zip((labelled, masked), expected, strict=True):
        assert same(uncached(make), data)
        assert same(build(make('--cache_dir', cache, kind='mem_list')), data)
    args = [labelled(*words, kind='mem_list', count=30) for words in ((), ('--cache_dir', cache))]
    kept = files_in(cache)
    for name in ('2', '3', '17', '28'):
        (files / f'{name}.png').write_bytes(b'no image')
    for arg in args:
        with pytest.raises(DanluError) as error:
            build(arg)
        first, *faults = str(error.value).splitlines()
        assert first == f'{files}/train.txt has 4 invalid entries; fix or remove them, or add --skip_bad:'
        assert [fault.split(': ')[0] for fault in faults] == [f'  {files}/train.txt:{n}' for n in (3, 4, 18, 29)]
    assert files_in(cache) == kept


@pytest.mark.slow('three new interpreters that may take little memory')
@linux
def test_the_pixels_may_be_more_than_the_memory(labelled, cache):
    args = labelled('--cache_dir', cache, '--image_size', 700, kind='mem_list', count=150)
    size = 150 * 3 * 700 * 700
    first, second = (ended(start(args, memory=size // 2)) for _ in range(2))
    assert first[0].endswith(f'({size_text(size + HEADER_BYTES)})')
    assert second[0].startswith('cache: 150 images from')
    args.cache_dir = None
    _, stderr = start(args, memory=size // 2).communicate(timeout=300)
    assert "can't allocate memory" in stderr
    shutil.rmtree(cache)  # pytest would keep it
    held = build(args).block.images
    assert first[1] == second[1] == str(sum(image.sum().item() for image in held))


def weights_of(run):
    return torch.load(run.directory / 'last.pth', weights_only=True)['model']


@pytest.mark.slow('several runs each')
@pytest.mark.parametrize('kind', ['list_data', 'mask_data'])
def test_a_run_is_the_same_to_the_last_bit_with_and_without(request, train_here, eval_here, tmp_path, cache, kind):
    words = [*request.getfixturevalue(kind), '--data_type', 'mem_list', '--augment', 'flip', '--checkpoints_dir']
    runs = [train_here(*words, tmp_path / 'runs', '--epochs', 2)]
    runs += [train_here(*words, tmp_path / 'runs', '--epochs', 2, '--cache_dir', cache) for _ in range(2)]
    begun = train_here(*words, tmp_path / 'runs', '--epochs', 1)
    runs.append(train_here('--resume', begun.directory, '--epochs', 2, '--cache_dir', cache))
    assert [run.stdout.count('\ncache: decoded ') for run in runs] == [0, 2, 0, 0]
    assert [run.stdout.count('\ncache: ') for run in runs] == [0, 2, 2, 2]
    assert f'; changed: cache_dir None -> {cache}, epochs 1 -> 2' in runs[-1].stdout
    assert f'\n--cache_dir={cache}' in (runs[1].directory / 'args.txt').read_text(encoding='utf-8')
    expected = weights_of(runs[0])
    for run in runs[1:]:
        assert all(torch.equal(value, expected[name]) for name, value in weights_of(run).items())
    checkpoint = runs[1].directory / 'best.pth'
    tests = [eval_here('--load_model_path', checkpoint, *words) for words in ((), ('--cache_dir', cache))]
    assert ['\ncache: ' in test.stdout for test in tests] == [False, True]
    assert tests[0].values == tests[1].values
    assert f'\n--cache_dir={cache}' in (tests[1].directory / 'args.txt').read_text(encoding='utf-8')


@pytest.mark.parametrize('method', ['fork', pytest.param('spawn', marks=pytest.mark.slow('two new interpreters'))])
def test_workers_map_the_file_themselves(labelled, masked, cache, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f'no {method} here')
    for make in (labelled, masked):
        args = make('--cache_dir', cache, '--batch_size', 2, '--augment', 'flip', kind='mem_list')
        args.num_workers = None
        loader = select_train_loader(args)
        assert loader.num_workers == 0
        expected = list(loader)
        args.num_workers = 2
        loader = select_train_loader(args)
        loader.multiprocessing_context = method
        for batch, wanted in zip(loader, expected, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(batch[:2], wanted[:2], strict=True))


def test_a_pickled_block_is_a_path(masked, cached, files):
    data = cached(masked, '--image_size', 200)
    pickled = pickle.dumps(data.block)
    assert len(pickled) < 2000
    assert same(pickle.loads(pickled), data.block)
    (path,) = (files / 'cache').iterdir()
    path.unlink()
    assert data.__getitems__([0])[0].any()  # who has mapped it keeps it
    with pytest.raises(DanluError, match=r'\.pixels cannot be mapped: No such file or directory; start again'):
        pickle.loads(pickled)
