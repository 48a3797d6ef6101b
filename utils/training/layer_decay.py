"""--lr_decay: learning rates that fall from the last layer to the first, as fine-tuning of BEiT and of timm has them.

Each parameter belongs to a layer; the learning rate of a layer is --lr times lr_decay ** (layers after it). The last
layer, as a rule the head, has --lr. Clark et al. 2020 (ELECTRA), section 3; Bao et al. 2021 (BEiT).

Layers of a network of timm are those of its `group_matcher`. In every other network they are found from its modules,
in the order in which they stand in the network:

- The network is opened: its children are looked at. So is a child that holds more than half of its parameters and has
  an nn.Sequential or nn.ModuleList with two children or more that have parameters.
- Each child of such a list is a layer (a block of a ResNet's layer1, an encoder layer of a ViT).
- Every other child is a layer.
- A child without a weight of two dimensions or more (a norm) belongs to the layer before it, or, as the first one, to
  the layer after it.
- Parameters that stand beside these children (class token, position embedding) belong to the first layer.
"""

from torch import nn

from utils.base.errors import DanluError
from utils.base.text_table import table

LISTS = (nn.Sequential, nn.ModuleList)


def layers_of(net):
    """Return the number of the layer of each parameter (dict from its name to int, 0 the first)."""
    if hasattr(net, 'group_matcher'):
        from timm.models import group_parameters

        numbers = group_parameters(net, net.group_matcher(coarse=False), reverse=True)
        order = {number: place for place, number in enumerate(sorted(set(numbers.values())))}
        return {name: order[numbers[name]] for name, _ in net.named_parameters()}
    number, joined, layers = 0, True, {}  # joined: the layer at hand may take what follows, as it has no weight yet
    for prefix, module in blocks_of(net):
        if has_weight(module) and not joined:
            number += 1
        joined = joined and not has_weight(module)
        layers |= {f'{prefix}.{name}': number for name, _ in module.named_parameters()}
    return {name: layers.get(name, 0) for name, _ in net.named_parameters()}


def blocks_of(module, prefix=''):
    """Yield (name, module) of the children that are layers or belong to one, in order; see the top of this file."""
    total = count(module)
    for name, child in module.named_children():
        full = f'{prefix}{name}'
        if not count(child):
            continue
        if is_list(child):
            yield from ((f'{full}.{part}', block) for part, block in child.named_children() if count(block))
        elif 2 * count(child) > total and any(is_list(part) for part in child.children()):
            yield from blocks_of(child, f'{full}.')
        else:
            yield full, child


def is_list(module):
    """Return whether a module is a list of layers (bool): one of LISTS with two children that have parameters."""
    return isinstance(module, LISTS) and sum(count(child) > 0 for child in module.children()) > 1


def count(module):
    """Return how many numbers the parameters of a module hold (int)."""
    return sum(parameter.numel() for parameter in module.parameters())


def has_weight(module):
    """Return whether a module has a parameter of two dimensions or more (bool)."""
    return any(parameter.dim() > 1 for parameter in module.parameters())


def layer_shares(net, decay):
    """Return the share of the learning rate of each parameter (dict from its name to float).

    Raises:
        DanluError: the network has one layer only.
    """
    layers = layers_of(net)
    last = max(layers.values(), default=0)
    if not last:
        raise DanluError(
            f'--lr_decay {decay:g}: {type(net).__name__} has one layer only; leave it out, or give --lr_of'
        )
    return {name: decay ** (last - layer) for name, layer in layers.items()}


def layer_table(net, optimizer):
    """Return lines (list of str): a table of the layers with their parts, parameters and learning rates.

    Args:
        net: nn.Module.
        optimizer: torch.optim.Optimizer, whose groups have the learning rates.
    """
    rates = {id(p): group['initial_lr' if 'initial_lr' in group else 'lr'] for group in optimizer.param_groups
             for p in group['params']}  # fmt: skip
    rows = {}
    for (name, parameter), layer in zip(net.named_parameters(), layers_of(net).values(), strict=True):
        row = rows.setdefault(layer, {'names': [], 'count': 0, 'rates': set()})
        row['names'].append(name.rpartition('.')[0] or name)
        row['count'] += parameter.numel()
        row['rates'] |= {rates[id(parameter)]} if id(parameter) in rates else set()
    lines = [['layer', 'parts', 'parameters', 'learning rate']]
    for layer, row in sorted(rows.items()):
        shown = ' '.join(f'{rate:.3g}' for rate in sorted(row['rates'])) or 'frozen'
        lines.append([str(layer), parts(row['names']), f'{row["count"]:,}', shown])
    return ['learning rates by layer (--lr_decay):', *table(lines[0], lines[1:], right=('layer', 'parameters'))[0]]


def parts(names):
    """Return the modules of a layer as a short text: 'layer1.0', or the first and the last of several."""
    words = [name.split('.') for name in dict.fromkeys(names)]
    depth = next((d for d, each in enumerate(zip(*words, strict=False)) if len(set(each)) > 1), min(map(len, words)))
    if depth:
        return '.'.join(words[0][:depth])
    heads = list(dict.fromkeys(word[0] for word in words))
    return ', '.join(heads) if len(heads) < 4 else f'{heads[0]} ... {heads[-1]}'
