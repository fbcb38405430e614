"""Means over prompts, with confidence intervals by bootstrap."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from flowdecode_graphs.evaluation.measures import Mean

__all__ = ["Estimate", "estimate"]

RESAMPLES = 2_000
CONFIDENCE = 0.95


class Estimate(msgspec.Struct, frozen=True):
    """A mean, and the 95 % confidence interval of it."""

    value: float
    low: float
    high: float
    count: int
    """Prompts that it rests on."""


def estimate(prompts: Iterable[Sequence[float]], mean: Mean = "arithmetic") -> Estimate | None:
    """The mean over prompts of each one's mean over repeats; None without any value.

    Whole prompts are drawn again, with replacement, as repeats of one prompt are not independent of each
    other. The interval is the percentiles' one; the same values always give the same one. A geometric mean
    is of values above 0: others have no logarithm and are left out.
    """
    kept = [[value for value in values if mean == "arithmetic" or value > 0] for values in prompts]
    kept = [values for values in kept if values]
    if not kept:
        return None
    if mean == "geometric":
        kept = [[math.log(value) for value in values] for values in kept]
    means = np.array([sum(values) / len(values) for values in kept])
    drawn = _draws(len(means)) @ means / len(means)
    tail = (1 - CONFIDENCE) / 2
    figures = [float(means.mean()), *(float(np.quantile(drawn, q)) for q in (tail, 1 - tail))]
    if mean == "geometric":
        figures = [math.exp(figure) for figure in figures]
    value, low, high = figures
    return Estimate(value, min(low, value), max(high, value), len(means))


@lru_cache(maxsize=64)
def _draws(count: int) -> NDArray[np.float64]:
    """How often each of `count` prompts is drawn in each resample: (resamples, prompts)."""
    generator = np.random.default_rng(count)
    return generator.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(np.float64)
