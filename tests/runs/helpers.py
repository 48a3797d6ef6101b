"""Helpers of the tests of resuming."""

import subprocess

import torch


def tampered(directory, target, change):
    """Copy a run to `target`, change the state in its last.pth by `change`, and return it."""
    subprocess.run(['cp', '-r', directory, target], check=True)
    state = torch.load(target / 'last.pth', weights_only=True)
    change(state)
    torch.save(state, target / 'last.pth')
    return target


class Noisy(torch.utils.data.Dataset):
    """Draws from the global generator, as torchvision's transforms do, or from one that nobody can know of."""

    def __init__(self, hidden):
        self.hidden = [torch.Generator().manual_seed(3)] if hidden else []

    def __len__(self):
        return 20

    def __getitem__(self, index):
        noise = torch.rand(3, 8, 8, generator=self.hidden[0]) if self.hidden else torch.rand(3, 8, 8)
        return noise + index / 20, index % 3


def loader_of(hidden, own):
    """Return a shuffled DataLoader, whose order is drawn from its own generator or from the global one."""
    generator = torch.Generator().manual_seed(5) if own else None
    return torch.utils.data.DataLoader(Noisy(hidden), batch_size=4, shuffle=True, generator=generator)
