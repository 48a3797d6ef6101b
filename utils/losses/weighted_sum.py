"""A weighted sum of losses: --loss ce+0.5*dice."""

from torch import nn


class WeightedSum(nn.Module):
    """A sum of losses, each with a weight.

    Each part is a mean over things of its own (pixels, pictures, weighted targets), so the mean over a set is the sum
    of the parts' means, and no single count belongs to it: `last_parts` has what is needed for each batch.

    Args:
        losses: dict from a name to a loss.
        weights: dict from the same names to numbers.

    Attributes:
        last_parts: of the last batch, dict from a loss's name to (weight, value, count): float, 0-d tensor, number or
            0-d tensor.
    """

    def __init__(self, losses, weights):
        super().__init__()
        self.losses, self.weights, self.last_parts = nn.ModuleDict(losses), dict(weights), {}

    def forward(self, predictions, targets):
        """Return the weighted sum of the losses' values, a 0-d tensor; arguments as each of them takes them."""
        total, self.last_parts = 0.0, {}
        for name, loss in self.losses.items():
            value = loss(predictions, targets)
            total = total + self.weights[name] * value
            count = loss.count(predictions, targets) if hasattr(loss, 'count') else len(targets)
            self.last_parts[name] = (self.weights[name], value, count)
        return total

    def parts(self):
        """Return the losses with their weights: dict from a name to (weight, loss)."""
        return {name: (self.weights[name], loss) for name, loss in self.losses.items()}

    def counted_alike(self):
        """Return which losses are means over the same things: dict from a name to the first name that is like it."""
        first, found = {}, {}
        for name, loss in self.losses.items():
            weights = getattr(loss, 'class_weights', None)
            weights = None if weights is None else tuple(weights.tolist())
            key = getattr(type(loss), 'count', None), getattr(loss, 'ignore_index', None), weights
            found[name] = first.setdefault(key, name)
        return found
