"""A loss function as a module."""

from torch import nn


class FunctionLoss(nn.Module):
    """Wraps a loss function (predictions, targets) -> 0-d tensor in a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, predictions, targets):
        """Return the function's value."""
        return self.function(predictions, targets)
