"""Checkpoint files: whole or not at all, read without running code, loaded with a report."""

import hashlib
import io
import os
import pickle
import shlex
import stat
import sys
import types
import zipfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from utils.base.errors import DanluError
from utils.runs.checkpoint import (
    FORMAT,
    file_hash,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    unwrap_model,
    weights_of,
)

needs_posix = pytest.mark.skipif(os.name == 'nt', reason='Windows has no umask and no directory handles')


class Net(nn.Module):
    """Two layers and a batch normalisation, so there are buffers too."""

    def __init__(self, classes=3):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, classes)


class Wrapped(nn.Module):
    """A network whose only part is really called `module`."""

    def __init__(self):
        super().__init__()
        self.module = nn.Linear(2, 2)


def weights(seed=0, **kwargs):
    """Return the state dict of a Net."""
    torch.manual_seed(seed)
    return Net(**kwargs).state_dict()


def same(first, second):
    """Return whether two state dicts have the same names and bits."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def saved_bytes(content, **kwargs):
    """Return what torch.save writes."""
    file = io.BytesIO()
    torch.save(content, file, **kwargs)
    return file.getvalue()


# --- writing


def test_what_is_saved_comes_back(tmp_path):
    state = {
        'format': FORMAT,
        'model': weights(),
        'epoch': 3,
        'args': {'lr': 0.1, 'gpus': None, 'mean': [0.5], 'x': True},
    }
    save_checkpoint(tmp_path / 'last.pth', state)
    loaded = load_checkpoint(tmp_path / 'last.pth')
    assert same(loaded.pop('model'), state.pop('model'))
    assert loaded == state
    assert os.listdir(tmp_path) == ['last.pth']


@needs_posix
@pytest.mark.parametrize('umask', [0o022, 0o077, 0o002])
def test_the_file_mode_follows_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        save_checkpoint(tmp_path / 'last.pth', {'epoch': 1})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / 'last.pth').stat().st_mode) == 0o666 & ~umask


@needs_posix
def test_the_new_file_is_on_the_disk_before_it_takes_the_old_ones_name(tmp_path, monkeypatch):
    path, calls = tmp_path / 'last.pth', []
    save_checkpoint(path, {'epoch': 1})
    fsync, replace = os.fsync, os.replace

    def noted_fsync(handle):
        calls.append('sync directory' if stat.S_ISDIR(os.fstat(handle).st_mode) else 'sync file')
        fsync(handle)

    def noted_replace(source, target):
        if os.path.basename(target) == 'last.prev.pth':
            calls.append('keep the old one')
            return replace(source, target)
        assert torch.load(source, weights_only=True) == {'epoch': 2}, 'renamed before it was whole'
        assert load_checkpoint(path) == {'epoch': 1}, 'the old file was gone before the new one was there'
        assert load_checkpoint(tmp_path / 'last.prev.pth') == {'epoch': 1}, 'nothing to go back to'
        assert os.path.dirname(source) == os.path.dirname(target), 'a rename between file systems is a copy'
        calls.append('rename')
        return replace(source, target)

    monkeypatch.setattr(os, 'fsync', noted_fsync)
    monkeypatch.setattr(os, 'replace', noted_replace)
    save_checkpoint(path, {'epoch': 2})
    assert calls == ['sync file', 'keep the old one', 'rename', 'sync directory']
    assert load_checkpoint(path) == {'epoch': 2}
    assert load_checkpoint(tmp_path / 'last.prev.pth') == {'epoch': 1}
    assert len([*tmp_path.iterdir()]) == 2


def failing(error):
    """Return a function that raises `error`, whatever it is called with."""

    def fail(*args, **kwargs):
        raise error

    return fail


def half_written(state, file):
    """Write as torch.save does on a full disk: a part, then RuntimeError."""
    file.write(WHOLE[:100])
    raise RuntimeError('PytorchStreamWriter failed writing file data.pkl: file write failed')


@pytest.mark.parametrize(
    ('where', 'replacement', 'reason'),
    [
        ('os.replace', failing(PermissionError('locked by another program')), 'locked by another program'),
        ('torch.save', failing(OSError('No space left on device')), 'No space left on device'),
        ('torch.save', half_written, 'file write failed'),
    ],
)
def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch, where, replacement, reason):
    path = tmp_path / 'last.pth'
    save_checkpoint(path, {'epoch': 1})
    monkeypatch.setattr(where, replacement)
    with pytest.raises(DanluError) as caught:
        save_checkpoint(path, {'epoch': 2})
    monkeypatch.undo()
    assert reason in str(caught.value)
    assert f'cannot write {path}' in str(caught.value)
    assert f'--resume {shlex.quote(str(tmp_path))}' in str(caught.value)
    assert load_checkpoint(path) == {'epoch': 1}
    assert os.listdir(tmp_path) == ['last.pth'], 'a part of the new file was left behind'


def test_a_full_disk_keeps_the_old_file(tmp_path):
    """The real thing: the system refuses to write more than 20 kB into a file."""
    resource = pytest.importorskip('resource', reason='only POSIX can limit the size of files')
    path = tmp_path / 'last.pth'
    save_checkpoint(path, {'epoch': 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(DanluError, match='cannot write'):
            save_checkpoint(path, {'epoch': 2, 'model': {'w': torch.zeros(100_000)}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_checkpoint(path) == {'epoch': 1}
    assert os.listdir(tmp_path) == ['last.pth']


@pytest.mark.skipif(getattr(os, 'geteuid', lambda: 0)() == 0, reason='root may write into read-only directories')
def test_a_read_only_directory_keeps_the_old_file(tmp_path):
    path = tmp_path / 'last.pth'
    save_checkpoint(path, {'epoch': 1})
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(DanluError, match='cannot write'):
            save_checkpoint(path, {'epoch': 2})
    finally:
        tmp_path.chmod(0o755)
    assert load_checkpoint(path) == {'epoch': 1}


@pytest.mark.parametrize('value', [Namespace(lr=0.1), io.BytesIO(b'x'), nn.Linear(1, 1)])
def test_what_could_not_be_read_back_safely_is_not_written(tmp_path, value):
    path = tmp_path / 'last.pth'
    save_checkpoint(path, {'epoch': 1})
    with pytest.raises(TypeError, match='only tensors and plain values'):
        save_checkpoint(path, {'epoch': 2, 'args': value})
    assert load_checkpoint(path) == {'epoch': 1}
    assert os.listdir(tmp_path) == ['last.pth']


# --- reading


def flipped(content, position):
    """Return bytes with one bit changed."""
    changed = bytearray(content)
    changed[position] ^= 4
    return bytes(changed)


def other_zip():
    """Return a zip file that torch did not write."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('notes.txt', 'hello')
    return file.getvalue()


