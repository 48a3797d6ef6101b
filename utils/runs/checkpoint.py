"""Checkpoint files: written whole or not at all, read without running code, loaded with a report.

A checkpoint holds tensors and plain values only, so `torch.load(weights_only=True)` reads it. Its keys:
format, model, args, epoch, step, metrics, record, fingerprint; last.pth and epoch_*.pth also optimizer, scheduler,
scaler, ema, rng, loader, best, recorder, diverged, train_metrics and, of several, what each of its processes has.
"""

import contextlib
import errno
import hashlib
import os
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import torch
from torch import nn

from utils.base.errors import DanluError
from utils.base.module_prefixes import check_prefixes, is_in_any_module
from utils.base.record_schema import check_checkpoint
from utils.base.regular_files import open_regular, regular
from utils.base.text_table import printable
from utils.base.write_errors import explain_write_errors, write_error
from utils.distributed.fsdp import shard_like
from utils.options.model_source import pickle_module, type_in_source
from utils.runs.foreign_files import describe_foreign_file
from utils.runs.inert_objects import holds_module, load_without_classes
from utils.runs.state_dicts import match_names, missing_batch_counters, prefix_hint, select_state_dict, state_dicts_in

FORMAT = 1
EXTRA_STATE = '_extra_state'  # ends the name of what a module saves besides tensors
LAST, PREVIOUS = 'last.pth', 'last.prev.pth'  # what resuming goes on from
BEST = 'best.pth'
# What torch.load raises, besides UnpicklingError, for a damaged file or one that is something else.
DAMAGE_ERRORS = (
    *(RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AssertionError, AttributeError),
    *(OverflowError, MemoryError, struct.error, zipfile.BadZipFile, zlib.error),
)


def save_checkpoint(path, state):
    """Write `state` (dict) to `path` in one step: a reader sees the old file or the new one, never half of one.

    What was written is read back before it takes its place. A last.pth that is replaced stays as last.prev.pth.

    Raises:
        WriteError: the file could not be written, for example for want of space; the old one is untouched.
        TypeError: `state` holds what only unsafe unpickling would read back.
    """
    path = Path(path)
    partial = path.with_name(f'{path.name}.{os.getpid()}.partial')
    try:
        with open_regular(partial, 'wb') as file:
            _write_archive(state, file)
            file.flush()
            os.fsync(file.fileno())
        unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(partial)
        if unsafe:
            raise TypeError(f'{path.name} would hold {", ".join(unsafe)}: only tensors and plain values can be saved')
        _check_sums(partial)
        torch.load(regular(partial), map_location='cpu', weights_only=True, mmap=True)
        if path.name == LAST:
            _keep_as_previous(path)
        os.replace(partial, path)
        _sync_directory(path.parent)
    except (OSError, RuntimeError, zipfile.BadZipFile) as error:
        with contextlib.suppress(OSError):  # not there, or for the same reason as the error
            partial.unlink()
        with explain_write_errors(path.parent):
            raise write_error(path, error) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


class _ErrorKeepingFile:
    """A file to write into that keeps the OSError of a write: torch raises a RuntimeError without the reason instead.

    Args:
        file: open for writing bytes.
    """

    def __init__(self, file):
        self.file, self.error, self.flush = file, None, file.flush

    def write(self, data):
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = self.error or error
            raise


def _write_archive(state, file):
    """Save `state` (dict) to an open file; OSError with the system's reason where that cannot be written."""
    kept = _ErrorKeepingFile(file)
    try:
        torch.save(state, kept)
    except RuntimeError as error:
        if kept.error is not None:
            raise kept.error from error
        raise


