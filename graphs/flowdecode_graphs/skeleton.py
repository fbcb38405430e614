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

__all__ = ["Skeleton", "ask_route"]

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
        prompts = self.prompts or Prompts.for_engine(graph.backend.engine)
        if self.router:
            route = await ask_route(graph, prompts)
            if route != "A":
                await graph.fall_back(
                    "the model said that a list of independent points would not do: "
                    f"{route or 'neither A, B nor C'}"
                )
                return
        skeleton = await _ask(graph, "skeleton", prompts.skeleton, MAX_SKELETON_TOKENS)
        points = [Point(n, title) for n, title in enumerate(_POINT.findall(skeleton)[:MAX_POINTS], start=1)]
        if not points:
            raise PlanSyntaxError(f"Expected a numbered list of points, got {skeleton[:200]!r}.")
        offset = graph.run.span()
        graph.run.plan = Plan(
            tuple(_planned(graph, prompts, skeleton, point, offset) for point in points), offset
        )
        for point in points:
            _expand(graph, prompts, skeleton, point, offset)


async def ask_route(graph: Graph, prompts: Prompts) -> str | None:
    """A, B or C, as the model chooses; None where it says something else."""
    choice = _CHOICE.search(await _ask(graph, "router", prompts.router, MAX_ROUTER_TOKENS))
    return choice[1] if choice else None


async def _ask(graph: Graph, node_id: str, question: str, max_tokens: int) -> str:
    """A hidden answer to the prompt with `question` behind it."""
    asked = graph.context([*graph.prompt.blocks, Block("user", question)])
    sampling = msgspec.structs.replace(graph.sampling, max_tokens=max_tokens, stop=(), stop_token_ids=())
    return await graph.add(
        Decode(context=lambda: asked, sampling=sampling, shares_allowance=False),
        id=node_id,
        kind="plan",
        title=node_id.capitalize(),
        offset=graph.run.span(),
    )


def _asked(graph: Graph, prompts: Prompts, skeleton: str, point: Point) -> Context:
    """The context of one point; where the engine can, the point goes on behind its own title."""
    instruction = fill_template(prompts.point, id=point.id, title=point.title, skeleton=skeleton.strip())
    blocks = [*graph.prompt.blocks, Block("user", instruction)]
    if graph.backend.engine.capabilities.assistant_prefill:
        blocks.append(Block("assistant", _opening(point)))
    return graph.context(blocks)


def _planned(graph: Graph, prompts: Prompts, skeleton: str, point: Point, offset: int) -> PlanNode:
    """A point as data: all points share the prompt, and nothing behind it that the engine must hold yet."""
    asked = _asked(graph, prompts, skeleton, point)
    return PlanNode(
        id=point.id,
        title=point.title,
        expected_tokens=POINT_TOKENS,
        offset=offset,
        expected_prompt_tokens=graph.backend.count_tokens(asked),
        expected_cached_tokens=graph.run.cache.expected_cached_tokens(asked),
    )


def _expand(graph: Graph, prompts: Prompts, skeleton: str, point: Point, offset: int) -> Node[str]:
    """The node of one point, and its place in the answer."""
    opening = _opening(point) if graph.backend.engine.capabilities.assistant_prefill else ""
    gap = "\n" if point.id > 1 else ""
    graph.answer.literal(gap + opening)
    return graph.add(
        Decode(context=lambda: _asked(graph, prompts, skeleton, point), sampling=graph.sampling),
        id=str(point.id),
        title=point.title,
        expected_tokens=POINT_TOKENS,
        offset=offset,
        slot=graph.answer.open(),
    )


def _opening(point: Point) -> str:
    return f"{point.id}. {point.title}"