WHOLE = saved_bytes({'format': FORMAT, 'model': {'w': torch.arange(1000.0)}, 'epoch': 1})
OLD_STYLE = saved_bytes({'w': torch.arange(1000.0)}, _use_new_zipfile_serialization=False)
BROKEN = {
    'empty': b'',
    'truncated': WHOLE[: len(WHOLE) // 2],
    'end missing': WHOLE[:-10],
    'old style truncated': OLD_STYLE[: len(OLD_STYLE) // 2],
    'old style without its end': OLD_STYLE[:-40],
    'list file': b'a.png,0\nb.png,1\n',
    'text': b'hello',
    'one letter': b'K',
    'other zip': other_zip(),
    'picture': b'\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR',
    'random': bytes(torch.randint(0, 256, (500,), generator=torch.Generator().manual_seed(0)).tolist()),
    'no dictionary': saved_bytes([torch.zeros(2)]),
    'whole model': saved_bytes(Net()),
    'namespace': saved_bytes({'args': Namespace(lr=1)}),
    'pickled object': pickle.dumps(Net(), protocol=2),
}


@pytest.mark.parametrize('kind', BROKEN)
def test_a_file_that_is_no_checkpoint_gives_one_line(tmp_path, kind):
    path = tmp_path / 'x.pth'
    path.write_bytes(BROKEN[kind])
    with pytest.raises(DanluError) as caught:
        load_checkpoint(path)
    assert str(caught.value).startswith(str(path))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('kind', ['whole model', 'namespace', 'pickled object'])
def test_unsafe_files_say_how_to_save_instead(tmp_path, kind):
    (tmp_path / 'x.pth').write_bytes(BROKEN[kind])
    with pytest.raises(DanluError, match=r'torch\.save\(model\.state_dict\(\), \.\.\.\)'):
        load_checkpoint(tmp_path / 'x.pth')


@pytest.mark.parametrize('kind', ['whole model', 'namespace', 'pickled object'])
def test_unsafe_files_say_that_they_can_be_trusted_and_what_that_means(tmp_path, kind):
    (tmp_path / 'x.pth').write_bytes(BROKEN[kind])
    with pytest.raises(DanluError, match=r'source you trust, use --trust_checkpoint, which may execute any code'):
        load_checkpoint(tmp_path / 'x.pth')


TRUSTED = {
    'whole model': lambda net: net,
    'on several GPUs': nn.DataParallel,
    'compiled': lambda net: torch.compile(net, backend='eager'),
    'within a dictionary': lambda net: {'model': net, 'optimizer': None, 'args': Namespace(lr=1)},
    'beside its average, which tests better': lambda net: {'model': nn.Linear(2, 2), 'ema': net},
}
BESIDE_OBJECTS = {
    'with the options': lambda net: {'state_dict': net.state_dict(), 'args': Namespace(lr=1)},
    'with numbers of numpy': lambda net: {'model': net.state_dict(), 'best': np.float64(0.5)},
    'with a path': lambda net: {'model': net.state_dict(), 'file': Path('x')},
}


@pytest.mark.parametrize('kind', TRUSTED)
@pytest.mark.parametrize('old_style', [False, True])
def test_of_a_trusted_file_the_weights_are_taken(tmp_path, kind, old_style):
    net = Net()
    torch.save(TRUSTED[kind](net), tmp_path / 'x.pth', _use_new_zipfile_serialization=not old_style)
    with pytest.raises(DanluError, match='--trust_checkpoint'):
        load_checkpoint(tmp_path / 'x.pth')
    loaded = load_checkpoint(tmp_path / 'x.pth', trust=True)
    assert all(torch.is_tensor(value) for state in loaded.values() for value in state.values())
    assert same(weights_of(loaded, 'x.pth'), net.state_dict())


@pytest.mark.parametrize('kind', BESIDE_OBJECTS)
@pytest.mark.parametrize('old_style', [False, True])
@pytest.mark.parametrize('trust', [False, True])
def test_weights_beside_objects_need_no_trust(tmp_path, monkeypatch, kind, old_style, trust):
    net, load = Net(), torch.load
    torch.save(BESIDE_OBJECTS[kind](net), tmp_path / 'x.pth', _use_new_zipfile_serialization=not old_style)
    monkeypatch.setattr(torch, 'load', lambda *args, weights_only, **kw: load(*args, **kw) if weights_only else 1 / 0)
    loaded = load_checkpoint(tmp_path / 'x.pth', trust=trust)
    assert all(torch.is_tensor(value) for state in loaded.values() for value in state.values())
    assert same(weights_of(loaded, 'x.pth'), net.state_dict())


def test_what_needs_no_trust_is_read_without_it(tmp_path, monkeypatch):
    load, asked = torch.load, []
    monkeypatch.setattr(torch, 'load', lambda *args, **kwargs: asked.append(kwargs) or load(*args, **kwargs))
    torch.save({'model': weights(), 'epoch': 3}, tmp_path / 'x.pth')
    assert load_checkpoint(tmp_path / 'x.pth', trust=True)['epoch'] == 3
    assert [kwargs['weights_only'] for kwargs in asked] == [True]


@pytest.mark.parametrize(
    'kind', ['truncated', 'text', 'picture', 'list file', 'random', 'other zip', 'old style truncated']
)
def test_trust_makes_no_checkpoint_of_another_file(tmp_path, kind):
    (tmp_path / 'x.pth').write_bytes(BROKEN[kind])
    with pytest.raises(DanluError, match='is damaged or not a checkpoint'):
        load_checkpoint(tmp_path / 'x.pth', trust=True)


@pytest.mark.parametrize(
    ('content', 'says'),
    [
        ([Namespace(lr=1)], 'holds a list, not a model, checkpoint or state dict'),
        ({'args': Namespace(lr=1)}, 'holds no weights: found args'),
    ],
)
def test_a_trusted_file_may_hold_no_weights(tmp_path, content, says):
    torch.save(content, tmp_path / 'x.pth')
    with pytest.raises(DanluError, match=says):
        load_checkpoint(tmp_path / 'x.pth', trust=True)


def test_a_model_whose_class_is_not_here_says_what_it_needs(tmp_path, monkeypatch):
    module = types.ModuleType('gone')
    module.Gone = type('Gone', (nn.Linear,), {'__module__': 'gone'})
    monkeypatch.setitem(sys.modules, 'gone', module)
    torch.save(module.Gone(2, 2), tmp_path / 'x.pth')
    monkeypatch.delitem(sys.modules, 'gone')
    with pytest.raises(DanluError, match=r"needs the code of its model \(No module named 'gone'\).*PYTHONPATH"):
        load_checkpoint(tmp_path / 'x.pth', trust=True)
    monkeypatch.setitem(sys.modules, 'gone', types.ModuleType('gone'))
    with pytest.raises(DanluError, match=r'needs the code of its model \(.*Gone'):
        load_checkpoint(tmp_path / 'x.pth', trust=True)


@pytest.mark.parametrize('content', [{'model': weights()}, Net()])
@pytest.mark.parametrize('old_style', [False, True])
def test_what_was_saved_on_a_gpu_loads_on_the_cpu(tmp_path, monkeypatch, content, old_style):
    """Torch writes into the file on which device each storage was: here, for all of them, on the hundredth GPU."""
    registry = [(0, lambda storage: 'cuda:99', lambda storage, place: None), *torch.serialization._package_registry]
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, '_package_registry', registry)
        torch.save(content, tmp_path / 'x.pth', _use_new_zipfile_serialization=not old_style)
    with pytest.raises(RuntimeError, match='CUDA device'):
        torch.load(tmp_path / 'x.pth', weights_only=False)
    loaded = weights_of(load_checkpoint(tmp_path / 'x.pth', trust=True), 'x.pth')
    assert {value.device.type for value in loaded.values()} == {'cpu'}
    assert same(loaded, content['model'] if isinstance(content, dict) else content.state_dict())


def test_one_changed_bit_in_a_weight_is_found(tmp_path):
    """torch.load compares no checksums: it would return other weights than were saved."""
    path = tmp_path / 'x.pth'
    position = WHOLE.index(torch.tensor([500.0, 501.0, 502.0]).numpy().tobytes())
    path.write_bytes(flipped(WHOLE, position + 5))
    assert not torch.equal(torch.load(path, weights_only=True)['model']['w'], torch.arange(1000.0))
    with pytest.raises(DanluError, match=r'damaged'):
        load_checkpoint(path)


def test_any_changed_bit_is_found_or_harmless(tmp_path):
    path, true = tmp_path / 'x.pth', torch.arange(1000.0)
    for position in range(0, len(WHOLE), 23):
        path.write_bytes(flipped(WHOLE, position))
        try:
            loaded = load_checkpoint(path)
        except DanluError:
            continue
        assert torch.equal(loaded['model']['w'], true), f'a bit changed at {position} of {len(WHOLE)} was not noticed'


def test_reading_runs_no_code(tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'made by the checkpoint'),)

    torch.save({'model': {'w': torch.zeros(1)}, 'args': Payload()}, tmp_path / 'x.pth')
    with pytest.raises(DanluError, match='tensors and plain values'):
        load_checkpoint(tmp_path / 'x.pth')
    assert os.listdir(tmp_path) == ['x.pth']