def load_checkpoint(path, trust=False, model_source=None):
    """Read a checkpoint or a state dict onto the CPU, without running any code that it may hold.

    Args:
        path: of the file.
        trust: where the weights are within objects, as in a whole model that torch.save wrote, load them all the same,
            which may run any code that the file holds. Objects beside the weights (argparse.Namespace, paths, numbers
            of NumPy) need no trust: they are not read.
        model_source: path of a Python file that has the classes of a whole model, which is run; only with trust.

    Returns:
        dict, as it was saved; of a file with other objects beside the weights its state dicts alone (WeightsAlone), and
        of a whole model, which has to be trusted, as 'model'.

    Raises:
        DanluError: no such file, damaged, not a dictionary, or weights that only running its code would give.
    """
    try:
        regular(path)
        if kind := describe_foreign_file(path):
            raise DanluError(f'{path} is {kind}')
        _check_sums(path)
        loaded = torch.load(regular(path), map_location='cpu', weights_only=True)
    except FileNotFoundError:
        raise DanluError(f'{path}: no such checkpoint') from None
    except PermissionError as error:
        raise DanluError(f'{path} cannot be read: {error.strerror}') from None
    except pickle.UnpicklingError as error:
        return _load_weights_only(path, trust, error, model_source)
    except DAMAGE_ERRORS as error:
        raise _damage_error(path, error) from error
    except Exception as error:
        if type(error).__name__ != 'SafetensorError':  # of a library that need not be installed
            raise
        raise _damage_error(path, error) from error
    if not isinstance(loaded, dict):
        raise DanluError(f'{path} holds a {type(loaded).__name__}, not a checkpoint or state dict')
    check_checkpoint(loaded, path)
    if loaded.get('format', FORMAT) not in range(1, FORMAT + 1):
        raise DanluError(f'{path} has checkpoint format {loaded["format"]}, newer than {FORMAT}: update Danlu')
    return loaded


def _keep_as_previous(path):
    """Give last.pth, which is about to be replaced, the name last.prev.pth too; nothing is written a second time."""
    if not path.exists():
        return
    previous = path.with_name(PREVIOUS)
    link = previous.with_name(f'{PREVIOUS}.{os.getpid()}.partial')
    try:
        os.link(path, link)
    except OSError:  # the file system has no hard links: last.pth is missing until the new one takes its place
        os.replace(path, previous)
        return
    try:
        os.replace(link, previous)
    finally:  # a rename does nothing where both names are of one file already
        link.unlink(missing_ok=True)


class WeightsOnly(dict):
    """The state dicts of a file that holds other objects too: dict from a key such as 'model' to a state dict.

    Attributes:
        left_out: the classes and functions (list of str) of the objects, which were not read.
    """

    left_out = ()


def _load_weights_only(path, trust, error, model_source=None):
    """Return the WeightsAlone of a file that holds objects of classes; what only its code would give has to be trusted.

    Args:
        path: of the file.
        trust: whether its code may be run.
        error: what torch.load raised without running any.
        model_source: see `load_checkpoint`.
    """
    try:
        loaded, left_out = load_without_classes(path)
    except (pickle.UnpicklingError, *DAMAGE_ERRORS):  # then what torch.load said counts
        loaded, left_out = None, []
    if isinstance(loaded, dict) and not holds_module(loaded) and (found := state_dicts_in(loaded)):
        weights = WeightsOnly(found.get('', found))
        weights.left_out = left_out
        return weights
    if trust:
        return _trusted_weights(path, model_source)
    # Torch's own advice is to load it unsafely.
    reason = f'it holds objects of {_preview(left_out, 3)}' if left_out else 'it holds other objects, or is damaged'
    raise DanluError(
        f'{path} is no checkpoint of tensors and plain values ({reason}). Save the weights alone: '
        'torch.save(model.state_dict(), ...). If it is a whole model, --trust_checkpoint loads it, which may run '
        'any code that is in the file: only if you trust whom it is from; with --model_source FILE where its class is '
        'in a file of your own'
    ) from error


class WholeModel(dict):
    """The state dict of a whole model as 'model'.

    Attributes:
        model_type: 'source:<class>' (str), where its class is in --model_source, else None.
    """

    model_type = None


