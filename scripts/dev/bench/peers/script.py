"""The usual tutorial script: a data set of single pictures, a DataLoader, loss.item() in each step."""

from scripts.dev.bench.common import accuracy_of, loaders, loss_of, network, optimizer, to_device


def train(task, turn):
    """Train and validate as pytorch.org's tutorials do."""
    train_loader, test_loader = loaders(task)
    net = network(task)
    adam = optimizer(net.parameters(), task)
    accuracy = None
    while True:
        turn(accuracy)
        net.train()
        running_loss = 0.0
        for batch in train_loader:
            images, targets = to_device(batch, task)
            adam.zero_grad()
            loss = loss_of(net(images), targets)
            loss.backward()
            adam.step()
            running_loss += loss.item()
        if test_loader is not None:
            accuracy = accuracy_of(net, (to_device(batch, task) for batch in test_loader))
