"""Hugging Face Accelerate, as its cv_example does it, with its tracker, a bar and a checkpoint per epoch."""

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration
from tqdm import tqdm

from scripts.dev.bench.common import loaders, loss_of, network, optimizer


def train(task, turn):
    """Train and validate with everything prepared by an Accelerator."""
    project = ProjectConfiguration(task.scratch, automatic_checkpoint_naming=True, total_limit=2)
    accelerator = Accelerator(cpu=task.device == 'cpu', log_with='tensorboard', project_config=project)
    accelerator.init_trackers('runs')
    net = network(task)
    parts = accelerator.prepare(net, optimizer(net.parameters(), task), *loaders(task))
    net, adam, train_loader, test_loader = parts
    accuracy = None
    for epoch in range(task.epochs):
        turn(accuracy)
        net.train()
        total_loss = 0
        for images, targets in tqdm(train_loader, disable=not accelerator.is_local_main_process):
            loss = loss_of(net(images), targets)
            total_loss += loss.detach().float()
            accelerator.backward(loss)
            adam.step()
            adam.zero_grad()
        net.eval()
        right = seen = 0
        for images, targets in test_loader:
            with torch.no_grad():
                predictions = net(images).argmax(dim=-1)
            predictions, references = accelerator.gather_for_metrics((predictions, targets))
            right += (predictions == references).long().sum()
            seen += len(references)
        accuracy = right.item() / seen
        accelerator.log({'accuracy': accuracy, 'train_loss': total_loss.item() / len(train_loader)}, step=epoch)
        accelerator.save_state()