def test_a_missing_file_and_a_newer_format_are_named(tmp_path):
    with pytest.raises(DanluError, match=r'nowhere\.pth: no such checkpoint'):
        load_checkpoint(tmp_path / 'nowhere.pth')
    torch.save({'format': FORMAT + 1, 'model': {}}, tmp_path / 'x.pth')
    with pytest.raises(DanluError, match=f'checkpoint format {FORMAT + 1}, newer than {FORMAT}: update Danlu'):
        load_checkpoint(tmp_path / 'x.pth')


def test_old_style_files_load(tmp_path):
    (tmp_path / 'x.pth').write_bytes(OLD_STYLE)
    assert torch.equal(load_checkpoint(tmp_path / 'x.pth')['w'], torch.arange(1000.0))


def test_a_dictionary_without_weights_says_what_it_holds(tmp_path):
    with pytest.raises(DanluError, match=r'x\.pth holds no weights: found epoch, lr'):
        weights_of({'epoch': 3, 'lr': 0.1}, 'x.pth')
    with pytest.raises(DanluError, match='found nothing'):
        weights_of({}, 'x.pth')


# --- loading


def prefixed(state, prefix):
    """Return a state dict as a wrapper names it."""
    return {prefix + name: value for name, value in state.items()}


FORMS = {
    'state dict': lambda w: w,
    'ours': lambda w: {'format': FORMAT, 'model': w, 'epoch': 1, 'args': {'lr': 0.1}},
    'state_dict': lambda w: {'state_dict': w, 'epoch': 7},
    'module.': lambda w: prefixed(w, 'module.'),
    '_orig_mod.': lambda w: prefixed(w, '_orig_mod.'),
    'module._orig_mod.': lambda w: prefixed(w, 'module._orig_mod.'),
    '_orig_mod.module.': lambda w: {'model': prefixed(w, '_orig_mod.module.')},
    'state_dict with module.': lambda w: {'state_dict': prefixed(w, 'module.')},
}


