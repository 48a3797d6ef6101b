"""Files that are given as checkpoints and are something else: what they are, and what to do. Imports no torch."""

import contextlib
import zipfile
from pathlib import Path

HEAD_BYTES = 512
ONLY = 'only weights that torch.save or safetensors wrote can be loaded'


def what_else(path):
    """Return what a file is that torch.load cannot read and what to do (str), or None: it may be a checkpoint."""
    path = Path(path)
    with open(path, 'rb') as file:
        head = file.read(HEAD_BYTES)
    text = head.lstrip(b'\xef\xbb\xbf \t\r\n')
    kinds = (
        (text.startswith(b'version https://git-lfs'), 'a pointer of Git LFS: fetch the file itself with git lfs pull'),
        (text[:1] == b'<', 'a web page (HTML or XML), not weights: download the file again'),
        (text[:1] in (b'{', b'[') and text.isascii(), 'JSON text, not weights: was the download refused?'),
        (head[257:262] == b'ustar', 'a tar archive: unpack it'),
        (head[:2] == b'\x1f\x8b', 'compressed by gzip: unpack it with gunzip or tar'),
        (head.startswith(b'\x89HDF'), 'an HDF5 file, as Keras writes them: only weights of PyTorch can be loaded'),
        (head.startswith(b'\x93NUMPY') or path.suffix == '.npz', f'an array file of NumPy: {ONLY}'),
        (path.suffix == '.onnx', f'an ONNX model: {ONLY}'),
        (head[8:10] == b'{"' and path.suffix != '.safetensors', 'a safetensors file: give its name that ending'),
        (_is_torchscript(path), 'a TorchScript model: save its weights, torch.jit.load(...).state_dict()'),
    )
    return next((kind for fits, kind in kinds if fits), None)


def _is_torchscript(path):
    if not zipfile.is_zipfile(path):
        return False
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        return any(name.endswith('/constants.pkl') for name in archive.namelist())
    return False  # damaged, which torch.load says
