"""--accumulate: gradient accumulation that gives the gradient of the one large batch.

The loss of a batch is a mean over its pixels, samples or weighted targets. A mean of the batches' means is another loss
where batches have different counts: a smaller last batch, ignored targets, class weights. In a weighted sum of losses,
each part is a mean with its own count, so the gradients of the parts are accumulated separately.
"""

import torch

from utils.distributed.fsdp import local_shard


class Accumulation:
    """Accumulates the gradients of batches, weighted by the counts of their means; never waits for the device.

        accumulation.start()
        for ...: accumulation.add(loss, parts, step_batches, scale)
        accumulation.finish()       # the gradients in the network are those of one large batch

    Gradients are summed, divided by `references` times the number of batches. For batches with equal counts this sum is
    the mean already.

    Args:
        net: nn.Module to train.

    Attributes:
        group_of_part: dict from the name of each part of the loss to the name of its group, the first part that is a
            mean with the same count; the gradients of a group are accumulated together.
    """

    def __init__(self, net):
        self.parameters, self.group_of_part = list(net.parameters()), {}
        self.start()

    def start(self):
        """Start a step, without any batch yet."""
        self.step_batches = 1
        self.references, self.totals = {}, {}  # by group: the first count above 0, and the sum of the counts
        self.part_gradients = {}  # by group, if there are several

    def add(self, loss, parts, step_batches, scale):
        """Compute the gradients of a batch and add them.

        Args:
            loss: 0-d tensor.
            parts: parts of the loss: dict from a name to (weight (float), value (0-d tensor), count (number or 0-d
                tensor)); None: all batches have the same weight.
            step_batches: batches of the step (int).
            scale: function(0-d tensor) -> 0-d tensor that applies the gradient scale.
        """
        self.step_batches, terms = step_batches, {}
        for name, (weight, value, count) in (parts or {'': (1.0, loss, 1)}).items():
            group = self.group_of_part.get(name, name)
            terms[group] = (terms[group][0] + weight * value if group in terms else weight * value, count)
        if len(terms) == 1:
            [(name, (_, count))] = terms.items()
            scale(loss / self._divisor(name, count)).backward()
            return
        for number, (name, (value, count)) in enumerate(terms.items(), 1):
            self._set_gradients(self.part_gradients.get(name, [None] * len(self.parameters)))
            scale(value / self._divisor(name, count)).backward(retain_graph=number < len(terms))
            self.part_gradients[name] = [parameter.grad for parameter in self.parameters]
        self._set_gradients([None] * len(self.parameters))

    def _divisor(self, name, count):
        """Add a count to the totals and return the divisor of the part's value (number or 0-d tensor)."""
        if torch.is_tensor(count):
            count = count.detach().double()
        self.totals[name] = self.totals.get(name, 0) + count
        reference = self.references.get(name, 0)
        if torch.is_tensor(count):
            if not torch.is_tensor(reference):  # torch.as_tensor would copy the number to the GPU and wait
                reference = torch.full((), reference, dtype=torch.float64, device=count.device)
            reference = torch.where(reference > 0, reference, count)
        elif not torch.is_tensor(reference):
            reference = reference or count
        self.references[name] = reference
        if torch.is_tensor(reference):  # a count of 0 gives a loss of 0, not 0 / 0
            return torch.where(reference > 0, reference * self.step_batches / count, 1.0).float()
        return reference * self.step_batches / count if count else float('inf') if reference else 1.0

    def finish(self):
        """Set the network's gradients to those of the one large batch."""
        if not self.part_gradients:
            for name in self.totals:
                _scale_gradients(
                    _existing_gradients(parameter.grad for parameter in self.parameters), self._factor(name)
                )
            return
        for name, gradients in self.part_gradients.items():
            _scale_gradients(_existing_gradients(gradients), self._factor(name))
        self._set_gradients([_sum_gradients(each) for each in zip(*self.part_gradients.values(), strict=True)])
        self.part_gradients = {}

    def _factor(self, name):
        """Return the factor (number or 0-d tensor) from a group's summed gradients to those of the large batch."""
        reference, total = self.references[name], self.totals[name]
        if torch.is_tensor(total):
            return torch.where(total > 0, reference * self.step_batches / total, 1.0)
        return reference * self.step_batches / total if total else 1.0

    def _set_gradients(self, gradients):
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient

    def state_dict(self):
        """Return the state besides the network's gradients: dict of plain values and tensors."""
        references, totals = ({name: float(n) for name, n in of.items()} for of in (self.references, self.totals))
        return {
            'together': self.step_batches,
            'references': references,
            'totals': totals,
            'kept': dict(self.part_gradients),
        }

    def load_state_dict(self, state):
        """Restore what `state_dict` returned."""
        self.step_batches, self.references, self.totals = state['together'], state['references'], state['totals']
        self.part_gradients = {
            name: [
                None if gradient is None else gradient.to(parameter.device)
                for parameter, gradient in zip(self.parameters, gradients, strict=True)
            ]
            for name, gradients in state['kept'].items()
        }


def _existing_gradients(gradients):
    """Return the gradients that are not None (list of tensors); of sharded ones the local shards."""
    return [local_shard(gradient) for gradient in gradients if gradient is not None]


def _scale_gradients(gradients, factor):
    if gradients and (torch.is_tensor(factor) or factor != 1):
        for gradient in gradients:
            gradient.mul_(factor)


def _sum_gradients(gradients):
    """Return the sum of gradients (tensors or None), or None if all are None."""
    total = None
    for gradient in gradients:
        total = gradient if total is None else total if gradient is None else total.add_(gradient)
    return total
