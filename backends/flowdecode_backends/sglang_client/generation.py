"""What an answer of SGLang is, chunk by chunk, whatever brings the chunks."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import Self

from flowdecode.backend import Delta, FinishReason
from flowdecode.errors import BackendError
from flowdecode.usage import Usage
from flowdecode_backends.sglang_client.reading import Chunk, Reading
from flowdecode_backends.sglang_client.warming import Warming

__all__ = ["LAST_CHUNK", "Generation"]

LAST_CHUNK = 1.0
"""Seconds that an aborted request has for its last chunk, which tells what it has cost."""


class Generation(AbstractAsyncContextManager["Generation"]):
    """One request: context manager and stream in one object; its first token lets its siblings start."""

    finish_reason: FinishReason | None = None

    def begin(self, warming: Warming, reading: Reading, prompt: tuple[int, ...]) -> None:
        """The prompt is known and checked."""
        self._warming = warming
        self._reading = reading
        self._prompt = prompt
        self._first = True

    async def turn(self) -> None:
        """Wait until a sibling has computed what both share, or lead the others."""
        self._leader = await self._warming.turn(self._prompt)

    def through(self, *, prefilled: bool) -> None:
        """Siblings wait no longer: the prompt is computed, or never will be."""
        self._warming.through(self._leader, prefilled=prefilled)

    def left(self) -> None:
        """The stream is over: what of it is in the engine's prefix cache now."""
        if self._reading.ids:
            self._warming.cached(self._prompt + tuple(self._reading.ids[:-1]))

    @property
    def usage(self) -> Usage:
        return self._reading.usage

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta:
        reading = self._reading
        while reading.finish_reason is None:
            delta = reading.feed(await self.chunk())
            if self._first:
                self._first = False
                self.through(prefilled=True)
            if delta.text or delta.tokens:
                return delta
        if self.finish_reason is None:
            await self.complete()
            self.finish_reason = reading.finish_reason
        raise StopAsyncIteration

    async def last_chunk(self) -> None:
        """Read on behind an abort, as long as that may take."""
        try:
            async with asyncio.timeout(LAST_CHUNK):
                while not self._reading.ended:
                    self._reading.feed(await self.chunk())
        except (BackendError, TimeoutError):
            return

    @abstractmethod
    async def chunk(self) -> Chunk:
        """The next chunk. Raises BackendError where there is none."""

    async def complete(self) -> None:
        """The answer is there; what may still come of the request is not."""
        return
