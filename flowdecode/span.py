"""Work and span: what a graph costs, and what it costs with no limit on parallelism.

Work is the sum of all decoded tokens; span is the tokens on the longest chain: the plan up to a
node's line, then the chain of nodes. Their ratio is the parallelism (Brent's law).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Step", "span_of"]


class Step(NamedTuple):
    """One node as a cost: it can start when its parents are done and `offset` plan tokens are decoded."""

    id: str | int
    parents: tuple[str | int, ...]
    tokens: int
    offset: int = 0


def span_of(steps: Iterable[Step]) -> int:
    """Tokens on the longest chain. Steps come parents first; parents that are not listed cost nothing."""
    ends: dict[str | int, int] = {}
    for step in steps:
        start = step.offset
        for parent in step.parents:
            start = max(start, ends.get(parent, 0))
        ends[step.id] = start + step.tokens
    return max(ends.values(), default=0)
