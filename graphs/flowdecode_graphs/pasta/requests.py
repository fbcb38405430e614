"""Threads as requests of their own, for engines that continue an assistant's text (re-prompting)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from flowdecode.attempt import Decode
from flowdecode.backend import Delta
from flowdecode.context import Block, Context
from flowdecode.graph import Graph
from flowdecode.node import Node
from flowdecode_graphs.pasta.language import ASYNC, END
from flowdecode_graphs.pasta.segment import Segment

__all__ = ["Requests"]

MARGIN = 64
"""Tokens that an estimate of a prompt's length may be wrong by."""


class Requests:
    """The main thread's request ends at a sync; the next one goes on behind it with the finished chunks.

    Chunks come after the sync, in the order of their promises: so all that the main thread has said
    is a prefix that the engine has in its cache, and what it said before the sync never saw a chunk.
    """

    def __init__(self, graph: Graph, *, chunk_tokens: int) -> None:
        self._graph = graph
        self._chunk_tokens = chunk_tokens
        self._tags = graph.backend.engine.profile.tags
        self._contexts: dict[Segment, Context] = {}

    def main(self, segment: Segment, observe: Callable[[Delta, int], bool]) -> Decode:
        return Decode(context=lambda: self._context(segment), sampling=self._graph.sampling, observe=observe)

    def chunk(self, segment: Segment, left: int, closed: Callable[[], bool]) -> Decode:
        asked = self._graph.run.cache.extend(self._contexts[segment], *segment.said(left), self._tag(ASYNC))
        sampling = self._graph.sampling
        return Decode(
            context=lambda: asked,
            sampling=msgspec.structs.replace(
                sampling, max_tokens=self._limit(asked), stop=(*sampling.stop, END)
            ),
            observe=lambda delta, tokens: closed(),  # by another spelling than that of `stop`
        )

    def _limit(self, asked: Context) -> int | None:
        """The most tokens of a chunk; None where the end of the model's context is as near."""
        longest, tokens = self._graph.backend.engine.context_length, self._chunk_tokens
        if longest is None:
            return tokens
        return tokens if self._graph.backend.count_tokens(asked) + tokens + MARGIN <= longest else None

    def _context(self, segment: Segment) -> Context:
        """What the main thread goes on behind: the prompt, or what it has said, its sync and its chunks."""
        before, cache = segment.before, self._graph.run.cache
        if before is None:
            context = self._graph.context(self._graph.prompt.blocks)
        else:
            spoken = before.node.context
            assert spoken is not None, "the context of a node is there when the node is done"
            if before.rest:
                spoken = cache.extend(self._contexts[before], *before.said(len(before.rest)))
            context = cache.extend(
                spoken, *(block for chunk in before.chunks for block in self._chunk(chunk))
            )
        self._contexts[segment] = context
        return context

    def _chunk(self, chunk: Node[str]) -> list[Block]:
        """A finished chunk, with the ids that were decoded."""
        assert chunk.context is not None, "the context of a node is there when the node is done"
        said = [chunk.context.block] if chunk.pieces else []
        return [self._tag(ASYNC), *said, self._tag(END)]

    def _tag(self, tag: str) -> Block:
        return Block("assistant", tag, (self._tags[tag],) if tag in self._tags else None)
