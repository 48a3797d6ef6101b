"""Checkpoint files: written atomically, read without executing code.

A checkpoint holds only tensors and plain values, so `torch.load(weights_only=True)` reads it. Keys: format, model,
args, epoch, step, metrics, record, fingerprint; last.pth and epoch_*.pth also have optimizer, scheduler, scaler, ema,
rng, loader, best, recorder, diverged, train_metrics and, for several processes, the state of each process.
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
from utils.runs.weights_file import ENDING, read_metadata

FORMAT = 1
EXTRA_STATE = '_extra_state'  # end of the names of non-tensor values in a state dict
LAST, PREVIOUS = 'last.pth', 'last.prev.pth'  # for resuming
BEST = 'best.pth'
# Raised by torch.load, besides UnpicklingError, for damaged files and other formats.
DAMAGE_ERRORS = (
    *(RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AssertionError, AttributeError),
    *(OverflowError, MemoryError, struct.error, zipfile.BadZipFile, zlib.error),
)


def save_checkpoint(path, state):
    """Write `state` (dict) to `path` atomically: readers see the old or the new file, never a part.

    The new file is read back and checked before it replaces the old one. The old last.pth is kept as last.prev.pth.

    Raises:
        WriteError: the file could not be written, for example on a full disk; the old file is unchanged.
        TypeError: `state` holds values that only unsafe unpickling can read.
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
            raise TypeError(f'{path.name} cannot hold {", ".join(unsafe)}: only tensors and plain values can be saved')
        _check_sums(partial)
        torch.load(regular(partial), map_location='cpu', weights_only=True, mmap=True)
        if path.name == LAST:
            _keep_as_previous(path)
        os.replace(partial, path)
        _sync_directory(path.parent)
    except (OSError, RuntimeError, zipfile.BadZipFile) as error:
        with contextlib.suppress(OSError):  # missing, or the same error again
            partial.unlink()
        with explain_write_errors(path.parent):
            raise write_error(path, error) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


class _ErrorKeepingFile:
    """A binary file that keeps the OSError of a write, because torch raises a RuntimeError without the reason."""

    def __init__(self, file):
        self.file, self.error, self.flush = file, None, file.flush

    def write(self, data):
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = self.error or error
            raise


def _write_archive(state, file):
    """Save `state` (dict) to an open file; raise the OSError of the system if writing fails."""
    kept = _ErrorKeepingFile(file)
    try:
        torch.save(state, kept)
    except RuntimeError as error:
        if kept.error is not None:
            raise kept.error from error
        raise


def load_named_checkpoint(args):
    """Return the checkpoint (dict) that options, an argparse.Namespace, name: see `load_checkpoint`."""
    return load_checkpoint(args.load_model_path, args.trust_checkpoint, args.model_source)


