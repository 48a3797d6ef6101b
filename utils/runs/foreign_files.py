"""Recognises files that are not checkpoints, and says what to do. Imports no torch."""

import importlib.util
import zipfile
from pathlib import Path

from utils.base.regular_files import open_regular, regular

HEAD_BYTES = 512
SUPPORTED_FORMATS = 'only weights that torch.save or safetensors wrote can be loaded'
# The pickled magic number at the beginning of files from before torch 1.6.
LEGACY_MAGIC = b'\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19'
MAX_SHOWN = 3  # entries of an archive in a message


def describe_foreign_file(path):
    """Return what a file is if torch.load cannot read it, and what to do (str), or None if it may be a checkpoint."""
    path = Path(path)
    with open_regular(path) as file:
        head = file.read(HEAD_BYTES)
    return _from_first_bytes(head, path) or _from_zip_entries(path)


def _from_first_bytes(head, path):
    """Return what a file is (str) by its first bytes and its extension, or None."""
    text, ending = head.lstrip(b'\xef\xbb\xbf \t\r\n'), path.suffix.lower()
    safetensors = head[8:9] == b'{'
    kinds = (
        (text.startswith(b'version https://git-lfs'), 'a pointer of Git LFS: fetch the file itself with git lfs pull'),
        (text[:1] == b'<', 'a web page (HTML or XML), not weights: download the file again'),
        (text[:1] in (b'{', b'[') and text.isascii(), 'JSON text, not weights: was the download refused?'),
        (head[257:262] == b'ustar', 'a tar archive: unpack it'),
        (head[:2] == b'\x1f\x8b', 'compressed by gzip: unpack it with gunzip or tar'),
        (head.startswith(b'\x89HDF'), 'an HDF5 file, as Keras writes them: only weights of PyTorch can be loaded'),
        (head.startswith(b'\x93NUMPY') or ending == '.npz', f'an array file of NumPy: {SUPPORTED_FORMATS}'),
        (_is_onnx(head) or ending == '.onnx', f'an ONNX model: {SUPPORTED_FORMATS}'),
        (head[4:8] == b'TFL3' or ending in ('.pb', '.tflite'), f'a model of TensorFlow: {SUPPORTED_FORMATS}'),
        (head.startswith(b'GGUF'), f'a GGUF file of llama.cpp: {SUPPORTED_FORMATS}'),
        (safetensors and ending != '.safetensors', 'a safetensors file: rename it to *.safetensors'),
        (ending == '.safetensors' and head and not safetensors, 'not a safetensors file, despite its name'),
        (
            ending == '.safetensors' and importlib.util.find_spec('safetensors') is None,
            'a safetensors file, which needs the package safetensors: pip install safetensors',
        ),
        (
            _is_other_pickle(head),
            f'a pickle file that torch.save did not write, perhaps from NumPy: {SUPPORTED_FORMATS}',
        ),
    )
    return next((kind for fits, kind in kinds if fits), None)


def _is_onnx(head):
    """Return whether a file begins as an ONNX model (bool): format version, then name of the producer."""
    return head[:1] == b'\x08' and 0 < (head[1:2] or b'\0')[0] < 32 and head[2:3] == b'\x12'


def _is_other_pickle(head):
    """Return whether a file begins as a pickle of another program than torch.save (bool)."""
    if head[:1] != b'\x80' or LEGACY_MAGIC in head[:32]:
        return False
    return head[1:2] in (b'\x03', b'\x04', b'\x05') or b'numpy' in head


def _from_zip_entries(path):
    """Return what a zip archive is (str) by its entries, or None if torch.save may have written the file."""
    if not zipfile.is_zipfile(regular(path)):
        return None
    try:
        with zipfile.ZipFile(regular(path)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):  # damaged: torch.load reports it
        return None
    shown = ', '.join(ascii(name[:60])[1:-1] for name in names[:MAX_SHOWN]) or 'nothing'
    more = f' and {len(names) - MAX_SHOWN} more' if len(names) > MAX_SHOWN else ''
    arrays = bool(names) and all(name.endswith('.npy') for name in names)
    scripted, saved = (any(name.endswith(ending) for name in names) for ending in ('/constants.pkl', '/data.pkl'))
    kinds = (
        (scripted, 'a TorchScript model: save its weights, torch.jit.load(...).state_dict()'),
        ('model.weights.h5' in names, 'a model of Keras: only weights of PyTorch can be loaded'),
        (arrays, f'an array file of NumPy: {SUPPORTED_FORMATS}'),
        (
            not saved,
            f'damaged or not a checkpoint: a zip file that torch.save did not write (with {shown}{more}); unpack it',
        ),
    )
    return next((kind for fits, kind in kinds if fits), None)
