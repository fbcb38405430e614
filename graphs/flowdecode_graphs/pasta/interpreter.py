"""The interpreter: reads the main thread's tags while it streams, and grows the graph that they ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from flowdecode.answer import Slot
from flowdecode.attempt import Decode
from flowdecode.backend import Delta
from flowdecode.graph import Graph
from flowdecode.node import Node
from flowdecode.plan import Plan, PlanNode
from flowdecode_graphs.pasta.document import MAIN_THREAD
from flowdecode_graphs.pasta.language import Tag, TagReader
from flowdecode_graphs.pasta.places import ChunkPlace, MainPlace
from flowdecode_graphs.pasta.segment import Segment

__all__ = ["UNTITLED", "Interpreter", "Threads"]

MAX_REMARKS = 20
UNTITLED = "Chunk"
"""The title of a chunk whose promise has no topic."""


class Threads(Protocol):
    """How threads are decoded: as requests of their own, or as strands of one."""

    def main(self, segment: Segment, observe: Callable[[Delta, int], bool]) -> Decode:
        """Decodes the main thread from a segment's beginning on."""
        ...

    def chunk(self, segment: Segment, left: int, closed: Callable[[], bool]) -> Decode:
        """Decodes what was just promised, with `left` characters of the last delta behind the promise.

        `closed` tells whether the chunk's end has been read.
        """
        ...


class Interpreter:
    """One answer under way. What a tag asks for is done in the step in which it is complete."""

    def __init__(self, graph: Graph, threads: Threads, *, most_chunks: int) -> None:
        """Promises behind `most_chunks` are dropped."""
        self._graph = graph
        self._threads = threads
        self._most_chunks = most_chunks
        self._reader = TagReader()
        self._place = graph.answer.open()
        """Where the main thread's text goes in the answer."""
        self._plan: list[PlanNode] = []
        self._nodes: list[Node[str]] = []
        self._remarks: list[str] = []
        self._chunks = 0
        self._unfinished = 0
        self._finished = asyncio.Event()

    async def run(self) -> None:
        """Start the main thread, and wait until all threads have ended."""
        self._go_on(None)
        await self._finished.wait()

    def _go_on(self, before: Segment | None) -> None:
        """The main thread begins, or goes on when all that it was promised is there."""
        segment = Segment(len(self._plan) + 1, before)
        planned = PlanNode(id=segment.ids[0], title=MAIN_THREAD, parents=segment.parents, expected_tokens=0)
        decode = self._threads.main(segment, lambda delta, tokens: self._observe(segment, delta, tokens))
        place = MainPlace(self._graph.answer, segment.unread, lambda: self._segment_ended(segment))
        segment.node = self._add(decode, planned, place, expected_tokens=None)

    def _add(
        self, decode: Decode, planned: PlanNode, slot: Slot, *, expected_tokens: int | None
    ) -> Node[str]:
        """Add a thread to the plan and to the graph."""
        self._plan.append(planned)
        self._tell()
        self._unfinished += 1
        node = self._graph.add(
            decode,
            parents=[self._nodes[parent - 1] for parent in planned.parents],
            id=str(planned.id),
            title=planned.title,
            expected_tokens=expected_tokens,
            offset=planned.offset,
            slot=slot,
        )
        self._nodes.append(node)
        if node.ended:  # a parent of it has failed
            self._ended()
        else:
            node.when_ended(self._ended)
        return node

    def _observe(self, segment: Segment, delta: Delta, tokens: int) -> bool:
        """The main thread has said more. Returns whether it has come to its sync."""
        segment.add(delta, tokens)
        text = "".join(segment.unread)
        segment.unread.clear()
        for event in self._reader.feed(text):
            if isinstance(event, str):
                self._place.write(event)
                continue
            self._remark(event.problem)
            if event.kind == "promise":
                self._promised(segment, event)
            elif event.kind == "sync" and segment.chunks:
                segment.synced, segment.rest = True, text[len(text) - self._reader.left :]
                self._go_on(segment)
                return True
            elif event.kind == "sync":
                self._remark("Dropped a sync: nothing is outstanding")
            elif event.kind in ("async", "end"):
                self._remark(f"Dropped {event.source} of the main thread: a chunk has a thread of its own")
        return False

    def _promised(self, segment: Segment, promise: Tag) -> None:
        """A promise is complete: its thread starts, and the main thread's text goes on behind its chunk."""
        if self._chunks == self._most_chunks:
            self._remark(f"Dropped a promise, as {self._most_chunks} chunks came before it: {promise.source}")
            return
        self._chunks += 1
        self._place.close()
        place = ChunkPlace(self._graph.answer, self._remark)
        self._place = self._graph.answer.open()
        planned = PlanNode(
            id=len(self._plan) + 1,
            title=promise.topic or UNTITLED,
            parents=segment.parents,
            expected_tokens=promise.tokens,
            offset=segment.start + segment.tokens,
        )
        segment.ids.append(planned.id)
        decode = self._threads.chunk(segment, self._reader.left, lambda: place.closed)
        segment.chunks.append(self._add(decode, planned, place, expected_tokens=promise.tokens))

    def _segment_ended(self, segment: Segment) -> None:
        """The main thread has come to a sync, or to its end."""
        at = segment.ids[0] - 1
        self._plan[at] = msgspec.structs.replace(self._plan[at], expected_tokens=segment.tokens)
        self._tell()
        if segment.synced:
            if self._graph.backend.engine.capabilities.token_ids:
                segment.waste_the_rest()
            return
        for event in self._reader.finish():
            if isinstance(event, str):
                self._place.write(event)
            else:
                self._remark(event.problem)
        self._place.write("".join(segment.unread))  # the runtime's words for a hole
        self._place.close()
        self._graph.growing = False

    def _ended(self) -> None:
        self._unfinished -= 1
        if not self._unfinished:
            self._finished.set()

    def _remark(self, remark: str | None) -> None:
        if remark is not None and len(self._remarks) < MAX_REMARKS:
            self._remarks.append(f"{remark}.")
            self._tell()

    def _tell(self) -> None:
        """The run's plan is what is known of the answer so far."""
        self._graph.run.plan = Plan(tuple(self._plan), remarks=tuple(self._remarks))
