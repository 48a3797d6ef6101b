"""Helpers for networks, under their names in torch_base.

    load_match_dict(model, 'checkpoints/unet_exp/best.pth')     # before wrapping it for several GPUs

`--load_model_path FILE --load_not_strict` does the same for train.py.
"""

from utils.runs.checkpoint import load_checkpoint, load_weights
from utils.runs.state_dicts import select_state_dict


def load_match_dict(model, model_path):
    """Load the weights of a file that match a model in name and shape, and print the others.

    Args:
        model: nn.Module, wrapped for several GPUs or not.
        model_path: a checkpoint of Danlu or a state dict, also one of a DataParallel model.

    Returns:
        the printed lines (list of str).

    Raises:
        DanluError: the file cannot be read, or none of its weights matches.
    """
    weights, note = select_state_dict(load_checkpoint(model_path), model_path)
    lines = load_weights(model, weights, model_path, strict=False)
    lines[0] += f', {note}' if note else ''
    print('\n'.join(lines))
    return lines
