"""The optimizer's steps where gradients have 16 bits, and may overflow."""

import pytest
import torch

from utils.training.nonfinite_guard import NonFiniteGuard


@pytest.fixture
def wiped():
    """Let torch fill fresh memory with nan, so that whoever takes it for numbers is found out."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


def learn(steps, fused, broken=()):
    """Return the weights after steps of SGD with momentum and a GradScaler; of those in `broken` gradients overflow."""
    torch.manual_seed(0)
    net = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, fused=fused)
    guard, scaler = (
        NonFiniteGuard(net, optimizer, is_synchronous=False),
        torch.amp.GradScaler('cpu', init_scale=2.0**10),
    )
    for step in range(steps):
        optimizer.zero_grad()
        loss = net(torch.full((3, 4), float(step + 1))).mean() * (1e38 if step in broken else 1)
        scaler.scale(loss).backward()
        guard.step(scaler)
        scaler.update()
    return torch.cat([weight.detach().flatten() for weight in net.parameters()])


@pytest.mark.parametrize('broken', [(), (0,), (0, 1), (1,)])
def test_momentum_ignores_skipped_steps(broken, wiped):
    """The fused SGD takes memory as it finds it where its very first step is left out."""
    fused = learn(4, True, broken)
    assert fused.isfinite().all()
    torch.testing.assert_close(fused, learn(4, False, broken))
