"""Plots of predicted over true numbers."""

import numpy as np
import pytest
import torch

from utils.drawing.colours import OKABE_ITO
from utils.drawing.scatter import scatter


def ink(picture, colour):
    """Return how many pixels are nearly of a colour."""
    return (np.abs(picture.astype(int) - colour).max(-1) < 12).sum()


@pytest.mark.parametrize('count', [1, 3, 9])
def test_each_of_the_first_seven_targets_has_its_colour(count):
    truth = torch.linspace(0, 10, 50)[:, None] + torch.arange(count)
    picture = scatter(truth + 1, truth, None)
    assert picture.dtype == np.uint8
    assert picture.shape == (420, 420, 3)
    shown = [ink(picture, colour) > 30 for colour in OKABE_ITO]
    assert shown == [index < count for index in range(len(OKABE_ITO))]


def test_points_lie_where_their_numbers_are():
    truth = torch.tensor([[0.0], [10.0]])
    places = []
    for predicted in (truth, 10 - truth):  # from the lower left to the upper right, and the other way
        rows, columns = np.nonzero(np.abs(scatter(predicted, truth).astype(int) - OKABE_ITO[0]).max(-1) < 12)
        places.append(np.corrcoef(rows, columns)[0, 1])
    assert places[0] < -0.95
    assert places[1] > 0.95


def test_what_is_not_finite_is_left_out():
    numbers = torch.tensor([[float('nan')], [float('inf')]])
    assert scatter(numbers, numbers).shape == (420, 420, 3)
    assert scatter(torch.ones(1, 1), torch.ones(1, 1), ['price']).shape == (420, 420, 3)
