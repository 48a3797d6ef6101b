"""--print_model: a table of a network's layers with output shape, parameters and FLOPs for one sample.

A copy of the network runs on torch's meta device (shapes without values), which needs next to no time or memory. FLOPs
are those of torch.utils.flop_counter: convolutions, matrix products and attention; a multiply-add counts as two.
"""

import copy
from dataclasses import dataclass, field

import torch

from utils.base.errors import first_line
from utils.base.text_table import number_text

MAX_LAYER_ROWS = 64  # deeper layers are included in their parents' rows
MAX_COLUMN_CHARS = {'layer': 40, 'kind': 28, 'output': 18}


@dataclass
class LayerRow:
    """A layer with its sublayers, or a parameter that belongs to a layer directly."""

    name: str  # dotted; '' for the network
    kind: str
    parameters: int
    flops: int = 0
    output: str = ''
    parts: list = field(default_factory=list)  # sublayers (LayerRow)

    def was_called(self):
        """Return whether the layer or a sublayer was called (bool)."""
        return bool(self.output) or any(part.was_called() for part in self.parts)

    def depth(self):
        """Return the layer's depth below the network (int)."""
        return self.name.count('.') + 1 if self.name else 0


def model_table(net, args):
    """Return the table (list of str, lines of up to 120 characters) of a network; never raises.

    Args:
        net: nn.Module, not wrapped; the network, its hooks and the random generators are not changed.
        args: options; channels and image_size define a sample: an image or, if image_size is empty, a feature vector.
            If one of them is None, the table has no outputs and no FLOPs.
    """
    problem = None
    if args.channels and args.image_size is not None:
        shape = (1, args.channels, *args.image_size)
        try:
            seen, total = _run_on_meta(net, shape)
        except Exception as error:  # whatever a user's network raises here, training can go on
            problem = f'it does not run on the meta device ({type(error).__name__}: {first_line(error)[:100]})'
    else:
        problem = 'the size of a sample is not known'
    if problem:
        seen, total = {}, None
    lines = _table_lines(_layer_row(net, '', seen, set()))
    parameters = list(net.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    summary = f'parameters: {sum(p.numel() for p in parameters):,}, trainable: {trained:,}'
    if problem:
        return [*lines, summary, f'no outputs and no FLOPs: {problem}']
    sample = 'x'.join(map(str, shape[1:]))
    return [*lines, f'{summary}; FLOPs of one sample of {sample}, forward: {total:,} ({_short_count(total)})']


def _run_on_meta(net, shape):
    """Run a copy of a network on one sample of `shape` on the meta device.

    Returns:
        dict from each module's name to (shape of its first output (str), FLOPs (int)), and the total FLOPs (int).
    """
    from torch.utils.flop_counter import FlopCounterMode  # imports triton if it is installed

    copied = _copy_on_meta(net)
    counter, seen, running = FlopCounterMode(display=False), {}, {}

    def before(name):
        def hook(module, inputs):
            running.setdefault(name, []).append(counter.get_total_flops())

        return hook

    def after(name):
        def hook(module, inputs, output):
            flops = counter.get_total_flops() - running[name].pop()
            shown, sum_so_far = seen.get(name, (_output_shape(output), 0))
            seen[name] = shown, sum_so_far + flops

        return hook

    for name, module in copied.named_modules():
        module.register_forward_pre_hook(before(name))
        module.register_forward_hook(after(name))
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the fast path hides attention from the counter
    try:
        with torch.no_grad(), counter:
            copied(torch.zeros(shape, device='meta'))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return seen, counter.get_total_flops()


def _copy_on_meta(net):
    """Return a copy of a network on the meta device, in eval mode and without hooks."""
    attributes = (value for module in net.modules() for value in vars(module).values() if torch.is_tensor(value))
    # copy.deepcopy takes the entries of this memo for copied already, so that no weight is copied.
    memo = {id(tensor): _on_meta(tensor) for tensor in (*net.parameters(), *net.buffers(), *attributes)}
    copied = copy.deepcopy(net, memo)
    for module in copied.modules():
        for name, hooks in vars(module).items():
            if name.endswith('_hooks') and isinstance(hooks, dict):
                hooks.clear()
    return copied.eval()


def _on_meta(tensor):
    empty = torch.empty_like(tensor, device='meta')
    return torch.nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else empty


def _layer_row(module, name, seen, listed):
    """Return the LayerRow of a module with its sublayers, except those in `listed` (set of ids)."""
    output, flops = seen.get(name, ('', 0))
    row = LayerRow(name, type(module).__name__, sum(p.numel() for p in module.parameters()), flops, output)
    prefix = f'{name}.' if name else ''
    for child_name, child in module.named_children():
        if id(child) not in listed:
            listed.add(id(child))
            row.parts.append(_layer_row(child, prefix + child_name, seen, listed))
    if name in seen and not any(part.was_called() for part in row.parts):
        row.parts = []  # torch.nn's attention uses the weights of its sublayers without calling them
    if row.parts:
        own = module.named_parameters(recurse=False)
        row.parts = [LayerRow(prefix + n, 'Parameter', p.numel(), 0, _shape_text(p.shape)) for n, p in own] + row.parts
    if not row.flops:  # an nn.ModuleList is not called itself
        row.flops = sum(part.flops for part in row.parts)
    row.parts = [part for part in row.parts if part.parameters or part.flops]
    return row


def _table_lines(root):
    """Return the lines of the table, to the largest depth with at most MAX_LAYER_ROWS rows."""
    levels, level = [], root.parts
    while level:
        levels.append(level)
        level = [part for row in level for part in row.parts]
    depth, rows = 1, len(root.parts)
    while depth < len(levels) and rows + len(levels[depth]) <= MAX_LAYER_ROWS:
        rows += len(levels[depth])
        depth += 1
    cells = [('layer', 'kind', 'output', 'parameters', 'FLOPs')]
    cells += [_cells(row) for row in _rows_to_depth(root, depth) or [root]]
    widths = [min(max(map(len, column)), MAX_COLUMN_CHARS.get(column[0], 20)) for column in zip(*cells, strict=True)]
    lines = [_line(row, widths) for row in cells]
    lines.insert(1, '-' * max(map(len, lines)))
    if depth < len(levels):
        lines.append(f'(down to {depth} of {len(levels)} levels; deeper ones are in the sums of those above)')
    return lines


def _rows_to_depth(row, depth):
    """Return the rows below a row, in order, down to `depth` (int)."""
    below = []
    for part in row.parts if row.depth() < depth else []:
        below += [part, *_rows_to_depth(part, depth)]
    return below


def _cells(row):
    shown = '  ' * (row.depth() - 1) + (row.name.rpartition('.')[2] or '-')
    return shown, row.kind, row.output, f'{row.parameters:,}', _short_count(row.flops) if row.flops else ''


def _line(cells, widths):
    texts = []
    for column, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        text = cell if len(cell) <= width else cell[: width - 3] + '...'
        texts.append(text.ljust(width) if column < 3 else text.rjust(width))  # the last two columns are numbers
    return '  '.join(texts).rstrip()


def _output_shape(output):
    """Return the shape (str) of a layer's output without the batch axis; of several outputs the first and '...'."""
    if torch.is_tensor(output):
        return _shape_text(output.shape[1:])
    several = list(output.values()) if isinstance(output, dict) else output
    if isinstance(several, list | tuple) and several:
        return f'{_output_shape(several[0])} ...' if len(several) > 1 else _output_shape(several[0])
    return '-'


def _shape_text(shape):
    return 'x'.join(map(str, shape)) or '1'


def _short_count(flops):
    """Return a number of FLOPs with four digits: 1234567 -> '1.235 M'."""
    for unit, size in (('T', 1e12), ('G', 1e9), ('M', 1e6), ('k', 1e3)):
        if flops >= size:
            return f'{number_text(flops / size, trimmed=True)} {unit}'
    return str(flops)