def load_checkpoint(path, trust=False, model_source=None):
    """Read a checkpoint or state dict to the CPU, without executing code in the file.

    Args:
        path: path of the file.
        trust: unpickle whole models too, which may execute any code in the file. Other objects beside the weights
            (argparse.Namespace, paths, NumPy numbers) need no trust: they are skipped.
        model_source: path of a Python file with the classes of a whole model, which is executed; only with trust.

    Returns:
        The saved dict; WeightsOnly if other objects were skipped; {'model': state dict} for a whole model.

    Raises:
        DanluError: the file is missing, damaged, not a dictionary, or needs trust.
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
        if type(error).__name__ != 'SafetensorError':  # the library is optional
            raise
        raise _damage_error(path, error) from error
    if not isinstance(loaded, dict):
        raise DanluError(f'{path} holds a {type(loaded).__name__}, not a checkpoint or state dict')
    if str(path).endswith(ENDING) and (kept := read_metadata(path)):
        loaded = {**kept, 'model': loaded}
    check_checkpoint(loaded, path)
    if loaded.get('format', FORMAT) not in range(1, FORMAT + 1):
        raise DanluError(f'{path} has checkpoint format {loaded["format"]}, newer than {FORMAT}: update Danlu')
    return loaded


def _keep_as_previous(path):
    """Link the current last.pth as last.prev.pth before it is replaced."""
    if not path.exists():
        return
    previous = path.with_name(PREVIOUS)
    link = previous.with_name(f'{PREVIOUS}.{os.getpid()}.partial')
    try:
        os.link(path, link)
    except OSError:  # no hard links on this file system: last.pth is missing for a moment
        os.replace(path, previous)
        return
    try:
        os.replace(link, previous)
    finally:  # renaming does nothing if both names are links to the same file
        link.unlink(missing_ok=True)


class WeightsOnly(dict):
    """The state dicts of a file with other objects: dict from a key such as 'model' to a state dict.

    Attributes:
        left_out: names of the classes and functions (list of str) of the skipped objects.
    """

    left_out = ()


def _load_weights_only(path, trust, error, model_source=None):
    """Return the WeightsOnly of a file with other objects, or with trust the weights of a whole model.

    Args:
        path, trust, model_source: see `load_checkpoint`.
        error: exception of torch.load with weights_only=True.
    """
    try:
        loaded, left_out = load_without_classes(path)
    except (pickle.UnpicklingError, *DAMAGE_ERRORS):  # then the error of torch.load is reported
        loaded, left_out = None, []
    if isinstance(loaded, dict) and not holds_module(loaded) and (found := state_dicts_in(loaded)):
        weights = WeightsOnly(found.get('', found))
        weights.left_out = left_out
        return weights
    if trust:
        return _trusted_weights(path, model_source)
    # The message of torch recommends unsafe loading.
    reason = f'it holds objects of {_preview(left_out, 3)}' if left_out else 'it holds other objects or is damaged'
    raise DanluError(
        f'{path} is not a checkpoint of tensors and plain values ({reason}). Save only the weights: '
        'torch.save(model.state_dict(), ...). For a whole model from a source you trust, use --trust_checkpoint, which '
        'may execute any code in the file, and --model_source FILE if its class is in your own file'
    ) from error


class WholeModel(dict):
    """The state dict of a whole model, under 'model'.

    Attributes:
        model_type: 'source:<class>' (str) if the class is in --model_source, else None.
    """

    model_type = None


def _trusted_weights(path, model_source=None):
    """Return the state dicts (dict) of a trusted file, which may execute code on loading."""
    finder = {} if model_source is None else {'pickle_module': pickle_module(model_source)}
    try:
        loaded = torch.load(regular(path), map_location='cpu', weights_only=False, **finder)
    except (ImportError, AttributeError) as error:  # pickle does not find a class
        raise DanluError(
            f'{path} needs the code of its model ({error}): give the file of the class by --model_source '
            'path/to/model.py, make its package importable (PYTHONPATH), or save only the weights where the code is: '
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
        weights_of(loaded, path)  # raises the error
    return found.get('', found)


def weights_of(loaded, path):
    """Return the state dict (dict from a name to a tensor) in a result of `load_checkpoint`.

    Raises:
        DanluError: it holds no weights.
    """
    return select_state_dict(loaded, path)[0]


def load_selected_weights(model, checkpoint, args):
    """Load the weights that the --load_* options select; return lines for the log (list of str).

    Args:
        model: nn.Module, wrapped or not.
        checkpoint: result of `load_checkpoint` for args.load_model_path.
        args: options; load_key, load_prefix, load_not_strict and, in training, load_exclude are used.
    """
    path = args.load_model_path
    weights, note = select_state_dict(checkpoint, path, args.load_key)
    exclude = getattr(args, 'load_exclude', None) or ()
    lines = load_weights(model, weights, path, not args.load_not_strict, exclude, args.load_prefix)
    if left_out := getattr(checkpoint, 'left_out', ()):
        note += ('; ' if note else '') + f'skipped objects: {_preview(left_out)}'
    return [lines[0] + (f', {note}' if note else ''), *lines[1:]]


def unwrap_model(model):
    """Return the nn.Module inside DataParallel, DistributedDataParallel or torch.compile."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif hasattr(model, '_orig_mod'):  # torch._dynamo.OptimizedModule; its import takes three seconds
            model = model._orig_mod
        else:
            return model


class MisfitError(DanluError):
    """Weights do not fit a network: other names or shapes."""


