"""The plain answer: nothing but the chat template around the prompt."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from flowdecode.attempt import Decode, continued
from flowdecode.context import Block, Context
from flowdecode.graph import Graph
from flowdecode.node import Node
from flowdecode.sampling import SamplingParams
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
        Decode(context=context, sampling=_without_tags(graph)),
        id="answer",
        slot=graph.answer.open(),
    )


def _without_tags(graph: Graph) -> SamplingParams:
    """The run's sampling; a model that was trained to write PASTA-LANG's tags is kept from it."""
    sampling, tags = graph.sampling, graph.backend.engine.profile.tags
    if not tags:
        return sampling
    bias = {**sampling.logit_bias, **dict.fromkeys(tags.values(), -100.0)}
    return msgspec.structs.replace(sampling, logit_bias=bias)