@pytest.mark.parametrize('form', FORMS)
def test_every_form_of_weights_loads(form):
    wanted, net = weights(seed=1), Net()
    lines = load_weights(net, weights_of(FORMS[form](wanted), 'x.pth'), 'x.pth')
    assert same(net.state_dict(), wanted)
    assert lines == [f'weights: {len(wanted)} of {len(wanted)} loaded from x.pth']


@pytest.mark.parametrize('wrap', [nn.DataParallel, torch.compile])
def test_wrapped_models_give_and_take_the_same_names(wrap):
    """So a checkpoint does not tell whether it was trained on one GPU or on several."""
    net, wanted = Net(), weights(seed=1)
    wrapped = wrap(net)
    assert unwrap_model(wrapped) is net
    load_weights(wrapped, wanted, 'x.pth')
    assert same(net.state_dict(), wanted)


def test_a_model_with_a_part_called_module_loads_its_own_weights():
    first, second = Wrapped(), Wrapped()
    load_weights(second, weights_of({'model': first.state_dict()}, 'x.pth'), 'x.pth')
    assert same(first.state_dict(), second.state_dict())


def changed_weights():
    """Return weights that lack one of Net's, have one that it does not know, and one of another shape."""
    state = weights(seed=1, classes=5)
    del state['head.bias']
    state['extra.weight'] = torch.zeros(2)
    return state