def load_weights(model, weights, path, strict=True, exclude=(), prefix=None):
    """Load a state dict into a model and return lines for the log (list of str).

    Args:
        model: nn.Module, wrapped or not.
        weights: dict from a name to a tensor; names may have the prefixes of wrappers.
        path: path of the file, for messages.
        strict: all weights must match; otherwise those that match in name and shape are loaded.
        exclude: beginnings of the names of layers that are not loaded.
        prefix: prefix of the names to load: see utils.runs.state_dicts.match_names.

    Raises:
        MisfitError: weights do not match (strict), or none matches.
        DanluError: `exclude` names an unknown layer, or weights are damaged.
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
        told += f'; the file has no num_batches_tracked ({len(old)} batch norms), which is not needed'
        own = {name: value for name, value in own.items() if name not in set(old)}
    matching, found = _match_shapes(own, weights)
    _check_fit(model, weights, path, found, strict, note)
    model.load_state_dict({name: shard_like(value, own[name]) for name, value in matching.items()}, strict=False)
    if excluded:
        found.append(f'{len(excluded)} excluded by --load_exclude: {_preview(excluded)}')
    return [f'weights: {len(matching)} of {total} loaded from {path}{told}', *(f'  {line}' for line in found)]


def _check_fit(model, weights, path, found, strict, note):
    """Raise MisfitError if weights do not match a model; `found` (list of str) lists the differences."""
    own = model.state_dict()
    told = f' ({note})' if note else prefix_hint(weights, own)
    if strict and found:
        raise MisfitError(
            f'{path} does not fit {type(model).__name__}: {"; ".join(found)}{told}. Give the options of its training '
            '(--model_type, --num_classes ...), or load the matching weights with --load_not_strict, or keep layers of '
            f'the model untrained by --load_exclude{_layers_of_another_shape(weights, own)}'
        )
    if not any(name in own and value.shape == own[name].shape for name, value in weights.items()):
        raise MisfitError(
            f'{path}: none of its {len(weights)} weights fits {type(model).__name__}: {"; ".join(found)}{told}'
        )


def _check_tensor_types(weights, path):
    """Raise DanluError for weights that are no tensors, or are sparse, quantised or meta tensors."""
    if wrong := [
        name for name, value in weights.items() if not (torch.is_tensor(value) or str(name).endswith(EXTRA_STATE))
    ]:
        raise DanluError(f'{path} is damaged or was changed: not tensors: {_preview(wrong)}')
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
    """Raise DanluError for weights that are integer, complex, nan or inf where the model has real numbers."""
    common = [name for name in weights if name in own and own[name].is_floating_point()]
    if coarse := [name for name in common if not weights[name].is_floating_point()]:
        first = weights[coarse[0]]
        kind = f'{"complex numbers" if first.is_complex() else "integers"} ({str(first.dtype).removeprefix("torch.")})'
        raise DanluError(f'{path} holds {kind} where the model has real numbers: {_preview(coarse)}')
    if bad := [name for name in common if not weights[name].isfinite().all()]:
        raise DanluError(f'{path} holds weights that are not finite (nan or inf): {_preview(bad)}')


def _layers_of_another_shape(weights, own):
    """Return the layers (str, with a leading space) whose weights have another shape, if there are one or two."""
    names = [name for name, value in weights.items() if name in own and value.shape != own[name].shape]
    parts = list(dict.fromkeys(name.rpartition('.')[0] or name for name in names))
    return f' {" ".join(parts)}' if 0 < len(parts) <= 2 else ''


def _match_shapes(own, weights):
    """Return the weights that match the state dict `own` (dict), and the differences (list of str)."""
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
    """Return the SHA-256 of a file (hexadecimal str)."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _check_sums(path):
    """Raise BadZipFile if a checksum in the file is wrong; torch.load does not check."""
    if zipfile.is_zipfile(regular(path)):
        with zipfile.ZipFile(regular(path)) as archive:
            wrong = archive.testzip()
        if wrong is not None:
            raise zipfile.BadZipFile(f'the checksum of {wrong} is wrong')


def _damage_error(path, error):
    """Return the DanluError for a file that torch.load could not read."""
    # EINVAL: a truncated file makes the reader seek before its beginning.
    if isinstance(error, OSError) and error.strerror and error.errno != errno.EINVAL:
        return DanluError(f'{path} cannot be read: {error.strerror}')
    reason = (str(error).splitlines() or ['it ends too early'])[0]
    return DanluError(f'{path} is damaged or not a checkpoint ({type(error).__name__}: {reason})')


def _preview(names, count=8):
    return ', '.join(printable(name)[:200] for name in names[:count]) + (
        f' ... and {len(names) - count} more' if len(names) > count else ''
    )


def _sync_directory(path):
    if os.name == 'nt':  # Windows cannot open directories, and NTFS journals renames
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