def _trusted_weights(path, model_source=None):
    """Return the state dicts (dict) in a file that may run any code on loading: of whole models, or in a dictionary."""
    finder = {} if model_source is None else {'pickle_module': pickle_module(model_source)}
    try:
        loaded = torch.load(regular(path), map_location='cpu', weights_only=False, **finder)
    except (ImportError, AttributeError) as error:  # how pickle says that it cannot find a class
        raise DanluError(
            f'{path} needs the code that it was saved with ({error}): --model_source path/to/model.py names the file '
            'that has the class; a package has to be importable (PYTHONPATH). Or save the weights alone there: '
            'torch.save(model.state_dict(), ...)'
        ) from error
    except (pickle.UnpicklingError, *DAMAGE_ERRORS) as error:
        raise _damage_error(path, error) from error
    if isinstance(loaded, nn.Module):
        whole = WholeModel(model=unwrap_model(loaded).state_dict())
        whole.model_type = type_in_source(unwrap_model(loaded))
        return whole
    if not isinstance(loaded, dict):
        raise DanluError(f'{path} holds a {type(loaded).__name__}, not a model, checkpoint or state dict')
    average = loaded.get('ema')
    within = {key: unwrap_model(each).state_dict() for key, each in loaded.items() if isinstance(each, nn.Module)}
    if isinstance(average, nn.Module):
        within['ema'] = {'model': within['ema']}
    found = state_dicts_in({**loaded, **within})
    if not found:
        weights_of(loaded, path)  # which says so
    return found.get('', found)


def weights_of(loaded, path):
    """Return the state dict (name -> tensor) that is taken of what `load_checkpoint` returned.

    Raises:
        DanluError: there are no weights in it.
    """
    return select_state_dict(loaded, path)[0]


def load_selected_weights(model, checkpoint, args):
    """Load the weights of args.load_model_path as options say; return lines (list of str) for the log.

    Args:
        model: nn.Module, wrapped or not.
        checkpoint: what `load_checkpoint` returned for that path.
        args: options; load_key, load_prefix, load_not_strict and, of a training, load_exclude count.
    """
    path = args.load_model_path
    weights, note = select_state_dict(checkpoint, path, args.load_key)
    exclude = getattr(args, 'load_exclude', None) or ()
    lines = load_weights(model, weights, path, not args.load_not_strict, exclude, args.load_prefix)
    if left_out := getattr(checkpoint, 'left_out', ()):
        note += ('; ' if note else '') + f'not read: its objects of {_preview(left_out)}'
    return [lines[0] + (f', {note}' if note else ''), *lines[1:]]


