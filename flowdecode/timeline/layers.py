"""Where a graph's nodes are drawn: a column for each layer, parents to the left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from flowdecode.result import NodeRecord

__all__ = ["Edge", "Layers", "layers_of"]


class Edge(NamedTuple):
    """A line between two nodes, by their places in the list of nodes."""

    source: int
    target: int
    planned: bool = False
    """Whether it says that a plan made the node, not that a parent is needed."""


class Layers(NamedTuple):
    """The drawing: columns of nodes, by their places in the list of nodes, and the edges."""

    columns: list[list[int]]
    edges: list[Edge]


def layers_of(nodes: Sequence[NodeRecord]) -> Layers:
    """The drawing of nodes that come parents first; parents that did not come before are left out.

    A node that a plan made, and that needs no other, hangs on the plan.
    """
    places: dict[str, int] = {}
    depths: list[int] = []
    edges: list[Edge] = []
    plan: int | None = None
    for place, node in enumerate(nodes):
        parents = [Edge(places[parent], place) for parent in node.parents if parent in places]
        if not parents and node.offset and plan is not None:
            parents = [Edge(plan, place, planned=True)]
        edges += parents
        depths.append(1 + max((depths[edge.source] for edge in parents), default=-1))
        places.setdefault(node.id, place)
        if node.kind == "plan":
            plan = place
    columns: list[list[int]] = [[] for _ in range(max(depths, default=-1) + 1)]
    for place, depth in enumerate(depths):
        columns[depth].append(place)
    return Layers(columns, edges)
