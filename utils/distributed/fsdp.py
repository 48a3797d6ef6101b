"""--parallel fsdp: each process has a shard of the weights, gradients and optimizer's state, none has all of them.

A layer's weights are put together when it computes, and dropped again: Rajbhandari et al. 2020, ZeRO; Zhao et al. 2023,
PyTorch FSDP; here torch's fully_shard. What is saved is whole again, as one process would have it.
"""

import torch
import torch.distributed as dist
from torch import nn

MIN_SHARDED_PARAMETERS = (
    2**20
)  # parameters of a part that is put together by itself; of smaller ones the messages cost more
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
    """Return why options do not go with --parallel fsdp (str), or None."""
    for name, why in UNSUPPORTED_OPTIONS.items():
        if getattr(args, name):
            return f'--{name}: not with --parallel fsdp, as {why}; leave one of the two out'
    if args.optimizer == 'adafactor':
        return '--optimizer adafactor: not with --parallel fsdp, as torch has no such step of shards; take another'
    return '--amp fp16: not with --parallel fsdp; take bf16' if args.amp == 'fp16' else None


def shard(net, device, least=MIN_SHARDED_PARAMETERS):
    """Spread a network's parameters over all processes, in place; return it.

    Parts that have parts themselves (blocks) and enough parameters are put together one after the other. Of attention
    the weights are taken without calling its layers, so it stays in one piece.

    Args:
        net: nn.Module on its device.
        device: torch.device of this process.
        least: parameters (int) of a part that is put together by itself.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (dist.get_world_size(),))

    def visit(module):
        """Shard the parts of a module, and return how many of its parameters are in none of them."""
        own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        if isinstance(module, nn.MultiheadAttention):
            return sum(parameter.numel() for parameter in module.parameters())
        parts = list(module.children())
        own += sum(map(visit, parts))
        if module is net or (parts and own >= least and not isinstance(module, nn.ModuleList | nn.ModuleDict)):
            # Also of the whole: or what it has of its own would stay put together, and be saved so, after a test.
            fully_shard(module, mesh=mesh, reshard_after_forward=True)
            return 0
        return own

    for parameter in net.parameters():  # as fully_shard wants them; U-Net and FCN have their channels last
        parameter.data = parameter.data.contiguous()
    visit(net)
    return net


def is_sharded(net):
    """Return whether a network's parameters are spread over processes (bool)."""
    return hasattr(net, 'set_requires_gradient_sync')


def unsharded_class(module):
    """Return the class of a module; fully_shard derives one of its own from it."""
    return type(module).__mro__[2] if is_sharded(module) else type(module)


def local_shard(tensor):
    """Return the shard that this process has of a tensor, or the tensor itself where it is whole."""
    return tensor.to_local() if hasattr(tensor, 'to_local') else tensor


def full_tensors(value):
    """Return nested dicts and lists with whole tensors in the place of shards; all processes call this.

    Only the first one gets them, the others what their shard is of no size.
    """
    if hasattr(value, 'full_tensor'):
        full = value.full_tensor()
        return full.cpu() if dist.get_rank() == 0 else full.new_empty(0)
    if isinstance(value, dict):
        return {key: full_tensors(item) for key, item in value.items()}
    return [full_tensors(item) for item in value] if isinstance(value, list) else value


def shard_like(tensor, own):
    """Return a whole tensor as `own` lies, in shards or not; all processes call this, with the same tensor."""
    if not hasattr(own, 'device_mesh'):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(own.device), own.device_mesh, own.placements, src_data_rank=None)


def optimizer_state(state, optimizer):
    """Return an optimizer's state (dict, as its state_dict has it) with shards where its parameters have them."""
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
    """Give all processes the buffers of the first one, such as running means, which each has of its own share."""
    for buffer in net.buffers():
        dist.broadcast(buffer, src=0)
