"""The graph, drawn: boxes in columns, curves between them."""

from __future__ import annotations

from itertools import pairwise

from flowdecode.result import NodeRecord, Result
from flowdecode.timeline.layers import layers_of
from flowdecode.timeline.markup import Markup, element
from flowdecode.timeline.parts import label, look, nothing, scrolled, section, tokens
from flowdecode.timeline.phases import critical_path

__all__ = ["graph"]

BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y = 196, 72, 52, 16
"""Pixels of a box, as in page.css, and of the room between two."""

TALL = 12
"""Nodes of a column that can be seen at once; shorter columns of a taller graph are not centred."""

Spot = tuple[float, float]
"""The top left corner of a box, in pixels."""


def graph(result: Result) -> Markup:
    """The section with the drawing."""
    nodes = result.nodes
    if not nodes:
        return section("Graph", nothing())
    columns, edges = layers_of(nodes)
    spots = _spots(columns)
    path = critical_path(nodes)
    pace = set(pairwise(path))
    curves = [
        _curve(
            spots[edge.source],
            spots[edge.target],
            ["planned"] * edge.planned + ["pace"] * ((nodes[edge.source].id, nodes[edge.target].id) in pace),
        )
        for edge in edges
    ]
    boxes = [_box(node, spots[place], sets_pace=node.id in path) for place, node in enumerate(nodes)]
    width = len(columns) * (BOX_WIDTH + GAP_X) - GAP_X
    height = max(map(len, columns)) * (BOX_HEIGHT + GAP_Y) - GAP_Y
    drawing = element(
        "div",
        element("svg", *curves, width=width, height=height, aria_hidden="true", focusable="false"),
        element("ol", *boxes, role="list"),
        style=f"width:{width}px;height:{height}px",
    )
    return section(
        "Graph",
        element(
            "p",
            "What is needed stands to the left. A dotted line leads from the plan to the parts that "
            "it named, a heavy one joins the nodes that set the pace.",
        ),
        scrolled(drawing, "graph", "The graph, drawn"),
    )


def _spots(columns: list[list[int]]) -> dict[int, Spot]:
    """Where each node's box is."""
    tallest = max(map(len, columns))
    spots: dict[int, Spot] = {}
    for depth, column in enumerate(columns):
        free = tallest - len(column) if tallest <= TALL else 0
        for row, place in enumerate(column):
            spots[place] = depth * (BOX_WIDTH + GAP_X), (row + free / 2) * (BOX_HEIGHT + GAP_Y)
    return spots


def _curve(source: Spot, target: Spot, kinds: list[str]) -> Markup:
    """From the right side of one box to the left side of another."""
    x, y = source[0] + BOX_WIDTH, source[1] + BOX_HEIGHT / 2
    end_x, end_y = target[0], target[1] + BOX_HEIGHT / 2
    bend = GAP_X / 2
    line = f"M{x:g} {y:g}C{x + bend:g} {y:g} {end_x - bend:g} {end_y:g} {end_x:g} {end_y:g}"
    return element("path", d=line, class_=" ".join(kinds) or None)


def _box(node: NodeRecord, spot: Spot, *, sets_pace: bool) -> Markup:
    needs = f"needs {', '.join(node.parents)}" if node.parents else "needs no other"
    return element(
        "li",
        element("span", label(node), class_="name"),
        element("span", f"{tokens(node)}{node.status}", class_="result"),
        element("span", needs, class_="aside"),  # for those who can't see the curves
        class_=f"{look(node)}{' pace' * sets_pace}",
        style=f"left:{spot[0]:g}px;top:{spot[1]:g}px",
    )
