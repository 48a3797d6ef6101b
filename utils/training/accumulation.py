"""--accumulate: the gradients of several batches as the gradient of the one large batch that they make up.

The loss of a large batch is a mean over its pixels, samples or weighted targets. A mean of the batches' means is
another loss where the batches count differently: a smaller last batch, ignored targets, class weights. In a weighted
sum of losses each part is a mean over things of its own, so that the gradients of the parts are added up separately.
"""

import torch

from utils.distributed.fsdp import local_shard


class Accumulation:
    """Adds up the gradients of batches, each by what its loss is a mean over; never waits for the device.

        accumulation.start()
        for ...: accumulation.add(loss, parts, together, scale)
        accumulation.finish()       # the gradients in the network are those of one batch

    Gradients wait as sums that are divided by `references` times the number of batches, so that those of equal batches
    are their mean as they are.

    Args:
        net: nn.Module that learns.

    Attributes:
        alike: which parts of the loss are means over the same things, dict from a name to the first that is like it;
            their gradients are added up together.
    """

    def __init__(self, net):
        self.parameters, self.alike = list(net.parameters()), {}
        self.start()

    def start(self):
        """Begin with no batch."""
        self.together = 1
        self.references, self.totals = {}, {}  # of each part: the first count above 0, and the sum of the counts
        self.kept = {}  # gradients of each part, where there are several

    def add(self, loss, parts, together, scale):
        """Compute the gradients of a batch and add them.

        Args:
            loss: 0-d tensor.
            parts: what it consists of, dict from a name to (weight, value, count): float, 0-d tensor, number or 0-d
                tensor; None: every batch counts alike.
            together: batches of a step (int).
            scale: function(0-d tensor) -> 0-d tensor, by which gradients of 16 bits do not vanish.
        """
        self.together, terms = together, {}
        for name, (weight, value, count) in (parts or {'': (1.0, loss, 1)}).items():
            group = self.alike.get(name, name)
            terms[group] = (terms[group][0] + weight * value if group in terms else weight * value, count)
        if len(terms) == 1:
            [(name, (_, count))] = terms.items()
            scale(loss / self._divisor(name, count)).backward()
            return
        for number, (name, (value, count)) in enumerate(terms.items(), 1):
            self._put(self.kept.get(name, [None] * len(self.parameters)))
            scale(value / self._divisor(name, count)).backward(retain_graph=number < len(terms))
            self.kept[name] = [parameter.grad for parameter in self.parameters]
        self._put([None] * len(self.parameters))

    def _divisor(self, name, count):
        """Return by what the value of a part is divided (number or 0-d tensor), having taken note of its count."""
        if torch.is_tensor(count):
            count = count.detach().double()
        self.totals[name] = self.totals.get(name, 0) + count
        reference = self.references.get(name, 0)
        if torch.is_tensor(count):
            if not torch.is_tensor(reference):  # torch.as_tensor would copy it to a GPU, and wait
                reference = torch.full((), reference, dtype=torch.float64, device=count.device)
            reference = torch.where(reference > 0, reference, count)
        elif not torch.is_tensor(reference):
            reference = reference or count
        self.references[name] = reference
        if torch.is_tensor(reference):  # nothing counts: the loss is 0, and not 0 / 0
            return torch.where(reference > 0, reference * self.together / count, 1.0).float()
        return reference * self.together / count if count else float('inf') if reference else 1.0

    def finish(self):
        """Bring the gradients that were added up into the network: then they are those of one batch."""
        if not self.kept:
            for name in self.totals:
                _multiply(_present(parameter.grad for parameter in self.parameters), self._factor(name))
            return
        for name, gradients in self.kept.items():
            _multiply(_present(gradients), self._factor(name))
        self._put([_sum_of(each) for each in zip(*self.kept.values(), strict=True)])
        self.kept = {}

    def _factor(self, name):
        """Return what the gradients of a part have to be multiplied by (number or 0-d tensor)."""
        reference, total = self.references[name], self.totals[name]
        if torch.is_tensor(total):
            return torch.where(total > 0, reference * self.together / total, 1.0)
        return reference * self.together / total if total else 1.0

    def _put(self, gradients):
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient

    def state_dict(self):
        """Return where it stands, besides the gradients in the network: dict of plain values and tensors."""
        references, totals = ({name: float(n) for name, n in of.items()} for of in (self.references, self.totals))
        return {'together': self.together, 'references': references, 'totals': totals, 'kept': dict(self.kept)}

    def load_state_dict(self, state):
        """Go on where `state_dict` was taken."""
        self.together, self.references, self.totals = state['together'], state['references'], state['totals']
        self.kept = {
            name: [
                None if gradient is None else gradient.to(parameter.device)
                for parameter, gradient in zip(self.parameters, gradients, strict=True)
            ]
            for name, gradients in state['kept'].items()
        }


def _present(gradients):
    """Return those of gradients that are there (list of tensors), of shards the local ones."""
    return [local_shard(gradient) for gradient in gradients if gradient is not None]


def _multiply(gradients, factor):
    if gradients and (torch.is_tensor(factor) or factor != 1):
        for gradient in gradients:
            gradient.mul_(factor)


def _sum_of(gradients):
    """Return the sum of gradients (tensors or None), or None: there is none."""
    total = None
    for gradient in gradients:
        total = gradient if total is None else total if gradient is None else total.add_(gradient)
    return total
