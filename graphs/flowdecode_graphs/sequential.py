"""The plain answer: nothing but the chat template around the prompt."""

from __future__ import annotations

from typing import ClassVar

from flowdecode.attempt import Decode, continued
from flowdecode.context import Block, Context
from flowdecode.graph import Graph
from flowdecode.node import Node
from flowdecode.strategy import Strategy

__all__ = ["Sequential", "add_answer"]


class Sequential(Strategy, frozen=True):
    """One autoregressive stream, as without flowdecode."""

    name: ClassVar[str] = "sequential"

    async def grow(self, graph: Graph) -> None:
        """Add the one node that answers."""
        add_answer(graph)


def add_answer(graph: Graph) -> Node[str]:
    """The one node that answers, or goes on behind what was already said of the answer."""

    def context() -> Context:
        asked = graph.context(graph.prompt.blocks)
        return continued(asked, Block("assistant", graph.said), graph.backend) if graph.said else asked

    graph.growing = False
    return graph.add(
        Decode(context=context, sampling=graph.sampling),
        id="answer",
        slot=graph.answer.open(),
    )
