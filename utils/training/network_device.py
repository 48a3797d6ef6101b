"""The device of the network: the same as that of the data, or the Apple GPU with the data on the CPU.

MPS, the backend of PyTorch for Apple GPUs, has no 64-bit floating point, in which metrics and sums are computed. With
--device mps only the network runs there: it takes its inputs from the CPU and returns its outputs to it, and the
gradient takes the same way back. CPU and GPU of these computers share their memory.
"""

import torch

MPS = 'mps'


class InputsToNetwork:
    """Forward pre-hook that copies the inputs to the device of the network's weights, wherever these are now."""

    def __call__(self, module, inputs):
        """Return the inputs (tuple)."""
        device = next(module.parameters(), torch.empty(0)).device
        return _moved(inputs, device)


class OutputsToCpu:
    """Forward hook that copies the outputs to the CPU."""

    def __call__(self, module, inputs, outputs):
        """Return the outputs: a tensor, or nested dicts and lists of tensors."""
        return _moved(outputs, torch.device('cpu'))


def _moved(value, device):
    """Return tensors, also in tuples, lists and dicts, on a device; other values are returned as they are."""
    if torch.is_tensor(value):
        return value.to(device)
    if type(value) in (tuple, list):
        return type(value)(_moved(each, device) for each in value)
    return {key: _moved(each, device) for key, each in value.items()} if type(value) is dict else value


def placed(net, device):
    """Return a network (nn.Module) on a device (torch.device); on an Apple GPU it takes inputs from the CPU."""
    net = net.to(device)
    if device.type == MPS and not any(isinstance(hook, OutputsToCpu) for hook in net._forward_hooks.values()):
        keep_data_on_cpu(net)
    return net


def keep_data_on_cpu(net):
    """Let a network (nn.Module) take inputs from the CPU, and return outputs to it, wherever its weights are."""
    net.register_forward_pre_hook(InputsToNetwork())
    net.register_forward_hook(OutputsToCpu())  # behind those that convert the outputs on the network's device


def data_device(device):
    """Return the device (torch.device) of inputs, targets and losses for a network on `device`."""
    return torch.device('cpu') if device.type == MPS else device
