"""From measured times to costs: least squares of relative errors, with no cost below zero."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import fsum
from typing import NamedTuple

__all__ = ["Observation", "errors", "fitted"]


class Observation(NamedTuple):
    """A time, and how often it has each cost in it."""

    seconds: float
    counts: tuple[float, ...]

    def predicted(self, costs: Sequence[float]) -> float:
        """What the costs add up to."""
        return sum(count * cost for count, cost in zip(self.counts, costs, strict=True))


def fitted(observations: Sequence[Observation]) -> tuple[float, ...]:
    """The costs with the least sum of squared relative errors among those with no cost below zero.

    Exact: with few costs every choice of those that are not zero can be tried.
    """
    size = len(observations[0].counts)
    best, least = (0.0,) * size, float("inf")
    for count in range(1, size + 1):
        for chosen in combinations(range(size), count):
            solution = _solved(observations, chosen)
            if solution is None or min(solution) < 0:
                continue
            costs = [0.0] * size
            for place, cost in zip(chosen, solution, strict=True):
                costs[place] = cost
            loss = sum(error * error for error in errors(observations, costs))
            if loss < least:
                best, least = tuple(costs), loss
    return best


def errors(observations: Sequence[Observation], costs: Sequence[float]) -> list[float]:
    """The relative error of each."""
    return [each.predicted(costs) / each.seconds - 1 for each in observations]


def _solved(observations: Sequence[Observation], chosen: Sequence[int]) -> list[float] | None:
    """The normal equations of some of the costs, by Gaussian elimination; None where they say too little.

    Rows are over the measured time, so that every error is a relative one; columns have a size of one.
    """
    rows = [[each.counts[place] / each.seconds for place in chosen] for each in observations]
    sizes = [sum(row[place] ** 2 for row in rows) ** 0.5 for place in range(len(chosen))]
    if not all(sizes):
        return None
    rows = [[value / size for value, size in zip(row, sizes, strict=True)] for row in rows]
    places = range(len(chosen))
    matrix = [
        [*(fsum(row[i] * row[j] for row in rows) for j in places), fsum(row[i] for row in rows)]
        for i in places
    ]
    for i in places:
        pivot = max(range(i, len(chosen)), key=lambda row: abs(matrix[row][i]))
        matrix[i], matrix[pivot] = matrix[pivot], matrix[i]
        if abs(matrix[i][i]) < 1e-9:
            return None
        matrix[i] = [value / matrix[i][i] for value in matrix[i]]
        for j in places:
            if j != i:
                factor = matrix[j][i]
                matrix[j] = [a - factor * b for a, b in zip(matrix[j], matrix[i], strict=True)]
    return [row[-1] / size for row, size in zip(matrix, sizes, strict=True)]
