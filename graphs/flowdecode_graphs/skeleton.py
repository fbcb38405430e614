"""Skeleton-of-Thought (arXiv 2307.15337): a list of points first, then every point side by side.

The points see the skeleton and not each other: fast, and blind to what depends on what. The router of
the paper's revision lets the model say first whether a list of independent points would do.
"""

from __future__ import annotations

import re
from typing import ClassVar, NamedTuple

import msgspec

from flowdecode.attempt import Decode
from flowdecode.context import Block, Context
from flowdecode.errors import PlanSyntaxError
from flowdecode.graph import Graph
from flowdecode.node import Node
from flowdecode.plan import Plan, PlanNode
from flowdecode.strategy import Strategy
from flowdecode.template import fill_template
from flowdecode_graphs.prompts import Prompts

__all__ = ["Skeleton"]

MAX_POINTS = 10
MAX_ROUTER_TOKENS = 8
MAX_SKELETON_TOKENS = 256
POINT_TOKENS = 50
"""One or two sentences."""

_POINT = re.compile(r"^[\s*]*\d+[.)][\s*]*(.+?)[\s.:*]*$", re.MULTILINE)
_CHOICE = re.compile(r"\b([ABC])\b")


class Point(NamedTuple):
    """One line of a skeleton."""

    id: int
    title: str


class Skeleton(Strategy, frozen=True, kw_only=True):
    """Two stages with a barrier between them, as published."""

    name: ClassVar[str] = "skeleton"

    router: bool = True
    """Whether the model is asked first if the answer is a list of independent points (A, B or C)."""
    prompts: Prompts | None = None
    """None: the model's own prompt pack, else the standard one."""

    async def grow(self, graph: Graph) -> None:
        """Ask for the route, for the skeleton, and then for all points at once."""
        prompts = self.prompts or Prompts.for_engine(graph.run.backend.engine)
        if self.router:
            choice = _CHOICE.search(await _ask(graph, "router", prompts.router, MAX_ROUTER_TOKENS))
            if choice is None or choice[1] != "A":
                said = choice[1] if choice else "neither A, B nor C"
                await graph.fall_back(
                    f"the model said that a list of independent points would not do: {said}"
                )
                return
        skeleton = await _ask(graph, "skeleton", prompts.skeleton, MAX_SKELETON_TOKENS)
        points = [Point(n, title) for n, title in enumerate(_POINT.findall(skeleton)[:MAX_POINTS], start=1)]
        if not points:
            raise PlanSyntaxError(f"Expected a numbered list of points, got {skeleton[:200]!r}.")
        offset = graph.run.span()
        graph.run.plan = Plan(
            tuple(
                PlanNode(id=point.id, title=point.title, expected_tokens=POINT_TOKENS, offset=offset)
                for point in points
            ),
            tokens=offset,
        )
        for point in points:
            _expand(graph, prompts, skeleton, point, offset)


async def _ask(graph: Graph, node_id: str, question: str, max_tokens: int) -> str:
    """A hidden answer to the prompt with `question` behind it."""
    asked = graph.prompt.context().extend(Block("user", question))
    sampling = msgspec.structs.replace(graph.run.sampling, max_tokens=max_tokens, stop=())
    return await graph.add(
        Decode(context=lambda: asked, sampling=sampling, shares_allowance=False),
        id=graph.run.free_node_id(node_id),
        kind="plan",
        title=node_id.capitalize(),
        offset=graph.run.span(),
    )


def _expand(graph: Graph, prompts: Prompts, skeleton: str, point: Point, offset: int) -> Node[str]:
    """The node of one point; where the engine can, it goes on behind the point's own title."""
    opening = f"{point.id}. {point.title}"
    prefilled = graph.run.backend.engine.capabilities.assistant_prefill

    def context() -> Context:
        instruction = fill_template(prompts.point, id=point.id, title=point.title, skeleton=skeleton.strip())
        asked = graph.prompt.context().extend(Block("user", instruction))
        return asked.extend(Block("assistant", opening)) if prefilled else asked

    gap = "\n" if point.id > 1 else ""
    graph.answer.literal(gap + opening if prefilled else gap)
    return graph.add(
        Decode(context=context, sampling=graph.run.sampling),
        id=graph.run.free_node_id(str(point.id)),
        title=point.title,
        expected_tokens=POINT_TOKENS,
        offset=offset,
        slot=graph.answer.open(),
    )
