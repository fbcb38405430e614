"""The best and the worst sample of each prompt."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from flowdecode.errors import ConfigurationError
from flowdecode_graphs.pasta.training.scores import Score

__all__ = ["LAMBDAS", "Pair", "best_and_worst", "pairs_of", "read_lambda"]

LAMBDAS = "1,2,4,8,inf"
"""PASTA's own: how much quality weighs against speedup."""
SAME = 9
"""Decimals to which scores are compared."""


class Pair(msgspec.Struct, frozen=True):
    """Two samples of one prompt; the first is preferred."""

    best: Score
    worst: Score


def read_lambda(text: str) -> float:
    """A weight of quality from 0 on, or `inf`. Raises ConfigurationError."""
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not weight >= 0:
        raise ConfigurationError(f"Expected numbers from 0 on, or inf, got {text!r} - at --lambda.")
    return weight


def best_and_worst(scores: Sequence[Score], weight: float) -> Pair | None:
    """Of one prompt's samples, by speedup + `weight` x quality; None where no two of them differ in it.

    The best is well-formed, the worst may be anything. With an infinite weight quality alone decides, and
    speedup where it is the same.
    """

    def total(score: Score) -> tuple[float, float]:
        if math.isinf(weight):
            return round(score.quality, SAME), round(score.speedup, SAME)
        return round(score.speedup + weight * score.quality, SAME), 0.0

    preferable = [score for score in scores if score.well_formed]
    if not preferable:
        return None
    best, worst = max(preferable, key=total), min(scores, key=total)
    return Pair(best, worst) if total(best) > total(worst) else None


def pairs_of(scores: Iterable[Score], weight: float) -> list[Pair]:
    """The pairs of all prompts that have one, in the order of the prompts."""
    by_item: dict[str, list[Score]] = defaultdict(list)
    for score in scores:
        by_item[score.item].append(score)
    pairs = [best_and_worst(of_one, weight) for of_one in by_item.values()]
    return [pair for pair in pairs if pair is not None]
