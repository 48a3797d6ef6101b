"""The limit: a bare loop over tensors that lie ready, normalised, on the device. No metrics, no log, no checkpoint.

`fast` has bf16, channels_last and, on a GPU, torch.compile.
"""

import torch

from scripts.dev.bench.common import accuracy_of, loss_of, network, optimizer, ready_tensors


def train(task, turn):
    """Train with one index operation per batch; validate by counting right predictions."""
    fast = task.style == 'fast'
    amp = torch.autocast(task.device, torch.bfloat16, enabled=fast)
    images, labels = ready_tensors(task, 'train')
    held_out = [tensor.split(task.batch_size) for tensor in ready_tensors(task, 'test')]
    net = network(task)
    if fast:
        images, net = images.to(memory_format=torch.channels_last), net.to(memory_format=torch.channels_last)
        net = torch.compile(net) if task.device == 'cuda' else net
    adam = optimizer(net.parameters(), task)
    accuracy = None
    while True:
        turn(accuracy)
        net.train()
        total = torch.zeros((), device=task.device)
        for indices in torch.randperm(len(images), device=task.device).split(task.batch_size):
            with amp:
                loss = loss_of(net(images.index_select(0, indices)), labels.index_select(0, indices))
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
            total += loss.detach()
        with amp:
            accuracy = accuracy_of(net, zip(*held_out, strict=True))
