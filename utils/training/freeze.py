"""--freeze: parts of a network whose weights and running statistics training does not change."""

from utils.base.errors import DanluError
from utils.base.module_prefixes import check_prefixes, is_in_any_module
from utils.runs.checkpoint import unwrap_model


def freeze(net, parts):
    """Freeze the parameters of some parts of a network.

    Args:
        net: nn.Module; its parameters under `parts` get requires_grad False.
        parts: prefixes of names (list of str), for example ['layer1', 'layer2.0']; None or [] freezes nothing.

    Returns:
        lines for the log (list of str).

    Raises:
        DanluError: a prefix matches no parameter, or no parameter would be left to train.
    """
    if not parts:
        return []
    check_prefixes('--freeze', parts, [name for name, _ in net.named_parameters()])
    for name, parameter in net.named_parameters():
        if is_in_any_module(name, parts):
            parameter.requires_grad_(False)
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    if not trained:
        raise DanluError(f'--freeze {" ".join(parts)}: nothing is left to train; name fewer parts')
    total = sum(p.numel() for p in net.parameters())
    norms = len(_tracking_norms(net, parts))
    kept = f'; norms that keep their statistics: {norms}' if norms else ''
    return [f'frozen: {total - trained:,} of {total:,} parameters, {trained:,} are trained{kept}']


def train_mode(model, parts):
    """Put a network into training mode, except for the batch norms of its frozen parts.

    In training mode their running mean and variance would drift with the new images, which changes the outputs of the
    frozen parts. Dropout is in training mode everywhere.

    Args:
        model: nn.Module, wrapped or not.
        parts: prefixes as for `freeze` (list of str or None).
    """
    model.train()
    for norm in _tracking_norms(unwrap_model(model), parts or []):
        norm.eval()


def _tracking_norms(net, parts):
    """Return the modules of `parts` with running statistics: batch norms, and instance norms that track them."""
    return [
        module
        for name, module in net.named_modules()
        if is_in_any_module(name, parts) and getattr(module, 'running_mean', None) is not None
    ]
