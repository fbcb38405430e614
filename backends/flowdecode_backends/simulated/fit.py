"""From measured times to costs: least squares of relative errors, with no cost below zero."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

from flowdecode.errors import ConfigurationError

__all__ = ["Observation", "errors", "fitted", "solver"]


class Observation(NamedTuple):
    """A time, and how often it has each cost in it."""

    seconds: float
    counts: tuple[float, ...]

    def predicted(self, costs: Sequence[float]) -> float:
        """What the costs add up to."""
        return sum(count * cost for count, cost in zip(self.counts, costs, strict=True))


def solver() -> Any:
    """SciPy's `nnls`. Raises ConfigurationError where it is not installed."""
    try:
        return import_module("scipy.optimize").nnls
    except ImportError:
        raise ConfigurationError(
            "Expected SciPy, which fits the costs, got none. Install it: pip install 'flowdecode[bench]'."
        ) from None


def fitted(observations: Sequence[Observation]) -> tuple[float, ...]:
    """The costs with the least sum of squared relative errors among those with no cost below zero."""
    # Rows are over the measured time, so that every error is a relative one; columns have a size of one.
    rows = [[count / each.seconds for count in each.counts] for each in observations]
    sizes = [sum(value * value for value in column) ** 0.5 or 1.0 for column in zip(*rows, strict=True)]
    scaled = [[value / size for value, size in zip(row, sizes, strict=True)] for row in rows]
    costs, _ = solver()(scaled, [1.0] * len(rows))
    return tuple(float(cost / size) for cost, size in zip(costs, sizes, strict=True))


def errors(observations: Sequence[Observation], costs: Sequence[float]) -> list[float]:
    """The relative error of each."""
    return [each.predicted(costs) / each.seconds - 1 for each in observations]
