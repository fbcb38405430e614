"""Where a node's context comes from: the longest conversation that the engine should still hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from flowdecode.plan import PlanNode

__all__ = ["Layout", "Source", "can_overlap", "sources"]

Layout = Literal["spine", "canonical"]


class Source(NamedTuple):
    """What a node's context is made of."""

    spine: int | None
    """The parent whose whole conversation the node goes on with; None: it begins with the plan."""
    others: tuple[int, ...]
    """The parents whose answers are not in that conversation, in ascending order."""
    seen: frozenset[int]
    """All nodes whose answers the context holds, once the node is done its own too."""
    length: int
    """Expected tokens of all these answers."""


def sources(nodes: Sequence[PlanNode], layout: Layout) -> dict[int, Source]:
    """By node id. It depends on nothing but the lines before each node's own, so it is repeatable.

    With `spine`, a node goes on with the parent whose context is expected to be the longest, the
    lowest id among equals; with `canonical`, every context begins with the plan.
    """
    found: dict[int, Source] = {}
    expected = {node.id: node.expected_tokens for node in nodes}
    for node in nodes:
        spine = None
        if layout == "spine" and node.parents:
            spine = max(sorted(node.parents), key=lambda parent: found[parent].length)
        inherited = found[spine].seen if spine is not None else frozenset[int]()
        others = tuple(sorted(set(node.parents) - inherited))
        seen = inherited | {*others, node.id}
        found[node.id] = Source(spine, others, seen, sum(expected[other] for other in seen))
    return found


def can_overlap(nodes: Sequence[PlanNode]) -> bool:
    """Whether any two nodes could be decoded side by side: neither needs the other."""
    before: dict[int, set[int]] = {}
    for node in nodes:
        needed = set(node.parents).union(*(before[parent] for parent in node.parents))
        if len(needed) < len(before):
            return True
        before[node.id] = needed
    return False
