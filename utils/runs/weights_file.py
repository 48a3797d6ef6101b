"""Files of weights alone in the format safetensors, which needs the package safetensors."""

from utils.base.errors import DanluError
from utils.base.regular_files import naming, open_regular, regular


def write_weights_file(path, net, metadata):
    """Write the weights of a network to a file.

    Args:
        path: Path of the file.
        net: nn.Module.
        metadata: dict of str.

    Raises:
        OSError: the file cannot be written.
    """
    from safetensors.torch import save

    weights, seen = {}, set()
    for name, value in net.state_dict().items():
        value = value.detach().cpu().contiguous()
        # The library refuses tensors that share memory, such as tied weights.
        weights[name] = value.clone() if value.data_ptr() in seen else value
        seen.add(value.data_ptr())
    with naming(path), open_regular(path, 'wb') as file:
        file.write(save(weights, metadata))


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
