"""Downloading pretrained weights, and saying what to do where there is no network."""

import contextlib
import pickle
from pathlib import Path

import torch

from utils.base.errors import DanluError


@contextlib.contextmanager
def downloading(weights):
    """Turn the failures of fetching or reading torchvision weights into a message that says what to do by hand.

    Args:
        weights: a member of a torchvision weights enum, for example ResNet18_Weights.DEFAULT, that the body loads.

    Raises:
        DanluError: the file cannot be downloaded (no network, no right to write it) or read (it is damaged).
    """
    try:
        yield
    # URLError is an OSError; torch reports a wrong hash as RuntimeError, a damaged file as any of the other three.
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        path = Path(torch.hub.get_dir(), 'checkpoints', Path(weights.url).name)
        reason = str(error).strip().split('\n', maxsplit=1)[0] or type(error).__name__
        todo = f'delete the damaged {path}, or replace it by' if path.exists() else f'put at {path} a copy of'
        raise DanluError(
            f'cannot load pretrained weights {path.name} ({reason}): {todo} {weights.url}, or leave out --pretrained'
        ) from error
