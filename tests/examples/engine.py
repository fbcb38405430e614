"""The scripts that the examples ship, and an engine that tells when nobody uses it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import msgspec

from flowdecode.backend import Delta, Request
from flowdecode_backends.replies import asked, read_replies
from flowdecode_backends.scripted import Fault, Reply, Scripted, ScriptedDecoding

__all__ = ["ATLAS", "DEMO", "EXAMPLES", "Watched", "fast", "hanging"]

EXAMPLES = Path(__file__).parents[2] / "examples"
DEMO = read_replies(str(EXAMPLES / "demo.jsonl"))
ATLAS = read_replies(str(Path(__file__).with_name("atlas.jsonl")))
"""What stands in for the demo model."""


def fast(replies: Iterable[Reply]) -> list[Reply]:
    """The same replies, with nothing to wait for; other tasks run between the tokens."""
    return [msgspec.structs.replace(reply, delay=0.0, pace=0.0) for reply in replies]


def hanging(
    replies: Iterable[Reply], match: str, *, after_tokens: int, times: int | None = None
) -> list[Reply]:
    """The same replies, of which one falls silent, the first `times` that it is asked for."""
    found: list[Reply] = []
    for reply in replies:
        if reply.match == match:
            fault = Fault(after_tokens=after_tokens, error="hang")
            found.append(msgspec.structs.replace(reply, fault=fault, times=times))
        found.append(reply)
    return found


class Watched(Scripted):
    """A scripted engine that knows how many requests it had at once, and when nothing is going on."""

    def __init__(self, replies: Iterable[Reply]) -> None:
        super().__init__(replies)
        self.peak = 0
        self.tokens = 0
        self._left = asyncio.Event()

    def decode(self, request: Request) -> WatchedDecoding:
        return WatchedDecoding(self, request)

    async def idle(self) -> None:
        """Wait until no request is open; no longer than a busy machine may take for it."""
        async with asyncio.timeout(10):
            while self.running:
                self._left.clear()
                await self._left.wait()

    async def held_back(self) -> None:
        """Wait until tokens have been read, and then none for many turns of the event loop."""
        before = 0
        while self.tokens != before or not self.tokens:
            before = self.tokens
            for _ in range(100):
                await asyncio.sleep(0)

    def asked(self, part: str) -> Request:
        """The one request whose last question has `part` in it."""
        (request,) = [request for request in self.requests if part in asked(request.context)]
        return request

    def opened(self) -> None:
        self.peak = max(self.peak, self.running)

    def left(self) -> None:
        self._left.set()


class WatchedDecoding(ScriptedDecoding):
    """Tells its engine when it begins and when it has ended."""

    def __init__(self, backend: Watched, request: Request) -> None:
        super().__init__(backend, request)
        self._watched = backend

    async def __aenter__(self) -> WatchedDecoding:
        await super().__aenter__()
        self._watched.opened()
        return self

    async def __anext__(self) -> Delta:
        delta = await super().__anext__()
        self._watched.tokens += 1
        return delta

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await super().__aexit__(exc_type, exc, traceback)
        self._watched.left()
