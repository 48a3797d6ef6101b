"""Explains errors of downloading pretrained weights."""

import contextlib
import pickle
from pathlib import Path

import torch

from utils.base.errors import DanluError


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
        todo = f'delete the damaged {path}, or replace it by' if path.exists() else f'put at {path} a copy of'
        raise DanluError(
            f'cannot load pretrained weights {path.name} ({reason}): {todo} {weights.url}, or leave out --pretrained'
        ) from error
