"""What the tests of the runtime share: a strategy of given parts, and short ways to backends."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from flowdecode.attempt import Decode, Retry
from flowdecode.backend import Request
from flowdecode.context import Block, Context
from flowdecode.graph import Graph
from flowdecode.node import Node
from flowdecode.strategy import Strategy

__all__ = ["Part", "Parts", "asked"]


class Part(Strategy, frozen=True):
    """One part of an answer: what it asks, and behind which others."""

    name: ClassVar[str] = "part"

    question: str
    parents: tuple[int, ...] = ()
    expected_tokens: int | None = None


class Parts(Strategy, frozen=True):
    """Decodes its parts side by side, one slot each, a line break between two."""

    name: ClassVar[str] = "parts"

    parts: tuple[Part | str, ...]
    retry: Retry = Retry()
    watch: Callable[[Graph, list[Node[str]]], object] = lambda _, __: None

    async def grow(self, graph: Graph) -> None:
        nodes: list[Node[str]] = []
        for index, given in enumerate(self.parts):
            part = Part(question=given) if isinstance(given, str) else given
            if index:
                graph.answer.literal("\n")
            nodes.append(
                graph.add(
                    Decode(
                        context=_context(part.question), sampling=graph.run.sampling, retry=self.retry
                    ),
                    parents=[nodes[parent] for parent in part.parents],
                    id=f"p{index}",
                    title=part.question,
                    expected_tokens=part.expected_tokens,
                    slot=graph.answer.open(),
                )
            )
        self.watch(graph, nodes)


def asked(request: Request) -> str:
    """The last thing that the user said in a request."""
    return [message["content"] for message in request.context.messages() if message["role"] == "user"][-1]


def _context(question: str) -> Callable[[], Context]:
    return lambda: Context.of([Block("user", question)])