DIFFERENCES = [
    '1 missing in the file: head.bias',
    '1 unknown to the model: extra.weight',
    '1 of another shape: head.weight (5, 4) instead of (3, 4)',
]


def test_strict_loading_names_every_difference_and_changes_nothing():
    net = Net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(DanluError) as caught:
        load_weights(net, changed_weights(), 'x.pth')
    assert 'x.pth does not fit Net' in str(caught.value)
    assert '--load_not_strict' in str(caught.value)
    for difference in DIFFERENCES:
        assert difference in str(caught.value)
    assert same(net.state_dict(), before)


def test_loading_not_strictly_takes_what_fits_and_reports_the_rest():
    net, given = Net(), changed_weights()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    lines = load_weights(net, given, 'x.pth', strict=False)
    # Of Net's nine entries two fit no more: head.weight and head.bias.
    assert lines == ['weights: 7 of 9 loaded from x.pth', *(f'  {difference}' for difference in DIFFERENCES)]
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name] if name.startswith('head') else given[name]), name


@pytest.mark.parametrize('given', [{'other.weight': torch.zeros(1)}, {'head.weight': torch.zeros(7)}])
def test_loading_nothing_at_all_is_an_error(given):
    with pytest.raises(DanluError, match='none of its 1 weights fits Net'):
        load_weights(Net(), given, 'x.pth', strict=False)


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_what_is_excluded_stays_and_the_rest_must_fit(prefix):
    net, given = Net(), prefixed(weights(seed=1, classes=5), prefix)
    before = net.head.weight.clone()
    lines = load_weights(net, given, 'x.pth', exclude=['head'])
    assert lines == ['weights: 7 of 9 loaded from x.pth', '  2 excluded by --load_exclude: head.weight, head.bias']
    assert torch.equal(net.head.weight, before)
    assert torch.equal(net.body[0].weight, given[f'{prefix}body.0.weight'])
    with pytest.raises(DanluError, match=r'1 of another shape: head\.weight .*--load_exclude'):
        load_weights(net, given, 'x.pth', exclude=['head.bias'])


def test_what_only_the_file_has_can_be_excluded_too():
    net, given = Net(), {**weights(seed=1), 'extra.weight': torch.zeros(2), 'extra.bias': torch.zeros(2)}
    with pytest.raises(DanluError, match='2 unknown to the model'):
        load_weights(net, given, 'x.pth')
    lines = load_weights(net, given, 'x.pth', exclude=['extra'])
    assert lines == ['weights: 9 of 9 loaded from x.pth', '  2 excluded by --load_exclude: extra.weight, extra.bias']


def test_what_is_excluded_must_be_somewhere_and_leave_something():
    with pytest.raises(DanluError, match=r"--load_exclude: unknown part of the model 'haed'; did you mean head"):
        load_weights(Net(), weights(), 'x.pth', exclude=['body', 'haed'])
    with pytest.raises(DanluError, match='none of its 0 weights'):
        load_weights(Net(), weights(), 'x.pth', exclude=['body', 'head'])


def test_long_lists_of_names_are_cut():
    given = {**weights(), **{f'extra{i}': torch.zeros(1) for i in range(20)}}
    assert load_weights(Net(), given, 'x.pth', strict=False)[1].endswith('extra7 ... and 12 more')


def test_file_hash_is_sha256(tmp_path):
    content = bytes(range(256)) * 9000  # more than one block
    (tmp_path / 'x.pth').write_bytes(content)
    assert file_hash(tmp_path / 'x.pth') == hashlib.sha256(content).hexdigest()
