"""--parallel fsdp: each process holds a shard of the weights, gradients and optimizer state.

The weights of a layer are gathered when it computes and dropped afterwards (Rajbhandari et al. 2020, ZeRO; Zhao et al.
2023, PyTorch FSDP), by torch's fully_shard. Checkpoints hold full tensors, as with one process.
"""

import torch
import torch.distributed as dist
from torch import nn

from utils.base.nested import map_nested

MIN_SHARDED_PARAMETERS = 2**20  # of a module that is gathered by itself; for smaller ones messages cost more
UNSUPPORTED_OPTIONS = {
    'fast': 'it tries copies of the network',
    'compile': 'that has not been tried',
    'channels_last': 'torch shards weights in their usual layout only',
    'ema': 'its average is a copy of the network',
    'histograms': 'no process has whole weights',
    'add_graph': 'the network cannot be traced',
    'print_model': 'the network cannot be copied',
}


def fault_of_options(args):
    """Return why options are invalid with --parallel fsdp (str), or None."""
    for name, why in UNSUPPORTED_OPTIONS.items():
        if getattr(args, name):
            return f'--{name}: not with --parallel fsdp, as {why}; leave one of the two out'
    if args.optimizer == 'adafactor':
        return '--optimizer adafactor: not with --parallel fsdp, as torch has no such step of shards; take another'
    return '--amp fp16: not with --parallel fsdp; take bf16' if args.amp == 'fp16' else None


def shard(net, device, least=MIN_SHARDED_PARAMETERS):
    """Shard a network's parameters over all processes, in place, and return it.

    Modules with children and enough parameters are gathered one after another. Attention stays in one piece, as it
    uses the weights of its layers without calling them.

    Args:
        net: nn.Module on its device.
        device: torch.device of this process.
        least: minimum number of parameters (int) of a module that is gathered by itself.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (dist.get_world_size(),))

    def visit(module):
        """Shard the children of a module and return the number of its parameters that are not sharded yet."""
        own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        if isinstance(module, nn.MultiheadAttention):
            return sum(parameter.numel() for parameter in module.parameters())
        parts = list(module.children())
        own += sum(map(visit, parts))
        if module is net or (parts and own >= least and not isinstance(module, nn.ModuleList | nn.ModuleDict)):
            # The network too: otherwise its own parameters would stay gathered, and be saved so, after a test.
            fully_shard(module, mesh=mesh, reshard_after_forward=True)
            return 0
        return own

    for parameter in net.parameters():  # fully_shard needs contiguous ones; U-Net and FCN use channels_last
        parameter.data = parameter.data.contiguous()
    visit(net)
    return net


def is_sharded(net):
    """Return whether a network's parameters are sharded over processes (bool)."""
    return hasattr(net, 'set_requires_gradient_sync')


def unsharded_class(module):
    """Return the original class of a module, which fully_shard replaces by a subclass."""
    return type(module).__mro__[2] if is_sharded(module) else type(module)


def local_shard(tensor):
    """Return this process's shard of a tensor, or the tensor itself if it is not sharded."""
    return tensor.to_local() if hasattr(tensor, 'to_local') else tensor


def full_tensors(value):
    """Return nested dicts and lists with full tensors in place of shards; all processes must call this.

    Only rank 0 gets the values, the others empty tensors.
    """
    return map_nested(_full_tensor, value)


def _full_tensor(value):
    if not hasattr(value, 'full_tensor'):
        return value
    full = value.full_tensor()
    return full.cpu() if dist.get_rank() == 0 else full.new_empty(0)


def shard_like(tensor, own):
    """Return a full tensor sharded as `own`, if that is sharded; all processes call this with the same tensor."""
    if not hasattr(own, 'device_mesh'):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(own.device), own.device_mesh, own.placements, src_data_rank=None)


def optimizer_state(state, optimizer):
    """Return an optimizer's state (dict, from state_dict) with the tensors sharded as the parameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group['params']]
    numbers = [number for group in state['param_groups'] for number in group['params']]
    placed = dict(zip(numbers, parameters, strict=True)) if len(numbers) == len(parameters) else {}
    fitted = {
        number: {
            name: shard_like(value, placed[number]) if _is_of(value, placed.get(number)) else value
            for name, value in values.items()
        }
        for number, values in state['state'].items()
    }
    return state | {'state': fitted}


def _is_of(value, parameter):
    return torch.is_tensor(value) and parameter is not None and value.shape == parameter.shape


def broadcast_buffers(net):
    """Copy the buffers of rank 0, such as running means, to all processes."""
    for buffer in net.buffers():
        dist.broadcast(buffer, src=0)
