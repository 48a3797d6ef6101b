"""Small networks that several files of tests train."""

from torch import nn


class Normed(nn.Module):
    """Three scores of pictures of 3 x 2 x 2 values, by two layers with a norm between them."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, images):
        return self.layers(images)


class Dropping(nn.Module):
    """As Normed, with a dropout that draws random numbers in training."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3)
        )

    def forward(self, images):
        return self.layers(images)
