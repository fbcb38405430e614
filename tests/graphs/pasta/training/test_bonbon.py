"""The loss of the second stage, by hand and by finite differences."""

from __future__ import annotations

from typing import Any

import pytest

from flowdecode_graphs.pasta.training.bonbon import beta_of, bonbon_loss

torch: Any = pytest.importorskip("torch")


def losses(*tensors: Any, alpha: float, beta: float) -> Any:
    return bonbon_loss(*tensors, alpha=alpha, beta=beta)


def tensor(*values: float) -> Any:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def test_the_loss_is_that_of_the_formula() -> None:
    """-0.1 x -10 + 0.9 x ((-10 + 12) - (-11 + 12.5) - 1/0.5)^2 = 1 + 0.9 x 1.5^2."""
    best, worst = tensor(-10.0, -3.0), tensor(-12.0, -3.0)
    loss = losses(best, worst, tensor(-11.0, -3.0), tensor(-12.5, -3.0), alpha=0.1, beta=0.25)
    assert loss.tolist() == pytest.approx([1 + 0.9 * 1.5**2, 0.3 + 0.9 * 4])


def test_alpha_one_is_supervised_and_alpha_zero_is_ipo() -> None:
    best, worst, same = tensor(-7.0), tensor(-8.0), tensor(-7.5)
    assert losses(best, worst, same, same, alpha=1.0, beta=0.5).tolist() == [7.0]
    assert losses(best, worst, same, same, alpha=0.0, beta=0.5).tolist() == [0.0]


def test_the_gradient_is_that_of_finite_differences() -> None:
    best, worst = tensor(-10.0, -4.2, -30.0), tensor(-12.0, -4.0, -29.0)
    reference = tensor(-11.0, -4.0, -31.0).detach(), tensor(-12.5, -5.0, -28.0).detach()

    def loss(best: Any, worst: Any) -> Any:
        return losses(best, worst, *reference, alpha=0.005, beta=beta_of(4)).sum()

    loss(best, worst).backward()
    for moved, gradient in ((best, best.grad), (worst, worst.grad)):
        for index in range(3):
            step = torch.zeros(3, dtype=torch.float64)
            step[index] = 1e-5
            if moved is best:
                difference = loss(best + step, worst) - loss(best - step, worst)
            else:
                difference = loss(best, worst + step) - loss(best, worst - step)
            assert float(gradient[index]) == pytest.approx(float(difference.detach()) / 2e-5, rel=1e-6)
    assert bool((best.grad < 0).all()), "the preferred answer is to become likelier"


def test_beta_is_that_of_best_of_n() -> None:
    """The mean of log U_best - log U_worst of n uniform draws, drawn here."""
    assert 1 / (2 * beta_of(2)) == 1
    assert 1 / (2 * beta_of(4)) == pytest.approx(3 * (1 + 1 / 2 + 1 / 3))
    draws = torch.rand(400_000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean = 3 * float((draws.amax(1).log() - draws.amin(1).log()).mean())
    assert 1 / (2 * beta_of(4)) == pytest.approx(mean, rel=0.01)
    with pytest.raises(ValueError, match="at least 2 samples"):
        beta_of(1)
