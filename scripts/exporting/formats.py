"""The formats of exported files: each is written from a torch module, and loaded as a function.

- onnx: for ONNX Runtime and most other runtimes; needs onnx, onnxscript and onnxruntime
- pt2: torch.export; loads in PyTorch without the code of the network
- torchscript: torch.jit.trace; loads in libtorch (C++) and in PyTorch
- safetensors: the weights alone, for programs that have the code of the network (utils/runs/weights_file.py)
"""

import importlib.util
import json
import logging
import warnings
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from utils.base.errors import DanluError, first_line
from utils.base.regular_files import regular
from utils.base.text_table import size_text

INPUT, OUTPUT = 'images', 'outputs'
METADATA_FILE = 'metadata.json'  # in the archives of pt2 and torchscript
MAX_ONNX_BYTES = 2**31 - 2**20  # a protocol buffer holds 2 GiB
PACKAGES = {'onnx': ('onnx', 'onnxscript', 'onnxruntime'), 'safetensors': ('safetensors',)}


class Format(NamedTuple):
    """One format.

    Args:
        write: function(path, module, example, metadata, dynamic), see `write_file`.
        load: function(path) -> function(tensor) -> tensor float32, on the CPU.
    """

    write: Any
    load: Any


def write_file(name, path, module, example, metadata, dynamic):
    """Write a module to a file.

    Args:
        name: of the format (str).
        path: Path of the file.
        module: scripts.exporting.deployed.Deployed, in evaluation mode on the CPU.
        example: inputs of two samples, or of the fixed number of samples.
        metadata: dict of str.
        dynamic: whether any number of samples is allowed.

    Raises:
        DanluError: packages are missing, or the network cannot be written in this format.
    """
    try:
        with torch.no_grad(), _quiet():
            FORMATS[name].write(path, module, example, metadata, dynamic)
    except (DanluError, OSError):
        raise
    except Exception as error:  # exporters raise their own kinds of errors, and those of the network
        path.unlink(missing_ok=True)
        others = ' or '.join(f'--format {other}' for other in FORMATS if other != name)
        hint = '--batch 1, ' if dynamic else ''
        raise DanluError(
            f'--format {name}: this network cannot be exported ({type(error).__name__}: {first_line(error)}); try '
            f'{hint}{others}, or --format safetensors for the weights alone'
        ) from error


def check_packages(name):
    """Raise DanluError if packages for a format are not installed."""
    missing = [package for package in PACKAGES.get(name, ()) if importlib.util.find_spec(package) is None]
    if missing:
        raise DanluError(
            f'--format {name} needs {", ".join(missing)}, not installed here: pip install {" ".join(missing)} (see '
            'requirements-extra.txt)'
        )


@contextmanager
def _quiet():
    """Hide what exporters print of themselves; errors are raised."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(previous)


def _program(module, example, dynamic):
    """Return the torch.export.ExportedProgram of a module."""
    shapes = {0: torch.export.Dim.DYNAMIC} if dynamic else {}
    if module.kind == 'photos':
        shapes |= {1: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC}
    return torch.export.export(module, (example,), dynamic_shapes={INPUT: shapes})


def _write_onnx(path, module, example, metadata, dynamic):
    size = sum(value.nbytes for value in module.state_dict().values())
    if size > MAX_ONNX_BYTES:
        raise DanluError(
            f'--format onnx: the weights have {size_text(size)}, more than one ONNX file holds '
            f'({size_text(MAX_ONNX_BYTES)})'
        )
    program = torch.onnx.export(
        _program(module, example, dynamic), dynamo=True, input_names=[INPUT], output_names=[OUTPUT], verbose=False
    )
    program.model.metadata_props.update(metadata)
    program.save(path, external_data=False)


def _load_onnx(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    return lambda images: torch.from_numpy(session.run(None, {INPUT: images.numpy()})[0])


def _write_pt2(path, module, example, metadata, dynamic):
    program = _program(module, example, dynamic)
    torch.export.save(program, path, extra_files={METADATA_FILE: json.dumps(metadata, ensure_ascii=False)})


def _load_pt2(path):
    module = torch.export.load(path).module()
    return lambda images: module(images).detach()


def _write_torchscript(path, module, example, metadata, dynamic):
    traced = torch.jit.trace(module, example, check_trace=False)
    extra = {METADATA_FILE: json.dumps(metadata, ensure_ascii=False).encode()}
    torch.jit.save(traced, str(path), _extra_files=extra)


def _load_torchscript(path):
    with _quiet():
        module = torch.jit.load(str(regular(path)), map_location='cpu').eval()
    return lambda images: module(images).detach()


FORMATS = {
    'onnx': Format(_write_onnx, _load_onnx),
    'pt2': Format(_write_pt2, _load_pt2),
    'torchscript': Format(_write_torchscript, _load_torchscript),
}
WEIGHTS_ONLY = 'safetensors'
