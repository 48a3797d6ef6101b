"""--lr_decay: layer-wise learning rate decay, as in the fine-tuning of BEiT and in timm.

Each parameter belongs to a layer; the learning rate of a layer is --lr times lr_decay ** (layers after it). The last
layer, usually the head, has --lr. Clark et al. 2020 (ELECTRA), section 3; Bao et al. 2021 (BEiT).

The layers of a timm network are those of its `group_matcher`. In other networks they are derived from the modules, in
their order:

- A layer list is an nn.Sequential or nn.ModuleList with at least two children that have parameters.
- The children of the network are examined, and recursively those of a child that holds more than half of the
  parameters and has a layer list among its children.
- Each child of a layer list is a layer (a block of a ResNet's layer1, an encoder layer of a ViT), and so is every other
  examined child.
- A child without a weight of two or more dimensions (a norm) belongs to the layer before it; as the first child, to the
  layer after it.
- Other parameters (class token, position embedding) belong to the first layer.
"""

from torch import nn

from utils.base.errors import DanluError
from utils.base.text_table import number_text, table

LAYER_CONTAINERS = (nn.Sequential, nn.ModuleList)


def layer_numbers(net):
    """Return the number of the layer of each parameter (dict from its name to int, 0 the first)."""
    if hasattr(net, 'group_matcher'):
        from timm.models import group_parameters

        numbers = group_parameters(net, net.group_matcher(coarse=False), reverse=True)
        order = {number: position for position, number in enumerate(sorted(set(numbers.values())))}
        return {name: order[numbers[name]] for name, _ in net.named_parameters()}
    number, is_open, layers = 0, True, {}  # is_open: the current layer has no weight yet and takes the next module
    for prefix, module in layer_modules(net):
        if has_weight_matrix(module) and not is_open:
            number += 1
        is_open = is_open and not has_weight_matrix(module)
        layers |= {f'{prefix}.{name}': number for name, _ in module.named_parameters()}
    return {name: layers.get(name, 0) for name, _ in net.named_parameters()}


def layer_modules(module, prefix=''):
    """Yield (name, module) of the modules that are layers or belong to one, in order; see the module's docstring."""
    total = parameter_count(module)
    for name, child in module.named_children():
        full = f'{prefix}{name}'
        if not parameter_count(child):
            continue
        if is_layer_list(child):
            blocks = [(part, block) for part, block in child.named_children() if parameter_count(block)]
            yield from ((f'{full}.{part}', block) for part, block in blocks)
        elif 2 * parameter_count(child) > total and any(is_layer_list(part) for part in child.children()):
            yield from layer_modules(child, f'{full}.')
        else:
            yield full, child


def is_layer_list(module):
    """Return whether a module is a layer list (bool): a container with at least two children that have parameters."""
    return isinstance(module, LAYER_CONTAINERS) and sum(parameter_count(child) > 0 for child in module.children()) > 1


def parameter_count(module):
    """Return the number of a module's parameters (int)."""
    return sum(parameter.numel() for parameter in module.parameters())


def has_weight_matrix(module):
    """Return whether a module has a parameter of two or more dimensions (bool)."""
    return any(parameter.dim() > 1 for parameter in module.parameters())


def layer_lr_shares(net, decay):
    """Return the share of the learning rate of each parameter (dict from its name to float).

    Raises:
        DanluError: the network has only one layer.
    """
    layers = layer_numbers(net)
    last = max(layers.values(), default=0)
    if not last:
        raise DanluError(
            f'--lr_decay {decay:g}: {type(net).__name__} has one layer only; leave it out, or give --lr_of'
        )
    return {name: decay ** (last - layer) for name, layer in layers.items()}


def layer_lr_table(net, optimizer):
    """Return lines (list of str): a table of the layers with their modules, parameters and learning rates.

    Args:
        net: nn.Module.
        optimizer: torch.optim.Optimizer of its parameters.
    """
    rates = {id(p): group['initial_lr' if 'initial_lr' in group else 'lr'] for group in optimizer.param_groups
             for p in group['params']}  # fmt: skip
    rows = {}
    for (name, parameter), layer in zip(net.named_parameters(), layer_numbers(net).values(), strict=True):
        row = rows.setdefault(layer, {'names': [], 'count': 0, 'rates': set()})
        row['names'].append(name.rpartition('.')[0] or name)
        row['count'] += parameter.numel()
        row['rates'] |= {rates[id(parameter)]} if id(parameter) in rates else set()
    lines = [['layer', 'parts', 'parameters', 'learning rate']]
    for layer, row in sorted(rows.items()):
        shown = ' '.join(number_text(rate, trimmed=True) for rate in sorted(row['rates'])) or 'frozen'
        lines.append([str(layer), modules_text(row['names']), f'{row["count"]:,}', shown])
    return ['learning rates by layer (--lr_decay):', *table(lines[0], lines[1:], right=('layer', 'parameters'))[0]]


def modules_text(names):
    """Return the modules of a layer as short text: 'layer1.0', or the first and the last of four or more."""
    words = [name.split('.') for name in dict.fromkeys(names)]
    depth = next((d for d, each in enumerate(zip(*words, strict=False)) if len(set(each)) > 1), min(map(len, words)))
    if depth:
        return '.'.join(words[0][:depth])
    heads = list(dict.fromkeys(word[0] for word in words))
    return ', '.join(heads) if len(heads) < 4 else f'{heads[0]} ... {heads[-1]}'
