"""Files of weights alone in the format safetensors, which needs the package safetensors.

A file of Danlu has the options of its run in its metadata, as JSON under the key 'danlu', so that eval.py tests it like
best.pth.
"""

import json
import os
from pathlib import Path

from utils.base.errors import DanluError
from utils.base.regular_files import naming, open_regular, regular
from utils.base.write_errors import wrap_write_errors

ENDING = '.safetensors'
KEPT_KEYS = ('format', 'args', 'epoch', 'step', 'metrics', 'device')  # of a checkpoint
METADATA_KEY = 'danlu'
MAX_HEADER_BYTES = 100 * 10**6  # as the library has it


def write_weights_file(path, weights, metadata):
    """Write weights to a file, which replaces an earlier one only when it is complete.

    Args:
        path: path of the file.
        weights: state dict.
        metadata: dict of str.

    Raises:
        WriteError: the file cannot be written.
    """
    from safetensors.torch import save

    kept, seen = {}, set()
    for name, value in weights.items():
        value = value.detach().cpu().contiguous()
        # The library refuses tensors that share memory, such as tied weights.
        kept[name] = value.clone() if value.data_ptr() in seen else value
        seen.add(value.data_ptr())
    partial = Path(f'{path}.{os.getpid()}.partial')
    try:
        with wrap_write_errors(path):
            with naming(path), open_regular(partial, 'wb') as file:
                file.write(save(kept, metadata))
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def metadata_of_checkpoint(checkpoint):
    """Return what a file keeps of a checkpoint besides the weights: dict from 'danlu' to JSON, {} without a run.

    Args:
        checkpoint: what utils.runs.checkpoint.load_checkpoint returned.
    """
    if 'format' not in checkpoint:
        return {}
    kept = {key: checkpoint[key] for key in KEPT_KEYS if key in checkpoint}
    return {METADATA_KEY: json.dumps(kept, ensure_ascii=False)}


def read_metadata(path):
    """Return what `metadata_of_checkpoint` kept of the checkpoint (dict), {} in files of other programs.

    Raises:
        DanluError: the metadata is damaged.
    """
    with open_regular(path) as file:
        length = int.from_bytes(file.read(8), 'little')
        header = file.read(min(length, MAX_HEADER_BYTES))
    try:
        metadata = json.loads(header).get('__metadata__') or {}
        found = json.loads(metadata.get(METADATA_KEY) or '{}')
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise DanluError(f'{path} is damaged: its metadata cannot be read ({error})') from error
    if not isinstance(found, dict):
        raise DanluError(f'{path} is damaged: its metadata holds a {type(found).__name__} under {METADATA_KEY!r}')
    return {key: value for key, value in found.items() if key in KEPT_KEYS}


def load_weights_file(path):
    """Return the weights (dict of tensors) in a file.

    Raises:
        DanluError: the file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(regular(path))
    except SafetensorError as error:
        raise DanluError(f'{path} is damaged: {error}') from error
