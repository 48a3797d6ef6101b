"""A weighted sum of losses: --loss ce+0.5*dice."""

from torch import nn


class WeightedSum(nn.Module):
    """A weighted sum of losses.

    The terms are means over different things (pixels, images, weighted targets), so the mean over a data set is the
    sum of the means of the terms; there is no single count. `last_parts` has the count of each term of a batch.

    Args:
        losses: dict from name to loss.
        weights: dict from the same names to float.

    Attributes:
        last_parts: of the last batch, dict from name to (weight, value, count): float, 0-d tensor, number or 0-d
            tensor.
    """

    def __init__(self, losses, weights):
        super().__init__()
        self.losses, self.weights, self.last_parts = nn.ModuleDict(losses), dict(weights), {}

    def forward(self, predictions, targets):
        """Return the weighted sum of the values of the losses, a 0-d tensor."""
        total, self.last_parts = 0.0, {}
        for name, loss in self.losses.items():
            value = loss(predictions, targets)
            total = total + self.weights[name] * value
            count = loss.count(predictions, targets) if hasattr(loss, 'count') else len(targets)
            self.last_parts[name] = (self.weights[name], value, count)
        return total

    def parts(self):
        """Return the losses with their weights: dict from name to (weight, loss)."""
        return {name: (self.weights[name], loss) for name, loss in self.losses.items()}

    def counted_alike(self):
        """Return which losses share their counts: dict from name to the first name with the same count."""
        first, found = {}, {}
        for name, loss in self.losses.items():
            weights = getattr(loss, 'class_weights', None)
            weights = None if weights is None else tuple(weights.tolist())
            key = getattr(type(loss), 'count', None), getattr(loss, 'ignore_index', None), weights
            found[name] = first.setdefault(key, name)
        return found
