# ruff: noqa: E402
"""RMSProp by hand."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from hfnet_core.training.stages.rmsprop import RmsProp, SteppedRmsProp


def test_weights_follow_the_formula_from_a_mean_square_of_one() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    idle = torch.nn.Parameter(torch.tensor([5.0]))
    optimizer = RmsProp([weight, idle], 0.1, 0.9, 0.01)
    expected, square = [1.0, -2.0], [1.0, 1.0]
    for gradient in ([3.0, 0.0], [-1.0, 2.0], [0.5, 2.0]):
        weight.grad = torch.tensor(gradient)
        optimizer.step()
        for index, g in enumerate(gradient):
            square[index] = 0.9 * square[index] + 0.1 * g * g
            expected[index] -= 0.1 * g / (square[index] + 0.01) ** 0.5
    torch.testing.assert_close(weight.detach(), torch.tensor(expected))
    assert float(idle.detach()) == 5.0


def test_rates_change_at_their_steps() -> None:
    schedule = SteppedRmsProp((1e-3, 1e-4, 1e-5), (60_000, 80_000), 0.9, 1e-10)
    rates = [schedule.learning_rate(step) for step in (0, 59_999, 60_000, 79_999, 80_000, 84_999)]
    assert rates == [1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5]
