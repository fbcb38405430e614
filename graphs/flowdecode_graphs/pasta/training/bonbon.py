"""The BoNBoN loss (arXiv 2406.00832): supervised on the best of n samples, and IPO between best and worst."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ALPHA", "beta_of", "bonbon_loss"]

ALPHA = 0.005
"""The weight of the supervised term, whose gradient is of one log-probability where IPO's is of a square's.

PASTA's own values of alpha and beta are not public; this one is ours.
"""


def beta_of(samples: int) -> float:
    """The beta at which the loss is least where the model has become best-of-n, n being `samples`.

    If a sample's score is better than a share U of all that the reference model says, best-of-n makes it
    n U^(n-1) times as likely. The best of n and the worst of n then differ in that log-ratio by
    (n-1) (log U_best - log U_worst), whose mean is (n-1) (1 + 1/2 + ... + 1/(n-1)): that is 1/(2 beta).
    """
    if samples < 2:
        raise ValueError(f"Expected at least 2 samples, of which one can be the best, got {samples}.")
    return 1 / (2 * (samples - 1) * sum(1 / k for k in range(1, samples)))


def bonbon_loss(
    best: Tensor, worst: Tensor, reference_best: Tensor, reference_worst: Tensor, *, alpha: float, beta: float
) -> Tensor:
    """The loss of each pair, `[pairs]`, from the log-probabilities of whole answers, `[pairs]` each.

    -alpha log p(best) + (1 - alpha) (log p(best)/p(worst) - log p0(best)/p0(worst) - 1/(2 beta))^2
    """
    margin = (best - worst) - (reference_best - reference_worst)
    return -alpha * best + (1 - alpha) * (margin - 1 / (2 * beta)) ** 2
