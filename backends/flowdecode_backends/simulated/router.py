"""Which of several engines a request goes to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Literal

from flowdecode_backends.simulated.engine import BatchingEngine

__all__ = ["ROUTERS", "Router", "RouterName", "cache_aware", "least_loaded", "round_robin"]

Engines = Sequence[BatchingEngine]
Router = Callable[[tuple[int, ...]], BatchingEngine]
"""Picks the engine for a prompt."""

_SHARE = 0.5
_IMBALANCE = 32


def round_robin(engines: Engines) -> Router:
    """One after the other."""
    turn = count()
    return lambda prompt: engines[next(turn) % len(engines)]


def least_loaded(engines: Engines) -> Router:
    """The one with the fewest requests in its batch and queue, the first of them."""
    return lambda prompt: min(engines, key=_load)


def cache_aware(engines: Engines) -> Router:
    """The one that has most of the prompt in its cache, if that is half of it; else the least loaded.

    As the SGLang gateway does, a request goes to the least loaded one, too, where the other has many more
    requests (32) than that.
    """

    def pick(prompt: tuple[int, ...]) -> BatchingEngine:
        idle = min(engines, key=_load)
        cached, warm = max(((engine.tree.find(prompt), engine) for engine in engines), key=_cached)
        fair = warm.load <= idle.load + _IMBALANCE
        return warm if fair and cached >= _SHARE * len(prompt) else idle

    return pick


def _load(engine: BatchingEngine) -> int:
    return engine.load


def _cached(found: tuple[int, BatchingEngine]) -> int:
    return found[0]


RouterName = Literal["round_robin", "least_loaded", "cache_aware"]
ROUTERS: dict[RouterName, Callable[[Engines], Router]] = {
    "round_robin": round_robin,
    "least_loaded": least_loaded,
    "cache_aware": cache_aware,
}
