"""Pretrained weights: from files of a directory (--pretrained_dir), and explanations where a download fails."""

import contextlib
import importlib.util
import pickle
import re
from pathlib import Path

import torch

from utils.base.errors import DanluError
from utils.base.regular_files import regular
from utils.base.text_table import size_text


@contextlib.contextmanager
def downloading(weights):
    """Convert errors of downloading or reading torchvision weights to a DanluError with instructions.

    Args:
        weights: a member of a torchvision weights enum, for example ResNet18_Weights.DEFAULT, that the body loads.

    Raises:
        DanluError: the file cannot be downloaded, written or read.
    """
    try:
        yield
    # URLError is an OSError; torch raises RuntimeError for a wrong hash, any of the other three for a damaged file.
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        path = Path(torch.hub.get_dir(), 'checkpoints', Path(weights.url).name)
        reason = str(error).strip().split('\n', maxsplit=1)[0] or type(error).__name__
        size, todo = weights_size_text(weights), f'delete it to download it again from {weights.url}'
        if path.exists():
            raise DanluError(f'--pretrained: cannot read {path} ({size}): {reason}; {todo}') from error
        raise DanluError(
            f'--pretrained: cannot download {weights.url} ({size}): {reason}; download the file elsewhere and put it '
            f'into {path.parent}, or into any directory and add --pretrained_dir DIR; or leave out --pretrained'
        ) from error


@contextlib.contextmanager
def pretrained_directory(directory):
    """In the `with` body, torchvision's weights are read from files of a directory, instead of being downloaded.

    Args:
        directory: --pretrained_dir, with files named as torchvision names them, or None: weights are downloaded.
    """
    if directory is None:
        yield
        return
    from torchvision.models import WeightsEnum

    download = WeightsEnum.get_state_dict
    WeightsEnum.get_state_dict = lambda weights, *_, **__: _read_torchvision(directory, weights)
    try:
        yield
    finally:
        WeightsEnum.get_state_dict = download


def _read_torchvision(directory, weights):
    """Return the state dict of torchvision weights from a directory, also from one like ~/.cache/torch.

    Raises:
        DanluError: the file is missing or damaged.
    """
    from utils.runs.checkpoint import file_hash, load_checkpoint

    name = Path(weights.url).name
    paths = [Path(directory, folder, name) for folder in ('', 'checkpoints', 'hub/checkpoints')]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise DanluError(
            f'--pretrained_dir: {directory} has no file {name} ({weights_size_text(weights)}); put there a copy of '
            f'{weights.url}'
        )
    beginning = re.search(r'-([0-9a-f]{8,})\.\w+$', name)
    if beginning and not file_hash(path).startswith(beginning[1]):
        raise DanluError(
            f'--pretrained_dir: {path} is not the whole file: its SHA-256 does not begin with {beginning[1]}; it has '
            f'{size_text(path.stat().st_size)} of {weights_size_text(weights)}; copy it again from {weights.url}'
        )
    return load_checkpoint(path)


def weights_size_text(weights):
    """Return the size of a file of torchvision weights (str); torchvision states it in MiB."""
    size = weights.meta.get('_file_size')
    return 'size not known' if size is None else size_text(size * 2**20)


def timm_weights_option(directory, name):
    """Return the argument (dict) of timm.create_model that loads the weights of a model from a directory.

    Args:
        directory: --pretrained_dir.
        name: timm's name, with a tag or without. For unknown names, and without timm, the dict is empty.

    Raises:
        DanluError: the directory has no such file.
    """
    if importlib.util.find_spec('timm') is None:
        return {}
    import timm

    if not timm.is_model(name.partition('.')[0]):
        return {}
    names = timm_weights_names(timm, name)
    path = next((path for wanted in names if (path := Path(directory, wanted)).is_file()), None)
    if path is None:
        raise DanluError(
            f'--pretrained_dir: {directory} has none of the files {", ".join(names)} for timm:{name} '
            f'({timm_size_text(timm, name)}); put there a copy of {timm_address(timm, name)}'
        )
    # timm reads the .npz files of Google in another way, by `custom_load`.
    return {'pretrained_cfg_overlay': {'file': str(regular(path)), 'custom_load': path.suffix == '.npz'}}


def timm_weights_names(timm, name):
    """Return the names (list of str), relative to a directory, of the files of weights of a model of timm."""
    config = timm.get_pretrained_cfg(name)
    repository = (config.hf_hub_id or '').rpartition('/')[2] or name
    files = ['model.safetensors', 'pytorch_model.bin']
    if config.hf_hub_filename:
        files.insert(0, config.hf_hub_filename)
    old = [Path(config.url).name] if config.url else []
    return [*(f'{repository}/{file}' for file in files), f'{repository}.safetensors', *old]


def timm_address(timm, name):
    """Return the address (str) that timm downloads the weights of a model from."""
    config = timm.get_pretrained_cfg(name)
    if not config.hf_hub_id:
        return config.url or 'its weights'
    from huggingface_hub.constants import ENDPOINT

    return f'{ENDPOINT}/{config.hf_hub_id}/resolve/main/{config.hf_hub_filename or "model.safetensors"}'


def timm_size_text(timm, name):
    """Return the size of the weights of a model of timm (str), from its number of parameters in float32."""
    with torch.device('meta'):
        weights = timm.create_model(name).state_dict()
    return f'about {size_text(sum(value.nbytes for value in weights.values()))}'