def unwrap_model(model):
    """Return the nn.Module that DataParallel, DistributedDataParallel or torch.compile was wrapped around."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif hasattr(model, '_orig_mod'):  # torch._dynamo.OptimizedModule, whose import takes three seconds
            model = model._orig_mod
        else:
            return model


def load_weights(model, weights, path, strict=True, exclude=(), prefix=None):
    """Load a state dict into a model and return what was done (list of str, lines for the log).

    Args:
        model: nn.Module, wrapped or not.
        weights: name -> tensor, with wrappers' prefixes or without.
        path: where they are from, for messages.
        strict: everything must match; otherwise what matches in name and shape is loaded.
        exclude: parts, by the beginnings of their names, that are left as they are, whatever the file holds for them.
        prefix: of the names that are taken, see utils.runs.state_dicts.match_names.

    Raises:
        DanluError: strict and something does not match, nothing matches at all, or a part of `exclude` is nowhere.
    """
    _check_tensor_types(weights, path)
    model = unwrap_model(model)
    own, total = model.state_dict(), len(model.state_dict())
    weights, note = match_names(weights, own, path, prefix)
    told = f', {note}' if note else ''
    names = list(dict.fromkeys([*own, *weights]))
    check_prefixes('--load_exclude', exclude, names)
    excluded = [name for name in names if is_in_any_module(name, exclude)]
    own, weights = ({n: v for n, v in state.items() if n not in excluded} for state in (own, weights))
    _check_numbers(weights, own, path)
    if old := missing_batch_counters(weights, own):
        told += f'; {len(old)} counters of old batch norms (num_batches_tracked) are not in the file and not needed'
        own = {name: value for name, value in own.items() if name not in set(old)}
    matching, found = _match_shapes(own, weights)
    _check_fit(model, weights, path, found, strict, note)
    model.load_state_dict({name: shard_like(value, own[name]) for name, value in matching.items()}, strict=False)
    if excluded:
        found.append(f'{len(excluded)} left out by --load_exclude: {_preview(excluded)}')
    return [f'weights: {len(matching)} of {total} loaded from {path}{told}', *(f'  {line}' for line in found)]


def _check_fit(model, weights, path, found, strict, note):
    """Raise DanluError unless weights fit a model as they have to; `found`: in what they differ (list of str)."""
    own = model.state_dict()
    told = f' ({note})' if note else prefix_hint(weights, own)
    if strict and found:
        raise DanluError(
            f'{path} does not fit {type(model).__name__}: {"; ".join(found)}{told}. Give the options it was trained '
            'with (--model_type, --num_classes ...), or load what fits with --load_not_strict, or train with new parts '
            f'by --load_exclude{_parts_of_another_shape(weights, own)}'
        )
    if not any(name in own and value.shape == own[name].shape for name, value in weights.items()):
        raise DanluError(
            f'{path}: none of its {len(weights)} weights fits {type(model).__name__}: {"; ".join(found)}{told}'
        )


def _check_tensor_types(weights, path):
    """Raise DanluError for weights that are no tensors, or sparse, quantised, or without numbers (on no device)."""
    if wrong := [
        name for name, value in weights.items() if not (torch.is_tensor(value) or str(name).endswith(EXTRA_STATE))
    ]:
        raise DanluError(f'{path} is damaged or was changed: no tensors are {_preview(wrong)}')
    odd = [
        name
        for name, value in weights.items()
        if torch.is_tensor(value) and (value.layout != torch.strided or value.is_quantized or value.is_meta)
    ]
    if odd:
        raise DanluError(
            f'{path} holds sparse, quantised or meta tensors: {_preview(odd)}. Save dense tensors: value.to_dense(), '
            'value.dequantize()'
        )


def _check_numbers(weights, own, path):
    """Raise DanluError for weights that are quantised, or where training has ended in nan."""
    common = [name for name in weights if name in own and own[name].is_floating_point()]
    if coarse := [name for name in common if not weights[name].is_floating_point()]:
        first = weights[coarse[0]]
        kind = f'{"complex numbers" if first.is_complex() else "integers"} ({str(first.dtype).removeprefix("torch.")})'
        raise DanluError(f'{path} holds {kind} where the model has fractions: {_preview(coarse)}')
    if bad := [name for name in common if not weights[name].isfinite().all()]:
        raise DanluError(f'{path} holds weights that are not finite (nan or inf): {_preview(bad)}')


def _parts_of_another_shape(weights, own):
    """Return the layers (str, with a blank before) whose weights have another shape, where these are one or two."""
    names = [name for name, value in weights.items() if name in own and value.shape != own[name].shape]
    parts = list(dict.fromkeys(name.rpartition('.')[0] or name for name in names))
    return f' {" ".join(parts)}' if 0 < len(parts) <= 2 else ''


def _match_shapes(own, weights):
    """Return what of `weights` fits a state dict `own` (dict), and in what they differ (list of str)."""
    shapes = {
        name: f'{name} {tuple(value.shape)} instead of {tuple(own[name].shape)}'
        for name, value in weights.items()
        if name in own and value.shape != own[name].shape
    }
    differences = {
        'missing in the file': [name for name in own if name not in weights],
        'unknown to the model': [name for name in weights if name not in own],
        'of another shape': list(shapes.values()),
    }
    matching = {name: value for name, value in weights.items() if name in own and name not in shapes}
    return matching, [f'{len(names)} {what}: {_preview(names)}' for what, names in differences.items() if names]


def file_hash(path):
    """Return the SHA-256 of a file (str of 64 hexadecimal digits)."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _check_sums(path):
    """Raise BadZipFile if the file's checksums tell that it changed since it was written; torch.load ignores them."""
    if zipfile.is_zipfile(regular(path)):
        with zipfile.ZipFile(regular(path)) as archive:
            wrong = archive.testzip()
        if wrong is not None:
            raise zipfile.BadZipFile(f'the checksum of {wrong} is wrong')


def _damage_error(path, error):
    """Return the DanluError for a file that torch.load could not read."""
    # EINVAL: a file that was cut off sends the reader to a place before its beginning.
    if isinstance(error, OSError) and error.strerror and error.errno != errno.EINVAL:
        return DanluError(f'{path} cannot be read: {error.strerror}')
    reason = (str(error).splitlines() or ['it ends too early'])[0]
    return DanluError(f'{path} is damaged or no checkpoint ({type(error).__name__}: {reason})')


def _preview(names, count=8):
    return ', '.join(printable(name)[:200] for name in names[:count]) + (
        f' ... and {len(names) - count} more' if len(names) > count else ''
    )


def _sync_directory(path):
    if os.name == 'nt':  # directories cannot be opened there, and renames are journalled
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
