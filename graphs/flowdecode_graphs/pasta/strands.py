"""Threads as strands of one request, whose KV they share; the runtime reads each as a request of its own."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType

import msgspec

from flowdecode.attempt import Decode, Retry, Shielded
from flowdecode.backend import (
    Backend,
    Delta,
    Engine,
    FinishReason,
    Interleaving,
    Load,
    Piece,
    Request,
    SharedKV,
)
from flowdecode.context import Context
from flowdecode.graph import Graph
from flowdecode.usage import Usage
from flowdecode_graphs.pasta.segment import Segment
from flowdecode_graphs.pasta.steering import Steering

__all__ = ["Strands"]


class Strands:
    """The engine's strands: 0 is the main thread's, the others are the chunks' in the order of promises.

    The main thread's first node asks for the request, `decode` makes and reads it, and every node
    takes the pieces of its own strand. A request that failed is not sent again: what its strands saw
    of each other can't be computed from their tokens alone.
    """

    def __init__(self, graph: Graph, engine: SharedKV, steering: Steering) -> None:
        self.steering = steering
        self.error: Exception | None = None
        self.ended = False
        """Whether no more pieces come."""
        self._graph = graph
        self._engine = engine
        self._inboxes: defaultdict[int, Inbox] = defaultdict(Inbox)
        self._request: asyncio.Future[Request] = asyncio.get_running_loop().create_future()
        self._stream: Interleaving | None = None
        self._chunks = 0
        self._joined = 0
        """Tokens of the chunks that the main thread sees."""

    async def decode(self) -> None:
        """Wait for the main thread's request, and hand out what it decodes until it ends."""
        request = await self._request
        self.steering.most_tokens = request.sampling.max_tokens
        try:
            async with Shielded(self._engine.interleave(request, self.steering.main)) as stream:
                self._stream = stream
                async for piece in stream:
                    self._inboxes[piece.strand].put(piece)
        except Exception as error:  # the nodes raise it: each is where its own text breaks off
            self.error = error
        self.ended = True  # not where it was cancelled: then the nodes will be, and have not come to an end
        for inbox in self._inboxes.values():
            inbox.wake()

    def main(self, segment: Segment, observe: Callable[[Delta, int], bool]) -> Decode:
        if segment.before is not None and segment.before.rest:
            self._inboxes[0].put_back(segment.before.rest)
        return self._decode(0, self._graph.sampling.max_tokens, observe)

    def chunk(self, segment: Segment, left: int, closed: Callable[[], bool]) -> Decode:
        self._chunks += 1
        return self._decode(self._chunks, None, None)

    def _decode(
        self, strand: int, max_tokens: int | None, observe: Callable[[Delta, int], bool] | None
    ) -> Decode:
        return Decode(
            context=lambda: self._graph.context(self._graph.prompt.blocks),
            sampling=msgspec.structs.replace(self._graph.sampling, max_tokens=max_tokens),
            observe=observe,
            shares_allowance=False,
            backend=StrandBackend(self, self._inboxes[strand], strand, self._graph.backend),
            retry=Retry(attempts=1),
        )

    def begin(self, request: Request, strand: int) -> None:
        """A node is about to read a strand: the first one's request is the request of all."""
        if not self._request.done():
            self._request.set_result(request)
        if not strand:
            chunks = (inbox.taken for number, inbox in self._inboxes.items() if number)
            self._joined = sum(chunks)  # a main thread that goes on has waited for all of them

    def usage(self, behind: int) -> Usage:
        """The prompt of a node that goes on `behind` so many tokens of the answer.

        What they share is never computed twice: all of it was found in a cache.
        """
        usage = Usage() if self._stream is None else self._stream.usage
        if not behind:
            return Usage(prompt_tokens=usage.prompt_tokens, cached_tokens=usage.cached_tokens)
        whole = usage.prompt_tokens + behind
        return Usage(prompt_tokens=whole, cached_tokens=whole)

    @property
    def said(self) -> int:
        """Tokens of the answer that the main thread sees."""
        return self._inboxes[0].taken + self._joined


class Inbox:
    """The pieces of one strand that its nodes have not taken yet."""

    def __init__(self) -> None:
        self.pieces: deque[Piece] = deque()
        self.taken = 0
        """Tokens of the pieces that were taken."""
        self.finish_reason: FinishReason | None = None
        """Set when the last piece was taken."""
        self._waiter: asyncio.Future[None] | None = None

    def put(self, piece: Piece) -> None:
        self.pieces.append(piece)
        self.wake()

    def put_back(self, text: str) -> None:
        """Text of a piece that was taken, for the next node."""
        self.pieces.appendleft(Piece(0, Delta(text), self.finish_reason, self.taken))

    def take(self) -> Delta:
        piece = self.pieces.popleft()
        self.taken, self.finish_reason = piece.decoded, piece.finish_reason
        return piece.delta

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def news(self) -> None:
        """Wait until something is put in, or no more comes."""
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter


class StrandBackend:
    """One strand, as a backend with one thing to decode."""

    def __init__(self, strands: Strands, inbox: Inbox, strand: int, backend: Backend) -> None:
        self.strands = strands
        self.inbox = inbox
        self.strand = strand
        self.behind = strands.said
        """What a chunk goes on behind: it begins where the main thread is now."""
        self._backend = backend

    @property
    def engine(self) -> Engine:
        return self._backend.engine

    async def __aenter__(self) -> StrandBackend:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def decode(self, request: Request) -> StrandDecoding:
        return StrandDecoding(self, request)

    def count_tokens(self, context: Context) -> int:
        return self._backend.count_tokens(context)

    async def load(self) -> Load | None:
        return await self._backend.load()


class StrandDecoding(AbstractAsyncContextManager["StrandDecoding"]):
    """What a strand says from now on. Leaving it leaves the strand to whoever reads it next."""

    def __init__(self, backend: StrandBackend, request: Request) -> None:
        self.finish_reason: FinishReason | None = None
        self._backend = backend
        self._strand = backend.strand
        self._strands = backend.strands
        self._inbox = backend.inbox
        self._request = request

    async def __aenter__(self) -> StrandDecoding:
        self._strands.begin(self._request, self._strand)
        self._before = self._inbox.taken
        self._behind = self._backend.behind if self._strand else self._strands.said
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    @property
    def usage(self) -> Usage:
        return msgspec.structs.replace(
            self._strands.usage(self._behind), completion_tokens=self._inbox.taken - self._before
        )

    def __aiter__(self) -> StrandDecoding:
        return self

    async def __anext__(self) -> Delta:
        inbox, strands = self._inbox, self._strands
        while not inbox.pieces:
            if inbox.finish_reason is not None or (strands.ended and strands.error is None):
                # A strand that never was: its promise was the last token that the limits allowed.
                reason = inbox.finish_reason or "length"
                self.finish_reason = "length" if self._strand in strands.steering.cut else reason
                raise StopAsyncIteration
            if strands.error is not None:
                raise strands.error
            await inbox.news()
        return inbox.take()
